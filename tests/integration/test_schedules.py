"""Schedules on the real engine: declared in code, fired by workers of several processes, looked after by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, InvalidError, Task, TaskStatus, _ops
from tests.support.processes import background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

TASKS = """
from buquet import Buquet

app = Buquet({url!r})


@app.every("1s")
def tick() -> str:
    return "done"
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A queue in a file of this test."""
    return f"sqlite:{tmp_path / 'queue.db'}"


def test_workers_of_several_processes_fire_each_slot_once(tmp_path: Path, url: str) -> None:
    (tmp_path / "tasks.py").write_text(TASKS.format(url=url))
    environment = clean_environment()
    command = ["buquet", "worker", "tasks:app", "--log-level", "warning"]
    with (
        Buquet(url) as app,
        background(command, cwd=tmp_path, env=environment),
        background(command, cwd=tmp_path, env=environment),
        background(command, cwd=tmp_path, env=environment),
    ):

        def fired() -> bool:
            return sum(task.status is TaskStatus.COMPLETED for task in tasks(app)) >= 5

        wait_until(fired, within=60, what="five slots to have fired")
        app.schedules.disable("tick")
        schedule = app.schedules.get("tick")
        assert (schedule.every, schedule.declared_in, schedule.next) == (timedelta(seconds=1), "tasks", None)

        slots = [task.available_at for task in tasks(app)]
        assert len(slots) == len(set(slots)), "a slot has one task"
        assert all(slot is not None and slot.microsecond == 0 for slot in slots)


def tasks(app: Buquet) -> list[Task]:
    """Return all tasks."""
    return app.queue.client.call(_ops.list_tasks(None, None, 1000, None)).tasks


def test_what_code_declares_no_more_is_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    before, after = Buquet(url), Buquet(url)

    @before.cron("0 9 * * mon-fri", timezone="Europe/Berlin", name="old")
    @before.cron("0 9 * * mon-fri", timezone="Europe/Berlin", name="kept")
    def report() -> None: ...

    after.cron("0 10 * * *", name="kept")(report.handler.function)
    with before, before.worker():
        assert [schedule.name for schedule in before.schedules.list().schedules] == ["kept", "old"]
    with after, after.worker():
        kept, old = after.schedules.list().schedules
    assert (kept.cron, kept.timezone, kept.undeclared_at) == ("0 10 * * *", "UTC", None)
    assert old.enabled
    assert old.undeclared_at is not None
    assert "'old' was declared in" in caplog.text


def test_a_worker_refuses_a_schedule_that_makes_no_sense(url: str) -> None:
    app = Buquet(url)

    @app.cron("0 9 * * mon-fri", timezone="Europe/Nowhere")
    def report() -> None: ...

    with (
        app,
        pytest.raises(InvalidError, match=r"schedule \"report\": there is no time zone \"Europe/Nowhere\""),
        app.worker(),
    ):
        pass


async def test_by_hand_from_python(url: str) -> None:
    async with Buquet(url) as app:
        queue = app.queue
        schedule = await queue.create_schedule("nightly", "clean_up", {"days": 7}, cron="0 3 * * *", max_retries=0)
        assert (
            await queue.create_schedule("nightly", "clean_up", {"days": 7}, cron="0 3 * * *", max_retries=0) == schedule
        )
        with pytest.raises(InvalidError, match="says something else"):
            await queue.create_schedule("nightly", "clean_up", {"days": 8}, cron="0 3 * * *")
        assert (await queue.preview_schedule("nightly", count=2))[0].hour == 3
        berlin = await queue.preview_schedule(
            cron="30 2 * * *", timezone="Europe/Berlin", count=2, after=datetime(2027, 3, 27, 12, tzinfo=UTC)
        )
        assert berlin == [datetime(2027, 3, 28, 1, 0, tzinfo=UTC), datetime(2027, 3, 29, 0, 30, tzinfo=UTC)]
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        filled = await queue.backfill_schedule("nightly", today - timedelta(days=3), today)
        assert [slot.created for slot in filled] == [True] * 3
        again = await queue.backfill_schedule("nightly", today - timedelta(days=3), today)
        assert [(slot.task, slot.created) for slot in again] == [(slot.task, False) for slot in filled]
        task = await queue.get(await queue.trigger_schedule("nightly"))
        assert (task.type, task.input, task.max_retries) == ("clean_up", {"days": 7}, 0)
