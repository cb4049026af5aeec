"""What runs of workflows cost on S3, counted at the server's door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buquet import Buquet
from buquet.workflow import RunStatus, WorkflowContext
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from buquet.workflow import AppWorkflow
    from tests.support.proxy import Proxy
    from tests.support.s3 import Bucket

STANDING = frozenset({"bell.json", "workers", "buquet.json"})  # not caused by one run


def step(number: int) -> int:
    return number + 1


async def steps(ctx: WorkflowContext, count: int) -> int:
    number = 0
    for _ in range(count):
        number = await ctx.step(step, number)
    return number


async def sleeps(ctx: WorkflowContext) -> None:
    await ctx.sleep("2s")


async def waits(ctx: WorkflowContext) -> int:
    return await ctx.wait_signal("go", type=int) or 0


class Shop:
    """An app whose worker's requests are counted, and one that looks on."""

    def __init__(self, bucket: Bucket, proxy: Proxy) -> None:
        self.proxy = proxy
        self.app, self.watcher = Buquet(bucket.url(through=proxy.url)), Buquet(bucket.url())
        self.steps: AppWorkflow[[int], int] = self.app.workflow(steps)
        self.sleeps = self.app.workflow(sleeps)
        self.waits = self.app.workflow(waits)

    def spent(self, before: Counter[str], kind: str) -> int:
        """Requests of the kind since `before`, less those that no single run causes."""
        since = self.proxy.places.copy() - before
        return sum(since[name] for name in since if name.startswith(f"{kind} ") and name.split()[1] not in STANDING)


@pytest.fixture
def shop(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> Iterator[Shop]:
    """A worker that is warm: the probe, the marker and the first bell are behind it."""
    shop = Shop(bucket, open_proxy(bucket.endpoint))
    with shop.app, shop.watcher, shop.app.worker():
        assert shop.steps.start(1).result(timeout=60) == 1
        yield shop


def test_a_lone_run_of_three_steps_costs_eight_puts_and_five_gets(shop: Shop) -> None:
    before, runs = shop.proxy.places.copy(), 5
    for _ in range(runs):
        run = shop.steps.start(3)
        assert shop.watcher.run_handle(run.id).result(timeout=60) == 3
    assert shop.spent(before, "put") <= 8 * runs
    assert shop.spent(before, "get") <= 5 * runs


def test_each_further_step_costs_one_put(shop: Shop) -> None:
    costs: list[int] = []
    for count in (3, 23):
        before = shop.proxy.places.copy()
        run = shop.steps.start(count)
        assert shop.watcher.run_handle(run.id).result(timeout=60) == count
        costs.append(shop.spent(before, "put"))
    assert costs[1] - costs[0] <= 20 + 2


@pytest.mark.slow
def test_a_thousand_runs_of_three_steps_cost_half_a_put_each(shop: Shop) -> None:
    before = shop.proxy.places.copy()
    runs = shop.steps.start_many([3] * 1000)
    assert [shop.watcher.run_handle(run.id).result(timeout="2m") for run in runs] == [3] * 1000
    assert shop.spent(before, "put") <= 500


def test_a_sleep_costs_four_puts_and_a_signal_that_ends_a_wait_eight(shop: Shop) -> None:
    watcher = shop.watcher
    costs: list[int] = []
    for start in (lambda: shop.steps.start(0).id, lambda: shop.sleeps.start().id):
        before = shop.proxy.places.copy()
        watcher.run_handle(start()).result(timeout=120)
        costs.append(shop.spent(before, "put"))
    assert costs[1] - costs[0] <= 4
    run = shop.waits.start()
    wait_until(lambda: watcher.run_handle(run.id).status() is RunStatus.WAITING, within=60, what="the run to wait")
    before = shop.proxy.places.copy()
    run.signal("go", 7)
    assert watcher.run_handle(run.id).result(timeout=60) == 7
    assert shop.spent(before, "put") <= 8
