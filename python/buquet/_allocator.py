"""Large values without memory that nobody uses: glibc's allocator keeps some 10 MiB of what their pieces took.

A process holds so much more while it has a large value and makes another of it. Other C libraries need nothing of this.
"""

from __future__ import annotations

import io
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LARGE = 8 * 1024 * 1024
"""From here on it is worth some milliseconds to give memory back."""
_M_ARENA_MAX = -8
_ARENAS = 2
"""Each keeps memory for itself. This many are enough for threads that take turns anyway."""


def joined(pieces: Iterable[bytes]) -> bytes:
    """All pieces in one: the buffer grows in place and is given away."""
    whole = io.BytesIO()
    for piece in pieces:
        whole.write(piece)
    value = whole.getvalue()
    if len(value) >= _LARGE:
        _function("malloc_trim")(0)
    return value


def use_few_arenas() -> None:
    """Keep a process that is buquet's own from growing, unless its environment has settings for the allocator."""
    if "MALLOC_ARENA_MAX" not in os.environ and "GLIBC_TUNABLES" not in os.environ:
        _function("mallopt")(_M_ARENA_MAX, _ARENAS)


@cache
def _function(name: str) -> Callable[..., Any]:
    """A function of glibc; one that does nothing where there is none."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only for those who need it

        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            return getattr(library, name)
    return lambda *_: None
