"""The first calls of a process: what a fork or a signal handler finds when it comes in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import buquet
from buquet import Buquet
from buquet import _ops as ops
from buquet._address import Config
from buquet._client import Client
from buquet._codec import decode, encode
from buquet._native import open_engine
from buquet._packing import Packing, packing, unpacking
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from types import FrameType

    from buquet._engine import Engine

CALLS = """
import asyncio, sys
from buquet import Buquet, BuquetError

class Plain:
    name = "plain"
    def encode(self, data, context): return data
    def decode(self, data, context): return data

def use(app):
    @app.task
    def ping(n: int | bytes, tags: set[str] | None = None) -> int: ...

    handle = ping.submit(1)
    ping.submit(b"x" * 100_000)
    handles = ping.map([1, 2]), ping.starmap([(1,)]), ping.options(idempotency_key="k").submit(1)
    app.queue.dead_letters, app.dead_letters, app.schedules, app.usage(), app.list()
    for call in (lambda: handle.result(0), lambda: handle.cancel("why"), handle.result, lambda: ping.submit("x")):
        try:
            call()
        except BuquetError:
            pass

    async def use_async():
        handle = await ping.submit_async(1)
        await ping.map_async([1, 2])
        try:
            await handle.result_async(timeout=0)
        except BuquetError:
            pass

    asyncio.run(use_async())
    app.close()

before = set(sys.modules)
use(Buquet("memory:"))
use(Buquet("memory:", codecs=[Plain()]))
print(sorted(set(sys.modules) - before))
"""

FORK_WHILE_HINTS_ARE_READ = """
import os, signal, threading
from buquet import Buquet

app = Buquet("memory:")
parent, reading, forked = os.getpid(), threading.Event(), threading.Event()

def slow() -> type:
    if os.getpid() == parent:
        reading.set()
        forked.wait(20)
    return int

@app.task
def ping(n: "slow()") -> int: ...

threading.Thread(target=ping.submit, args=(1,), daemon=True).start()
assert reading.wait(20)
child = os.fork()
if child == 0:
    signal.alarm(10)
    ping.submit(2)
    os._exit(0)
forked.set()
print(os.waitpid(child, 0)[1])
"""

FORK_WHILE_AN_ENGINE_IS_OPENED = """
import os, threading
from buquet import _ops as ops
from buquet._address import Config
from buquet._client import Client
from buquet._codec import decode, encode
from buquet._native import open_engine
from buquet._packing import Packing, packing, unpacking

opening, forked, go, opened = (threading.Event() for _ in range(4))

def open_slowly(config):
    opening.set()
    go.wait(20)
    engine = open_engine(config)
    opened.set()
    return engine

client = Client(Config(url="memory:"), opener=open_slowly)

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0 if opened.is_set() else 1)
    forked.set()
    print(os.waitpid(child, 0)[1])

threading.Thread(target=lambda: client.call(ops.usage())).start()
assert opening.wait(20)
thread = threading.Thread(target=fork)
thread.start()
forked.wait(0.2)  # which it does at once if it waits for nothing
go.set()
thread.join()
"""


def script(text: str) -> str:
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_calls_import_nothing_of_which_a_fork_or_a_signal_could_find_a_half() -> None:
    assert script(CALLS) == "[]"


def test_a_child_forked_while_another_thread_reads_the_hints_can_submit() -> None:
    assert script(FORK_WHILE_HINTS_ARE_READ) == "0"


def test_a_fork_waits_for_an_engine_that_is_being_opened() -> None:
    assert script(FORK_WHILE_AN_ENGINE_IS_OPENED) == "0"


FILES = ("_client.py", "_forking.py", "_lazy.py", "_native.py")
PACKAGE = Path(buquet.__file__).parent


def submits_interrupted_at(place: int) -> tuple[int, list[int]]:
    """Submit for the first time, and once more at a line; gives the number of lines, and what is stored then."""
    app = Buquet("memory:")

    @app.task
    def ping(n: int) -> int: ...

    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        path = Path(frame.f_code.co_filename)
        if path.parent != PACKAGE or path.name not in FILES:
            return None
        if event == "line":
            lines += 1
            if lines == place:
                ping.submit(2)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        ping.submit(1)
    finally:
        sys.settrace(before)
    stored = sorted(task.input["n"] for task in app.list().tasks)
    app.close()
    return lines, stored


def test_a_signal_handler_may_submit_at_any_line_of_the_first_submit() -> None:
    submits_interrupted_at(0)
    lines, stored = submits_interrupted_at(0)
    assert stored == [1]
    places = range(1, lines + 1)
    assert [place for place in places if submits_interrupted_at(place)[1] != [1, 2]] == []


def test_a_signal_handler_that_comes_while_the_engine_is_opened_shares_it() -> None:
    opened: list[Engine] = []

    def interrupted(config: bytes) -> Engine:
        if not opened:
            opened.append(open_engine(b'{"url": "memory:"}'))
            client.call(ops.usage())  # as a signal handler would, in this thread
        opened.append(open_engine(config))
        return opened[-1]

    client = Client(Config(url="memory:"), opener=interrupted)
    client.call(ops.usage())
    assert len(client._opened) == 1  # pyright: ignore[reportPrivateUsage]
    client.close()
    for engine in opened:
        engine.close(0)


def test_a_signal_handler_may_submit_bytes_while_others_are_read() -> None:
    app = Buquet("memory:")
    large = [bytes([n]) * 40_000 for n in range(3)]
    interrupted: list[bytes] = []

    @app.task
    def same(data: bytes) -> bytes:
        return data

    class Interrupting:
        """A value that is being decoded when a signal comes."""

        def bytes_of(self, marker: Any) -> bytes:
            del marker
            interrupted.append(same.submit(large[1]).result(timeout=20))
            return large[2]

        def file(self, marker: Any) -> Any:
            raise NotImplementedError

    with app.worker():
        first = Packing([])
        with packing(first):
            encoded = encode(large[0], "value")
        with unpacking(Interrupting()):
            assert decode(encoded, bytes, "value") == large[2]
    assert interrupted == [large[1]]
    app.close()


@pytest.mark.parametrize("name", ["errors", "codecs"])
def test_the_modules_that_the_docs_name_are_there_after_import_buquet(name: str) -> None:
    assert script(f"import buquet; print(buquet.{name}.__name__)") == f"buquet.{name}"
    assert name in dir(buquet)


def test_windows_is_told_at_once() -> None:
    text = "import sys; sys.platform = 'win32'\ntry:\n import buquet\nexcept ImportError as e:\n print(e)"
    assert "Linux and macOS" in script(text)
