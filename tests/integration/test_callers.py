"""C, Go and Python programs on one queue at the same time: each submits, works and awaits what the others do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from buquet import PermanentError, RetryPolicy, TaskStatus, Worker, connect
from tests.support.callers import has_go
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

    from buquet import Queue, Task, TaskError
    from tests.support.callers import Caller
    from tests.support.s3 import Bucket
    from tests.support.stories import Place

STORES = pytest.mark.parametrize("place", ["sqlite", "s3"], indirect=True)
CALLERS = pytest.mark.parametrize("caller", ["c", "go"], indirect=True)
SOON = 60
AT_ONCE = RetryPolicy(max_retries=3, initial=0)


def python_worker(queue: Queue, prefix: str = "") -> Worker:
    """Return a worker that does what the examples' do."""
    worker = Worker(queue)

    @worker.task(f"{prefix}sum")
    async def add(numbers: list[float]) -> float:
        return sum(numbers)

    @worker.task(f"{prefix}refuse")
    async def refuse(_: Any) -> None:
        message = "this will never work"
        raise PermanentError(message)

    return worker


@STORES
@pytest.mark.parametrize("languages", [("c", "python"), ("c", "go", "python")], ids="-".join)
async def test_each_awaits_what_another_worked_and_a_third_submitted(
    place: Place, tmp_path: Path, languages: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    programs: dict[str, Caller] = {
        name: request.getfixturevalue(f"{name}_program") for name in languages if name != "python"
    }
    async with connect(place.url) as queue, contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(python_worker(queue, "python."))
        for name, program in programs.items():
            stack.enter_context(program.working(place.url, prefix=f"{name}.", logs=tmp_path))

        async def submit(language: str, kind: str, numbers: list[int]) -> str:
            if language == "python":
                return (await queue.submit(kind, numbers)).id
            done = await asyncio.to_thread(programs[language].run, place.url, "submit", kind, json.dumps(numbers))
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        async def result(language: str, task: str) -> Any:
            if language == "python":
                return await queue.handle(task).result_async(timeout=SOON)
            done = await asyncio.to_thread(programs[language].run, place.url, "await", task, str(SOON))
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        async def story(n: int, submitter: str, worker: str, waiter: str) -> None:
            assert await result(waiter, await submit(submitter, f"{worker}.sum", [n, 1000])) == n + 1000

        everyone = itertools.product(languages, repeat=3)
        await asyncio.gather(*(story(n, *three) for n, three in enumerate(everyone)))


@STORES
@CALLERS
async def test_every_outcome_is_stored_as_a_python_worker_would(place: Place, tmp_path: Path, caller: Caller) -> None:
    async with connect(place.url) as queue:
        with caller.working(place.url, prefix="x.", logs=tmp_path) as running:
            name = 'Ada "☃" \\ \n\t\x01 \N{GRINNING FACE}'
            greeting = await queue.submit("x.greet", {"name": name})
            flaky = await queue.submit("x.flaky", {"attempts": 3}, retry=AT_ONCE)
            spent = await queue.submit("x.flaky", {"attempts": 3}, retry=RetryPolicy(max_retries=1, initial=0))
            refused = await queue.submit("x.refuse")
            unfit = await queue.submit("x.greet", {"name": 7}, retry=AT_ONCE)
            slow = await queue.submit("x.await_file", {"path": "/nowhere"}, timeout=0.5, max_retries=0)

            assert await greeting.result_async(SOON) == f"hello {name}"
            assert await flaky.result_async(SOON) == 3
            ended = {task: await queue.wait(task, SOON) for task in (flaky, spent, refused, unfit, slow)}
            assert (ended[flaky].attempt, ended[flaky].retry_count) == (3, 2)
            for task, attempts in ((spent, 2), (refused, 1), (unfit, 1), (slow, 1)):
                assert ended[task].status is TaskStatus.FAILED
                assert ended[task].attempt == attempts
            assert failure_of(ended[spent]).message == "not this time"
            assert failure_of(ended[refused]).message == "this will never work"
            assert failure_of(ended[slow]).type == "Timeout"

            running.terminate()
            assert running.wait(SOON) == 0, running.output()
        assert (await queue.workers()).workers == []


@CALLERS
async def test_a_running_task_that_is_called_off_stops(tmp_path: Path, caller: Caller) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue:
        with caller.working(url, prefix="x.", logs=tmp_path) as running:
            waiting = await queue.submit("x.await_file", {"path": str(tmp_path / "never")})
            last = await queue.submit("x.await_file", {"path": str(tmp_path / "there")})
            wait_until(lambda: running.output().count("waiting for") == 2, within=SOON, what="the handlers")
            [wish] = await queue.cancel([waiting], reason="no more", by="the test")
            assert wish.state == "requested"
            ended = await queue.wait(waiting, SOON)
            assert (ended.status, ended.error, ended.attempt) == (TaskStatus.CANCELLED, None, 1)
            assert "called off by the test: no more" in running.output()

            running.terminate()  # one that drains hears of it as well
            wait_until(lambda: "draining" in running.output(), within=SOON, what="the drain")
            await queue.cancel([last])
            assert (await queue.wait(last, SOON)).status is TaskStatus.CANCELLED
            assert running.wait(SOON) == 0, running.output()
        done = await asyncio.to_thread(caller.run, url, "await", waiting.id)
        assert (done.returncode, "cancelled" in done.stderr) == (1, True), done


def failure_of(task: Task) -> TaskError:
    """Return why a task failed."""
    assert task.error is not None
    return task.error


@CALLERS
async def test_what_does_not_complete_is_an_error_with_its_reason(tmp_path: Path, caller: Caller) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue, python_worker(queue):
        task = caller.run(url, "submit", "refuse", "null").stdout.strip()
        waited = await asyncio.to_thread(caller.run, url, "await", task, str(SOON))
        assert waited.returncode == 1
        assert "this will never work" in waited.stderr
    for words, reason in {
        ("submit", "../up", "1"): "../up",
        ("submit", "sum", "[1,"): "",
        ("await", "6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000"): "not_found",
        ("work", "not a type "): "not a type",
        ("wrong",): "usage",
    }.items():
        done = caller.run(url, *words)
        assert done.returncode in {1, 2}, f"{words}: {done}"
        assert reason in done.stderr
        assert done.stdout == ""


@CALLERS
async def test_a_wait_ends_when_its_time_is_up(tmp_path: Path, caller: Caller) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue:
        task = await queue.submit("nobody_works_this")
    done = caller.run(url, "await", task.id, "0.2")
    assert done.returncode == 1
    assert "timeout" in done.stderr or "deadline" in done.stderr


@CALLERS
async def test_sigterm_drains(tmp_path: Path, caller: Caller) -> None:
    url, gate = f"sqlite:{tmp_path}/queue.db", tmp_path / "gate"
    async with connect(url) as queue:
        with caller.working(url, concurrency=1, logs=tmp_path) as running:
            first = await queue.submit("await_file", {"path": str(gate)}, priority=9)
            wait_until(lambda: f"waiting for {gate}" in running.output(), within=SOON, what="the first task to run")
            second = await queue.submit("await_file", {"path": str(gate)})
            running.terminate()
            wait_until(lambda: "draining" in running.output(), within=SOON, what="the worker to drain")
            gate.touch()
            assert running.wait(SOON) == 0, running.output()
        assert await first.status_async() is TaskStatus.COMPLETED
        kept = await second.refresh_async()
        assert (kept.status, kept.retry_count) == (TaskStatus.PENDING, 0)


async def until_running(queue: Queue, *tasks: str) -> None:
    """Wait until workers have the tasks."""

    async def run() -> bool:
        return all(task and task.status is TaskStatus.RUNNING for task in await queue.get_many(tasks))

    await wait_until_async(run, within=SOON, what="the tasks to run")


@CALLERS
async def test_a_lost_lease_is_told_to_the_handler_and_its_result_dropped(
    bucket: Bucket, tmp_path: Path, caller: Caller
) -> None:
    gate = tmp_path / "gate"
    async with connect(bucket.url()) as queue:
        with caller.working(bucket.url(), concurrency=2, logs=tmp_path) as running:
            # Both lie in one record; the second handler has nothing to wait for but the news that its lease is lost.
            tasks = await queue.submit_many("await_file", [{"path": str(gate)}, {"path": "/nowhere"}])
            both = f"waiting for {gate}", "waiting for /nowhere"
            wait_until(lambda: all(text in running.output() for text in both), within=SOON, what="both tasks to run")
            (key,) = bucket.keys("queue/tasks/")
            bucket.put(key, taken_over(bucket.get(key)))
            gate.touch()
            told = "its outcome is dropped", "the lease is lost"
            wait_until(lambda: all(text in running.output() for text in told), within=SOON, what=" and ".join(told))
            running.terminate()
            assert running.wait(SOON) == 0, running.output()
        assert await tasks.results_async(SOON) == ["another's", "another's"]


def taken_over(record: bytes) -> bytes:
    """Return the record as another worker would leave it that took the leases away and completed the tasks."""
    changed = json.loads(record)
    changed |= {"rev": changed["rev"] + 1, "commit": uuid4().hex[:16], "leases": {}, "ready": None}
    for task in changed["tasks"]:
        del task["lease"]
        task |= {"status": "completed", "output": "another's", "completed_at": task["started_at"]}
    return json.dumps(changed).encode()


@pytest.mark.slow
@pytest.mark.parametrize("languages", [["c", "go"] if has_go() else ["c"]], ids="-".join)
async def test_tasks_of_a_killed_worker_complete_elsewhere(
    tmp_path: Path, languages: list[str], request: pytest.FixtureRequest
) -> None:
    programs: list[Caller] = [request.getfixturevalue(f"{language}_program") for language in languages]
    url, gate = f"sqlite:{tmp_path}/queue.db", tmp_path / "gate"
    held: list[str] = []
    async with connect(url) as queue:

        async def one_each() -> bool:
            holders = {task.worker for task in await queue.get_many(held) if task}
            return None not in holders and len(holders) == len(programs)

        with contextlib.ExitStack() as stack:
            for program in programs:
                running = stack.enter_context(program.working(url, concurrency=1, logs=tmp_path))
                held.append((await queue.submit("await_file", {"path": str(gate)}, timeout="1h")).id)
                await until_running(queue, *held)
                stack.callback(running.kill)
            await wait_until_async(one_each, within=SOON, what="each worker to have one of the tasks")
        gate.touch()
        rescuer = Worker(queue)

        @rescuer.task("await_file")
        async def rescue(_: Any) -> str:
            return "rescued"

        async with rescuer:
            for task in await asyncio.gather(*(queue.wait(name, "3m") for name in held)):
                assert (task.output, task.attempt, task.retry_count) == ("rescued", 2, 0)
