"""What `wait(progress=True)` shows: a bar on a terminal, and lines without control characters elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import clean_environment
from tests.support.terminal import in_terminal

SCRIPT = """
import sys
import time
from buquet import Buquet, WaitTimeoutError

app = Buquet("memory:")

@app.task
def work(number: int) -> None:
    time.sleep(0.02)
    print(f"<{number}>", flush=True)

@app.task(delay="1h")
def later(number: int) -> None: ...

with app, app.worker(concurrency=1):
    print("waited for", work.map(range(20)).wait(timeout=60, progress=True).done, file=sys.stderr)
    try:
        later.map(range(20)).wait(timeout=0.3, progress=True)
    except WaitTimeoutError:
        print("not in time", file=sys.stderr)
"""
COMMAND = (sys.executable, "-c", SCRIPT)
PRINTED = {f"<{number}>" for number in range(20)}
CLEAR_LINE = "\x1b[2K"


def test_a_terminal_shows_a_bar_that_ends_with_its_line() -> None:
    status, shown = in_terminal(COMMAND, env=clean_environment(TERM="xterm", COLUMNS="80"))
    assert status == 0
    assert CLEAR_LINE in shown
    assert "100% 20/20" in shown
    for said in ("waited for 20\n", "not in time\n"):
        assert shown[: shown.index(said)].removesuffix("\x1b[?25h").endswith("\n"), "the cursor is on a line of its own"
    assert all(printed in shown for printed in PRINTED)


def test_what_handlers_print_into_a_file_goes_there_in_spite_of_the_bar() -> None:
    command = ("sh", "-c", '"$0" -c "$1" > /dev/null && echo done', sys.executable, SCRIPT)
    status, shown = in_terminal(command, env=clean_environment(TERM="xterm", COLUMNS="80"))
    assert status == 0
    assert "100% 20/20" in shown
    assert "<" not in shown


def test_a_terminal_that_cannot_move_its_cursor_shows_lines() -> None:
    status, shown = in_terminal(COMMAND, env=clean_environment(TERM="dumb"))
    assert status == 0
    assert "\n20 of 20 tasks\n" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("settings", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}], ids=["plain", "c", "t"])
def test_a_file_gets_lines_whatever_colours_are_forced(settings: dict[str, str]) -> None:
    environment = clean_environment(TERM="xterm", **settings)
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True)
    *lines, waited, late = done.stderr.splitlines()
    assert lines[-1] == "20 of 20 tasks"
    assert all(line.endswith(" of 20 tasks") for line in lines)
    assert (waited, late) == ("waited for 20", "not in time")
    assert set(done.stdout.split()) == PRINTED
