"""Damaged objects are reported and set aside; they stop no worker and no other task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from buquet import BuquetError, connect
from buquet.cli import _output
from buquet.cli._app import cli
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet
    from tests.support.s3 import Bucket

DAMAGE = {
    "not JSON": b"\x00\xff not json",
    "empty": b"",
    "another object": b'{"hello": "world"}',
    "cut short": b'{"format": 1, "id": "',
    "far too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_reported_and_everything_else_goes_on(
    damage: str, bucket: Bucket, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    fleet = open_fleet(bucket.url())
    lost = fleet.double.submit(1)
    (key,) = bucket.keys("queue/tasks/")
    bucket.put(key, DAMAGE[damage])  # its ready entry still leads there

    worker = start_worker(bucket.url())
    assert fleet.double.map(range(50)).results(timeout=60) == [2 * n for n in range(50)]
    wait_until(lambda: key.removeprefix("queue/") in worker.running.output(), within=60, what="the worker's report")
    assert worker.running.process.poll() is None
    assert bucket.get(key) == DAMAGE[damage], "set aside, not changed"

    with pytest.raises(BuquetError) as caught:
        lost.status()
    assert caught.value.code == "corrupt"

    async def listed() -> list[str]:
        async with connect(bucket.url()) as queue:
            page = await queue.list(limit=1000)
            assert len(page.tasks) == 50
            return [corrupt.key for corrupt in page.corrupt]

    assert [name.removeprefix("queue/") for name in asyncio.run(listed())] == [key.removeprefix("queue/")]


@pytest.mark.parametrize(
    "key",
    [
        "ready/0/notanumber/x",
        "ready/0/0000000001/garbage",
        "ready/zz/0000000001/garbage",
        "leases/0/0000000001/garbage",
        "workers/not-a-worker.json",
        "workers/.json",
        "tasks/0/readme.txt",
        "tasks/stray.json",
        "bell.json",
    ],
)
def test_objects_that_are_not_ours_disturb_nothing(
    key: str, bucket: Bucket, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    fleet = open_fleet(bucket.url())
    fleet.double.submit(0)
    bucket.put(f"queue/{key}", b"something else")
    worker = start_worker(bucket.url())
    assert fleet.double.map(range(20)).results(timeout=60) == [2 * n for n in range(20)]
    assert worker.running.process.poll() is None
    assert bucket.keys(f"queue/{key}") == [f"queue/{key}"]


def test_a_listing_warns_of_what_is_not_ours(
    bucket: Bucket, open_fleet: Callable[[str], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_output.shared, "url", None)
    monkeypatch.setattr(_output.shared, "json", False)
    task = open_fleet(bucket.url()).double.submit(1)
    bucket.put("queue/tasks/3/readme.txt", b"hello")
    listed = CliRunner().invoke(cli, ["list", "--url", bucket.url()])
    assert (listed.exit_code, task.id in listed.stdout) == (0, True)
    assert listed.stderr.startswith("warning: tasks/3/readme.txt is not buquet's")
