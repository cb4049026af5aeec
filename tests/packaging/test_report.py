"""The tables at the end of a run of the checks."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tools import report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TESTS = """<testsuites><testsuite name="pytest">
<testcase classname="tests.unit.test_a" name="test_{}" time="{}"/></testsuite></testsuites>"""


def told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is told of a folder, line by line, with single spaces."""
    monkeypatch.setattr(sys, "argv", ["report", str(folder)])
    report.main()
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_steps_sessions_slow_tests_and_what_failed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "steps.tsv").write_text("demo\t60\t0\ntests\t300\t1\n")
    sessions = [
        {"name": "rust", "result": "success", "duration": 200.4},
        {"name": "python", "result": "failed", "duration": 99},
    ]
    (tmp_path / "tests.json").write_text(json.dumps({"sessions": sessions}))
    (tmp_path / "python.xml").write_text(TESTS.format("quick", 0.1))
    (tmp_path / "rust.xml").write_text(TESTS.format("slow", 64.8))
    assert told(tmp_path, monkeypatch, capsys) == [
        "60 s demo",
        "300 s FAILED: tests",
        "200 s tests: rust",
        "99 s FAILED: tests: python",
        "0 s in 1 tests: python",
        "65 s in 1 tests: rust",
        "The 20 slowest tests:",
        "64.8 s rust tests.unit.test_a::test_slow",
        "0.1 s python tests.unit.test_a::test_quick",
        "FAILED: tests, tests: python",
    ]


def test_what_was_not_run_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(tmp_path, monkeypatch, capsys) == ["The 20 slowest tests:"]
