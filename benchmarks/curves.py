"""How concurrency, fetching ahead and group commit pay on a bucket that is far away: `nox -s curves`.

Every request to the bucket takes 20 ms more than it would on this machine. Tasks do nothing, so that the figures are
the queue's. The results go into docs/benchmarks.md and docs/img/curves.svg.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.servers import KEYS, Store, s3_server, work_folder
from buquet import Queue, Worker, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
PICTURE = "img/curves.svg"
BEGIN, END = "<!-- curves: written by nox -s curves -->", "<!-- curves: end -->"
LATENCY = "20ms"
CALLERS = (1, 10, 100, 1000)
CONCURRENCIES = (1, 10, 50, 200, 1000)
PREFETCHES = (0, 10, 50, 200, 1000)
FEW = 10
"""Tasks at a time while fetching ahead is varied."""
SECONDS = 5
"""About how long one point is measured."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: tasks a second at a setting, and PUTs for each task."""

    setting: int
    per_s: float
    puts: float


async def committed(place: str, callers: int) -> Point:
    """Submit single tasks from so many callers that each wait for their last answer before they go on."""
    async with connect(place) as queue:
        await queue.submit("curve", 0)
        before, begun, count = (await queue.usage()).requests.put, time.monotonic(), 0

        async def caller() -> None:
            nonlocal count
            while time.monotonic() - begun < SECONDS:
                await queue.submit("curve", 0)
                count += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
        took, puts = time.monotonic() - begun, (await queue.usage()).requests.put - before
        return Point(setting=callers, per_s=count / took, puts=puts / count)


async def drained(place: str, setting: int, *, concurrency: int, prefetch: int | None) -> Point:
    """Let one worker run what was stored before; a small run first says how much that should be."""
    rate = (await _drain(place, 10 * concurrency, concurrency, prefetch))[0]
    per_s, puts = await _drain(place, max(100, int(rate * SECONDS)), concurrency, prefetch)
    return Point(setting=setting, per_s=per_s, puts=puts)


async def _drain(place: str, tasks: int, concurrency: int, prefetch: int | None) -> tuple[float, float]:
    async with connect(place) as queue:
        await queue.submit_many("curve", range(tasks))
        worker, seen, over = Worker(queue, concurrency=concurrency, prefetch=prefetch), 0, asyncio.Event()

        @worker.task("curve")
        async def curve(number: int) -> None:
            nonlocal seen
            del number
            seen += 1
            if seen == tasks:
                over.set()

        before, begun = await _puts(queue), time.monotonic()
        async with worker:
            await over.wait()
        return tasks / (time.monotonic() - begun), (await _puts(queue) - before) / tasks


async def _puts(queue: Queue) -> int:
    return (await queue.usage()).requests.put


async def measure(store: Store) -> dict[str, list[Point]]:
    """Measure all curves."""
    curves: dict[str, list[Point]] = {"callers": [], "concurrency": [], "prefetch": []}
    for callers in CALLERS:
        curves["callers"].append(say("callers", await committed(store.fresh(), callers)))
    for most in CONCURRENCIES:
        point = await drained(store.fresh(), most, concurrency=most, prefetch=None)
        curves["concurrency"].append(say("concurrency", point))
    for ahead in PREFETCHES:
        point = await drained(store.fresh(), ahead, concurrency=FEW, prefetch=ahead)
        curves["prefetch"].append(say("prefetch", point))
    return curves


def table(title: str, points: Sequence[Point]) -> list[str]:
    """One curve as a table that lies on its side."""
    return [
        f"| {title} | {' | '.join(f'{point.setting:,}' for point in points)} |",
        f"|---|{'---:|' * len(points)}",
        f"| tasks/s | {' | '.join(f'{point.per_s:,.0f}' for point in points)} |",
        f"| PUTs a task | {' | '.join(f'{point.puts:.3f}' for point in points)} |",
        "",
    ]


def section(curves: dict[str, list[Point]]) -> str:
    """The page's part."""
    lines = [
        *table("callers that submit single tasks", curves["callers"]),
        *table("`concurrency` of the worker, `prefetch` by itself", curves["concurrency"]),
        *table(f"`prefetch`, with a `concurrency` of {FEW}", curves["prefetch"]),
        f"![Tasks a second by setting]({PICTURE})",
    ]
    return "\n".join(lines)


def draw(curves: dict[str, list[Point]], path: Path) -> None:
    """Draw the curves, both axes logarithmic."""
    # Imported here, for only this needs Matplotlib; as Any, for its types do not hold up to strict checking.
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "buquet"  # the same picture for the same figures
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    titles = {"callers": "submit: callers", "concurrency": "drain: concurrency", "prefetch": "drain: prefetch"}
    figure, axes = pyplot.subplots(1, len(curves), figsize=(12, 3.2), sharey=True)
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        places = list(range(len(points)))
        axis.plot(places, [point.per_s for point in points], marker="o", color="#1f6f78")
        axis.set_xticks(places, [f"{point.setting:,}" for point in points])
        axis.set_yscale("log")
        axis.set_title(f"{titles[name]}, tasks/s", fontsize=10)
        axis.spines[["top", "right"]].set_visible(b=False)
        for place, point in zip(places, points, strict=True):
            axis.annotate(f"{point.per_s:,.0f}", (place, point.per_s), (0, 6), textcoords="offset points", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)


def say(name: str, point: Point) -> Point:
    """Print a point."""
    sys.stdout.write(f"{name} {point.setting:,}: {point.per_s:,.0f} tasks/s, {point.puts:.3f} PUTs a task\n")
    sys.stdout.flush()
    return point


def main() -> int:
    """Measure, and write the page."""
    os.environ.update(AWS_ACCESS_KEY_ID=KEYS[1], AWS_SECRET_ACCESS_KEY=KEYS[3])
    folder = work_folder()
    try:
        with s3_server(folder / "s3", latency=LATENCY) as store:
            curves = asyncio.run(measure(store))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{section(curves)}\n\n{END}{after}", "utf-8")
    draw(curves, PAGE.parent / PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
