"""Runs the Python tests in unusual surroundings, one run in each; what is red there depends on where it runs.

    python -m tools.anywhere                              all of them, all Python tests
    python -m tools.anywhere nohup setsid                 some
    python -m tools.anywhere random -- tests/unit -x      these tests; arguments go to pytest

It ends with a table, and with the number of surroundings in which tests failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider")
RANDOM = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")  # pytest-randomly is there and found
SIDE_BY_SIDE = ("-n", "6")
BUSY = "while True: pass"
ODD = {
    "TZ": "Pacific/Chatham",  # 12 h 45 min from UTC, and with summer time in the south
    "LC_ALL": "C",
    "COLUMNS": "20",
    "FORCE_COLOR": "1",
    "TERM": "xterm-256color",
    "AWS_PROFILE": "somebody",
    "BUQUET_URL": "s3://not-for-tests/queue",
    "http_proxy": "http://127.0.0.1:9",
    "GIT_DIR": "/nowhere",
    "PYTHONWARNINGS": "error",
}


def main() -> int:
    """Run the tests in each of the surroundings that are asked for."""
    parser = argparse.ArgumentParser(
        description="Run the Python tests in unusual surroundings.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:12} {run.__doc__}" for name, run in ALL.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *ALL], help="which of those below; all")
    given = sys.argv[1:]
    split = given.index("--") if "--" in given else len(given)
    names = parser.parse_args(given[:split]).names or list(ALL)
    tests = given[split + 1 :] or ["tests"]
    table: list[tuple[str, int, float]] = []
    for name in names:
        print(f"\n== {name}: {ALL[name].__doc__}", flush=True)
        begun = time.monotonic()
        table.append((name, ALL[name](tests), time.monotonic() - begun))
    print()
    for name, status, seconds in table:
        print(f"{name:12} {'green' if status == 0 else f'RED, exit status {status}':22} {seconds:6.0f} s")
    return sum(status != 0 for _, status, _ in table)


def plainly(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, prepare: Callable[[], object] | None = None
) -> int:
    """Run a command without a terminal, in a process that is prepared for it."""
    settings = {**os.environ, **(env or {})}
    done = subprocess.run(command, env=settings, stdin=subprocess.DEVNULL, check=False, preexec_fn=prepare)
    return done.returncode


def in_a_session_of_its_own(tests: Sequence[str]) -> int:
    """As under `setsid` or a service manager: the process leads a session without a terminal."""
    return plainly([*PYTEST, *SIDE_BY_SIDE, *tests], prepare=os.setsid)


def as_a_background_job(tests: Sequence[str]) -> int:
    """As `&` starts it in a script that is over by now: SIGINT and SIGQUIT are ignored, the group has no leader."""
    told, tell = os.pipe()
    job = f'{{ "$@"; echo $? >&{tell}; }} &'
    command = ["sh", "-c", job, "sh", *PYTEST, *SIDE_BY_SIDE, *tests]
    subprocess.run(command, stdin=subprocess.DEVNULL, process_group=0, pass_fds=[tell], check=True)
    os.close(tell)
    with os.fdopen(told) as status:
        return int(status.read())


def after_a_hangup(tests: Sequence[str]) -> int:
    """As under `nohup`: SIGHUP is ignored."""
    return plainly(["nohup", *PYTEST, *SIDE_BY_SIDE, *tests])


def in_a_terminal(tests: Sequence[str]) -> int:
    """In a terminal, as a person does: its own session, and the terminal controls it."""
    os.environ["TERM"] = "xterm-256color"
    return os.waitstatus_to_exitcode(pty.spawn([*PYTEST, *SIDE_BY_SIDE, *tests]))


def politely(tests: Sequence[str]) -> int:
    """With the lowest priority, beside a core that is busy with something else."""
    with busy_core():
        return plainly(["nice", "-n", "19", *PYTEST, *SIDE_BY_SIDE, *tests])


@contextlib.contextmanager
def busy_core() -> Generator[None]:
    """Keep a core busy until the block ends."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as hog:
        try:
            yield
        finally:
            hog.kill()


def in_random_order(tests: Sequence[str]) -> int:
    """In an order drawn by a seed, which pytest prints."""
    return plainly([*RANDOM, *SIDE_BY_SIDE, *tests])


def one_by_one(tests: Sequence[str]) -> int:
    """In one process, in a random order: what a test leaves behind is there for all others."""
    return plainly([*RANDOM, *tests])


def in_an_odd_environment(tests: Sequence[str]) -> int:
    """With the settings of a developer who has many, a umask that keeps others out, and a time zone far away."""
    return plainly([*PYTEST, *SIDE_BY_SIDE, *tests], env=ODD, prepare=lambda: os.umask(0o077))


ALL = {
    "setsid": in_a_session_of_its_own,
    "background": as_a_background_job,
    "nohup": after_a_hangup,
    "terminal": in_a_terminal,
    "nice": politely,
    "random": in_random_order,
    "one-by-one": one_by_one,
    "odd": in_an_odd_environment,
}


if __name__ == "__main__":
    sys.exit(main())
