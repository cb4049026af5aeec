"""The project's checks: `nox -s tests` runs everything that tests; `nox -l` lists the rest.

All sessions share one virtual environment, `.nox/environment`, and one build: Rust is compiled in one profile, release,
with one set of features, in one target folder. Sessions that need nothing of each other run side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"  # runs sessions side by side
nox.options.default_venv_backend = "none"
nox.options.parallel = 2
nox.options.sessions = ["tests", "lint", "types", "docs"]

ROOT = Path(__file__).parent
ENVIRONMENT = ROOT / ".nox" / "environment"
REPORTS = ROOT / ".nox" / "reports"
CARGO_TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
SEEDS = "0..1000"
SERVERS = ("python", "-m", "tests.support.servers", "--")
# What libFuzzer needs to see which way an input went.
COVERAGE = (
    "-Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4 "
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table "
    "-Cllvm-args=-sanitizer-coverage-trace-compares"
)
FEATURES = ("--features", "buquet-ffi/dev-server")
# What cargo builds along with the library: with these, its dependencies have the features that they have in the tests,
# and nothing is compiled twice. `.ci/run` says the same for the README's first command.
ONE_BUILD = {"BUQUET_CARGO_ARGS": "-p buquet-sim --features buquet-ffi/dev-server"}
# The same library, compiled in a fifth of the time: for what shows that it can be built, and not how fast it is.
CORE = "--config=profile.release.package.buquet-core"
QUICK = {"BUQUET_CARGO_ARGS": f"{CORE}.opt-level=0 {CORE}.codegen-units=16"}
WAITING = 6  # tests of the integration kind wait more than they compute
COMPUTES = ("nice", "-n", "10")  # lets what waits have its turn at once

if report := os.environ.get("BUQUET_NOX_REPORT"):
    nox.options.report = report


@nox.session(requires=["python", "rust", "sim", "pythons"])
def tests(session: nox.Session) -> None:
    """Everything that tests: Rust, Python, real S3 servers, simulation. At the end, what took longest."""
    run(session, "python", "-m", "tools.report", str(REPORTS))


@nox.session
def library(session: nox.Session) -> None:
    """The library, and what tests it, built from this work tree and installed in place."""
    use(session, "test")
    here = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    run(session, "python", "-m", "pip", *here, env=ONE_BUILD)


@nox.session(requires=["library"], allow_parallel=True)
def python(session: nox.Session) -> None:
    """The Python tests, on real S3 servers; `-- tests/unit -k codec` runs a part, on MiniStack alone."""
    if session.posargs:
        run(session, "python", "-m", "pytest", *session.posargs)
        return
    report = f"--junitxml={REPORTS / 'python.xml'}"
    run(session, *SERVERS, "python", "-m", "pytest", "-n", str(WAITING), "--durations", "20", report)


@nox.session(requires=["library"], allow_parallel=True)
def rust(session: nox.Session) -> None:
    """The Rust tests, on real S3 servers; `-- -E 'test(lease)'` runs a part."""
    # The same cases for everybody: a red run is then about the change. `cargo nextest run` by hand draws others.
    run(session, *SERVERS, *COMPUTES, *rust_tests(), *session.posargs, env={"PROPTEST_RNG_SEED": "20260101"})
    if (made := CARGO_TARGET / "nextest" / "default" / "junit.xml").is_file():
        REPORTS.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, REPORTS / "rust.xml")


@nox.session(requires=["library"], allow_parallel=True)
def sim(session: nox.Session) -> None:
    """The simulation: 1,000 seeds, or the range given, as in `nox -s sim -- 5000..6000`."""
    seeds = session.posargs[0] if session.posargs else SEEDS
    run(session, *COMPUTES, str(CARGO_TARGET / "release" / "buquet-sim"), "--seeds", seeds)


@nox.session(requires=["library"], allow_parallel=True)
def pythons(session: nox.Session) -> None:
    """The Python unit tests, on each other Python from 3.11 up that is found here, with the library as it is."""
    others = json.loads(subprocess.check_output([ENVIRONMENT / "bin" / "python", "-m", "tools.pythons"]))
    if not others:
        session.log(f"Python {sys.version_info[0]}.{sys.version_info[1]}, which runs all tests, is the only one here")
    for version, path in others.items():
        environment = ROOT / ".nox" / f"python-{version}"
        use(session, "unit", environment, path)
        at = {"PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{ROOT}"}
        pytest = ("pytest", "-n", "2", f"--junitxml={REPORTS / f'python-{version}.xml'}", "tests/unit")
        run(session, "python", "-m", *pytest, env=at, environment=environment)


@nox.session
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


@nox.session
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


@nox.session(requires=["library"])
def bench(session: nox.Session) -> None:
    """Side by side with other task queues, into docs/benchmarks.md; `-- --rounds 1 --only sqlite` for a part."""
    use(session, "bench")
    run(session, "python", "-m", "benchmarks.run", *session.posargs)


@nox.session(requires=["library"])
def curves(session: nox.Session) -> None:
    """How concurrency, prefetch and group commit pay on a bucket far away, into docs/benchmarks.md."""
    use(session, "bench")
    run(session, "python", "-m", "benchmarks.curves")


@nox.session(allow_parallel=True)
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


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Formatting and lints of both languages."""
    use(session, "lint")
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")
    run(session, "cargo", "fmt", "--all", "--check")
    run(session, "cargo", "fmt", "--manifest-path", "rust/bench/Cargo.toml", "--check")
    clippy = ("cargo", "clippy", "--release", "--locked", "--workspace", "--all-targets", *FEATURES)
    run(session, *clippy, "--", "-D", "warnings")


