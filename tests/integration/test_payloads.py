"""Large values, bytes and files with a real engine; and what happens to those who meddle with them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import pytest
from msgspec import Meta

from buquet import (
    Buquet,
    CodecError,
    ConflictError,
    CorruptError,
    EncodeError,
    File,
    InvalidError,
    TaskFailedError,
    Worker,
    _ops,
    connect,
    group,
)
from buquet._codec import encode
from buquet._options import submit_options
from buquet.codecs import AesGcm, Zstd
from tests.support.objects import InFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY, OTHER = b"k" * 32, b"o" * 32
CHAINS: dict[str, list[Any]] = {
    "plain": [],
    "zstd": [Zstd()],
    "sealed": [Zstd(), AesGcm({"k": KEY}, primary="k")],
}
BIG = os.urandom(1_500_000)


@dataclass
class Order:
    number: int
    scan: File


@pytest.mark.parametrize("codecs", CHAINS.values(), ids=CHAINS)
def test_values_bytes_and_files_come_back_as_they_were(codecs: list[Any], tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=codecs)
    source = tmp_path / "source.bin"
    source.write_bytes(BIG)

    @app.task
    def flip(data: bytes) -> bytes:
        return data[::-1]

    @app.task
    async def echo(value: dict[str, str]) -> dict[str, str]:
        return value

    @app.task
    def copy(order: Order) -> Order:
        return Order(order.number + 1, File(order.scan.save(tmp_path / "copy.bin"), name="copy"))

    with app.worker():
        for data in (b"", b"abc", BIG):
            assert flip.submit(data).result(timeout=60) == data[::-1]
        for size in (1, 40_000, 200_000, 5_000_000):
            assert echo.submit({"v": "x" * size}).result(timeout=60) == {"v": "x" * size}
        order = copy.submit(Order(1, File(source))).result(timeout=60)
        assert (order.number, order.scan.name, order.scan.size, order.scan.read()) == (2, "copy", len(BIG), BIG)
        assert flip.map([b"a", BIG, b"b"]).results(timeout=60) == [b"a", BIG[::-1], b"b"]


def test_large_bytes_are_held_to_the_length_that_their_annotation_says(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db")

    @app.task
    def count(data: Annotated[bytes, Meta(min_length=3, max_length=len(BIG) - 1)]) -> int:
        return len(data)

    with app.worker():
        assert count.submit(BIG[:-1]).result(timeout=60) == len(BIG) - 1
        for wrong in (b"ab", BIG):
            with pytest.raises(EncodeError, match=r"argument 'data'.*length"):
                count.submit(wrong)


def test_a_file_that_changes_is_stored_as_long_as_it_was(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db")
    source, empty = tmp_path / "source.bin", tmp_path / "empty.bin"
    source.write_bytes(BIG)
    empty.touch()

    @app.task
    def sizes(files: list[File]) -> list[list[int | None]]:
        return [[file.size, len(file.read())] for file in files]

    with app.worker():
        file, more = File(source), b"and more" * 100_000
        parcel = app.queue.client.vault.pack(lambda: encode(file, "it"), "input", "sizes")
        with source.open("ab") as log:
            log.write(more)
        (stored,) = app.queue.client.vault.send(parcel)
        assert stored.bytes == len(BIG)
        source.write_bytes(BIG[:1000])
        with pytest.raises(InvalidError, match=r"source\.bin.* had 1500000 bytes, and 1499000 of them were gone"):
            app.queue.client.vault.send(parcel)
        assert sizes.submit([File(source), File(empty)]).result(timeout=60) == [[1000, 1000], [0, 0]]


def test_nothing_of_what_is_encrypted_can_be_read_in_the_store(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=CHAINS["sealed"])

    @app.task(retries=0)
    def fail(text: str, data: bytes) -> None:
        raise ValueError(f"confidential {text} and {len(data)} bytes")

    with app.worker(), pytest.raises(TaskFailedError, match="confidential matter"):
        fail.submit("matter " * 10_000, b"confidential" * 100_000).result(timeout=60)
    app.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("q.db*"))
    assert b"ValueError" in stored
    for secret in (b"confidential", b"matter", KEY):
        assert secret not in stored


async def test_a_reader_without_the_key_learns_which_it_needs(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/q.db"
    async with connect(url, codecs=CHAINS["sealed"]) as queue:
        worker = Worker(queue)

        @worker.task("t")
        async def same(value: str) -> str:
            return value

        async with worker:
            handle = await queue.submit("t", "hello")
            assert await handle == "hello"
        assert (await queue.get(handle)).input == "hello"
    async with connect(url) as bare:
        with pytest.raises(CodecError, match=r"zstd, aes-gcm .*codecs="):
            await bare.handle(handle.id)
        assert "$buquet" in (await bare.get(handle)).output
    async with connect(url, codecs=[Zstd(), AesGcm({"k2": KEY}, primary="k2")]) as other:
        with pytest.raises(CodecError, match="no key 'k' here"):
            await other.handle(handle.id)
    async with connect(url, codecs=[Zstd(), AesGcm({"k": OTHER}, primary="k")]) as wrong:
        with pytest.raises(CodecError, match="does not decrypt"):
            await wrong.handle(handle.id)
    async with connect(url, codecs=[AesGcm({"n": OTHER, "k": KEY}, primary="n"), Zstd()]) as rotated:
        assert await rotated.handle(handle.id) == "hello"


def test_codecs_can_be_turned_on_later(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/q.db"
    with Buquet(url) as before:
        plain = before.task(_double).submit("a")
    app = Buquet(url, codecs=CHAINS["sealed"])
    double = app.task(_double)
    with app.worker():
        assert double.handle(plain.id).result(timeout=60) == "aa"


def _double(text: str) -> str:
    return text * 2


def test_unique_inputs_are_stored_once_whether_compressed_or_not(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/q.db"
    once = Buquet(url).task(unique=True)(_double)
    compressing = Buquet(url, codecs=CHAINS["zstd"])
    again = compressing.task(unique=True)(_double)
    for text in ("a", "b" * 100_000):
        first = once.submit(text)
        assert (first.created, again.submit(text), again.submit(text).created) == (True, first, False)
    assert again.submit("c").created
    with compressing.worker():
        assert again.handle(first.id).result(timeout=60) == "b" * 200_000
        assert again.submit("d").result(timeout=60) == "dd"


@pytest.mark.parametrize("codecs", [CHAINS["sealed"], CHAINS["sealed"][1:]], ids=["after zstd", "alone"])
async def test_what_is_encrypted_is_known_by_a_key_and_never_by_itself(codecs: list[Any], tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=codecs)
    once = app.task(unique=True)(_double)
    refused = pytest.raises(InvalidError, match=r"passes through aes-gcm to be kept secret; give idempotency_key=")
    with refused:
        once.submit("a")
    with refused:
        await once.submit_async("a")
    async with connect(f"sqlite:{tmp_path}/q.db", codecs=codecs) as queue:
        with refused:
            await queue.submit("_double", {"text": "a"}, unique=True)
        by_key = await queue.submit("_double", {"text": "a"}, idempotency_key="order 7")
    assert once.options(unique=False).submit("a") != by_key
    assert once.options(unique=False, idempotency_key="order 7").submit("a") == by_key
    once.options(unique=False, idempotency_key="order 8", unique_scope="queue").submit("secret")
    other = app.task(_other).options(idempotency_key="order 8", unique_scope="queue")
    with pytest.raises(ConflictError, match="order 8") as caught:
        other.submit("secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("codecs", [CHAINS["zstd"], CHAINS["sealed"]], ids=["zstd", "sealed"])
async def test_a_key_with_another_input_is_a_conflict_behind_codecs_too(codecs: list[Any], tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/q.db"
    app = Buquet(url, codecs=codecs)
    double = app.task(_double).options(idempotency_key="order 7")
    first = double.submit("secret one")
    again = double.submit("secret one")
    assert (first.created, again.created, again) == (True, False, first)
    conflict = pytest.raises(ConflictError, match=rf'key "order 7" belongs to task {first.id}.*cannot be used')
    with conflict as caught:
        double.submit("secret two")
    shown = str(caught.value)
    assert ("secret one" in shown, "secret two" in shown) == (len(codecs) == 1,) * 2
    with conflict:
        await double.submit_async("secret two")
    with conflict:
        group(double.bind("secret two"), double.bind("secret one"))
    async with connect(url, codecs=codecs) as queue:
        with conflict:
            await queue.submit("_double", {"text": "secret two"}, idempotency_key="order 7")
        same = await queue.submit("_double", {"text": "secret one"}, idempotency_key="order 7")
        assert (same, same.created) == (queue.handle(first.id), False)
        assert len((await queue.list()).tasks) == 1


def test_an_input_that_cannot_be_decoded_is_taken_for_the_same(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/q.db"
    first = Buquet(url, codecs=CHAINS["sealed"]).task(_double).options(idempotency_key="k").submit("one")
    wrong = [Zstd(), AesGcm({"k": OTHER}, primary="k")]
    for codecs in (wrong, CHAINS["zstd"]):
        assert Buquet(url, codecs=codecs).task(_double).options(idempotency_key="k").submit("two").id == first.id


def test_a_comparison_costs_one_request_and_only_where_it_is_needed(tmp_path: Path) -> None:
    for name, codecs in CHAINS.items():
        app = Buquet(f"sqlite:{tmp_path}/{name}.db", codecs=codecs)
        double = app.task(_double).options(idempotency_key="k")
        before = app.usage().requests.get
        double.submit("one")
        first = app.usage().requests.get - before
        double.submit("one")
        looks = app.usage().requests.get - before - first
        # A touch of the bell reads it first, and may fall in between.
        assert looks - (2 if codecs else 1) in {0, 1}, "the engine looks once itself"


def test_a_unique_task_with_payloads_is_refused_before_anything_is_stored(objects: InFile, tmp_path: Path) -> None:
    plain = Buquet(f"sqlite:{tmp_path}/q.db")
    sealed = Buquet(f"sqlite:{tmp_path}/q.db", codecs=CHAINS["sealed"])
    plain.queue.client.call(_ops.connect())
    length = plain.task(_length).options(idempotency_key="order 7")
    double = sealed.task(_double).options(idempotency_key="order 7")
    refused = pytest.raises(InvalidError, match=r"a unique task of type '_\w+' cannot have files, bytes over 32 KiB")
    with refused:
        length.submit(BIG)
    with refused:
        double.submit(os.urandom(30_000).hex())
    assert objects.keys("payloads/") == []


def _other(text: str) -> str:
    return text


def _length(data: bytes) -> int:
    return len(data)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[InFile]:
    """What is stored, for those who meddle with it."""
    found = InFile(tmp_path / "q.db")
    yield found
    found.close()


@pytest.mark.parametrize("codecs", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("crime", ["swapped", "truncated", "deleted", "flipped"])
def test_pieces_that_were_meddled_with_fail_the_task(
    codecs: list[Any], crime: str, objects: InFile, tmp_path: Path
) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=codecs)

    @app.task(retries=0)
    def length(data: bytes) -> int:
        return len(data)

    handle = length.submit(BIG)
    one, other, *_ = objects.keys("payloads/")
    was, other_was = objects.get(one), objects.get(other)
    if crime == "swapped":
        objects.put(one, other_was)
        objects.put(other, was)
    elif crime == "truncated":
        objects.put(one, was[:-1])
    elif crime == "deleted":
        objects.delete(other)
    else:
        objects.put(one, bytes([was[0] ^ 1]) + was[1:])
    with app.worker(), pytest.raises(TaskFailedError, match=r"CorruptError|CodecError"):
        handle.result(timeout=60)


async def test_a_large_result_that_is_gone_says_so(objects: InFile, tmp_path: Path) -> None:
    async with connect(f"sqlite:{tmp_path}/q.db") as queue:
        worker = Worker(queue)

        @worker.task("t")
        async def large() -> str:
            return "x" * 50_000

        async with worker:
            handle = await queue.submit("t")
            await queue.wait(handle, timeout=60)
        for key in objects.keys("payloads/"):
            objects.delete(key)
        with pytest.raises(CorruptError, match=r"payloads/.* is gone"):
            await handle


def test_a_large_input_is_plain_json_in_the_store(objects: InFile, tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db")
    app.task(_double).submit("x" * 50_000)
    (key,) = objects.keys("payloads/")
    assert json.loads(objects.get(key)) == {"text": "x" * 50_000}


@pytest.mark.parametrize(
    "marker",
    [{"file": 0, "name": "x", "size": 10}, {"bytes": 0, "size": 1_000}, {"json": 0, "size": 10}],
    ids=lambda marker: next(iter(marker)),
)
async def test_a_marker_without_its_payload_is_never_taken_for_empty_data(marker: Any, tmp_path: Path) -> None:
    def take(value: Any) -> None:
        del value

    async with connect(f"sqlite:{tmp_path}/q.db") as queue:
        worker = Worker(queue)
        worker.task("any")(take)
        async with worker:
            call = _ops.submit("any", json.dumps({"$buquet": marker}).encode(), submit_options(retries=0))
            handle = queue.handle((await queue.client.call_async(call)).id)
            with pytest.raises(TaskFailedError, match=r"CorruptError.*speaks of payload 0, and its task has 0"):
                await handle.result_async(timeout=60)


def test_a_file_in_a_result_without_its_payload_is_corrupt(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db")
    forged: dict[str, Any] = {"number": 1, "scan": {"$buquet": {"file": 0, "name": "x", "size": 10}}}

    @app.task(name="t")
    def order() -> Order:
        return Order(1, File(tmp_path / "q.db"))

    @app.task
    def look(order: Order, more: dict[str, Any]) -> dict[str, Any]:
        return {"size": order.scan.size, **more}

    def forge() -> dict[str, Any]:
        return forged

    worker = Worker(app.queue)
    worker.task("t")(forge)
    worker.add(look.handler)
    with worker:
        handle = order.submit()
        with pytest.raises(CorruptError, match="speaks of payload 0, and its task has 0"):
            handle.result(timeout=60)
        assert handle.refresh().output == forged, "which it is as plain JSON"
        with pytest.raises(EncodeError, match="this is no file"):
            look.submit(cast("Any", forged), {})
        given = look.submit(Order(1, File(tmp_path / "q.db")), forged)
        assert given.result(timeout=60)["scan"] == forged["scan"]
