"""The options of a run's start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, cast

import msgspec
from msgspec import UNSET, UnsetType

from buquet._about import about_fields
from buquet._durations import wire_time
from buquet._models import check_text
from buquet._names import did_you_mean
from buquet._options import submit_options
from buquet.errors import EncodeError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from buquet._client import Client
    from buquet._durations import Duration

OnExisting: TypeAlias = Literal["return", "reject", "again_if_ended", "again_if_failed"]
_ON_EXISTING = ("return", "reject", "again_if_ended", "again_if_failed")


class StartWith(TypedDict, total=False):
    """What ``options(...)`` of a workflow takes, and ``start`` beside the arguments of the body."""

    id: str | None
    """What the run is called, 1 to 128 characters. Runs of one name are one: a second start finds the first."""
    on_existing: OnExisting
    """What a start does whose ``id`` is taken: ``"return"`` (the default) gives that run if workflow and input are the
    same; ``"reject"`` refuses; ``"again_if_ended"`` and ``"again_if_failed"`` start it anew if it has ended, or has not
    completed."""
    timeout: Duration | None
    """How long the whole run may take, a duration. When it is over the run is cancelled, and fails."""
    deadline: datetime | None
    """The same as a point in time, an aware ``datetime``."""
    priority: int | None
    """0 to 9, 9 runs first (default 5)."""
    delay: Duration | None
    """Earliest start from now, a duration."""
    at: datetime | None
    """Earliest start, an aware ``datetime``."""
    tags: Iterable[str]
    """Up to 16 words to find the run by."""
    metadata: Mapping[str, str]
    """Up to 4 KiB of text by name."""


_ABOUT = ("tags", "metadata")
NAMES = frozenset(StartWith.__annotations__)


class StartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options in the engine's terms. What is unset takes the engine's default."""

    id: str | UnsetType = UNSET
    on_existing: str | UnsetType = UNSET
    timeout: float | str | UnsetType = UNSET
    deadline: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    delay: float | str | UnsetType = UNSET
    at: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET

    def request(self) -> dict[str, Any]:
        """What is set."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}

    def over(self, base: StartOptions) -> StartOptions:
        """These options on top of ``base``."""
        mine, theirs = self.request(), base.request()
        for one, other in (("delay", "at"), ("at", "delay"), ("timeout", "deadline"), ("deadline", "timeout")):
            if one in mine:
                theirs.pop(other, None)
        return StartOptions(**{**theirs, **mine})

    def for_many(self) -> StartOptions:
        """These for several runs.

        :raises InvalidError: one of them is for a single run.
        """
        if self.id is not UNSET or self.on_existing is not UNSET:
            raise InvalidError("several runs are started without id= and on_existing=; start those one by one")
        return self


def start_options(given: StartWith) -> StartOptions:
    """Check options and put them in the engine's terms.

    :raises InvalidError: an option has the wrong type or is out of its range.
    :raises TypeError: there is no such option.
    """
    if unknown := given.keys() - NAMES:
        name = min(unknown)
        raise TypeError(f"unexpected keyword argument {name!r}{did_you_mean(name, NAMES)}")
    fields: dict[str, Any] = {}
    if (run_id := given.get("id")) is not None:
        check_text(run_id, "id")
        fields["id"] = run_id
    if "on_existing" in given:
        if given["on_existing"] not in _ON_EXISTING:
            raise InvalidError(f"on_existing={given['on_existing']!r} must be one of {', '.join(_ON_EXISTING)}")
        fields["on_existing"] = given["on_existing"]
    deadline, timeout = given.get("deadline"), given.get("timeout")
    if deadline is not None and timeout is not None:
        raise InvalidError("give timeout= or deadline=, not both")
    if deadline is not None:
        fields["deadline"] = wire_time(deadline, "deadline")
    common = submit_options(
        timeout=timeout, priority=given.get("priority"), delay=given.get("delay"), at=given.get("at"), beside=NAMES
    )
    fields |= {name: getattr(common, name) for name in ("timeout", "priority", "delay", "at")}
    fields |= about_fields(cast("Any", {name: value for name, value in given.items() if name in _ABOUT}))
    return StartOptions(**fields)


def split(parameters: frozenset[str], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], StartWith]:
    """Part a start's named arguments from options. What the body has a parameter for is an argument."""
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in kwargs.items():
        (options if name in NAMES and name not in parameters else arguments)[name] = value
    return arguments, StartWith(**options)


def pack(client: Client, name: str, encode: Callable[[], bytes]) -> bytes:
    """Encode a run's input.

    :raises InvalidError: the queue has codecs.
    :raises EncodeError: there are files in it, or it is too large.
    """
    refuse_codecs(client)
    parcel = client.vault.pack(encode, "input", f"workflow:{name}")
    if parcel.sources:
        raise EncodeError(
            f"the input of workflow {name!r} has files, bytes over 32 KiB or is larger than 4 MiB, which runs cannot "
            "have: store that elsewhere, and start the run with its name"
        )
    return parcel.json


def refuse_codecs(client: Client) -> None:
    """Refuse what would be stored in plain although the queue is to hide it.

    :raises InvalidError: the queue has codecs.
    """
    if client.codecs:
        raise InvalidError(
            "workflows do not pass through codecs yet, and would be stored in plain: use an app or queue without "
            "codecs for them, and encrypt what is secret in your steps"
        )


def calls_of(calls: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The arguments of several runs: a tuple has those of one, anything else is the only one.

    :raises InvalidError: they are no collection, or text, whose characters nobody means.
    """
    if isinstance(calls, str | bytes) or not hasattr(calls, "__iter__"):
        raise InvalidError(f"start_many takes a collection with the arguments of each run, not {calls!r}")
    for call in calls:
        yield cast("tuple[Any, ...]", call) if isinstance(call, tuple) else (call,)
