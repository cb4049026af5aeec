"""Large payloads through real worker processes: what they weigh, where handlers run, what a killed worker leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buquet import File, TaskFailedError, TaskStatus
from tests.support.dev import dev_server
from tests.support.objects import InFile
from tests.support.payload_tasks import KEY, SEALED, PayloadTasks, others, reversed_pieces
from tests.support.processes import ROOT, Running, background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from buquet import TaskHandle

SIZES = (64 * 10**6, 64 * 2**20)
MOST_MEMORY = 200 * 10**6 - 2 * SIZES[0]  # besides the input and the output
MOST_MEMORY_FOR_FILES = 100 * 10**6
BIG = os.urandom(3_000_000)
PIECES = 6  # of BIG


@dataclass(frozen=True)
class Store:
    """Where the queue lies, what a process needs to reach it, and the file that holds its objects in the end."""

    url: str
    environment: dict[str, str]
    objects: InFile

    def payloads(self) -> set[str]:
        """The keys of all payloads."""
        return {key for key in self.objects.keys("") if "payloads/" in key}


@pytest.fixture(params=["sqlite", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A queue in a file, and one on an S3 server that keeps its objects in a file."""
    database = tmp_path / "store.db"
    with contextlib.closing(InFile(database)) as objects:
        if request.param == "sqlite":
            url = f"sqlite:{database}"
            yield Store(url, clean_environment(BUQUET_URL=url), objects)
            return
        with dev_server(tmp_path, store=f"sqlite:{database}") as server:
            for name, value in server.variables.items():
                if name.startswith("AWS_"):
                    monkeypatch.setenv(name, value)
            yield Store(server.variables["BUQUET_URL"], server.environment(), objects)


@pytest.fixture
def tasks(store: Store, codecs: list[Any]) -> Iterator[PayloadTasks]:
    """The tasks, to be submitted from here."""
    tasks = PayloadTasks(store.url, codecs)
    yield tasks
    tasks.app.close()


@pytest.fixture(params=["sealed"])
def codecs(request: pytest.FixtureRequest) -> list[Any]:
    """What values pass through: compressed and encrypted, or nothing."""
    return SEALED if request.param == "sealed" else []


@contextlib.contextmanager
def worker(store: Store, folder: Path, *, codecs: list[Any] = SEALED, halt: Path | None = None) -> Generator[Running]:
    """Run a worker process until the block ends."""
    settings = {"PAYLOAD_FOLDER": str(folder), "PAYLOAD_CODECS": "sealed" if codecs else "none"}
    if halt is not None:
        settings["PAYLOAD_HALT"] = str(halt)
    command = ["buquet", "worker", "tests.support.payload_tasks:app"]
    with background(command, cwd=ROOT, env={**store.environment, **settings}, logs=folder) as running:
        yield running


def peak(running: Running) -> int:
    """Most bytes that the process has held so far."""
    status = Path(f"/proc/{running.process.pid}/status").read_text("utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def ended(handle: TaskHandle[Any]) -> None:
    """Wait until the task has completed, and read nothing of its result: the test need not hold that."""
    wait_until(lambda: handle.status().is_terminal, within=120, what="the task's end")
    assert handle.status() is TaskStatus.COMPLETED, handle.refresh().error


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_64_mb_go_in_and_64_other_mb_come_out_under_200_mb(store: Store, tasks: PayloadTasks, tmp_path: Path) -> None:
    with worker(store, tmp_path) as running:
        for size in SIZES:
            data = os.urandom(size)
            handle = tasks.other.submit(data)
            ended(handle)
            assert peak(running) - 2 * size < MOST_MEMORY, f"{size} bytes: {peak(running) / 1e6:.1f} MB"
            assert handle.result(timeout=60) == others(data)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_a_worker_holds_no_file_whole(store: Store, tasks: PayloadTasks, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZES[-1]))
    with worker(store, tmp_path) as running:
        handle = tasks.reverse.submit(File(source))
        ended(handle)
        assert peak(running) < MOST_MEMORY_FOR_FILES, f"{peak(running) / 1e6:.1f} MB"
        assert handle.result(timeout=60).read() == reversed_pieces(source.read_bytes())


