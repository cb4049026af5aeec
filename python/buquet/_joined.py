"""Putting together what came in pieces, without holding it twice."""

from __future__ import annotations

import io
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LARGE = 8 * 1024 * 1024
"""From here on it is worth the milliseconds to give memory back."""


def joined(pieces: Iterable[bytes]) -> bytes:
    """All pieces in one: the buffer grows in place and is given away."""
    whole = io.BytesIO()
    for piece in pieces:
        whole.write(piece)
    value = whole.getvalue()
    if len(value) >= _LARGE:
        _trim()(0)
    return value


@cache
def _trim() -> Callable[[int], Any]:
    """What makes the allocator give back the pages that the pieces have used: glibc keeps some 10 MiB of them.

    So much more would the process hold while it has this value and makes another one of it.
    """
    nothing: Callable[[int], Any] = lambda _: None  # noqa: E731
    if sys.platform != "linux":
        return nothing
    import ctypes  # noqa: PLC0415 - only for large values

    return getattr(ctypes.CDLL(None), "malloc_trim", nothing)  # there is none in other C libraries
