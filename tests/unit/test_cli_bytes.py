"""Bytes on the command line that are no UTF-8: one line that says so, and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from buquet import Buquet, InvalidError
from buquet.cli import _output
from buquet.cli._app import cli
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

BAD = os.fsdecode(b"x\xff")
BAD_JSON = os.fsdecode(b'{"x": "\xff"}')
ID = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000"

COMMANDS = [
    ["submit", BAD],
    ["submit", "f", "--input", BAD_JSON],
    ["submit", "f", "--input", f"@{BAD}"],
    ["submit", "f", "--key", BAD],
    ["submit", "f", "--meta", f"a={BAD}"],
    ["submit", "f", "--at", BAD],
    ["submit", "f", "--retries", BAD],
    ["submit", "f", "--url", f"sqlite:{BAD}"],
    ["list", "--tag", BAD],
    ["status", BAD],
    ["cancel", ID, "--reason", BAD, "--yes"],
    ["schedules", "create", "n", "t", "--every", "1m", "--input", BAD_JSON],
    ["schedules", "create", "n", "t", "--cron", BAD],
    ["schemas", "put", "t", "--input", BAD_JSON],
    ["config", "--profile", BAD],
    ["doctor", "--url", BAD],
    [BAD],
    ["list", f"--{BAD}"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=ascii)
def test_bytes_that_are_no_text_are_refused_in_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_output.shared, "url", None)
    monkeypatch.setattr(_output.shared, "json", False)
    monkeypatch.setenv("BUQUET_URL", f"sqlite:{tmp_path}/q.db")
    monkeypatch.setenv("COLUMNS", "200")
    for options in ([], ["--json"]):
        refused = CliRunner().invoke(cli, [*options, *arguments])
        assert (refused.exit_code, refused.stdout) == (2, ""), refused.exception
        assert refused.stderr.count("\n") == 1
        assert not options or json.loads(refused.stderr)["error"]["code"] == "invalid"


def test_the_message_says_which_byte_of_the_json_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_output.shared, "json", False)
    refused = CliRunner().invoke(cli, ["submit", "f", "--input", BAD_JSON])
    assert "--input is not JSON, which is UTF-8, and byte 8 (0xff) is not" in refused.stderr


def test_a_file_that_is_no_text_or_far_too_deep_is_refused_likewise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_output.shared, "json", False)
    for content in (b'{"x": "\xff"}', b"[" * 100_000):
        (tmp_path / "input.json").write_bytes(content)
        refused = CliRunner().invoke(cli, ["submit", "f", "--input", f"@{tmp_path}/input.json"])
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.stderr


@pytest.mark.parametrize(
    "arguments", [[b"tasks:app", b"--url", b"x\xff"], [b"x\xff:app"], [b"tasks:app", b"--drain", b"\xff"]]
)
def test_the_worker_says_so_too(arguments: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("from buquet import Buquet\napp = Buquet()")
    command = [sys.executable.encode(), b"-m", b"buquet", b"worker", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr


def test_python_is_told_when_the_app_is_made_and_no_secret_is_repeated() -> None:
    with pytest.raises(InvalidError, match="is not UTF-8") as caught:
        Buquet(f"s3://user:hunter2@bucket/{BAD}?token=hunter2")
    assert "hunter2" not in str(caught.value)
