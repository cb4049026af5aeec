"""Values on their way into JSON, with the bytes and files that do not go there; and back.

While a value is encoded, what is too large or too binary for JSON is set aside, and a marker takes its place. While
one is decoded, markers turn back into what they stand for. Which value that is, the context says.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from buquet._chain import MEMBER, Marker, envelope
from buquet._files import File, length_of
from buquet.errors import CodecError, CorruptError

if TYPE_CHECKING:
    from collections.abc import Generator

INLINE_BYTES = 32 * 1024
"""Longer ``bytes`` are stored as they are, in pieces; up to here they are base64 in the JSON."""


class Source:
    """Something to be stored piece by piece, and the random name that its frames are bound to."""

    __slots__ = ("content", "size", "stream")

    def __init__(self, content: bytes | File) -> None:
        """Take a value on."""
        self.content = content
        self.size = length_of(content) if isinstance(content, File) else len(content)
        """How long it is, if that can be known."""
        self.stream = secrets.token_hex(8)


class Packing:
    """One value that is being encoded."""

    def __init__(self, codecs: list[str]) -> None:
        """Begin; ``codecs`` are those that its parts will pass through."""
        self.codecs = codecs
        self.sources: list[Source] = []

    def set_aside(self, content: bytes | File, *, whole: bool = False) -> Marker:
        """Keep a part for later; gives what stands for it. ``whole`` is the JSON of all the value."""
        source = Source(content)
        number = len(self.sources)
        self.sources.append(source)
        common: dict[str, Any] = {"codec": self.codecs, "stream": source.stream}
        if isinstance(content, File):
            return Marker(file=number, name=content.name, size=source.size, **common)
        if whole:
            return Marker(json=number, size=source.size, **common)
        return Marker(blob=number, size=source.size, **common)


class Unpacking(Protocol):
    """One value that is being decoded."""

    def file(self, marker: Marker) -> File:
        """Give the file that a marker stands for."""
        ...

    def bytes_of(self, marker: Marker) -> bytes:
        """Read the bytes that a marker stands for."""
        ...


# One variable for both: a signal handler may encode a value while another one is being decoded, or the reverse.
_state: ContextVar[Packing | Unpacking | None] = ContextVar("buquet_packing", default=None)


@contextmanager
def packing(state: Packing | None) -> Generator[None]:
    """Set bytes and files aside that are met while a value is encoded here; without a state it is encoded whole."""
    token = _state.set(state)
    try:
        yield
    finally:
        _state.reset(token)


@contextmanager
def unpacking(state: Unpacking) -> Generator[None]:
    """Turn the markers back that are met while a value is decoded here."""
    token = _state.set(state)
    try:
        yield
    finally:
        _state.reset(token)


def set_aside(value: object) -> bytes | None:
    """The JSON that stands for a value that does not go into JSON; None for all others."""
    state = _state.get()
    if not isinstance(state, Packing) or not (
        isinstance(value, File) or (type(value) is bytes and len(value) > INLINE_BYTES)
    ):
        return None
    return envelope(state.set_aside(value))


def set_aside_nested(file: File) -> dict[str, Any]:
    """Likewise for a file inside of a value."""
    state = _state.get()
    if not isinstance(state, Packing):
        raise TypeError(f"{file!r} goes into arguments and results of tasks, and nowhere else")
    return {MEMBER: msgspec.to_builtins(state.set_aside(file))}


def restore(marker: Marker) -> Any:
    """What a marker stands for: while a value is encoded, what was set aside, to compare it with an annotation.

    :raises CodecError: it stands for a whole value, which nobody has opened.
    :raises CorruptError: it speaks of a payload that its task does not have.
    """
    number = marker.blob if marker.file is None else marker.file
    if number is None:
        message = "a value that passed through codecs lies inside of another: it was not stored by buquet"
        raise CodecError(message, may_help=False).in_plain()
    state = _state.get()
    if isinstance(state, Packing):
        return state.sources[number].content if 0 <= number < len(state.sources) else None
    if state is not None:
        return state.bytes_of(marker) if marker.file is None else state.file(marker)
    raise CorruptError(f"a value speaks of payload {number}, and its task has 0")
