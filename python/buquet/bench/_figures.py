"""The figures of a benchmark, and what they are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buquet._models import Usage

MONTH_SECONDS = 30 * 24 * 3600


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Requests by kind, those answered 304 among ``get``, and their price on S3 in dollars."""

    put: int
    get: int
    list: int
    delete: int
    dollars: float

    @classmethod
    def of(cls, usage: Usage) -> Spent:
        """What the engine has counted."""
        counts = usage.requests
        return cls(put=counts.put, get=counts.get, list=counts.list, delete=counts.delete, dollars=usage.dollars)

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            put=self.put - before.put,
            get=self.get - before.get,
            list=self.list - before.list,
            delete=self.delete - before.delete,
            dollars=self.dollars - before.dollars,
        )


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that were stored, how long that took, and what it cost."""

    ids: list[str]
    seconds: float
    spent: Spent


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """One drain: its time, the worker process's CPU time and peak of resident memory, and its requests."""

    seconds: float
    cpu_seconds: float
    rss_bytes: int
    spent: Spent


class Rested(msgspec.Struct, frozen=True, kw_only=True):
    """A while without work."""

    seconds: float
    cpu_seconds: float
    spent: Spent

    @property
    def cpu_percent(self) -> float:
        """The share of one core that the idle worker took."""
        return 100 * self.cpu_seconds / self.seconds


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds that were not exceeded by half, and by 99 in a hundred, of the samples."""

    p50: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Latencies:
        """Sum samples up by nearest rank: of fewer than a hundred, p99 is the longest."""
        return cls(p50=percentile(samples, 0.50), p99=percentile(samples, 0.99))


class PerTask(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for each task, by kind."""

    put: float
    get: float
    list: float
    delete: float

    @classmethod
    def of(cls, spent: Spent, tasks: int) -> PerTask:
        """Spread requests over tasks."""
        return cls(put=spent.put / tasks, get=spent.get / tasks, list=spent.list / tasks, delete=spent.delete / tasks)


class RequestsPerTask(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for each task, by what was done."""

    submit: PerTask
    submit_many: PerTask
    drain: PerTask


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``buquet bench --json`` prints. docs/benchmarks.md defines each."""

    submit_per_s: float
    submit_many_per_s: float
    drain_per_s: float
    pickup_ms: Latencies
    requests_per_task: RequestsPerTask
    dollars_per_million: float | None
    """On S3 alone, and so is the next one: nobody pays for requests elsewhere."""
    idle_dollars_per_month: float | None
    rss_mb: float
    cpu_s_per_1000: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run of the benchmark has measured."""

    store: str
    tasks: int
    submit: Submitted
    submit_many: Submitted
    drain: Drained
    rest: Rested
    pickups_ms: list[float]

    def figures(self) -> Figures:
        """The figures that are published."""
        whole = self.submit_many.spent.dollars + self.drain.spent.dollars
        is_paid = self.store == "s3"
        return Figures(
            submit_per_s=self.tasks / self.submit.seconds,
            submit_many_per_s=self.tasks / self.submit_many.seconds,
            drain_per_s=self.tasks / self.drain.seconds,
            pickup_ms=Latencies.of(self.pickups_ms),
            requests_per_task=RequestsPerTask(
                submit=PerTask.of(self.submit.spent, self.tasks),
                submit_many=PerTask.of(self.submit_many.spent, self.tasks),
                drain=PerTask.of(self.drain.spent, self.tasks),
            ),
            dollars_per_million=whole / self.tasks * 1e6 if is_paid else None,
            idle_dollars_per_month=self.rest.spent.dollars / self.rest.seconds * MONTH_SECONDS if is_paid else None,
            rss_mb=self.drain.rss_bytes / 1e6,
            cpu_s_per_1000=self.drain.cpu_seconds / self.tasks * 1000,
        )


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that ``share`` of all samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]
