"""A worker as the engine knows it: what it takes on up to its free capacity, and what it hears of that."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from buquet import _ops
from buquet._places import CLEANUP_GRACE, PATIENCE, NoPlaceError
from buquet.errors import BuquetError, ClosedError, InvalidError, LayoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from buquet._client import Client
    from buquet._ops import Assignment, Assignments, CalledOff, Woken

_logger = logging.getLogger("buquet.worker")

_NEXT_WAIT = 20.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Taker(Protocol):
    """Who does what is claimed."""

    def free(self) -> int:
        """How much more fits."""
        ...

    def asking(self) -> None:
        """The engine is about to be asked."""
        ...

    def patience(self) -> float | None:
        """Seconds to wait for room, if the worker is to end after that."""
        ...

    def take(self, assignment: Assignment, /) -> None:
        """Take this on."""
        ...

    def lose(self, task_id: str, lease: str, reason: str, /) -> None:
        """A lease is gone."""
        ...

    def call_off(self, wish: CalledOff, /) -> None:
        """Somebody wants a task called off."""
        ...

    def wake(self, woken: Woken, /) -> None:
        """Something came for what runs."""
        ...


class Claims:
    """Asks the engine for work, and hands it to a ``Taker``. Lives on one event loop."""

    def __init__(self, client: Client, taker: Taker, draining: asyncio.Event, changed: asyncio.Event) -> None:
        """Prepare to claim until ``draining`` is set. Whoever has room again sets ``changed``."""
        self._client = client
        self._taker = taker
        self._draining = draining
        self._changed = changed
        self._said_drain = False
        self._listening: asyncio.Future[Assignments] | None = None
        self.worker_id = ""

    async def register(self, types: Sequence[str], concurrency: int, prefetch: int | None) -> None:
        """Begin to be a worker for these types."""
        self.worker_id = await self._client.call_async(_ops.worker_start(types, concurrency, prefetch))

    async def claim(self) -> None:
        """Take on what there is until the worker drains."""
        await self._repeat(self._next, "look for work", self._draining)
        await self._say_drain()

    async def hear(self, until: asyncio.Event) -> None:
        """Learn of losses and cancellations of what still runs, while nothing is taken on."""
        await self._repeat(self._hear, "hear of cancellations", until)

    async def _repeat(self, ask: Callable[[], Awaitable[None]], what: str, until: asyncio.Event) -> None:
        """Ask the engine again and again, and more seldom while the store gives trouble."""
        pause = _FIRST_PAUSE
        while not until.is_set():
            try:
                await ask()
            except (ClosedError, InvalidError, LayoutError, NoPlaceError):
                raise
            except BuquetError as error:
                _logger.warning("cannot %s (%s); again in %.1f s", what, error, pause)
                await _wait_for(until, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE

    async def _next(self) -> None:
        """Ask for what fits, and take it on; or wait until something fits."""
        self._changed.clear()
        if self._taker.free() == 0:
            # What needs no waiting is over after a turn of the loop or two.
            for _ in range(2):
                await asyncio.sleep(0)
        free = self._taker.free()
        self._taker.asking()
        call = self._ask(free) if free > 0 else self._listen()
        wakers = [asyncio.ensure_future(self._draining.wait())]
        if free == 0:
            wakers.append(asyncio.ensure_future(self._changed.wait()))
        try:
            patience = self._taker.patience()
            ended, _ = await asyncio.wait({call, *wakers}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not ended:
                raise NoPlaceError(
                    f"this worker had no place left for {PATIENCE:.0f} s: more attempts than it has places were given "
                    "up when their time was up, and have not returned; it ends, so that another can be started"
                )
            if self._draining.is_set() and not call.done():
                await self._say_drain()  # which ends the call
                await asyncio.wait({call}, timeout=CLEANUP_GRACE)
        finally:
            for waker in wakers:
                waker.cancel()
            if free > 0 and not call.done():
                call.cancel()
        if call.done():
            self._take_in(call.result())

    async def _hear(self) -> None:
        await asyncio.shield(self._listen())

    def _ask(self, free: int) -> asyncio.Future[Assignments]:
        return asyncio.ensure_future(self._client.call_async(_ops.worker_next(self.worker_id, free, _NEXT_WAIT)))

    def _listen(self) -> asyncio.Future[Assignments]:
        """Ask for losses alone. One such call is kept under way and never given up: its answer would be lost."""
        if self._listening is None or self._listening.done():
            self._listening = self._ask(0)
            self._listening.add_done_callback(self._heard)
        return self._listening

    def _heard(self, call: asyncio.Future[Assignments]) -> None:
        if not call.cancelled() and call.exception() is None:
            self._take_in(call.result())

    def _take_in(self, answer: Assignments) -> None:
        """Act on an answer. Doing it twice is harmless: what was lost is lost, and a listener is given no tasks."""
        for problem in answer.problems:
            _logger.warning("set aside: %s: %s", problem.key, problem.message)
        for warning in answer.warnings:
            _logger.warning("%s", warning)
        for loss in answer.lost:
            self._taker.lose(loss.id, loss.lease, loss.reason)
        for wish in answer.cancelled:
            self._taker.call_off(wish)
        for woken in answer.woken:
            self._taker.wake(woken)
        for assignment in answer.assignments:
            self._taker.take(assignment)
        if answer.state != "running":
            self._draining.set()

    async def _say_drain(self) -> None:
        """Let the engine give back what it holds ahead, once."""
        if self._said_drain:
            return
        self._said_drain = True
        try:
            await asyncio.wait_for(self._client.call_async(_ops.worker_drain(self.worker_id)), CLEANUP_GRACE)
        except (BuquetError, TimeoutError) as error:
            _logger.warning("cannot announce the drain: %s", error)

    def close(self) -> None:
        """Hear of nothing more."""
        if self._listening is not None:
            self._listening.cancel()

    async def stop(self, limit: float) -> None:
        """Give back what is still held, and sign off."""
        self.close()
        if not self.worker_id:
            return
        try:
            released = await asyncio.wait_for(self._client.call_async(_ops.worker_stop(self.worker_id)), limit)
            _logger.info("worker %s stopped, %d lease(s) given back", self.worker_id, released)
        except (BuquetError, TimeoutError) as error:
            _logger.warning("cannot give the leases back (%s); others take over once they run out", error)


async def _wait_for(event: asyncio.Event, limit: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), limit)
    except TimeoutError:
        return
