"""The chain of codecs, and the envelope that says what a stored value passed through."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from buquet.codecs import LARGEST_FRAME, Codec, Zstd
from buquet.errors import CodecError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBER = "$buquet"
"""The one member of an object that stands for something else: an envelope."""
MARK = f'{{"{MEMBER}"'.encode()
"""What the JSON of an envelope begins with."""
FRAME = 512 * 1024
"""How much of a value passes through the codecs at a time."""


class Marker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"blob": "bytes"}):
    """What stands in the JSON for what does not. ``docs/abi.md`` has its forms."""

    codec: list[str] = []
    data: bytes | None = None
    """A value, encoded, right here."""
    json: int | None = None
    """A value, encoded, in the payload of this number."""
    blob: int | None = None
    """Bytes in the payload of this number."""
    file: int | None = None
    """A file in the payload of this number."""
    stream: str = ""
    """A random name, which binds the frames of one payload together."""
    name: str = ""
    size: int | None = None

    @property
    def is_seal(self) -> bool:
        """Whether it stands for a whole value, rather than for bytes or a file in one."""
        return self.data is not None or self.json is not None


class _Envelope(msgspec.Struct, frozen=True, rename={"marker": MEMBER}):
    marker: Marker


def is_envelope(value: object) -> bool:
    """Whether a value that was read from JSON is an envelope."""
    return isinstance(value, dict) and MEMBER in value


class Place(msgspec.Struct, frozen=True):
    """What a value is: the codecs bind each of its frames to it."""

    what: str
    """``input``, ``result`` or ``error``."""
    type: str
    """The task type."""

    def context(self, stream: str = "", number: int = 0, *, last: bool = True) -> bytes:
        """What is bound to one frame."""
        return f"buquet:1:{self.what}:{self.type}:{stream}:{number}:{'last' if last else 'more'}".encode()


class Chain:
    """Codecs in their order."""

    def __init__(self, codecs: tuple[Codec, ...] = ()) -> None:
        """Take the chain that new values pass through."""
        self.codecs = codecs
        self.names = [codec.name for codec in codecs]
        self._by_name = {codec.name: codec for codec in codecs}
        self.hiding = [codec.name for codec in codecs if not isinstance(codec, Zstd)]
        """Those that may keep secret what passes through them. Compression hides nothing; of others nobody knows."""

    def __bool__(self) -> bool:
        """Whether there is any codec."""
        return bool(self.codecs)

    def check_comparable(self) -> None:
        """Refuse to know tasks by their inputs where those may be secret.

        A key that is made of an input is stored and shown. Its readers would learn which inputs are equal, and could
        try out what a short one is.

        :raises InvalidError: there is a codec that may hide what passes through it.
        """
        if self.hiding:
            raise InvalidError(
                f"unique=True knows a task by its input, which here passes through {', '.join(self.hiding)} to be kept "
                "secret; give idempotency_key= instead, such as the id of an order"
            )

    def encode(self, frame: bytes, context: bytes) -> bytes:
        """Pass one frame through all of them.

        :raises CodecError: one of them fails.
        """
        for codec in self.codecs:
            frame = _passed(codec, codec.encode, "encode", frame, context)
        if len(frame) > LARGEST_FRAME:
            message = f"{', '.join(self.names)} made {len(frame)} bytes of one frame; the most is 4 MiB"
            raise CodecError(message, may_help=False).in_plain()
        return frame

    def decode(self, frame: bytes, names: list[str], context: bytes) -> bytes:
        """Pass one frame back through the codecs that it passed through.

        :raises CodecError: one of them is not here, or fails.
        """
        missing = [name for name in names if name not in self._by_name]
        if missing:
            here = ", ".join(self.names) or "none"
            raise CodecError(
                f"what is stored passed through {', '.join(names)}, and here is no codec {', '.join(missing)} "
                f"(there is {here}): give it to Buquet(codecs=[...]) or connect(codecs=[...])"
            ).in_plain()
        for name in reversed(names):
            codec = self._by_name[name]
            frame = _passed(codec, codec.decode, "decode", frame, context)
        return frame


def _passed(codec: Codec, step: Callable[[bytes, bytes], object], verb: str, frame: bytes, context: bytes) -> bytes:
    """What a codec makes of a frame. Of its errors only the type is told: their text may hold what it is to hide."""
    try:
        made = step(frame, context)
    except CodecError as error:
        error.in_plain()
        raise
    except Exception as error:
        kind = type(error).__name__
        raise CodecError(f"the codec {codec.name!r} cannot {verb}: its {verb}() raised {kind}").in_plain() from error
    if isinstance(made, bytearray | memoryview):
        return bytes(cast("bytearray", made))
    if not isinstance(made, bytes):
        message = f"the codec {codec.name!r} cannot {verb}: its {verb}() gave {type(made).__name__}, not bytes"
        raise CodecError(message).in_plain()
    return made


def envelope(marker: Marker) -> bytes:
    """The JSON that stands for what the marker describes."""
    return msgspec.json.encode(_Envelope(marker))


def read_marker(raw: bytes | msgspec.Raw) -> Marker | None:
    """The marker that this JSON is; None if it is a value like any other."""
    if bytes(memoryview(raw)[: len(MARK)]) != MARK:
        return None
    try:
        return msgspec.json.decode(raw, type=_Envelope).marker
    except (msgspec.DecodeError, RecursionError) as error:
        message = f'an object that begins with "$buquet" is buquet\'s own, and this is none: {error}'
        raise CodecError(message, may_help=False).in_plain() from error
