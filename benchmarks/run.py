"""The comparison, whole: `nox -s bench`.

    python -m benchmarks.run [--rounds 3] [--pickups 20] [--only celery ...]

Servers run on loopback ports and data folders of their own. In each round every system has its turn, so that a
busy spell of the machine is shared by all. The results go into docs/benchmarks.md and docs/img/benchmarks.svg,
unless `--only` makes them partial.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import counting, plot, report
from benchmarks.servers import MissingServerError, Store, output, stores, work_folder
from benchmarks.systems import SYSTEMS, System
from benchmarks.trial import Bench, Trial

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".nox" / "peers"
PAGE = ROOT / "docs" / "benchmarks.md"
FEWEST = 100
PICTURE = "img/benchmarks.svg"


def main() -> int:
    """Compare, and write the page."""
    parser = argparse.ArgumentParser(description="Compare buquet with other task queues.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pickups", type=int, default=20)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of tasks")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names; the page is then left alone")
    options = parser.parse_args()
    systems = [
        dataclasses.replace(system, tasks=max(FEWEST, int(system.tasks * options.share)))
        for system in SYSTEMS
        if not options.only or named(system, options.only)
    ]
    folder = work_folder()
    try:
        with stores(folder) as running:
            benches = [prepare(system, running[system.store], folder) for system in systems]
            trials = compare(benches, options.rounds, options.pickups)
            counted = [entry for bench in benches if bench.system.store == "s3" for entry in counting.count(bench)]
            found = versions(benches, running)
    except MissingServerError as error:
        return complain(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = [report.summarise(system, trials[system.label]) for system in systems]
    written = report.section(
        results, counted, versions=found, machine=machine(), rounds=options.rounds, picture=PICTURE
    )
    say(written)
    if not options.only:
        plot.draw(results, PAGE.parent / PICTURE)
        PAGE.write_text(report.into_page(PAGE.read_text("utf-8"), written), "utf-8")
    return 0


def named(system: System, parts: list[str]) -> bool:
    """Whether the system is one of those asked for."""
    return any(part.lower() in system.label.lower() for part in parts)


def prepare(system: System, store: Store, folder: Path) -> Bench:
    """Install a system into an environment of its own; this work tree's is the one that runs."""
    python = sys.executable
    if system.requirements:
        home = ENVIRONMENTS / Path(system.adapter).stem
        marker = home / "installed"
        if not marker.exists() or marker.read_text("utf-8") != repr(system.requirements):
            say(f"installing {', '.join(system.requirements)}")
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", *system.requirements]
            subprocess.run(pip, check=True)
            marker.write_text(repr(system.requirements), "utf-8")
        python = str(home / "bin" / "python")
    return Bench(system=system, python=python, store=store, folder=folder)


def compare(benches: list[Bench], rounds: int, pickups: int) -> dict[str, list[Trial]]:
    """Run the rounds; the order turns with each, so that nobody always comes after the same one."""
    trials: dict[str, list[Trial]] = {bench.system.label: [] for bench in benches}
    for turn in range(rounds):
        for bench in benches[turn:] + benches[:turn]:
            begun = time.monotonic()
            trial = bench.run(pickups)
            trials[trial.system].append(trial)
            say(
                f"round {turn + 1}: {trial.system}: drain {trial.drain_per_s:,.0f}/s, "
                f"submit {trial.submit_per_s:,.0f}/s ({time.monotonic() - begun:.0f} s)"
            )
    return trials


def versions(benches: list[Bench], running: dict[str, Store]) -> dict[str, str]:
    """Ask for the versions of all that took part."""
    found: dict[str, str] = {}
    ask = "import importlib.metadata as m, sys; print(*(n + ' ' + m.version(n) for n in sys.argv[1:]), sep=', ')"
    for bench in benches:
        text = output([bench.python, "-c", ask, *bench.system.versions_of]).strip()
        found[bench.system.label] = f"{text}; {running[bench.system.store].version}"
    found["Python"] = platform.python_version()
    return found


def machine() -> str:
    """Describe the machine."""
    model = "a processor of unknown model"
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = cpus.read_text("utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = os.getloadavg()[2]
    return (
        f"{os.cpu_count()} cores of {model}, {gigabytes:.0f} GB of memory, {platform.system()} {platform.release()}; "
        f"load over the last 15 minutes {load:.1f}."
    )


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> int:
    """Print an error; return the exit status."""
    sys.stderr.write(f"{text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
