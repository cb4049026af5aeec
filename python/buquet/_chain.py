"""The chain of codecs, and the envelope that says what a stored value passed through."""

from __future__ import annotations

import msgspec

from buquet.codecs import LARGEST_FRAME, Codec, Zstd
from buquet.errors import BuquetError, CodecError, InvalidError

MARK = b'{"$buquet"'
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


class _Envelope(msgspec.Struct, frozen=True, rename={"marker": "$buquet"}):
    marker: Marker


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

    def __bool__(self) -> bool:
        """Whether there is any codec."""
        return bool(self.codecs)

    def check_comparable(self) -> None:
        """Refuse to know tasks by their inputs where those may be secret.

        A key that is made of an input is stored and shown. Its readers would learn which inputs are equal, and could
        try out what a short one is. Compression hides nothing; of other codecs nobody knows.

        :raises InvalidError: there is a codec that may hide what passes through it.
        """
        hiding = [codec.name for codec in self.codecs if not isinstance(codec, Zstd)]
        if hiding:
            raise InvalidError(
                f"unique=True knows a task by its input, which here passes through {', '.join(hiding)} to be kept "
                "secret; give idempotency_key= instead, such as the id of an order"
            )

    def encode(self, frame: bytes, context: bytes) -> bytes:
        """Pass one frame through all of them."""
        for codec in self.codecs:
            frame = codec.encode(frame, context)
        if len(frame) > LARGEST_FRAME:
            raise CodecError(f"{', '.join(self.names)} made {len(frame)} bytes of one frame; the most is 4 MiB")
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
                f"(there is {here}): give it to Buquet(codecs=[...]) or connect(codecs=[...])",
                may_help=True,
            )
        for name in reversed(names):
            try:
                frame = self._by_name[name].decode(frame, context)
            except BuquetError:
                raise
            except Exception as error:
                raise CodecError(f"{name}: what is stored cannot be decoded ({type(error).__name__})") from error
        return frame


def envelope(marker: Marker) -> bytes:
    """The JSON that stands for what the marker describes."""
    return msgspec.json.encode(_Envelope(marker))


def read_marker(raw: bytes | msgspec.Raw) -> Marker | None:
    """The marker that this JSON is; None if it is a value like any other."""
    if bytes(memoryview(raw)[: len(MARK)]) != MARK:
        return None
    try:
        return msgspec.json.decode(raw, type=_Envelope).marker
    except msgspec.DecodeError as error:
        raise CodecError(f'an object that begins with "$buquet" is buquet\'s own, and this is none: {error}') from error
