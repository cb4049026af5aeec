"""Schemas hold for inputs that the engine cannot look into once stored: encrypted, compressed, or very long."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, InvalidError, group, group_async
from buquet.codecs import AesGcm, Zstd

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^[a-z]*$"}}}
CHAINS: dict[str, list[Any]] = {
    "plain": [],
    "zstd": [Zstd()],
    "sealed": [AesGcm({"k": os.urandom(32)}, primary="k")],
}
LONG = 5 * 1024 * 1024


def make_app(tmp_path: Path, codecs: list[Any]) -> Buquet:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=codecs)

    @app.task(schema=SCHEMA)
    def shout(text: str) -> str:
        return text.upper()

    app.publish_schemas()
    return app


@pytest.fixture(params=CHAINS)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Buquet:
    """An app with a task of a schema that is stricter than its annotations."""
    return make_app(tmp_path, CHAINS[request.param])


@pytest.mark.parametrize("size", [3, 100_000, LONG])
def test_an_input_that_does_not_fit_is_refused_however_it_would_be_stored(app: Buquet, size: int) -> None:
    shout = app.tasks["shout"]
    wrong, right = "A" * size, "a" * size
    for submit in (
        lambda: shout.submit(wrong),
        lambda: shout.map([right, wrong]),
        lambda: group(shout.bind(right), shout.bind(wrong)),
    ):
        with pytest.raises(InvalidError, match="at /text"):
            submit()
    with app.worker():
        assert shout.submit(right).result(timeout=60) == wrong


@pytest.mark.parametrize("size", [3, LONG])
async def test_so_it_is_in_async_code(app: Buquet, size: int) -> None:
    shout, queue = app.tasks["shout"], app.queue
    wrong = {"text": "A" * size}
    with pytest.raises(InvalidError, match="at /text"):
        await shout.submit_async(wrong["text"])
    with pytest.raises(InvalidError, match="at /text"):
        await queue.submit("shout", wrong)
    with pytest.raises(InvalidError, match="at /text"):
        await queue.submit_many("shout", [wrong])
    with pytest.raises(InvalidError, match="at /text"):
        await group_async(queue.bind("shout", wrong))
    assert (await queue.list()).tasks == []
    assert await queue.submit("other", wrong)


def test_the_error_tells_the_place_and_of_what_is_secret_not_the_value(tmp_path: Path) -> None:
    app = make_app(tmp_path, CHAINS["sealed"])
    with pytest.raises(InvalidError) as refused:
        app.tasks["shout"].submit("HUSH")
    assert "at /text" in str(refused.value)
    assert "HUSH" not in str(refused.value)
    with pytest.raises(InvalidError, match="LOUD"):
        Buquet(f"sqlite:{tmp_path}/q.db", codecs=CHAINS["zstd"]).task(name="shout")(_any).submit("LOUD")


def _any(text: str) -> str:
    return text


async def test_a_bound_task_that_is_unique_by_what_is_secret_is_refused(tmp_path: Path) -> None:
    app = make_app(tmp_path, CHAINS["sealed"])
    with pytest.raises(InvalidError, match="to be kept"):
        app.queue.bind("shout", {"text": "a"}, unique=True)
