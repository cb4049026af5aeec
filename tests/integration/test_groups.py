"""Groups with a real worker: followed, counted, called off, and what that costs in requests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from buquet import (
    Buquet,
    CorruptError,
    File,
    NotFoundError,
    TaskCancelledError,
    TaskFailedError,
    Worker,
    _ops,
    connect,
    group,
    group_async,
)
from tests.support.objects import InFile

if TYPE_CHECKING:
    from pathlib import Path

MANY = 10_000
RECORDS = MANY // 100
MISSING = "00000000-0000-8000-8000-000000000000"


def halves(path: Path) -> Buquet:
    """An app whose one task halves even numbers."""
    app = Buquet(url=f"sqlite:{path}/queue.db")

    @app.task(name="halve", retries=0)
    async def halve(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number // 2

    del halve
    return app


async def test_a_group_of_ten_thousand_costs_requests_by_the_hundred(tmp_path: Path) -> None:
    app = halves(tmp_path)
    async with app, connect(f"sqlite:{tmp_path}/queue.db") as queue:
        before = (await queue.usage()).requests
        members = await queue.submit_many("halve", [{"number": 2 * number} for number in range(MANY)])
        submitted = (await queue.usage()).requests
        assert submitted.put - before.put <= 2 * RECORDS + 100
        async with app.worker(concurrency=200):
            assert await members.results_async(timeout=300) == list(range(MANY))
        read = (await queue.usage()).requests
        assert read.get - submitted.get <= 6 * RECORDS


async def test_calls_of_several_tasks_are_submitted_with_requests_by_the_hundred(tmp_path: Path) -> None:
    app = halves(tmp_path)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    halve, many, tagged = app.tasks["halve"], 1_000, 500
    calls = [task.bind(2 * number) for number in range(many) for task in (halve, double)]
    # How many of these share a record is a matter of time: those that come while another commit is under way.
    own = [double.options(tags=[f"n-{number}"]).bind(number) for number in range(tagged)]
    async with app:
        app.queue.client.call(_ops.connect())
        before = app.usage().requests
        members = group(*calls)
        submitted = app.usage().requests
        assert submitted.put - before.put <= 2 * (2 * many // 100) + 10
        members = group(members, *own)
        further = app.usage().requests
        assert further.put - submitted.put <= tagged // 2
        assert further.get - before.get <= 20, "only the bell is read, once a second"
        async with app.worker(concurrency=200):
            results = await members.results_async(timeout=100)
    assert results[: 2 * many] == [value for number in range(many) for value in (number, 4 * number)]
    assert results[2 * many :] == [2 * number for number in range(tagged)]


async def test_a_group_is_called_off_with_two_requests_a_record(tmp_path: Path) -> None:
    async with connect(f"sqlite:{tmp_path}/queue.db") as queue:
        members = await queue.submit_many("nobody", range(MANY))
        before = (await queue.usage()).requests
        await members.cancel_async("not needed")
        counts = await members.counts_async()
        after = (await queue.usage()).requests
        assert (counts.cancelled, counts.done) == (MANY, MANY)
        assert after.put - before.put <= RECORDS + 10
        assert after.get - before.get <= 2 * RECORDS + 100


def test_members_are_given_as_they_end_whatever_became_of_them(tmp_path: Path) -> None:
    app = halves(tmp_path)
    halve = app.tasks["halve"]
    with app, app.worker():
        members = group(halve.map([2, 4]), halve.submit(1))
        ended = {handle.id: handle.task.status.value for handle in members.as_completed(timeout=60)}
        assert [ended[task_id] for task_id in members.ids] == ["completed", "completed", "failed"]
        assert (members.counts().completed, members.counts().failed) == (2, 1)
        with pytest.raises(TaskFailedError, match="1 is odd"):
            members.results()
        *results, error = members.results(return_exceptions=True)
        assert (results, type(error)) == ([1, 2], TaskFailedError)
        again = app.group(members.ids)
        assert again.wait(timeout=60).done == 3


def test_a_member_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with Buquet(url=f"sqlite:{tmp_path}/queue.db") as app, pytest.raises(NotFoundError, match=MISSING):
        app.group([MISSING]).results()


async def test_a_group_is_followed_from_async_code(tmp_path: Path) -> None:
    app = halves(tmp_path)
    async with app, app.worker():
        members = await app.queue.submit_many("halve", [{"number": number} for number in (2, 4, 6)])
        seen = [handle.task.output async for handle in members.as_completed_async(timeout=60)]
        assert sorted(seen) == [1, 2, 3]
        assert await asyncio.wait_for(members.wait_async(), 60)


async def test_calls_with_payloads_and_unique_ones_are_members_too(tmp_path: Path) -> None:
    app = halves(tmp_path)

    @app.task
    def size(file: File, data: bytes) -> int:
        with file.open() as content:
            return len(content.read()) + len(data)

    path = tmp_path / "file"
    path.write_bytes(b"x" * 1_000)
    once = app.tasks["halve"].options(unique=True)
    async with app, app.worker():
        call = size.bind(File(path), bytes(100_000))
        members = await group_async(call, once.bind(2), call, size.bind(File(path), b""))
        assert await members.results_async(timeout=60) == [101_000, 1, 101_000, 1_000]
        assert [handle.created for handle in await group_async(once.bind(2), once.bind(4))] == [False, True]


def test_unique_calls_that_come_to_one_task_are_one_member() -> None:
    app = Buquet("memory:")

    @app.task(unique=True)
    def once(number: int) -> int:
        return number

    with app.worker():
        first = once.submit(1)
        members = group(once.bind(2), once.bind(1), once.bind(1))
        assert [handle.id for handle in members][1:] == [first.id]
        assert members.results(timeout=60) == [2, 1]
    app.close()


@pytest.mark.parametrize("damage", [b"", b"not JSON", b'{"hello": "world"}'], ids=repr)
def test_a_damaged_record_is_named_and_the_other_members_are_called_off(damage: bytes, tmp_path: Path) -> None:
    app = halves(tmp_path)
    halve = app.tasks["halve"]
    with app, contextlib.closing(InFile(tmp_path / "queue.db")) as objects:
        lost = halve.map([2, 4])
        (key,) = objects.keys("tasks/")
        others = halve.map(range(150))
        objects.put(key, damage)
        members = group(others, lost)
        for look in (members.counts, members.results, lambda: list(members.as_completed(timeout=60)), members.wait):
            with pytest.raises(CorruptError, match=key):
                look()
        with pytest.raises(CorruptError, match=rf"{key}.*tasks of all other records were called off"):
            members.cancel("not needed")
        assert others.counts().cancelled == 150


async def test_workers_are_told_although_a_record_is_damaged(tmp_path: Path) -> None:
    started = asyncio.Event()
    async with connect(f"sqlite:{tmp_path}/queue.db") as queue, connect(f"sqlite:{tmp_path}/queue.db") as elsewhere:
        worker = Worker(elsewhere)

        @worker.task("wait")
        async def wait() -> None:
            started.set()
            await asyncio.Event().wait()

        lost = await queue.submit("nobody")
        with contextlib.closing(InFile(tmp_path / "queue.db")) as objects:
            objects.put(objects.keys("tasks/")[0], b"damaged")
        running = await queue.submit("wait")
        members = group(lost, running)
        async with worker:
            await asyncio.wait_for(started.wait(), 60)
            with pytest.raises(CorruptError, match="all other records were called off"):
                await members.cancel_async()
            with pytest.raises(TaskCancelledError):
                await running.result_async(timeout=60)
