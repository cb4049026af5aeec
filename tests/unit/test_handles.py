"""Handles and listings, on the real engine."""

from __future__ import annotations

import copy
import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, NotFoundError, TaskCancelledError, TaskFailedError, TaskFunction, connect
from tests.support.objects import InFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def app_of(url: str) -> tuple[Buquet, TaskFunction[[int], int]]:
    app = Buquet(url)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    return app, double


async def test_handles_of_many_say_that_their_tasks_were_created() -> None:
    app, double = app_of("memory:")
    groups = [
        double.map([1, 2]),
        double.starmap([(1,)]),
        await double.map_async([3]),
        await double.starmap_async([(4,)]),
    ]
    groups.append(await app.queue.submit_many("double", [{"n": 5}]))
    assert [handle.created for members in groups for handle in members] == [True] * 6
    assert [handle.created for handle in double.group([groups[0][0].id])] == [None]
    assert double.handle(groups[0][0].id).created is None
    await app.close_async()


async def test_workers_that_cannot_be_read_are_listed_as_such(tmp_path: Path) -> None:
    objects = InFile(tmp_path / "queue.db")
    async with connect(f"sqlite:{tmp_path}/queue.db") as queue:
        await queue.info()
        objects.put("workers/4c8b2e5e-0000-8000-8000-000000000000.json", b"not JSON")
        page = await queue.workers()
    objects.close()
    assert page.workers == []
    assert [corrupt.key for corrupt in page.corrupt] == ["workers/4c8b2e5e-0000-8000-8000-000000000000.json"]


UNKNOWN = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000"


@pytest.mark.parametrize("record", ["that is there", "that is not"])
async def test_an_id_that_no_task_has_is_told_in_one_way(record: str) -> None:
    app, double = app_of("memory:")
    unknown = double.submit(1).id[:-1] + "7" if record == "that is there" else UNKNOWN
    handle, queue = double.handle(unknown), app.queue
    ways: list[Callable[[], Awaitable[Any]]] = [
        handle.status_async,
        handle.result_async,
        lambda: handle.result_async(timeout=20),
        handle.refresh_async,
        handle.cancel_async,
        handle.history_async,
        double.group([unknown]).results_async,
        lambda: queue.get(unknown),
        lambda: queue.wait(unknown, timeout=20),
        lambda: queue.history(unknown),
        lambda: queue.dead_letters.replay(unknown),
    ]
    for way in ways:
        with pytest.raises(NotFoundError) as caught:
            await way()
        assert str(caught.value) == f"there is no task {unknown} in this queue: it was purged, or is another queue's"
    await app.close_async()


def test_the_traceback_of_the_task_is_shown_with_the_error_of_its_result(caplog: pytest.LogCaptureFixture) -> None:
    app = Buquet("memory:")

    @app.task(retries=0)
    def broken() -> None:
        raise OSError("no\x1b[31m such\rfile\nERROR forged")

    with app.worker():
        handle = broken.submit()
        with pytest.raises(TaskFailedError) as caught:
            handle.result(timeout=20)
    logging.getLogger("test").error("failed", exc_info=caught.value)
    for text in ("".join(traceback.format_exception(caught.value)), caplog.text):
        assert 'in broken\n      raise OSError("no' in text
        assert "\n  OSError: no\\x1b[31m such\\rfile\n  ERROR forged" in text
    assert copy.copy(caught.value).__notes__ == caught.value.__notes__
    assert "Traceback" not in str(caught.value)
    app.close()


def test_an_error_without_a_traceback_has_no_note() -> None:
    app, double = app_of("memory:")
    handle = double.submit(1)
    handle.cancel("enough")
    with pytest.raises(TaskCancelledError) as caught:
        handle.result(timeout=20)
    assert not hasattr(caught.value, "__notes__")
    app.close()
