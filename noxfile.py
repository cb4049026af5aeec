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
# What libFuzzer needs to see which way an input went.
COVERAGE = (
    "-Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4 "
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table "
    "-Cllvm-args=-sanitizer-coverage-trace-compares"
)
# Building the simulation along with the library gives both one set of features, hence one build of the engine.
FEATURES = ("--features", "buquet-ffi/dev-server")
ONE_BUILD = {"BUQUET_CARGO_ARGS": "-p buquet-sim " + " ".join(FEATURES)}


@nox.session
def tests(session: nox.Session) -> None:
    """Everything: Rust, Python, real S3 servers, simulation. Arguments go to pytest, which then runs alone."""
    install_editable(session, "test")
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    # The same cases for everybody: a red run is then about the change. `cargo nextest run` by hand draws others.
    session.env["PROPTEST_RNG_SEED"] = "20260101"
    session.run(*SERVERS, *rust_tests())
    session.run("cargo", "test", "--release", "--locked", "--workspace", *FEATURES, "--doc", external=True)
    session.run(*SERVERS, "python", "-m", "pytest", "-n", "auto")
    simulate(session, SEEDS)


@nox.session(venv_backend="none")
def sim(session: nox.Session) -> None:
    """The simulation: 1,000 seeds, or the range given, as in `nox -s sim -- 5000..6000`."""
    simulate(session, session.posargs[0] if session.posargs else SEEDS)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Let libFuzzer search in one target, as in `nox -s fuzz -- record 300`. Needs a C++ compiler.

    Stable rustc instruments as nightly's does; only the sanitizers are missing, and the core has no unsafe code. The
    inputs found stay in `fuzz/corpus` in cargo's target folder: the next run goes on from there.
    """
    if len(session.posargs) != 2:  # noqa: PLR2004 - the two it asks for
        session.error("usage: nox -s fuzz -- TARGET SECONDS; the targets are the folders of rust/fuzz/corpus")
    target, seconds = session.posargs
    seeds = ROOT / "rust" / "fuzz" / "corpus" / target
    if not seeds.is_dir():
        session.error(f"there is no target {target!r}: the targets are the folders of rust/fuzz/corpus")
    place = CARGO_TARGET / "fuzz"
    found = place / "corpus" / target
    found.mkdir(parents=True, exist_ok=True)
    # With a target named, build scripts and macros, which nobody links with libFuzzer, are left as they are.
    build = ("cargo", "build", "--profile", "fuzz", "--locked", "--target", host_triple(), "-p", "buquet-fuzz")
    env = {"CARGO_TARGET_DIR": str(place), "RUSTFLAGS": COVERAGE}
    session.run(*build, "--features", "libfuzzer", env=env, external=True)
    session.run(
        str(place / host_triple() / "fuzz" / "buquet-fuzz"),
        *(str(found), str(seeds)),
        *(f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=65536"),
        f"-artifact_prefix={place}/{target}-",
        env={"BUQUET_FUZZ_TARGET": target},
        external=True,
    )


@nox.session(venv_backend="none")
def sanitizers(session: nox.Session) -> None:
    """The C programs under valgrind, and the tests of the C side with Rust code under AddressSanitizer; a long run."""
    cargo = ("cargo", "test", "--locked", "-p", "buquet-ffi")
    programs = (*cargo, "--release", "--test", "main", "--")
    memcheck = "valgrind --quiet --error-exitcode=99 --fair-sched=yes"
    leaks = "--leak-check=full --errors-for-leak-kinds=definite"
    # The other programs count descriptors, or are timed.
    whole = ("main_job", "mistakes", "no_request", "no_handle", "sixty_four")
    session.run(*programs, *whole, env=runner(f"{memcheck} {leaks}"), external=True)
    # To a child, what the parent's threads hold looks lost: they are not there.
    session.run(*programs, "a_child", env=runner(memcheck), external=True)

    # A switch of nightly's, which the prebuilt runtime of stable serves; the standard library is not instrumented.
    env = {
        "CARGO_TARGET_DIR": str(CARGO_TARGET / "asan"),
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": "-Zsanitizer=address",
        "BUQUET_TEST_ASAN": "none",
    }
    session.run(*cargo, "--profile", "fuzz", "--target", host_triple(), "--lib", env=env, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with other task queues, into docs/benchmarks.md; `-- --rounds 1 --only sqlite` for a part."""
    install_editable(session, "bench")
    session.run("python", "-m", "benchmarks.run", *session.posargs)


