"""The build hook: what it makes of the header, of cargo's words, and of a machine without cargo."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import cffi_build

ROOT = Path(__file__).resolve().parents[2]


def script(path: Path, text: str) -> str:
    """Write an executable shell script and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return str(path)


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
    with pytest.raises(cffi_build.BuildError, match="#ifdef _WIN32"):
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


def test_the_library_is_the_one_of_our_crate() -> None:
    messages = [
        {"reason": "compiler-artifact", "target": {"name": "crc_fast"}, "filenames": ["/t/libcrc_fast.so"]},
        {"reason": "build-script-executed"},
        {
            "reason": "compiler-artifact",
            "target": {"name": "buquet"},
            "filenames": ["/t/libbuquet.rlib", "/t/libbuquet.so"],
        },
        {"reason": "build-finished", "success": True},
    ]
    lines = "\n".join(json.dumps(message) for message in messages)
    assert cffi_build.find_library(lines) == Path("/t/libbuquet.so")
    with pytest.raises(cffi_build.BuildError, match="cdylib"):
        cffi_build.find_library(json.dumps(messages[0]))


def test_without_cargo_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", str(tmp_path / "nowhere"))
    with pytest.raises(cffi_build.BuildError, match=r"nowhere' was not found. Install Rust from https://rustup.rs"):
        cffi_build.find_cargo(ROOT)


def test_an_old_cargo_is_named_with_the_version_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", script(tmp_path / "cargo", "echo cargo 1.80.1"))
    with pytest.raises(cffi_build.BuildError, match=r"needs cargo 1\.95 or newer, and '.*' is 1\.80\.1"):
        cffi_build.find_cargo(ROOT)


def test_a_cargo_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", script(tmp_path / "cargo", "echo no toolchain >&2; exit 1"))
    with pytest.raises(cffi_build.BuildError, match="no toolchain"):
        cffi_build.find_cargo(ROOT)


def test_cargo_is_run_locked_and_its_answer_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = {"reason": "compiler-artifact", "target": {"name": "buquet"}, "filenames": ["/else/where/libbuquet.so"]}
    cargo = script(tmp_path / "cargo", f"echo \"$@\" >{tmp_path}/asked; echo '{json.dumps(artifact)}'")
    monkeypatch.setenv("BUQUET_CARGO_ARGS", "--offline")
    assert cffi_build.build_library(tmp_path, cargo) == Path("/else/where/libbuquet.so")
    asked = (tmp_path / "asked").read_text("utf-8").split()
    assert asked[:5] == ["build", "--release", "--locked", "-p", "buquet-ffi"]
    assert asked[-1] == "--offline"


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
