"""Attempts of steps in this process: their functions, their time, and what ends them."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET

from buquet._context import AttemptInfo, TaskContext
from buquet._current import enter
from buquet._durations import Duration, seconds
from buquet._forked import ForkGuard
from buquet.errors import EncodeError, LeaseLostError, RescheduleError, RetryableError
from buquet.workflow._entries import ErrorInfo
from buquet.workflow._failures import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buquet.workflow._operations import Operation
    from buquet.workflow._run_ops import RunFacts
    from buquet.workflow._step_pool import Place, StepPool
    from buquet.workflow._steps import StepCall

_logger = logging.getLogger("buquet.worker")


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt of a step ended, as ``run.report`` takes it."""

    outcome: Literal["completed", "failed", "cancelled", "released"]
    output: msgspec.Raw | msgspec.UnsetType = UNSET
    error: ErrorInfo | msgspec.UnsetType = UNSET
    retry: bool = True
    retry_at: int | msgspec.UnsetType = UNSET
    """Milliseconds since the epoch, by the clock that ``outcome_of_error`` was given."""

    def request(self) -> dict[str, Any]:
        """This as the engine takes it."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


RELEASED = Outcome(outcome="released")


def outcome_of_error(call: StepCall, error: BaseException, now: int) -> Outcome:
    """How an attempt ended that raised ``error``; ``now`` is the store's time."""
    retry_at = _retry_at(error, now)
    retry = isinstance(error, RescheduleError) or call.retries(error)
    return Outcome(outcome="failed", error=record(error), retry=retry, retry_at=UNSET if retry_at is None else retry_at)


def _retry_at(error: BaseException, now: int) -> int | None:
    if isinstance(error, RescheduleError) and error.at is not None:
        return round(error.at.timestamp() * 1000)
    delay = error.delay if isinstance(error, RetryableError | RescheduleError) else None
    return None if delay is None else now + round(seconds(delay, "delay") * 1000)


def outcome_of_timeout(call: StepCall, limit: float) -> Outcome:
    """How an attempt ended whose time was up."""
    message = f"step {call.name!r} took longer than its timeout of {limit:g} s"
    retry = call.retries(TimeoutError(message))
    return Outcome(outcome="failed", error=ErrorInfo(type="StepTimeout", message=message), retry=retry)


class _Control:
    """How a step's context reaches its attempt."""

    def __init__(self, attempt: StepAttempt) -> None:
        self._attempt = attempt

    def lost(self) -> bool:
        """Whether nobody takes the result any more."""
        return self._attempt.is_over

    def called_off(self) -> bool:
        """Whether the step is to stop."""
        return self._attempt.is_stopped

    def report(self, value: float, message: str | None) -> None:
        """Nobody keeps the progress of a step."""

    async def extend(self, by: Duration) -> datetime:
        """Move the attempt's deadline, from an async step."""
        return self._attempt.extend(by)

    def extend_sync(self, by: Duration) -> datetime:
        """Move the attempt's deadline, from a plain step."""
        return self._attempt.extend(by)


