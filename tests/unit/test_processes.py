"""Handlers in processes: results, errors, deaths and deadlines."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, InvalidError, Queue, TaskCancelledError, TaskContext, TaskFailedError, Worker, _processes
from buquet._address import Config
from tests.support.processes import ROOT, background, clean_environment
from tests.support.waiting import wait_until
from tests.unit import process_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.fake_engine import FakeEngine


def test_a_number_that_another_process_has_by_now_is_not_signalled() -> None:
    child = object.__new__(_processes._Child)  # pyright: ignore[reportPrivateUsage]
    # One that leads a group of its own: without the look at the number, all of the group would be signalled.
    with subprocess.Popen(["sleep", "3600"], process_group=0) as other:
        try:
            vars(child)["_process"] = SimpleNamespace(exitcode=-9, pid=other.pid)
            assert not child._signal(signal.SIGTERM)  # pyright: ignore[reportPrivateUsage]
        finally:
            other.kill()
    assert other.returncode == -signal.SIGKILL


def test_results_and_errors_cross_the_process_border(app: Buquet) -> None:
    square = app.task(pool="process")(process_tasks.square)
    own_pid = app.task(pool="process")(process_tasks.own_pid)
    refuse = app.task(pool="process")(process_tasks.refuse)
    seen: list[BaseException] = []

    @app.on_error
    def note(_ctx: TaskContext, error: BaseException) -> None:
        seen.append(error)

    with app.worker(processes=1):
        assert square.map([2, 3]).results(timeout=60) == [4, 9]
        first, second = own_pid.submit(), own_pid.submit()
        assert first.result(timeout=60) == second.result(timeout=60) != os.getpid()
        with pytest.raises(TaskFailedError, match="no such thing"):
            refuse.submit("no such thing").result(timeout=60)
    assert [str(error) for error in seen] == ["no such thing"]


def test_a_process_that_dies_costs_an_attempt_and_is_replaced(app: Buquet) -> None:
    die = app.task(pool="process", retries=1, backoff=0)(process_tasks.die)
    square = app.task(pool="process")(process_tasks.square)

    with app.worker(processes=1):
        with pytest.raises(TaskFailedError, match="exit code 9"):
            die.submit().result(timeout=60)
        assert square.submit(5).result(timeout=60) == 25


def test_a_timeout_kills_the_process(app: Buquet, engine: FakeEngine) -> None:
    sleep = app.task(pool="process", retries=0, timeout=0.5)(process_tasks.sleep_for_ever)
    square = app.task(pool="process")(process_tasks.square)

    with app.worker(processes=1):
        with pytest.raises(TaskFailedError, match="longer than its timeout"):
            sleep.submit().result(timeout=60)
        assert square.submit(5).result(timeout=60) == 25
    outcomes = [o["outcome"] for request in engine.requests("worker.settle") for o in request["outcomes"]]
    assert outcomes == ["timeout", "complete"]


def test_a_handler_in_a_process_can_ask_for_more_time(app: Buquet) -> None:
    extend = app.task(pool="process")(process_tasks.extend)
    with app.worker(processes=1):
        assert extend.submit().result(timeout=60) is True


def test_stopping_does_not_wait_for_a_process(app: Buquet, engine: FakeEngine) -> None:
    sleep = app.task(pool="process")(process_tasks.sleep_for_ever)
    handle = sleep.submit()
    with app.worker(drain_timeout=0.1):
        wait_until(lambda: handle.status() == "running", within=60, what="the task to run, which it does for ever")
    outcomes = [o["outcome"] for request in engine.requests("worker.settle") for o in request["outcomes"]]
    assert outcomes == ["release"]


def test_a_program_that_a_handler_starts_can_be_terminated(app: Buquet) -> None:
    terminate = app.task(pool="process", retries=0)(process_tasks.terminate_a_program)
    with app.worker(processes=1):
        assert terminate.submit().result(timeout=60) == -signal.SIGTERM


ASLEEP = "echo started; exec sleep 3600"
# What sh has forked and not yet replaced would take the signal for its parent's, and sleep on: sleep itself says so.
TIDY = "trap 'echo tidied; exit' TERM; sh -c 'echo started; exec sleep 3600' & wait"
DEAF = "trap '' TERM; echo started; sleep 3600"


class NamedPipe:
    """A named pipe that others hold open as long as they live: its end is theirs."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._ready = select.poll()
        self._ready.register(self._end, select.POLLIN)

    def read(self) -> bytes:
        """What was written next; nothing once all writers are gone."""
        assert self._ready.poll(60_000), "they neither write nor end"
        return os.read(self._end, 1000)

    def close(self) -> None:
        os.close(self._end)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[NamedPipe]:
    pipe = NamedPipe(tmp_path / "held")
    yield pipe
    pipe.close()


