"""The port of a body: a driver, the replay of the command line and ``buquet.testing.Replayer`` use it alike."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from buquet.errors import CorruptError
from buquet.workflow._async_body import AsyncRunner
from buquet.workflow._core import Block, Core, Start
from buquet.workflow._cursor import blocks, told_shown
from buquet.workflow._suspended import TRIES
from buquet.workflow._sync_body import SyncRunner

if TYPE_CHECKING:
    from buquet.workflow._cursor import Recorded
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._ending import Ended
    from buquet.workflow._entries import Told
    from buquet.workflow._operations import Operation

_logger = logging.getLogger("buquet.workflow")


class Body:
    """One execution of a durable function against its journal. It does no I/O.

    ``begin`` replays the journal and gives what is new behind it; ``deliver`` tells the body what came since, one told
    at a time. What they give is appended and then carried out. A plain body blocks the caller while it computes.
    """

    def __init__(self, definition: WorkflowFunction[..., Any], start: Start) -> None:
        """Take the run on; nothing runs yet."""
        self._core = Core(start, f"workflow {definition.name!r}", definition.version)
        self._runner = (AsyncRunner if definition.is_async else SyncRunner)(definition, self._core)
        self._start = start
        self._is_shut = False
        self.has_let_go = True
        """False if the body went on although it was unwound, 100 times, and was dropped."""

    @property
    def ended(self) -> Ended | None:
        """How the body ended, if it has."""
        return self._runner.ended

    @property
    def open(self) -> dict[int, Operation]:
        """What the body has asked for and has not ended, by its number, with what it takes to carry it out."""
        return self._core.open

    @property
    def is_rolling_back(self) -> bool:
        """Whether the body has failed, and its steps are being undone."""
        return self._core.is_rolling_back

    def begin(self) -> Block:
        """Start the body and replay its journal; gives what it asks for behind the last entry.

        :raises MismatchError: the code does not fit the journal.
        :raises CorruptError: the journal makes no sense.
        """
        try:
            for block in blocks(self._start.entries):
                self._replay(block)
        except BaseException:
            self.close()
            raise
        return self._collect()

    def _replay(self, block: Recorded) -> None:
        core, told = self._core, block.told
        if told is not None and self.ended is not None:
            recorded = f"that the body was told {told_shown(told)}"
            raise core.cursor.mismatch(block.position, recorded, f"nothing more: the body {self._doing()}")
        core.enter(block)
        if told is None:
            self._runner.begin()
        elif told.told == "cancel" or told.op not in core.closed:
            self._runner.tell(told)
        self._check_fault()
        core.cursor.leave(self._doing)

    def deliver(self, told: Told) -> Block:
        """Tell the body something; gives what it asks for behind it.

        :raises CorruptError: there is no such operation, or the body has ended.
        """
        if self.ended is not None:
            raise CorruptError(f"the body of {self._core.what} has ended, and is told of {told.told} {told.op}")
        if told.told != "cancel" and told.op in self._core.closed:
            return Block([], [], {}, {}, [], is_dropped=True)
        try:
            self._core.advance(told)
            self._runner.tell(told)
            self._check_fault()
        except BaseException:
            self.close()
            raise
        return self._collect()

    def _collect(self) -> Block:
        block = self._core.collect()
        if self.ended is not None:
            self.close()
        return block

    def _check_fault(self) -> None:
        if self._core.fault is not None:
            raise self._core.fault

    def _doing(self) -> str:
        ended = self.ended
        if ended is None:
            waiting = ", ".join(operation.what for operation in list(self._core.open.values())[:3])
            return f"waits for {waiting}" if waiting else "waits for nothing"
        if ended.error is not None:
            return f"{ended.status} with {ended.error.type}: {ended.error.message}"
        return ended.status

    def close(self) -> None:
        """Unwind the body without effects, as when its run is parked. A ``Body`` is used no more after that."""
        if not self._is_shut:
            self._is_shut = True
            self.has_let_go = self._runner.shut()
            if not self.has_let_go:
                _logger.error(
                    "the body of %s goes on although it was unwound, and was dropped after %d tries: let what buquet "
                    "raises in it pass, also in 'except BaseException' and 'finally'",
                    self._core.what,
                    TRIES,
                )

    def __enter__(self) -> Self:
        """Give this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
