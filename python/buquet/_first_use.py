"""What calls import where they first need it, imported before the first of them.

Python locks a module while it imports it. A child that is forked meanwhile keeps that lock for ever, and a signal
handler that comes in between finds half a module. Left out is what only workers and the command line need.
"""

import pwd  # for getpass, to say who cancels a task

from buquet import _chain, _comparing, _reveal, _shown, _vault

__all__ = ["_chain", "_comparing", "_reveal", "_shown", "_vault", "pwd"]
