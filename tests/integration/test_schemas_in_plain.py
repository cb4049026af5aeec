"""Schemas hold for inputs that the engine cannot look into (encrypted, compressed, very long), and for all at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, InvalidError, TaskCall, group, group_async
from buquet.codecs import AesGcm, Zstd
from tests.support.objects import InFile

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


def test_of_very_many_none_is_stored_where_one_does_not_fit_and_the_error_counts_all(app: Buquet) -> None:
    shout, plain = app.tasks["shout"], app.task(_any)
    first, second = [*["a"] * 12_000, "A"], ["A", *["a"] * 12_000]
    both: list[TaskCall[str]] = [call for text in ["a", "A"] for call in (plain.bind(text), shout.bind(text))]
    tagged = [shout.options(tags=[text]).bind(text) for text in "abC"]
    for submit, said in (
        (lambda: shout.map(first), "12000 of 12001"),
        (lambda: shout.map(second), "0 of 12001"),
        (lambda: group(*map(shout.bind, first)), "12000 of 12001"),
        (lambda: group(*both), "3 of 4"),
        (lambda: group(*tagged), "2 of 3"),
        (lambda: shout.map(["a", "a" * LONG, "A"]), "2 of 3"),
        (lambda: shout.map(["a" * LONG, "A" * LONG, "a"]), "1 of 3"),
    ):
        with pytest.raises(InvalidError, match=f"^input number {said}: the input .* at /text"):
            submit()
    assert app.list().tasks == []


async def test_so_it_is_at_the_plain_level(app: Buquet) -> None:
    queue, wrong = app.queue, {"text": "A"}
    with pytest.raises(InvalidError, match="input number 12000 of 12001"):
        await queue.submit_many("shout", [*[{"text": "a"}] * 12_000, wrong])
    with pytest.raises(InvalidError, match="input number 1 of 2"):
        await group_async(queue.bind("other"), queue.bind("shout", wrong))
    assert (await queue.list()).tasks == []


@pytest.mark.parametrize("codecs", CHAINS.values(), ids=CHAINS)
def test_no_payload_is_stored_where_an_input_does_not_fit(codecs: list[Any], tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=codecs)

    @app.task(schema={"type": "object", "properties": {"name": {"maxLength": 3}}})
    def store(name: str, content: bytes) -> None:
        del name, content

    app.publish_schemas()
    objects, content = InFile(tmp_path / "q.db"), os.urandom(100_000)
    for submit in (
        lambda: store.submit("long", content),
        lambda: store.starmap([("a", content), ("long", b"")]),
        lambda: group(store.bind("a", content), store.bind("long", b"")),
    ):
        with pytest.raises(InvalidError, match="at /name"):
            submit()
    assert objects.keys("payloads/") == []
    objects.close()
