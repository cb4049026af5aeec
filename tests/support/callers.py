"""The C and Go programs of `examples/`, compiled once in a run against a library that was installed for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import ROOT, Running, background, clean_environment
from tools.install_c import install

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

LIBRARY = ROOT / "python" / "buquet" / ("libbuquet.dylib" if sys.platform == "darwin" else "libbuquet.so")
PKG_CONFIG = Path(sys.executable).with_name("pkgconf")
C_SOURCES = ROOT / "examples" / "c"
GO_MODULE = ROOT / "examples" / "go"
GO_CACHE = ROOT / ".nox" / "go-cache"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
NO_GO = "go is not found; Debian's golang or any Go from 1.19 on brings it"
COMMAND_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A compiled program: `submit`, `await` and `work` are its commands, whatever its language."""

    language: str
    path: Path

    def run(self, url: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the program on the queue at `url`."""
        return subprocess.run(
            [self.path, *words],
            env=clean_environment(BUQUET_URL=url),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    @contextlib.contextmanager
    def working(self, url: str, *, prefix: str = "", concurrency: int = 4, logs: Path) -> Generator[Running]:
        """Run the program's worker until the block ends."""
        command = [str(self.path), "work", prefix, str(concurrency)]
        with background(command, cwd=logs, env=clean_environment(BUQUET_URL=url)) as running:
            yield running


def once(target: Path, make: Callable[[], object]) -> Path:
    """Return `target`, made by whichever process of the run comes first."""
    marker = target.with_name(f"{target.name}.made")
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            make()
            marker.touch()
    return target


def installed(folder: Path) -> Path:
    """Return a prefix under which the library of this work tree is installed."""
    prefix = folder / "prefix"
    return once(prefix, lambda: install(LIBRARY, prefix))


def c_program(folder: Path) -> Caller:
    """Return the C example."""
    prefix, program = installed(folder), folder / "bqc"
    sources = sorted(C_SOURCES.glob("*.c"))
    return Caller(language="c", path=once(program, lambda: compile_c(prefix, sources, program)))


def compile_c(prefix: Path, sources: Sequence[Path], program: Path) -> None:
    """Compile C with every warning an error and link with the installed library."""
    cflags, libs = pkg_config(prefix, "--cflags"), pkg_config(prefix, "--libs")
    rpath = f"-Wl,-rpath,{prefix}/lib"
    compiler = os.environ.get("CC", "cc")
    checked([compiler, *STRICT, "-pthread", f"-I{C_SOURCES}", *cflags, *sources, *libs, rpath, "-o", program])


def pkg_config(prefix: Path, *options: str) -> list[str]:
    """Return what pkg-config says of the installed library."""
    environment = clean_environment(PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig"))
    return shlex.split(checked([PKG_CONFIG, *options, "buquet"], env=environment))


def go_program(folder: Path) -> Caller:
    """Return the Go example; Go has to be there."""
    program = folder / "bqgo"
    path = once(program, lambda: go(folder, "build", "-o", str(program), "./cmd/bqgo"))
    return Caller(language="go", path=path)


def has_go() -> bool:
    """Whether Go is there."""
    return shutil.which("go") is not None


def go(folder: Path, *words: str, module: Path = GO_MODULE) -> str:
    """Run a go command in a module that uses the installed library; nothing is fetched."""
    prefix = installed(folder)
    GO_CACHE.mkdir(parents=True, exist_ok=True)
    environment = clean_environment(
        CGO_ENABLED="1",
        CGO_LDFLAGS=f"-Wl,-rpath,{prefix}/lib",
        GOCACHE=str(GO_CACHE),
        GOFLAGS="-buildvcs=false",
        GOPROXY="off",
        GOTOOLCHAIN="local",
        PKG_CONFIG=str(PKG_CONFIG),
        PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig"),
    )
    return checked(["go", *words], cwd=module, env=environment)


def checked(command: Sequence[str | Path], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed; return what it printed."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(map(str, command))} failed:\n{done.stdout}{done.stderr}"
    return done.stdout
