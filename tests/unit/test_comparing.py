"""Whether a task of the same key is the same one, asked step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from buquet import ConflictError, Task, TaskStatus, _ops
from buquet._address import Config
from buquet._chain import Chain, Marker, Place, envelope
from buquet._client import Client
from buquet._comparing import compare
from buquet._models import Payload
from buquet._options import submit_options
from buquet.codecs import AesGcm, Zstd

if TYPE_CHECKING:
    from buquet._client import Call
    from tests.unit.fake_engine import FakeEngine

ZSTD = Chain((Zstd(),))
SEALED = Chain((Zstd(), AesGcm({"k": b"k" * 32}, primary="k")))
LARGE = Payload(owner="o", id="p", bytes=40_000, pieces=1, sha256="")


def sealed(chain: Chain, value: object) -> bytes:
    data = chain.encode(msgspec.json.encode(value), Place("input", "t").context())
    return envelope(Marker(codec=chain.names, data=data))


def asked(chain: Chain, encoded: bytes, first: Any, payload: bytes = b"", **about: Any) -> list[str]:
    """The operations it takes; ``first`` is the input of the task that is stored."""
    task = Task(id="i", type="t", status=TaskStatus.PENDING, input=first, key="order 7", **about)
    ops: list[str] = []
    steps = compare(chain, "i", "t", encoded)
    try:
        call: Call[Any, Any] = next(steps)
        while True:
            ops.append(call.op)
            call = steps.send(task if call.op == "get" else payload)
    except StopIteration:
        return ops


def test_plain_and_encoded_inputs_are_compared_in_plain_and_one_spelling() -> None:
    value = {"b": 1, "a": "é"}
    for chain in (ZSTD, SEALED):
        assert asked(chain, sealed(chain, value), {"a": "é", "b": 1}) == ["get"]
        assert asked(chain, b'{"a":"\\u00e9", "b":1}', msgspec.json.decode(sealed(chain, value))) == ["get"]
        for other in ({"a": "é"}, {"a": "é", "b": 1.0}, {"a": "é", "b": True}, None):
            with pytest.raises(ConflictError, match=r'key "order 7" belongs to task i, a "t"'):
                asked(chain, sealed(chain, value), other)


def test_a_large_plain_input_is_read_where_it_lies() -> None:
    payload = msgspec.json.encode("x" * 40_000)
    assert asked(ZSTD, sealed(ZSTD, "x" * 40_000), None, payload, input_ref=LARGE) == ["get", "payload.read"]
    with pytest.raises(ConflictError) as caught:
        asked(ZSTD, sealed(ZSTD, "x" * 40_001), None, payload, input_ref=LARGE)
    assert len(str(caught.value)) < 500


def test_a_conflict_shows_inputs_only_where_nothing_hides_them() -> None:
    for chain, shows in ((ZSTD, True), (SEALED, False)):
        with pytest.raises(ConflictError) as caught:
            asked(chain, sealed(chain, "ours"), "theirs")
        assert ('"ours"' in str(caught.value), '"theirs"' in str(caught.value)) == (shows, shows)


def test_what_cannot_be_decoded_or_is_gone_is_left_to_the_engine() -> None:
    assert asked(ZSTD, sealed(ZSTD, "x"), msgspec.json.decode(sealed(SEALED, "x"))) == ["get"]


def _found(_request: Any) -> dict[str, Any]:
    return {"id": "task-99", "created": False}


async def test_a_task_that_is_gone_is_compared_with_nothing(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(Config(), opener=lambda _: engine, codecs=[Zstd()])
    monkeypatch.setattr(engine, "_op_submit", _found)
    call = _ops.submit("t", sealed(ZSTD, "x"), submit_options(about={"idempotency_key": "k"}))
    assert client.call(call).id == (await client.call_async(call)).id == "task-99"
    assert [request["ids"] for request in engine.requests("get")] == [["task-99"]] * 2
    await client.close_async()
