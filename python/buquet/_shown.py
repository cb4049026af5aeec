"""Stored values for people who have no codecs: what was sealed, and by what, instead of what it looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from buquet._chain import MARK, Marker, read_marker
from buquet.codecs import AesGcm
from buquet.errors import CodecError

if TYPE_CHECKING:
    from buquet._models import Payload


def shown(value: Any, elsewhere: Payload | None = None) -> str:
    """A value as JSON; what passed through codecs, is bytes or a file, or lies elsewhere, is described."""
    if value is None and elsewhere is not None:
        return f"<{elsewhere.bytes} bytes of JSON in a payload>"
    plain = _plain(value)
    is_described = isinstance(plain, str) and not isinstance(value, str)
    return plain if is_described else msgspec.json.encode(plain).decode()


def shown_error(message: str) -> str:
    """An error's message, or what it was sealed by."""
    raw = message.encode(errors="replace")
    if not raw.startswith(MARK):
        return message
    try:
        return _described(read_marker(raw)) or message
    except CodecError:
        return message


def shown_traceback(text: str) -> str:
    """A stored traceback, indented and without control characters: it cannot pass for lines of anybody's log."""
    lines = text.rstrip("\n").split("\n")
    return "\n".join("  " + "".join(char if char.isprintable() else _escaped(char) for char in line) for line in lines)


def _escaped(char: str) -> str:
    return char if char == "\t" else char.encode("unicode_escape").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    try:
        described = _described(read_marker(msgspec.json.encode(members))) if len(members) == 1 else None
    except CodecError:
        described = None
    return described or {name: _plain(item) for name, item in members.items()}


def _described(marker: Marker | None) -> str | None:
    if marker is None:
        return None
    where = "" if marker.data is not None else " in a payload"
    if marker.data is not None:
        length = f"{len(marker.data)} bytes"
    else:
        length = "bytes" if marker.size is None else f"{marker.size} bytes"
    if marker.file is not None:
        return f"<file {marker.name!r}, {length}{where}{_by(marker)}>"
    if marker.blob is not None:
        return f"<{length}{where}{_by(marker)}>"
    return f"<{length}{where}{_by(marker)}>" if marker.is_seal else None


def _by(marker: Marker) -> str:
    """By what it was sealed. Names and ids only: no key is stored."""
    names = list(marker.codec)
    if not names:
        return ""
    key_id = None
    if marker.data is not None and names[-1] == AesGcm.name:  # the last codec's output is what is stored
        key_id = AesGcm.key_id(marker.data)
    return f", sealed by {', '.join(names)}" + ("" if key_id is None else f" with the key {key_id!r}")
