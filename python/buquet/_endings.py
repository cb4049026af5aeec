"""What an attempt came to, as it is told to the engine."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from buquet._attempt import Attempt, Outcome, failure, logged
from buquet.errors import StoppedError

if TYPE_CHECKING:
    from buquet._run import Ending, Run, Work

_logger = logging.getLogger("buquet.worker")


def attempt_of(run: Run, work: Work) -> Attempt:
    """What the handler came to. That it was never even called must not cost the task its outcome."""
    try:
        attempt = work.future.result()
    except BaseException as error:  # noqa: BLE001 - somebody cancelled all tasks of the loop, say
        has_stopped = isinstance(error, asyncio.CancelledError)  # before its handler had begun
        attempt = None if run.is_called_off and has_stopped else not_run(run, error)
    if attempt is None or (run.is_called_off and isinstance(attempt.error, StoppedError | asyncio.CancelledError)):
        return Attempt(Outcome(outcome="cancel"))
    return attempt


def not_run(run: Run, error: BaseException) -> Attempt:
    """The worker failed to run the handler, which is worth another attempt."""
    hidden = run.keeps_secrets
    told = logged(error, hidden=hidden)
    _logger.error(
        "task %s: the worker failed to run it: %s", run.assignment.id, told, exc_info=None if hidden else error
    )
    return Attempt(Outcome(outcome="fail", error=failure(error), retry=True), error=error)


def ended_early(ending: Ending, run: Run) -> Attempt | None:
    """What is told of an attempt that was given up; nothing if its lease was lost."""
    if ending == "timeout":
        message = f"the attempt took longer than its timeout of {run.assignment.timeout_ms / 1000:g} s"
        error = TimeoutError(message)
        return Attempt(Outcome(outcome="timeout", message=message, retry=run.handler.retries(error)), error=error)
    if ending == "stopped":
        return Attempt(Outcome(outcome="release"))
    if ending == "cancelled":
        return Attempt(Outcome(outcome="cancel"))
    return None
