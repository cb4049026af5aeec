"""From what a body does to what its driver stores. Nothing here does I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from buquet.errors import MismatchError
from buquet.workflow._entries import write_entry

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from buquet.workflow._body import Body
    from buquet.workflow._core import Block
    from buquet.workflow._ending import Ended
    from buquet.workflow._entries import ErrorInfo, Told

MOST_WAITED = 3600.0
"""Seconds that a driver waits at a time; then it asks again."""


class Round:
    """What is to be stored together: what the body was told, and what it did after that."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.entries: list[msgspec.Raw] = []
        self.patches: dict[str, bool] = {}
        self.published: dict[str, msgspec.Raw] = {}
        self.logs: list[logging.LogRecord] = []
        self.ended: Ended | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.entries or self.patches or self.published or self.ended)

    def add(self, block: Block) -> None:
        """Add what the body did."""
        self.entries += [msgspec.Raw(write_entry(ask)) for ask in block.asks]
        self.patches |= block.patches
        self.published |= {name: msgspec.Raw(value) for name, value in block.published.items()}
        self.logs += block.logs

    def request(self) -> dict[str, Any]:
        """This as the engine takes it."""
        request: dict[str, Any] = {"entries": self.entries}
        if self.patches:
            request["patches"] = self.patches
        if self.published:
            request["published"] = self.published
        if self.ended is not None:
            request["end"] = end_of(self.ended)
        return request


def begin(body: Body) -> Round:
    """Start a body, or build it up again from its journal; gives what it does behind that.

    :raises MismatchError: it does not fit its journal.
    :raises CorruptError: the journal makes no sense.
    """
    round_ = Round()
    round_.add(body.begin())
    round_.ended = body.ended
    return round_


def deliver(body: Body, tolds: Iterable[Told]) -> Round:
    """Tell a body what has come, one after the other, until it ends."""
    round_ = Round()
    for told in tolds:
        if body.ended is not None:
            break
        block = body.deliver(told)
        if block.is_dropped:
            continue
        # The engine has it: it is named, not sent back.
        named = {"told": told.told} if told.told == "cancel" else {"told": told.told, "op": told.op}
        round_.entries.append(msgspec.Raw(msgspec.json.encode(named)))
        round_.add(block)
        round_.ended = body.ended
    return round_


def end_of(ended: Ended) -> dict[str, Any]:
    """How a body ended, as the engine takes it."""
    if ended.status == "completed":
        return {"completed": msgspec.Raw(ended.output or b"null")}
    if ended.status == "continued":
        return {"continued": msgspec.Raw(ended.input or b"null")}
    return {ended.status: ended.error}


def failed_end(error: ErrorInfo) -> dict[str, Any]:
    """A round that fails the run with this error and stores nothing else."""
    return {"entries": [], "end": {"failed": error}}


def mismatch_of(error: Exception) -> dict[str, Any]:
    """Why a run has to be paused, as the engine takes it."""
    if not isinstance(error, MismatchError):
        return {"message": str(error), "position": 0, "recorded": "", "asked": ""}
    return {
        "message": str(error),
        "position": error.position,
        "recorded": error.recorded,
        "asked": error.asked,
        "argument": error.argument,
        "recorded_version": error.recorded_version,
        "version": error.version,
    }


def is_ours(body: Body, running: AbstractSet[int], deadline: int | None) -> bool:
    """Whether nothing is open but steps that run here: then only their ends and a wake can bring news.

    What has a time of its own, such as a timer, the next attempt of a step or the run's deadline, the engine knows of.
    """
    return deadline is None and body.ended is None and bool(running) and body.open.keys() <= running


def pause_until(again_at: int | None, now: int) -> float:
    """Seconds to wait for news of a run that has nothing to do; ``again_at`` and ``now`` are the store's."""
    return MOST_WAITED if again_at is None else min(MOST_WAITED, max(0.0, (again_at - now) / 1000))
