"""The comparison's page says where a peer is ahead, and instruction counts that grew are told."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.counting import Counted
from benchmarks.instructions import BASELINE, TOLERANCE, regressions
from benchmarks.report import BEGIN, COLUMNS, END, Result, ahead, into_page, section, summarise, table
from benchmarks.run import PAGE
from benchmarks.systems import SYSTEMS
from benchmarks.trial import PEERS, Trial
from buquet.bench._figures import Latencies, percentile

OURS = Result(
    label="buquet on SQLite",
    is_ours=True,
    setup="async",
    tasks=10,
    submit_per_s=1000,
    bulk_per_s=20_000,
    drain_per_s=5000,
    drain_per_worker_cpu_s=9000,
    drain_per_cpu_s=8000,
    pickup_p50=9,
    pickup_p99=40,
    loses="runs again",
)
SLOWER = dataclasses.replace(OURS, label="buquet on S3", drain_per_s=3000, pickup_p50=400)
PEER = dataclasses.replace(
    OURS,
    label="Peer on Redis",
    is_ours=False,
    submit_per_s=900,
    bulk_per_s=None,
    drain_per_s=4000,
    drain_per_worker_cpu_s=4000,
    drain_per_cpu_s=3000,
    pickup_p50=2,
    pickup_p99=5,
)
EVERYTHING = [OURS, SLOWER, PEER]


def row(label: str, results: list[Result]) -> list[str]:
    """Return the cells of a system's row."""
    (line,) = [line for line in table(results).splitlines() if line.startswith(f"| {label} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_peer_that_is_ahead_is_marked_and_named() -> None:
    assert row("Peer on Redis", EVERYTHING)[1:8] == ["900", "-", "4,000", "4,000", "3,000", "**2.0 ▲**", "**5.0 ▲**"]
    said = ahead(EVERYTHING)
    assert "pick-up p50, ms: Peer on Redis (2.0); buquet on SQLite 9.0, buquet on S3 400" in said
    assert "drain" not in said


def test_a_peer_is_ahead_only_of_the_best_of_ours() -> None:
    between = dataclasses.replace(PEER, drain_per_s=SLOWER.drain_per_s + 1, pickup_p50=10, pickup_p99=41)
    assert "▲" not in table([OURS, SLOWER, between])
    assert ahead([OURS, SLOWER, between]) == "No peer is ahead of buquet in any of these figures."


def test_each_measure_can_put_a_peer_ahead() -> None:
    best = dataclasses.replace(PEER, submit_per_s=1e6, bulk_per_s=1e6, drain_per_s=1e6)
    best = dataclasses.replace(best, drain_per_worker_cpu_s=1e6, drain_per_cpu_s=1e6)
    assert table([OURS, SLOWER, best]).count("▲") == len(COLUMNS)
    assert "▲" not in table([dataclasses.replace(best, is_ours=True), OURS])


def test_rounds_are_summed_up_by_medians() -> None:
    trials = [
        Trial(
            system="x",
            submit_per_s=rate,
            bulk_per_s=None,
            drain_per_s=10 * rate,
            worker_cpu=1.0,
            server_cpu=1.0,
            pickups=[rate],
        )
        for rate in (1.0, 2.0, 9.0)
    ]
    result = summarise(SYSTEMS[0], trials)
    assert (result.submit_per_s, result.bulk_per_s, result.drain_per_s) == (2.0, None, 20.0)
    assert (result.drain_per_worker_cpu_s, result.drain_per_cpu_s) == (1000.0, 500.0)
    assert (result.pickup_p50, result.pickup_p99) == (2.0, 9.0)


def test_the_page_keeps_what_people_wrote() -> None:
    counted = [Counted(what="buquet", put=0.1, list=0, get=1)]
    written = section(
        EVERYTHING, counted, versions={"Python": "3.11"}, machine="2 cores.", rounds=3, picture="img/x.svg"
    )
    page = into_page(f"# Before\n{BEGIN}\nold\n{END}\nafter\n", written)
    assert page.startswith("# Before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
    assert "| buquet | 0.100 | 0.000 | 1.000 | 0.180 |" in page
    assert into_page(page, written) == page
    with pytest.raises(ValueError, match="lacks"):
        into_page("# No marks\n", written)


def test_the_page_has_its_marks() -> None:
    into_page(PAGE.read_text("utf-8"), f"{BEGIN}\n{END}")


def test_every_system_has_an_adapter() -> None:
    assert all((PEERS / system.adapter).is_file() for system in SYSTEMS)
    assert len({system.label for system in SYSTEMS}) == len(SYSTEMS)


def test_a_hot_path_that_grew_too_much_is_told() -> None:
    known = {"same": 1000, "shrunk": 1000, "within": 1000, "grown": 1000}
    counted = {"same": 1000, "shrunk": 1, "within": 1000 * (1 + TOLERANCE), "grown": 1000 * (1 + TOLERANCE) + 1}
    assert regressions({name: int(count) for name, count in counted.items()}, known) == [
        "grown takes 1,101 instructions, +10.1% on the baseline's 1,000; at most +10% is allowed"
    ]
    assert "no baseline" in regressions({"new": 1}, known)[0]


def test_the_baseline_has_the_codec_and_the_claim_path() -> None:
    assert {"record_encode", "record_decode", "claim_path"} <= json.loads(BASELINE.read_text("utf-8"))[
        "instructions"
    ].keys()


@pytest.mark.parametrize(("count", "p50", "p99"), [(1, 1, 1), (2, 1, 2), (100, 50, 99), (1000, 500, 990)])
def test_percentiles_are_samples(count: int, p50: int, p99: int) -> None:
    samples = [float(n) for n in range(count, 0, -1)]
    assert Latencies.of(samples) == Latencies(p50=p50, p99=p99)
    assert percentile(samples, 1.0) == count
