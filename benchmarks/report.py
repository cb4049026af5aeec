"""The page's part that a run writes: a table, where peers are ahead, what was run on, and with which versions."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buquet.bench._figures import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.counting import Counted
    from benchmarks.systems import System
    from benchmarks.trial import Trial

BEGIN = "<!-- results: written by nox -s bench -->"
END = "<!-- results: end -->"
AHEAD = "**"  # around a figure that is better than each of buquet's


@dataclass(frozen=True, kw_only=True)
class Result:
    """A system's figures over all rounds: medians, and percentiles of all pick-ups together."""

    label: str
    is_ours: bool
    setup: str
    tasks: int
    submit_per_s: float
    bulk_per_s: float | None
    drain_per_s: float
    drain_per_worker_cpu_s: float
    drain_per_cpu_s: float
    pickup_p50: float
    pickup_p99: float
    loses: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measure, and which way is better."""

    title: str
    value: Callable[[Result], float | None]
    higher_is_better: bool = True


COLUMNS = (
    Column(title="submit/s, single", value=lambda result: result.submit_per_s),
    Column(title="submit/s, bulk", value=lambda result: result.bulk_per_s),
    Column(title="drain/s", value=lambda result: result.drain_per_s),
    Column(title="drained per worker CPU s", value=lambda result: result.drain_per_worker_cpu_s),
    Column(title="drained per CPU s, server included", value=lambda result: result.drain_per_cpu_s),
    Column(title="pick-up p50, ms", value=lambda result: result.pickup_p50, higher_is_better=False),
    Column(title="pick-up p99, ms", value=lambda result: result.pickup_p99, higher_is_better=False),
)


def summarise(system: System, trials: Sequence[Trial]) -> Result:
    """Sum a system's trials up."""
    pickups = [sample for trial in trials for sample in trial.pickups]
    bulks = [trial.bulk_per_s for trial in trials if trial.bulk_per_s is not None]
    return Result(
        label=system.label,
        is_ours=system.is_ours,
        setup=system.setup,
        tasks=system.tasks,
        submit_per_s=statistics.median(trial.submit_per_s for trial in trials),
        bulk_per_s=statistics.median(bulks) if bulks else None,
        drain_per_s=statistics.median(trial.drain_per_s for trial in trials),
        drain_per_worker_cpu_s=statistics.median(1000 / trial.worker_cpu for trial in trials),
        drain_per_cpu_s=statistics.median(1000 / (trial.worker_cpu + trial.server_cpu) for trial in trials),
        pickup_p50=percentile(pickups, 0.50),
        pickup_p99=percentile(pickups, 0.99),
        loses=system.loses,
    )


def is_ahead(result: Result, column: Column, results: Iterable[Result]) -> bool:
    """Whether a peer's figure is better than each of buquet's own."""
    own = [value for other in results if other.is_ours and (value := column.value(other)) is not None]
    value = column.value(result)
    if result.is_ours or value is None or not own:
        return False
    return value > max(own) if column.higher_is_better else value < min(own)


def table(results: Sequence[Result]) -> str:
    """Write the table; a peer's figure that is ahead is bold and marked."""
    titles = ["", *(column.title for column in COLUMNS), "worker", "a task whose worker is killed"]
    lines = [titles, ["---", *("---:" for _ in COLUMNS), "---", "---"]]
    for result in results:
        cells = [_cell(result, column, results) for column in COLUMNS]
        lines.append([result.label, *cells, result.setup, result.loses])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(result: Result, column: Column, results: Sequence[Result]) -> str:
    value = column.value(result)
    if value is None:
        return "-"
    text = number(value)
    return f"{AHEAD}{text} ▲{AHEAD}" if is_ahead(result, column, results) else text


def number(value: float) -> str:
    """Write a figure with as many digits as are worth something."""
    small = 10
    return f"{value:,.1f}" if value < small else f"{value:,.0f}"


def ahead(results: Sequence[Result]) -> str:
    """Say in words where peers are ahead of buquet."""
    own = [result for result in results if result.is_ours]
    lines: list[str] = []
    for column in COLUMNS:
        better = [result for result in results if is_ahead(result, column, results)]
        if not better:
            continue
        peers = ", ".join(f"{result.label} ({number(column.value(result) or 0)})" for result in better)
        ours = ", ".join(
            f"{result.label} {number(value)}" for result in own if (value := column.value(result)) is not None
        )
        lines.append(f"- {column.title}: {peers}; {ours}")
    if not lines:
        return "No peer is ahead of buquet in any of these figures."
    return "Peers ahead of each of buquet's own figures:\n\n" + "\n".join(lines)


def requests_table(counted: Sequence[Counted]) -> str:
    """Write what both versions of buquet ask of S3 for a task, and the ratio of the paid part."""
    lines = [
        "| | PUT | LIST | GET | paid, in PUTs |",
        "|---|---:|---:|---:|---:|",
    ]
    for entry in counted:
        cells = (entry.put, entry.list, entry.get, entry.paid)
        lines.append(f"| {entry.what} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines)


def section(
    results: Sequence[Result],
    counted: Sequence[Counted],
    *,
    versions: Mapping[str, str],
    machine: str,
    rounds: int,
    picture: str,
) -> str:
    """Write all between the page's two marks."""
    listed = "\n".join(f"- {name}: {version}" for name, version in versions.items())
    sizes = ", ".join(f"{result.label} {result.tasks:,}" for result in results)
    return f"""{BEGIN}

{table(results)}

▲ marks a peer's figure that is better than each of buquet's. {ahead(results)}

![Drain rates and pick-up latencies]({picture})

Medians of rounds, of which there were {rounds}, every system having its turn in each; percentiles of the pick-ups of
all rounds, so that p99 is the longest of fewer than 100. Tasks of each phase: {sizes}.

Requests for one task on S3, from submit to completion, counted by a proxy before the server (looking for
work included):

{requests_table(counted)}

Machine: {machine}

{listed}

{END}"""


def into_page(page: str, written: str) -> str:
    """Return the page with the part between the marks replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        message = f"the page lacks the line {BEGIN!r} or {END!r}"
        raise ValueError(message)
    return before + written + after
