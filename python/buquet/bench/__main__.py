"""A worker process under ``buquet bench``: requests come on stdin and answers leave on stdout, a line of JSON each.

``python -m buquet.bench CONCURRENCY [URL]`` ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from buquet._queue import connect
from buquet.bench._process import Answer, Request
from buquet.bench._worker import LocalWorker
from buquet.errors import BuquetError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def serve(concurrency: int, url: str | None) -> None:
    """Answer requests until there are no more."""
    async with connect(url) as queue, LocalWorker(queue, concurrency) as worker:
        async for line in _lines():
            try:
                value = await _carry_out(worker, msgspec.json.decode(line, type=Request))
                answer = Answer(value=msgspec.Raw(msgspec.json.encode(value)))
            except BuquetError as error:
                answer = Answer(error=str(error))
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()


async def _carry_out(worker: LocalWorker, request: Request) -> Any:
    if request.do == "drain":
        return await worker.drain(request.kind, request.tasks)
    if request.do == "watch":
        return await worker.watch(request.kind)
    if request.do == "picked":
        return await worker.picked()
    return await worker.bill()


async def _lines() -> AsyncGenerator[bytes]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="worker: %(message)s", stream=sys.stderr)
    asyncio.run(serve(int(sys.argv[1]), next(iter(sys.argv[2:]), None)))
