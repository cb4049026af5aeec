"""What `nox -s wheels` makes sure of besides compiling, which takes too long for a test."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

import cffi_build
from tests.support import fake_cargo
from tests.support.callers import LIBRARY, checked
from tools import wheels
from tools.wheels import TARGETS, Target, WheelError, check_library, has_standard_library

if TYPE_CHECKING:
    from pathlib import Path

X86, ARM = TARGETS


def test_a_wheel_is_named_after_the_processor_and_the_glibc_it_is_linked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [target.platform for target in TARGETS] == ["manylinux_2_28_x86_64", "manylinux_2_28_aarch64"]
    # Until auditwheel has looked at it, by the processor alone.
    monkeypatch.setenv("BUQUET_WHEEL_TARGET", f"{ARM.triple}.{ARM.glibc}")
    assert cffi_build.wheel_tag() == "py3-none-linux_aarch64"


def test_a_library_that_has_grown_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = holding(LIBRARY, tmp_path)
    monkeypatch.setattr(wheels, "MOST_BYTES", 2 * LIBRARY.stat().st_size)
    check_library(wheel, tmp_path)
    monkeypatch.setattr(wheels, "MOST_BYTES", 1000)
    with pytest.raises(WheelError, match="bytes, more than 1,000"):
        check_library(wheel, tmp_path)


def test_a_library_that_exports_functions_of_others_is_refused(tmp_path: Path) -> None:
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("int bq_version(void) { return 1; }\nint sqlite3_open(void) { return 1; }\n", "utf-8")
    checked(["cc", "-shared", "-o", library, source])
    with pytest.raises(WheelError, match=r"of 2 exported symbols these are not bq_\*: \['sqlite3_open'\]"):
        check_library(holding(library, tmp_path), tmp_path)


def holding(library: Path, folder: Path) -> Path:
    """Return something like a wheel with this library in it."""
    wheel = folder / "buquet.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(library, "buquet/libbuquet.so")
    return wheel


def test_rustc_says_what_it_can_compile_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / X86.triple).mkdir()
    (tmp_path / X86.triple / "libstd-1234.rlib").touch()
    fake_cargo.script(tmp_path / "rustc", f'echo "{tmp_path}/$4"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert has_standard_library(X86)
    assert not has_standard_library(ARM)


def test_what_this_machine_cannot_build_is_named_with_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sdist(folder: Path) -> Path:
        wheels.DIST.mkdir()
        return folder

    def nothing(_: Target) -> bool:
        return False

    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    monkeypatch.setattr(wheels, "DIST", tmp_path / "dist")
    monkeypatch.setattr(wheels, "build_sdist", sdist)
    monkeypatch.setattr(wheels, "has_standard_library", nothing)
    assert wheels.main() == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [f"not built: {it.platform}; run `rustup target add {it.triple}` first" for it in TARGETS]