class StepAttempt:
    """One attempt of a step. It ends once: by itself, by its time, or because it is stopped."""

    def __init__(
        self,
        operation: Operation,
        number: int,
        facts: RunFacts,
        now: Callable[[], int],
        ended: Callable[[StepAttempt, Outcome], None],
    ) -> None:
        """Take it on; ``ended`` is called once, unless it is stopped, and ``now`` tells the store's time."""
        assert operation.call is not None  # noqa: S101 - the engine starts steps alone
        self.op = operation.op
        self.number = number
        self.call = operation.call
        self.is_at_most_once = operation.ask.at_most_once is True
        self.is_over = False
        self.is_stopped = False
        self._loop = asyncio.get_running_loop()
        timeout_ms = operation.ask.timeout_ms
        self._timeout = timeout_ms / 1000 if isinstance(timeout_ms, int) else None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self._pool: StepPool | None = None
        self._place: Place | None = None
        self._facts = facts
        self._now = now
        self._ended = ended

    @property
    def has_begun(self) -> bool:
        """Whether its function may have been called."""
        return self._task is not None or (self._place is not None and self._place.job is not None)

    def start(self, pool: StepPool) -> None:
        """Call the function where it belongs."""
        context = self.call.context.copy()
        context.run(enter, self._facts.id)
        if self.call.is_async:
            self._begin()
            self._task = pool.run_async(self._run_async(), context)
            self._task.add_done_callback(self._returned)
        else:
            self._pool = pool
            self._place = pool.run(self._run_sync, context, begun=self._begin, ended=self._returned)

    def _begin(self) -> None:
        if self._timeout is not None:
            self._deadline = self._loop.time() + self._timeout
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        if self._deadline is not None and self._loop.time() < self._deadline:  # an extension has moved it
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)
        elif not self.is_over:
            self._end(outcome_of_timeout(self.call, self._timeout or 0.0))
            self._abandon()

    def _context(self) -> TaskContext:
        left = None if self._deadline is None else self._deadline - self._loop.time()
        facts = self._facts
        info = AttemptInfo(
            id=facts.id,
            type=self.call.name,
            attempt=self.number,
            retry_count=self.number - 1,
            deadline=None if left is None else datetime.now(UTC) + timedelta(seconds=left),
            tags=facts.tags,
            metadata=facts.metadata,
            parent=None if facts.parent is None else facts.parent.run,
        )
        return TaskContext(info, _Control(self))

    async def _run_async(self) -> Outcome:
        call = self.call
        try:
            args, kwargs = call.arguments(self._context())
            with ForkGuard():
                result = await call.function(*args, **kwargs)
            return self._completed(result)
        except GeneratorExit:  # the loop is gone
            raise
        except BaseException as error:  # noqa: BLE001 - a step may raise anything, SystemExit too
            return self._failed(error)

    def _run_sync(self) -> Outcome:
        call = self.call
        try:
            args, kwargs = call.arguments(self._context())
            return self._completed(call.function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as above
            return self._failed(error)

    def _completed(self, result: Any) -> Outcome:
        return Outcome(outcome="completed", output=msgspec.Raw(self.call.encode(result)))

    def _failed(self, error: BaseException) -> Outcome:
        try:
            return outcome_of_error(self.call, error, self._now())
        except Exception as wrong:  # noqa: BLE001 - a delay that is none, say, must not cost the step its outcome
            return Outcome(outcome="failed", error=record(wrong), retry=False)

    def _returned(self, future: asyncio.Future[Outcome]) -> None:
        if self.is_over:
            if not future.cancelled():
                future.exception()  # it is of no interest
            return
        try:
            outcome = future.result()
        except BaseException as error:
            # Cancelled before it began, or there was no thread for it.
            _logger.exception("run %s: the worker failed to call step %r", self._facts.id, self.call.name)
            outcome = self._failed(error)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self._over()
        self._ended(self, outcome)

    def _over(self) -> None:
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def stop(self) -> None:
        """Ask the function to stop. What it may still give is dropped."""
        if not self.is_over:
            self.is_stopped = True
            self._over()
            self._abandon()

    def _abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self._pool is not None and self._place is not None:
            self._pool.give_up(self._place)

    def extend(self, by: Duration) -> datetime:
        """Let the attempt's time end no sooner than ``by`` from now. From any thread.

        :raises LeaseLostError: it is over.
        """
        if self.is_over:
            raise LeaseLostError(f"step {self.call.name!r} of run {self._facts.id} was given up")
        later = self._loop.time() + seconds(by, "by")
        if self._deadline is not None:
            self._deadline = later = max(self._deadline, later)
        return datetime.now(UTC) + timedelta(seconds=later - self._loop.time())


def refused(error: Exception) -> Mapping[str, Any]:
    """What is reported in place of an outcome that the engine refuses, such as an output that is too large."""
    return Outcome(outcome="failed", error=record(EncodeError(str(error))), retry=False).request()
