"""The request budgets of the design, counted at the server's door and not by the engine alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet
    from tests.support.proxy import Proxy
    from tests.support.s3 import Bucket

PUT_DOLLARS = 5 / 1e6  # also for LIST
GET_DOLLARS = 0.4 / 1e6
MONTH_SECONDS = 30 * 24 * 3600
STANDING = frozenset({"bell.json", "workers", "buquet.json"})  # not caused by one task


@pytest.fixture
def proxy(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> Proxy:
    """A proxy that only counts."""
    return open_proxy(bucket.endpoint)


def spent(proxy: Proxy, before: Counter[str], kind: str) -> int:
    """Return how many requests of the kind were made since `before`, less those that no single task causes."""
    since = proxy.places.copy() - before
    return sum(since[name] for name in since if name.startswith(f"{kind} ") and name.split()[1] not in STANDING)


def warm(fleet: Fleet) -> None:
    """Get what every client does once out of the way: probe, marker, first bell."""
    assert fleet.double.submit(1).result(timeout=60) == 2


def test_a_lone_task_costs_five_puts_and_two_gets(
    bucket: Bucket, proxy: Proxy, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    start_worker(bucket.url(through=proxy.url))
    fleet = open_fleet(bucket.url(through=proxy.url))
    warm(fleet)
    watcher = open_fleet(bucket.url())  # its reads are not the task's
    before = proxy.places.copy()

    tasks = 10
    for n in range(tasks):
        name = fleet.double.submit(n).id
        assert watcher.double.handle(name).result(timeout=60) == 2 * n

    assert spent(proxy, before, "put") <= 5 * tasks
    assert spent(proxy, before, "get") <= 2 * tasks
    assert (proxy.places.copy() - before)["put bell.json"] <= tasks


def test_a_thousand_concurrent_submits_cost_a_fifth_of_a_put_each(
    bucket: Bucket, proxy: Proxy, open_fleet: Callable[[str], Fleet]
) -> None:
    async def main() -> None:
        fleet = open_fleet(bucket.url(through=proxy.url))
        await fleet.double.submit_async(0)
        before = proxy.seen["put"] + proxy.seen["list"]
        handles = await asyncio.gather(*(fleet.double.submit_async(n) for n in range(1000)))
        assert len({handle.id for handle in handles}) == 1000
        assert proxy.seen["put"] + proxy.seen["list"] - before <= 200

    asyncio.run(main())


@pytest.mark.slow
def test_ten_thousand_tasks_cost_a_tenth_of_a_put_each_to_completion(
    bucket: Bucket, proxy: Proxy, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url = bucket.url(through=proxy.url)
    start_worker(url, concurrency=200)
    fleet = open_fleet(url)
    warm(fleet)
    watcher = open_fleet(bucket.url())
    before = proxy.seen.copy()

    group = fleet.double.map(range(10_000))
    handles = [watcher.double.handle(handle.id) for handle in group]
    for n, handle in enumerate(handles):
        if n % 100 == 99:  # the last of each record
            assert handle.result(timeout=200) == 2 * n
    assert group.results(timeout=60) == [2 * n for n in range(10_000)]

    used = proxy.seen.copy() - before
    assert used["put"] + used["list"] <= 1000, used


@pytest.mark.slow
def test_an_idle_worker_costs_at_most_two_dollars_a_month_and_wakes_by_the_bell(
    bucket: Bucket, proxy: Proxy, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    start_worker(bucket.url(through=proxy.url))
    fleet = open_fleet(bucket.url())
    warm(fleet)
    # Two of everything that happens once a minute: a rate cannot be had sooner.
    before, begun = proxy.seen.copy(), time.monotonic()
    wait_until(lambda: time.monotonic() - begun >= 65, within=70, what="an idle minute")
    used, seconds = proxy.seen.copy() - before, time.monotonic() - begun

    # The window may cut one PUT and one LIST more than its share; the simulation holds the rate itself to the limit.
    paid = max(0, used["put"] - 1) + max(0, used["list"] - 1)
    dollars = paid * PUT_DOLLARS + (used["get"] + used["not_modified"]) * GET_DOLLARS
    assert dollars / seconds * MONTH_SECONDS <= 2.00, used

    places = proxy.places.copy()
    assert fleet.double.submit(7).result(timeout=30) == 14, "long before the next look at the whole index"
    # A look at the whole index that was due just then may have found the task before the bell was read.
    rung = "get bell.json"
    wait_until(lambda: (proxy.places.copy() - places)[rung] >= 1, within=60, what="the bell to be read, and be another")


def test_the_engine_counts_what_the_server_sees(
    bucket: Bucket, proxy: Proxy, open_fleet: Callable[[str], Fleet]
) -> None:
    open_fleet(bucket.url()).double.submit(0)  # makes the queue: the probe, made once in its life, is not counted
    fleet = open_fleet(bucket.url(through=proxy.url))
    with fleet.app.worker(concurrency=10):
        assert fleet.double.map(range(250)).results(timeout=60) == [2 * n for n in range(250)]

        def agreed() -> bool:
            own, seen = fleet.app.usage().requests, proxy.seen.copy()
            # The engine's GETs include those answered 304.
            gets = seen["get"] + seen["not_modified"]
            return (own.put, own.list, own.get) == (seen["put"], seen["list"], gets)

        # A request under way is seen by one before the other.
        wait_until(agreed, within=60, what="both to have counted the same")
    counted = fleet.app.usage()
    own = counted.requests
    paid = (own.put + own.list) * PUT_DOLLARS + own.get * GET_DOLLARS
    assert counted.dollars == pytest.approx(paid)
