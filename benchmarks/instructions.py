"""Instruction counts of the engine's hot paths, under callgrind: `nox -s instructions`.

    python -m benchmarks.instructions PROGRAM [--accept]

PROGRAM is the built `rust/core/benches/instructions.rs`. What a case costs is the difference between two runs of it,
divided by the difference of their times, so that start-up does not count. A count is the same on a busy machine as on
a quiet one; between compilers it is not, so a baseline binds only the compiler that it names.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BASELINE = Path(__file__).resolve().parents[1] / "rust" / "core" / "benches" / "instructions.json"
TOLERANCE = 0.10  # libc picks its memory routines by the processor, and allocation follows addresses
FEW, MANY = 20, 120


def main() -> int:
    """Count, compare, and say what has grown."""
    parser = argparse.ArgumentParser(description="Count instructions and compare them with the baseline.")
    parser.add_argument("program")
    parser.add_argument("--accept", action="store_true", help="write what was counted as the new baseline")
    options = parser.parse_args()
    names = run([options.program]).stdout.split()
    counted = {name: per_run(options.program, name) for name in names}
    compiler = compiler_name()
    if options.accept:
        baseline = {"compiler": compiler, "instructions": counted}
        BASELINE.write_text(json.dumps(baseline, indent=2) + "\n", "utf-8")
        return 0
    known = json.loads(BASELINE.read_text("utf-8"))
    for line in lines(counted, known["instructions"]):
        sys.stdout.write(f"{line}\n")
    if known["compiler"] != compiler:
        sys.stdout.write(f"not compared: the baseline is of {known['compiler']}, and this is {compiler}\n")
        return 0
    wrong = regressions(counted, known["instructions"])
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0


def regressions(counted: Mapping[str, int], known: Mapping[str, int]) -> list[str]:
    """Say which cases cost more than the baseline allows, or have none."""
    found: list[str] = []
    for name, count in counted.items():
        if name not in known:
            found.append(f"{name} has no baseline: run `nox -s instructions -- --accept`")
        elif count > known[name] * (1 + TOLERANCE):
            found.append(
                f"{name} takes {count:,} instructions, {count / known[name] - 1:+.1%} on the baseline's "
                f"{known[name]:,}; at most {TOLERANCE:+.0%} is allowed"
            )
    return found


def lines(counted: Mapping[str, int], known: Mapping[str, int]) -> list[str]:
    """Write a line on each case."""
    return [
        f"{name:16} {count:>12,}" + (f" {count / known[name] - 1:+7.1%}" if name in known else "     new")
        for name, count in counted.items()
    ]


def per_run(program: str, name: str) -> int:
    """Return the instructions of one run of a case."""
    few, many = (collected(program, name, times) for times in (FEW, MANY))
    return round((many - few) / (MANY - FEW))


def collected(program: str, name: str, times: int) -> int:
    """Return the instructions that callgrind counts."""
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    told = run([*tool, program, name, str(times)]).stderr
    found = re.search(r"Collected\s*:\s*(\d+)", told)
    if found is None:
        message = f"callgrind did not say what it collected:\n{told}"
        raise RuntimeError(message)
    return int(found[1])


def compiler_name() -> str:
    """Return compiler and target, such as `rustc 1.95.0 x86_64-unknown-linux-gnu`."""
    told = run(["rustc", "-vV"]).stdout
    facts = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    return f"rustc {facts['release']} {facts['host']}"


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command; raise with its words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{command} ended with status {done.returncode}:\n{done.stderr}"
        raise RuntimeError(message)
    return done


if __name__ == "__main__":
    sys.exit(main())
