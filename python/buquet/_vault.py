"""Between values and the store: codecs, bytes and files in payloads of their own.

All that reaches the store here blocks; async callers use a thread for it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from buquet import _codec, _ops
from buquet._allocator import joined
from buquet._chain import FRAME, Chain, Marker, Place, envelope, is_envelope, read_marker
from buquet._files import File
from buquet._fitting import fits
from buquet._packing import Packing, Source, packing, unpacking
from buquet.errors import CorruptError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from buquet._client import Check, Client
    from buquet._models import Payload, Task

JSON_LIMIT = 4 * 1024 * 1024
"""The engine takes no more JSON than this for one value; more is stored as a payload."""
_SEALED_INLINE = 24 * 1024
"""What is no longer than this after the codecs stays in the record."""


Known: TypeAlias = Literal["input", "key"] | None
Parts: TypeAlias = "tuple[bytes, Payload | None, list[Payload], Place]"
"""A delivery without its vault."""


class Parcel(NamedTuple):
    """A value as it goes to the engine, with what is to be stored before."""

    json: bytes
    sources: list[Source]
    place: Place
    plain: bytes | None = None
    """The input that ``json`` stands for, where the engine cannot read it there."""


class Vault:
    """What a client does with values."""

    def __init__(self, client: Client, chain: Chain) -> None:
        """Work for ``client``."""
        self.client = client
        self.chain = chain

    def pack(self, encode: Callable[[], bytes], what: str, kind: str, *, known_by: Known = None) -> Parcel:
        """Encode a value; what does not go into its JSON is set aside. Nothing is stored yet.

        :param what: ``input`` or ``result``.
        :param kind: the task type.
        :param known_by: what makes a task the only one of its kind. Its input is then stored as it is, for the engine
            to compare; if that is a key, it passes through the codecs as any other.
        :raises InvalidError: the task is to be known by a value that is to be kept secret, or that is too large.
        """
        if known_by == "input":
            self.chain.check_comparable()
        state = Packing(self.chain.names)
        with packing(state):
            raw = encode()
        place = Place(what, kind)
        plain: bytes | None = None
        if (self.chain and known_by != "input") or len(raw) > JSON_LIMIT:
            plain = raw if what == "input" else None
            raw = self._seal(raw, state, place)
        if known_by is not None and state.sources:
            raise InvalidError(
                f"a unique task of type {kind!r} cannot have files, bytes over 32 KiB, or an input over 4 MiB "
                "(24 KiB where it is encrypted): store that elsewhere, and submit its name"
            )
        return Parcel(raw, state.sources, place, plain)

    def _seal(self, raw: bytes, state: Packing, place: Place) -> bytes:
        if len(raw) <= FRAME:
            data = self.chain.encode(raw, place.context())
            if len(data) <= _SEALED_INLINE:
                return envelope(Marker(codec=self.chain.names, data=data))
        return envelope(state.set_aside(raw, whole=True))

    def fits(self, parcels: Sequence[Parcel], operations: int = 1) -> Check:
        """Have the engine check inputs before anything of them is stored."""
        return fits(parcels, operations, secret=self.client.keeps_secrets)

    def send(self, parcel: Parcel, owner: str | None = None) -> list[Payload]:
        """Store what was set aside, before the commit that names it. Blocks.

        :param owner: the task whose result it is; None for one that is yet to be submitted.
        """
        payloads: list[Payload] = []
        for source in parcel.sources:
            payload = self._send_one(source, parcel.place, owner)
            owner = owner or payload.owner
            payloads.append(payload)
        return payloads

    def _send_one(self, source: Source, place: Place, owner: str | None) -> Payload:
        upload: str | None = None
        frames = _with_last(_frames(source))
        for number, (frame, last) in enumerate(frames):
            data = self.chain.encode(frame, place.context(source.stream, number, last=last))
            del frame
            written = self.client.call(_ops.payload_write(data, upload, None if upload else owner, last=last))
            upload = written.upload
            if written.payload is not None:
                return written.payload
        raise CorruptError("the engine did not say what it calls a payload")

    def frames(self, payload: Payload, marker: Marker, place: Place) -> Iterator[bytes]:
        """Read a payload back, piece by piece. All of it was good if the last piece comes. Blocks.

        :raises CorruptError: it is not what the record says.
        :raises CodecError: it cannot be decoded.
        """
        digest, length = hashlib.sha256(), 0
        for number in range(payload.pieces):
            last = number + 1 == payload.pieces
            data = self.client.call(_ops.payload_read(payload, number))
            digest.update(data)
            length += len(data)
            if last and (length != payload.bytes or digest.hexdigest() != payload.sha256):
                raise CorruptError(f"payload {payload.id} of record {payload.owner} is not what was written there")
            yield self.chain.decode(data, marker.codec, place.context(marker.stream, number, last=last))

    def delivery(self, task: Any, raw: bytes | msgspec.Raw, what: str) -> Delivery:
        """What a task or an assignment holds, to be opened: its input or its result."""
        is_input = what == "input"
        ref = task.input_ref if is_input else task.output_ref
        files = task.input_files if is_input else task.output_files
        return Delivery(self, raw, ref, files, Place(what, task.type))

    def result_of(self, task: Task, kind: Any) -> Any:
        """The result that a task holds, decoded. Blocks where ``is_remote`` says so.

        :raises DecodeError: it does not fit the type.
        """
        what = f"the result of task {task.id}"
        if _is_plain(task):
            return _codec.convert(task.output, kind, what)
        delivery = self.delivery(task, msgspec.json.encode(task.output), "result")
        return delivery.read(lambda raw: _codec.decode(raw, kind, what))

    @staticmethod
    def is_remote(task: Task) -> bool:
        """Whether reading the result takes more than what is in ``task``."""
        return bool(task.output_ref or task.output_files)


class Delivery:
    """A value that came from the engine: opened where it is decoded."""

    __slots__ = ("_files", "_place", "_raw", "_ref", "_vault")

    def __init__(
        self, vault: Vault, raw: bytes | msgspec.Raw, ref: Payload | None, files: list[Payload], place: Place
    ) -> None:
        """Take it as it came."""
        self._vault = vault
        self._raw = raw
        self._ref = ref
        self._files = files
        self._place = place

    @property
    def vault(self) -> Vault:
        """Where it comes from."""
        return self._vault

    @property
    def is_remote(self) -> bool:
        """Whether opening it may ask the store."""
        return bool(self._files) or self._ref is not None

    def parts(self) -> Parts:
        """What another process needs to open it."""
        return bytes(self._raw), self._ref, self._files, self._place

    def read(self, decode: Callable[[bytes | msgspec.Raw], Any]) -> Any:
        """Decode the value. Blocks if it ``is_remote``."""
        raw = self.open()
        if not self._files:
            return decode(raw)
        with unpacking(self):
            return decode(raw)

    def open(self) -> bytes | msgspec.Raw:
        """The value's JSON.

        :raises CodecError: it passed through codecs that are not here, or cannot be decoded.
        :raises CorruptError: a payload is gone or was changed.
        """
        raw = self._raw
        if self._ref is not None and bytes(raw) == b"null":
            raw = self._vault.client.call(_ops.payload_read(self._ref, 0))
        marker = read_marker(raw)
        if marker is None or not marker.is_seal:
            return raw
        if marker.data is not None:
            return self._vault.chain.decode(marker.data, marker.codec, self._place.context())
        return joined(self._frames(marker, marker.json))

    def _frames(self, marker: Marker, number: int | None) -> Iterator[bytes]:
        return self._vault.frames(self._payload(number), marker, self._place)

    def _payload(self, number: int | None) -> Payload:
        if number is None or not 0 <= number < len(self._files):
            raise CorruptError(f"a value speaks of payload {number}, and its task has {len(self._files)}")
        return self._files[number]

    def file(self, marker: Marker) -> File:
        """Give the file that a marker stands for."""
        self._payload(marker.file)  # one that is not there is told now, not where it is read
        return File.from_store(_StoredFile(self, marker), marker.name, marker.size)

    def file_frames(self, marker: Marker) -> Iterator[bytes]:
        """Give the content of such a file."""
        return self._frames(marker, marker.file)

    def bytes_of(self, marker: Marker) -> bytes:
        """Read the bytes that a marker stands for."""
        return joined(self._frames(marker, marker.blob))


class _StoredFile:
    def __init__(self, delivery: Delivery, marker: Marker) -> None:
        self._delivery = delivery
        self._marker = marker

    def pieces(self) -> Iterator[bytes]:
        return self._delivery.file_frames(self._marker)


def _frames(source: Source) -> Iterator[bytes]:
    content = source.content
    if isinstance(content, File):
        yield from content.pieces() if source.size is None else _as_long_as(source.size, content)
        return
    view = memoryview(content)
    for start in range(0, len(view), FRAME):
        yield bytes(view[start : start + FRAME])


def _as_long_as(size: int, file: File) -> Iterator[bytes]:
    """The content as it was when its length was noted: of a file that is being added to, no more than that.

    :raises InvalidError: there is less by now.
    """
    rest = size
    for piece in file.pieces():
        if rest == 0:
            return
        yield piece[:rest]
        rest -= len(piece[:rest])
    if rest > 0:
        raise InvalidError(f"{file!r} had {size} bytes, and {rest} of them were gone when it was read")


def _with_last(frames: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each frame, and whether it is the last; an empty one if there is none."""
    before: bytes | None = None
    for frame in frames:
        if before is not None:
            yield before, False
        before = frame
    yield before or b"", True


def _is_plain(task: Task) -> bool:
    if task.output_ref is not None or task.output_files:
        return False
    return not is_envelope(task.output)
