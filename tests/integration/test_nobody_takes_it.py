"""A task that nobody takes says so: to whoever waits for it, and to whoever looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from buquet import Buquet, _ops, errors
from buquet._options import submit_options
from buquet.cli import _output, _waiting
from buquet.cli._app import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

NO_WORKER = "no worker runs"
MISSPELT = 'no living worker takes type "count_wrods"; living workers take count_words'


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Buquet]:
    """An app on a queue of the test's own."""
    app = Buquet(f"sqlite:{tmp_path}/queue.db")

    @app.task
    def count_words(text: str) -> int:
        return len(text.split())

    yield app
    app.close()


@pytest.fixture
def buquet(app: Buquet, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs a command on the app's queue."""
    monkeypatch.setattr(_output.shared, "url", None)
    monkeypatch.setattr(_output.shared, "json", False)
    monkeypatch.setattr(_waiting, "_PATIENCE", 0.05)

    def run(*arguments: str) -> Result:
        url: Any = app.queue.client.config.url
        return CliRunner().invoke(cli, [*arguments, "--url", url])

    return run


def test_a_result_that_does_not_come_in_time_says_that_no_worker_runs(app: Buquet) -> None:
    task = submit(app, "count_words")
    with pytest.raises(errors.WaitTimeoutError, match=NO_WORKER):
        app.handle(task).result(timeout=1)


def test_it_says_what_the_living_workers_take(app: Buquet) -> None:
    with app.worker(), pytest.raises(errors.WaitTimeoutError, match=MISSPELT):
        app.handle(submit(app, "count_wrods")).result(timeout=1)


def test_the_command_line_says_it_while_it_waits_and_in_the_status(app: Buquet, buquet: Any) -> None:
    waited = buquet("submit", "count_wrods", "--wait", "--wait-timeout", "100ms")
    assert waited.exit_code == 5
    assert f"still waiting: {NO_WORKER}" in waited.stderr
    with app.worker():
        task = submit(app, "count_wrods")
        assert f"it waits: {MISSPELT}" in buquet("status", task).stdout
        assert buquet("result", task, "--wait-timeout", "100ms").stderr.startswith(f"still waiting: {MISSPELT}")


def test_a_task_that_is_not_due_says_from_when_on_it_may_start(buquet: Any) -> None:
    task = buquet("submit", "count_words", "--at", "2099-01-01T00:00:00Z").stdout.strip()
    assert "it waits: it is not to start before 2099-01-01T00:00:00" in buquet("status", task).stdout


def submit(app: Buquet, kind: str) -> str:
    """Submit a task by the name of its type."""
    return app.queue.client.call(_ops.submit(kind, b'{"text": "a b"}', submit_options())).id
