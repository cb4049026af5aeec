"""What the integration tests share: worker processes, producers, and a place for the queue on each store."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from buquet import connect
from tests.support.fleet import Fleet
from tests.support.processes import ROOT, Running, background, clean_environment
from tests.support.proxy import Faults, Proxy
from tests.support.stories import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from tests.support.s3 import Bucket


def weather() -> Faults:
    """Return faults that every hundred requests meet at least twice each, and that retries still get through."""
    return Faults(answer_500=0.03, answer_503=0.03, break_before=0.02, break_after=0.02, delay=0.05)


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """A worker of the test fleet and the starts it has noted."""

    running: Running
    starts_file: Path

    def starts(self) -> list[str]:
        """The ids of the tasks it started, in order."""
        text = self.starts_file.read_text("utf-8") if self.starts_file.exists() else ""
        return [line.split()[0] for line in text.splitlines()]


class StartWorker(Protocol):
    """Starts a worker process of the test fleet."""

    def __call__(
        self, url: str, *, concurrency: int = 20, gate: Path | None = None, drain: str | None = None
    ) -> WorkerProcess:
        """Start it on the queue at `url`; its handlers return once the gate exists, and it waits `drain` for them."""
        ...


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """A function that starts worker processes of the test fleet; they end with the test."""
    started: list[WorkerProcess] = []
    with contextlib.ExitStack() as stack:

        def start(
            url: str, *, concurrency: int = 20, gate: Path | None = None, drain: str | None = None
        ) -> WorkerProcess:
            starts = tmp_path / f"starts-{len(started)}"
            settings = {"BUQUET_URL": url, "FLEET_STARTS": str(starts)}
            if gate is not None:
                settings["FLEET_GATE"] = str(gate)
            if drain is not None:
                settings["BUQUET_WORKER_DRAIN"] = drain
            command = ["buquet", "worker", "tests.support.fleet:app", "--concurrency", str(concurrency)]
            environment = clean_environment(**settings)
            running = stack.enter_context(background(command, cwd=ROOT, env=environment, logs=tmp_path))
            started.append(WorkerProcess(running=running, starts_file=starts))
            return started[-1]

        yield start


@pytest.fixture
def open_fleet() -> Iterator[Callable[[str], Fleet]]:
    """A function that gives the fleet's tasks, to be submitted to the queue at a URL."""
    with contextlib.ExitStack() as stack:

        def start(url: str) -> Fleet:
            fleet = Fleet(url)
            stack.callback(fleet.app.close)
            return fleet

        yield start


async def sign_in(url: str) -> None:
    """Make the queue, as the first connection does."""
    async with connect(url):
        pass


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A queue on the store that the test's parameter names: `sqlite`, `s3`, or `s3 in bad weather`."""
    if request.param == "sqlite":
        return Place(url=f"sqlite:{tmp_path}/queue.db")
    bucket: Bucket = request.getfixturevalue("bucket")
    if request.param == "s3":
        return Place(url=bucket.url(), bucket=bucket)
    asyncio.run(sign_in(bucket.url()))  # the probe of a new queue needs some luck to get through such weather
    proxy: Proxy = request.getfixturevalue("open_proxy")(bucket.endpoint, weather())
    return Place(url=bucket.url(through=proxy.url), bucket=bucket, proxy=proxy)


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tasks of `tests.support.life_tasks`, on a queue of this test's own that other processes find too."""
    monkeypatch.setenv("BUQUET_URL", f"sqlite:{tmp_path}/queue.db")
    sys.modules.pop("tests.support.life_tasks", None)
    life_tasks = importlib.import_module("tests.support.life_tasks")
    yield life_tasks
    life_tasks.app.close()
