"""The place in a run's journal: what is recorded is matched with what the body asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from buquet.errors import CorruptError, MismatchError
from buquet.workflow._entries import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from buquet.workflow._entries import Entry, Identity, Told


class Recorded(NamedTuple):
    """One told of the journal with the asks behind it; the first has no told."""

    told: Told | None
    position: int
    """Where the told stands."""
    end: int
    """Where the next one stands, or would."""
    asks: dict[Identity, tuple[int, Ask]]
    is_last: bool


def blocks(entries: Sequence[Entry]) -> Iterator[Recorded]:
    """Part a journal into blocks."""
    told: Told | None = None
    position = 0
    asks: dict[Identity, tuple[int, Ask]] = {}
    for place, entry in enumerate(entries):
        if isinstance(entry, Ask):
            if entry.identity in asks:
                raise CorruptError(
                    f"entry {place} of the journal asks for {shown(entry)}, as another of its block does"
                )
            asks[entry.identity] = (place, entry)
        else:
            yield Recorded(told, position, place, asks, is_last=False)
            told, position, asks = entry, place, {}
    yield Recorded(told, position, len(entries), asks, is_last=True)


class Cursor:
    """Matches the asks of a body, block by block."""

    def __init__(self, entries: Sequence[Entry], versions: tuple[str | None, str | None]) -> None:
        """Begin before the first block; ``versions`` are the recorded one and that of the code."""
        self._entries = entries
        self._versions = versions
        self.length = len(entries)
        """Entries there are, with those that the body adds."""
        self._block: Recorded | None = None
        self._last_asked: Ask | None = None

    def enter(self, block: Recorded) -> None:
        """Go on to this block."""
        self._block = block
        self._last_asked = None

    def leave(self, doing: Callable[[], str]) -> None:
        """Check that the body has asked for all that is recorded; ``doing`` says what it does instead.

        :raises MismatchError: it has not.
        """
        block, self._block = self._block, None
        if block is not None and block.asks:
            asked = shown(self._last_asked) if self._last_asked is not None else f"nothing: the body {doing()}"
            position, recorded = next(iter(block.asks.values()))
            raise self.mismatch(position, shown(recorded), asked)

    def take(self, ask: Ask) -> tuple[int, Ask | None]:
        """The number of this ask, and its record; None if it is a new one.

        :raises MismatchError: it should be recorded and is not, or with other arguments.
        """
        block = self._block
        found = None if block is None else block.asks.pop(ask.identity, None)
        if found is not None:
            position, recorded = found
            self._compare(position, recorded, ask)
            return position, recorded
        self._last_asked = ask
        if block is None or block.is_last:
            self.length += 1
            return self.length - 1, None
        position, recorded = next(iter(block.asks.values()), (block.end, None))
        raise self.mismatch(position, self._there(position) if recorded is None else shown(recorded), shown(ask))

    def would_patch(self) -> bool:
        """Whether code that is new takes effect here: nothing that is recorded lies ahead."""
        return self._block is None or (self._block.is_last and not self._block.asks)

    def _there(self, position: int) -> str:
        """What the journal has at a place where no ask is left."""
        after = self._entries[position]
        if isinstance(after, Ask):
            return shown(after)
        return f"nothing more before it was told {told_shown(after)}"

    def _compare(self, position: int, recorded: Ask, asked: Ask) -> None:
        if isinstance(recorded.args, dict) and isinstance(asked.args, dict) and recorded.args != asked.args:
            names = [*recorded.args, *(name for name in asked.args if name not in recorded.args)]
            name = next(name for name in names if recorded.args.get(name) != asked.args.get(name))
            before, now = _digest(recorded.args, name), _digest(asked.args, name)
            raise self.mismatch(position, f"{shown(recorded)} ({before})", f"{shown(asked)} ({now})", argument=name)
        if recorded.arms is not UNSET and asked.arms is not UNSET and _arms(recorded) != _arms(asked):
            raise self.mismatch(
                position, f"{shown(recorded)} of {_listed(recorded)}", f"{shown(asked)} of {_listed(asked)}"
            )

    def mismatch(self, position: int, recorded: str, asked: str, *, argument: str | None = None) -> MismatchError:
        """Build the error for code that does not fit the journal."""
        before, now = self._versions
        differ = f"; recorded by version {before or 'none'}, this is version {now or 'none'}" if before != now else ""
        where = f"argument {argument!r} of " if argument else ""
        return MismatchError(
            f"entry {position} of the journal: {where}{recorded} was recorded, and the code now asks for "
            f"{asked}{differ}; either the body was changed (let it ask ctx.patched(...), or deploy code that fits) "
            "or it is not deterministic, as with the order of a set, a clock or a random number of its own",
            position=position,
            recorded=recorded,
            asked=asked,
            argument=argument,
            recorded_version=before,
            version=now,
        )


def shown(ask: Ask) -> str:
    """An ask as messages show it."""
    if ask.ask == "cancel":
        return f"cancel of operation {ask.op}"
    number = f" #{ask.n + 1}" if isinstance(ask.n, int) and ask.n else ""
    scope = f" in scope {ask.scope}" if ask.scope else ""
    name = f"{ask.ask} {ask.name!r}" if ask.name not in (ask.ask, "sleep") else str(ask.name)
    return f"{name}{number}{scope}"


def told_shown(told: Told) -> str:
    """What the body was told, as messages show it."""
    return "that it is to be cancelled" if told.told == "cancel" else f"how {told.told} {told.op} ended"


def _digest(args: dict[str, str], name: str) -> str:
    """What is known of an argument."""
    return f"its digest: {args[name]}" if name in args else "without it"


def _listed(ask: Ask) -> str:
    return ", ".join(f"{label} ({arm})" for label, arm in _arms(ask).items())


def _arms(ask: Ask) -> dict[str, str]:
    """What a select waits for; until when is not compared."""
    arms = ask.arms if isinstance(ask.arms, dict) else {}
    return {
        label: f"signal {arm['signal']}" if "signal" in arm else f"operation {arm['op']}" if "op" in arm else "a timer"
        for label, arm in arms.items()
    }
