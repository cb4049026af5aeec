"""Groups of calls on a fake engine: what is submitted together, and what is refused before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from buquet import ArgumentError, Buquet, InvalidError, TaskCall, TaskFunction, UnavailableError, group, group_async
from buquet.codecs import Zstd

if TYPE_CHECKING:
    from buquet import Queue
    from tests.unit.fake_engine import FakeEngine

Add: TypeAlias = TaskFunction[[int, int], int]
Spell: TypeAlias = TaskFunction[[int], str]


@pytest.fixture
def add(app: Buquet) -> Add:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    return add


@pytest.fixture
def spell(app: Buquet) -> Spell:
    @app.task
    def spell(number: int) -> str:
        return f"number {number}"

    return spell


def test_calls_of_several_tasks_are_one_operation_each_and_results_keep_the_order(
    app: Buquet, engine: FakeEngine, add: Add, spell: Spell
) -> None:
    calls: list[TaskCall[int | str]] = []
    for n in range(150):
        calls += [add.bind(n, 1), spell.bind(n)]
    assert not engine.calls
    members = group(*calls)
    assert [len(request["inputs"]) for request in engine.requests("submit_many")] == [150, 150]
    assert not engine.requests("submit")
    with app.worker():
        results = members.results(timeout=60)
    assert results == [value for n in range(150) for value in (n + 1, f"number {n}")]
    assert all(handle.created for handle in members)


def test_what_is_the_only_call_with_its_options_goes_alone_beside_the_others(
    engine: FakeEngine, add: Add, spell: Spell
) -> None:
    tagged = [spell.options(tags=[f"n-{n}"]).bind(n) for n in range(3)]
    first, again = add.options(priority=9), add.options(priority=9)
    group(*tagged, first.bind(1, 2), add.bind(3, 4), again.bind(5, 6), spell.options(parent=None).bind(0))
    assert [request.get("tags") for request in engine.requests("submit")] == [["n-0"], ["n-1"], ["n-2"], None, None]
    (many,) = engine.requests("submit_many")
    assert (many["priority"], many["inputs"]) == (9, [{"a": 1, "b": 2}, {"a": 5, "b": 6}])


def test_handles_groups_and_calls_are_joined_in_their_order(engine: FakeEngine, add: Add, spell: Spell) -> None:
    handle, mapped = spell.submit(1), spell.map([2, 3])
    members = group(add.bind(1, 1), mapped, add.bind(2, 2), handle)
    inputs = [engine.tasks[task_id]["input"] for task_id in members.ids]
    assert inputs == [{"a": 1, "b": 1}, {"number": 2}, {"number": 3}, {"a": 2, "b": 2}, {"number": 1}]
    call = add.bind(7, 7)
    assert len(group(call, call)) == 2
    assert len(group(handle, mapped)) == 3


async def test_async_code_and_the_plain_level_have_the_same(app: Buquet, queue: Queue, engine: FakeEngine) -> None:
    @app.task(name="negate")
    async def negate(number: int) -> int:
        return -number

    async with app.worker():
        members = await group_async(
            negate.bind(1),
            queue.bind("negate", {"number": 2}, max_retries=7, tags=["plain"]),
            queue.bind("negate", {"number": 3}, max_retries=7, tags=["plain"]),
            await queue.submit("negate", {"number": 4}),
        )
        assert await members == [-1, -2, -3, -4]
    (many,) = engine.requests("submit_many")
    assert (many["retry"], many["tags"], len(many["inputs"])) == ({"max_retries": 7}, ["plain"], 2)
    with pytest.raises(InvalidError, match="max_retries"):
        queue.bind("negate", max_retries=-1)


def test_wrong_arguments_fail_where_they_are_bound(engine: FakeEngine, add: Add) -> None:
    call: Any = add.bind
    with pytest.raises(ArgumentError, match="add"):
        call(1)
    with pytest.raises(BaseException, match="b"):
        call(1, b=object())
    assert not engine.calls


def test_what_cannot_be_joined_is_refused_before_anything_is_submitted(engine: FakeEngine, add: Add) -> None:
    elsewhere = Buquet("memory:").handle("task-1")
    wrong: list[tuple[Any, str]] = [
        ("task-1", "not of 'task-1'"),
        (add, "not of <task 'add'>"),
        (elsewhere, "of another queue"),
    ]
    for member, said in wrong:
        with pytest.raises(InvalidError, match=said):
            group(add.bind(1, 2), member)
    handle = add.submit(1, 2)
    with pytest.raises(InvalidError, match="twice"):
        group(add.bind(1, 2), handle, handle)
    assert [op for op, _ in engine.calls] == ["submit"]


def test_unique_calls_go_one_by_one(engine: FakeEngine, add: Add) -> None:
    once = add.options(unique=True)
    group(once.bind(1, 1), once.bind(2, 2), add.bind(3, 3), add.bind(4, 4))
    assert [request["unique"] for request in engine.requests("submit")] == [{}, {}]
    assert len(engine.requests("submit_many")) == 1


def test_the_first_error_in_order_is_raised_once_all_were_tried(engine: FakeEngine, add: Add, spell: Spell) -> None:
    engine.fail_next("submit", UnavailableError("first"))
    engine.fail_next("submit", UnavailableError("second"))
    with pytest.raises(UnavailableError, match="first"):
        group(add.bind(1, 1), spell.bind(1), spell.options(priority=1).bind(2))
    assert len(engine.requests("submit")) == 3


async def test_of_very_many_some_are_not_begun_once_one_has_failed(engine: FakeEngine, spell: Spell) -> None:
    calls = [spell.options(metadata={"n": str(n)}).bind(n) for n in range(1_200)]
    assert len(group(*calls)) == 1_200
    engine.fail_next("submit", UnavailableError("the store is away"))
    with pytest.raises(UnavailableError):
        await group_async(*calls)
    assert len(engine.requests("submit")) == 2_200


def test_many_inputs_of_one_task_are_several_operations(
    engine: FakeEngine, spell: Spell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buquet._ops.SUBMIT_MANY_LIMIT", 4)
    members = group(*(spell.bind(n) for n in range(10)))
    assert [len(request["inputs"]) for request in engine.requests("submit_many")] == [4, 4, 2]
    assert [engine.tasks[task_id]["input"]["number"] for task_id in members.ids] == list(range(10))


def test_calls_of_clients_with_other_codecs_are_not_joined(engine: FakeEngine, add: Add) -> None:
    sealed = Buquet(codecs=[Zstd()])

    @sealed.task
    def secret(content: bytes) -> int:
        return len(content)

    with pytest.raises(InvalidError, match="other codecs"):
        group(add.bind(1, 2), secret.bind(b"x" * 40_000))
    assert not engine.calls


def test_whether_inputs_fit_is_asked_once_a_type_and_nothing_is_handed_over_where_there_is_no_schema(
    engine: FakeEngine, add: Add, spell: Spell
) -> None:
    calls = [call for n in range(1_500) for call in (add.bind(n, 1), spell.bind(n))]
    group(*calls)
    assert [(check["type"], check["inputs"]) for check in engine.requests("schema.check")] == [
        ("add", []),
        ("spell", []),
    ]
    engine.schemas["spell"] = {"input": {"type": "object"}}
    group(*calls)
    checks = [(check["type"], len(check["inputs"])) for check in engine.requests("schema.check")[2:]]
    assert checks == [("add", 0), ("spell", 0), ("spell", 1_000), ("spell", 500)]


def test_what_a_single_operation_stores_the_engine_checks_by_itself(engine: FakeEngine, spell: Spell) -> None:
    engine.schemas["spell"] = {"input": {"type": "object"}}
    spell.map(range(3))
    spell.submit(1)
    group(spell.bind(1), spell.bind(2))
    assert not engine.requests("schema.check")
