"""`buquet bench`: it prints every figure on every store, and counts the requests that the server sees."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from buquet import connect
from buquet.bench._figures import Spent
from buquet.bench._measure import check_completed, submit_at_once, submit_singles
from buquet.bench._process import WorkerProcess
from buquet.errors import BuquetError
from tests.support.processes import clean_environment
from tests.support.servers import CREDENTIALS
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.proxy import Proxy
    from tests.support.s3 import Bucket

REQUESTS = {"put", "get", "list", "delete"}
TASKS = 250
BELLS = 3


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a small benchmark in a folder."""
    command = ["buquet", "bench", "--tasks", str(TASKS), "--idle", "1", "--pickups", "3", *arguments]
    return subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=170, check=False
    )


@pytest.mark.parametrize("store", ["memory", "sqlite", "s3"])
def test_every_figure_is_there_and_sane(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = {"memory": "memory:", "sqlite": "sqlite:bench.db"}.get(store) or request.getfixturevalue("bucket").url()
    done = bench(tmp_path, "--url", url, "--json")
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)

    pickup, requests = figures.pop("pickup_ms"), figures.pop("requests_per_task")
    rates = {"submit_per_s", "submit_many_per_s", "drain_per_s", "cpu_s_per_1000", "rss_mb"}
    dollars = {"dollars_per_million", "idle_dollars_per_month"}
    assert figures.keys() == rates | dollars
    assert all(figures[name] > 0 for name in rates), figures
    assert all((figures[name] or 0) > 0 if store == "s3" else figures[name] is None for name in dollars), figures
    assert 10 < figures["rss_mb"] < 500
    assert pickup.keys() == {"p50", "p99"}
    assert 0 < pickup["p50"] <= pickup["p99"]
    assert requests.keys() == {"submit", "submit_many", "drain"}
    assert all(counts.keys() == REQUESTS and min(counts.values()) >= 0 for counts in requests.values())
    # A record, its entry, and the bell: a hundred tasks share the first two.
    assert 6 / TASKS <= requests["submit_many"]["put"] <= 20 / TASKS
    assert requests["drain"]["put"] > 0


def test_people_get_a_table_and_are_told_where_the_worker_ran(tmp_path: Path) -> None:
    done = bench(tmp_path, "--url", "memory:")
    assert done.returncode == 0, done.stderr
    assert "this process" in done.stdout
    assert "cannot be shared by processes" in done.stderr
    for part in ("single submits", "submit_many", "drain", "pick-up", "idle CPU"):
        assert part in done.stdout
    assert "$" not in done.stdout, "nobody pays for memory"


def test_requests_are_counted_as_the_server_sees_them(
    bucket: Bucket, open_proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    proxy = open_proxy(bucket.endpoint)
    url = bucket.url(through=proxy.url)

    async def main() -> None:
        # The watcher makes the queue, so that nothing that goes through the proxy is a probe, which is not counted.
        async with connect(bucket.url()) as watcher, connect(url) as queue, WorkerProcess(url, 50) as worker:
            submitted = await submit_at_once(queue, "many", TASKS)
            drained = await worker.drain("many", TASKS)
            await check_completed(watcher, submitted.ids)

            async def agreed() -> tuple[Spent, Spent] | None:
                mine, theirs, seen = Spent.of(await queue.usage()), (await worker.bill()).spent, proxy.seen.copy()
                counted = [mine.put + theirs.put, mine.list + theirs.list, mine.delete + theirs.delete]
                # To the proxy, each connection's question whether versions are kept is of another kind. The worker's
                # last look at the bell may have been counted, and given up before it was sent.
                gets = mine.get + theirs.get - seen["get"] - seen["not_modified"] - seen["other"]
                same = counted == [seen["put"], seen["list"], seen["delete"]] and gets in {0, 1}
                return (mine, theirs) if same else None

            # A request under way is seen by one before the other, and what was put off comes late.
            mine, theirs = await wait_until_async(agreed, within=60, what=f"the same counts as {proxy.seen}")

            # What is told of each phase is all there was, but for the bell, which may ring between them.
            assert 0 <= mine.put - submitted.spent.put <= BELLS
            assert drained.spent.put <= theirs.put
            assert drained.spent.put >= proxy.places["put leases"]

    asyncio.run(main())


async def test_tasks_that_were_not_run_are_noticed() -> None:
    async with connect("memory:") as queue:
        submitted = await submit_singles(queue, "never", 3)
        with pytest.raises(BuquetError, match="is pending"):
            await check_completed(queue, submitted.ids)
