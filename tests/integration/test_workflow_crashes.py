"""Runs go on whichever process is killed, and what is stored is not done again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, WorkflowFailedError
from buquet.workflow import WorkflowClient
from tests.support.processes import ROOT, background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buquet.workflow import RunHandle
    from tests.support.processes import Running
    from tests.support.stories import Place

STORES = pytest.mark.parametrize("place", ["sqlite", "s3"], indirect=True)
BACK_WITHIN = 170.0


class Fleet:
    """Workers of `tests.support.durable`, and what their steps have begun."""

    def __init__(self, place: Place, folder: Path, start: Callable[..., Running]) -> None:
        self.place, self.folder, self._start = place, folder, start
        self.gate = folder / "gate"
        self.app = Buquet(place.url)

    def worker(self, **settings: str) -> Running:
        """Start a worker process."""
        settings |= {"BUQUET_URL": self.place.url, "DURABLE_STARTS": str(self.folder / "starts")}
        environment = clean_environment(DURABLE_GATE=str(self.gate), **settings)
        return self._start(["buquet", "worker", "tests.support.durable:app"], environment)

    def started(self) -> Counter[str]:
        """How often each step was begun."""
        file = self.folder / "starts"
        return Counter(line.split()[0] for line in file.read_text().splitlines()) if file.exists() else Counter()

    def begin(self, workflow: str, name: str) -> RunHandle[list[str]]:
        """Start a run."""
        return asyncio.run(WorkflowClient(self.app).start(workflow, {"name": name}))


@pytest.fixture
def fleet(place: Place, tmp_path: Path) -> Iterator[Fleet]:
    """No worker yet."""
    with contextlib.ExitStack() as stack:

        def start(command: list[str], environment: dict[str, str]) -> Running:
            return stack.enter_context(background(command, cwd=ROOT, env=environment, logs=tmp_path))

        fleet = Fleet(place, tmp_path, start)
        yield fleet
        fleet.app.close()


@STORES
@pytest.mark.slow
def test_a_killed_workers_runs_go_on_elsewhere_and_stored_steps_are_not_done_again(fleet: Fleet) -> None:
    victim = fleet.worker()
    runs = {name: fleet.begin("several" if name < "f" else "plain", name) for name in "abcdefgh"}
    holding = 2 * 5 + 3
    wait_until(lambda: len(fleet.started()) >= len(runs) + holding, within=60, what="all runs to hold")
    victim.kill()
    fleet.worker()
    fleet.gate.touch()
    for name, run in runs.items():
        assert run.result(timeout=BACK_WITHIN)[0] == f"{name.upper()}-FIRST"
    started = fleet.started()
    assert {started[f"{name}-first"] for name in runs} == {1}, "what was stored"
    assert {started[f"{name}-last"] for name in runs} == {1}, "what came after"
    assert {started[f"{name}-plain"] for name in runs} == {2}, "what was interrupted"


@STORES
def test_a_drained_worker_hands_its_runs_over_and_spends_no_retry(fleet: Fleet) -> None:
    first = fleet.worker(BUQUET_WORKER_DRAIN="1s")
    run = fleet.begin("several", "a")
    wait_until(lambda: len(fleet.started()) == 3, within=60, what="the steps to begin")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(60) == 0
    fleet.gate.touch()
    fleet.worker()
    assert run.result(timeout=60) == ["A-FIRST", "A-PLAIN", "A-ASYNC", "A-LAST"]
    assert fleet.started() == {"a-first": 1, "a-plain": 2, "a-async": 2, "a-last": 1}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.slow
def test_a_step_that_may_run_only_once_is_not_begun_again_after_a_crash(fleet: Fleet) -> None:
    victim = fleet.worker()
    run = fleet.begin("once", "a")
    wait_until(lambda: fleet.started() == {"a": 1}, within=60, what="the step to begin")
    victim.kill()
    fleet.gate.touch()
    fleet.worker()
    with pytest.raises(WorkflowFailedError):
        run.result(timeout=BACK_WITHIN)
    assert fleet.started() == {"a": 1}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.slow
def test_a_step_that_kills_its_worker_fails_after_three_starts_and_says_so(fleet: Fleet) -> None:
    run = fleet.begin("deadly", "a")
    for count in (1, 2, 3):
        worker = fleet.worker()
        wait_until(lambda count=count: fleet.started()["a"] == count, within=BACK_WITHIN, what=f"start {count}")
        worker.process.wait(60)
    fleet.worker()
    with pytest.raises(WorkflowFailedError, match="worker"):
        run.result(timeout=BACK_WITHIN)
    assert fleet.started() == {"a": 3}
