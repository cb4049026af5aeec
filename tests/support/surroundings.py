"""What a test run would otherwise inherit from whoever starts it, and had better not.

A background job of a shell ignores SIGINT, `nohup` ignores SIGHUP, a service manager sets a umask, a git hook sets
`GIT_DIR`, a developer has a proxy, a locale and colours of their own. None of it is for tests.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_PREFIXES = ("BUQUET_TEST_", "BUQUET_CARGO_")
DROPPED_PREFIXES = ("BUQUET_", "S3_", "AWS_", "GIT_", "LC_", "PYTHON", "TTY_", "MALLOC_")
KEPT = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONPYCACHEPREFIX"})
COLOURS = frozenset({"FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS", "COLORTERM"})
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
DROPPED = COLOURS | {"COLUMNS", "LINES", "LANG", "LANGUAGE", "CDPATH", "ENV", "BASH_ENV", "GLIBC_TUNABLES"}
PLAIN = {
    "NO_COLOR": "1",
    "TERM": "dumb",
    # No settings of a developer's home.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
SIGNALS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)
"""Those with a meaning for tests that whoever starts them may have left ignored."""


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would change what tests see."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in KEPT
        or name.startswith(KEPT_PREFIXES)
        or not (name in DROPPED or name.startswith(DROPPED_PREFIXES) or name.lower() in PROXIES)
    }
    return kept | PLAIN


def settle() -> None:
    """Make this process, and so all that it starts, independent of whoever started it."""
    environment = plain(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
