"""Names that somebody got wrong: misspelt ones, and those of other queues."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Offer the known name that is nearest, if any is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def no_attribute(holder: object, name: str, hints: Mapping[str, str]) -> AttributeError:
    """Build the error for an attribute that is not there, with a hint for whoever knows it from elsewhere."""
    hint = f"; {hints[name]}" if name in hints else ""
    return AttributeError(f"{type(holder).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=holder)
