"""Large values, bytes and files with a real engine; and what happens to those who meddle with them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from msgspec import Meta

from buquet import Buquet, CodecError, CorruptError, EncodeError, File, TaskFailedError, Worker, connect
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
            assert flip.submit(data).result(timeout=30) == data[::-1]
        for size in (1, 40_000, 200_000, 5_000_000):
            assert echo.submit({"v": "x" * size}).result(timeout=30) == {"v": "x" * size}
        order = copy.submit(Order(1, File(source))).result(timeout=30)
        assert (order.number, order.scan.name, order.scan.read()) == (2, "copy", BIG)
        assert flip.map([b"a", BIG, b"b"]).results(timeout=30) == [b"a", BIG[::-1], b"b"]


def test_large_bytes_are_held_to_the_length_that_their_annotation_says(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db")

    @app.task
    def count(data: Annotated[bytes, Meta(min_length=3, max_length=len(BIG) - 1)]) -> int:
        return len(data)

    with app.worker():
        assert count.submit(BIG[:-1]).result(timeout=30) == len(BIG) - 1
        for wrong in (b"ab", BIG):
            with pytest.raises(EncodeError, match=r"argument 'data'.*length"):
                count.submit(wrong)


def test_nothing_of_what_is_encrypted_can_be_read_in_the_store(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=CHAINS["sealed"])

    @app.task(retries=0)
    def fail(text: str, data: bytes) -> None:
        raise ValueError(f"confidential {text} and {len(data)} bytes")

    with app.worker(), pytest.raises(TaskFailedError, match="confidential matter"):
        fail.submit("matter " * 10_000, b"confidential" * 100_000).result(timeout=30)
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
        assert double.handle(plain.id).result(timeout=30) == "aa"


def _double(text: str) -> str:
    return text * 2


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
        handle.result(timeout=30)


async def test_a_large_result_that_is_gone_says_so(objects: InFile, tmp_path: Path) -> None:
    async with connect(f"sqlite:{tmp_path}/q.db") as queue:
        worker = Worker(queue)

        @worker.task("t")
        async def large() -> str:
            return "x" * 50_000

        async with worker:
            handle = await queue.submit("t")
            await queue.wait(handle, timeout=30)
        for key in objects.keys("payloads/"):
            objects.delete(key)
        with pytest.raises(CorruptError, match=r"payloads/.* is gone"):
            await handle


def test_a_large_input_is_plain_json_in_the_store(objects: InFile, tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db")
    app.task(_double).submit("x" * 50_000)
    (key,) = objects.keys("payloads/")
    assert json.loads(objects.get(key)) == {"text": "x" * 50_000}
