"""What both versions of buquet ask of S3 for each task, counted by a proxy before the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections import Counter

    from benchmarks.trial import Bench

LOADED = 300
LONE = 10  # after one that makes the connection
GET_IN_PUTS = 0.08


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Requests for one task."""

    what: str
    put: float
    list: float
    get: float

    @property
    def paid(self) -> float:
        """The price in PUTs: LIST costs as much, a GET a twelfth."""
        return self.put + self.list + GET_IN_PUTS * self.get


def per_task(what: str, seen: Counter[str], tasks: int) -> Counted:
    """Spread what the proxy saw over the tasks."""
    gets = seen["get"] + seen["not_modified"] + seen["head"]  # a HEAD costs as much as a GET
    return Counted(what=what, put=seen["put"] / tasks, list=seen["list"] / tasks, get=gets / tasks)


def count(bench: Bench) -> list[Counted]:
    """Count a full queue's requests, then those of lone tasks, the idle looking between them included."""
    place = bench.fresh()
    with Proxy(target=bench.store.endpoint) as proxy:
        through = place.replace(bench.store.endpoint, proxy.url).replace(
            quote(bench.store.endpoint, safe=""), quote(proxy.url, safe="")
        )
        bench.pick_up(through, 1)  # makes the queue
        before = proxy.seen.copy()
        bench.submit("submit", through, LOADED)
        bench.drain(through, LOADED)
        loaded = proxy.seen - before
        before = proxy.seen.copy()
        bench.pick_up(through, LONE)
        lone = proxy.seen - before
    name = bench.system.name
    return [
        per_task(f"{name}, {LOADED} tasks together", loaded, LOADED),
        per_task(f"{name}, one at a time", lone, LONE + 1),
    ]
