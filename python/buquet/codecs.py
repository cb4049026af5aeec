"""Codecs: what payloads, results and errors pass through on their way to the store and back.

::

    from buquet import Buquet
    from buquet.codecs import AesGcm, Zstd

    app = Buquet(codecs=[Zstd(), AesGcm({"2026-11": key}, primary="2026-11")])

They are applied in their order when something is stored, and backwards when it is read: compress first, then
encrypt. What is stored names the codecs it passed through, so values from before a codec was given are read too.
A codec of your own is any object with ``name``, ``encode`` and ``decode``; see ``Codec``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from buquet.errors import CodecError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AesGcm", "Codec", "Zstd"]

LARGEST_FRAME = 4 * 1024 * 1024
"""No frame is larger than this, neither before nor after a codec."""

_LEVELS = range(1, 20)
_KEY_BYTES = (16, 24, 32)
_KEY_ID_BYTES = range(1, 256)
_ZSTD_INCLUDED = (3, 14)
_NONCE_BYTES = 12
_VERSION = 1


@runtime_checkable
class Codec(Protocol):
    """One step of the chain. Frames of up to 512 KiB pass through it one by one, from several threads at a time.

    For tasks with ``pool="process"`` it is sent to the process, so it must be picklable; a worker
    with such tasks refuses to start with one that is not.

    Example::

        class Xor:
            name = "xor"

            def encode(self, data: bytes, context: bytes) -> bytes:
                return bytes(byte ^ 42 for byte in data)

            decode = encode
    """

    @property
    def name(self) -> str:
        """What stored values name it by: keep it for as long as there are any."""
        ...

    def encode(self, data: bytes, context: bytes) -> bytes:
        """Encode one frame.

        :param data: the frame.
        :param context: says what it is a frame of, and which; the same bytes are given to ``decode``. What
            authenticates should bind the frame to it.
        :raises CodecError: as for ``decode``.
        """
        ...

    def decode(self, data: bytes, context: bytes) -> bytes:
        """Undo ``encode``.

        Whatever it raises fails the attempt, and is told by its type alone. The text of a ``CodecError`` is told,
        logged and stored in plain, so it must hold no secret; with ``may_help=False`` no further attempt is made.

        :raises CodecError: these bytes did not come from ``encode``, or not in this context.
        """
        ...


class Zstd:
    """Compression with Zstandard. Needs ``pip install buquet[zstd]`` before Python 3.14.

    :param level: 1 (fast) to 19 (small).
    :raises InvalidError: the level is out of its range, or the package is missing.
    """

    name = "zstd"

    def __init__(self, level: int = 3) -> None:
        """Look for the package."""
        if isinstance(level, bool) or not isinstance(level, int) or level not in _LEVELS:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidError(f"level={level!r} must be a whole number from 1 to 19")
        self._level = level
        self._compress, self._decompress, self._error = _zstd()

    def __repr__(self) -> str:
        """Show the level."""
        return f"Zstd(level={self._level})"

    def __reduce__(self) -> tuple[type[Zstd], tuple[int]]:
        """Pickle by the level."""
        return type(self), (self._level,)

    def encode(self, data: bytes, context: bytes) -> bytes:
        """Compress a frame."""
        del context
        return self._compress(data, self._level)

    def decode(self, data: bytes, context: bytes) -> bytes:
        """Decompress a frame, up to 4 MiB: no small object can make a worker swell."""
        del context
        try:
            return self._decompress(data)
        except self._error as error:
            raise CodecError(f"zstd: this is not what was compressed ({error})") from error


class AesGcm:
    """Encryption with AES-GCM, 128, 192 or 256 bits. Needs ``pip install buquet[crypto]``.

    Each frame gets a random nonce and is bound to what it is part of: a frame that was changed, cut off, moved
    to another place or taken from another kind of value does not decrypt.

    To rotate, add a key and make it ``primary``; keep the old ones for as long as values under them are to be read.
    Rotate before four thousand million frames were encrypted under one key.

    :param keys: the keys by their ids: 16, 24 or 32 bytes each. Ids are stored, keys never are.
    :param primary: the id of the key that encrypts.
    :raises InvalidError: a key has another length, there is no key ``primary``, or the package is missing.

    Example::

        from buquet.codecs import AesGcm

        key = AesGcm.generate_key()  # once; then keep it where your other secrets are
        sealing = AesGcm({"2026-11": key}, primary="2026-11")
    """

    name = "aes-gcm"

    def __init__(self, keys: Mapping[str, bytes], primary: str) -> None:
        """Check the keys."""
        is_known = isinstance(keys, Mapping) and isinstance(primary, str) and primary in keys  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_known:
            raise InvalidError(f"keys= must map ids to keys, and hold the primary one, {primary!r}")
        for key_id, key in keys.items():
            if not isinstance(key_id, str) or len(key_id.encode()) not in _KEY_ID_BYTES:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidError("the id of a key is text of 1 to 255 bytes")
            if not isinstance(key, bytes) or len(key) not in _KEY_BYTES:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidError(f"key {key_id!r} must be 16, 24 or 32 bytes; AesGcm.generate_key() makes one")
        self._primary = primary
        self._keys = dict(keys)
        self._ciphers = {key_id: _aes_gcm(key) for key_id, key in keys.items()}

    def __repr__(self) -> str:
        """Show the ids of the keys and nothing of the keys."""
        return f"AesGcm(keys={sorted(self._keys)}, primary={self._primary!r})"

    def __reduce__(self) -> tuple[type[AesGcm], tuple[dict[str, bytes], str]]:
        """Pickle with the keys: only ever for a process of the worker's own."""
        return type(self), (self._keys, self._primary)

    @staticmethod
    def generate_key() -> bytes:
        """Make a random key of 256 bits. Keep it where your other secrets are."""
        return os.urandom(32)

    @staticmethod
    def key_id(data: bytes) -> str | None:
        """The id of the key that a frame was encrypted under, for who has no key; None if it is no such frame.

        Example::

            from buquet.codecs import AesGcm

            codec = AesGcm({"2026-11": AesGcm.generate_key()}, primary="2026-11")
            print(AesGcm.key_id(codec.encode(b"data", b"")))
        """
        is_frame = isinstance(data, bytes) and len(data) > 1 and data[0] == _VERSION  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_frame or len(data) < 2 + data[1]:
            return None
        return data[2 : 2 + data[1]].decode(errors="backslashreplace")

    def encode(self, data: bytes, context: bytes) -> bytes:
        """Encrypt a frame under the primary key."""
        key_id = self._primary.encode()
        header = bytes([_VERSION, len(key_id)]) + key_id
        nonce = os.urandom(_NONCE_BYTES)
        return header + nonce + self._ciphers[self._primary].encrypt(nonce, data, header + context)

    def decode(self, data: bytes, context: bytes) -> bytes:
        """Decrypt a frame under the key that it names.

        :raises CodecError: that key is not here, or the frame is not what was encrypted in this context.
        """
        if data[:1] != bytes([_VERSION]) or len(data) == 1:
            raise CodecError("aes-gcm: this is not what was encrypted, or by a newer version")
        end = 2 + data[1]
        header, nonce, sealed = data[:end], data[end : end + _NONCE_BYTES], data[end + _NONCE_BYTES :]
        key_id = header[2:].decode(errors="backslashreplace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            known = ", ".join(map(repr, sorted(self._keys)))
            raise CodecError(f"aes-gcm: there is no key {key_id!r} here, only {known}")
        try:
            return cipher.decrypt(nonce, sealed, header + context)
        except Exception as error:  # noqa: BLE001 - a frame that was tampered with fails in several ways
            # The cause says nothing, and its frames hold the key.
            del error
        raise CodecError(
            f"aes-gcm: what is stored does not decrypt under key {key_id!r}: it was changed, cut off or moved, or the "
            "key is another one of that name"
        )


def _aes_gcm(key: bytes) -> Any:
    try:
        aead: Any = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
    except ImportError as error:
        raise InvalidError("AesGcm needs the package cryptography: pip install 'buquet[crypto]'") from error
    return aead.AESGCM(key)


def _zstd() -> tuple[Callable[[bytes, int], bytes], Callable[[bytes], bytes], type[Exception]]:
    """Both functions, and the error of the second: Python's own from 3.14 on, else those of a package."""
    if sys.version_info >= _ZSTD_INCLUDED:
        return _included_zstd()
    try:
        module: Any = importlib.import_module("zstandard")
    except ImportError as error:
        raise InvalidError("Zstd needs the package zstandard: pip install 'buquet[zstd]'") from error

    def compress(data: bytes, level: int) -> bytes:
        return module.ZstdCompressor(level=level).compress(data)

    def decompress(data: bytes) -> bytes:
        # A reader takes memory for all that it is asked for, and the allocator would keep as much from then on.
        size: int = module.frame_content_size(data)
        if 0 <= size <= LARGEST_FRAME:
            return module.ZstdDecompressor().decompress(data)
        with module.ZstdDecompressor().stream_reader(data) as reader:
            return _bounded(reader.read(LARGEST_FRAME + 1), whole=True)

    return compress, decompress, module.ZstdError


def _included_zstd() -> tuple[Callable[[bytes, int], bytes], Callable[[bytes], bytes], type[Exception]]:
    module: Any = importlib.import_module("compression.zstd")

    def decompress(data: bytes) -> bytes:
        reader: Any = module.ZstdDecompressor()
        return _bounded(reader.decompress(data, LARGEST_FRAME + 1), whole=reader.eof)

    return module.compress, decompress, module.ZstdError


def _bounded(data: bytes, *, whole: bool) -> bytes:
    if len(data) > LARGEST_FRAME or not whole:
        raise CodecError("zstd: what is stored was cut off, or unpacks to more than 4 MiB, which was never compressed")
    return data


def check_codecs(codecs: object) -> tuple[Codec, ...]:
    """Take a chain of codecs.

    :raises InvalidError: one is none, or two have the same name.
    """
    if isinstance(codecs, str | bytes) or not hasattr(codecs, "__iter__"):
        raise InvalidError(f"codecs= takes codecs in their order, such as [Zstd(), AesGcm(...)], not {codecs!r}")
    chain = tuple(cast("tuple[object, ...]", codecs))
    checked: list[Codec] = []
    for codec in chain:
        if isinstance(codec, type) or not isinstance(codec, Codec) or not isinstance(codec.name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidError(f"{codec!r} is no codec: it needs name, encode(data, context) and decode(data, context)")
        checked.append(codec)
    names = [codec.name for codec in checked]
    if len(set(names)) != len(names):
        raise InvalidError(f"codecs= holds two of one name: {', '.join(names)}")
    return tuple(checked)
