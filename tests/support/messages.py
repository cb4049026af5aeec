"""As much of HTTP/1.1 as the fault proxy needs: messages read from and written to asyncio streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Message:
    """A request or an answer: its first line, headers in order, and body as it was framed."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def method(self) -> str:
        """A request's method."""
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        """A request's path and query."""
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        """An answer's status."""
        return int(self.first.split(" ")[1])

    def get(self, name: str) -> str:
        """Return a header's value, empty where it is absent."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def has(self, name: str) -> bool:
        """Return whether the header is present."""
        return any(key.lower() == name for key, _ in self.headers)

    def without(self, names: frozenset[str]) -> Self:
        """Return the message with these headers left out; names are lower case."""
        return replace(self, headers=tuple(entry for entry in self.headers if entry[0].lower() not in names))

    def with_header(self, name: str, value: str) -> Self:
        """Return the message with this header in place of any other of its name."""
        rest = self.without(frozenset({name.lower()})).headers
        return replace(self, headers=(*rest, (name, value)))

    def with_body(self, body: bytes) -> Self:
        """Return the message with another body."""
        return replace(self, body=body)

    def encode(self) -> bytes:
        """Return the bytes to send."""
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


async def read_head(reader: StreamReader) -> Message | None:
    """Read a first line and headers; None where the connection ended."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(first=first, headers=tuple((name, value.strip()) for name, _, value in pairs))


async def read_message(reader: StreamReader, writer: StreamWriter) -> Message | None:
    """Read a whole request; None where the connection ended between requests."""
    head = await read_head(reader)
    if head is None:
        return None
    if head.get("expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = head.without(frozenset({"expect"}))
    if "chunked" in head.get("transfer-encoding").lower():
        return head.with_body(await read_chunks(reader))
    length = int(head.get("content-length") or 0)
    if length > MAX_BODY:
        raise asyncio.IncompleteReadError(b"", length)
    return head.with_body(await reader.readexactly(length))


async def read_chunks(reader: StreamReader) -> bytes:
    """Read a chunked body and return it as it came, framing included."""
    parts: list[bytes] = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2)]
        if size == 0:
            return b"".join(parts)
