"""A driver for tests: it runs steps at once, in an order of the test's choice, and keeps the journal as JSON."""

from __future__ import annotations

import asyncio
import inspect
import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import UNSET

from buquet.workflow import WorkflowFunction
from buquet.workflow._body import Body
from buquet.workflow._core import Start
from buquet.workflow._entries import Ask, ErrorInfo, Told, read_entries, write_entry
from buquet.workflow._failures import record

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from buquet.workflow._core import Block
    from buquet.workflow._ending import Ended
    from buquet.workflow._operations import Operation

BEGUN = 1_700_000_000_000
STALL = 2_000


opened: list[Driver] = []
"""The drivers of this test."""


class Driver:
    """Drives one run of a workflow."""

    crashes_always = False
    """Whether the body is dropped, and built up again from the journal, after everything that it is told."""

    def __init__(
        self, workflow: WorkflowFunction[..., Any], *args: Any, entries: list[bytes] | None = None, **kwargs: Any
    ) -> None:
        self.workflow = workflow
        self.input = workflow.signature.encode(args, kwargs)
        self.entries: list[bytes] = list(entries or ())
        self.at = BEGUN
        self.patches: dict[str, bool] = {}
        self.published: dict[str, Any] = {}
        self.logs: list[logging.LogRecord] = []
        self.calls: list[str] = []
        """The steps whose functions were called, in order."""
        self.stalled: set[str] = set()
        """Names of steps that do not end by themselves."""
        self.ended: Ended | None = None
        self.version: str | None = workflow.version
        self.body: Body = self._body()
        opened.append(self)

    def _body(self) -> Body:
        entries = read_entries(b"[" + b",".join(self.entries) + b"]")
        self.at = max([self.at, *(entry.at for entry in entries if isinstance(entry, Told))])
        start = Start(
            id="run-1",
            at=BEGUN,
            input=msgspec.Raw(self.input),
            entries=entries,
            patches=dict(self.patches),
            version=self.version,
        )
        return Body(self.workflow, start)

    def begin(self) -> Driver:
        """Start the body, or replay it."""
        self._append(self.body.begin())
        return self

    def replay(self, workflow: WorkflowFunction[..., Any] | None = None) -> Driver:
        """Drop the body, as a crash does, and build it up again from the journal."""
        self.body.close()
        self.workflow = workflow or self.workflow
        self.ended = None
        self.body = self._body()
        return self.begin()

    def _append(self, block: Block) -> None:
        self.entries += [write_entry(ask) for ask in block.asks]
        self.patches.update(block.patches)
        self.published.update({name: msgspec.json.decode(raw) for name, raw in block.published.items()})
        self.logs += block.logs
        self.ended = self.body.ended

    def tell(self, told: Told) -> None:
        """Deliver this and append what comes of it."""
        raw = write_entry(told)
        block = self.body.deliver(msgspec.json.decode(raw, type=Told))
        if not block.is_dropped:
            self.entries.append(raw)
            self._append(block)
            if self.crashes_always:
                self.replay()

    @property
    def open(self) -> dict[int, Operation]:
        return self.body.open

    def names(self) -> list[str]:
        """The names of what is open."""
        return [str(operation.ask.name) for operation in self.open.values()]

    def find(self, name: str) -> Operation:
        """What is open under this name, the oldest first."""
        return next(operation for operation in self.open.values() if operation.ask.name == name)

    def end(self, name: str, **told: Any) -> None:
        """End what is open under this name: a step by calling it, a timer by moving the clock, and so on."""
        self.end_operation(self.find(name), **told)

    def end_operation(self, operation: Operation, **told: Any) -> None:
        """End this operation."""
        ask = operation.ask
        self.at += 1
        if ask.ask == "step" and not told:
            told = self.call(operation)
        until = ask.until
        if isinstance(until, int) and (ask.ask == "timer" or told.get("outcome") == "timeout"):
            self.at = max(self.at, until)
        for name in ("output", "payload"):
            if name in told and not isinstance(told[name], msgspec.Raw):
                told[name] = msgspec.Raw(msgspec.json.encode(told[name]))
        self.tell(Told(told=ask.ask, op=operation.op, at=self.at, **told))

    def call(self, operation: Operation) -> dict[str, Any]:
        """Call a step's function; gives how it ended."""
        call = operation.call
        assert call is not None
        self.calls.append(call.name)
        args, kwargs = call.arguments()
        try:
            result = call.context.copy().run(call.function, *args, **kwargs)
            if inspect.iscoroutine(result):
                with closing(asyncio.new_event_loop()) as loop:
                    result = loop.run_until_complete(result)
            return {"outcome": "completed", "output": msgspec.Raw(call.encode(result)), "attempts": 1}
        except BaseException as error:  # noqa: BLE001 - a step may raise anything
            return {"outcome": "failed", "error": record(error), "attempts": 1}

    def cancel(self, reason: str | None = None) -> None:
        """Wish the run cancelled."""
        self.at += 1
        self.tell(Told(told="cancel", at=self.at, reason=reason, by="test"))

    def ready(self) -> list[Operation]:
        """What can end by itself: steps that do not stall, and timers."""
        return [
            operation
            for operation in self.open.values()
            if operation.ask.ask in {"step", "timer"} and operation.ask.name not in self.stalled
        ]

    def run(self, choose: Callable[[list[Operation]], Operation] | None = None) -> Ended:
        """End what can end, the oldest first or as ``choose`` says, until the body has ended."""
        while self.ended is None and (ready := self.ready()):
            self.end_operation((choose or _soonest)(ready))
        assert self.ended is not None, f"the body waits for {self.names()}"
        return self.ended

    def run_at_random(self, seed: int) -> Ended:
        """The same in a random order."""
        return self.run(random.Random(seed).choice)  # noqa: S311 - to be the same again

    def asks(self) -> list[Ask]:
        """What was asked for so far."""
        return [entry for entry in self.read() if isinstance(entry, Ask)]

    def read(self) -> list[Ask | Told]:
        """The journal."""
        return read_entries(b"[" + b",".join(self.entries) + b"]")


def _soonest(ready: list[Operation]) -> Operation:
    """Steps before timers, and timers in the order they are due."""
    return min(ready, key=lambda each: (each.ask.ask == "timer", each.ask.until if each.ask.until is not UNSET else 0))


def begun(workflow: WorkflowFunction[..., Any], *args: Any, **kwargs: Any) -> Driver:
    """A driver whose body has run as far as it could."""
    return Driver(workflow, *args, **kwargs).begin()


def result(ended: Ended | None) -> Any:
    """What a run has given."""
    assert ended is not None, "the body has not ended"
    assert ended.status == "completed", ended
    assert ended.output is not None
    return msgspec.json.decode(ended.output)


def error_of(ended: Ended | None) -> ErrorInfo:
    """What a run failed with."""
    assert ended is not None, "the body has not ended"
    assert ended.error is not None, ended
    return ended.error


def check(driver: Driver, expected: Any) -> None:
    """Check the result, and that of a replay."""
    assert result(driver.ended) == expected
    before = list(driver.entries)
    driver.replay()
    assert result(driver.ended) == expected
    assert driver.entries == before


def kinds(async_body: Callable[..., Any], plain_body: Callable[..., Any]) -> Any:
    """Run a test with both."""
    several = [WorkflowFunction[..., Any](async_body), WorkflowFunction[..., Any](plain_body)]
    return pytest.mark.parametrize("body", several, ids=["async", "plain"])
