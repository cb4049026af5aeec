"""The commands on runs, against an engine in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from buquet._address import Config
from buquet._client import Client
from buquet.cli import _output
from buquet.cli._app import cli

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine

MODULE = "tests.unit.workflow.driven"


@pytest.fixture(autouse=True)
def _connection(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    def connect(_config: Config) -> Client:
        return Client(Config(), opener=lambda _: engine)

    def stay_open(_timeout: int) -> None:
        """Let the next command find the engine."""

    monkeypatch.setattr(_output, "Client", connect)
    monkeypatch.setattr(engine, "close", stay_open)


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["workflow", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def read(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code))


def test_a_run_is_started_shown_and_listed(engine: FakeEngine) -> None:
    shown = run("start", "waits", "--id", "r", "--tag", "shop", "--timeout", "30d", "--priority", "9")
    assert shown == "r\n"
    assert engine.requests("workflow.start") == [
        {"workflow": "waits", "input": {}, "id": "r", "tags": ["shop"], "timeout": "30d", "priority": 9}
    ]
    assert "waits" in run("status", "r")
    assert read("status", "r")["status"] == "pending"
    assert "pending" in run("list", "--status", "pending", "--workflow", "waits")
    assert [each["key"] for each in read("list")["runs"]] == ["r"]
    assert run("list", "--status", "failed") == "no runs\n"


def test_a_run_that_ended_without_a_result_has_an_exit_code_of_its_own(engine: FakeEngine) -> None:
    run("start", "waits", "--id", "r")
    engine.run("r").status = "failed"
    engine.run("r").error = {"type": "ValueError", "message": "no luck", "traceback": "Traceback"}
    shown = run("status", "r", code=4)
    assert "ValueError: no luck" in shown
    assert run("status", "none", code=3) == ""
    assert "failed" in run("status", "r", "--follow", code=4)


def test_signals_and_callbacks_reach_the_engine(engine: FakeEngine) -> None:
    run("start", "waits", "--id", "r")
    run("signal", "r", "approved", "--payload", '{"by": "ada"}', "--signal-id", "1")
    assert engine.run("r").signals == [{"name": "approved", "payload": {"by": "ada"}, "id": "1"}]
    engine.run("r").open[3] = {}
    engine.run("r").entries = [{"ask": "callback", "name": "callback", "at": 1}] * 4
    run("callback", "r.1.1.3", "--output", '"signed"')
    assert engine.run("r").open[3]["result"] == {"outcome": "completed", "output": "signed"}
    run("callback", "r.1.1.3", "--fail", "refused")
    assert engine.run("r").open[3]["result"]["error"]["message"] == "refused"
    run("callback", "r.1.1.3", "--fail", "refused", "--alive", code=2)
    engine.run("r").status = "completed"
    assert "run_ended" in CliRunner().invoke(cli, ["workflow", "signal", "r", "late", "--json"]).stderr


def test_wishes_are_for_some_runs_or_for_all_that_are_meant(engine: FakeEngine) -> None:
    for name in ("a", "b"):
        run("start", "waits", "--id", name)
    assert "its worker is told" in run("pause", "a", "--reason", "look")
    assert read("resume", "--workflow", "waits", "--dry-run")["runs"] == [engine.run("a").id]
    run("resume", "--workflow", "waits", code=2)
    assert read("resume", "--workflow", "waits", "--yes")["runs"][0]["outcome"] == "noted"
    run("cancel", code=2)
    run("cancel", "a", "--tag", "shop", code=2)
    assert read("terminate", "a", "none", code=1)["runs"][1] == {"id": "none", "outcome": "refused"}
    run("cancel", "none", code=3)


def test_the_history_is_a_timeline_or_what_a_replay_reads(engine: FakeEngine) -> None:
    recorded_run(engine)
    shown = run("history", "r")
    assert "asks for signal approved" in shown
    assert "pending, 1 entries" in shown
    assert read("history", "r")["entries"] == engine.run("r").entries


def recorded_run(engine: FakeEngine) -> None:
    run("start", "waits", "--id", "r")
    ask = {"ask": "signal", "scope": "", "name": "approved", "n": 0, "at": 1_700_000_000_000, "until": None}
    engine.run("r").entries = [ask]


def test_a_replay_says_whether_todays_code_fits_and_where_it_does_not(engine: FakeEngine) -> None:
    recorded_run(engine)
    assert run("replay", "r", "--app", MODULE) == "r fits\n"
    assert read("replay", "r", "--app", MODULE) == {"runs": [{"id": "r", "fits": True}]}
    engine.run("r").entries[0]["name"] = "agreed"
    shown = run("replay", "r", "--app", MODULE, code=4)
    assert "signal 'agreed' was recorded" in shown
    (difference,) = read("replay", "r", "--app", MODULE, code=4)["runs"]
    assert (difference["fits"], difference["position"]) == (False, 0)
    run("replay", "r", "--app", "tests.unit.workflow", code=2)


def test_a_prune_asks_first_and_goes_on_from_page_to_page(engine: FakeEngine) -> None:
    assert read("prune", "--older-than", "30d", "--status", "failed", "--dry-run")["runs"] == 3
    first, second = engine.requests("workflow.prune")
    assert first == {"older_than": "30d", "status": ["failed"], "dry_run": True}
    assert second == {**first, "cursor": "2"}
    run("prune", "--older-than", "30d", code=2)
    assert run("prune", "--older-than", "30d", "--yes") == "3 runs removed, 2 records wait for the next prune\n"
