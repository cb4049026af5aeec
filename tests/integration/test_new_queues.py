"""Looking makes no queue; the first submit does, and says so."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, NotFoundError
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.s3 import Bucket


def run(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(**settings)
    command = ["buquet", *arguments]
    return subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command", [["list"], ["failed"], ["workers"], ["schedules", "list"], ["schemas", "list"]], ids=str
)
def test_a_command_that_looks_says_that_there_is_no_queue_and_makes_nothing(tmp_path: Path, command: str) -> None:
    looked = run(tmp_path, *command.split(), BUQUET_URL="sqlite:new/jobs.db")
    assert (looked.returncode, looked.stdout) == (3, ""), looked
    assert f"there is no queue at sqlite:{tmp_path}/new/jobs.db (from BUQUET_URL)" in looked.stderr
    assert not list(tmp_path.iterdir())


def test_a_command_that_looks_writes_nothing_into_a_prefix(bucket: Bucket) -> None:
    with pytest.raises(NotFoundError, match="there is no queue"):
        Buquet(bucket.url()).list()
    assert bucket.keys() == []


def test_a_new_queue_is_told_of_once(tmp_path: Path) -> None:
    submitted = [run(tmp_path, "submit", "greet") for _ in range(2)]
    assert [done.returncode for done in submitted] == [0, 0]
    assert f"made a new queue at sqlite:{tmp_path}/.buquet/buquet.db" in submitted[0].stderr
    assert submitted[1].stderr == ""
    assert (tmp_path / ".buquet/.gitignore").read_text("utf-8") == "*\n"
    assert run(tmp_path, "list", "--json").returncode == 0


def test_a_misspelt_variable_is_named_with_the_right_one(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", COLUMNS="60", BUQUET_WORKER_CONCURENCY="5")
    assert shown.returncode == 0
    assert 'did you mean "BUQUET_WORKER_CONCURRENCY"' in shown.stderr
    assert "BUQUET_WORKER_CONCURRENCY" in shown.stdout
