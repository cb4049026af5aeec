"""Parts of the command line: finding apps, supervising processes, printing for people."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from buquet import Buquet, CancelWish, History, HistoryEvent, InvalidError, Park, Task, TaskError, TaskStatus, errors
from buquet.cli import _output, _render, _worker, run
from buquet.cli._app import cli
from buquet.cli._load import load_app
from buquet.cli._output import ExitCode, exit_code_for, print_rows
from buquet.cli._supervised import Supervised
from buquet.cli._supervisor import send_signal, supervise
from buquet.cli._work import Wanted, read_arguments

if TYPE_CHECKING:
    from pathlib import Path

MODULES = {
    "one_app.py": "from buquet import Buquet\napp = Buquet()\nclass Inner:\n    app = app\n",
    "two_apps.py": "from buquet import Buquet\nfirst, second = Buquet(), Buquet()\n",
    "broken_app.py": "1 / 0\n",
    "leaving_app.py": "import sys\nsys.exit('done')\n",
    "lacking_app.py": "import no_such_thing_anywhere\n",
}
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with some modules."""
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("target", ["one_app:app", "one_app", "one_app:Inner.app"])
def test_an_app_is_found_in_the_working_directory(target: str) -> None:
    assert isinstance(load_app(target), Buquet)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("two_apps", "first, second"),
        ("one_app:nothing", "apps there: app"),
        ("nowhere:app", "no module 'nowhere'"),
        ("broken_app:app", "ZeroDivisionError"),
        ("leaving_app:app", "'leaving_app' failed: it ends the program (SystemExit: 'done')"),
        ("lacking_app:app", "no_such_thing_anywhere"),
        ("../one_app:app", "no module name"),
    ],
)
def test_an_app_that_is_not_found_says_what_is_wrong(target: str, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        load_app(target)
    assert said in str(caught.value)


@pytest.mark.parametrize(("command", "code"), [(["--version"], 0), (["frobnicate"], ExitCode.USAGE)])
async def test_a_supervisor_ends_with_its_processes_code(command: list[str], code: int) -> None:
    assert await supervise(command, Supervised(processes=2)) == code


async def test_a_signal_does_not_take_the_exit_code_away_from_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def reap(_: object) -> None:
        raise AssertionError("asyncio, which waits for the process, would find it gone and call its exit code 255")

    process = await asyncio.create_subprocess_exec("sleep", "3600")
    monkeypatch.setattr(subprocess.Popen, "poll", reap)
    send_signal(process, signal.SIGTERM)
    assert await process.wait() == -signal.SIGTERM
    send_signal(process, signal.SIGTERM)  # it may have ended


def test_every_error_has_its_exit_code() -> None:
    assert exit_code_for(errors.ArgumentError("x")) is ExitCode.USAGE
    assert exit_code_for(errors.WaitTimeoutError("x")) is ExitCode.TIMEOUT
    assert exit_code_for(errors.InternalError("x")) is ExitCode.ERROR


def test_rows_are_aligned_and_ids_kept_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_output, "out", _output.Console(width=200))
    print_rows(["ID", "STATUS"], ["x" * 36, "[green]completed[/]"], ["y", "failed"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["ID", "STATUS"], ["x" * 36, "completed"], ["y", "failed"]]
    assert len({line.index(word) for line, word in zip(lines, ("STATUS", "completed", "failed"), strict=True)}) == 1


def test_a_timeline_shows_what_changed_and_leaves_out_what_did_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_render, "out", _output.Console(width=200))
    error = TaskError(type="OSError", message="broken\npipe")
    steps = [
        Task(id="1", type="t", status=TaskStatus.PENDING, input={"a": 1}),
        Task(id="1", type="t", status=TaskStatus.PENDING, input={"a": 1}),  # a neighbour changed
        Task(id="1", type="t", status=TaskStatus.RUNNING, input={"a": 1}, attempt=1, worker="w"),
        Task(id="1", type="t", status=TaskStatus.FAILED, input={"a": 1}, attempt=1, worker="w", error=error),
    ]
    events = [
        HistoryEvent(rev=n, at=START + timedelta(seconds=n), commit="c", task=task) for n, task in enumerate(steps)
    ]
    _render.print_timeline(History(events=events, complete=False))
    lines = capsys.readouterr().out.splitlines()
    assert ["submitted" in lines[0], "attempt 1, on worker w" in lines[1], "OSError: broken" in lines[2]] == [True] * 3
    assert "+2 s" in lines[1]
    assert "no versions" in lines[3]


