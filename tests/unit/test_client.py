"""One connection, used from threads, loops, forks and dying objects."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buquet import BuquetError, ClosedError, InternalError, InvalidError, NotFoundError, UnavailableError, errors
from buquet import _ops as ops
from buquet._address import Config
from buquet._client import Client
from buquet._options import submit_options
from buquet.errors import from_code
from tests.support.waiting import wait_until
from tests.unit.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable


def counting_client() -> tuple[Client, list[FakeEngine]]:
    """A connection, and the engines that it has opened."""
    opened: list[FakeEngine] = []

    def open_engine(config: bytes) -> FakeEngine:
        opened.append(FakeEngine(config))
        return opened[-1]

    return Client(Config(url="fake:"), opener=open_engine), opened


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_the_engine_is_opened_at_the_first_call_and_once() -> None:
    client, opened = counting_client()
    assert opened == []
    threads = [threading.Thread(target=lambda: client.call(ops.usage())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [engine.config for engine in opened] == [{"url": "fake:", "folder": str(Path.cwd())}]
    client.close()


def test_a_thread_frees_its_queue_when_it_ends() -> None:
    client, opened = counting_client()
    in_thread(lambda: client.call(ops.usage()))
    gc.collect()
    assert len(opened[0].queues) == 0
    client.close()


def test_a_loop_frees_its_queue_when_it_is_gone() -> None:
    client, opened = counting_client()
    for _ in range(3):
        asyncio.run(client.call_async(ops.usage()))
    gc.collect()
    asyncio.run(client.call_async(ops.usage()))
    assert len(opened[0].queues) <= 1
    client.close()
    assert len(opened[0].queues) == 0


async def test_a_connection_that_is_dropped_frees_everything() -> None:
    client, opened = counting_client()
    await client.call_async(ops.usage())
    del client
    gc.collect()
    assert opened[0].closed
    assert len(opened[0].queues) == 0


async def test_cancelling_the_await_cancels_the_operation() -> None:
    client, opened = counting_client()
    task_id = (await client.call_async(ops.submit("t", b"1", submit_options()))).id
    waiting = asyncio.create_task(client.call_async(ops.wait(task_id, None)))
    await asyncio.sleep(0)  # lets the task start its operation
    assert len(opened[0].requests("wait")) == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert opened[0]._pending == []  # pyright: ignore[reportPrivateUsage]
    assert (await client.call_async(ops.usage())).dollars == 0.5
    client.close()


def test_ctrl_c_interrupts_a_blocking_call() -> None:
    client, opened = counting_client()
    task_id = client.call(ops.submit("t", b"1", submit_options())).id

    def interrupt() -> None:
        wait_until(lambda: opened[0].requests("wait"), within=60, what="the call to wait")
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.call(ops.wait(task_id, None))
    finally:
        signal.signal(signal.SIGINT, previous)
        thread.join()
    assert opened[0]._pending == []  # pyright: ignore[reportPrivateUsage]
    assert client.call(ops.usage()).dollars == 0.5
    client.close()


def test_a_signal_handler_may_call_while_a_call_waits() -> None:
    client, opened = counting_client()
    task_id = client.call(ops.submit("t", b"1", submit_options())).id
    seen: list[float] = []

    def handler(_number: int, _frame: object) -> None:
        seen.append(client.call(ops.usage()).dollars)
        engine = opened[0]
        with engine.changed:
            engine.tasks[task_id]["status"] = "completed"

    def interrupt() -> None:
        wait_until(lambda: opened[0].requests("wait"), within=60, what="the call to wait")
        signal.raise_signal(signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        assert client.call(ops.wait(task_id, None)).status == "completed"
    finally:
        signal.signal(signal.SIGUSR1, previous)
        thread.join()
    assert seen == [0.5]
    client.close()


async def test_a_closed_connection_refuses_calls_and_ends_waiting_ones() -> None:
    client, opened = counting_client()
    task_id = (await client.call_async(ops.submit("t", b"1", submit_options()))).id
    waiting = asyncio.create_task(client.call_async(ops.wait(task_id, None)))
    await asyncio.sleep(0)  # lets the task start its operation
    assert len(opened[0].requests("wait")) == 1
    await client.close_async()
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        await client.call_async(ops.usage())
    await client.close_async()


def test_a_connection_cannot_be_pointed_elsewhere_once_it_is_open() -> None:
    client, _ = counting_client()
    client.reconfigure(Config(url="fake:other"))
    client.call(ops.usage())
    with pytest.raises(InvalidError):
        client.reconfigure(Config())
    client.close()


def test_every_error_code_has_its_class() -> None:
    codes = "invalid config not_found layout corrupt lease_lost denied unsupported unavailable timeout closed internal"
    for code in codes.split():
        error = from_code(code, "why")
        assert (error.code, str(error)) == (code, "why")
        assert type(error) is not BuquetError
    assert isinstance(from_code("unheard_of", "why"), InternalError)


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.NotFoundError, LookupError)
    assert issubclass(errors.WaitTimeoutError, TimeoutError)
    assert issubclass(errors.ArgumentError, TypeError)
    assert issubclass(InvalidError, ValueError)


def test_an_error_of_the_engine_reaches_the_caller(engine: FakeEngine, client: Client) -> None:
    engine.fail_next("usage", UnavailableError("the store is away"))
    with pytest.raises(UnavailableError, match="the store is away"):
        client.call(ops.usage())
    with pytest.raises(NotFoundError):
        client.call(ops.get("task-7"))
