"""Where a queue's file is does not change with the working directory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, ConfigError
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from buquet._client import Client

FORKED = """
import os, sys
from pathlib import Path
from buquet import Buquet

def use(app):
    @app.task
    def child(n: int) -> int: ...
    child.submit(1)
    os.chdir("elsewhere")
    if (pid := os.fork()) == 0:
        child.submit(2)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print(len(app.list(status="pending").tasks), os.listdir())

start = Path.cwd()
for way in ("argument", "variable", "file", "default"):
    (start / way / "elsewhere").mkdir(parents=True)
    os.chdir(start / way)
    os.environ.pop("BUQUET_URL", None)
    if way == "variable":
        os.environ["BUQUET_URL"] = "sqlite:jobs.db"
    if way == "file":
        Path(".buquet.toml").write_text("[default]\\nurl = 'sqlite:jobs.db'")
    app = Buquet("sqlite:jobs.db") if way == "argument" else Buquet()
    use(app)
    app.close()
"""

MADE_BEFORE = """
import asyncio, os
from buquet import Buquet, connect

app, connecting = Buquet("sqlite:app.db"), connect("sqlite:queue.db")
os.mkdir("elsewhere")
os.chdir("elsewhere")

@app.task
def task() -> None: ...

task.submit()  # a look alone makes no file

async def main():
    async with connecting as queue:
        await queue.list()

asyncio.run(main())
app.close()
print(os.listdir(), sorted(name for name in os.listdir("..") if name.endswith(".db")))
"""

TASKS = """
import os
from buquet import Buquet

app = Buquet("sqlite:jobs.db")

@app.task
def move() -> None:
    os.makedirs("elsewhere", exist_ok=True)
    os.chdir("elsewhere")

@app.task
def later() -> str:
    return "found"

@app.task(pool="process")
def submit() -> str:
    os.chdir("/")
    return later.submit().id

if __name__ == "__main__":
    import tasks
    with tasks.app.worker(processes=1):
        tasks.move.submit().result(timeout=30)
        print(tasks.later.handle(tasks.submit.submit().result(timeout=30)).result(timeout=30))
"""

ODD = """
import os, shutil
from buquet import Buquet

for name in (b"\\xff", b"gone"):
    os.mkdir(name)
    os.chdir(name)
    if name == b"gone":
        os.rmdir(b"../gone")
    app = Buquet("memory:")
    print(app.list().tasks)
    app.close()
    os.chdir(os.environ["HERE"])
"""


def script(folder: Path, text: str) -> str:
    (folder / "tasks.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "tasks.py"],
        cwd=folder,
        env=clean_environment(HERE=str(folder)),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_that_was_forked_elsewhere_uses_the_parents_file(tmp_path: Path) -> None:
    assert script(tmp_path, FORKED) == "2 []\n" * 4


def test_a_path_is_meant_from_where_the_app_was_made(tmp_path: Path) -> None:
    assert script(tmp_path, MADE_BEFORE) == "[] ['app.db', 'queue.db']\n"


def test_a_process_of_the_pool_uses_the_workers_file_wherever_both_have_gone(tmp_path: Path) -> None:
    assert script(tmp_path, TASKS) == "found\n"


def test_a_working_directory_that_has_no_name_is_no_hindrance(tmp_path: Path) -> None:
    assert script(tmp_path, ODD) == "[]\n[]\n"


def test_apps_that_were_made_in_different_places_may_share_a_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, together in ((f"sqlite:{tmp_path}/q.db", True), ("s3://bucket/queue", True), ("sqlite:q.db", False)):
        clients: list[Client] = []
        for name in ("here", "there"):
            (tmp_path / name).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / name)
            clients.append(Buquet(url).queue.client)
        assert (clients[0].config.place == clients[1].config.place) is together


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite:folder/", "sqlite://host/q.db", "sqlite::memory:", "sqlite:q.db?mode=ro"]
)
def test_what_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="the url argument"):
        Buquet(url).list()
