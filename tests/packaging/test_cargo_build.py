"""Cargo as the build runs it: which one, with which features, and what is told to whoever waits."""

from __future__ import annotations

import io
import itertools
import json
import sys
import tomllib
from pathlib import Path

import pytest

import cargo_build
from tests.support import fake_cargo
from tests.support.processes import clean_environment
from tests.support.terminal import in_terminal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CARGO", "BUQUET_CARGO_ARGS", "BUQUET_FEATURES", "BUQUET_WHEEL_TARGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cargo_build, "foreground_terminal", lambda: None)


def asked(folder: Path) -> list[str]:
    """Return the arguments of the one build that the fake cargo was asked for."""
    (line,) = (folder / "asked").read_text("utf-8").splitlines()
    return line.split()


def test_without_cargo_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", str(tmp_path / "nowhere"))
    with pytest.raises(cargo_build.BuildError, match=r"nowhere' was not found: install Rust from https://rustup.rs"):
        cargo_build.find_cargo(ROOT)


def test_an_old_cargo_is_named_with_the_version_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO", str(fake_cargo.install(tmp_path, version="1.80.1")))
    with pytest.raises(cargo_build.BuildError, match=r"needs cargo 1\.95 or newer, and '.*' is 1\.80\.1: run `rustup"):
        cargo_build.find_cargo(ROOT)


def test_a_cargo_that_fails_is_quoted_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cargo = fake_cargo.script(tmp_path / "cargo", "echo no >&2; echo toolchain >&2; exit 1")
    monkeypatch.setenv("CARGO", str(cargo))
    with pytest.raises(cargo_build.BuildError, match=r"failed \(no toolchain\): install"):
        cargo_build.find_cargo(ROOT)


def test_cargo_is_run_locked_and_its_answer_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUQUET_CARGO_ARGS", "--offline")
    library = cargo_build.build_library(tmp_path, str(fake_cargo.install(tmp_path)))
    assert library == tmp_path / "target" / "libbuquet.so"
    assert asked(tmp_path)[:5] == ["build", "--release", "--locked", "-p", "buquet-ffi"]
    assert asked(tmp_path)[-1] == "--offline"
    assert "--features" not in asked(tmp_path)


@pytest.mark.parametrize("spelled", ["dev-server,sso", " dev-server , sso ", "dev-server sso"])
def test_features_asked_for_are_built(spelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUQUET_FEATURES", spelled)
    cargo_build.build_library(tmp_path, str(fake_cargo.install(tmp_path)))
    built = [name for flag, name in itertools.pairwise(asked(tmp_path)) if flag == "--features"]
    assert built == ["buquet-ffi/dev-server", "buquet-ffi/sso"]


def test_a_feature_that_there_is_not_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO", str(fake_cargo.install(tmp_path)))
    monkeypatch.setenv("BUQUET_FEATURES", "sso,dev")
    with pytest.raises(cargo_build.BuildError, match="no feature 'dev'; BUQUET_FEATURES takes dev-server and sso"):
        cargo_build.check(ROOT)


def test_every_feature_of_the_library_may_be_asked_for() -> None:
    crate = tomllib.loads((ROOT / "rust" / "ffi" / "Cargo.toml").read_text("utf-8"))
    assert set(cargo_build.FEATURES) == set(crate["features"])


def test_a_released_wheel_is_built_by_zig_for_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUQUET_WHEEL_TARGET", "aarch64-unknown-linux-gnu.2.28")
    cargo_build.build_library(tmp_path, str(fake_cargo.install(tmp_path)))
    words = ["zigbuild", "--profile", "wheel", "--target", "aarch64-unknown-linux-gnu.2.28", "--locked"]
    assert asked(tmp_path)[:6] == words


def test_a_failed_build_names_the_command_to_repeat(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cargo = fake_cargo.install(tmp_path, stderr="error: linker `cc` not found\n", status=101)
    with pytest.raises(cargo_build.BuildError, match=r"cargo build --release --locked .* failed with status 101"):
        cargo_build.build_library(tmp_path, str(cargo))
    assert capfd.readouterr().err == "error: linker `cc` not found\n"


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
    assert cargo_build.find_library(lines) == Path("/t/libbuquet.so")
    with pytest.raises(cargo_build.BuildError, match="cdylib"):
        cargo_build.find_library(json.dumps(messages[0]))


def test_who_waits_at_a_terminal_is_told_how_long_and_how_far(capsys: pytest.CaptureFixture[str]) -> None:
    bars = [f"    Building [==>   ] {done}/251: aws\n" for done in (10, 50, 90)]
    lines = ["    Updating crates.io index\n", bars[0], "   Compiling bytes v1\n", *bars[1:]]
    terminal = io.StringIO()
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    cargo_build.report(lines, terminal, lambda: next(clock))
    notice, *reports = terminal.getvalue().strip().splitlines()
    assert "about five minutes" in notice
    assert "pip install -v" in notice
    assert [line.strip() for line in reports if line.strip()] == ["buquet: 50 of 251 steps after 31 s"]
    # What pip keeps for an error is what cargo says, without its progress bar.
    assert capsys.readouterr().err == "    Updating crates.io index\n   Compiling bytes v1\n"


def test_nobody_is_told_but_the_terminal_of_whoever_runs_the_build_in_front(tmp_path: Path) -> None:
    ask = "import cargo_build; print(cargo_build.foreground_terminal() is not None)"
    program = tmp_path / "asks.py"
    program.write_text(
        "import fcntl, os, subprocess, sys, termios\n"
        "os.setsid()\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "for how in ({}, {'process_group': 0}, {'start_new_session': True}):\n"
        f"    print(subprocess.check_output([sys.executable, '-c', {ask!r}], text=True, **how).strip())\n",
        "utf-8",
    )
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT)}
    # In front, in the background, and with no terminal.
    assert in_terminal([sys.executable, program], env=environment) == (0, "True\nFalse\nFalse\n")


def test_cargo_is_watched_where_somebody_waits_at_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = tmp_path / "terminal"
    monkeypatch.setattr(cargo_build, "foreground_terminal", lambda: screen.open("w", encoding="utf-8"))
    cargo = fake_cargo.install(tmp_path, stderr="   Compiling bytes v1\r    Building [=> ] 1/2: bytes\r")
    assert cargo_build.build_library(tmp_path, str(cargo)) == tmp_path / "target" / "libbuquet.so"
    assert screen.read_text("utf-8").split()[:2] == ["buquet:", "compiling"]
    assert capsys.readouterr().err == "   Compiling bytes v1\n"


def test_a_build_outlives_the_terminal_it_reports_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as gone:
        monkeypatch.setattr(cargo_build, "foreground_terminal", lambda: gone)
        assert cargo_build.build_library(tmp_path, str(fake_cargo.install(tmp_path))).name == "libbuquet.so"
