"""The commands as a shell and a script see them: what they print, on which stream, and how they exit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from buquet import Buquet, File
from buquet.cli._app import cli
from buquet.codecs import Zstd
from tests.support.processes import ROOT, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import StartWorker

    Run = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = [
    "submit",
    "status",
    "history",
    "result",
    "list",
    "cancel",
    "failed",
    "replay",
    "archive",
    "purge",
    "lifecycle",
    "workers",
    "worker",
    "config",
    "doctor",
    "schemas",
    "demo",
]
NOBODY = "00000000-0000-8000-8000-000000000000"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A queue of the test's own."""
    return f"sqlite:{tmp_path}/queue.db"


@pytest.fixture
def buquet(url: str, tmp_path: Path) -> Run:
    """A function that runs `buquet` on the test's queue."""

    def run(*arguments: str, at: str = url, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["buquet", *arguments],
            cwd=tmp_path,
            env=clean_environment(BUQUET_URL=at),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def makers(url: str, tmp_path: Path) -> Iterator[Buquet]:
    """An app whose tasks give results that are not all JSON, with a worker that runs them."""
    app = Buquet(url)

    @app.task
    def text(length: int) -> str:
        return "x" * length

    @app.task
    def data(length: int) -> bytes:
        return b"\x00" * length

    @app.task
    def file(words: str) -> File:
        (tmp_path / "made.txt").write_text(words)
        return File(tmp_path / "made.txt")

    @app.task
    def files(words: str) -> dict[str, File]:
        (tmp_path / "made.txt").write_text(words)
        return {"inside": File(tmp_path / "made.txt")}

    with app.worker():
        yield app
    app.close()


def read(done: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON a command printed, which is all it printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_names_every_command(buquet: Run) -> None:
    overview = buquet("--help")
    assert overview.returncode == 0
    assert all(command in overview.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    helped = CliRunner().invoke(cli, [command, "--help"], prog_name="buquet")
    assert helped.exit_code == 0
    assert f"Usage: buquet {command}" in helped.stdout


@pytest.mark.parametrize("command", ["worker", "status"], ids=["of its own parser", "of all others'"])
def test_help_is_there_from_a_shell_too(command: str, buquet: Run) -> None:
    helped = buquet(command, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert f"Usage: buquet {command}" in helped.stdout


def test_a_task_from_submit_to_result(buquet: Run, url: str, start_worker: StartWorker) -> None:
    submitted = buquet("submit", "double", "--input", '{"n": 21}')
    assert submitted.returncode == 0, submitted.stderr
    name = submitted.stdout.strip()
    assert read(buquet("status", name, "--json"))["status"] == "pending"

    start_worker(url)
    wait_until(lambda: read(buquet("status", name, "--json"))["status"] == "completed", within=60, what="the result")
    task = read(buquet("status", name, "--json"))
    assert (task["id"], task["output"], task["attempt"]) == (name, 42, 1)
    assert "42" in buquet("status", name).stdout

    events = read(buquet("history", name, "--json"))["events"]
    assert [event["task"]["status"] for event in events] == ["pending", "running", "completed"]
    timeline = buquet("history", name).stdout
    assert timeline.index("pending") < timeline.index("running") < timeline.index("completed")

    assert [each["id"] for each in read(buquet("list", "--status", "completed", "--json"))["tasks"]] == [name]
    assert read(buquet("list", "--status", "failed", "--json"))["tasks"] == []
    assert [worker["alive"] for worker in read(buquet("workers", "--json"))["workers"]] == [True]


def test_a_submit_says_when_a_task_may_start_when_it_is_too_late_and_among_which_it_is_unique(buquet: Run) -> None:
    times = ("--at", "2099-01-01T01:00:00+01:00", "--expires-at", "2099-01-02T00:00:00Z")
    first = buquet("submit", "double", "--key", "k", "--scope", "queue", *times).stdout.strip()
    task = read(buquet("status", first, "--json"))
    assert (task["available_at"], task["expires_at"]) == ("2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z")

    assert buquet("submit", "double", "--key", "k", "--scope", "queue").stdout.strip() == first
    other = buquet("submit", "refuse", "--key", "k", "--scope", "queue")
    assert (other.returncode, other.stdout) == (1, "")
    assert first in other.stderr
    assert buquet("submit", "refuse", "--key", "k").stdout.strip() not in ("", first)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at", "soon"], "--at='soon' is no time"),
        (["--expires-at", "2099-01-01"], "--expires-at='2099-01-01' has no time zone"),
        (["--key", "k", "--scope", "world"], "'world' is not one of"),
    ],
)
def test_a_time_or_scope_that_is_none_is_named_and_nothing_is_submitted(
    buquet: Run, arguments: list[str], said: str
) -> None:
    refused = buquet("submit", "double", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert buquet("list").returncode == 3, "what stores nothing makes no queue either"


def test_waiting_for_a_result_prints_it(buquet: Run, url: str, start_worker: StartWorker) -> None:
    start_worker(url)
    done = buquet("submit", "double", "--input", '{"n": 4}', "--wait", "--wait-timeout", "60s")
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (0, "8")


@pytest.mark.usefixtures("makers")
def test_a_result_is_printed_or_written_wherever_it_is_stored(buquet: Run, tmp_path: Path) -> None:
    wait = ("--wait", "--wait-timeout", "60s")
    assert read(buquet("submit", "text", "--input", '{"length": 5000000}', *wait)) == "x" * 5_000_000
    whole = read(buquet("submit", "text", "--input", '{"length": 5000000}', *wait, "--json"))
    assert whole["output"] == "x" * 5_000_000
    assert read(buquet("result", whole["id"])) == "x" * 5_000_000
    assert read(buquet("submit", "data", "--input", '{"length": 3}', *wait)) == "AAAA"

    for kind, given, written in (
        ("text", '{"length": 3}', b'"xxx"\n'),
        ("data", '{"length": 40000}', b"\x00" * 40_000),
        ("file", '{"words": "as they are"}', b"as they are"),
    ):
        name = buquet("submit", kind, "--input", given).stdout.strip()
        done = buquet("result", name, "--output", "out.bin", "--wait-timeout", "60s")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (tmp_path / "out.bin").read_bytes() == written
    nowhere = buquet("result", name, "--output", "nowhere/out.bin")
    assert (nowhere.returncode, nowhere.stderr) == (
        2,
        "error: --output='nowhere/out.bin' cannot be written (No such file or directory)\n",
    )


@pytest.mark.usefixtures("makers")
@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("data", '{"length": 40000}', ["40000 bytes", "--output FILE"]),
        ("file", '{"words": "w"}', ["the file 'made.txt'", "--output FILE"]),
        ("files", '{"words": "w"}', ["files inside of it", "in Python"]),
    ],
)
def test_a_result_that_is_no_json_is_not_printed(buquet: Run, kind: str, given: str, said: list[str]) -> None:
    for options in ((), ("--json",)):
        done = buquet("submit", kind, "--input", given, "--wait", "--wait-timeout", "60s", *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert all(words in done.stderr for words in said)


def test_an_input_over_four_mebibytes_is_held_to_its_schema_too(buquet: Run, tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["path"]}
    assert buquet("schemas", "put", "text", "--input", json.dumps(schema)).returncode == 0
    (tmp_path / "big.json").write_text(json.dumps({"other": "x" * 5_000_000}))
    refused = buquet("submit", "text", "--input", "@big.json")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert '"path" is a required property' in refused.stderr
    assert read(buquet("list", "--json"))["tasks"] == []


def test_a_result_that_passed_through_codecs_is_one_clear_error(buquet: Run, url: str) -> None:
    app = Buquet(url, codecs=[Zstd()])

    @app.task
    def same(text: str) -> str:
        return text

    with app.worker():
        task = same.submit("the text")
        assert task.result(timeout=60) == "the text"
    for call in (("result", task.id), ("result", task.id, "--output", "out")):
        done = buquet(*call)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert "sealed by zstd>, and the command line has no codecs: read it in Python" in done.stderr


def test_a_result_that_is_not_there_says_why_by_its_exit_code(buquet: Run, url: str, start_worker: StartWorker) -> None:
    assert buquet("result", NOBODY).returncode == 3
    waiting = buquet("submit", "nobody_handles_it").stdout.strip()
    assert buquet("result", waiting, "--wait-timeout", "0s").returncode == 5
    start_worker(url)
    failed = buquet("result", buquet("submit", "refuse", "--input", '{"message": "no milk"}').stdout.strip())
    assert (failed.returncode, failed.stdout) == (4, "")
    assert "no milk" in failed.stderr


@pytest.mark.usefixtures("makers")
def test_a_large_input_is_stored_as_python_stores_it(buquet: Run, tmp_path: Path) -> None:
    (tmp_path / "large.json").write_text(json.dumps({"words": "w" * 6_000_000}))
    submitted = read(buquet("submit", "file", "--input", "@large.json", "--json"))
    assert read(buquet("status", submitted["id"], "--json"))["input_files"][0]["bytes"] > 6_000_000
    assert buquet("result", submitted["id"], "--output", "out.txt").returncode == 0
    assert (tmp_path / "out.txt").read_text() == "w" * 6_000_000


def test_a_submit_says_whether_it_stored_the_task_or_found_it(buquet: Run) -> None:
    first = read(buquet("submit", "double", "--key", "k", "--json"))
    assert read(buquet("submit", "double", "--key", "k", "--json")) == {"id": first["id"], "created": False}
    assert first["created"]


def test_a_task_that_failed_exits_with_4(buquet: Run, url: str, start_worker: StartWorker) -> None:
    start_worker(url)
    failed = buquet("submit", "refuse", "--input", '{"message": "out of milk"}', "--wait")
    assert failed.returncode == 4
    assert "out of milk" in failed.stdout + failed.stderr


def test_a_wait_that_is_too_short_exits_with_5(buquet: Run) -> None:
    assert buquet("submit", "double", "--input", '{"n": 1}', "--wait", "--wait-timeout", "100ms").returncode == 5


def test_input_comes_from_a_file_or_stdin(buquet: Run, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"n": 1}')
    for source, stdin in (("@input.json", ""), ("-", '{"n": 1}')):
        name = buquet("submit", "double", "--input", source, stdin=stdin).stdout.strip()
        assert read(buquet("status", name, "--json"))["input"] == {"n": 1}


def test_a_listing_is_paged(buquet: Run) -> None:
    names = {buquet("submit", "double", "--input", '{"n": 1}').stdout.strip() for _ in range(3)}
    found: list[str] = []
    cursor: list[str] = []
    while True:
        page = read(buquet("list", "--limit", "1", "--json", *cursor))
        found += [task["id"] for task in page["tasks"]]
        if page["cursor"] is None:
            break
        cursor = ["--cursor", page["cursor"]]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status", NOBODY], 3, NOBODY),
        (["history", NOBODY], 3, NOBODY),
        (["status", "nonsense"], 2, "nonsense"),
        (["submit", "bad name"], 2, "bad name"),
        (["submit", "double", "--input", "{"], 2, "JSON"),
        (["submit", "double", "--input", "@nowhere.json"], 2, "nowhere.json"),
        (["submit", "double", "--timeout", "-5s"], 2, "-5s"),
        (["submit", "double", "--priority", "11"], 2, "--priority"),
        (["list", "--status", "sleeping"], 2, "sleeping"),
        (["list", "--limit", "0"], 2, "limit"),
        (["list", "--url", "ftp://x"], 2, "ftp"),
        (["frobnicate"], 2, "frobnicate"),
        (["worker", "nosuchmodule:app"], 2, "nosuchmodule"),
        (["worker", "json:dumps"], 2, "dumps"),
        (["worker", "no-colon"], 2, "no-colon"),
    ],
    ids=str,
)
def test_a_mistake_exits_with_its_code_and_says_what_is_wrong(
    buquet: Run, arguments: list[str], code: int, said: str
) -> None:
    assert buquet("submit", "double").returncode == 0, "without a queue that would be what is said"
    done = buquet(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_wrong_call_is_json_if_that_is_asked_for(buquet: Run) -> None:
    done = buquet("replay", NOBODY, "--priority", "10", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert json.loads(done.stderr)["error"]["code"] == "invalid"


def test_a_mere_number_is_a_duration_in_seconds(buquet: Run) -> None:
    task = read(buquet("status", buquet("submit", "double", "--timeout", "90").stdout.strip(), "--json"))
    assert task["timeout_ms"] == 90_000
    task = read(buquet("status", buquet("submit", "double", "--timeout", "1.5").stdout.strip(), "--json"))
    assert task["timeout_ms"] == 1_500
    assert read(buquet("purge", "--older-than", "0", "--dry-run", "--json"))["tasks"] == 0


def test_a_store_that_does_not_answer_exits_with_6(buquet: Run, silent_port: int) -> None:
    gone = f"s3://bucket/queue?region=us-east-1&endpoint=http://127.0.0.1:{silent_port}"
    assert buquet("list", at=gone).returncode == 6


def test_a_missing_bucket_exits_with_7(buquet: Run, ministack_endpoint: str) -> None:
    done = buquet("list", at=f"s3://no-such-bucket/queue?region=us-east-1&endpoint={ministack_endpoint}")
    assert done.returncode == 7
    assert "no-such-bucket" in done.stderr


def test_where_nothing_is_configured_it_says_so(buquet: Run, tmp_path: Path) -> None:
    assert buquet("submit", "double", "--input", '{"n": 1}', at="").returncode == 0
    assert (tmp_path / ".buquet" / "buquet.db").exists()


def test_a_worker_says_where_its_queue_is(tmp_path: Path, start_worker: StartWorker, url: str) -> None:
    worker = start_worker(url)
    wait_until(lambda: " takes " in worker.running.output(), within=60, what="the worker to say what it takes")
    first = worker.running.output().splitlines()[0]
    assert str(tmp_path) in first
    assert "BUQUET_URL" in first
    worker.running.terminate()
    assert worker.running.wait(60) == 0
    last = worker.running.output().splitlines()[-1]
    assert "PUT" in last
    assert "$" not in last, "nobody pays for a file"


def test_the_module_runs_as_well_as_the_command(url: str) -> None:
    command = [sys.executable, "-m", "buquet", "--version"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(BUQUET_URL=url), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("buquet 0.2.0")