@nox.session(allow_parallel=True)
def types(session: nox.Session) -> None:
    """Pyright, strict."""
    use(session, "types")
    run(session, "pyright", *session.posargs)


@nox.session(name="install-c", allow_parallel=True)
def install_c(session: nox.Session) -> None:
    """The library, header and pkg-config file for C and Go programs: `nox -s install-c -- PREFIX`."""
    use(session, "build")
    run(session, "python", "tools/install_c.py", *session.posargs, env=ONE_BUILD)


@nox.session(allow_parallel=True)
def abi(session: nox.Session) -> None:
    """Whether the C ABI only adds to that of the last release. Also part of `tests`."""
    use(session, "build")
    run(session, "python", "tools/abi_check.py", *session.posargs)


@nox.session(allow_parallel=True)
def wheel(session: nox.Session) -> None:
    """An sdist, a wheel built from it alone, and the demo run from that wheel in an empty environment."""
    use(session, "build")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The sdist is unpacked elsewhere: without this it would compile all dependencies anew.
    at = {"CARGO_TARGET_DIR": str(CARGO_TARGET), **QUICK}
    run(session, "python", "-m", "build", "--no-isolation", "--outdir", str(dist), env=at)
    (built,) = dist.glob("*.whl")

    empty = Path(session.create_tmp()).resolve() / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    run(session, "python", "-m", "venv", str(empty))
    session.run(str(empty / "bin" / "python"), "-m", "pip", "install", "--quiet", str(built), external=True)
    with session.chdir(empty):
        session.run(str(empty / "bin" / "buquet"), "demo", external=True)


@nox.session
def wheels(session: nox.Session) -> None:
    """The sdist and the audited wheels of a release, into `dist/`; a long run."""
    use(session, "wheels")
    run(session, "python", "tools/wheels.py", env={"CARGO_TARGET_DIR": str(CARGO_TARGET)})


@nox.session(allow_parallel=True)
def docs(session: nox.Session) -> None:
    """The documentation, into `site/`; `nox -s docs -- serve` shows it while you write."""
    use(session, "docs")
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # the versions are pinned, so its advice to move on can wait
    run(session, "mkdocs", *(session.posargs or ["build", "--strict"]), env=quiet)


@nox.session
def anywhere(session: nox.Session) -> None:
    """The Python tests in unusual surroundings, a run in each: `-- --help` lists them."""
    use(session, "anywhere")
    run(session, *SERVERS, "python", "-m", "tools.anywhere", *session.posargs)


def use(session: nox.Session, group: str, environment: Path = ENVIRONMENT, python: str = sys.executable) -> None:
    """Have what buquet needs, and a dependency group, in an environment, which is made where it is not there."""
    project = nox.project.load_toml("pyproject.toml")
    wanted = sorted([*project["project"]["dependencies"], *nox.project.dependency_groups(project, group)])
    environment.parent.mkdir(exist_ok=True)
    done = environment / f"installed-{group}.json"
    with (environment.parent / f"{environment.name}.lock").open("w") as lock:  # of sessions that run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "bin" / "python").exists():
            session.run(python, "-m", "venv", "--clear", str(environment), external=True)
        elif done.is_file() and json.loads(done.read_text("utf-8")) == [python, *wanted]:
            return
        run(session, "python", "-m", "pip", "install", "--quiet", *wanted, environment=environment)
        done.write_text(json.dumps([python, *wanted]), "utf-8")


def run(
    session: nox.Session, *command: str, env: dict[str, str] | None = None, environment: Path = ENVIRONMENT
) -> None:
    """Run a command; Python and the tools are those of the environment."""
    tools = environment / "bin"
    found = [str(tools / word) if (tools / word).exists() else word for word in command[:1]]
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    session.run(*found, *command[1:], env={"PATH": path, "VIRTUAL_ENV": str(environment), **(env or {})}, external=True)


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
