"""An app that is closed and used again, and how many threads its async calls take."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, ClosedError, connect
from buquet._in_thread import MOST_THREADS
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

    from buquet import TaskFunction


def app_of(url: str) -> tuple[Buquet, TaskFunction[[int], int]]:
    app = Buquet(url)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    return app, double


def test_an_app_may_be_entered_again(tmp_path: Path) -> None:
    app, double = app_of(f"sqlite:{tmp_path}/queue.db")
    with app:
        first = double.submit(1)
    with app, app.worker():
        assert [first.result(timeout=20), double.submit(2).result(timeout=20)] == [2, 4]


def test_an_app_may_be_entered_again_by_another_loop(tmp_path: Path) -> None:
    app, double = app_of(f"sqlite:{tmp_path}/queue.db")

    async def lifespan(n: int) -> int:
        async with app, app.worker():
            return await (await double.submit_async(n))

    assert [asyncio.run(lifespan(n)) for n in range(3)] == [0, 2, 4]


def test_a_call_after_close_opens_the_app_again() -> None:
    app, double = app_of("memory:")
    double.submit(1)
    app.close()
    app.close()
    assert app.list().tasks == [], "a new memory"
    asyncio.run(app.queue.close())
    double.submit(2)
    assert len(app.list().tasks) == 1
    app.close()


def test_what_is_under_way_when_an_app_is_closed_ends_with_closed_error() -> None:
    app, double = app_of("memory:")
    handle, errors = double.submit(1), list[BaseException]()

    def wait() -> None:
        try:
            handle.result()
        except ClosedError as error:
            errors.append(error)
        double.submit(2)  # and the thread goes on

    channels = app.queue.client._threads  # pyright: ignore[reportPrivateUsage]
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: len(channels) == 2, within=10, what="the thread's call")
    app.close()
    thread.join()
    assert len(errors) == 1
    assert [task.input for task in app.list().tasks] == [{"n": 2}]
    app.close()


def test_what_is_under_way_on_a_loop_ends_with_closed_error() -> None:
    app, double = app_of("memory:")

    async def use() -> None:
        waiting = asyncio.ensure_future((await double.submit_async(1)).result_async())
        await asyncio.sleep(0)  # it begins to wait
        await app.close_async()
        with pytest.raises(ClosedError):
            await waiting
        await double.submit_async(2)

    asyncio.run(use())
    app.close()


async def test_a_queue_that_was_connected_stays_closed() -> None:
    async with connect("memory:") as queue:
        await queue.usage()
    with pytest.raises(ClosedError, match="open a new one"):
        await queue.usage()


class Gate:
    """A codec that lets nothing pass until it is opened."""

    name = "gate"

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.threads: set[str] = set()

    def encode(self, data: bytes, context: bytes) -> bytes:
        del context
        if len(data) > 100_000:
            self.threads.add(threading.current_thread().name)
            self.opened.wait(30)
        return data

    def decode(self, data: bytes, context: bytes) -> bytes:
        del context
        return data


async def test_submits_of_large_values_at_the_same_time_take_few_threads() -> None:
    gate = Gate()
    app = Buquet("memory:", codecs=[gate])

    @app.task
    def store(data: bytes) -> None: ...

    def sending() -> int:
        return sum(thread.name == "buquet-send" for thread in threading.enumerate())

    async def all_busy() -> bool:
        return sending() == MOST_THREADS

    submits = [asyncio.ensure_future(store.submit_async(bytes(200_000))) for _ in range(3 * MOST_THREADS)]
    await wait_until_async(all_busy, within=20, what="threads")
    for submit in submits[:MOST_THREADS]:
        submit.cancel()  # whose threads go on
    for _ in range(100):
        await asyncio.sleep(0)
        assert sending() <= MOST_THREADS
    gate.opened.set()
    await asyncio.gather(*submits, return_exceptions=True)
    assert gate.threads == {"buquet-send"}
    assert len((await app.queue.list(limit=1000)).tasks) == 2 * MOST_THREADS
    await app.close_async()
