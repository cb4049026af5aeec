"""Codecs that fail, in a worker and before a submit: what is told of it, to whom, and that nothing gets stuck."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, CodecError, RetryPolicy, TaskFailedError, connect
from buquet.codecs import AesGcm, Zstd
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY, OTHER = b"k" * 32, b"o" * 32
SECRET = "hsm down; token=SECRET-TOKEN"  # noqa: S105 - a made-up one, to be looked for


class Broken:
    """A codec that fails while it is told to."""

    name = "hsm"

    def __init__(self, *, encode: Any = None, decode: Any = None) -> None:
        self.results = {"encode": encode, "decode": decode}

    def encode(self, data: bytes, context: bytes) -> bytes:
        return self._step("encode", data) if b":input:" not in context else data

    def decode(self, data: bytes, context: bytes) -> bytes:
        return self._step("decode", data) if b":input:" in context else data

    def _step(self, verb: str, data: bytes) -> Any:
        made = self.results[verb]
        if isinstance(made, Exception):
            raise made
        return data if made is None else made()


def echo(text: str) -> str:
    return text


def shout(text: str) -> str:
    raise ValueError(f"confidential {text}")


def sealing(key: bytes = KEY, name: str = "k") -> list[Any]:
    return [Zstd(), AesGcm({name: key}, primary=name)]


@pytest.mark.parametrize("task", [echo, shout], ids=["result", "error"])
def test_a_codec_that_cannot_encode_fails_the_attempt_and_frees_its_slot(
    task: Callable[[str], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[Broken(encode=RuntimeError(SECRET))])
    once = app.task(retries=1, backoff=0.01)(task)
    handles = [once.submit("x" * 10) for _ in range(6)]
    with app.worker(concurrency=2, drain_timeout="1h"):  # it has nothing to wait for
        for handle in handles:
            with pytest.raises(TaskFailedError) as caught:
                handle.result(timeout=60)
            error = caught.value.task.error
            assert error is not None
            assert caught.value.task.attempt == 2, "a retry may help"
            assert "hsm" in error.message
            assert "RuntimeError" in error.message
            assert "SECRET" not in f"{error}"
            assert "confidential" not in f"{error}"
    assert "Exception in callback" not in caplog.text
    assert "SECRET" not in caplog.text
    assert "confidential" not in caplog.text


async def test_a_codec_that_cannot_encode_refuses_the_submit(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[_Useless()])
    task = app.task(echo)
    refused = pytest.raises(CodecError, match=r"'useless' cannot encode: its encode\(\) raised RuntimeError")
    with refused as caught:
        task.submit("x")
    assert "SECRET" not in str(caught.value)
    with refused:
        await task.submit_async("x" * 1_000_000)
    with refused:
        await app.queue.submit("echo", "x")
    assert (await app.queue.list()).tasks == []


class _Useless:
    name = "useless"

    def encode(self, data: bytes, context: bytes) -> bytes:
        del data, context
        raise RuntimeError(SECRET)

    decode = encode


@pytest.mark.parametrize("made", [lambda: "text", lambda: None, lambda: 7])
def test_what_a_codec_makes_of_a_result_must_be_bytes(made: Any, tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[Broken(encode=made)])
    once = app.task(retries=0)(echo)
    with app.worker(), pytest.raises(TaskFailedError, match=rf"'hsm' .*gave {type(made()).__name__}, not bytes"):
        once.submit("x").result(timeout=60)


async def test_a_worker_with_a_wrong_key_says_so_in_plain_and_is_not_the_last_word(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/q.db"
    app = Buquet(url, codecs=sealing())
    # More retries than it can come to meanwhile, so that none of the workers has the last word.
    task = app.task(retries=100_000, backoff=RetryPolicy(initial=0.1, multiplier=1))(echo)
    plain = app.task(retries=0)(shout)
    doomed, handle = plain.submit("matter"), task.submit("hello")
    for codecs, reason in (
        (sealing(OTHER), "does not decrypt under key 'k'"),
        (sealing(KEY, "n"), "no key 'k' here, only 'n'"),
        ([Zstd()], "no codec aes-gcm"),
        ([Zstd(), Broken()], "no codec aes-gcm"),
    ):
        other = Buquet(url, codecs=codecs)
        other.task(retries=0)(echo)
        before = handle.refresh().attempt
        with other.worker():
            await _until_it_failed(handle, before, reason)
        error = handle.refresh().error
        assert error is not None
        assert reason in error.message
        assert error.traceback is None
        async with connect(url) as bare:
            stored = (await bare.get(handle)).error
            assert stored is not None
            assert stored.message == error.message
        other.close()
    with app.worker():
        assert await handle.result_async(timeout=60) == "hello"
        with pytest.raises(TaskFailedError, match="ValueError: confidential matter"):
            await doomed.result_async(timeout=60)
    for codecs, missing in (
        ([], r"sealed by zstd, aes-gcm with the key 'k'>.*no codec zstd, aes-gcm .*codecs="),
        (sealing(KEY, "n"), "no key 'k' here, only 'n'"),
        (sealing(OTHER), "does not decrypt"),
    ):
        async with connect(url, codecs=codecs) as reader:
            with pytest.raises(TaskFailedError, match=missing) as caught:
                await reader.handle(doomed.id)
            assert "$buquet" not in str(caught.value)
            assert caught.value.task.error is not None
            assert "$buquet" not in caught.value.task.error.message
    app.close()


async def _until_it_failed(handle: Any, attempts: int, reason: str) -> None:
    """Wait for more attempts, and for the error, which stays until that of the next one takes its place."""

    def failed() -> bool:
        task = handle.refresh()
        return task.attempt > attempts and task.error is not None and reason in task.error.message

    await asyncio.to_thread(wait_until, failed, within=60, what=f"an attempt that fails because of: {reason}")


@pytest.mark.parametrize("data", [b"x" * 100, b"x" * 100_000], ids=["inline", "payload"])
def test_a_codec_that_cannot_decode_is_tried_again(data: bytes, tmp_path: Path) -> None:
    codec = Broken(decode=RuntimeError(SECRET))
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[codec])

    @app.task(retries=3, backoff=0.01)
    def length(data: bytes) -> int:
        return len(data)

    with app.worker():
        handle = length.submit(data)
        wait_until(lambda: handle.refresh().error is not None, within=60, what="the first failure")
        error = handle.refresh().error
        assert error is not None
        assert "its decode() raised RuntimeError" in error.message
        assert "SECRET" not in error.message
        codec.results["decode"] = None
        assert handle.result(timeout=60) == len(data)


def test_a_codec_may_say_that_no_retry_helps(tmp_path: Path) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=[Broken(decode=CodecError("hsm: revoked", may_help=False))])
    once = app.task(retries=3, backoff=0.01)(echo)
    with app.worker(), pytest.raises(TaskFailedError, match=r"after 1 attempt.*hsm: revoked"):
        once.submit("x").result(timeout=60)


def test_a_timeout_is_logged_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=sealing())

    @app.task(retries=0, timeout=0.1)
    async def hang() -> None:
        await asyncio.Event().wait()

    with app.worker(), pytest.raises(TaskFailedError, match="took longer"):
        hang.submit().result(timeout=60)
    assert "the attempt took longer than its timeout of 0.1 s" in caplog.text


@pytest.mark.parametrize("codecs", [[], [Zstd()], sealing()], ids=["plain", "zstd", "sealed"])
def test_what_is_logged_of_a_failure(codecs: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "buquet")
    app = Buquet(f"sqlite:{tmp_path}/q.db", codecs=codecs)
    twice = app.task(retries=1, backoff=0.01)(shout)
    with app.worker(), pytest.raises(TaskFailedError):
        twice.submit("matter " * 20_000).result(timeout=60)
    failures = [record for record in caplog.records if "attempt" in record.getMessage()]
    assert [record.levelno for record in failures] == [logging.INFO, logging.WARNING]
    for record in failures:
        text = record.getMessage()
        assert "ValueError" in text
        assert len(text) < 1_000
        assert ("confidential" in text) == (len(codecs) < 2)
        assert ("handle.refresh().error" in text) == (len(codecs) == 2)
