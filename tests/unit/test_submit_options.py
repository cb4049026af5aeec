"""What is told of a task at its submit, and what a handler or a declaration says unless told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, InvalidError, TaskHandle

if TYPE_CHECKING:
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
