"""The entries of a run's journal: what its body asked for, and what it was told."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from buquet.errors import CorruptError

AskKind: TypeAlias = Literal["step", "call", "child", "timer", "signal", "select", "callback", "cancel"]
ToldKind: TypeAlias = Literal["step", "call", "child", "timer", "signal", "select", "callback", "cancel"]


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An exception as the journal has it."""

    type: str
    """Its class with its module; of built-in ones and those of ``buquet.errors`` the class alone."""
    message: str
    traceback: str | None = None
    args: list[Any] | UnsetType | None = UNSET
    """What it was made with, where JSON brings that back as it was; left out where that is the message alone."""
    state: dict[str, Any] = {}
    """Those of its attributes that JSON brings back as they were."""
    notes: list[str] = []
    cause: ErrorInfo | None = None
    context: ErrorInfo | None = None
    errors: list[ErrorInfo] = []
    """Those in a group."""
    op: int | None = None
    """The operation that failed with it, where the body passed its error on."""


class Ask(msgspec.Struct, kw_only=True):
    """The body asked for an operation, or cancelled one (``cancel``)."""

    ask: AskKind
    scope: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    n: int | UnsetType = UNSET
    """How many of this kind and name came before it in its scope."""
    at: int | UnsetType = UNSET
    """Milliseconds since the epoch. The engine sets it."""
    args: dict[str, str] | UnsetType | None = UNSET
    """16 hex characters of each argument's digest; None where they are not compared."""
    op: int | UnsetType = UNSET
    retry: dict[str, Any] | UnsetType = UNSET
    timeout_ms: int | UnsetType = UNSET
    at_most_once: bool | UnsetType = UNSET
    compensates: int | UnsetType = UNSET
    on_failure: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    workflow: str | UnsetType = UNSET
    run: str | UnsetType = UNSET
    on_close: str | UnsetType = UNSET
    input: Any = UNSET
    options: dict[str, Any] | UnsetType = UNSET
    until: int | UnsetType | None = UNSET
    heartbeat_ms: int | UnsetType | None = UNSET
    arms: dict[str, dict[str, Any]] | UnsetType = UNSET

    @property
    def identity(self) -> Identity:
        """What two asks have in common if they are the same one."""
        if self.ask == "cancel":
            return "cancel", "", "", int(self.op or 0)
        return self.ask, self.scope or "", self.name or "", int(self.n or 0)


Identity: TypeAlias = tuple[str, str, str, int]


class Told(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the body was told: how an operation ended, or (``cancel``) that its run is to be cancelled."""

    told: ToldKind
    at: int
    """Milliseconds since the epoch."""
    op: int = -1
    outcome: Literal["completed", "failed", "cancelled", "timeout", "skipped"] = "completed"
    output: msgspec.Raw | UnsetType = UNSET
    """The result's JSON, also where the store has it in an object of its own (``output_ref``)."""
    output_ref: dict[str, Any] | None = None
    error: ErrorInfo | None = None
    attempts: int = 0
    payload: msgspec.Raw | UnsetType = UNSET
    payload_ref: dict[str, Any] | None = None
    sent_at: int | None = None
    id: str | None = None
    arm: str | None = None
    reason: str | None = None
    by: str | None = None


Entry: TypeAlias = Ask | Told


class _Either(msgspec.Struct):
    ask: str | None = None
    told: str | None = None


def read_entries(raw: bytes | msgspec.Raw) -> list[Entry]:
    """Read a journal's entries from JSON.

    :raises CorruptError: they are no entries; it says which one.
    """
    try:
        raws = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.DecodeError as error:
        raise CorruptError(f"a journal is a list of entries, and this is none: {error}") from error
    return [_read(place, each) for place, each in enumerate(raws)]


def _read(place: int, raw: msgspec.Raw) -> Entry:
    try:
        either = _EITHER.decode(raw)
        if (either.ask is None) == (either.told is None):
            raise CorruptError(f"entry {place} of the journal is neither an ask nor a told: {bytes(raw)[:200]!r}")
        return _ASK.decode(raw) if either.told is None else _TOLD.decode(raw)
    except msgspec.DecodeError as error:
        raise CorruptError(f"entry {place} of the journal cannot be read: {error}") from error


def write_entry(entry: Entry) -> bytes:
    """Write an entry as JSON."""
    return _ENCODER.encode(entry)


_EITHER = msgspec.json.Decoder(_Either)
_ASK = msgspec.json.Decoder(Ask)
_TOLD = msgspec.json.Decoder(Told)
_ENCODER = msgspec.json.Encoder()