@pytest.mark.parametrize(("program", "last"), [(ASLEEP, b""), (TIDY, b"tidied\n"), (DEAF, b"")])
def test_a_cancelled_handler_takes_its_programs_along(
    app: Buquet, pipe: NamedPipe, monkeypatch: pytest.MonkeyPatch, program: str, last: bytes
) -> None:
    monkeypatch.setattr(_processes, "_GRACE", 0.2 if program is DEAF else 30.0)
    run = app.task(pool="process", retries=0)(process_tasks.run_program)
    with app.worker(processes=1):
        handle = run.submit(pipe.path, program)
        assert pipe.read() == b"started\n"
        handle.cancel()
        assert pipe.read() == last
        assert not last or pipe.read() == b""
        with pytest.raises(TaskCancelledError):
            handle.result(timeout=60)


@pytest.mark.parametrize("program", [ASLEEP, TIDY])
def test_a_worker_that_stops_takes_the_programs_along(app: Buquet, pipe: NamedPipe, program: str) -> None:
    run = app.task(pool="process")(process_tasks.run_program)
    with app.worker(processes=1, drain_timeout=0):
        run.submit(pipe.path, program)
        assert pipe.read() == b"started\n"
    assert pipe.read() == (b"tidied\n" if program is TIDY else b"")


def test_a_process_that_dies_takes_its_programs_along(app: Buquet, pipe: NamedPipe) -> None:
    die = app.task(pool="process", retries=0)(process_tasks.die_beside_program)
    with app.worker(processes=1):
        with pytest.raises(TaskFailedError, match="exit code 9"):
            die.submit(pipe.path, "exec sleep 3600").result(timeout=60)
        assert pipe.read() == b""


def test_a_program_that_a_handler_leaves_behind_ends_with_the_worker(app: Buquet, pipe: NamedPipe) -> None:
    leave = app.task(pool="process")(process_tasks.leave_program)
    square = app.task(pool="process")(process_tasks.square)
    with app.worker(processes=1):
        leave.submit(pipe.path, ASLEEP).result(timeout=60)
        assert pipe.read() == b"started\n"
        assert square.submit(5).result(timeout=60) == 25
    assert pipe.read() == b""


@pytest.mark.parametrize("task", ["run_program", "leave_program"])
def test_a_worker_that_is_killed_takes_its_processes_and_their_programs_along(
    tmp_path: Path, pipe: NamedPipe, task: str
) -> None:
    script = f"""
import threading
from buquet import Buquet
from tests.unit import process_tasks

app = Buquet("memory:")
task = app.task(pool="process")(process_tasks.{task})
with app.worker(processes=1):
    task.submit({pipe.path!r}, {DEAF!r})
    threading.Event().wait()
"""
    with background([sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), logs=tmp_path) as worker:
        assert pipe.read() == b"started\n"
        worker.kill()
        assert pipe.read() == b""


