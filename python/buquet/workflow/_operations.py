"""What a body has asked for, until it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from buquet.workflow._failures import error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet.workflow._entries import Ask, Told
    from buquet.workflow._signatures import Arguments
    from buquet.workflow._steps import StepCall


class Sink(Protocol):
    """Who gets to know how an operation ended: a future of a body."""

    def done(self) -> bool:
        """Whether it has ended already."""
        ...

    def set_result(self, result: Any, /) -> None:
        """It ended with this."""
        ...

    def set_exception(self, exception: Exception, /) -> None:
        """It failed with this."""
        ...


class Operation:
    """One operation of the journal."""

    __slots__ = ("_decode", "arguments", "ask", "call", "is_awaited", "op", "sink")

    def __init__(
        self,
        op: int,
        ask: Ask,
        decode: Callable[[Told], Any],
        call: StepCall | None,
        arguments: Arguments | None,
    ) -> None:
        """Bring together what was asked for and how its outcome is read."""
        self.op = op
        """Its number: the place of its ask in the journal."""
        self.ask = ask
        self.call = call
        """What to run, if it is a step."""
        self.arguments = arguments
        """The input, if it is a call or a child run."""
        self.is_awaited = False
        self.sink: Sink | None = None
        self._decode = decode

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"{self.ask.ask} {self.ask.name!r}"

    def settle(self, told: Told) -> None:
        """Tell the body how it ended."""
        sink = self.sink
        if sink is None or sink.done():
            return
        if told.outcome in {"completed", "skipped"} or (told.told == "signal" and told.outcome == "timeout"):
            try:
                value = self._decode(told)
            except Exception as error:  # noqa: BLE001 - whatever a type makes of stored JSON is the body's to handle
                sink.set_exception(error)
            else:
                sink.set_result(value)
        else:
            sink.set_exception(error_of(told, self.what))
