"""What both kinds of bodies share: asking, being told, time, and what is kept for the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from buquet import _codec
from buquet.errors import CorruptError, InvalidError, MismatchError, NotAwaitedError, NotInBodyError
from buquet.workflow._cursor import Cursor
from buquet.workflow._entries import Ask, Entry, Told
from buquet.workflow._log import BodyLogger
from buquet.workflow._operations import Operation
from buquet.workflow._scopes import Scope
from buquet.workflow._suspended import TRIES, Suspended

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Sequence

    from buquet.workflow._cursor import Recorded
    from buquet.workflow._signatures import Arguments
    from buquet.workflow._steps import StepCall

_AWAITED = frozenset({"step", "call", "child"})
"""What must be awaited before a body returns."""
_SHOWN = 5
MOST_OPEN = 10_000
"""The engine's limit of operations that have not ended."""
MOST_PUBLISHED = 1_000
PUBLISHED_BYTES = 64 * 1024
"""The engine's limits of what a run publishes."""


class Start(msgspec.Struct, kw_only=True, frozen=True):
    """The run that a body belongs to, as the driver opens it."""

    id: str
    at: int
    """When the run was started, in milliseconds since the epoch."""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    entries: list[Entry] = []
    """The journal of this execution so far, chunks included."""
    patches: dict[str, bool] = {}
    """What ``ctx.patched`` has answered in this execution."""
    version: str | None = None
    """The version that the run was started with."""
    generation: int | str = 1
    execution: int = 1
    deadline: int | None = None
    """Milliseconds since the epoch."""
    parent: str | None = None


class Block(NamedTuple):
    """What a body did after it was told something, for the driver to append and carry out."""

    asks: list[Ask]
    """To be appended behind the told, in this order."""
    operations: list[Operation]
    """What these asks began, with what it takes to carry it out: all of them but cancels."""
    patches: dict[str, bool]
    published: dict[str, bytes]
    logs: list[logging.LogRecord]
    """To be written when the round is stored."""
    is_dropped: bool = False
    """The told came too late: the body had cancelled that operation. It is not to be appended."""


class Runner(Protocol):
    """What runs a body: its loop or its thread."""

    @property
    def is_inside(self) -> bool:
        """Whether the caller is the body."""
        ...

    @property
    def scope(self) -> Scope:
        """Where the caller is."""
        ...

    def enter_scope(self, scope: Scope) -> Scope:
        """Let the caller be in this scope; gives the one before."""
        ...

    def leave_scope(self, before: Scope) -> None:
        """Let the caller be in the scope before."""
        ...

    def give_up(self) -> None:
        """The body goes on although it was unwound; stop it from doing so, if need be by never returning."""
        ...


class Compensation(NamedTuple):
    """What undoes a step."""

    call: Callable[[], StepCall]
    op: int | None
    """The step's number; None for what the body registered by itself."""


