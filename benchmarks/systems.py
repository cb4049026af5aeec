"""What is compared: each system, its store, its adapter, and how much of it fits into a short run."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "buquet"


@dataclass(frozen=True, kw_only=True)
class System:
    """One task queue on one store."""

    name: str
    store: str  # sqlite, s3, redis, or postgresql
    adapter: str  # a script in benchmarks/peers
    requirements: tuple[str, ...]  # empty for this work tree
    versions_of: tuple[str, ...]  # packages whose versions are told
    tasks: int
    setup: str  # how its worker runs
    callers: int  # single submits under way at a time, as its calls allow
    loses: str  # what becomes of a running task whose worker is killed
    needs_bucket: bool = False  # where a prefix is not enough

    @property
    def label(self) -> str:
        """Name and store."""
        return f"{self.name} on {STORES[self.store]}"

    @property
    def is_ours(self) -> bool:
        """Whether it is this work tree."""
        return self.name == OURS


STORES = {"sqlite": "SQLite", "s3": "S3", "redis": "Redis", "postgresql": "PostgreSQL"}

REDIS = ("redis==8.1.0",)

SYSTEMS = (
    System(
        name=OURS,
        store="sqlite",
        adapter="on_buquet.py",
        requirements=(),
        versions_of=("buquet",),
        tasks=20_000,
        setup="async, 200 at a time",
        callers=1000,
        loses="runs again",
    ),
    System(
        name=OURS,
        store="s3",
        adapter="on_buquet.py",
        requirements=(),
        versions_of=("buquet",),
        tasks=10_000,
        setup="async, 200 at a time",
        callers=1000,
        loses="runs again",
    ),
    System(
        name="buquet 0.1.0",
        store="s3",
        adapter="on_buquet_0_1.py",
        requirements=("buquet==0.1.0",),
        versions_of=("buquet",),
        tasks=200,
        setup="async, no option",
        callers=50,
        loses="runs again",
        needs_bucket=True,
    ),
    System(
        name="Celery",
        store="redis",
        adapter="on_celery.py",
        requirements=("celery[redis]==5.7.0", *REDIS),
        versions_of=("celery", "redis"),
        tasks=6_000,
        setup="solo pool",
        callers=1,
        loses="is lost",
    ),
    System(
        name="Dramatiq",
        store="redis",
        adapter="on_dramatiq.py",
        requirements=("dramatiq[redis]==2.2.1", *REDIS),
        versions_of=("dramatiq", "redis"),
        tasks=6_000,
        setup="8 threads",
        callers=1,
        loses="runs again",
    ),
    System(
        name="Taskiq",
        store="redis",
        adapter="on_taskiq.py",
        requirements=("taskiq==0.13.0", "taskiq-redis==1.2.4", *REDIS),
        versions_of=("taskiq", "taskiq-redis", "redis"),
        tasks=6_000,
        setup="async, 100 at a time, streams",
        callers=100,
        loses="runs again",
    ),
    System(
        name="Huey",
        store="sqlite",
        adapter="on_huey.py",
        requirements=("huey==3.5.4",),
        versions_of=("huey",),
        tasks=3_000,
        setup="1 thread",
        callers=1,
        loses="is lost",
    ),
    System(
        name="Procrastinate",
        store="postgresql",
        adapter="on_procrastinate.py",
        requirements=("procrastinate==3.10.0", "psycopg[binary,pool]"),
        versions_of=("procrastinate", "psycopg"),
        tasks=2_000,
        setup="async, 30 at a time",
        callers=20,
        loses="stays as running until it is retried by hand",
    ),
)
