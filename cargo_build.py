"""Runs cargo for the build: finds one that is new enough, asks for features, and tells whoever waits how far it is.

It imports nothing that has to be installed, and an old Python can read it, so that what is missing is said first.

Environment:
    CARGO               the cargo to run, default `cargo`.
    CARGO_TARGET_DIR    where cargo builds, as always with cargo.
    BUQUET_FEATURES     what the library has besides the queue: names from FEATURES, with commas between them.
    BUQUET_CARGO_ARGS   more arguments for `cargo build`, such as `--offline` or `-p buquet-sim`.
    BUQUET_WHEEL_TARGET a target of cargo-zigbuild, such as `aarch64-unknown-linux-gnu.2.28`: builds the library of a
                        released wheel for it. `nox -s wheels` sets it.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - pip runs the build before it compares `requires-python`
    found = f"{sys.executable} is Python {sys.version.split()[0]}"
    sys.exit(f"buquet needs Python 3.11 or newer, and {found}: make the environment with a newer one.")

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

CRATE = "buquet-ffi"
LIBRARY = "buquet"  # the name of the crate's library target
LIBRARY_SUFFIXES = frozenset({".so", ".dylib"})
FEATURES = ("dev-server", "sso")
INSTALL_HINT = "install Rust from https://rustup.rs or set CARGO to your cargo"
NOTICE = (
    "buquet: compiling the engine. The first time this takes about five minutes on two cores; "
    "`pip install -v` shows each step."
)
SECONDS_BETWEEN_REPORTS = 30.0


class BuildError(Exception):
    """The library cannot be built here; the message says what to do."""


def check(root: Path) -> None:
    """Raise BuildError if it is clear already that the library cannot be built here, or not with these features."""
    find_cargo(root)
    features()


def find_cargo(root: Path) -> str:
    """Return the cargo to use, or raise BuildError where there is none or it is too old for the workspace."""
    needed = tomllib.loads((root / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["rust-version"]
    cargo = os.environ.get("CARGO") or "cargo"
    if shutil.which(cargo) is None:
        message = f"building from source needs cargo {needed} or newer, and {cargo!r} was not found: {INSTALL_HINT}."
        raise BuildError(message)
    answer = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False, cwd=root)
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    if answer.returncode != 0 or found is None:
        said = " ".join((answer.stderr.strip() or answer.stdout.strip()).split())
        message = f"building from source needs cargo {needed} or newer, and `{cargo} --version` failed ({said})"
        raise BuildError(f"{message}: {INSTALL_HINT}.")
    if version_tuple(found[0]) < version_tuple(needed):
        message = f"building from source needs cargo {needed} or newer, and {cargo!r} is {found[0]}"
        raise BuildError(f"{message}: run `rustup update`.")
    return cargo


def version_tuple(text: str) -> tuple[int, ...]:
    """Return a dotted version as numbers that compare."""
    return tuple(int(part) for part in text.split("."))


def features() -> list[str]:
    """Return the features asked for, or raise BuildError for one that there is not."""
    asked = [name for name in re.split(r"[,\s]+", os.environ.get("BUQUET_FEATURES", "")) if name]
    for name in asked:
        if name not in FEATURES:
            raise BuildError(f"there is no feature {name!r}; BUQUET_FEATURES takes {' and '.join(FEATURES)}.")
    return asked


def wheel_target() -> str | None:
    """Return the target of cargo-zigbuild that a released wheel is built for; None in other builds."""
    return os.environ.get("BUQUET_WHEEL_TARGET") or None


def build_library(root: Path, cargo: str) -> Path:
    """Run cargo and return the path of the shared library it made."""
    target = wheel_target()
    mode = ["zigbuild", "--profile", "wheel", "--target", target] if target else ["build", "--release"]
    command = [cargo, *mode, "--locked", "-p", CRATE, "--message-format=json-render-diagnostics"]
    for feature in features():
        command += ["--features", f"{CRATE}/{feature}"]
    command += shlex.split(os.environ.get("BUQUET_CARGO_ARGS", ""))
    terminal = None if sys.stderr.isatty() else foreground_terminal()
    if terminal is None:
        # Progress and compiler errors go to stderr as they come; stdout holds the messages.
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=root)
        status, messages = answer.returncode, answer.stdout
    else:
        try:
            status, messages = run_watched(command, root, terminal)
        finally:
            with suppress(OSError):
                terminal.close()
    if status != 0:
        message = f"`{shlex.join(command)}` failed with status {status}; cargo's own words are above."
        raise BuildError(message)
    return find_library(messages)


def foreground_terminal() -> TextIO | None:
    """Return the terminal of the person who waits, if there is one: pip shows nothing of a build until it fails.

    Not for a process in the background, which a terminal may stop for writing.
    """
    try:
        terminal = Path("/dev/tty").open("w", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    except OSError:
        return None
    if os.tcgetpgrp(terminal.fileno()) == os.getpgrp():
        return terminal
    terminal.close()
    return None


def run_watched(command: list[str], root: Path, terminal: TextIO) -> tuple[int, str]:
    """Run cargo, reporting its progress to the terminal; return its status and its messages."""
    env = {**os.environ, "CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "80"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as messages:
        cargo = subprocess.Popen(
            command, stdout=messages, stderr=subprocess.PIPE, text=True, errors="replace", cwd=root, env=env
        )
        with cargo:
            report(cargo.stderr or (), terminal, time.monotonic)
        messages.seek(0)
        return cargo.returncode, messages.read()


def report(lines: Iterable[str], terminal: TextIO, now: Callable[[], float]) -> None:
    """Tell the terminal now and then how far cargo is; everything but its progress bar goes on to stderr."""
    begun = last = now()
    tell(terminal, f"\n  {NOTICE}")  # on a line of its own: pip has left one unfinished
    for line in lines:
        bar = re.match(r"\s*(?:Building|Downloading) \[.*\] (\d+)/(\d+)", line)
        if bar is None:
            sys.stderr.write(line)
            sys.stderr.flush()
        elif now() - last >= SECONDS_BETWEEN_REPORTS:
            last = now()
            tell(terminal, f"\r  buquet: {bar[1]} of {bar[2]} steps after {last - begun:.0f} s")


def tell(terminal: TextIO, text: str) -> None:
    """Write a line to the terminal; a build outlives one that was closed."""
    with suppress(OSError):
        print(text, file=terminal, flush=True)


def find_library(messages: str) -> Path:
    """Return the cdylib's path from cargo's JSON messages, one a line."""
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact" or message["target"]["name"] != LIBRARY:
            continue  # dependencies may come with a cdylib of their own
        for name in message["filenames"]:
            if Path(name).suffix in LIBRARY_SUFFIXES:
                return Path(name)
    message = f"cargo built {CRATE} but named no shared library for it. Is its crate-type still cdylib?"
    raise BuildError(message)