def test_a_timeline_tells_a_wish_to_stop_from_its_fulfilment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_render, "out", _output.Console(width=200))
    wish = CancelWish(at=START, by="ada", reason="too late")
    steps = [
        Task(id="1", type="t", status=TaskStatus.PENDING, input=1),
        Task(id="1", type="t", status=TaskStatus.RUNNING, input=1, attempt=1),
        Task(id="1", type="t", status=TaskStatus.RUNNING, input=1, attempt=1, cancel=wish),
        Task(id="1", type="t", status=TaskStatus.CANCELLED, input=1, attempt=1, cancel=wish),
    ]
    for last in (4, 2):
        chosen = [*steps[:last], *([steps[3]] if last == 2 else [])]
        events = [HistoryEvent(rev=n, at=START, commit="c", task=task) for n, task in enumerate(chosen)]
        _render.print_timeline(History(events=events, complete=True))
    lines = [" ".join(line.split()[4:]) for line in capsys.readouterr().out.splitlines()]
    assert lines[2:4] == [
        "running asked to stop by ada: too late",
        "cancelled stopped, as it was asked to by ada: too late",
    ]
    assert lines[-1] == "cancelled called off by ada: too late"


def test_a_timeline_tells_that_a_task_was_parked_and_woken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_render, "out", _output.Console(width=200))
    woken, again = Park(count=1, woken=True), Park(count=2, until=START)
    steps = [
        Task(id="1", type="t", status=TaskStatus.PENDING, input=1, available_at=START),
        Task(id="1", type="t", status=TaskStatus.RUNNING, input=1, attempt=1, available_at=START),
        Task(id="1", type="t", status=TaskStatus.WAITING, attempt=1, available_at=START, park=Park(count=1)),
        Task(id="1", type="t", status=TaskStatus.PENDING, attempt=1, available_at=START, park=woken),
        Task(id="1", type="t", status=TaskStatus.RUNNING, attempt=2, available_at=START, park=Park(count=1)),
        Task(id="1", type="t", status=TaskStatus.WAITING, attempt=2, available_at=START, park=again),
    ]
    events = [HistoryEvent(rev=n, at=START, commit="c", task=task) for n, task in enumerate(steps)]
    _render.print_timeline(History(events=events, complete=True))
    lines = [" ".join(line.split()[4:]) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [lines[0], lines[1], lines[3].partition(" until ")[0]] == [
        "waiting parked until it is woken",
        "pending woken",
        "waiting parked",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "x", "--priority", "10"], ["--priority", "10", "buquet replay --help"]),
        (["list", "--limit", "x"], ["--limit", "'x'"]),
        (["list", "--nope"], ["--nope"]),
        (["--nope"], ["--nope", "buquet --help"]),
        (["frobnicate"], ["frobnicate"]),
        (["schedules", "frobnicate"], ["frobnicate", "buquet schedules --help"]),
        (["submit"], ["TYPE"]),
        (["purge"], ["--older-than"]),
        (["purge", "--older-than", "soon"], ["--older-than='soon'"]),
        (["submit", "double", "--timeout", "0"], ["--timeout='0s'"]),
        (["submit", "double", "--delay", "400d"], ["--delay='400d'"]),
        (["schedules", "create", "a", "b", "--every", "often"], ["--every='often'"]),
        (["schedules", "create", "a", "b"], ["--cron or --every"]),
        (["list", "--tag", "A", "-n", "5", "--tag", "B"], ["--tag='A' and --tag='B'", "give one"]),
        (["cancel", "--type", "a", "--yes", "-t", "b"], ["--type='a' and --type='b'"]),
        (["failed", "-e", "OSError", "--error=KeyError"], ["--error='OSError' and --error='KeyError'"]),
        (["purge", "--older-than", "1d", "--older-than", "2d"], ["--older-than='1d' and --older-than='2d'"]),
        (["schedules", "list", "-n5", "-n", "6"], ["--limit='5' and --limit='6'"]),
        (["schemas", "put", "a", "-i", "1", "--input", "2"], ["--input and --input are given"]),
        (["payloads", "collect", "--older-than", "1d", "--older-than", "2d"], ["--older-than='1d' and"]),
        (["list", "--url", "s3://u:SECRET@a", "--url", "s3://b"], ["--url and --url are given"]),
        (["--url", "a", "--url", "b", "list"], ["--url and --url are given"]),
        (["worker", "tasks:app", "-c", "5", "--concurrency", "6"], ["--concurrency='5' and --concurrency='6'"]),
        (["submit", "a", "--meta", "a=1", "--meta", "b=1", "--meta", "a=2"], ["--meta a='1' and a='2'"]),
        (["submit", "a", "--parent", "nope"], ["--parent='nope' is not a task id"]),
        (["list", "--parent", "nope"], ["--parent='nope' is not a task id"]),
        (["cancel", "--parent", "nope", "--yes"], ["--parent='nope' is not a task id"]),
        (["schedules", "create", "a", "b", "--every", "1m", "-z", "UTC"], ["--timezone"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["plain", "before", "after"])
def test_a_wrong_call_is_one_line_or_json_with_the_value(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: list[str],
    where: str,
) -> None:
    monkeypatch.setattr(_output.shared, "json", False)
    call = {"plain": arguments, "before": ["--json", *arguments], "after": [*arguments, "--json"]}[where]
    monkeypatch.setattr(sys, "argv", ["buquet", *call])
    with pytest.raises(SystemExit) as ended:
        run()
    done = capsys.readouterr()
    assert (ended.value.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    error = line.removeprefix("error: ") if where == "plain" else json.loads(line)["error"]["message"]
    assert all(words in error for words in said), error
    assert "SECRET" not in error


def test_an_option_that_may_be_repeated_keeps_all_its_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_output.shared, "url", None)
    monkeypatch.setattr(_output.shared, "json", False)
    queue = ("--url", f"sqlite:{tmp_path}/q.db", "--json")
    assert CliRunner().invoke(cli, ["submit", "a", "--tag", "A", "--tag", "B", *queue]).exit_code == 0
    found = CliRunner().invoke(cli, ["list", "--status", "failed", "--status", "pending", *queue])
    assert [task["tags"] for task in json.loads(found.stdout)["tasks"]] == [["A", "B"]]


def test_help_shows_what_stands_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "[profiles.NAME]" in CliRunner().invoke(cli, ["config", "--help"]).stdout
    assert "you, on this machine" in CliRunner().invoke(cli, ["cancel", "--help"]).stdout


@pytest.mark.parametrize(
    "words",
    [
        "tasks:app",
        "tasks:app --concurrency 5 --drain 2m --log-level debug --url sqlite:q.db --processes 3 --json",
        "-c 5 -p 1 --pool-processes 2 tasks:app",
        "--json --drain 0 tasks",
    ],
)
def test_workers_read_their_arguments_as_typer_does(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Wanted] = []

    def work(wanted: Wanted) -> int:
        read.append(wanted)
        return 0

    monkeypatch.setattr(_worker, "work", work)
    monkeypatch.setattr(_output, "shared", _output.shared)
    arguments = words.split()
    assert CliRunner().invoke(cli, ["worker", *arguments]).exit_code == 0
    assert read == [read_arguments(arguments)]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--help",
        "tasks:app other:app",
        "tasks:app --concurrency",
        "tasks:app --concurrency 0",
        "tasks:app --concurrency many",
        "tasks:app --concurrency=5",
        "tasks:app --drain --json",
        "tasks:app --drain soon",
        "tasks:app --unknown",
        "tasks:app -c5",
        "tasks:app -c 5 -c 6",
        "tasks:app --url a --url b",
        "-- tasks:app",
    ],
)
def test_what_is_no_usual_command_line_goes_to_typer(words: str) -> None:
    assert read_arguments(words.split()) is None
