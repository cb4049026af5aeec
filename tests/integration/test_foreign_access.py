"""What other libraries of a process, or people, do to the embedded store's files while it is open."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
from typing import TYPE_CHECKING

from buquet import TaskStatus
from tests.support.processes import ROOT, background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet

# A web server that submits and has a status page of its own on the same file.
SERVER = """
import pathlib, sqlite3, sys
from tests.support.fleet import Fleet

path = pathlib.Path(sys.argv[1])
fleet = Fleet(f"sqlite:{path}")
for n in range(30):
    print(fleet.double.submit(n).id, flush=True)
    page = sqlite3.connect(path)
    page.execute("SELECT count(*) FROM objects").fetchone()
    page.close()
    for ending in ("", "-wal", "-shm"):          # a backup
        path.with_name(path.name + ending).read_bytes()
"""
SERVERS = 4


def test_another_sqlite_in_each_of_several_processes_costs_no_acknowledged_task(
    tmp_path: Path, open_fleet: Callable[[str], Fleet]
) -> None:
    path = tmp_path / "page.db"
    open_fleet(f"sqlite:{path}").double.submit(0)
    command = [sys.executable, "-c", SERVER, str(path)]
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(background(command, cwd=ROOT, env=clean_environment(), logs=tmp_path))
            for _ in range(SERVERS)
        ]
        assert [server.wait(60) for server in servers] == [0] * SERVERS, [server.output() for server in servers]
        acknowledged = [line for server in servers for line in server.output().split()]
    assert len(acknowledged) == SERVERS * 30
    page = open_fleet(f"sqlite:{path}").app.list(status=TaskStatus.PENDING, limit=1000)
    assert not set(acknowledged) - {task.id for task in page.tasks}
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_worker_whose_database_is_deleted_says_so_and_works_on_in_the_new_one(
    tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url = f"sqlite:{tmp_path}/q/jobs.db"
    fleet = open_fleet(url)
    worker = start_worker(url)
    assert fleet.double.submit(1).result(timeout=60) == 2
    shutil.rmtree(tmp_path / "q")
    assert fleet.double.submit(2).result(timeout=60) == 4
    assert open_fleet(url).double.submit(3).result(timeout=60) == 6
    wait_until(lambda: "was deleted or replaced" in worker.running.output(), within=30, what="a word of the worker")
