"""Dead letters on a fake engine: pages, steps, what is asked and what is raised."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from buquet import Handled, InvalidError, NotFoundError, RetryPolicy, UnavailableError

if TYPE_CHECKING:
    from buquet import Buquet, Queue
    from tests.unit.fake_engine import FakeEngine


async def failed(engine: FakeEngine, queue: Queue, count: int, error: str = "OSError") -> list[str]:
    """Store tasks that have failed."""
    ids = [(await queue.submit("t", n)).id for n in range(count)]
    for task_id in ids:
        engine.tasks[task_id] |= {"status": "failed", "error": {"type": error, "message": "no"}}
    return ids


async def test_failed_tasks_are_gone_through_page_by_page(engine: FakeEngine, queue: Queue) -> None:
    ids = await failed(engine, queue, 250)
    assert [task.id async for task in queue.dead_letters] == ids
    assert [request["limit"] for request in engine.requests("failed")] == [100] * 3
    page = await queue.dead_letters.list(limit=2, error="OSError", older_than=timedelta(hours=1))
    assert ([task.id for task in page.tasks], page.cursor) == (ids[:2], "2")
    assert engine.requests("failed")[-1] == {"limit": 2, "error": "OSError", "older_than": 3600.0}


async def test_a_replay_sends_what_is_to_be_different(engine: FakeEngine, queue: Queue) -> None:
    one, two = await failed(engine, queue, 2)
    await queue.dead_letters.replay(one, queue.handle(two), timeout="10m", priority=8, max_retries=7, delay=5)
    changes = {"timeout": "10m", "priority": 8, "retry": {"max_retries": 7}, "delay": 5.0}
    assert engine.requests("replay") == [{"ids": [one, two], **changes}]
    assert engine.tasks[one]["status"] == engine.tasks[two]["status"] == "pending"


async def test_thousands_of_ids_go_in_several_operations(engine: FakeEngine, queue: Queue) -> None:
    ids = await failed(engine, queue, 1_001)
    await queue.dead_letters.archive(*ids)
    assert [len(request["ids"]) for request in engine.requests("archive")] == [1_000, 1]


async def test_a_task_that_cannot_be_moved_is_named_and_the_others_are_moved(engine: FakeEngine, queue: Queue) -> None:
    one, two = await failed(engine, queue, 2)
    await queue.dead_letters.replay(one)
    with pytest.raises(InvalidError, match=f"{one} is pending"):
        await queue.dead_letters.replay(one, two)
    assert engine.tasks[two]["status"] == "pending"
    with pytest.raises(NotFoundError, match="task-99"):
        await queue.dead_letters.archive("task-99")
    with pytest.raises(InvalidError, match="and 1 more of 2"):
        await queue.dead_letters.archive("task-99", one)


async def test_many_are_moved_step_by_step_and_counted(engine: FakeEngine, queue: Queue) -> None:
    await failed(engine, queue, 3)
    handled = await queue.dead_letters.replay_all(error="OSError", retry=RetryPolicy(initial="2s"))
    assert (handled.tasks, handled.records) == (3, 3)
    first, *later = engine.requests("replay_many")
    assert first == {"error": "OSError", "retry": {"initial": "2s"}, "dry_run": False, "limit": 100}
    assert [request["cursor"] for request in later] == ["1", "1"]


async def test_plain_code_sees_how_far_it_is(engine: FakeEngine, queue: Queue, app: Buquet) -> None:
    ids = await failed(engine, queue, 3)
    seen: list[Handled] = []
    assert app.dead_letters.archive_all(progress=seen.append).tasks == 3
    assert [handled.tasks for handled in seen] == [1, 2, 3]
    assert list(app.dead_letters) == []
    purged = app.dead_letters.purge(status=["archived", "failed"], older_than="1d", dry_run=True)
    assert (purged.tasks, purged.records, purged.kept, purged.bytes) == (3, 3, 0, 300)
    assert set(ids) <= set(engine.tasks)
    assert app.dead_letters.purge(status="archived", older_than="1d").tasks == 3
    assert not engine.tasks


async def test_what_broke_off_goes_on_from_where_its_progress_was(
    engine: FakeEngine, queue: Queue, app: Buquet
) -> None:
    await failed(engine, queue, 3)
    seen: list[Handled] = []

    def break_off(handled: Handled) -> None:
        seen.append(handled)
        engine.fail_next("archive_many", UnavailableError("503"))

    with pytest.raises(UnavailableError):
        await queue.dead_letters.archive_all(progress=break_off)
    assert [(handled.tasks, handled.cursor) for handled in seen] == [(1, "1")]
    went_on = app.dead_letters.archive_all(cursor=seen[0].cursor)
    assert (went_on.tasks, went_on.cursor) == (2, None)
    assert [request.get("cursor") for request in engine.requests("archive_many")] == [None, "1", "1", "1"]
    await queue.dead_letters.replay_all(cursor="c")
    await queue.dead_letters.purge(older_than="1d", cursor="d")
    app.dead_letters.replay_all(cursor="e")
    app.dead_letters.purge(older_than="1d", cursor="f")
    asked = engine.requests("replay_many") + engine.requests("purge")
    assert [request["cursor"] for request in asked] == ["c", "e", "d", "f"]


async def test_what_makes_no_sense_is_refused_before_anything_is_asked(engine: FakeEngine, queue: Queue) -> None:
    letters = queue.dead_letters
    with pytest.raises(InvalidError, match="sleeping"):
        await letters.purge(status="sleeping", older_than="1d")
    with pytest.raises(InvalidError, match="older_than"):
        await letters.purge(older_than="soon")
    with pytest.raises(InvalidError, match="priority"):
        await letters.replay_all(priority=10)
    with pytest.raises(InvalidError, match="RetryPolicy"):
        await letters.replay("x", retry=5)  # pyright: ignore[reportArgumentType]
    for wrong, said in ((None, r"not by NoneType"), (["a"], "one by one"), (5, r"not by int \(5\)")):
        with pytest.raises(InvalidError, match=said):
            await letters.replay(wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="type=3 must be text"):
        await letters.replay_all(type=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="dry_run='no'"):
        await letters.archive_all(dry_run="no")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="no status 3"):
        await letters.purge(status=3, older_than="1d")  # pyright: ignore[reportArgumentType]
    for limit in ("x", 0, 1001):
        with pytest.raises(InvalidError, match=f"limit={limit!r} must be a whole number from 1 to 1000"):
            await letters.list(limit=limit)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="keep_days=0 must be a whole number from 1 to 3650"):
        await letters.lifecycle(keep_days=0)
    with pytest.raises(InvalidError, match="older_than=None is no age"):
        await letters.purge(older_than=None)  # pyright: ignore[reportArgumentType]
    for move in (letters.replay_all, letters.archive_all):
        with pytest.raises(InvalidError, match="cursor=5 must be text"):
            await move(cursor=5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="cursor=5 must be text"):
        await letters.purge(older_than="1d", cursor=5)  # pyright: ignore[reportArgumentType]
    assert not engine.calls
