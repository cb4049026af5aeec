"""The check that a minor version of the ABI only adds: on this work tree, and on repositories made for the purpose."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.callers import LIBRARY
from tests.support.processes import ROOT, clean_environment
from tools.abi_check import HEADER, check, export_differences, exported, read_header

if TYPE_CHECKING:
    from pathlib import Path

NOW = (ROOT / HEADER).read_text("utf-8")
MINOR_RISEN = ("#define BQ_ABI_VERSION 65536", "#define BQ_ABI_VERSION 65537")
ADDED = ("#ifdef __cplusplus\n}", "int32_t bq_added(uint32_t number);\n#ifdef __cplusplus\n}")

needs_git = pytest.mark.skipif(
    shutil.which("git") is None, reason="git is not found, so there is no history to compare"
)


def test_this_work_tree_only_adds_to_the_last_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(ROOT, LIBRARY) == []
    print(capsys.readouterr().out)  # what it was compared with, for who reads the log


@pytest.mark.skipif(sys.platform != "linux", reason="nm lists dynamic symbols otherwise elsewhere")
def test_the_library_exports_what_the_header_declares_and_nothing_else() -> None:
    declared = read_header(NOW).functions
    symbols = exported(LIBRARY)
    assert "bq_submit" in symbols
    assert export_differences(symbols, declared) == []
    assert export_differences(symbols - {"bq_submit"}, declared) == ["the library does not export bq_submit"]
    assert export_differences(symbols | {"sqlite3_open"}, declared) == [
        "the library exports sqlite3_open, which the header does not declare"
    ]


def changed(*changes: tuple[str, str]) -> str:
    """Return today's header with some text replaced."""
    header = NOW
    for old, new in changes:
        assert old in header, f"the header has no {old!r} to be changed"
        header = header.replace(old, new)
    return header


def without(function: str) -> str:
    """Return today's header without a function."""
    header, count = re.subn(rf"^(?! \*)[^\n]*\b{function}\([^;]*;\n", "", NOW, flags=re.MULTILINE)
    assert count == 1
    return header


def git(folder: Path, *arguments: str) -> None:
    """Run git with no settings but these."""
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    environment = clean_environment(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
    subprocess.run(["git", *settings, *arguments], cwd=folder, env=environment, capture_output=True, check=True)


def repository(folder: Path, now: str, *, tags: tuple[str, ...] = ("v0.1.0",)) -> Path:
    """Make a repository that has released today's header and holds another one now."""
    header = folder / HEADER
    header.parent.mkdir(parents=True)
    header.write_text(NOW, "utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    for tag in tags:
        git(folder, "tag", tag)
    header.write_text(now, "utf-8")
    git(folder, "commit", "--quiet", "--allow-empty", "--all", "--message", "two")
    return folder


@needs_git
@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        pytest.param(without("bq_cancel"), "function bq_cancel is gone", id="a function removed"),
        pytest.param(
            changed(("uint64_t token);", "uint32_t token);")),
            "function bq_cancel changed from `int32_t(bq_queue *, uint64_t)` to `int32_t(bq_queue *, uint32_t)`",
            id="a parameter changed",
        ),
        pytest.param(
            changed(("int32_t bq_cancel(", "int64_t bq_cancel(")), "function bq_cancel changed", id="a result changed"
        ),
        pytest.param(
            changed(("#define BQ_TIMEOUT 1\n", "#define BQ_TIMEOUT 2\n")),
            "constant BQ_TIMEOUT changed from `1` to `2`",
            id="a constant changed",
        ),
        pytest.param(
            changed(("#define BQ_ERR_CLOSED -3\n", "")), "constant BQ_ERR_CLOSED is gone", id="a constant removed"
        ),
        pytest.param(changed(("  size_t len;", "  uint32_t len;")), "type bq_buffer changed", id="a struct changed"),
        pytest.param(changed(ADDED), "the minor version has to rise above 1.0", id="an addition in secret"),
        pytest.param(
            changed(("#define BQ_ABI_VERSION 65536", "#define BQ_ABI_VERSION 0")), "went back", id="an older version"
        ),
        pytest.param(
            changed(MINOR_RISEN, ("#define BQ_TIMEOUT 1\n", "")),
            "constant BQ_TIMEOUT is gone",
            id="a removal in a minor version",
        ),
    ],
)
def test_what_breaks_programs_is_refused(tmp_path: Path, header: str, complaint: str) -> None:
    (found,) = check(repository(tmp_path, header))
    assert complaint in found


@needs_git
@pytest.mark.parametrize(
    "header",
    [
        pytest.param(NOW, id="no change"),
        pytest.param(changed(MINOR_RISEN, ADDED), id="an addition in a minor version"),
        pytest.param(changed(("uint64_t token);", "uint64_t name);"), ("Not an error.", "No error.")), id="words"),
        pytest.param(
            changed(("#define BQ_ABI_VERSION 65536", "#define BQ_ABI_VERSION 131072"), ("#define BQ_TIMEOUT 1\n", "")),
            id="anything in a major version",
        ),
    ],
)
def test_what_breaks_none_is_accepted(tmp_path: Path, header: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(repository(tmp_path, header)) == []
    assert "compared with that of v0.1.0" in capsys.readouterr().out


@needs_git
def test_the_last_release_counts_and_other_tags_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = repository(tmp_path, changed(MINOR_RISEN, ADDED))
    git(folder, "tag", "v0.2.0")
    git(folder, "tag", "nightly")
    (folder / HEADER).write_text(NOW, "utf-8")
    (found,) = check(folder)
    assert "went back from 1.1 to 1.0" in found
    assert "v0.2.0" in capsys.readouterr().out


@needs_git
def test_where_there_is_no_release_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = repository(tmp_path / "origin", without("bq_cancel"), tags=("other",))
    assert check(origin) == []
    assert "no tag v* is in reach, so it is compared with no release" in capsys.readouterr().out

    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{origin}", "shallow")
    assert check(tmp_path / "shallow") == []
    assert "this clone is shallow" in capsys.readouterr().out


@needs_git
def test_the_history_of_a_repository_around_it_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = repository(tmp_path, NOW) / "unpacked"
    (inner / HEADER).parent.mkdir(parents=True)
    (inner / HEADER).write_text(without("bq_cancel"), "utf-8")
    assert check(inner) == []
    assert "is no git repository" in capsys.readouterr().out


@needs_git
def test_the_command_fails_with_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "abi_check.py", "--root", repository(tmp_path, without("bq_cancel"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bq_cancel is gone" in done.stderr
