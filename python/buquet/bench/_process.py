"""A worker in a process of its own, driven over pipes."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from buquet.bench._figures import Drained
from buquet.bench._worker import Bill
from buquet.errors import BuquetError

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

_STOP_SECONDS = 30


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker process is to do."""

    do: Literal["drain", "watch", "picked", "bill"]
    kind: str = ""
    tasks: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: an error's message, or the value."""

    error: str | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")


class WorkerProcess:
    """A worker in a process of its own. Use it in an ``async with`` block.

    :param url: where the queue is; left out, it finds it as this process does.
    :param concurrency: most tasks at a time.
    """

    def __init__(self, url: str | None, concurrency: int) -> None:
        """Describe the process; it is not started yet."""
        self._command = [sys.executable, "-m", "buquet.bench", str(concurrency), *([] if url is None else [url])]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start it, and wait until it has reached the queue."""
        # Ctrl-C is for this process, which then ends that one.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            await self.bill()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it: on its own if all went well."""
        await self._end(patience=_STOP_SECONDS if error is None else 0)

    async def _end(self, patience: float = 0) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def drain(self, kind: str, tasks: int) -> Drained:
        """Run that many stored tasks of the type there."""
        return await self._ask(Request(do="drain", kind=kind, tasks=tasks), Drained)

    async def watch(self, kind: str) -> None:
        """Watch for tasks of the type there."""
        await self._ask(Request(do="watch", kind=kind), None)

    async def picked(self) -> int:
        """When the next watched task was picked up; the clock is the machine's."""
        return await self._ask(Request(do="picked"), int)

    async def bill(self) -> Bill:
        """What that process has spent so far."""
        return await self._ask(Request(do="bill"), Bill)

    async def _ask(self, request: Request, kind: type[T] | None) -> T:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise BuquetError("the worker process was not started")
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise BuquetError(f"the worker process ended with status {await process.wait()}; its words are above")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error is not None:
            raise BuquetError(f"the worker process: {answer.error}")
        value: Any = msgspec.json.decode(answer.value, type=kind)
        return value
