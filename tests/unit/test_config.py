"""The configuration in Python: read as the engine resolved it, and used where a program says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, Queue, Worker
from buquet.errors import InternalError

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine


async def started(worker: Worker, engine: FakeEngine) -> dict[str, object]:
    async with worker:
        pass
    return dict(engine.requests("worker.start")[-1])


def a_worker(queue: Queue, **parameters: int) -> Worker:
    worker = Worker(queue, **parameters)

    @worker.task("noop")
    async def noop(_: object) -> None: ...

    return worker


async def test_a_worker_takes_what_is_configured_unless_it_is_told_otherwise(engine: FakeEngine, queue: Queue) -> None:
    engine.options = {"worker.concurrency": 7, "worker.prefetch": 3}
    configured = await started(a_worker(queue), engine)
    assert (configured["concurrency"], configured["prefetch"]) == (7, 3)
    told = await started(a_worker(queue, concurrency=2, prefetch=0), engine)
    assert (told["concurrency"], told["prefetch"]) == (2, 0)


async def test_values_are_read_by_name(engine: FakeEngine, queue: Queue) -> None:
    engine.options = {"worker.drain": "1m30s"}
    config = await queue.config()
    assert config.seconds("worker.drain") == 90
    assert config.optional_count("worker.prefetch") is None
    assert config["worker.concurrency"].value == 20
    with pytest.raises(KeyError):
        _ = config["worker.nothing"]
    with pytest.raises(InternalError):
        config.count("worker.drain")


def test_an_app_shows_its_configuration(app: Buquet) -> None:
    assert app.config().count("worker.concurrency") == 20
