"""What a worker says of a store that goes away and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.proxy import Faults
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet
    from tests.support.proxy import Proxy
    from tests.support.s3 import Bucket


def test_a_worker_that_told_of_an_outage_says_once_that_the_store_answers_again(
    bucket: Bucket,
    start_worker: StartWorker,
    open_fleet: Callable[[str], Fleet],
    open_proxy: Callable[..., Proxy],
) -> None:
    proxy = open_proxy(bucket.endpoint)
    worker = start_worker(bucket.url(through=proxy.url))
    fleet = open_fleet(bucket.url())
    assert fleet.double.submit(1).result(timeout=60) == 2
    proxy.faults = Faults(break_before=1.0)
    told = "looking for work failed"
    wait_until(lambda: told in worker.running.output(), within=120, what="a word of the outage")
    proxy.faults = Faults()
    again = "the store answers again"
    wait_until(lambda: again in worker.running.output(), within=60, what="a word of its end")
    assert fleet.double.submit(2).result(timeout=60) == 4
    assert worker.running.output().count(again) == 1
