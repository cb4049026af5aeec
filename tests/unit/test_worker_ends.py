"""What a worker does about handlers that do not end, and about signals and programs that do as they like."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from buquet import Buquet, BuquetError, Worker, _background, _cpus, _places, _worker
from buquet._background import signals
from buquet._config import ConfigOption, Configuration
from buquet.cli import _supervisor, _work
from buquet.cli._supervised import Supervised, environment, take_supervised
from buquet.cli._work import Wanted
from tests.support.processes import ROOT, background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def app() -> Iterator[Buquet]:
    with Buquet("memory:") as app:
        yield app


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it ignores its last cancellation too
@pytest.mark.parametrize("ignored", [asyncio.CancelledError, BaseException])
def test_a_handler_that_ignores_its_cancellation_does_not_keep_the_worker(
    app: Buquet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ignored: type[BaseException]
) -> None:
    monkeypatch.setattr(_places, "CLEANUP_GRACE", 0.1)
    monkeypatch.setattr(_background, "_GRACE", 0.1)
    running, over = threading.Event(), threading.Event()

    @app.task(retries=0)
    async def deaf() -> None:
        running.set()
        while not over.is_set():
            try:
                await asyncio.sleep(60)
            except ignored:
                continue

    with app.worker(drain_timeout=0):
        deaf.submit()
        assert running.wait(10)
    over.set()
    assert "ignores its cancellation and is broken off" in caplog.text


async def test_it_does_not_keep_its_loop_either(app: Buquet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_places, "CLEANUP_GRACE", 0.1)
    running = asyncio.Event()

    @app.task(retries=0)
    async def deaf() -> None:
        running.set()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async with app.worker(drain_timeout=0):
        await deaf.submit_async()
        await asyncio.wait_for(running.wait(), 10)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    assert not rest or not (await asyncio.wait(rest, timeout=10))[1]


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What handlers wait for that do not return; the limits of a worker that has such are short."""
    monkeypatch.setattr(_places, "CLEANUP_GRACE", 0.1)
    monkeypatch.setattr(_background, "_GRACE", 0.1)
    never = threading.Event()
    yield never
    never.set()


def hanging(app: Buquet, never: threading.Event, *, on_loop: bool) -> Any:
    """A task that does not return when its time is up."""

    def hang(_: int) -> None:
        never.wait()

    async def hang_on_loop(_: int) -> None:
        while not never.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    return app.task(name="hangs", retries=0, timeout="50ms")(hang_on_loop if on_loop else hang)


@pytest.mark.parametrize("on_loop", [True, False])
def test_a_worker_without_a_place_left_says_so_where_people_look(
    app: Buquet, caplog: pytest.LogCaptureFixture, never: threading.Event, *, on_loop: bool
) -> None:
    hangs = hanging(app, never, on_loop=on_loop)
    ping = app.task(name="ping")(lambda: "pong")
    with app.worker(concurrency=2, drain_timeout=0):
        hangs.map(range(6))
        wait_until(lambda: "no place is left: 4 attempt(s)" in caplog.text, within=30, what="the error")
        never.set()
        assert ping.submit().result(timeout=30) == "pong"


@pytest.mark.parametrize("on_loop", [True, False])
def test_a_worker_without_a_place_left_ends_with_an_error_if_it_is_to(
    app: Buquet, monkeypatch: pytest.MonkeyPatch, never: threading.Event, *, on_loop: bool
) -> None:
    monkeypatch.setattr(_places, "PATIENCE", 0.1)
    hangs = hanging(app, never, on_loop=on_loop)
    worker = app.worker(concurrency=2, drain_timeout=0)
    worker.end_if_stuck()
    hangs.map(range(6))
    with pytest.raises(BuquetError, match="no place left"):
        asyncio.run(asyncio.wait_for(worker.run(handle_signals=False), 30))


@pytest.mark.parametrize("on_loop", [True, False])
def test_a_worker_whose_tasks_all_wait_for_others_says_so(
    app: Buquet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, on_loop: bool
) -> None:
    monkeypatch.setattr(_places, "STANDSTILL", 0.1)
    child = app.task(name="child")(lambda: "done")

    def parent() -> str:
        return child.submit().result(timeout=10)

    async def parent_on_loop() -> str:
        return await (await child.submit_async()).result_async(timeout=10)

    parents: Any = app.task(name="parent", retries=0)(parent_on_loop if on_loop else parent)
    with app.worker(concurrency=1, drain_timeout=0):
        handle = parents.submit()
        wait_until(lambda: "all 1 places of this worker" in caplog.text, within=30, what="the warning")
        handle.cancel()
    with app.worker(concurrency=2):
        caplog.clear()
        assert parents.submit().result(timeout=30) == "done"
    assert "places of this worker" not in caplog.text


def test_a_worker_speaks_although_the_program_has_disabled_its_loggers(
    app: Buquet, caplog: pytest.LogCaptureFixture
) -> None:
    app.task(name="t")(lambda: None)
    caplog.set_level("INFO")
    logging.getLogger("buquet.worker").disabled = True  # as dictConfig does unless it is told otherwise
    with app.worker():
        pass
    assert "takes t" in caplog.text


async def test_signals_are_noticed_while_a_handler_blocks_the_loop() -> None:
    told: list[str] = []
    with signals(lambda: told.append("drain"), lambda: told.append("stop"), lambda: told.append("told")):
        signal.raise_signal(signal.SIGHUP)
        assert told == ["told"]
        await asyncio.sleep(0.01)
        assert told == ["told", "drain"]
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.01)
    assert told == ["told", "drain", "stop"]