@nox.session
def curves(session: nox.Session) -> None:
    """How concurrency, prefetch and group commit pay on a bucket far away, into docs/benchmarks.md."""
    install_editable(session, "bench")
    session.run("python", "-m", "benchmarks.curves")


@nox.session(venv_backend="none")
def instructions(session: nox.Session) -> None:
    """Instruction counts of the hot paths against the baseline; `-- --accept` makes today's the baseline."""
    if shutil.which("valgrind") is None:
        session.error("valgrind counts the instructions and is not installed: apt-get install valgrind")
    # All of the workspace, so that what the tests were built with is used again.
    build = ("cargo", "build", "--release", "--locked", "--workspace", *FEATURES, "--bench", "instructions")
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
    clippy = ("cargo", "clippy", "--release", "--locked", "--workspace", "--all-targets", *FEATURES, "--", "-D", "warnings")
    session.run(*clippy, external=True)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Pyright, strict."""
    install_editable(session, "types")
    session.run("pyright", *session.posargs)


@nox.session(name="install-c")
def install_c(session: nox.Session) -> None:
    """The library, header and pkg-config file for C and Go programs: `nox -s install-c -- PREFIX`."""
    install_group(session, "build")
    session.run("python", "tools/install_c.py", *session.posargs, env=ONE_BUILD)


@nox.session
def abi(session: nox.Session) -> None:
    """Whether the C ABI only adds to that of the last release. Also part of `tests`."""
    install_group(session, "build")
    session.run("python", "tools/abi_check.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """An sdist, a wheel built from it alone, and the demo run from that wheel in an empty environment."""
    install_group(session, "build")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The sdist is unpacked elsewhere: without this it would compile all dependencies anew.
    session.run("python", "-m", "build", "--outdir", str(dist), env={"CARGO_TARGET_DIR": str(CARGO_TARGET)})
    (built,) = dist.glob("*.whl")

    empty = Path(session.create_tmp()).resolve() / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    session.run("python", "-m", "venv", str(empty))
    python = empty / "bin" / "python"
    session.run(str(python), "-m", "pip", "install", "--quiet", str(built), external=True)
    with session.chdir(empty):
        session.run(str(empty / "bin" / "buquet"), "demo", external=True)


@nox.session
def wheels(session: nox.Session) -> None:
    """The sdist and the audited wheels of a release, into `dist/`; a long run."""
    install_group(session, "wheels")
    session.run("python", "tools/wheels.py", env={"CARGO_TARGET_DIR": str(CARGO_TARGET)})


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


def runner(command: str) -> dict[str, str]:
    """Return the environment in which C programs of the tests run under a command."""
    return {"BUQUET_TEST_RUNNER": command, "BUQUET_TEST_ASAN": "none"}


def host_triple() -> str:
    """Return what rustc calls this machine."""
    told = subprocess.run(["rustc", "--print", "host-tuple"], capture_output=True, check=True, text=True)
    return told.stdout.strip()


def rust_tests() -> list[str]:
    """Return the command that runs the Rust tests: nextest where it is installed."""
    answer = subprocess.run(["cargo", "nextest", "--version"], capture_output=True, check=False)
    where = ["--release", "--locked", "--workspace", "--no-fail-fast", *FEATURES]
    if answer.returncode == 0:
        return ["cargo", "nextest", "run", *where]
    # Some tests count what their process has open: nextest gives each its own, here they go one by one.
    return ["cargo", "test", "--tests", *where, "--", "--test-threads=1"]


def simulate(session: nox.Session, seeds: str) -> None:
    """Run seeds of the simulation, built along with the library: see ONE_BUILD."""
    build = ("cargo", "build", "--release", "--locked", "-p", "buquet-ffi", "-p", "buquet-sim", *FEATURES)
    session.run(*build, external=True)
    session.run(str(CARGO_TARGET / "release" / "buquet-sim"), "--seeds", seeds, external=True)
