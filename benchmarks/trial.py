"""One trial of one system: submit, drain and pick-up, each in processes of its own environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.servers import new_bucket
from tests.support.servers import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.servers import Store
    from benchmarks.systems import System

PEERS = Path(__file__).parent / "peers"
ROLE_SECONDS = 120.0
DRAIN_SECONDS = 120.0
STEP_SECONDS = 0.05
S3_GAP = "1.1"  # sooner, a submitter on S3 would not be an idle one
GAP = "0.2"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one trial measured. `pickups` are milliseconds."""

    system: str
    submit_per_s: float
    bulk_per_s: float | None
    drain_per_s: float
    worker_cpu: float  # seconds for 1,000 tasks
    server_cpu: float  # likewise
    pickups: list[float]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A system with its environment and its store."""

    system: System
    python: str
    store: Store
    folder: Path

    def run(self, pickups: int) -> Trial:
        """Measure everything once; on S3, where they take long, half as many pick-ups."""
        tasks = self.system.tasks
        submitted = self.submit("submit", self.fresh(), tasks)
        bulk = None
        place = self.fresh()
        if self._has_bulk():
            bulk = self.submit("bulk", place, tasks)
        else:
            self.submit("submit", place, tasks)
        drained = self.drain(place, tasks)
        return Trial(
            system=self.system.label,
            submit_per_s=submitted,
            bulk_per_s=bulk,
            drain_per_s=tasks / drained["seconds"],
            worker_cpu=drained["worker_cpu"] / tasks * 1000,
            server_cpu=drained["server_cpu"] / tasks * 1000,
            pickups=self.pick_up(self.fresh(), max(1, pickups // 2) if self.store.kind == "s3" else pickups),
        )

    def fresh(self) -> str:
        """Return a place for a new queue, as the adapter takes it."""
        if self.system.needs_bucket:
            return f"{self.store.endpoint} {new_bucket(self.store.endpoint)}"
        place = self.store.fresh()
        return f"sqlite:{place}" if self.store.kind == "sqlite" and self.system.is_ours else place

    def _has_bulk(self) -> bool:
        return "def bulk(" in (PEERS / self.system.adapter).read_text("utf-8")

    def submit(self, role: str, place: str, tasks: int) -> float:
        """Fill a new queue; return the rate."""
        self.role("reset", place)
        answer = self.role(role, place, tasks)
        return answer["timed"] / answer["seconds"]

    def drain(self, place: str, tasks: int) -> dict[str, float]:
        """Run a worker until all tasks there are done; return its measure."""
        result = self.folder / f"drain-{time.monotonic_ns()}.json"
        settings = {"BENCH_TASKS": str(tasks), "BENCH_RESULT": str(result)}
        with self.worker(place, **settings) as worker:
            deadline = time.monotonic() + DRAIN_SECONDS
            while not result.exists():
                if worker.poll() is not None or time.monotonic() > deadline:
                    message = f"{self.system.label}: {tasks} tasks were not drained in {DRAIN_SECONDS:g} s"
                    raise RuntimeError(message)
                time.sleep(STEP_SECONDS)
        measure: dict[str, float] = json.loads(result.read_text("utf-8"))
        return measure

    def pick_up(self, place: str, count: int) -> list[float]:
        """Return the milliseconds of lone tasks' pick-ups."""
        self.role("reset", place)
        settings = {"BENCH_PICKED": str(self.folder / f"picked-{time.monotonic_ns()}.sock")}
        settings["BENCH_GAP"] = S3_GAP if self.store.kind == "s3" else GAP
        with self.worker(place, **settings):
            answer = self.role("pickup", place, count, **settings)
        samples: list[float] = answer["milliseconds"]
        return samples

    def role(self, role: str, place: str, *numbers: int, **settings: str) -> dict[str, Any]:
        """Run the adapter in a role to its end; return what it printed."""
        done = subprocess.run(
            [self.python, self.system.adapter, role, *map(str, numbers)],
            cwd=PEERS,
            env=self._environment(place, settings),
            capture_output=True,
            text=True,
            timeout=ROLE_SECONDS,
            check=False,
        )
        if not done.stdout.endswith("}\n"):  # what a peer does at its interpreter's end is no part of the role
            message = f"{self.system.label}: {role!r} ended with status {done.returncode}:\n{done.stderr[-3000:]}"
            raise RuntimeError(message)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    @contextlib.contextmanager
    def worker(self, place: str, **settings: str) -> Generator[subprocess.Popen[bytes]]:
        """Run the worker until the block ends."""
        with (self.folder / f"{self.system.adapter}.log").open("ab") as log:
            process = subprocess.Popen(
                [self.python, self.system.adapter, "worker"],
                cwd=PEERS,
                env=self._environment(place, settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that it is stopped with all its children, and nothing else is
            )
        try:
            yield process
        finally:
            stop_group(process)

    def _environment(self, place: str, settings: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BUQUET_", "AWS_", "S3_"))}
        ours = {"BENCH_PLACE": place, "BENCH_SERVERS": " ".join(map(str, self.store.pids)), "PYTHONPATH": ""}
        return {**kept, **CREDENTIALS, **ours, **settings}


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and its children: at once, for nobody will use their queue again."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
