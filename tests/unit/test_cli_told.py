"""What the command line says of schedules, interruptions, damaged objects and wrong options, in its own words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner

from buquet import ConfigError, History, HistoryEvent, Task, TaskStatus, UnavailableError
from buquet._models import CorruptObject, WorkerInfo
from buquet.cli import _dead, _output, _render
from buquet.cli._app import cli
from buquet.cli._render import exact
from buquet.cli._workers import row_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

    Run = Callable[..., Result]


@pytest.fixture
def buquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command on the test's queue."""
    monkeypatch.setattr(_output.shared, "url", None)
    monkeypatch.setattr(_output.shared, "json", False)
    monkeypatch.setenv("BUQUET_URL", f"sqlite:{tmp_path}/q.db")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--every", "5m", "--overlap", "never"], "'never' is not one of 'allow', 'skip', 'wait'"),
        (["--every", "5m", "--catch-up", "some"], "'some' is not one of 'none', 'latest', 'all'"),
        (["--every", "5m", "--catch-up-limit", "0"], "'--catch-up-limit'"),
        (["--every", "0s"], "--every='0s' must be 1 s or more"),
        (["--every", "5m", "--jitter", "2d"], "--jitter='2d' must be up to a day"),
        (["--every", "5m", "--ttl", "0s"], "--ttl='0s' leaves no time"),
        (["--every", "5m", "--tag", ""], "--tag='' must have 1 to 64 characters"),
        (["--every", "5m", "--meta", f"a={'x' * 5000}"], "--meta has 5001 bytes"),
        (["--every", "5m", "--cron", "@daily"], "give --cron or --every, not both"),
    ],
    ids=str,
)
def test_a_schedule_is_refused_in_the_words_of_the_options(buquet: Run, arguments: list[str], said: str) -> None:
    refused = buquet("schedules", "create", "name", "type", *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--unique", "--key", "k"], "give --key or --unique, not both"),
        (["--window", "1h"], "--window='1h' says nothing without --key or --unique"),
        (["--scope", "queue"], "--scope='queue' says nothing without --key or --unique"),
        (["--key", "k", "--window", "100ms"], "--window='100ms' must be 1 s or more"),
        (["--key", ""], "--key='' must have 1 to 256 characters"),
        (["--tag", "a\nb"], "--tag='a\\nb' must have 1 to 64 characters"),
        ([f"--tag={n}" for n in range(17)], "--tag is given 17 times; give up to 16"),
        (["--delay", "1s", "--at", "2099-01-01T00:00:00Z"], "give --delay or --at, not both"),
        (["--ttl", "1s", "--expires-at", "2099-01-01T00:00:00Z"], "give --ttl or --expires-at, not both"),
    ],
    ids=str,
)
def test_a_submit_is_refused_in_the_words_of_the_options(buquet: Run, arguments: list[str], said: str) -> None:
    refused = buquet("submit", "type", *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr


def test_ids_and_a_filter_are_not_both_cancelled(buquet: Run) -> None:
    refused = buquet("cancel", "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000", "--tag", "a", "--yes")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "not both" in refused.stderr


def test_a_schedule_is_shown_with_all_that_it_submits(buquet: Run) -> None:
    wanted = {
        ("times", "every 1s500ms"): ("--every", "1500ms"),
        ("jitter", "10m"): ("--jitter", "10m"),
        ("timeout", "1m30s"): ("--timeout", "90s"),
        ("retries", "7"): ("--retries", "7"),
        ("priority", "9"): ("--priority", "9"),
        ("ttl", "1h30m"): ("--ttl", "1h30m"),
        ("tags", "a, b"): ("--tag", "a", "--tag", "b"),
        ("metadata", "x=y"): ("--meta", "x=y"),
    }
    created = buquet("schedules", "create", "poll", "t", *(word for words in wanted.values() for word in words))
    for done in (created, buquet("schedules", "show", "poll")):
        rows = {tuple(line.strip().split(None, 1)) for line in done.stdout.splitlines()}
        assert wanted.keys() <= rows
    assert "every 1s500ms" in buquet("schedules", "list").stdout

    taken = buquet("schedules", "create", "poll", "t", "--every", "2s")
    assert (taken.exit_code, taken.stdout) == (2, "")
    assert "say --replace" in taken.stderr
    assert buquet("schedules", "create", "poll", "t", "--every", "2s", "--replace").exit_code == 0


def test_a_preview_begins_after_a_time(buquet: Run) -> None:
    shown = buquet("schedules", "preview", "--cron", "@daily", "-n", "2", "--after", "2027-01-01T12:00:00Z", "--json")
    assert json.loads(shown.stdout)["slots"] == ["2027-01-02T00:00:00Z", "2027-01-03T00:00:00Z"]
    refused = buquet("schedules", "preview", "--cron", "@daily", "--after", "2027-01-01")
    assert refused.exit_code == 2
    assert "--after='2027-01-01' has no time zone" in refused.stderr


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0s"), (1, "1ms"), (1_500, "1s500ms"), (600_000, "10m"), (5_400_000, "1h30m"), (86_400_000 * 7, "7d")],
)
def test_lengths_that_were_given_are_shown_whole(length: int, text: str) -> None:
    assert exact(timedelta(milliseconds=length)) == text


