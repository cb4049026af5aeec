"""What is told of a task at its submit, and what a handler or a declaration says unless told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, InvalidError, TaskHandle

if TYPE_CHECKING:
    from buquet import Queue
    from tests.unit.fake_engine import FakeEngine


def submitted(engine: FakeEngine) -> dict[str, Any]:
    return engine.requests("submit")[-1]


def test_a_task_declared_unique_can_be_submitted_and_mapped_without_that(app: Buquet, engine: FakeEngine) -> None:
    @app.task(unique=True)
    def count(n: int) -> int:
        return n

    count.submit(1)
    assert submitted(engine)["unique"] == {}
    with pytest.raises(InvalidError, match=r"task.options\(unique=False\).map"):
        count.map([1, 2])
    plain = count.options(unique=False)
    plain.submit(1)
    assert "unique" not in submitted(engine)
    assert len(plain.map([1, 2])) == 2


def test_a_key_keeps_the_declared_scope_and_window(app: Buquet, engine: FakeEngine) -> None:
    @app.task(unique=True, unique_scope="queue", unique_window="1h")
    def count(n: int) -> int:
        return n

    count.options(idempotency_key="order 7").submit(1)
    unique = submitted(engine)["unique"]
    assert (unique["key"], unique["scope"], "window" in unique) == ("order 7", "queue", True)


def test_a_new_expiry_replaces_the_declared_one(app: Buquet, engine: FakeEngine) -> None:
    @app.task(ttl="1h")
    def count(n: int) -> int:
        return n

    count.options(expires_at=datetime.now(UTC) + timedelta(days=1)).submit(1)
    assert "expires_at" in submitted(engine)
    assert "ttl" not in submitted(engine)


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_what_a_handler_submits_is_its_child_unless_it_says_otherwise(
    app: Buquet, engine: FakeEngine, kind: str
) -> None:
    @app.task
    def child(n: int) -> int:
        return n

    def parents() -> list[Any]:
        return [request.get("parent") for request in engine.requests("submit") if request["type"] == "child"]

    if kind == "async":

        @app.task(name="parent")
        async def on_loop() -> None:
            await child.submit_async(1)
            await child.options(parent=None).submit_async(2)

        parent: Any = on_loop
    else:

        @app.task(name="parent")
        def on_thread() -> None:
            child.submit(1)
            child.options(parent=None).submit(2)

        parent = on_thread
    with app.worker():
        handle: TaskHandle[None] = parent.submit()
        handle.result(timeout=30)
        assert parents() == [handle.id, None]
    child.submit(3)
    assert parents()[-1] is None


async def test_a_task_is_named_by_its_id_its_handle_or_itself(app: Buquet, engine: FakeEngine, queue: Queue) -> None:
    @app.task
    def child(n: int) -> int:
        return n

    handle = await queue.submit("t")
    task = await queue.get(handle)
    for parent in (handle.id, handle, task):
        await queue.submit("t", parent=parent)
        await queue.submit_many("t", [1], parent=parent)
        child.options(parent=parent).submit(1)
        for made in (queue.handle(parent), app.handle(parent), child.handle(parent)):
            assert made.id == handle.id
        for group in (queue.group([parent]), app.group([parent]), child.group([parent])):
            assert group.ids == [handle.id]
        assert await queue.get_many([parent]) == [task]
    requests = engine.requests("submit")[1:] + engine.requests("submit_many")
    assert [request["parent"] for request in requests] == [handle.id] * 9


async def test_what_names_no_task_is_refused(app: Buquet, engine: FakeEngine, queue: Queue) -> None:
    number: Any = 7
    with pytest.raises(InvalidError, match=r"not by int \(7\)"):
        await queue.submit("t", parent=number)
    with pytest.raises(InvalidError, match=r"not by int \(7\)"):
        await queue.get(number)
    with pytest.raises(InvalidError, match=r"not by int \(7\)"):
        app.group([number])
    with pytest.raises(InvalidError, match="put a single one into a list"):
        app.group("task-1")
    with pytest.raises(InvalidError, match="put a single one into a list"):
        await queue.get_many("task-1")
    assert not engine.calls
