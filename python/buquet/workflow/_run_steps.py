"""The steps of one run that are under way in this process."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from buquet.errors import BuquetError, InvalidError
from buquet.workflow._step_runs import RELEASED, Outcome, StepAttempt, refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, KeysView, Mapping

    from buquet.workflow._operations import Operation
    from buquet.workflow._run_ops import RunFacts, StepStart
    from buquet.workflow._step_pool import StepPool

    Report = Callable[[int, int, Mapping[str, Any]], Awaitable[None]]

_logger = logging.getLogger("buquet.worker")


class RunSteps:
    """Starts them, stops them, and reports how they ended."""

    def __init__(
        self,
        facts: RunFacts,
        pool: StepPool,
        now: Callable[[], int],
        report: Report,
        reported: Callable[[], object],
    ) -> None:
        """Begin without any. ``report`` tells the engine how one ended, and ``reported`` is called when it knows."""
        self._facts = facts
        self._pool = pool
        self._now = now
        self._report = report
        self._reported = reported
        self._attempts: dict[int, StepAttempt] = {}
        self._reports: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether none runs, and the engine knows how each ended."""
        return not self._attempts and not self._reports

    @property
    def running(self) -> KeysView[int]:
        """The numbers of those whose functions have not ended."""
        return self._attempts.keys()

    def start(self, starts: Iterable[StepStart], operations: Mapping[int, Operation]) -> None:
        """Begin the steps whose start is stored."""
        for start in starts:
            operation = operations.get(start.op)
            if operation is None or operation.call is None:
                # The body has given it up in the round that stored its start.
                self._tell(start.op, start.attempt, Outcome(outcome="cancelled").request())
                continue
            attempt = StepAttempt(operation, start.attempt, self._facts, self._now, self._ended)
            self._attempts[start.op] = attempt
            attempt.start(self._pool)

    def _ended(self, attempt: StepAttempt, outcome: Outcome) -> None:
        if self._attempts.get(attempt.op) is attempt:
            del self._attempts[attempt.op]
        if outcome.outcome == "failed":
            error = outcome.error
            _logger.info(
                "run %s: attempt %d of step %r failed: %s",
                self._facts.id,
                attempt.number,
                attempt.call.name,
                getattr(error, "type", "unknown"),
            )
        self._tell(attempt.op, attempt.number, outcome.request())

    def _tell(self, op: int, attempt: int, outcome: Mapping[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._send(op, attempt, outcome))
        self._reports.add(task)
        task.add_done_callback(self._sent)

    async def _send(self, op: int, attempt: int, outcome: Mapping[str, Any]) -> None:
        try:
            try:
                await self._report(op, attempt, outcome)
            except InvalidError as error:
                await self._report(op, attempt, refused(error))
        except BuquetError as error:
            _logger.warning("run %s: the end of step %d could not be told: %s", self._facts.id, op, error)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._reports.discard(task)
        self._reported()

    def stop(self, ops: Iterable[int]) -> None:
        """Stop these; what they may still give is dropped."""
        for op in ops:
            attempt = self._attempts.pop(op, None)
            if attempt is not None:
                attempt.stop()

    def stop_all(self) -> None:
        """Stop all."""
        self.stop(list(self._attempts))

    async def release(self, starts: Iterable[StepStart]) -> None:
        """Give back steps whose start is stored and that are not to be begun here."""
        for start in starts:
            await self._send(start.op, start.attempt, RELEASED.request())

    async def release_waiting(self) -> None:
        """Give back those that wait for a thread."""
        await self._release([attempt for attempt in self._attempts.values() if not attempt.has_begun])

    async def release_all(self) -> None:
        """Stop all and give them back, but for those that may run only once: they count as interrupted."""
        once = [op for op, attempt in self._attempts.items() if attempt.is_at_most_once and attempt.has_begun]
        self.stop(once)
        await self._release(list(self._attempts.values()))

    async def _release(self, attempts: list[StepAttempt]) -> None:
        for attempt in attempts:
            self.stop([attempt.op])
        for attempt in attempts:
            await self._send(attempt.op, attempt.number, RELEASED.request())