def test_the_interpreter_exits_although_a_process_waits_for_work() -> None:
    script = """
import multiprocessing
from buquet import Buquet
from tests.unit import process_tasks

app = Buquet("memory:")
square = app.task(pool="process")(process_tasks.square)
app.worker(processes=1).__enter__()
print(square.submit(3).result(timeout=60), len(multiprocessing.active_children()))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, b"9 1\n"), done.stderr


def test_a_handler_in_a_process_submits_to_the_queue_of_its_worker(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    app = process_tasks.app
    app.queue.client.reconfigure(Config(url=url))
    try:
        with app.worker(processes=1):
            follow_up = process_tasks.submit_another.submit().result(timeout=60)
            assert process_tasks.another.handle(follow_up).result(timeout=60) == "found"
    finally:
        app.close()


def unpicklable(_job: object, **_: object) -> object:
    return lambda: None


def test_a_job_that_cannot_be_sent_fails_its_attempt_and_costs_no_slot(
    app: Buquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    square = app.task(pool="process", retries=0)(process_tasks.square)
    with app.worker(processes=1):
        assert square.submit(2).result(timeout=60) == 4
        children = set(multiprocessing.active_children())
        monkeypatch.setattr(_processes, "describe", unpicklable)
        with pytest.raises(TaskFailedError, match=r"pickle|local object"):  # as the version of Python puts it
            square.submit(3).result(timeout=60)
        assert not children & set(multiprocessing.active_children())
        monkeypatch.undo()
        assert square.submit(4).result(timeout=60) == 16


def test_an_exception_type_that_cannot_be_sent_is_refused_at_the_start(queue: Queue) -> None:
    for only, never in ((process_tasks.NamelessError, ()), (None, process_tasks.NamelessError)):
        worker = Worker(queue)
        worker.task("t", pool="process", retry_on=only, no_retry_on=never)(process_tasks.square)
        with pytest.raises(InvalidError, match=r"'t'.*Hidden"), worker:
            pass


def test_a_codec_that_cannot_be_sent_is_refused_at_the_start_and_only_where_it_would_be(tmp_path: Path) -> None:
    class Local(process_tasks.Plain):
        name = "local"

    class Locked(process_tasks.Plain):
        name = "locked"

        def __init__(self) -> None:
            self.lock = threading.Lock()

    for codec in (Local(), Locked()):
        app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[codec])
        app.task(name="t", pool="process")(process_tasks.square)
        refused = rf"task 't'.*cannot be sent the codec '{codec.name}' \(.*(pickle|local object).*top level of a module"
        with pytest.raises(InvalidError, match=refused), app.worker():
            pass
        app.close()
        threads = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[codec])
        square = threads.task(process_tasks.square)
        with threads, threads.worker():
            assert square.submit(2).result(timeout=60) == 4


def test_a_function_that_a_process_cannot_find_is_refused_at_the_start(
    app: Buquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.task(pool="process")(process_tasks.square)
    monkeypatch.delattr(process_tasks, "square")
    with pytest.raises(InvalidError, match="cannot find"), app.worker():
        pass


def test_waiting_for_a_process_is_not_counted_against_the_timeout(app: Buquet, engine: FakeEngine) -> None:
    sleep = app.task(pool="process", retries=0, timeout=2)(process_tasks.sleep_briefly)
    square = app.task(pool="process")(process_tasks.square)
    app.task(name="on_thread")(lambda: None)  # so that more is claimed than there are processes
    with app.worker(processes=1, concurrency=12):
        assert square.submit(2).result(timeout=60) == 4  # the process has imported what it needs
        sleep.submit().result(timeout=60)
        group = [sleep.submit() for _ in range(12)]
        for handle in group:
            handle.result(timeout=60)
    assert engine.requests("worker.extend"), "the last ones waited longer than their leases are good for"


async def test_decorators_under_the_tasks_own_are_kept(queue: Queue) -> None:
    worker = Worker(queue, processes=1)
    worker.task("plain", pool="process")(process_tasks.wrapped)
    async with worker:
        assert await (await queue.submit("plain", 4)) == 8
