"""What `nox -s install-c -- PREFIX` puts there serves compilers, pkg-config and the loader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.callers import LIBRARY, checked, compile_c, pkg_config
from tests.support.processes import ROOT, clean_environment
from tools.install_c import AbiVersion, install

if TYPE_CHECKING:
    from pathlib import Path

HEADER = (ROOT / "include" / "buquet.h").read_text("utf-8")
PROGRAM = """
#include <stdio.h>
#include <buquet.h>
int main(void) {
  printf("%s %u\\n", bq_version(), bq_abi_version() == BQ_ABI_VERSION);
  return 0;
}
"""


def test_the_command_installs_what_cargo_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The library was built before the tests; a cargo that says where it lies is quicker than one that looks.
    artifact = {"reason": "compiler-artifact", "target": {"name": "buquet"}, "filenames": [str(LIBRARY)]}
    cargo = tmp_path / "cargo"
    cargo.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo cargo 99.0 || echo '{json.dumps(artifact)}'\n", "utf-8")
    cargo.chmod(0o755)
    monkeypatch.setenv("CARGO", str(cargo))
    printed = checked([sys.executable, ROOT / "tools" / "install_c.py", tmp_path / "here"])
    written = {line.removeprefix(f"{tmp_path}/here/") for line in printed.splitlines()}
    assert {"include/buquet.h", "lib/pkgconfig/buquet.pc"} < written
    assert all((tmp_path / "here" / name).exists() for name in written)
    assert prints(tmp_path / "here", tmp_path / "program")


def prints(prefix: Path, program: Path) -> str:
    """Compile a program against the prefix and return what it prints."""
    source = program.with_suffix(".c")
    source.write_text(PROGRAM, "utf-8")
    compile_c(prefix, [source], program)
    return checked([program], env=clean_environment())


def test_a_program_compiles_and_runs_with_the_installed_library(tmp_path: Path) -> None:
    install(LIBRARY, tmp_path / "prefix")
    version = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["version"]
    assert prints(tmp_path / "prefix", tmp_path / "program") == f"{version} 1\n"
    assert pkg_config(tmp_path / "prefix", "--modversion") == [version]
    assert pkg_config(tmp_path / "prefix", "--variable=abi_version") == [str(AbiVersion.of(HEADER))]


def test_the_folder_may_be_moved(tmp_path: Path) -> None:
    install(LIBRARY, tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    assert prints(tmp_path / "after", tmp_path / "program")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name libraries otherwise")
def test_programs_ask_for_the_major_version_and_a_new_minor_one_takes_its_place(tmp_path: Path) -> None:
    install(LIBRARY, tmp_path)
    abi, folder = AbiVersion.of(HEADER), tmp_path / "lib"
    soname = f"libbuquet.so.{abi.major}"
    dynamic = checked(["readelf", "-d", folder / "libbuquet.so"])
    assert re.findall(r"\(SONAME\).*\[(.+)\]", dynamic) == [soname]
    links = {name: (folder / name).readlink().name for name in ("libbuquet.so", soname)}
    assert links == {"libbuquet.so": soname, soname: f"{soname}.{abi.minor}"}
    install(LIBRARY, tmp_path)  # again, over what is there
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["libbuquet.so", soname, f"{soname}.{abi.minor}", "pkgconfig"]


def test_a_prefix_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        install(LIBRARY, tmp_path / "file")


def test_without_a_prefix_it_says_what_it_wants() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "install_c.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "PREFIX" in done.stderr
