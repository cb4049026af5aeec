"""What a run of the checks came to: its steps and sessions with their times, the slowest tests, and what failed.

    python -m tools.report FOLDER

In the folder lie what `.ci/run` notes of its steps (`steps.tsv`), nox of its sessions (`STEP.json`), and pytest and
nextest of their tests (`RUN.xml`). What is not there is left out.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

SHOWN = 20


class Test(NamedTuple):
    """A test and how long it took."""

    seconds: float
    run: str
    name: str


class Part(NamedTuple):
    """A step, or a session of one, how long it took, and whether it went well."""

    name: str
    seconds: float
    well: bool


def parts_of(folder: Path) -> list[Part]:
    """Return the steps in order, each followed by its sessions."""
    steps = folder / "steps.tsv"
    lines = steps.read_text("utf-8").splitlines() if steps.is_file() else []
    found: list[Part] = []
    for name, seconds, status in (line.split("\t") for line in lines):
        found.append(Part(name, float(seconds), status == "0"))
        found += [part._replace(name=f"  {name}: {part.name}") for part in sessions_of(folder / f"{name}.json")]
    return found


def sessions_of(report: Path) -> list[Part]:
    """Return the sessions that nox ran in a step."""
    if not report.is_file():
        return []
    sessions = json.loads(report.read_text("utf-8"))["sessions"]
    return [Part(each["name"], each.get("duration", 0), each["result"] == "success") for each in sessions]


def tests_of(report: Path) -> list[Test]:
    """Return the tests that a report names."""
    cases = ET.parse(report).iter("testcase")  # noqa: S314 - our own tools wrote it
    return [
        Test(float(case.get("time", "0")), report.stem, f"{case.get('classname', '')}::{case.get('name', '')}")
        for case in cases
    ]


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1])
    parts = parts_of(folder)
    for part in parts:
        print(f"{part.seconds:7.0f} s  {'' if part.well else 'FAILED: '}{part.name}")
    runs = {path.stem: tests_of(path) for path in sorted(folder.glob("*.xml"))}
    for run, tests in runs.items():
        print(f"{sum(test.seconds for test in tests):7.0f} s  in {len(tests)} tests: {run}")
    print(f"The {SHOWN} slowest tests:")
    for test in sorted((test for tests in runs.values() for test in tests), reverse=True)[:SHOWN]:
        print(f"{test.seconds:7.1f} s  {test.run}  {test.name}")
    if failed := [part.name.strip() for part in parts if not part.well]:
        print(f"FAILED: {', '.join(failed)}")


if __name__ == "__main__":
    main()
