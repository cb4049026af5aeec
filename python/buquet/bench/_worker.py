"""The worker's side of a benchmark: it drains, rests, and tells when it picked something up."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from buquet._worker import Worker
from buquet.bench._figures import Drained, Spent
from buquet.errors import BuquetError

if TYPE_CHECKING:
    from types import TracebackType

    from buquet._queue import Queue

_QUIET_SECONDS = 0.3
_QUIET_WITHIN = 10.0
_LEAST_SECONDS = 60.0
_LEAST_PER_SECOND = 10


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process has spent since it was started."""

    cpu_seconds: float
    spent: Spent


class WorkerSide(Protocol):
    """A worker to be measured, in this process or in one of its own."""

    async def drain(self, kind: str, tasks: int) -> Drained:
        """Run that many stored tasks of the type, and nothing else."""
        ...

    async def watch(self, kind: str) -> None:
        """Work in the background on tasks of the type, from now to the end."""
        ...

    async def picked(self) -> int:
        """When the next task of that type was picked up: nanoseconds of the machine's monotonic clock."""
        ...

    async def bill(self) -> Bill:
        """What was spent so far."""
        ...


class LocalWorker:
    """A worker in this process. Use it in an ``async with`` block.

    :param queue: where the tasks are.
    :param concurrency: most tasks at a time.
    """

    def __init__(self, queue: Queue, concurrency: int) -> None:
        """Prepare; nothing runs yet."""
        self._queue = queue
        self._concurrency = concurrency
        self._picked: asyncio.Queue[int] = asyncio.Queue()
        self._background = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Give the worker itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End what runs in the background."""
        await self._background.aclose()

    async def drain(self, kind: str, tasks: int) -> Drained:
        """Run the tasks with a handler that does nothing.

        The clock starts before the worker registers and stops when it has stored
        the last outcome and signed off.

        :raises BuquetError: they did not all run in a reasonable time.
        """
        worker, left = Worker(self._queue, concurrency=self._concurrency), tasks

        @worker.task(kind)
        async def noop(_number: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                worker.drain()

        before = await self.bill()
        limit = _LEAST_SECONDS + tasks / _LEAST_PER_SECOND
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                await worker.run(handle_signals=False)
        except TimeoutError:
            raise BuquetError(f"after {limit:.0f} s {left} of {tasks} tasks had not been run") from None
        seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - before.cpu_seconds
        return Drained(
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            rss_bytes=peak_memory(),
            spent=await quiet(self._queue) - before.spent,
        )

    async def watch(self, kind: str) -> None:
        """Note when tasks of the type are picked up."""
        worker = Worker(self._queue, concurrency=self._concurrency)

        @worker.task(kind)
        async def note(_number: int) -> None:
            self._picked.put_nowait(time.monotonic_ns())

        await self._background.enter_async_context(worker)

    async def picked(self) -> int:
        """When the next watched task was picked up."""
        return await self._picked.get()

    async def bill(self) -> Bill:
        """What this process has spent so far."""
        return Bill(cpu_seconds=time.process_time(), spent=Spent.of(await self._queue.usage()))


async def quiet(queue: Queue) -> Spent:
    """What the queue has spent, once what it put off, such as deletes, is done."""
    now = Spent.of(await queue.usage())
    deadline = time.monotonic() + _QUIET_WITHIN
    while time.monotonic() < deadline:
        await asyncio.sleep(_QUIET_SECONDS)
        before, now = now, Spent.of(await queue.usage())
        if now == before:
            break
    return now


def peak_memory() -> int:
    """The most bytes of memory that this process has had resident."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
