"""Looking makes no queue; the first submit does, and says so."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, NotFoundError
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.fleet import Fleet
    from tests.support.s3 import Bucket

UNKNOWN = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000"


def run(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(**settings)
    command = ["buquet", *arguments]
    return subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "failed",
        "workers",
        "schedules list",
        "schemas list",
        "purge --older-than 1h -y",
        "cancel --type greet -y",
    ],
)
def test_a_command_that_looks_says_that_there_is_no_queue_and_makes_nothing(tmp_path: Path, command: str) -> None:
    looked = run(tmp_path, *command.split(), BUQUET_URL="sqlite:new/jobs.db")
    assert (looked.returncode, looked.stdout) == (3, ""), looked
    assert f"there is no queue at sqlite:{tmp_path}/new/jobs.db (from BUQUET_URL)" in looked.stderr
    assert not list(tmp_path.iterdir())


def test_a_command_names_the_endpoint_and_writes_nothing_into_a_prefix(tmp_path: Path, bucket: Bucket) -> None:
    looked = run(tmp_path, "list", BUQUET_URL=bucket.url())
    assert looked.returncode == 3
    assert f"s3://{bucket.name}/queue?endpoint={bucket.endpoint}" in looked.stderr
    assert bucket.keys() == []


@pytest.mark.parametrize("kind", ["s3", "sqlite"])
def test_a_program_that_looks_before_anybody_has_submitted_finds_nothing(
    kind: str, tmp_path: Path, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    url = bucket.url() if kind == "s3" else f"sqlite:{tmp_path}/new/jobs.db"
    with caplog.at_level("INFO", "buquet.engine"), Buquet(url) as app:
        for _ in range(2):
            assert app.list().tasks == []
        assert app.schedules.list().schedules == []
        assert app.dead_letters.list().tasks == []
        assert app.dead_letters.purge(older_than="1h").tasks == 0
        with pytest.raises(NotFoundError, match="there is no queue at"):
            app.handle(UNKNOWN).result(timeout=20)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "the first submit or worker makes it" in caplog.text
    assert bucket.keys() == []
    assert not list(tmp_path.iterdir())


def test_a_new_queue_among_other_objects_is_warned_of(
    bucket: Bucket, open_fleet: Callable[[str], Fleet], caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("queue/index.html", b"<html>")
    with caplog.at_level("INFO", "buquet.engine"):
        open_fleet(bucket.url()).double.submit(1)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "lies among other objects, such as index.html" in caplog.text


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
