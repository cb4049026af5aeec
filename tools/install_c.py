"""Installs the library, the header and a pkg-config file for C and Go programs: `nox -s install-c -- PREFIX`.

    PREFIX/include/buquet.h
    PREFIX/lib/libbuquet.so -> libbuquet.so.1 -> libbuquet.so.1.0
    PREFIX/lib/pkgconfig/buquet.pc

The numbers are those of the ABI, not of the release: a program asks the loader for the major version it was linked
with, and a library with a higher minor version serves it too. The folder may be moved: buquet.pc goes by its own place.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cargo_build  # noqa: E402 - it lies beside this folder

HEADER = ROOT / "include" / "buquet.h"
TEMPLATE = Path(__file__).with_name("buquet.pc.in")


@dataclass(frozen=True)
class AbiVersion:
    """The version of the ABI that a header describes."""

    major: int
    minor: int

    @classmethod
    def of(cls, header: str) -> AbiVersion:
        """Read it from the text of a header."""
        found = re.search(r"^#define BQ_ABI_VERSION (\d+)$", header, re.MULTILINE)
        if found is None:
            message = "the header does not define BQ_ABI_VERSION as a plain number"
            raise ValueError(message)
        return cls(int(found[1]) >> 16, int(found[1]) & 0xFFFF)

    def __str__(self) -> str:
        """Give it as text, such as 1.0."""
        return f"{self.major}.{self.minor}"


def install(library: Path, prefix: Path) -> list[Path]:
    """Install a built library with its header and pkg-config file under `prefix`; return what was written."""
    header = HEADER.read_text("utf-8")
    abi = AbiVersion.of(header)
    pkgconfig = prefix / "lib" / "pkgconfig" / "buquet.pc"
    for folder in (prefix / "include", pkgconfig.parent):
        folder.mkdir(parents=True, exist_ok=True)
    written = install_library(library, prefix / "lib", abi)
    written.append(write(prefix / "include" / HEADER.name, header))
    filled = TEMPLATE.read_text("utf-8").replace("@VERSION@", version()).replace("@ABI_VERSION@", str(abi))
    written.append(write(pkgconfig, filled))
    return written


def install_library(library: Path, folder: Path, abi: AbiVersion) -> list[Path]:
    """Install the library under its full name, with the links that the loader and the linker look for."""
    if library.suffix == ".dylib":
        full, by_loader, by_linker = f"libbuquet.{abi}.dylib", f"libbuquet.{abi.major}.dylib", "libbuquet.dylib"
    else:
        full, by_loader, by_linker = f"libbuquet.so.{abi}", f"libbuquet.so.{abi.major}", "libbuquet.so"
    # Put in place by renaming: a program that has the old one mapped keeps it.
    fresh = folder / f".{full}.{os.getpid()}"
    shutil.copyfile(library, fresh)
    fresh.chmod(0o755)
    if library.suffix == ".dylib":
        subprocess.run(["install_name_tool", "-id", f"@rpath/{by_loader}", fresh], check=True)
    fresh.replace(folder / full)
    for name, target in ((by_loader, full), (by_linker, by_loader)):
        fresh.symlink_to(target)
        fresh.replace(folder / name)
    return [folder / name for name in (full, by_loader, by_linker)]


def write(path: Path, text: str) -> Path:
    """Write a text file that everybody may read."""
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


def version() -> str:
    """Return the version of this release."""
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))
    return str(workspace["workspace"]["package"]["version"])


def main() -> int:
    """Build the library and install it."""
    parser = argparse.ArgumentParser(description="Build libbuquet and install it for C and Go programs.")
    parser.add_argument("prefix", type=Path, metavar="PREFIX", help="such as /usr/local or ~/.local")
    prefix = parser.parse_args().prefix.expanduser().absolute()
    try:
        library = cargo_build.build_library(ROOT, cargo_build.find_cargo(ROOT))
        for path in install(library, prefix):
            print(path)
    except (cargo_build.BuildError, OSError) as error:
        print(f"buquet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
