"""Schedules in Python: what is declared, what is asked of the engine, and what a worker says at its start."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buquet import ArgumentError, Buquet, InvalidError, NotFoundError, Queue, TaskContext, Worker, _schedules
from buquet._address import Config
from buquet._client import Client
from buquet._task import AsyncTaskFunction, TaskFunction
from buquet.codecs import AesGcm, Codec, Zstd
from tests.support.processes import clean_environment
from tests.unit.fake_schedules import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.fake_engine import FakeEngine

MODULE = __name__
START = datetime(2026, 11, 25, tzinfo=UTC)


async def synced(app: Buquet, engine: FakeEngine) -> list[dict[str, Any]]:
    """Start a worker, and give what it declared."""
    async with app.worker():
        pass
    (request,) = engine.requests("schedule.sync")
    assert request["modules"] == [MODULE]
    return request["schedules"]


def encoding(engine: FakeEngine, codec: Codec) -> Buquet:
    """Give an app on the fake engine whose values pass through a codec."""
    app = Buquet()
    app._client = Client(Config(), codecs=[codec], opener=lambda _: engine)  # pyright: ignore[reportPrivateUsage]
    return app


async def test_a_function_becomes_a_task_with_a_schedule(app: Buquet, engine: FakeEngine) -> None:
    @app.cron("0 9 * * mon-fri", timezone="Europe/Berlin")
    def report() -> str:
        return "sent"

    @app.every("15m", overlap="skip")
    async def poll(ctx: TaskContext) -> int:
        return ctx.attempt

    assert isinstance(report, TaskFunction)
    assert isinstance(poll, AsyncTaskFunction)
    assert report() == "sent"
    assert sorted(app.tasks) == ["poll", "report"]
    first, second = await synced(app, engine)
    assert first["name"] == first["type"] == "report"
    assert (first["cron"], first["timezone"], first["input"]) == ("0 9 * * mon-fri", "Europe/Berlin", {})
    assert (second["every"], second["overlap"], second["module"]) == ("15m", "skip", MODULE)
    assert "timezone" not in second


async def test_a_task_keeps_its_options_and_gets_arguments(app: Buquet, engine: FakeEngine) -> None:
    @app.cron("@daily", name="cats", arguments={"path": "cat.png"}, catch_up="all", catch_up_limit=7, jitter="1m")
    @app.cron("@daily", name="dogs", arguments={"path": "dog.png", "size": 1})
    @app.task(retries=5, timeout="2m", priority=9, delay="10m")
    def thumbnail(path: str, size: int = 256) -> str:
        return f"{path}@{size}"

    dogs, cats = await synced(app, engine)
    assert thumbnail("a") == "a@256"
    assert dogs["input"] == {"path": "dog.png", "size": 1}
    assert {name: cats[name] for name in ("name", "type", "timeout", "priority", "retry")} == {
        "name": "cats",
        "type": "thumbnail",
        "timeout": "2m",
        "priority": 9,
        "retry": {"max_retries": 5},
    }
    assert (cats["catch_up"], cats["catch_up_limit"], cats["jitter"]) == ("all", 7, "1m")
    assert "delay" not in cats


def test_what_cannot_be_is_refused_where_it_is_declared(app: Buquet) -> None:
    @app.cron("@daily")
    @app.task
    def report(day: str = "today") -> str:
        return day

    with pytest.raises(InvalidError, match="two schedules are named 'report'"):
        app.every("1h")(report)
    with pytest.raises(ArgumentError):
        app.every("1h", name="other", arguments={"colour": "red"})(report)
    with pytest.raises(InvalidError, match="overlap='never'"):
        app.every("1h", overlap="never")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="catch_up='some'"):
        app.every("1h", catch_up="some")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match="every='often'"):
        app.every("often")
    with pytest.raises(InvalidError, match="cron= must be text"):
        app.cron(5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("bad", ["a b", "", "x" * 129, "a..b", ".a", 7])
def test_a_name_that_cannot_be_is_refused_where_it_is_declared(app: Buquet, queue: Queue, bad: Any) -> None:
    def report(_: Any = None) -> None: ...

    worker = Worker(queue)
    for declare in (
        lambda: app.cron("@daily", name=bad)(report),
        lambda: app.every("1h", name=bad)(report),
        lambda: worker.cron("@daily", "report", name=bad)(report),
        lambda: worker.every("1h", "report", name=bad)(report),
    ):
        with pytest.raises(InvalidError, match="cannot be a schedule's name: use 1 to 128") as refused:
            declare()
        assert str(refused.value).startswith(repr(bad))
    with pytest.raises(InvalidError, match="cannot be a task type"):
        worker.cron("@daily", bad)
    assert app.declarations.names == worker.declarations.names == []


def test_a_task_of_another_app_is_refused_where_it_is_declared(app: Buquet) -> None:
    other = Buquet()

    @other.task
    def report() -> None: ...

    for task in (report, report.options(priority=9)):
        with pytest.raises(InvalidError, match=r"'report' of .*\.report belongs to another app: declare its schedule"):
            app.every("2s")(task)
    assert app.declarations.names == []
    other.every("2s")(report.options(priority=9))
    assert other.declarations.names == ["report"]


def test_what_is_no_function_is_refused_where_it_is_declared(app: Buquet) -> None:
    for wrong in (None, 5, "report"):
        with pytest.raises(InvalidError, match=f"a task is a plain or async function, not {wrong!r}"):
            app.cron("0 9 * * *")(wrong)  # pyright: ignore[reportArgumentType,reportCallIssue]
    with pytest.raises(InvalidError, match=r"arguments=\[1\] must map the function's parameters to values"):
        app.cron("0 9 * * *", arguments=[1])  # pyright: ignore[reportArgumentType]


def test_a_task_decorator_above_a_schedule_says_to_swap_the_two(app: Buquet) -> None:
    @app.every("1h")
    def report() -> None: ...

    for decorate in (app.task, app.task(retries=5)):
        with pytest.raises(InvalidError, match="<task 'report'> is a task already: give @app"):
            decorate(report)


def test_a_limit_of_what_is_caught_up_with_needs_all(app: Buquet) -> None:
    with pytest.raises(InvalidError, match='catch_up_limit=7 says nothing without catch_up="all"'):
        app.every("1h", catch_up_limit=7)
    with pytest.raises(InvalidError, match="says nothing"):
        app.every("1h", catch_up="none", catch_up_limit=7)


async def test_a_plain_worker_declares_schedules_too(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.cron("0 3 * * *", "clean_up", input={"days": 7})
    def clean_up(input: Any) -> None: ...  # noqa: A002

    @worker.every(timedelta(minutes=1), "poll", name="polling")
    async def poll() -> None: ...

    async with worker:
        pass
    (request,) = engine.requests("schedule.sync")
    first, second = request["schedules"]
    assert (first["name"], first["type"], first["input"], first["cron"]) == (
        "clean_up",
        "clean_up",
        {"days": 7},
        "0 3 * * *",
    )
    assert (second["name"], second["type"], second["every"]) == ("polling", "poll", 60.0)


async def test_a_worker_tells_of_schedules_that_code_declares_no_more(
    app: Buquet, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def report() -> None: ...

    gone = {
        "name": "old",
        "id": "0" * 16,
        "type": "report",
        "created_at": NOW,
        "changed_at": NOW,
        "declared_in": MODULE,
    }
    engine.sync_answer = {"created": ["new"], "changed": [], "missing": [gone]}
    with caplog.at_level(logging.INFO, "buquet.worker"):
        assert await synced(app, engine) == []
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "'old' was declared in" in warning
    assert "buquet schedules delete old" in warning
    assert "schedules created: new" in caplog.text


async def test_a_worker_starts_though_a_schedule_of_its_own_is_damaged_and_says_so(
    app: Buquet, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @app.every("1h")
    def report() -> None: ...

    key = "schedules/report.json"
    engine.sync_answer = {"corrupt": [{"key": key, "message": f"{key} is not a valid schedule"}]}
    assert len(await synced(app, engine)) == 1
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"does not fire: {key}" in warning


async def test_a_worker_asks_for_modules_of_its_package_that_are_gone(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def report() -> None: ...

    package = MODULE.partition(".")[0]
    engine.sync_answer |= {"modules": [MODULE, "os.path", "elsewhere.jobs", f"{package}.jobs", f"{package}.gone.deep"]}
    async with app.worker():
        pass
    asked = [request["modules"] for request in engine.requests("schedule.sync")]
    assert asked == [[MODULE], sorted([MODULE, f"{package}.jobs", f"{package}.gone.deep"])]


def test_a_module_is_looked_for_and_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "proj_of_two" / "other"
    other.mkdir(parents=True)
    (tmp_path / "proj_of_two" / "__init__.py").touch()
    (other / "__init__.py").write_text("raise KeyError('not for this worker')")
    (other / "jobs.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    gone = ["proj_of_two.gone", "proj_of_two.other.gone", "proj_of_two.gone.jobs"]
    for name, is_so in [("proj_of_two.other.jobs", False), ("elsewhere.jobs", False), *((name, True) for name in gone)]:
        assert _schedules.is_gone(name, {"proj_of_two.web"}) is is_so, name


def test_a_script_counts_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "sa.py"
    script.write_text("from buquet._schedules import module_of\ndef job(): ...\nprint(module_of(job))\n")
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=clean_environment())
    assert told.stdout == "sa.py\n"


@pytest.mark.parametrize("bad", ["0s", 0.5, "400d"])
def test_an_interval_that_cannot_be_is_refused_where_it_is_declared(app: Buquet, bad: str | float) -> None:
    with pytest.raises(InvalidError, match="366 days"):
        app.every(bad)


async def test_a_worker_does_not_start_with_a_schedule_that_is_refused(app: Buquet, engine: FakeEngine) -> None:
    @app.cron("never")
    def report() -> None: ...

    engine.fail_next("schedule.sync", InvalidError("schedule 'report': \"never\" is no cron expression"))
    with pytest.raises(InvalidError, match="no cron expression"):
        async with app.worker():
            pass
    assert engine.requests("worker.stop"), "it has signed off"


async def test_an_input_that_codecs_keep_secret_is_no_schedules(engine: FakeEngine) -> None:
    sealed = encoding(engine, AesGcm({"k": b"k" * 32}, primary="k"))
    with pytest.raises(InvalidError, match="'nightly' would be stored in plain, and the codecs aes-gcm"):
        await sealed.queue.create_schedule("nightly", "pay", {"card": "4111"}, every="1d")
    with pytest.raises(InvalidError, match="'nightly' would be stored in plain, and the codecs aes-gcm"):
        sealed.schedules.create("nightly", "pay", {"card": "4111"}, every="1d")
    await sealed.queue.create_schedule("nightly", "pay", every="1d")
    assert [request["input"] for request in engine.requests("schedule.put")] == [None]

    @sealed.every("1h", arguments={"card": "4111"})
    def pay(card: str) -> None: ...

    with pytest.raises(InvalidError, match="'pay' would be stored in plain"):
        async with sealed.worker():
            pass
    assert engine.requests("schedule.sync") == []


async def test_an_input_that_is_only_compressed_may_be_a_schedules(engine: FakeEngine) -> None:
    smaller = encoding(engine, Zstd())
    await smaller.queue.create_schedule("nightly", "pay", {"card": "4111"}, every="1d")
    assert [request["input"] for request in engine.requests("schedule.put")] == [{"card": "4111"}]


async def test_a_queue_creates_looks_and_deletes(queue: Queue, engine: FakeEngine) -> None:
    schedule = await queue.create_schedule(
        "reports", "report", {"n": 1}, cron="@daily", timezone="Europe/Berlin", max_retries=1, replace=True
    )
    (request,) = engine.requests("schedule.put")
    assert request["retry"] == {"max_retries": 1}
    assert (request["replace"], "enabled" in request) == (True, False)
    assert (schedule.name, schedule.cron, schedule.enabled) == ("reports", "@daily", True)
    assert schedule.next == datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert (await queue.list_schedules()).schedules == [schedule]
    assert (await queue.get_schedule("reports")) == schedule
    assert not (await queue.disable_schedule("reports")).enabled
    assert (await queue.enable_schedule("reports")).enabled
    assert (await queue.trigger_schedule("reports")).id == "task-of-a-trigger"
    filled = await queue.backfill_schedule("reports", START, START + timedelta(days=1))
    assert (filled[0].slot, filled[0].created) == (START, True)
    assert len(await queue.preview_schedule("reports", count=3)) == 3
    await queue.delete_schedule("reports")
    with pytest.raises(NotFoundError):
        await queue.get_schedule("reports")


async def test_arguments_that_contradict_each_other_are_refused(queue: Queue, engine: FakeEngine) -> None:
    with pytest.raises(InvalidError, match="cron= or every="):
        await queue.create_schedule("a", "t")
    with pytest.raises(InvalidError, match="cron= or every="):
        await queue.create_schedule("a", "t", cron="@daily", every="1h")
    with pytest.raises(InvalidError, match="no timezone"):
        await queue.create_schedule("a", "t", every="1h", timezone="UTC")
    with pytest.raises(InvalidError, match="not both"):
        await queue.preview_schedule("a", cron="@daily")
    with pytest.raises(InvalidError, match="no time zone"):
        await queue.backfill_schedule("a", datetime(2026, 1, 1), START)  # noqa: DTZ001
    assert not engine.requests("schedule.put")


async def test_arguments_of_a_wrong_type_are_named_before_anything_is_asked(queue: Queue, engine: FakeEngine) -> None:
    calls: list[tuple[Any, str]] = [
        (lambda: queue.create_schedule(bad(5), "t", every="1m"), "5 cannot be a schedule's name"),
        (lambda: queue.create_schedule(bad(None), "t", every="1m"), "None cannot be a schedule's name"),
        (lambda: queue.create_schedule("a", bad(5), every="1m"), "5 cannot be a task type"),
        (lambda: queue.create_schedule("a", "t", every="1m", enabled=bad("yes")), "enabled='yes' must be True or"),
        (lambda: queue.create_schedule("a", "t", every="1m", replace=bad("yes")), "replace='yes' must be True or"),
        (lambda: queue.get_schedule(bad(5)), "name=5 must be text"),
        (lambda: queue.get_schedule(bad(None)), "name=None must be text"),
        (lambda: queue.delete_schedule(bad(5)), "name=5 must be text"),
        (lambda: queue.enable_schedule(bad(5)), "name=5 must be text"),
        (lambda: queue.disable_schedule(bad(5)), "name=5 must be text"),
        (lambda: queue.trigger_schedule(bad(5)), "name=5 must be text"),
        (lambda: queue.backfill_schedule(bad(5), START, START), "name=5 must be text"),
        (lambda: queue.preview_schedule(bad(5)), "name=5 must be text"),
        (lambda: queue.list_schedules(cursor=bad(5)), "cursor=5 must be text"),
        (lambda: queue.list_schedules(limit=bad("5")), "limit='5' must be a whole number from 1 to 1000"),
    ]
    for call, said in calls:
        with pytest.raises(InvalidError, match=f"^{said}"):
            await call()
    assert not engine.calls


def bad(value: object) -> Any:
    """Give an argument that its parameter is not made for."""
    return value


def test_an_app_looks_after_schedules_without_async_code(app: Buquet, engine: FakeEngine) -> None:
    created = app.schedules.create("reports", "t", {"n": 1}, cron="@daily", overlap="skip", max_retries=1, tags=["a"])
    assert (created.name, created.cron, created.overlap, created.input) == ("reports", "@daily", "skip", {"n": 1})
    (request,) = engine.requests("schedule.put")
    assert (request["retry"], request["tags"], request["replace"]) == ({"max_retries": 1}, ["a"], False)
    assert [schedule.name for schedule in app.schedules.list().schedules] == ["reports"]
    assert app.schedules.get("reports").type == "t"
    assert not app.schedules.disable("reports").enabled
    assert app.schedules.enable("reports").enabled
    assert app.schedules.trigger("reports").id == "task-of-a-trigger"
    assert app.schedules.backfill("reports", START, START + timedelta(days=1))[0].task == "task-1"
    assert len(app.schedules.preview(every="1h", count=2)) == 2
    app.schedules.delete("reports")
    assert not engine.schedules
