"""What every adapter shares: the roles that the comparison starts it in, and the clock its handlers stop.

An adapter is a script that runs in its peer's own environment, with nothing but that peer and the standard library:

    python on_celery.py reset            make the place empty
    python on_celery.py submit 1000      submit so many no-op tasks singly; print the seconds
    python on_celery.py bulk 1000        the same with the peer's call for many at once
    python on_celery.py worker           work until SIGTERM
    python on_celery.py pickup 20        submit lone tasks; print milliseconds until a worker began each

Environment:
    BENCH_PLACE    where the queue is: a URL or a path, as the adapter needs it.
    BENCH_TASKS    how many tasks the worker is to drain.
    BENCH_RESULT   the file for the drain's measure.
    BENCH_SERVERS  process ids of the store's servers, whose CPU time belongs to the drain.
    BENCH_PICKED   a datagram socket, told when a task is picked up.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = os.environ.get("BENCH_PLACE", "")
TICKS = os.sysconf("SC_CLK_TCK")
GOLDEN = 0.618033988749895
SHORTEST_GAP = float(os.environ.get("BENCH_GAP", "0.2"))
PICKUP_SECONDS = 60
WARM_UP = 20


class Adapter(Protocol):
    """What an adapter's module has."""

    reset: Callable[[], None]
    submit: Callable[[int], None]
    bulk: Callable[[int], None] | None
    lone: Callable[[int], None]
    worker: Callable[[], None]


class Tally:
    """Counts the handlers that began, and measures from the first to the last one expected."""

    def __init__(self) -> None:
        """Expect as many as the environment says."""
        self._count = itertools.count(1)  # counts right in threads as well
        self._expected = int(os.environ.get("BENCH_TASKS", "0"))
        self._begun: dict[str, float] | None = None

    def hit(self) -> bool:
        """Note one handler; return whether it is the last one."""
        number = next(self._count)
        if number == 1:
            self._begun = snapshot()
        return number == self._expected

    def finish(self) -> None:
        """Write down the drain: from the first handler to now."""
        if self._begun is None:
            raise RuntimeError("no handler ran")
        ended = snapshot()
        measure = {name: ended[name] - self._begun[name] for name in ended}
        whole = Path(os.environ["BENCH_RESULT"])
        part = whole.with_suffix(".part")
        part.write_text(json.dumps(measure), "utf-8")
        part.rename(whole)

    def note(self) -> None:
        """Be all that a no-op handler does: count, and stop the clock after the last."""
        if self.hit():
            self.finish()


def snapshot() -> dict[str, float]:
    """Read the clocks: the wall's, this process's CPU, and the servers' CPU."""
    servers = [int(pid) for pid in os.environ.get("BENCH_SERVERS", "").split()]
    return {"seconds": time.monotonic(), "worker_cpu": time.process_time(), "server_cpu": cpu_of(servers)}


def cpu_of(roots: list[int]) -> float:
    """Return the CPU seconds of the processes, their descendants, and what those have waited for."""
    if not roots:
        return 0.0
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(int(field) for field in fields[11:15])
    family = set(roots)
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(ticks.get(pid, 0) for pid in family) / TICKS


def picked() -> None:
    """Tell the submitter that a lone task's handler has begun."""
    now = time.monotonic_ns()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(str(now).encode(), os.environ["BENCH_PICKED"])


def time_pickups(lone: Callable[[int], None], count: int) -> list[float]:
    """Return the milliseconds from each lone submit's call to its handler's first line."""
    samples: list[float] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(os.environ["BENCH_PICKED"])
        receiver.settimeout(PICKUP_SECONDS)
        for number in range(count + 1):
            time.sleep(SHORTEST_GAP * (1 + number * GOLDEN % 1))  # evenly spread over the phases of any polling
            begun = time.monotonic_ns()
            lone(number)
            samples.append((int(receiver.recv(64)) - begun) / 1e6)
    return samples[1:]  # the first pays for the connection


def run(adapter: Any) -> None:
    """Play the role that the command line names."""
    role, *numbers = sys.argv[1:]
    count = int(numbers[0]) if numbers else 0
    answer: dict[str, Any] = {}
    if role == "reset":
        adapter.reset()
    elif role in {"submit", "bulk"}:
        send: Callable[[int], None] = getattr(adapter, role)
        send(WARM_UP)  # connects
        begun = time.monotonic()
        send(count - WARM_UP)
        answer = {"seconds": time.monotonic() - begun, "timed": count - WARM_UP}
    elif role == "pickup":
        answer = {"milliseconds": time_pickups(adapter.lone, count)}
    elif role == "worker":
        adapter.worker()
    else:
        sys.exit(f"there is no role {role!r}")
    print(json.dumps(answer), flush=True)  # before what may go wrong in a peer at the interpreter's end


def temporary(name: str) -> Path:
    """Return a fresh path in a temporary folder."""
    return Path(tempfile.mkdtemp(prefix="buquet-bench-")) / name