class Core:
    """The state of one body."""

    def __init__(self, start: Start, what: str, version: str | None) -> None:
        """Begin before the body has run."""
        self.start = start
        self.what = what
        self.root = Scope("", f"{start.id} {start.generation} {start.execution}")
        self.cursor = Cursor(start.entries, (start.version, version))
        self.open: dict[int, Operation] = {}
        """What has not ended, by its number."""
        self.closed: set[int] = set()
        """What the body has cancelled."""
        self.unawaited: dict[int, Operation] = {}
        self.at = start.at
        self.is_live = not start.entries
        """Whether what the body does now is new."""
        self.is_stopped = False
        """Nothing that the body does has an effect any more."""
        self.is_rolling_back = False
        self.is_stuck = False
        """The body has waited for what cannot come, and was told so."""
        self.cancelled: Told | None = None
        self.new_input: bytes | None = None
        """What the body goes on with as a new execution, if it has asked for that."""
        self.fault: Exception | None = None
        """Why the body cannot go on, if it is not its own doing."""
        self.compensations: list[Compensation] = []
        self.log = BodyLogger(f"{what} {start.id}", self._keep)
        self.patches = dict(start.patches)
        self._published_sizes: dict[str, int] = {}
        self.rollback_scope = self.root
        self._runner: Runner | None = None
        self._tries = 0
        self._clear()

    def _clear(self) -> None:
        self._asks: list[Ask] = []
        self._made: list[Operation] = []
        self._patched: dict[str, bool] = {}
        self._published: dict[str, bytes] = {}
        self._logs: list[logging.LogRecord] = []

    def run_by(self, runner: Runner) -> None:
        """Say what runs the body."""
        self._runner = runner

    def collect(self) -> Block:
        """What came together since the last time."""
        block = Block(self._asks, self._made, self._patched, self._published, self._logs)
        self._clear()
        return block

    # What the contexts call.

    def check(self, call: str) -> Runner:
        """Refuse a call from elsewhere, or of a body that is being unwound.

        :raises NotInBodyError: the caller is not the body.
        """
        runner = self._runner
        if runner is None or not runner.is_inside:
            raise NotInBodyError(
                f"ctx.{call} was called outside of the body of {self.what}: in a step, on another thread or after the "
                "end; only the body can ask for something, so return from the step what it needs"
            )
        if self.is_stopped:
            self._tries += 1
            if self._tries <= TRIES:
                raise Suspended
            runner.give_up()  # no more exceptions: the body is to come to an await, where it is dropped
        return runner

    @property
    def is_given_up(self) -> bool:
        """Whether the body has gone on for too long although it is being unwound."""
        return self._tries > TRIES

    @property
    def is_replaying(self) -> bool:
        """Whether what happens now has happened before."""
        return not self.is_live

    def ask(
        self,
        scope: Scope,
        name: str,
        ask: Ask,
        decode: Callable[[Told], Any],
        *,
        call: StepCall | None = None,
        arguments: Arguments | None = None,
    ) -> Operation:
        """Ask for an operation, or find its record.

        :raises InvalidError: too many have not ended.
        """
        if len(self.open) >= MOST_OPEN and not self._makes_room():
            raise InvalidError(
                f"{len(self.open)} operations of {self.what} {self.start.id} have not ended, and there may be no more "
                "at a time; await some first, or give ctx.map a max_concurrency"
            )
        ask.scope, ask.name, ask.n = scope.path, name, scope.count(ask.ask, name)
        op, recorded = self._take(ask)
        operation = Operation(op, recorded or ask, decode, call, arguments)
        self.open[op] = operation
        if ask.ask in _AWAITED and ask.on_close != "abandon":
            self.unawaited[op] = operation
        if recorded is None:
            self._asks.append(ask)
            self._made.append(operation)
        return operation

    def _makes_room(self) -> bool:
        """End something of a body that has failed, so that its steps can be undone."""
        waiting = (each for each in self.open.values() if each.call is None or each.call.compensate is None)
        given_up = next(waiting, None) if self.is_rolling_back else None
        if given_up is not None:
            self.cancel(given_up)
        return given_up is not None

    def awaited(self, operation: Operation) -> None:
        """Note that the body looks at this operation's end."""
        self.unawaited.pop(operation.op, None)

    def cancel(self, operation: Operation) -> None:
        """Ask for the end of an operation. It is closed by that."""
        if self.is_stopped or self.open.pop(operation.op, None) is None:
            return
        self.closed.add(operation.op)
        self.awaited(operation)
        ask = Ask(ask="cancel", op=operation.op)
        _, recorded = self._take(ask)
        if recorded is None:
            self._asks.append(ask)

    def _take(self, ask: Ask) -> tuple[int, Ask | None]:
        try:
            return self.cursor.take(ask)
        except MismatchError as error:
            self.stop(error)
            raise Suspended from None

    def stop(self, fault: Exception | None = None) -> None:
        """Let nothing have an effect from here on."""
        self.fault = self.fault or fault
        self.is_stopped = True

    def patched(self, name: str) -> bool:
        """Whether new code takes effect in this run."""
        if name not in self.patches:
            self.patches[name] = self._patched[name] = self.cursor.would_patch()
        return self.patches[name]

    def publish(self, name: str, value: object) -> None:
        """Keep a value for the round."""
        encoded = _codec.encode(value, f"the value published as {name!r}")
        sizes = self._published_sizes | {name: len(name) + len(encoded)}
        if sum(sizes.values()) > PUBLISHED_BYTES or len(sizes) > MOST_PUBLISHED:
            raise InvalidError(
                f"with {name!r} of {len(encoded)} bytes, {self.what} would have published {len(sizes)} values of "
                f"{sum(sizes.values())} bytes; up to {MOST_PUBLISHED} of {PUBLISHED_BYTES} bytes in all are possible: "
                "publish less, or where the data lies"
            )
        self._published_sizes = sizes
        if self.is_live:
            self._published[name] = encoded

    def _keep(self, record: logging.LogRecord) -> None:
        if self.is_live and not self.is_stopped:
            self._logs.append(record)

    def compensate(self, compensation: Compensation) -> None:
        """Have this called if the run fails or is cancelled."""
        self.compensations.append(compensation)

    def undoable(self) -> list[Operation]:
        """Steps that have not ended, and are to be undone when they have."""
        return [each for each in self.open.values() if each.call is not None and each.call.compensate is not None]

    def begin_rollback(self) -> bool:
        """The body has failed: begin to undo its steps. Gives whether there are any."""
        if self.is_rolling_back:
            return False
        self.is_rolling_back = True
        self.rollback_scope = self.root.at("rollback")
        return bool(self.compensations or self.undoable())

    def rollback(self) -> Iterator[Compensation]:
        """What is to be called, the latest first."""
        while self.compensations:
            yield self.compensations.pop()

    # What the driver's side calls.

    def enter(self, block: Recorded) -> None:
        """Go on to a recorded block."""
        self.cursor.enter(block)
        if block.told is not None:
            self.at = block.told.at

    def advance(self, told: Told) -> None:
        """Go on to what the body is told now."""
        self.is_live = True
        self.cursor.length += 1
        self.at = max(self.at, told.at)

    def tell(self, told: Told) -> None:
        """Tell the body how an operation ended. Within the body's loop or thread.

        :raises CorruptError: there is no such operation.
        """
        operation = self.open.pop(told.op, None)
        if operation is None:
            raise CorruptError(
                f"the journal of {self.what} {self.start.id} tells twice of operation {told.op}, or it has none"
            )
        if operation.ask.ask != told.told:
            raise CorruptError(
                f"the journal of {self.what} {self.start.id} tells of {told.told} {told.op}, "
                f"and that is a {operation.ask.ask}"
            )
        operation.settle(told)
        call = operation.call
        if call is not None and call.compensate is not None and told.outcome == "completed":
            self.compensate(Compensation(lambda: call.compensation(told), told.op))

    def left_behind(self, tasks: Sequence[str]) -> NotAwaitedError | None:
        """What the body, which returned, should have awaited; ``tasks`` are those of its loop that nobody awaits."""
        several = [*(operation.what for operation in self.unawaited.values()), *tasks]
        if not several:
            return None
        names = ", ".join(several[:_SHOWN]) + (", ..." if len(several) > _SHOWN else "")
        return NotAwaitedError(
            f"the body of {self.what} returned, and {len(several)} of what it had asked for was never awaited: "
            f"{names}; await it, or cancel its future if it is not wanted any more"
        )
