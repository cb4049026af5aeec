"""Runs are started, found, told things and waited for: on both levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from buquet import (
    ArgumentError,
    Buquet,
    ConflictError,
    EncodeError,
    InvalidError,
    NotFoundError,
    Queue,
    RunEndedError,
    WaitTimeoutError,
    WorkflowCancelledError,
    WorkflowFailedError,
)
from buquet.codecs import Zstd
from buquet.workflow import RunStatus, SyncWorkflowContext, WorkflowClient, WorkflowContext, WorkflowEngine
from tests.support.waiting import wait_until_async
from tests.unit.workflow.driven import act, chain, waits

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine


async def order(ctx: WorkflowContext, order_id: str, cents: int = 100) -> dict[str, int]:
    return {await ctx.step(act, order_id): cents}


def plain_order(ctx: SyncWorkflowContext, order_id: str) -> str:
    return ctx.step(act, order_id)


def test_a_workflow_of_an_app_is_started_and_gives_its_result(app: Buquet) -> None:
    declared = app.workflow(order)
    with app.worker():
        run = declared.start("o-1", cents=5)
        assert run.result(timeout=60) == {"O-1": 5}
        assert (run.created, run.status()) == (True, RunStatus.COMPLETED)


async def test_async_code_has_twins_for_everything(app: Buquet) -> None:
    declared = app.workflow(name="plain")(plain_order)
    async with app.worker():
        run = await declared.start_async("o-1")
        assert await run == "O-1"
        assert await run.status_async() is RunStatus.COMPLETED
        assert (await run.history_async()).entries[0]["name"] == "act"
        assert (await run.refresh_async()).workflow == "plain"


def test_options_stand_beside_the_arguments_or_before_them(app: Buquet, engine: FakeEngine) -> None:
    declared = app.workflow(tags=["shop"], timeout="30d")(order)
    declared.start("o-1", id="order-1")
    declared.options(id="order-2", priority=9).start("o-2")
    first, second = engine.requests("workflow.start")
    assert first == {
        "workflow": "order",
        "input": {"order_id": "o-1"},
        "id": "order-1",
        "tags": ["shop"],
        "timeout": "30d",
    }
    assert (second["id"], second["priority"], second["tags"]) == ("order-2", 9, ["shop"])


def test_what_a_body_has_a_parameter_for_is_an_argument(app: Buquet, engine: FakeEngine) -> None:
    async def named(ctx: WorkflowContext, id: str) -> str:  # noqa: A002 - the point
        return await ctx.step(act, id)

    declared = app.workflow(named)
    declared.start(id="an argument")
    declared.options(id="an option").start(id="an argument")
    first, second = engine.requests("workflow.start")
    assert (first.get("id"), first["input"]) == (None, {"id": "an argument"})
    assert (second["id"], second["input"]) == ("an option", {"id": "an argument"})


@pytest.mark.parametrize(
    ("args", "kwargs", "refusal"),
    [
        ((), {}, (ArgumentError, "order_id")),
        (("a", 1, 2), {}, (ArgumentError, "workflow 'order'")),
        (("a",), {"cent": 1}, (ArgumentError, "cent")),
        ((1,), {}, (EncodeError, "order_id")),
        ((order,), {}, (EncodeError, "order_id")),
        (("a",), {"id": 7}, (InvalidError, "id=7 must be text")),
        (("a",), {"on_existing": "replace"}, (InvalidError, "again_if_failed")),
        (("a",), {"timeout": "soon"}, (InvalidError, "timeout='soon'")),
        (("a",), {"priority": 10}, (InvalidError, "priority=10")),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_stored(
    app: Buquet, engine: FakeEngine, args: Any, kwargs: Any, refusal: tuple[type[Exception], str]
) -> None:
    declared: Any = app.workflow(order)
    with pytest.raises(refusal[0], match=refusal[1]):
        declared.start(*args, **kwargs)
    assert engine.calls == []


def test_a_second_start_of_a_name_finds_the_first(app: Buquet) -> None:
    declared = app.workflow(order)
    first, second = declared.start("o-1", id="one"), declared.start("o-1", id="one")
    assert first == second
    assert (first.created, second.created) == (True, False)
    with pytest.raises(ConflictError, match="another input"):
        declared.start("o-2", id="one")


def test_many_runs_are_started_together(app: Buquet, engine: FakeEngine) -> None:
    declared = app.workflow(order)
    with app.worker():
        runs = declared.start_many(["o-1", ("o-2", 7)])
        assert [run.result(timeout=60) for run in runs] == [{"O-1": 100}, {"O-2": 7}]
    assert len(engine.requests("workflow.start_many")) == 1
    with pytest.raises(InvalidError, match="one by one"):
        declared.options(id="one").start_many(["o-1"])
    with pytest.raises(InvalidError, match="not 'o-1'"):
        declared.start_many("o-1")


async def test_the_plain_level_starts_workflows_and_names(queue: Queue) -> None:
    client = WorkflowClient(queue)
    async with engine_for(queue):
        run = await client.start(chain, "a", id="r")
        assert await run == "A-1 A-2"
        assert await (await client.start("chain", {"name": "b"})) == "B-1 B-2"
        assert [await each for each in await client.start_many(chain, ["c"])] == ["C-1 C-2"]
        assert (await client.get("r")).key == "r"
        assert await client.handle("r", chain) == "A-1 A-2"
        page = await client.list(workflow=chain, status="completed", limit=2)
        assert len(page.runs) == 2
        assert await client.get_many(["r", "none"]) == [await client.get("r"), None]


def engine_for(queue: Queue) -> WorkflowEngine:
    engine = WorkflowEngine(queue)
    engine.register(chain, waits)
    return engine


async def test_a_run_that_fails_or_is_cancelled_says_so_to_whoever_waits(app: Buquet) -> None:
    async def breaks(ctx: WorkflowContext, what: str) -> None:
        if what == "wait":
            await ctx.wait_signal("never")
        raise LookupError(what)

    declared = app.workflow(breaks)
    async with app.worker():
        with pytest.raises(WorkflowFailedError, match="LookupError: fail") as caught:
            await (await declared.start_async("fail"))
        assert caught.value.run.status is RunStatus.FAILED
        assert "test_starting.py" in caught.value.__notes__[0]
        run = await declared.start_async("wait")
        await run.cancel_async("no longer")
        with pytest.raises(WorkflowCancelledError):
            await run


async def test_a_run_that_has_ended_hears_of_nothing_more(queue: Queue) -> None:
    client = WorkflowClient(queue)
    async with engine_for(queue):
        run = await client.start(chain, "a")
        await run
        with pytest.raises(RunEndedError, match="has ended as completed"):
            await run.signal_async("late")
        with pytest.raises(RunEndedError):
            await run.pause_async()
        assert (await run.cancel_async()).outcome == "ended"


async def test_what_does_not_exist_is_not_found(queue: Queue) -> None:
    client = WorkflowClient(queue)
    with pytest.raises(NotFoundError, match="no run nothing"):
        await client.get("nothing")
    with pytest.raises(NotFoundError):
        await client.signal("nothing", "hello")


async def test_a_wait_may_end_before_the_run(queue: Queue) -> None:
    run = await WorkflowClient(queue).start(waits)
    with pytest.raises(WaitTimeoutError):
        await run.result_async(timeout="1ms")


async def test_a_callback_is_completed_or_failed_by_its_token(app: Buquet) -> None:
    async def asks(ctx: WorkflowContext) -> str:
        signed, refused = ctx.callback(type=str), ctx.callback()
        ctx.publish("tokens", [signed.token, refused.token])
        said = await signed
        try:
            await refused
        except Exception as error:  # noqa: BLE001 - whatever it is
            said += f", {error}"
        return said

    declared = app.workflow(asks)
    client = WorkflowClient(app)
    async with app.worker():
        run = await declared.start_async()

        async def published() -> list[str] | None:
            return (await run.refresh_async()).published.get("tokens")

        tokens = await wait_until_async(published, within=60, what="the tokens to be published")
        await client.complete(tokens[0], "signed")
        await client.fail(tokens[1], "the bank says no")
        assert await run == "signed, CallbackFailed: the bank says no"


def test_declaring_refuses_what_can_be_no_workflow(app: Buquet) -> None:
    app.workflow(order)
    with pytest.raises(InvalidError, match="two workflows are named 'order'"):
        app.workflow(name="order")(plain_order)
    with pytest.raises(InvalidError, match="is started, not called"):
        app.workflow(order)("o-1")
    with pytest.raises(InvalidError, match="is no workflow"):
        app.register(order)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="do not pass through codecs"):
        Buquet("memory:", codecs=[Zstd()]).workflow(order)


def test_a_handle_says_what_other_engines_names_are_here(app: Buquet) -> None:
    run: Any = app.run_handle("r")
    with pytest.raises(AttributeError, match=r"\.refresh\(\)\.published"):
        _ = run.query
    assert run == app.run_handle("r")
    assert len({run, app.run_handle("r")}) == 1


def test_a_worker_takes_on_the_workflows_of_its_app_and_of_elsewhere(app: Buquet) -> None:
    app.workflow(order)
    app.register(chain)
    assert repr(app.worker()) == "Worker(['chain', 'order'])"
    assert set(app.workflows) == {"chain", "order"}
    for name in ("runs", "plain_bodies", "plain_steps"):
        with pytest.raises(InvalidError, match=f"{name}=0"):
            app.worker(**{name: 0})
