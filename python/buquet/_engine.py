"""What the Python side asks of an engine: the C ABI's shape, so that tests can stand in for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec


class CompletionQueue(Protocol):
    """One completion queue: operations go in, completions come out."""

    def submit(self, op: str, request: bytes, token: int) -> None:
        """Start an operation; it completes exactly once, under ``token``."""
        ...

    def cancel(self, token: int) -> None:
        """Give an operation up, if that is still possible; it completes all the same."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable while completions wait."""
        ...

    def wait(self, timeout_ms: int) -> bool:
        """Wait for a completion; False when none came in time."""
        ...

    def drain(self, limit: int) -> bytes | None:
        """Up to ``limit`` completions as a JSON array; None when there are none."""
        ...

    def close(self) -> None:
        """Abort what runs, wake who waits, free the queue. Closing twice is harmless."""
        ...


class Engine(Protocol):
    """One engine: a connection pool to one queue's store."""

    def open_queue(self) -> CompletionQueue:
        """Open a completion queue."""
        ...

    def close(self, timeout_ms: int) -> None:
        """Stop, giving what runs up to ``timeout_ms``. Closing twice is harmless."""
        ...


EngineOpener: TypeAlias = Callable[[bytes], Engine]
"""Opens an engine from its configuration, a JSON object."""


class ReportedError(msgspec.Struct, frozen=True):
    """The error half of a completion."""

    code: str
    message: str


NO_ANSWER = msgspec.Raw(b"")


class Notice(msgspec.Struct, frozen=True):
    """Something the engine tells people, which belongs to no operation."""

    level: str
    message: str


class Completion(msgspec.Struct, frozen=True):
    """How one operation ended."""

    token: int
    ok: msgspec.Raw = NO_ANSWER
    error: ReportedError | None = None
    notices: list[Notice] = []


completions = msgspec.json.Decoder(list[Completion])
