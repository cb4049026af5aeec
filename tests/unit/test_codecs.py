"""Codecs and the envelope around what passed through them."""

from __future__ import annotations

import pickle
import zlib
from typing import Any, cast

import msgspec
import pytest

from buquet import ClosedError, CodecError, InvalidError
from buquet._attempt import FailureInfo, Handler
from buquet._chain import Chain, Marker, Place, envelope, read_marker
from buquet._models import TaskError
from buquet._reveal import reveal, seal_error, stored_error
from buquet._signature import TaskSignature
from buquet.codecs import AesGcm, Zstd, check_codecs

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = b"the key that nobody may see!!!!!"
PLACE = Place("input", "t")


def sealing(**keys: bytes) -> AesGcm:
    return AesGcm(keys, primary=next(iter(keys)))


@pytest.mark.parametrize("codec", [Zstd(), Zstd(19), sealing(a=NEW)], ids=repr)
@pytest.mark.parametrize("data", [b"", b"x", b"text " * 100_000])
def test_what_was_encoded_is_decoded(codec: Zstd | AesGcm, data: bytes) -> None:
    assert codec.decode(codec.encode(data, b"c"), b"c") == data
    assert pickle.loads(pickle.dumps(codec)).decode(codec.encode(data, b"c"), b"c") == data  # noqa: S301


def test_a_rotated_key_still_decrypts_and_the_new_one_encrypts() -> None:
    before, after = sealing(old=OLD), AesGcm({"old": OLD, "new": NEW}, primary="new")
    assert after.decode(before.encode(b"x", b""), b"") == b"x"
    with pytest.raises(CodecError, match="no key 'new' here, only 'old'") as caught:
        before.decode(after.encode(b"x", b""), b"")
    assert caught.value.may_help, "another worker may have it"


def test_what_was_changed_or_moved_does_not_decrypt() -> None:
    codec = sealing(a=NEW)
    data = codec.encode(b"x" * 100, PLACE.context("s", 0, last=False))
    for place in (PLACE.context("s", 1, last=False), PLACE.context("s", 0), PLACE.context("other", 0, last=False)):
        with pytest.raises(CodecError, match="does not decrypt"):
            codec.decode(data, place)
    for bad in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b"", b"\x01", b"\x02" + data[1:], b"\x01\x01a"):
        with pytest.raises(CodecError):
            codec.decode(bad, PLACE.context("s", 0, last=False))
    with pytest.raises(CodecError, match="another one of that name") as caught:
        sealing(a=OLD).decode(data, PLACE.context("s", 0, last=False))
    assert caught.value.may_help, "another worker may have the right one"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x05abcd", b"\x02\x01a", None, 5], ids=repr)
def test_what_is_no_frame_was_encrypted_under_no_key(data: Any) -> None:
    assert AesGcm.key_id(data) is None


def test_no_key_is_ever_shown() -> None:
    codec = sealing(a=SECRET)
    texts = [repr(codec), str(codec), repr(Chain((codec,)).codecs)]
    for attempt in (
        lambda: codec.decode(b"\x01\x01b" + b"x" * 40, b""),
        lambda: AesGcm({"b": SECRET + b"!"}, primary="b"),
    ):
        with pytest.raises((CodecError, InvalidError)) as caught:
            attempt()
        texts.append(f"{caught.value!r} {caught.value.__cause__!r}")
    assert not any("nobody" in text for text in texts)


def test_a_small_value_cannot_unpack_to_a_huge_one() -> None:
    bomb = Zstd().encode(bytes(100_000_000), b"")
    with pytest.raises(CodecError, match="4 MiB"):
        Zstd().decode(bomb, b"")
    with pytest.raises(CodecError):
        Zstd().decode(b"not zstd", b"")


def test_codecs_that_cannot_be_are_refused() -> None:
    for bad in (
        lambda: Zstd(0),
        lambda: Zstd(99),
        lambda: AesGcm({}, primary="a"),
        lambda: AesGcm({"": NEW}, primary=""),
        lambda: AesGcm({"a": NEW}, primary=cast("Any", ["a"])),
    ):
        with pytest.raises(InvalidError):
            bad()
    for chain in ([Zstd], [Zstd(), Zstd()], "zstd", [object()], 1):
        with pytest.raises(InvalidError, match=r"codec|name"):
            check_codecs(chain)


def test_a_chain_names_what_is_missing() -> None:
    data = Chain((Zstd(), sealing(a=NEW))).encode(b"x", b"")
    with pytest.raises(CodecError, match=r"no codec aes-gcm \(there is zstd\)"):
        Chain((Zstd(),)).decode(data, ["zstd", "aes-gcm"], b"")


def test_a_failing_codec_of_ones_own_is_a_codec_error() -> None:
    class Deflate:
        name = "deflate"

        def encode(self, data: bytes, context: bytes) -> bytes:
            return zlib.compress(data + context)

        def decode(self, data: bytes, context: bytes) -> bytes:
            return zlib.decompress(data).removesuffix(context)

    chain = Chain(check_codecs([Deflate()]))
    assert chain.decode(chain.encode(b"x", b"c"), ["deflate"], b"c") == b"x"
    with pytest.raises(CodecError, match="deflate"):
        chain.decode(b"?", ["deflate"], b"c")


