"""The project's checks: `nox -s tests` runs everything that tests; `nox -l` lists the rest.

Rust is built in one profile, release, and one target folder, so the AWS SDK is compiled once for all sessions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types", "docs"]

ROOT = Path(__file__).parent
CARGO_TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
SEEDS = "0..1000"
SERVERS = ("python", "-m", "tests.support.servers", "--")
# Building the simulation along with the library gives both one set of features, hence one build of the AWS SDK.
ONE_BUILD = {"BUQUET_CARGO_ARGS": "-p buquet-sim"}


@nox.session
def tests(session: nox.Session) -> None:
    """Everything: Rust, Python, real S3 servers, simulation. Arguments go to pytest, which then runs alone."""
    install_editable(session, "test")
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    session.run(*SERVERS, *rust_tests())
    session.run("cargo", "test", "--release", "--locked", "--workspace", "--doc", external=True)
    session.run(*SERVERS, "python", "-m", "pytest", "-n", "auto")
    simulate(session, SEEDS)


@nox.session(venv_backend="none")
def sim(session: nox.Session) -> None:
    """The simulation: 1,000 seeds, or the range given, as in `nox -s sim -- 5000..6000`."""
    simulate(session, session.posargs[0] if session.posargs else SEEDS)


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with other task queues, into docs/benchmarks.md; `-- --rounds 1 --only sqlite` for a part."""
    install_editable(session, "bench")
    session.run("python", "-m", "benchmarks.run", *session.posargs)


@nox.session(venv_backend="none")
def instructions(session: nox.Session) -> None:
    """Instruction counts of the hot paths against the baseline; `-- --accept` makes today's the baseline."""
    if shutil.which("valgrind") is None:
        session.error("valgrind counts the instructions and is not installed: apt-get install valgrind")
    # All of the workspace, so that what the tests were built with is used again.
    build = ("cargo", "build", "--release", "--locked", "--workspace", "--bench", "instructions")
    built = subprocess.run([*build, "--message-format=json-render-diagnostics"], stdout=subprocess.PIPE, check=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    (program,) = [
        message["executable"]
        for message in messages
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "instructions"
    ]
    session.run("python3", "-m", "benchmarks.instructions", program, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lints of both languages."""
    install_group(session, "lint")
    session.run("cargo", "fmt", "--all", "--check", external=True)
    session.run("cargo", "fmt", "--manifest-path", "rust/bench/Cargo.toml", "--check", external=True)
    clippy = ("cargo", "clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings")
    session.run(*clippy, external=True)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Pyright, strict."""
    install_editable(session, "types")
    session.run("pyright", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """An sdist, a wheel built from it alone, and the demo run from that wheel in an empty environment."""
    install_group(session, "build")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The sdist is unpacked elsewhere: without this it would compile all dependencies anew.
    session.run("python", "-m", "build", "--outdir", str(dist), env={"CARGO_TARGET_DIR": str(CARGO_TARGET)})
    (built,) = dist.glob("*.whl")

    empty = Path(session.create_tmp()) / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    session.run("python", "-m", "venv", str(empty))
    python = empty / "bin" / "python"
    session.run(str(python), "-m", "pip", "install", "--quiet", str(built), external=True)
    with session.chdir(empty):
        session.run(str(empty / "bin" / "buquet"), "demo", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into `site/`; `nox -s docs -- serve` shows it while you write."""
    install_group(session, "docs")
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # the versions are pinned, so its advice to move on can wait
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]), env=quiet)


def install_editable(session: nox.Session, group: str) -> None:
    """Install a dependency group and the package, its library built from this work tree."""
    install_group(session, group)
    session.install("--editable", ".", env=ONE_BUILD)


def install_group(session: nox.Session, group: str) -> None:
    """Install a dependency group of pyproject.toml, with a pip of any age."""
    project = nox.project.load_toml("pyproject.toml")
    session.install(*nox.project.dependency_groups(project, group))


def rust_tests() -> list[str]:
    """Return the command that runs the Rust tests: nextest where it is installed."""
    answer = subprocess.run(["cargo", "nextest", "--version"], capture_output=True, check=False)
    runner = ["nextest", "run"] if answer.returncode == 0 else ["test", "--tests"]
    return ["cargo", *runner, "--release", "--locked", "--workspace", "--no-fail-fast"]


def simulate(session: nox.Session, seeds: str) -> None:
    """Run seeds of the simulation."""
    run = ("cargo", "run", "--release", "--locked", "-p", "buquet-sim", "--")
    session.run(*run, "--seeds", seeds, external=True)
