"""`buquet doctor` and `buquet config` as a shell sees them: exit codes, JSON, and what they say of sick stores."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import clean_environment
from tests.support.proxy import Faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import StartWorker
    from tests.support.proxy import Proxy
    from tests.support.s3 import Bucket

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def buquet(tmp_path: Path) -> Run:
    """A function that runs `buquet` on the queue at a URL."""

    def run(*arguments: str, at: str = f"sqlite:{tmp_path}/queue.db", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["buquet", *arguments],
            cwd=tmp_path,
            env=clean_environment(BUQUET_URL=at, **more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The checks of a report in JSON, by name."""
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_queue_with_a_worker_is_healthy(buquet: Run, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker(f"sqlite:{tmp_path}/queue.db")
    assert buquet("submit", "double", "--input", '{"n": 1}', "--wait", "--wait-timeout", "60s").returncode == 0
    done = buquet("doctor", "--json", "--strict")
    assert done.returncode == 0, done.stdout
    assert {check["status"] for check in checks(done).values()} == {"ok"}
    said = buquet("doctor").stdout
    assert "conditional_writes" in said
    assert "LIST" in said.splitlines()[-1]
    assert "$" not in said, "nobody pays for a file"
    assert buquet("doctor", "--iam").returncode == 2


def test_no_worker_is_a_warning_that_only_the_strict_exit_with(buquet: Run) -> None:
    assert buquet("submit", "double", "--input", '{"n": 1}').returncode == 0
    done = buquet("doctor", "--json")
    assert (done.returncode, checks(done)["workers"]["status"]) == (0, "warning")
    assert buquet("doctor", "--strict").returncode == 1


def test_a_deep_look_reads_every_record(buquet: Run) -> None:
    for _ in range(3):
        buquet("submit", "double", "--input", '{"n": 1}')
    done = buquet("doctor", "--deep", "--json")
    assert checks(done)["records"]["details"] == {"read": 3, "corrupt": [], "newer": []}


def test_a_database_that_is_not_there_is_not_made(buquet: Run, tmp_path: Path) -> None:
    done = buquet("doctor", "--json")
    assert (done.returncode, checks(done)["store"]["status"]) == (0, "warning")
    assert not (tmp_path / "queue.db").exists()


def test_a_store_that_does_not_answer_exits_with_6_and_says_what_to_check(buquet: Run, silent_port: int) -> None:
    gone = f"s3://bucket/queue?region=us-east-1&endpoint=http://127.0.0.1:{silent_port}"
    done = buquet("doctor", "--json", at=gone)
    assert done.returncode == 6, done.stderr
    assert checks(done)["store"]["status"] == "failed"
    assert "endpoint" in checks(done)["store"]["advice"]
    assert checks(done)["records"]["status"] == "skipped"
    assert buquet("doctor", "--iam", at=gone).stdout.count("arn:aws:s3:::bucket") == 3


def test_a_missing_bucket_exits_with_7(buquet: Run, ministack_endpoint: str) -> None:
    done = buquet("doctor", at=f"s3://no-such-bucket/queue?region=us-east-1&endpoint={ministack_endpoint}")
    assert done.returncode == 7
    assert "create the bucket" in done.stdout


def test_refused_credentials_exit_with_7(buquet: Run, bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint, Faults(answer_403=1.0))
    done = buquet("doctor", "--json", at=bucket.url(through=proxy.url))
    assert done.returncode == 7
    assert "credentials" in checks(done)["permissions"]["advice"]


def test_a_store_that_ignores_conditions_fails(buquet: Run, bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    assert buquet("submit", "double", "--input", '{"n": 1}', at=bucket.url()).returncode == 0
    proxy = open_proxy(bucket.endpoint, Faults(drop_conditions=True))
    done = buquet("doctor", "--json", at=bucket.url(through=proxy.url))
    assert done.returncode == 1
    assert checks(done)["conditional_writes"]["status"] == "failed"
    assert buquet("doctor", "--json", at=bucket.url()).returncode == 0


def test_the_configuration_says_where_each_value_came_from(buquet: Run, tmp_path: Path) -> None:
    (tmp_path / ".buquet.toml").write_text("[default.worker]\nconcurrency = 7\n")
    secret = {"AWS_ACCESS_KEY_ID": "AKIAKEY", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    done = buquet("config", "--json", at="s3://bucket/jobs?region=eu-west-1", BUQUET_WORKER_DRAIN="5m", **secret)
    found = json.loads(done.stdout)
    options = {option["name"]: option for option in found["options"]}
    assert (options["worker.concurrency"]["value"], options["worker.drain"]["value"]) == (7, "5m")
    assert options["worker.concurrency"]["source"].endswith(".buquet.toml [default]")
    assert options["worker.drain"]["source"] == "BUQUET_WORKER_DRAIN"
    assert found["credentials"]["kind"] == "environment"
    table = buquet("config", at="s3://bucket/jobs?region=eu-west-1", **secret).stdout
    assert "BUQUET_WORKER_CONCURRENCY" in table
    for text in (done.stdout, table):
        assert "hunter2" not in text
        assert "AKIAKEY" not in text


def test_a_mistake_in_the_file_exits_with_2_and_names_the_line(buquet: Run, tmp_path: Path) -> None:
    (tmp_path / ".buquet.toml").write_text("[default.worker]\n\nconcurency = 7\n")
    for command in (["config"], ["list"], ["worker", "tasks:app"]):
        done = buquet(*command)
        assert done.returncode == 2
        assert "line 3" in done.stderr
        assert 'did you mean "concurrency"?' in done.stderr


def test_schemas_hold_for_the_command_line(buquet: Run) -> None:
    schema = '{"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}'
    assert buquet("schemas", "put", "greet", "--input", schema).stdout == "changed\n"
    assert buquet("schemas", "put", "greet", "--input", schema).stdout == "as it was\n"
    refused = buquet("submit", "greet", "--input", '{"name": 7}')
    assert refused.returncode == 2
    assert "at /name: 7 is not of type" in refused.stderr
    assert buquet("submit", "greet", "--input", '{"name": "Ada"}').returncode == 0
    assert json.loads(buquet("schemas", "show", "greet").stdout)["input"] == json.loads(schema)
    assert "greet" in buquet("schemas", "list").stdout
    assert buquet("schemas", "put", "greet", "--input", '{"type": "strange"}').returncode == 2
    assert buquet("schemas", "delete", "greet").returncode == 0
    assert buquet("schemas", "delete", "greet").returncode == 3
    assert buquet("schemas", "show", "greet").returncode == 3