class _Own:
    name = "own"

    def __init__(self, made: Any) -> None:
        self.made = made

    def encode(self, data: bytes, context: bytes) -> Any:
        del data, context
        if isinstance(self.made, BaseException):
            raise self.made
        return self.made

    decode = encode


@pytest.mark.parametrize("made", ["text", None, 7, RuntimeError("SECRET"), ClosedError("SECRET")], ids=repr)
def test_what_a_codec_does_wrong_is_told_without_its_text(made: Any) -> None:
    chain = Chain((_Own(made),))
    kind = type(made).__name__
    for verb, step in (
        ("encode", lambda: chain.encode(b"x", b"")),
        ("decode", lambda: chain.decode(b"x", ["own"], b"")),
    ):
        with pytest.raises(CodecError, match=rf"the codec 'own' cannot {verb}: its {verb}\(\) .*{kind}") as caught:
            step()
        assert "SECRET" not in str(caught.value)
        assert caught.value.may_help
        copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
        assert (str(copied), copied.may_help, copied.is_in_plain) == (str(caught.value), True, True)


def test_what_is_like_bytes_is_taken_as_bytes() -> None:
    for like in (bytearray(b"x"), memoryview(b"x")):
        made = Chain((_Own(like),)).encode(b"", b"")
        assert (made, type(made)) == (b"x", bytes)


@pytest.mark.parametrize("made", [RuntimeError("SECRET"), SystemExit("SECRET"), "text"], ids=repr)
def test_an_error_that_cannot_be_sealed_is_stored_without_its_text(made: Any) -> None:
    info = FailureInfo("ValueError", "confidential", "Traceback: confidential")
    stored = stored_error(Chain((_Own(made),)), info, ValueError("confidential"), "t")
    assert stored.type == "ValueError"
    assert "could not be encoded" in stored.message
    assert stored.traceback is None
    assert "SECRET" not in stored.message
    assert "confidential" not in stored.message


def test_a_codec_error_is_retried_unless_somebody_says_no() -> None:
    def never() -> None: ...

    def retries(error: Exception, **options: Any) -> bool:
        return Handler("t", never, TaskSignature(never, "t"), **options).retries(error)

    assert retries(CodecError("no key"))
    assert retries(CodecError("no key"), retry_on=(KeyError,)), "it is none of the handler's own"
    assert not retries(CodecError("no key", may_help=False))
    assert not retries(CodecError("no key"), no_retry_on=(CodecError,))


def test_only_codecs_speak_in_plain() -> None:
    chain = Chain((Zstd(), sealing(a=NEW)))
    info = FailureInfo("CodecError", "confidential")
    assert "confidential" not in stored_error(chain, info, CodecError("confidential"), "t").message
    assert stored_error(chain, info, CodecError("confidential").in_plain(), "t").message == "confidential"


def test_an_error_is_sealed_but_for_its_type() -> None:
    chain = Chain((Zstd(), sealing(a=NEW)))
    plain = FailureInfo("ValueError", "secret", "Traceback: secret")
    sealed = seal_error(chain, plain, "t")
    assert sealed.type == "ValueError"
    assert "secret" not in sealed.message
    assert sealed.traceback is None
    stored = TaskError(type=sealed.type, message=sealed.message)
    task = _task(stored)
    assert reveal(chain, [task])[0].error == TaskError(
        type="ValueError", message="secret", traceback="Traceback: secret"
    )
    missing = reveal(Chain((Zstd(),)), task).error
    assert missing.type == "ValueError"
    assert "sealed by zstd, aes-gcm with the key 'a'>" in missing.message
    assert "no codec aes-gcm (there is zstd)" in missing.message


def test_a_sealed_error_is_never_cut_off() -> None:
    import random  # noqa: PLC0415

    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789éü", k=16_000))  # noqa: S311
    sealed = seal_error(Chain((sealing(a=NEW),)), FailureInfo("E", noise[:4_000], noise), "t")
    assert len(sealed.message.encode()) <= 16 * 1024 - 100
    opened = reveal(Chain((sealing(a=NEW),)), _task(TaskError(type="E", message=sealed.message)))
    assert "bytes left out" in opened.error.traceback


def test_what_cannot_be_read_once_it_is_decoded_stays_as_it_is() -> None:
    chain = Chain((Zstd(),))
    deep = b"[" * 100_000 + b"]" * 100_000
    stored = msgspec.json.decode(envelope(Marker(codec=["zstd"], data=chain.encode(deep, b""))))
    unread = chain.encode(b'{"message":"no luck","more":%b}' % deep, b"")
    error = TaskError(type="E", message=envelope(Marker(codec=["zstd"], data=unread)).decode())
    task = _task(error, output=stored)
    assert reveal(chain, task) == task


def test_an_envelope_is_read_back_and_nothing_else_is_one() -> None:
    marker = Marker(codec=["zstd"], data=b"x")
    assert read_marker(envelope(marker)) == marker
    assert read_marker(b'{"a":1}') is None
    with pytest.raises(CodecError, match="buquet's own"):
        read_marker(b'{"$buquet": 1}')


def _task(error: TaskError, output: object = None) -> object:
    from buquet import Task, TaskStatus  # noqa: PLC0415

    return Task(id="i", type="t", status=TaskStatus.FAILED, error=error, output=output)
