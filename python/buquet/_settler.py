"""Reports outcomes to the engine: together what is ready together, and never gives one up lightly."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from buquet import _ops
from buquet.errors import BuquetError, ClosedError, UnavailableError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buquet._attempt import Outcome
    from buquet._client import Client
    from buquet._ops import Settled

Decided: TypeAlias = "Callable[[Settled | Exception], None]"
_Report: TypeAlias = "tuple[Outcome, Decided]"

_logger = logging.getLogger("buquet.worker")

_MAX_BATCH = 256
_MAX_IN_FLIGHT = 16
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0


class Settler:
    """Turns single outcomes into batches. All methods are for the loop's thread."""

    def __init__(self, client: Client, worker_id: str) -> None:
        """Report for the worker ``worker_id``."""
        self._client = client
        self._worker = worker_id
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Report] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def add(self, outcome: Outcome, decided: Decided) -> None:
        """Report one outcome. ``decided`` is called once it is durable or refused, or cannot be reported."""
        self._waiting.append((outcome, decided))
        self._schedule()

    def close(self) -> None:
        """Give up what could not be reported."""
        for task in self._in_flight:
            task.cancel()

    def _schedule(self) -> None:
        # One turn of the loop later: what else ends in this turn travels along.
        if not self._scheduled and self._waiting and len(self._in_flight) < _MAX_IN_FLIGHT:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if not self._waiting:
            return
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
        task = self._loop.create_task(self._send(batch))
        self._in_flight.add(task)
        task.add_done_callback(self._landed)
        self._schedule()

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._schedule()

    async def _send(self, batch: list[_Report]) -> None:
        answers: Sequence[Settled | Exception]
        try:
            answers = await self._persist([outcome for outcome, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to who reported
            answers = [error] * len(batch)
        except asyncio.CancelledError:
            answers = [ClosedError("the worker stopped")] * len(batch)
        for (_, decided), answer in zip(batch, answers, strict=True):
            decided(answer)

    async def _persist(self, outcomes: list[Outcome]) -> list[Settled]:
        """Send until there is an answer: the leases' heartbeat goes on meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._client.call_async(_ops.worker_settle(self._worker, outcomes))
            except (UnavailableError, WaitTimeoutError) as error:
                _logger.warning("cannot store %d outcome(s) yet: %s", len(outcomes), error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except ClosedError:
                raise
            except BuquetError as error:
                if len(outcomes) == 1:
                    return [_ops.Settled(outcomes[0].id, "refused", message=str(error))]
                break
        # One of them is at fault, and must not take the others along.
        return [(await self._persist([outcome]))[0] for outcome in outcomes]
