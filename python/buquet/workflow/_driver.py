"""Drives one run in this process: its body, its steps, and the rounds that store what they do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from buquet._in_thread import run_in_thread
from buquet.errors import (
    BuquetError,
    ClosedError,
    CorruptError,
    InvalidError,
    LeaseLostError,
    MismatchError,
    UnavailableError,
    WaitTimeoutError,
)
from buquet.workflow import _run_ops as ops
from buquet.workflow import _turns
from buquet.workflow._body import Body
from buquet.workflow._core import Start
from buquet.workflow._entries import ErrorInfo, Told, read_entries
from buquet.workflow._log import write
from buquet.workflow._run_steps import RunSteps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buquet._client import Call, Client
    from buquet._ops import Assignment
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._entries import Entry
    from buquet.workflow._run_ops import Advanced, Opened
    from buquet.workflow._step_pool import StepPool
    from buquet.workflow._turns import Round

T = TypeVar("T")

_logger = logging.getLogger("buquet.worker")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
_AFTER_FAULT = 10.0
"""Seconds before a run is given back whose driver met a fault: whoever takes it then may meet the same."""
_READS = 8
"""Objects that are read at a time for a journal."""


class Host(Protocol):
    """The worker that a run is driven in."""

    @property
    def client(self) -> Client:
        """The connection."""
        ...

    @property
    def step_pool(self) -> StepPool:
        """Where plain steps run."""
        ...

    async def in_body(self, definition: WorkflowFunction[..., Any], work: Callable[[], T]) -> T:
        """Run a part of a body: on the loop, or where plain bodies run."""
        ...

    async def enter(self, definition: WorkflowFunction[..., Any]) -> None:
        """Wait for a place where the body can run."""
        ...

    def leave(self, definition: WorkflowFunction[..., Any]) -> None:
        """Give that place back."""
        ...


class RunDriver:
    """One lease of one run. All of it happens on the worker's loop."""

    def __init__(
        self, host: Host, worker_id: str, assignment: Assignment, definition: WorkflowFunction[..., Any]
    ) -> None:
        """Take the run on."""
        self.lease = ops.Lease(worker_id, assignment.id, assignment.lease)
        self.definition = definition
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._is_lost = False
        self._is_draining = False
        self._is_stopping = False
        self._body: Body | None = None
        self._steps: RunSteps | None = None
        self._ahead = 0.0
        """Milliseconds that the store's clock is ahead of the loop's."""

    # What the worker tells.

    def lose(self) -> None:
        """The lease is gone: stop everything, store nothing."""
        self._is_lost = True
        self._stop_steps()
        self._news.set()

    def wake(self) -> None:
        """Something came for the run."""
        self._news.set()

    def drain(self) -> None:
        """Begin no step any more; give the run back when those that run have ended."""
        self._is_draining = True
        self._news.set()

    def stop(self) -> None:
        """Give the run back now."""
        self._is_draining = self._is_stopping = True
        self._news.set()

    # The whole.

    async def run(self) -> None:
        """Drive the run until it is parked or over, or is another's."""
        try:
            await self._host.enter(self.definition)
            try:
                await self._drive()
            finally:
                self._close_body()
                self._host.leave(self.definition)
        except LeaseLostError:
            _logger.warning("run %s: the lease is lost", self.lease.id)
        except (ClosedError, UnavailableError) as error:
            _logger.warning("run %s: dropped (%s); it goes on once its lease has run out", self.lease.id, error)
        except Exception as error:
            _logger.exception("run %s: its driver met a fault", self.lease.id)
            await self._after_fault(error)
        finally:
            self._stop_steps()

    async def _after_fault(self, error: Exception) -> None:
        if isinstance(error, BuquetError) and self._is_lost:
            return
        self._stop_steps()
        self._news.clear()
        if not self._is_stopping:
            await self._wait(_AFTER_FAULT)
        try:
            await self._call(ops.run_release(self.lease))
        except BuquetError as refusal:
            _logger.warning("run %s: cannot be given back: %s", self.lease.id, refusal)

    async def _drive(self) -> None:
        opened: Opened | None = await self._persist(ops.run_open(self.lease, self.definition.version))
        while opened is not None and not self._is_lost:
            opened = await self._execution(opened)

    async def _execution(self, opened: Opened) -> Opened | None:
        """Drive one execution; gives the next one, if the run goes on as new."""
        self._close_body()
        self._tell_time(opened.now)
        self._steps = steps = RunSteps(opened.run, self._host.step_pool, self._now, self._report, self._news.set)
        self._body = body = Body(self.definition, await self._start_of(opened))
        try:
            round_ = await self._host.in_body(self.definition, lambda: _turns.begin(body))
            state = None if round_.is_empty else await self._advance(round_, body, steps)
            while state in {None, "running"} and not self._is_lost:
                if _turns.is_ours(body, steps.running, opened.run.deadline):
                    await self._news.wait()
                if self._is_draining:
                    return await self._hand_back(steps)
                state = await self._turn(body, steps)
        except (MismatchError, CorruptError) as error:
            return await self._pause(error, steps)
        return await self._persist(ops.run_reopen(self.lease)) if state == "continued" else None

    async def _turn(self, body: Body, steps: RunSteps) -> str | None:
        """Look what there is to do, and do it; gives where the run stands if a round was stored."""
        self._news.clear()
        turn = await self._persist(ops.run_next(self.lease))
        self._tell_time(turn.now)
        steps.stop(turn.stop)
        if turn.lost:
            self.lose()
            return None
        if turn.terminated:
            steps.stop_all()
            return await self._advance(_turns.Round(), body, steps)
        tolds = await self._whole([entry for entry in read_entries(turn.told) if isinstance(entry, Told)])
        round_ = await self._deliver(body, tolds)
        if turn.round or not round_.is_empty:
            return await self._advance(round_, body, steps)
        await self._wait(_turns.pause_until(turn.again_at, turn.now))
        return None

    async def _deliver(self, body: Body, tolds: list[Told]) -> Round:
        if not tolds or body.ended is not None:
            return _turns.deliver(body, ())
        return await self._host.in_body(self.definition, lambda: _turns.deliver(body, tolds))

    async def _advance(self, round_: Round, body: Body, steps: RunSteps) -> str:
        """Store a round, and then begin what it asks for. If its fate is unknown, nothing is begun."""
        try:
            answer = await self._call(ops.run_advance(self.lease, round_.request()))
        except InvalidError as error:
            return await self._refused(error)
        self._tell_time(answer.now)
        write(round_.logs)
        steps.stop(answer.stop)
        if self._is_draining:
            await steps.release(answer.start)
        elif not self._is_lost:
            steps.start(answer.start, body.open)
        return answer.state

    async def _refused(self, error: InvalidError) -> str:
        """The engine takes a round for wrong, such as one that is too large: the run fails, and says so."""
        _logger.error("run %s: a round was refused: %s", self.lease.id, error)
        answer: Advanced
        try:
            answer = await self._call(
                ops.run_advance(self.lease, _turns.failed_end(ErrorInfo(type="InvalidError", message=str(error))))
            )
        except InvalidError:
            answer = await self._call(ops.run_mismatch(self.lease, _turns.mismatch_of(error)))
        self._stop_steps()
        return answer.state

    async def _pause(self, error: MismatchError | CorruptError, steps: RunSteps) -> None:
        """Let the steps end, and pause the run: the code does not fit its journal."""
        _logger.error("run %s: the code does not fit, and the run is paused: %s", self.lease.id, error)
        await self._let_end(steps)
        if self._is_lost:
            return
        answer = await self._call(ops.run_mismatch(self.lease, _turns.mismatch_of(error)))
        if answer.state == "running":
            answer = await self._call(ops.run_advance(self.lease, _turns.Round().request()))
        if answer.state == "running":
            await self._call(ops.run_release(self.lease))

    async def _hand_back(self, steps: RunSteps) -> None:
        """Give the run back once its steps have ended, or now."""
        await steps.release_waiting()
        await self._let_end(steps)
        if not self._is_lost:
            await self._call(ops.run_release(self.lease))

    async def _let_end(self, steps: RunSteps) -> None:
        """Wait for what runs; where the worker ends now, give it back."""
        while not (steps.is_idle or self._is_stopping or self._is_lost):
            self._news.clear()
            await self._news.wait()
        if not self._is_lost:
            await steps.release_all()

    # Its parts.

    async def _start_of(self, opened: Opened) -> Start:
        run, client = opened.run, self._host.client
        delivery = client.vault.delivery(_Input(opened, f"workflow:{run.name}"), opened.input, "input")
        raw = await run_in_thread(delivery.open, "buquet-read") if delivery.is_remote else delivery.open()
        return Start(
            id=run.id,
            at=run.began,
            input=msgspec.Raw(bytes(raw)),
            entries=await self._whole(read_entries(opened.entries)),
            patches=run.patches,
            version=run.version,
            generation=run.generation,
            execution=run.execution,
            deadline=run.deadline,
            parent=None if run.parent is None else run.parent.run,
        )

    async def _whole(self, entries: list[Any]) -> list[Any]:
        """Entries with what lies in objects of its own."""
        missing = [place for place, entry in enumerate(entries) if _ref_of(entry) is not None]
        for first in range(0, len(missing), _READS):
            places = missing[first : first + _READS]
            values = await asyncio.gather(*(self._read(entries[place]) for place in places))
            for place, value in zip(places, values, strict=True):
                entries[place] = value
        return entries

    async def _read(self, told: Told) -> Told:
        field, ref = _ref_of(told) or ("output", {})
        value = await self._persist(ops.read_value(self.lease.id, ref))
        return msgspec.structs.replace(told, **{field: value})

    async def _report(self, op: int, attempt: int, outcome: Mapping[str, Any]) -> None:
        """Report how a step ended, until that is taken."""
        try:
            await self._persist(ops.run_report(self.lease, op, attempt, outcome))
        except LeaseLostError:
            self.lose()

    def _stop_steps(self) -> None:
        if self._steps is not None:
            self._steps.stop_all()

    def _close_body(self) -> None:
        if self._body is not None:
            body, self._body = self._body, None
            body.close()

    def _tell_time(self, now: int) -> None:
        self._ahead = now - self._loop.time() * 1000

    def _now(self) -> int:
        return round(self._loop.time() * 1000 + self._ahead)

    async def _wait(self, limit: float) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), limit)
        except TimeoutError:
            return

    async def _call(self, call: Call[Any, T]) -> T:
        return await self._host.client.call_async(call)

    async def _persist(self, call: Call[Any, T]) -> T:
        """Ask until there is an answer, or the run is another's: the lease's heartbeat goes on meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._call(call)
            except (UnavailableError, WaitTimeoutError) as error:
                if self._is_lost or self._is_stopping:
                    raise
                _logger.warning("run %s: %s; again in %.1f s", self.lease.id, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)


class _Input:
    """An opened run's input as the vault takes it."""

    def __init__(self, opened: Opened, kind: str) -> None:
        self.type = kind
        self.input_ref = opened.input_ref
        self.input_files = opened.input_files


def _ref_of(entry: Entry) -> tuple[str, dict[str, Any]] | None:
    """What of a told lies elsewhere: the field that it belongs into, and where it is."""
    if not isinstance(entry, Told):
        return None
    if entry.output_ref is not None and entry.output is msgspec.UNSET:
        return "output", entry.output_ref
    if entry.payload_ref is not None and entry.payload is msgspec.UNSET:
        return "payload", entry.payload_ref
    return None
