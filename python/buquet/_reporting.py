"""What attempts came to, on its way to the engine, and what follows once that is stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from buquet._attempt import LOGGED_LIMIT, Attempt, FailureInfo, Outcome, logged, trim
from buquet._reveal import stored_error
from buquet._settler import Settler
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._client import Client
    from buquet._hook_calls import HookCalls
    from buquet._ops import Settled
    from buquet._run import Run

_logger = logging.getLogger("buquet.worker")

_HOOK_OF = {"complete": "success", "fail": "error", "timeout": "error"}


class Reporting:
    """Reports the attempts of one run of a worker. All methods are for the loop's thread."""

    def __init__(self, client: Client, worker_id: str, hooks: HookCalls, progressed: Callable[[], None]) -> None:
        """Report for a worker. ``progressed`` is called when an outcome is decided."""
        self._client = client
        self._settler = Settler(client, worker_id)
        self._hooks = hooks
        self._progressed = progressed
        self.pending = 0
        """Outcomes that are not stored yet."""

    def close(self) -> None:
        """Give up what could not be reported."""
        self._settler.close()

    def report(self, run: Run, attempt: Attempt) -> None:
        """Report what an attempt came to."""
        task_id, lease = run.key
        self.pending += 1
        outcome = msgspec.structs.replace(attempt.outcome, id=task_id, lease=lease)
        if self._client.codecs and isinstance(outcome.error, FailureInfo):
            chain = self._client.vault.chain
            sealed = stored_error(chain, outcome.error, attempt.error, run.assignment.type)
            outcome = msgspec.structs.replace(outcome, error=sealed)
        run.after_reports(lambda: self._settler.add(outcome, lambda answer: self._decided(run, attempt, answer)))

    def _decided(self, run: Run, attempt: Attempt, answer: Settled | Exception) -> None:
        task_id = run.key[0]
        if isinstance(answer, Exception):
            _logger.error("task %s: an attempt could not be reported; its lease will run out", task_id, exc_info=answer)
        elif answer.state == "lease_lost":
            run.is_lost = True
            _logger.warning("task %s: the lease was lost, its outcome is dropped", task_id)
        elif answer.state == "refused":
            self._refused(run, attempt, answer.message)
        else:
            self._committed(run, attempt, answer.status)
        self.pending -= 1
        self._progressed()

    def _refused(self, run: Run, attempt: Attempt, message: str) -> None:
        task_id = run.key[0]
        if attempt.is_last_resort:
            _logger.error("task %s: no outcome is accepted; its lease will run out", task_id)
            return
        _logger.error("task %s: the outcome is refused: %s", task_id, trim(message, LOGGED_LIMIT))
        outcome = Outcome(outcome="fail", error=FailureInfo("OutcomeRefused", message), retry=False)
        self.report(run, Attempt(outcome, error=InvalidError(message), is_last_resort=True))

    def _committed(self, run: Run, attempt: Attempt, status: str) -> None:
        ended = _HOOK_OF.get(attempt.outcome.outcome)
        if ended == "error":
            is_final = status == "failed"
            # That its time is up is all that a timeout says, and it is stored in plain.
            hidden = self._client.keeps_secrets and attempt.outcome.outcome != "timeout"
            _logger.log(
                logging.WARNING if is_final else logging.INFO,
                "task %s: attempt %d failed%s: %s",
                run.info.id,
                run.info.attempt,
                ", the last one" if is_final else "",
                logged(attempt.error, hidden=hidden),
            )
        if ended is not None:
            self._hooks.conclude(ended, run.context, attempt.result if ended == "success" else attempt.error)