async def test_a_hangup_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals(lambda: None, lambda: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def run(script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    environment = clean_environment(**settings)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_threads_that_handlers_leave_behind_do_not_keep_the_process() -> None:
    done = run(
        "import threading\nfrom buquet.cli import _leaving\n_leaving._GRACE = 0.1\n"
        "threading.Thread(target=threading.Event().wait, name='left-behind').start()\n_leaving.leave(3)"
    )
    assert (done.returncode, "left-behind" in done.stderr) == (3, True), done.stderr


def test_a_signal_while_the_app_is_imported_ends_the_first_process_of_a_container_too(tmp_path: Path) -> None:
    # To that process the system does not do what a signal does to others.
    (tmp_path / "app_that_is_told.py").write_text(
        "import os, signal\nos.kill = lambda *_: None\nsignal.raise_signal(signal.SIGTERM)\nprint('imported')\n"
    )
    script = "import sys\nfrom buquet.cli import run\nsys.argv = ['buquet', 'worker', 'app_that_is_told:app']\nrun()"
    done = run(script, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", BUQUET_URL="memory:")
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, ""), done.stderr


APP = """
import logging, logging.config
from buquet import Buquet
logging.config.dictConfig({
    "version": 1,
    "formatters": {"own": {"format": "OWN %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"level": "INFO", "handlers": ["console"]},
})
app = Buquet("memory:")
app.task(name="t")(lambda: None)
"""


def test_worker_processes_log_as_the_app_says_and_their_queue_is_on_no_command_line(tmp_path: Path) -> None:
    (tmp_path / "app_that_logs.py").write_text(APP)
    url = f"sqlite:{tmp_path}/secret.db"
    command = [sys.executable, "-m", "buquet", "worker", "app_that_logs:app", "--processes", "2", "--url", url]
    with background(command, cwd=tmp_path, env=clean_environment()) as worker:
        wait_until(lambda: worker.output().count("OWN worker ") == 2, within=60, what="both to take tasks")
        assert worker.output().count(f"OWN the queue is {url}") == 2
        children = psutil.Process(worker.process.pid).children()
        assert len(children) == 2
        assert not any("secret" in " ".join(child.cmdline()) for child in children)
        worker.terminate()
        assert worker.wait(30) == 0
    assert "INFO" not in worker.output().replace("OWN", "")


def test_the_first_restart_comes_after_the_first_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes = iter([1, 1, 1, 1, 0])

    async def run_once(_: object) -> int:
        await asyncio.sleep(0)
        return next(codes)

    monkeypatch.setattr("buquet.cli._supervisor._Supervisor._run_once", run_once)
    monkeypatch.setattr(_supervisor, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_supervisor, "_LONGEST_PAUSE", 0.03)
    assert asyncio.run(_supervisor.supervise([], Supervised())) == 0
    pauses = [record.message.rpartition(" in ")[2] for record in caplog.records]
    assert pauses == ["0.01 s", "0.02 s", "0.03 s", "0.03 s"]


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([BlockingIOError("too many processes"), None])
    start: Any = vars(_supervisor)["_Supervisor"]._start

    async def refuse(self: Any) -> Any:
        if (error := next(tries)) is not None:
            raise error
        return await start(self)

    monkeypatch.setattr("buquet.cli._supervisor._Supervisor._start", refuse)
    monkeypatch.setattr(_supervisor, "_FIRST_PAUSE", 0.01)
    assert asyncio.run(_supervisor.supervise(["--version"], Supervised())) == 0


def test_worker_processes_are_told_of_their_queue_and_programs_of_theirs_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervised = Supervised(url="s3://key:secret@jobs", processes=4)
    told = environment(supervised)
    monkeypatch.setattr(os, "environ", dict(told))
    assert take_supervised() == supervised
    assert take_supervised() is None


@pytest.mark.parametrize(("given", "configured", "share"), [(None, None, 2), (5, None, 5), (None, 7, 7), (5, 7, 5)])
def test_worker_processes_share_the_cpus(
    monkeypatch: pytest.MonkeyPatch, given: int | None, configured: int | None, share: int
) -> None:
    values = {"concurrency": 20, "prefetch": None, "pool_processes": configured, "drain": "25s"}
    options = [
        ConfigOption(name=f"worker.{name}", value=value, source="", variable="") for name, value in values.items()
    ]
    configuration = Configuration(file=None, store=[], options=options)
    monkeypatch.setattr(_worker, "available_cpus", lambda: 9)
    wanted = _worker.Wanted(processes=given, sharers=4)
    assert wanted.over(configuration).processes == share
    assert _worker.Wanted(processes=given).over(configuration).processes == (given or configured)


def test_a_supervised_worker_knows_how_many_share_the_cpus(app: Buquet, monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[int] = []

    def share_cpus(_: Worker, sharers: int) -> None:
        shared.append(sharers)
        raise BuquetError("enough")

    def load_app(_: str) -> Buquet:
        return app

    monkeypatch.setattr(Worker, "share_cpus", share_cpus)
    monkeypatch.setattr(_work, "load_app", load_app)
    monkeypatch.setattr(_work, "take_supervised", lambda: Supervised(processes=4))
    with pytest.raises(BuquetError, match="enough"):
        _work.work(Wanted("tasks:app", processes=1))
    assert shared == [4]


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice" / "worker.service"
    inner.mkdir(parents=True)
    assert _cpus.cgroup_limit(tmp_path, "/system.slice/worker.service") is None
    (inner / "cpu.max").write_text("max 100000\n")
    assert _cpus.cgroup_limit(tmp_path, "/system.slice/worker.service") is None
    (inner.parent / "cpu.max").write_text("250000 100000\n")
    assert _cpus.cgroup_limit(tmp_path, "/system.slice/worker.service") == 2.5
    assert _cpus.cgroup_limit(tmp_path, "/") is None
    assert 1 <= _cpus.available_cpus() <= (os.cpu_count() or 1)
