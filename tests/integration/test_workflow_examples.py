"""The examples of workflows finish right, however often they are killed on the way."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stories import Place

STORES = pytest.mark.parametrize("place", ["sqlite", "s3"], indirect=True)
KILLS = 2
GIVEN = 170.0
"""Seconds for the last run: leases of the ones before have to run out first."""


def run_and_kill(example: Path, folder: Path, url: str, after: float) -> subprocess.CompletedProcess[str] | None:
    """Run an example and kill it after so many seconds; gives how it ended if it was faster."""
    environment = {**clean_environment(), "BUQUET_URL": url}
    with subprocess.Popen(
        [sys.executable, example],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_to_the_end(name: str, folder: Path, place: Place) -> str:
    """Kill an example at random moments, and let it end then; gives what it printed."""
    example = ROOT / "examples" / name
    seed = random.randrange(10**6)  # noqa: S311 - which moment is of no interest, but for repeating it
    chance = random.Random(seed)  # noqa: S311
    for _ in range(KILLS):
        done = run_and_kill(example, folder, place.url, chance.uniform(0.3, 2.5))
        if done is not None:
            break
    done = run_and_kill(example, folder, place.url, GIVEN)
    assert done is not None, f"seed {seed}: it did not end in {GIVEN:.0f} s"
    assert done.returncode == 0, f"seed {seed}:\n{done.stdout}{done.stderr}"
    return done.stdout


@STORES
@pytest.mark.slow
def test_an_order_is_paid_packed_and_shipped_once_or_undone(place: Place, tmp_path: Path) -> None:
    printed = run_to_the_end("order_saga.py", tmp_path, place)
    good, bad = printed.splitlines()
    assert good == "o-1: cup, plate, spoon"
    assert "order-o-2 (fulfil) failed: LookupError: there is no unicorn" in bad
    effects = (tmp_path / "ledger.txt").read_text().splitlines()
    assert sorted(effects) == [
        "charged o-1 300",
        "charged o-2 200",
        "packed o-1 cup",
        "packed o-1 plate",
        "packed o-1 spoon",
        "packed o-2 cup",
        "refunded receipt o-2",
        "shipped o-1",
    ]
    assert effects.index("charged o-2 200") < effects.index("refunded receipt o-2")


@STORES
@pytest.mark.slow
def test_an_approval_is_heard_once_or_its_time_is_up(place: Place, tmp_path: Path) -> None:
    begun = time.monotonic()
    printed = run_to_the_end("approval.py", tmp_path, place)
    assert printed.splitlines() == [
        "the page was published, approved by ada",
        "nobody answered: the poem stays a draft",
    ]
    assert time.monotonic() - begun < KILLS * 3 + GIVEN
