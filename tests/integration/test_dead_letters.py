"""Dead letters from the shell and from Python, on the real engine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from buquet import (
    Buquet,
    InvalidError,
    NotFoundError,
    PermanentError,
    TaskCancelledError,
    TaskFailedError,
    TaskStatus,
    UnsupportedError,
    _ops,
    connect,
)
from buquet._options import submit_options
from tests.support.processes import clean_environment
from tests.support.s3 import new_bucket
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

NOBODY = "00000000-0000-8000-8000-000000000000"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A queue of the test's own."""
    return f"sqlite:{tmp_path}/queue.db"


@pytest.fixture
def buquet(url: str, tmp_path: Path) -> Run:
    """A function that runs `buquet` on the test's queue."""

    def run(*arguments: str, at: str = url) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(BUQUET_URL=at)
        return subprocess.run(
            ["buquet", *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def failed(url: str) -> list[str]:
    """The ids of three tasks that have failed, among six."""
    app = Buquet(url)

    @app.task
    def halve(n: int) -> float:
        if n % 2:
            raise PermanentError(f"{n} is odd")
        return n / 2

    async def let_them_run() -> list[str]:
        async with app, app.worker():
            handles = await halve.map_async(range(6))
            tasks = [await app.queue.wait(handle, timeout=60) for handle in handles]
            return [task.id for task in tasks if task.status is TaskStatus.FAILED]

    return asyncio.run(let_them_run())


def read(done: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON a command printed, which is all it printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ids(page: Any) -> list[str]:
    """Return the ids of the tasks on a page."""
    return sorted(task["id"] for task in page["tasks"])


def test_failed_tasks_are_listed_with_their_errors(buquet: Run, failed: list[str]) -> None:
    page = read(buquet("failed", "--json"))
    assert (ids(page), page["cursor"], page["corrupt"]) == (sorted(failed), None, [])
    assert {task["error"]["type"] for task in page["tasks"]} == {"PermanentError"}
    assert "is odd" in buquet("failed").stdout
    assert "Traceback" in buquet("failed", "--traceback").stdout
    assert ids(read(buquet("failed", "--type", "halve", "--error", "PermanentError", "--json"))) == sorted(failed)
    for other in (["--type", "double"], ["--error", "OSError"], ["--older-than", "1h"]):
        assert read(buquet("failed", *other, "--json"))["tasks"] == []
    assert buquet("failed", "--error", "OSError").stdout == "no failed tasks\n"


def test_a_replay_by_id_says_what_it_did_and_what_it_did_not(buquet: Run, failed: list[str]) -> None:
    replayed = buquet("replay", failed[0], "--timeout", "7m", "--priority", "9", "--retries", "5")
    assert (replayed.returncode, replayed.stdout) == (0, f"{failed[0]} replayed\n")
    task = read(buquet("status", failed[0], "--json"))
    values = [task[name] for name in ("status", "attempt", "retry_count", "timeout_ms", "priority", "max_retries")]
    assert values == ["pending", 1, 0, 420_000, 9, 5]
    again = buquet("replay", failed[0], failed[1])
    assert (again.returncode, again.stdout) == (2, f"{failed[1]} replayed\n")
    assert "is pending" in again.stderr
    assert buquet("replay", NOBODY).returncode == 3
    answer = json.loads(buquet("replay", failed[0], NOBODY, "--json").stdout)
    assert [result["outcome"] for result in answer["results"]] == ["refused", "missing"]


def test_a_replay_by_error_counts_first_and_then_does_it(buquet: Run, failed: list[str]) -> None:
    arguments = ("replay", "--error", "PermanentError", "--delay", "1h", "--json")
    assert read(buquet(*arguments, "--dry-run"))["tasks"] == 3
    assert len(read(buquet("failed", "--json"))["tasks"]) == 3
    assert read(buquet(*arguments)) == {"tasks": 3, "records": 1, "cursor": None, "corrupt": []}
    assert ids(read(buquet("list", "--status", "pending", "--json"))) == sorted(failed)
    assert read(buquet("replay", "--all", "--json"))["tasks"] == 0


def test_what_is_destroyed_is_asked_for(buquet: Run, failed: list[str]) -> None:
    for arguments in (["purge", "--older-than", "0s"], ["archive", "--all"], ["lifecycle", "--apply"]):
        refused = buquet(*arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--yes" in refused.stderr
        assert ("--dry-run" in refused.stderr) == (arguments[0] != "lifecycle"), "what there is not is not advised"
    assert read(buquet("archive", "--all", "--yes", "--json"))["tasks"] == len(failed)
    assert read(buquet("failed", "--json"))["tasks"] == []


def test_a_purge_takes_what_it_counted(buquet: Run, failed: list[str]) -> None:
    everything = ("purge", "--older-than", "0s", "--status", "failed", "--status", "completed", "--json")
    counted = read(buquet(*everything, "--dry-run"))
    assert (counted["tasks"], counted["records"], counted["kept"]) == (6, 1, 0)
    assert read(buquet("purge", "--older-than", "30d", "--yes", "--json"))["tasks"] == 0, "nothing is old"
    assert read(buquet(*everything, "--yes")) == counted
    assert read(buquet("list", "--json"))["tasks"] == []
    assert buquet("status", failed[0]).returncode == 3


def test_lifecycle_prints_the_rules_on_stdout_and_the_rest_beside_it(buquet: Run) -> None:
    shown = buquet("lifecycle", "--keep-days", "14")
    rules = read(shown)["Rules"]
    assert {rule["ID"].rpartition(":")[2] for rule in rules} >= {"tasks", "failed", "ready", "leases", "uploads"}
    assert rules[0]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 14}
    assert "no bucket" in shown.stderr
    refused = buquet("lifecycle", "--apply", "--yes")
    assert refused.returncode == 1
    assert "no lifecycle rules" in refused.stderr


@pytest.mark.parametrize("command", [["replay", "--all"], ["purge", "--older-than", "1d", "--yes"]], ids=str)
def test_a_cursor_that_is_none_is_not_advised_again(buquet: Run, command: list[str]) -> None:
    without_queue = buquet(*command, "--cursor", "banana")
    assert without_queue.returncode == 3
    assert "go on" not in without_queue.stderr
    assert buquet("submit", "double").returncode == 0
    refused = buquet(*command, "--cursor", "banana")
    assert refused.returncode == 2
    assert "banana" in refused.stderr
    assert "go on" not in refused.stderr


def test_a_purge_on_s3_says_that_it_leaves_what_is_young(buquet: Run, ministack_endpoint: str) -> None:
    at = new_bucket(ministack_endpoint).url()
    Buquet(at).queue.client.call(_ops.submit("t", b"1", submit_options()))
    purged = buquet("purge", "--older-than", "0", "--yes", at=at)
    assert (purged.returncode, purged.stdout.startswith("0 tasks purged")) == (0, True)
    assert "10 minutes" in purged.stderr
    assert "10 minutes" not in buquet("purge", "--older-than", "1h", "--yes", at=at).stderr
    assert "10 minutes" not in buquet("purge", "--older-than", "0", "--yes").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "--all"),
        (["archive"], "--all"),
        (["replay", NOBODY, "--all"], "not both"),
        (["replay", "nonsense"], "nonsense"),
        (["purge", "--older-than", "1d", "--status", "running", "--yes"], "running"),
        (["purge", "--older-than", "soon", "--yes"], "soon"),
        (["failed", "--cursor", "ready/0"], "not a cursor"),
        (["replay", "--all", "--priority", "11"], "priority"),
    ],
    ids=str,
)
def test_a_mistake_exits_with_2_and_says_what_is_wrong(buquet: Run, arguments: list[str], said: str) -> None:
    assert buquet("submit", "double").returncode == 0, "without a queue that would be what is said"
    done = buquet(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in done.stderr


def test_an_archived_task_stays_readable_as_what_it_was(buquet: Run, url: str) -> None:
    app = Buquet(url)

    @app.task
    def halve(n: int) -> float | None:
        if n % 2:
            raise PermanentError(f"{n} is odd")
        return n / 2 if n else None

    late = halve.options(ttl="1ms").submit(2)
    with app.worker():
        handles = halve.map([4, 0, 3])
        called_off = halve.options(delay="1h").submit(2)
        called_off.cancel("the wrong number", by="me")
        for handle in (handles[2], called_off, late):
            with pytest.raises(TaskFailedError):
                handle.result(timeout=60)
        assert handles[1].result(timeout=60) is None
        assert handles[0].result(timeout=60) == 2.0
    app.dead_letters.archive(*handles, called_off, late)
    assert {handle.status() for handle in (*handles, called_off, late)} == {TaskStatus.ARCHIVED}
    assert (handles[0].result(), handles[1].result()) == (2.0, None)
    with pytest.raises(TaskFailedError, match=r"archived after 1 attempt.*3 is odd"):
        handles[2].result()
    with pytest.raises(TaskCancelledError, match="cancelled and archived by me: the wrong number"):
        called_off.result()
    with pytest.raises(TaskFailedError, match="archived"):
        late.result()
    ended = [buquet("status", handle.id) for handle in (*handles, called_off, late)]
    assert [done.returncode for done in ended] == [0, 0, 4, 4, 4]
    assert "2.0" in ended[0].stdout
    # One of a record that stays is purged: nothing is left of it.
    gone = halve.map([4, 3])
    with app.worker():
        assert gone[0].result(timeout=60) == 2.0
        assert app.dead_letters.purge(status="completed", older_than=0).kept == 1
    with pytest.raises(TaskFailedError, match="archived"):
        gone[0].result()


def test_a_result_of_none_outlives_its_archiving(buquet: Run, url: str) -> None:
    app = Buquet(url)
    started, over = threading.Event(), threading.Event()

    @app.task
    def nothing() -> None:
        started.set()
        over.wait(30)

    handle = nothing.options(ttl="1s").submit()
    with app.worker():
        assert started.wait(30)
        expires_at = handle.refresh().expires_at
        assert expires_at is not None
        wait_until(lambda: datetime.now(UTC) > expires_at, within=5, what="the time until which it might start")
        over.set()
        assert handle.result(timeout=30) is None
        without_input = app.queue.client.call(_ops.submit("nothing", b"null", submit_options())).id
        assert app.handle(without_input).result(timeout=30) is None
    app.dead_letters.archive(handle, without_input)
    for task_id in (handle.id, without_input):
        assert app.handle(task_id).result() is None
        assert buquet("status", task_id).returncode == 0


async def test_the_same_from_python(url: str, failed: list[str]) -> None:
    async with connect(url) as queue:
        letters = queue.dead_letters
        assert sorted([task.id async for task in letters.iterate(error="PermanentError")]) == sorted(failed)
        await letters.replay(failed[0], timeout=9)
        with pytest.raises(InvalidError, match="is pending"):
            await letters.replay(failed[0])
        with pytest.raises(NotFoundError, match=NOBODY):
            await letters.archive(NOBODY)
        await letters.archive(failed[1])
        assert (await letters.replay_all(dry_run=True)).tasks == 1
        assert (await letters.purge(older_than=0, status=["archived", "failed"])).kept == 1
        assert (await queue.get(failed[1])).input is None
        with pytest.raises(UnsupportedError):
            await letters.lifecycle(apply=True)
        assert not (await letters.lifecycle()).applies
