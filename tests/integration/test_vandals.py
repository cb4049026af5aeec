"""A store whose objects somebody damages at random: what can be read is worked, the rest is reported and set aside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from buquet import BuquetError, connect
from tests.support.objects import InBucket, InFile, Objects
from tests.support.processes import clean_environment
from tests.support.vandal import Vandal
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from buquet import Queue, TaskHandle
    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet
    from tests.support.s3 import Bucket

SEEDS = int(os.environ.get("BUQUET_TEST_VANDALS", "5"))
"""How many vandals visit; more of them, by hand, find more."""

GROUPS = 24
CLEAR = {"corrupt", "layout", "not_found", "timeout"}
"""The codes of an error that says what is wrong with a damaged object."""

MARKERS = {
    "not JSON": b"\x00\xff",
    "empty": b"",
    "another object": b'{"hello": "world"}',
    "an array": b"[]",
    "cut short": b'{"format": 1, "shard',
    "nested": b"[" * 100_000,
    "huge": b'"' + b"x" * 3_000_000,
    "no format at all": b'{"format": 0, "shard_digits": 1}',
}


def record_of(handle: TaskHandle[Any]) -> str:
    """Return the key of a task's record."""
    return f"tasks/{handle.id[0]}/{handle.id[:-4]}0000.json"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[InFile]:
    """The objects of the queue at `sqlite:queue.db` in the test's folder."""
    with contextlib.closing(InFile(tmp_path / "queue.db")) as objects:
        yield objects


