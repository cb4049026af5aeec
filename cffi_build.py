"""Builds the native library and its cffi bindings, and puts both into the wheel.

Hatchling runs `CustomBuildHook` for every wheel, editable installs included. After a change to the Rust
code, `python cffi_build.py` does the same by hand, in place.
cargo_build.py says which environment variables count.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

# isort: split
from cargo_build import BuildError, build_library, find_cargo, wheel_target  # first: it says where Python is too old

# isort: split
from cffi import FFI
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

MODULE = "buquet._abi"


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


def build(root: Path) -> list[Path]:
    """Build the library and its bindings into `root`/python/buquet; return the paths written."""
    package = root / "python" / "buquet"
    cargo = find_cargo(root)
    library = install_library(build_library(root, cargo), package)
    bindings = write_bindings(root / "include" / "buquet.h", package / "_abi.py")
    return [library, bindings]


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

    On Linux that is `linux_*`, never `manylinux_*`: which systems the library runs on is auditwheel's to say.
    """
    target = wheel_target()
    if target is not None:
        return f"py3-none-linux_{target.split('-')[0]}"
    audited = ("manylinux", "musllinux")
    return f"py3-none-{next(tag for tag in platform_tags() if not tag.startswith(audited))}"


if __name__ == "__main__":
    try:
        for path in build(Path(__file__).parent):
            print(path)
    except BuildError as error:
        sys.exit(f"buquet: {error}")
