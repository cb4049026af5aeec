"""How a body is unwound when its run is parked: it is built up again by a replay when there is more for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TRIES = 100
"""A body that goes on although it is unwound gets so many more exceptions; then it is dropped."""

_kept: deque[object] = deque(maxlen=1000)


class Suspended(BaseException):
    """Raised in a body to unwind it. Nothing that the body does from then on has an effect; let it pass."""


class ContinueAsNew(BaseException):
    """Raised in a body that goes on as a new execution."""


def keep_forever(things: Iterable[object]) -> None:
    """Keep coroutines that do not end: Python would write to stderr when it drops them."""
    _kept.extend(things)
