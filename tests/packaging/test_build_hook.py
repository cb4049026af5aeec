"""The build hook: what it makes of the header, and where it puts what was built."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import cffi_build
from cargo_build import BuildError

ROOT = Path(__file__).resolve().parents[2]


def test_directives_go_and_integer_constants_stay() -> None:
    header = """\
#ifndef BUQUET_H
#define BUQUET_H
#include <stdint.h>
#define BQ_OK 0
#define BQ_ERR_INVALID -1
#define BQ_NAME "text"
#ifdef __cplusplus
extern "C" {
#endif  // __cplusplus
/* a comment
   of two lines */
int32_t f(void);
#endif  /* BUQUET_H */
"""
    kept = [line for line in cffi_build.declarations(header).splitlines() if line.strip()]
    assert kept == ["#define BQ_OK 0", "#define BQ_ERR_INVALID -1", "int32_t f(void);"]


def test_the_other_branch_of_a_cpp_block_is_for_c() -> None:
    header = "#if defined(__cplusplus)\nint cpp(void);\n#else\nint c(void);\n#endif\n"
    assert cffi_build.declarations(header).split() == ["int", "c(void);"]


def test_a_condition_it_cannot_decide_is_refused() -> None:
    with pytest.raises(BuildError, match="#ifdef _WIN32"):
        cffi_build.declarations("#ifdef _WIN32\nint f(void);\n#endif\n")


def test_the_committed_header_becomes_bindings(tmp_path: Path) -> None:
    header = ROOT / "include" / "buquet.h"
    written = cffi_build.write_bindings(header, tmp_path / "_abi.py")
    names = set(re.findall(r"\b(bq_\w+)\s*\(", cffi_build.declarations(header.read_text("utf-8"))))
    assert {"bq_abi_version", "bq_engine_open", "bq_submit", "bq_queue_drain", "bq_buffer_free"} <= names
    assert all(name in written.read_text("utf-8") for name in names)
    namespace: dict[str, Any] = {}
    exec(written.read_text("utf-8"), namespace)  # noqa: S102 - our own generated module
    assert namespace["ffi"].typeof("bq_buffer *")


def test_a_library_in_use_is_replaced_and_not_overwritten(tmp_path: Path) -> None:
    built, package = tmp_path / "libbuquet.so", tmp_path / "package"
    package.mkdir()
    built.write_bytes(b"new")
    (package / "libbuquet.so").write_bytes(b"old")
    with (package / "libbuquet.so").open("rb") as mapped:
        cffi_build.install_library(built, package)
        assert mapped.read() == b"old"
    assert [path.name for path in package.iterdir()] == ["libbuquet.so"]
    assert (package / "libbuquet.so").read_bytes() == b"new"


def test_the_wheel_fits_any_python_3_and_claims_no_audit() -> None:
    tag = cffi_build.wheel_tag()
    assert tag.startswith("py3-none-")
    assert "manylinux" not in tag


def test_both_languages_have_one_version() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert cargo["workspace"]["package"]["version"] == project["project"]["version"]
