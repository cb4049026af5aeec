"""Handles and listings, on the real engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buquet import Buquet, TaskFunction, connect
from tests.support.objects import InFile

if TYPE_CHECKING:
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
