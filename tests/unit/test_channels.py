"""One completion that cannot be read fails alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from buquet import BuquetError, ClosedError, DecodeError, Queue, UnavailableError, WaitTimeoutError, _loop_channel
from buquet._channels import read_completions
from buquet.errors import from_code
from tests.unit.fake_engine import FakeQueue

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine

DEEP = "[" * 100_000 + "]" * 100_000  # beyond what any Python decodes
POISON = [DEEP, r'"\ud800"', r'{"a,]": "\ud800", "b": [1, 2]}']


@pytest.mark.parametrize("poison", POISON, ids=["deep", "surrogate", "surrogate with marks in strings"])
def test_a_completion_that_cannot_be_read_fails_alone(poison: str) -> None:
    drained = '[{"token":1,"ok":[1,{"a":"],\\""}]},{"token":2,"ok":POISON},{"token":3,"ok":"x"}]'.replace(
        "POISON", poison
    )
    first, second, third = read_completions(drained.encode())
    assert (first.token, bytes(first.ok)) == (1, b'[1,{"a":"],\\""}]')
    assert second.token == 2
    assert second.error is not None
    assert second.error.code == "decode"
    assert (third.token, bytes(third.ok)) == (3, b'"x"')


@pytest.mark.parametrize("poison", [DEEP, r'{"id":"\ud800"}', '{"id": 1e999}'], ids=["deep", "surrogate", "number"])
async def test_awaits_of_the_same_batch_get_their_answers(
    queue: Queue, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    engine_queue: list[FakeQueue] = []
    opened = engine.open_queue

    def open_queue() -> FakeQueue:
        engine_queue.append(opened())
        drain = engine_queue[0].drain

        def poisoned(limit: int) -> bytes:
            good = b'"token": 1, "ok": {"id": "task-1"}'
            return (drain(limit) or b"[]").replace(good, b'"token":1,"ok":' + poison.encode())

        monkeypatch.setattr(engine_queue[0], "drain", poisoned)
        return engine_queue[0]

    monkeypatch.setattr(engine, "open_queue", open_queue)
    bad, good = await asyncio.wait_for(
        asyncio.gather(queue.submit("a"), queue.submit("b"), return_exceptions=True), timeout=10
    )
    assert isinstance(bad, DecodeError)
    assert not isinstance(good, BaseException)
    assert good.id == "task-2"


async def test_more_calls_than_a_queue_takes_wait_for_their_turn(
    queue: Queue, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loop_channel, "MOST_IN_FLIGHT", 4)
    in_flight: set[int] = set()
    most = 0
    accept, complete = engine.accept, FakeQueue.complete

    def accepting(at: FakeQueue, op: str, request: object, token: int) -> None:
        nonlocal most
        in_flight.add(token)
        most = max(most, len(in_flight))
        accept(at, op, request, token)

    def completing(self: FakeQueue, completion: dict[str, Any]) -> None:
        in_flight.discard(completion["token"])
        complete(self, completion)

    monkeypatch.setattr(engine, "accept", accepting)
    monkeypatch.setattr(FakeQueue, "complete", completing)
    waits = [queue.wait(await queue.submit("t"), timeout=0.01) for _ in range(20)]
    gathered = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(answer) for answer in gathered] == [WaitTimeoutError] * 20
    assert most == 4


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("overloaded", UnavailableError),
        ("resources", UnavailableError),
        ("forked", ClosedError),
        ("decode", DecodeError),
    ],
)
def test_the_librarys_own_codes_have_their_exceptions(code: str, kind: type[BuquetError]) -> None:
    assert type(from_code(code, "why")) is kind


def test_what_the_engine_tells_besides_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    notices = b'[{"level":"info","message":"a new queue"},{"level":"warning","message":"among others"}]'
    with caplog.at_level("INFO", "buquet.engine"):
        assert len(read_completions(b'[{"token":1,"ok":{},"notices":' + notices + b"}]")) == 1
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "a new queue"),
        ("WARNING", "among others"),
    ]
