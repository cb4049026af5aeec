"""A run's journal as a timeline. Nothing here does I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeAlias

    Entry: TypeAlias = Mapping[str, Any]

_SHOWN = 120


class Line(NamedTuple):
    """One entry: when, whether it is about an end, and what happened."""

    at: datetime
    op: int | None
    outcome: str
    """``asked``, or how the operation ended."""
    text: str


def timeline(entries: Sequence[Entry]) -> list[Line]:
    """Say what each entry means."""
    return [_line(place, entry, entries) for place, entry in enumerate(entries)]


def _line(place: int, entry: Entry, entries: Sequence[Entry]) -> Line:
    at = _time(entry["at"])
    if "ask" in entry:
        if entry["ask"] == "cancel":
            return Line(at, entry["op"], "asked", f"gives up {_named(_ask(entry, entries))}")
        return Line(at, place, "asked", f"asks for {_named(entry)}{_details(entry)}")
    if entry["told"] == "cancel":
        by = f" by {entry['by']}" if entry.get("by") else ""
        reason = f": {entry['reason']}" if entry.get("reason") else ""
        return Line(at, None, "cancelled", f"is to be cancelled{by}{reason}")
    ask = _ask(entry, entries)
    took = timedelta(milliseconds=entry["at"] - ask["at"])
    outcome = "completed" if entry["told"] in {"timer", "select"} else entry.get("outcome", "completed")
    attempts = entry.get("attempts", 0)
    spent = f", {attempts} attempts" if attempts > 1 else ""
    return Line(at, entry["op"], outcome, f"{_named(ask)} {_ended(entry, outcome)} after {length(took)}{spent}")


def _ask(entry: Entry, entries: Sequence[Entry]) -> Entry:
    """What an entry is about."""
    op: int = entry["op"]
    return entries[op]


def _named(ask: Entry) -> str:
    number = f" #{ask['n'] + 1}" if ask.get("n") else ""
    scope = f" in {ask['scope']}" if ask.get("scope") else ""
    undoes = f" (undoes {ask['compensates']})" if "compensates" in ask else ""
    name = "" if ask.get("name") in {None, "sleep", "select", "callback"} else f" {ask['name']}"
    return f"{ask['ask']}{name}{number}{scope}{undoes}"


def _details(ask: Entry) -> str:
    if ask["ask"] == "select":
        return f" of {', '.join(ask.get('arms', {}))}"
    until: int | None = ask.get("until")
    return "" if until is None else f" until {_time(until):%Y-%m-%d %H:%M:%S}"


def _ended(told: Entry, outcome: str) -> str:
    if told["told"] == "timer":
        return "fired"
    if told["told"] == "select":
        return f"chose {told.get('arm')}"
    error = told.get("error")
    if error:
        return f"{outcome} ({_short('{type}: {message}'.format(**error))})"
    return {"timeout": "timed out", "completed": "arrived" if told["told"] == "signal" else "completed"}.get(
        outcome, outcome
    )


def _short(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def length(took: timedelta) -> str:
    """A length of time, exact enough to see what was slow."""
    seconds = max(0.0, took.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.1f} s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.1f} min"


def _time(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def changed(before: Mapping[str, int], now: Mapping[str, int]) -> Iterable[str]:
    """What has become more or fewer between two looks at a run."""
    return [f"{count} {name}" for name, count in now.items() if count != before.get(name, 0)]