@pytest.mark.parametrize("codecs", ["plain", "sealed"], indirect=True)
@pytest.mark.parametrize("where", ["thread", "process"])
def test_bytes_and_files_go_through_a_worker_process(
    store: Store, tasks: PayloadTasks, codecs: list[Any], where: str, tmp_path: Path
) -> None:
    other, reverse = (
        (tasks.other, tasks.reverse) if where == "thread" else (tasks.other_in_process, tasks.reverse_in_process)
    )
    source = tmp_path / "source.bin"
    source.write_bytes(BIG)
    with worker(store, tmp_path, codecs=codecs):
        submitted, file = other.submit(BIG), reverse.submit(File(source))
        assert submitted.result(timeout=60) == others(BIG)
        reversed_file = file.result(timeout=60)
        assert (reversed_file.name, reversed_file.size) == ("reversed-source.bin", len(BIG))
        assert reversed_file.read() == reversed_pieces(BIG)


def test_in_a_worker_process_all_is_sealed(store: Store, tasks: PayloadTasks, tmp_path: Path) -> None:
    secret = b"confidential" * 200_000
    with worker(store, tmp_path) as running:
        handle = tasks.other_in_process.submit(secret)
        assert handle.result(timeout=60) == others(secret)
    task = PayloadTasks(store.url, []).app.handle(handle.id).refresh()
    assert "$buquet" in task.input
    assert "$buquet" in task.output
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    for private in (b"confidential", others(secret)[:64], KEY):
        assert private not in stored
        assert private not in running.output().encode()


def test_what_a_worker_leaves_that_is_killed_before_its_commit_is_collected(
    store: Store, tasks: PayloadTasks, tmp_path: Path
) -> None:
    with worker(store, tmp_path):
        assert (done := tasks.other.submit(BIG)).result(timeout=60) == others(BIG)
    killed = tasks.other.submit(BIG)
    named = store.payloads()
    halt = tmp_path / "halted"
    with worker(store, tmp_path, halt=halt) as running:
        wait_until(halt.exists, within=60, what="the result's payload")
        running.kill()
    left = store.payloads() - named
    assert killed.status() == "running"
    assert len(left) == PIECES

    assert collect(store, "--dry-run")["orphans"] == 0, "it is young, and may be on its way into its record"
    store.objects.grow_old("payloads/", hours=25)
    found = collect(store, "--dry-run")
    assert (found["orphans"], found["kept"]) == (PIECES, len(named))
    assert found["bytes"] >= len(BIG)
    assert store.payloads() == named | left, "that was a dry run"
    assert collect(store) == {**found, "dry_run": False}
    assert store.payloads() == named, "the input of the killed one is kept, for whoever takes it next"
    assert collect(store)["orphans"] == 0
    assert done.result(timeout=60) == others(BIG)


def test_operators_without_codecs_see_what_was_sealed_and_by_what(
    store: Store, tasks: PayloadTasks, tmp_path: Path
) -> None:
    source = tmp_path / "secret plan.txt"
    source.write_bytes(b"confidential")
    with worker(store, tmp_path):
        small, large, file = (
            tasks.other.submit(b"confidential"),
            tasks.other.submit(BIG),
            tasks.reverse.submit(File(source)),
        )
        bad = tasks.fail.submit("confidential")
        for handle in (small, large, file):
            ended(handle)
        wait_until(lambda: bad.status().is_terminal, within=60, what="the failure")

    sealed = r"<\d+ bytes, sealed by zstd, aes-gcm with the key '2026-11'>"
    said = buquet(store, "status", small.id)
    assert re.search(rf"input +{sealed}", said)
    assert re.search(rf"output +{sealed}", said)
    for command in (["status", bad.id], ["list"], ["failed"], ["failed", "--traceback"], ["history", bad.id]):
        assert re.search(rf"ValueError: {sealed}", buquet(store, *command, code=4 if command[0] == "status" else 0))
    assert re.search(rf"output {sealed}", buquet(store, "history", large.id))
    with pytest.raises(TaskFailedError, match=rf"after 1 attempt\(s\): ValueError: {sealed}"):
        PayloadTasks(store.url, []).fail.handle(bad.id).result(timeout=60)
    everything = "".join(
        buquet(store, *command, *json, code=None)
        for command in (["status", handle.id] for handle in (small, large, file, bad))
        for json in ([], ["--json"])
    )
    for private in ("confidential", "secret plan", KEY.decode(), KEY.hex(), "Traceback"):
        assert private not in everything


def buquet(store: Store, *words: str, code: int | None = 0) -> str:
    """Run a command of an operator, and return all that it says."""
    done = subprocess.run(
        ["buquet", *words],
        cwd=ROOT,
        env=store.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert code in {None, done.returncode}, done.stdout
    return done.stdout


def collect(store: Store, *options: str) -> dict[str, Any]:
    """Run `buquet payloads collect`."""
    return json.loads(buquet(store, "payloads", "collect", "--json", *options))
