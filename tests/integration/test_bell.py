"""Whoever makes work wakes the workers, however soon its command, client or process ends.

A worker that misses the bell finds the task with its next look at the whole index, up to a minute later.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from buquet import Buquet
from buquet._address import Config
from buquet._native import open_engine
from buquet.cli import _output
from buquet.cli._app import cli
from tests.support.processes import ROOT, clean_environment
from tests.support.proxy import Faults, Proxy
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.s3 import Bucket

TOUCH_SECONDS = 0.3  # how long a touch of the bell takes here: longer than a process or an engine needs to end

DROPPED = """
import gc, sys
from buquet import Buquet

def submit():
    app = Buquet(sys.argv[1])

    @app.task
    def work() -> None: ...

    print(work.submit().id)

submit()
gc.collect()
"""

CHILD = """
import multiprocessing, sys
from buquet import Buquet

app = Buquet(sys.argv[1])

@app.task
def work() -> None: ...

def submit():
    print(work.submit().id, flush=True)

child = multiprocessing.get_context("fork").Process(target=submit)
child.start()
child.join()
"""

LOOP = """
import asyncio, sys
from buquet import connect

async def submit():
    queue = await connect(sys.argv[1])
    print((await queue.submit("work")).id)

asyncio.run(submit())
"""


@pytest.fixture
def proxy(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> Proxy:
    """The way to a server on which a touch of the bell takes its time."""
    return open_proxy(bucket.endpoint, Faults(latency={"bell.json": TOUCH_SECONDS}))


@pytest.fixture
def url(bucket: Bucket, proxy: Proxy) -> str:
    """A queue behind the proxy."""
    return bucket.url(through=proxy.url)


def touches(proxy: Proxy) -> int:
    """How often the server has been told to touch the bell."""
    return proxy.places["put bell.json"]


def failed_task(url: str) -> str:
    """The id of a task that has failed."""
    app = Buquet(url)

    @app.task(retries=0)
    def work() -> None:
        raise OSError("the disk is full")

    with app.worker():
        handle = work.submit()
        wait_until(lambda: handle.status().is_terminal, within=30, what="the task to fail")
    app.close()
    return handle.id


def scheduled(url: str) -> None:
    """Make a schedule that does not fire by itself."""
    app = Buquet(url)
    app.schedules.create("nightly", "work", cron="0 3 * * *")
    app.close()


def command(url: str, *arguments: str) -> str:
    """Run a command to its end, in this process; gives what it printed."""
    done = CliRunner().invoke(cli, [*arguments, "--url", url])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(autouse=True)
def _no_shared_options(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(_output.shared, "url", None)
    monkeypatch.setattr(_output.shared, "json", False)


def test_a_command_that_submits_wakes_the_workers(url: str, proxy: Proxy) -> None:
    command(url, "submit", "work")
    assert touches(proxy) == 1


@pytest.mark.parametrize("which", ["by its id", "--all"])
def test_a_command_that_replays_wakes_the_workers(bucket: Bucket, url: str, proxy: Proxy, which: str) -> None:
    failed = failed_task(bucket.url())
    command(url, "replay", failed if which == "by its id" else which)
    assert touches(proxy) == 1


def test_commands_about_schedules_wake_the_workers(bucket: Bucket, url: str, proxy: Proxy) -> None:
    scheduled(bucket.url())
    span = ("--from", "2026-01-01T00:00:00Z", "--until", "2026-01-03T00:00:00Z")
    for words in (
        ("trigger", "nightly"),
        ("backfill", "nightly", *span),
        ("create", "often", "work", "--every", "1m"),  # so that a worker reads when it fires
    ):
        before = touches(proxy)
        command(url, "schedules", *words)
        assert touches(proxy) > before, words


def test_a_command_as_a_process_wakes_the_workers(bucket: Bucket, url: str, proxy: Proxy) -> None:
    scheduled(bucket.url())
    run = ["buquet", "schedules", "trigger", "nightly", "--url", url]
    done = subprocess.run(
        run, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert touches(proxy) == 1


@pytest.mark.parametrize("script", [DROPPED, CHILD, LOOP], ids=["dropped app", "forked child", "open queue"])
def test_a_program_that_ends_after_a_submit_wakes_the_workers(url: str, proxy: Proxy, script: str) -> None:
    run = [sys.executable, "-c", script, url]
    done = subprocess.run(
        run, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 1
    assert touches(proxy) == 1


def test_an_app_that_is_dropped_wakes_the_workers_while_its_program_goes_on(url: str, proxy: Proxy) -> None:
    def submit() -> None:
        app = Buquet(url)

        @app.task
        def work() -> None: ...

        for _ in range(2):  # the second touch is put off, since one a second is enough
            work.submit()

    submit()
    gc.collect()
    wait_until(lambda: touches(proxy) == 2, within=10, what="the bell")


def test_an_engine_that_is_closed_at_once_touches_the_bell_first(url: str, proxy: Proxy) -> None:
    engine = open_engine(json.dumps({"url": Config(url=url).url}).encode())
    queue = engine.open_queue()
    queue.submit("submit", b'{"type": "work", "input": {}}', 1)
    assert queue.wait(30_000)
    engine.close(0)
    queue.close()
    assert touches(proxy) == 1
