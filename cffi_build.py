"""Builds the native library and its cffi bindings, and puts both into the wheel.

Hatchling runs `CustomBuildHook` for every wheel, editable installs included. After a change to the Rust
code, `python cffi_build.py` does the same by hand, in place.

Environment:
    CARGO             the cargo to run, default `cargo`.
    CARGO_TARGET_DIR  where cargo builds, as always with cargo.
    BUQUET_CARGO_ARGS more arguments for `cargo build`, such as `--offline` or `-p buquet-sim`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cffi import FFI
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

CRATE = "buquet-ffi"
LIBRARY = "buquet"  # the name of the crate's library target
MODULE = "buquet._abi"
LIBRARY_SUFFIXES = frozenset({".so", ".dylib", ".dll"})
INSTALL_HINT = "Install Rust from https://rustup.rs (or set CARGO to your cargo) and try again."


class CustomBuildHook(BuildHookInterface[Any]):
    """Runs before hatchling collects the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library and bindings into the package and tag the wheel with this platform."""
        del version  # "standard" or "editable": the same files serve both
        try:
            build(Path(self.root))
        except BuildError as error:
            self.app.abort(f"buquet: {error}")
        build_data["pure_python"] = False
        build_data["tag"] = wheel_tag()


class BuildError(Exception):
    """The library cannot be built here; the message says what to do."""


def build(root: Path) -> list[Path]:
    """Build the library and its bindings into `root`/python/buquet; return the paths written."""
    package = root / "python" / "buquet"
    cargo = find_cargo(root)
    library = install_library(build_library(root, cargo), package)
    bindings = write_bindings(root / "include" / "buquet.h", package / "_abi.py")
    return [library, bindings]


def find_cargo(root: Path) -> str:
    """Return the cargo to use, or raise BuildError where there is none or it is too old for the workspace."""
    needed = tomllib.loads((root / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["rust-version"]
    cargo = os.environ.get("CARGO") or "cargo"
    if shutil.which(cargo) is None:
        message = f"building from source needs cargo {needed} or newer, and {cargo!r} was not found. {INSTALL_HINT}"
        raise BuildError(message)
    answer = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False, cwd=root)
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    if answer.returncode != 0 or found is None:
        message = f"`{cargo} --version` failed: {answer.stderr.strip() or answer.stdout.strip()}. {INSTALL_HINT}"
        raise BuildError(message)
    if version_tuple(found[0]) < version_tuple(needed):
        message = f"building needs cargo {needed} or newer, and {cargo!r} is {found[0]}. Run `rustup update`."
        raise BuildError(message)
    return cargo


def version_tuple(text: str) -> tuple[int, ...]:
    """Return a dotted version as numbers that compare."""
    return tuple(int(part) for part in text.split("."))


def build_library(root: Path, cargo: str) -> Path:
    """Run cargo and return the path of the shared library it made."""
    command = [cargo, "build", "--release", "--locked", "-p", CRATE, "--message-format=json-render-diagnostics"]
    command += shlex.split(os.environ.get("BUQUET_CARGO_ARGS", ""))
    # Progress and compiler errors go to stderr as they come; stdout holds the messages.
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=root)
    if answer.returncode != 0:
        message = f"`{shlex.join(command)}` failed with status {answer.returncode}; cargo's own words are above."
        raise BuildError(message)
    return find_library(answer.stdout)


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


def install_library(library: Path, package: Path) -> Path:
    """Copy the library into the package; a process that has the old one mapped keeps it."""
    target = package / library.name
    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    shutil.copy2(library, fresh)
    fresh.replace(target)
    return target


def write_bindings(header: Path, target: Path) -> Path:
    """Write cffi's out-of-line ABI module for the header; importing it needs no compiler and parses no C."""
    ffi = FFI()
    ffi.cdef(declarations(header.read_text("utf-8")))
    ffi.set_source(MODULE, None)
    ffi.emit_python_code(str(target))
    return target


def declarations(header: str) -> str:
    """Return the header with what cffi does not read left out: directives and parts for C++ only.

    Integer `#define`s stay, since cffi makes constants of them. A block under any other condition than the
    include guard is refused: cffi cannot decide it, and a guess would bind another ABI than the C compiler's.
    """
    kept: list[str] = []
    conditions: list[bool] = []  # for each open block, whether its lines are for C
    for line in re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL).splitlines():
        directive = re.match(r"\s*#\s*(\w+)\s*(.*)", line)
        if directive is None:
            if all(conditions):
                kept.append(line)
            continue
        name, rest = directive[1], directive[2].strip()
        if name in {"if", "ifdef", "ifndef"}:
            conditions.append(is_for_c(name, rest))
        elif name == "else":
            conditions[-1] = not conditions[-1]
        elif name == "endif":
            conditions.pop()
        elif name == "define" and all(conditions) and re.fullmatch(r"\w+\s+-?\d+", rest):
            kept.append(f"#define {rest}")
    return "\n".join(kept) + "\n"


def is_for_c(directive: str, condition: str) -> bool:
    """Return whether a conditional block of the header is part of its C declarations."""
    if condition in {"__cplusplus", "defined(__cplusplus)"}:
        return directive == "ifndef"
    if directive == "ifndef" and condition.endswith("_H"):
        return True
    message = f"include/buquet.h has `#{directive} {condition}`, which cffi_build.py cannot decide"
    raise BuildError(message)


def wheel_tag() -> str:
    """Return the wheel's tag: any Python 3, no CPython ABI, and this platform.

    On Linux that is `linux_*`, never `manylinux_*`: which systems the library runs on was not audited.
    """
    audited = ("manylinux", "musllinux")
    return f"py3-none-{next(tag for tag in platform_tags() if not tag.startswith(audited))}"


if __name__ == "__main__":
    try:
        for path in build(Path(__file__).parent):
            print(path)
    except BuildError as error:
        sys.exit(f"buquet: {error}")
