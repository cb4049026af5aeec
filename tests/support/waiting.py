"""Waiting for conditions, with a deadline and no bare sleep in any test."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
STEP_SECONDS = 0.02


def wait_until(condition: Callable[[], T | None], *, within: float, what: str) -> T:
    """Return the condition's first true value; fail with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {within} s still waiting for: {what}")
        time.sleep(STEP_SECONDS)
    return value


async def wait_until_async(condition: Callable[[], Awaitable[T | None]], *, within: float, what: str) -> T:
    """Do as `wait_until` for a condition to await."""
    deadline = time.monotonic() + within
    while not (value := await condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {within} s still waiting for: {what}")
        await asyncio.sleep(STEP_SECONDS)
    return value