def test_a_damaged_object_is_named_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_output.shared, "json", False)
    _output.print_corrupt(
        [
            CorruptObject(key="tasks/0/a.json", message="tasks/0/a.json is not a valid record"),
            CorruptObject(key="workers/b.json", message="it is another worker's registration"),
        ]
    )
    assert capsys.readouterr().err.splitlines() == [
        "warning: tasks/0/a.json is not a valid record",
        "warning: workers/b.json: it is another worker's registration",
    ]


def test_a_timeline_says_that_a_task_was_replayed_and_for_when(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_render, "out", _output.Console(width=200))
    at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    for later in (timedelta(0), timedelta(minutes=5)):
        steps = [
            Task(id="1", type="t", status=TaskStatus.PENDING, input=1, available_at=at),
            Task(id="1", type="t", status=TaskStatus.FAILED, input=1, attempt=1, available_at=at),
            Task(
                id="1",
                type="t",
                status=TaskStatus.PENDING,
                input=1,
                attempt=1,
                available_at=at + timedelta(minutes=1) + later,
            ),
        ]
        events = [
            HistoryEvent(rev=n, at=at + timedelta(seconds=30 * n), commit="c", task=task)
            for n, task in enumerate(steps)
        ]
        _render.print_timeline(History(events=events, complete=True))
    lines = [" ".join(line.split()[4:]) for line in capsys.readouterr().out.splitlines()]
    assert [lines[2], lines[5]] == ["pending replayed", "pending replayed, not before 12:06:00"]


def test_a_timeline_says_what_became_of_a_task_that_says_nothing_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_render, "out", _output.Console(width=200))
    start = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    first = Task(id="1", type="t", status=TaskStatus.PENDING, input=1, expires_at=start + timedelta(hours=1))
    for status in (TaskStatus.EXPIRED, TaskStatus.COMPLETED, TaskStatus.ARCHIVED):
        steps = [first, msgspec.structs.replace(first, status=status)]
        events = [HistoryEvent(rev=n, at=start, commit="c", task=task) for n, task in enumerate(steps)]
        _render.print_timeline(History(events=events, complete=True))
    lines = [" ".join(line.split()[4:]) for line in capsys.readouterr().out.splitlines()]
    assert lines[1::2] == [
        "expired was to start before 2026-11-23 13:00:00",
        "completed output null",
        "archived put aside for good",
    ]


class Interrupted:
    """A client that answers some pages, and then no more."""

    def __init__(self, error: BaseException, pages: int) -> None:
        self._error = error
        self._pages = pages

    def call(self, call: Any) -> Any:
        if self._pages == 0:
            raise self._error
        self._pages -= 1
        return call.finish(call.answer(tasks=5, records=5, cursor="tasks/0/on"))


@pytest.mark.parametrize(
    ("error", "pages", "said"),
    [
        (KeyboardInterrupt(), 0, "broke off within the first page; some tasks may be replayed already; start it again"),
        (UnavailableError("no answer"), 0, "some tasks may be replayed already"),
        (KeyboardInterrupt(), 2, "broke off after at least 10 tasks; go on with --cursor tasks/0/on"),
        (ConfigError("no such store"), 0, None),
    ],
    ids=["at once", "no answer", "later", "never begun"],
)
def test_a_command_on_many_tasks_that_breaks_off_says_so(
    buquet: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, pages: int, said: str | None
) -> None:
    monkeypatch.setattr(_dead, "connection", lambda _: Interrupted(error, pages))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    broken = buquet("replay", "--all")
    assert (broken.exit_code == 130) == isinstance(error, KeyboardInterrupt)
    assert broken.stdout == ""
    assert said in broken.stderr if said else "broke off" not in broken.stderr


def test_the_help_says_what_a_limit_and_an_error_type_are(buquet: Run) -> None:
    for command in ("list", "failed"):
        assert "or a few more" in buquet(command, "--help").stdout
    assert "shop.orders.NoStock" in buquet("replay", "--help").stdout


def test_workers_say_how_old_their_word_is_and_what_they_have_lost() -> None:
    now = datetime.now(UTC)
    alive = WorkerInfo(
        id="1",
        host="web-1",
        pid=2,
        types=["t"],
        concurrency=4,
        started_at=now,
        heartbeat_at=now - timedelta(seconds=30),
        alive=True,
        state="running",
        running=1,
        stuck=3,
    )
    assert row_of(alive, now)[3:7] == ["[green]yes[/]", "[yellow]30 s ago[/]", "running", "1/4, [red]3 stuck[/]"]
    idle = msgspec.structs.replace(alive, running=0, stuck=0)
    assert row_of(idle, now)[4:7] == ["[default]30 s ago[/]", "running", "0/4"]
    dead = msgspec.structs.replace(alive, alive=False)
    assert row_of(dead, now)[3:5] == ["[red]no[/]", "[red]30 s ago[/]"]
