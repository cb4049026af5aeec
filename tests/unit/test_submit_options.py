"""What is told of a task at its submit, and what a handler or a declaration says unless told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, InvalidError, TaskHandle
from buquet._context import check_progress

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
        handle.result(timeout=60)
        assert parents() == [handle.id, None]
    child.submit(3)
    assert parents()[-1] is None


async def test_a_task_is_named_by_its_id_its_handle_or_itself(app: Buquet, engine: FakeEngine, queue: Queue) -> None:
    @app.task
    def child(n: int) -> int:
        return n

    handle = await queue.submit("t")
    task = await queue.get(handle)
    for parent in (handle, task):
        await queue.submit("t", parent=parent)
        await queue.submit_many("t", [1], parent=parent)
        child.options(parent=parent).submit(1)
        for made in (queue.handle(parent), app.handle(parent), child.handle(parent)):
            assert made.id == handle.id
        for group in (queue.group([parent]), app.group([parent]), child.group([parent])):
            assert group.ids == [handle.id]
        assert await queue.get_many([parent]) == [task]
    requests = engine.requests("submit")[1:] + engine.requests("submit_many")
    assert [request["parent"] for request in requests] == [handle.id] * 6


async def test_a_parent_is_named_by_a_whole_id(app: Buquet, engine: FakeEngine, queue: Queue) -> None:
    whole = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000"
    await queue.submit("t", parent=whole)
    await queue.list(parent=whole)
    assert [request["parent"] for _, request in engine.calls] == [whole] * 2
    for wrong in ("zzz", whole.upper(), whole[:-1]):
        for refused in (queue.submit("t", parent=wrong), queue.list(parent=wrong), queue.cancel_matching(parent=wrong)):
            with pytest.raises(InvalidError, match=f"parent='{wrong}' is not a task id"):
                await refused
        with pytest.raises(InvalidError, match="as submit returned it"):
            app.list(parent=wrong)
        with pytest.raises(InvalidError, match="as submit returned it"):
            app.cancel_matching(parent=wrong)
    assert len(engine.calls) == 2


async def test_arguments_of_the_wrong_type_are_named(app: Buquet, engine: FakeEngine, queue: Queue) -> None:
    wrong: Any = 5
    half: Any = 2.5
    for refused, said in (
        (queue.list(tag=wrong), r"tag=5 must be text"),
        (queue.list(type=wrong), "type=5 must be text"),
        (queue.list(cursor=wrong), "cursor=5 must be text"),
        (queue.list(status=wrong), "no status 5"),
        (queue.list(limit=half), r"limit=2\.5 must be a whole number from 1 to 1000"),
        (queue.list(limit=0), "limit=0 must be"),
        (queue.history("x", limit=wrong * 1000), "limit=5000 must be"),
        (queue.cancel(["x"], reason=wrong), "reason=5 must be text"),
        (queue.cancel(["x"], by=wrong), "by=5 must be text"),
        (queue.cancel_matching(tag=wrong), "tag=5 must be text"),
        (queue.submit(wrong), "type=5 must be text"),
        (queue.submit_many("t", wrong), r"inputs=5 must be a collection"),
        (queue.submit_many("t", "abc"), r"inputs='abc' must be a collection"),
        (queue.doctor(cursor=wrong), "cursor=5 must be text"),
        (queue.preview_schedule(every="1h", count=half), r"count=2\.5 must be a whole number"),
    ):
        with pytest.raises(InvalidError, match=said):
            await refused
    with pytest.raises(InvalidError, match="tag=5 must be text"):
        app.list(tag=wrong)
    assert not engine.calls


async def test_text_that_has_no_utf8_is_refused_with_the_place(app: Buquet, engine: FakeEngine, queue: Queue) -> None:
    half = "caf\udce9.txt"
    for options in ({"tags": [half]}, {"metadata": {"name": half}}, {"idempotency_key": half}):
        with pytest.raises(InvalidError, match=r"'caf\\udce9.txt' cannot be stored as text: its character 4"):
            await queue.submit("count", 1, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="half a character"):
        app.list(tag=half)
    with pytest.raises(InvalidError, match="half a character"):
        check_progress(0.5, half)
    assert engine.calls == []


def test_a_message_of_progress_that_is_none_says_what_was_given() -> None:
    with pytest.raises(InvalidError, match="has 501 characters; up to 500"):
        check_progress(0.5, "x" * 501)
    with pytest.raises(InvalidError, match="must be text, not int"):
        check_progress(0.5, 5)


def test_an_app_lists_as_its_queue_does(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def count(n: int) -> int:
        return n

    handle = count.submit(1)
    assert [task.id for task in app.list(type="count", status="pending", limit=5).tasks] == [handle.id]
    assert engine.requests("list") == [{"limit": 5, "status": ["pending"], "type": "count"}]


async def test_plain_tasks_of_one_submit_cannot_be_unique(queue: Queue, engine: FakeEngine) -> None:
    for option in ({"unique": True}, {"idempotency_key": "a"}):
        with pytest.raises(InvalidError, match="or leave unique=True and idempotency_key= out"):
            await queue.submit_many("t", [1, 2], **option)  # pyright: ignore[reportCallIssue,reportArgumentType]
    assert not engine.requests("submit_many")


def test_the_bounds_of_a_declared_uniqueness_can_be_changed(app: Buquet, engine: FakeEngine) -> None:
    @app.task(unique=True)
    def count(n: int) -> int:
        return n

    count.options(unique_window="2h").submit(1)
    assert submitted(engine)["unique"] == {"window": "2h"}
    bound = count.options(unique_window="2h").options(unique_scope="queue")
    bound.submit(1)
    assert submitted(engine)["unique"] == {"window": "2h", "scope": "queue"}
    count.options(idempotency_key="a").options(unique_window="1h").submit(1)
    assert submitted(engine)["unique"] == {"key": "a", "window": "1h"}
    count.options(idempotency_key="a", unique_window="1h").options(unique=True).submit(1)
    assert submitted(engine)["unique"] == {"window": "1h"}
    for wrong in (lambda: count.options(unique=False, unique_window="2h"), lambda: app.task(unique_scope="queue")):
        with pytest.raises(InvalidError, match="says nothing without unique=True"):
            wrong()


def test_a_unique_call_is_the_same_whether_it_gives_a_default_or_not(app: Buquet, engine: FakeEngine) -> None:
    nothing: Any = object()

    @app.task(unique=True)
    def count(a: int = 1, b: str = "x", c: Any = nothing, *rest: int, d: int | None = None, **more: int) -> None:
        """Have parameters of all kinds."""

    whole = {"a": 1, "b": "x", "d": None}
    count.submit()
    assert submitted(engine)["input"] == whole
    count.submit(d=None, a=1)
    assert submitted(engine)["input"] == whole
    assert list(submitted(engine)["input"]) == list(whole)
    count.options(idempotency_key="k").submit(b="x")
    assert submitted(engine)["input"] == whole
    count.options(unique=False).submit()
    assert submitted(engine)["input"] == {}
    count.submit(2, "y", 3, 4, d=5, e=6)
    assert submitted(engine)["input"] == {"a": 2, "b": "y", "c": 3, "rest": [4], "d": 5, "more": {"e": 6}}


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