@pytest.fixture(params=[*(f"sqlite {seed}" for seed in range(SEEDS)), f"s3 {SEEDS}"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Objects, int]:
    """A queue's URL, its objects, and the vandal's seed."""
    store, seed = str(request.param).split()
    if store == "sqlite":
        return f"sqlite:{tmp_path}/queue.db", request.getfixturevalue("file"), int(seed)
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.url(), InBucket(bucket), int(seed)


def test_whatever_is_damaged_everything_else_is_worked_and_can_be_looked_at(
    scene: tuple[str, Objects, int], start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url, objects, seed = scene
    chance, vandal = random.Random(seed), Vandal(objects, seed)  # noqa: S311 - to be repeated, not secret
    fleet = open_fleet(url)
    groups = [fleet.double.map(range(chance.randint(1, 30))) for _ in range(GROUPS)]
    victims = [record_of(group[0]) for group in groups[::3]]
    spared = [group for n, group in enumerate(groups) if n % 3]
    early, late = victims[::2], victims[1::2]

    damage = {key: vandal.damage(key) for key in early}
    unread = asyncio.run(corrupt_keys(url))
    vandal.litter(objects.keys("tasks/"))
    worker = start_worker(url, concurrency=7)
    for key in [*late, *[key for key in objects.keys("workers/") if key.endswith(".json")]]:
        if objects.keys(key):
            damage[key] = vandal.damage(key)
        vandal.litter(victims)

    for group in spared:
        assert group.results(timeout=60) == [2 * n for n in range(len(group))], damage
    for key in unread & set(early):
        wait_until(lambda key=key: key in worker.running.output(), within=60, what=f"a report of {key}, {damage}")
    assert worker.running.process.poll() is None, worker.running.output()[-3000:]
    assert "Traceback" not in worker.running.output()

    asyncio.run(look_at_everything(url, [group[place] for group in groups for place in (0, -1)], spared))
    look_at_the_command_line(url, chance.choice(groups[::3])[0].id)


async def corrupt_keys(url: str) -> set[str]:
    """Return the keys that a listing calls corrupt."""
    async with connect(url) as queue:
        page = await queue.list(limit=1000)
        return {corrupt.key.removeprefix("queue/") for corrupt in page.corrupt}


async def look_at_everything(
    url: str, handles: Sequence[TaskHandle[Any]], spared: Sequence[Sequence[TaskHandle[Any]]]
) -> None:
    """Read the queue in every way there is; each answers, or says what is wrong."""
    async with connect(url) as queue:
        listed: set[str] = set()
        cursor = None
        while True:
            page = await queue.list(limit=1000, cursor=cursor)
            listed.update(task.id for task in page.tasks)
            cursor = page.cursor
            if cursor is None:
                break
        assert {handle.id for group in spared for handle in group} <= listed
        for handle in handles:
            for read in (queue.get, queue.history, at_once(queue)):
                code = await code_of(read(handle.id))
                assert code is None or code in CLEAR, code
        await queue.workers()


async def code_of(reading: Awaitable[object]) -> str | None:
    """Return the code of the error that it ends with, if it does."""
    try:
        await reading
    except BuquetError as error:
        return error.code
    return None


def at_once(queue: Queue) -> Callable[[str], Any]:
    """Return a wait that is over at once."""
    return lambda task_id: queue.wait(task_id, timeout=0)


def look_at_the_command_line(url: str, task_id: str) -> None:
    """Every command that reads ends by itself, and never with a traceback."""
    for command in (["list"], ["workers"], ["status", task_id], ["history", task_id]):
        ended = buquet(url, *command)
        assert ended.returncode in {0, 1, 3, 4}, ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode == 0 or ended.stderr.startswith("error:") or ended.returncode == 4, ended.stderr
        assert "\x1b" not in ended.stdout + ended.stderr, "a stored text controls the terminal"


def buquet(url: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    environment = clean_environment(BUQUET_URL=url)
    return subprocess.run(
        ["buquet", *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("damage", MARKERS)
def test_a_damaged_marker_stops_everybody_with_what_to_do(damage: str, tmp_path: Path, file: InFile) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    asyncio.run(submit_one(url))
    file.put("buquet.json", MARKERS[damage])
    before = file.keys()
    with pytest.raises(BuquetError, match=r"buquet\.json.*put back") as caught:
        asyncio.run(submit_one(url))
    assert caught.value.code == "corrupt"
    assert file.keys() == before, "nothing was written"
    file.put("buquet.json", b'{"format":1,"shard_digits":1}')  # as the message says
    asyncio.run(submit_one(url))


@pytest.mark.parametrize("command", [["list"], ["worker", "tests.support.fleet:app"]], ids=" ".join)
def test_the_command_line_ends_with_what_to_do_about_a_damaged_marker(
    command: list[str], tmp_path: Path, file: InFile
) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    asyncio.run(submit_one(url))
    file.put("buquet.json", MARKERS["nested"])
    ended = buquet(url, *command)
    assert ended.returncode == 1, ended.stderr
    assert "put back" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_deleted_marker_is_written_again(tmp_path: Path, file: InFile) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    asyncio.run(submit_one(url))
    file.delete("buquet.json")
    asyncio.run(submit_one(url))
    assert len(file.keys("tasks/")) == 2
    assert file.keys("buquet.json") == ["buquet.json"]


async def submit_one(url: str) -> None:
    """Store a task."""
    async with connect(url) as queue:
        await queue.submit("work", 1)


def test_damaged_registrations_are_named_by_the_command_line(tmp_path: Path, file: InFile) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    asyncio.run(submit_one(url))
    file.put("workers/0123456789abcdef.json", b"{}")
    plain = buquet(url, "workers")
    assert plain.returncode == 0
    assert "workers/0123456789abcdef.json" in plain.stderr
    assert "workers/0123456789abcdef.json" in buquet(url, "workers", "--json").stdout


def test_stored_text_does_not_control_the_terminal(tmp_path: Path, file: InFile) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    asyncio.run(submit_one(url))
    (key,) = file.keys("tasks/")
    file.put(key, file.get(key).replace(b'"type":"work"', rb'"type":"\u001b]0;gotcha\u0007\u009b2J"'))
    for command in (["list"], ["status", key[8:-5]], ["history", key[8:-5]]):
        ended = buquet(url, *command)
        assert ended.returncode == 0, ended.stderr
        assert not set(ended.stdout) & {"\x1b", "\x07", "\x9b"}, ended.stdout
    assert "gotcha" in buquet(url, "list").stdout
