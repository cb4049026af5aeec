"""The engine's operations on schedules, typed: request in, answer out. ``docs/abi.md`` has their JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from msgspec import UNSET

from buquet._checks import check_given, check_limit, check_name
from buquet._client import Call
from buquet._durations import DAY, check_span, wire_duration, wire_time
from buquet._models import check_flag, check_text
from buquet._options import SubmitOptions
from buquet._schedule_models import CatchUp, FilledSlot, Overlap, Schedule, SchedulePage, ScheduleSync
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buquet._client import Client
    from buquet._durations import Duration


class _Put(msgspec.Struct):
    schedule: Schedule
    changed: bool


class _Triggered(msgspec.Struct):
    id: str


class _Filled(msgspec.Struct):
    slots: list[FilledSlot]


class _Previewed(msgspec.Struct):
    slots: list[datetime]


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """When something fires: a cron expression in a zone, or an interval."""

    cron: str | None = None
    timezone: str | None = None
    every: float | str | None = None


def times(cron: object = None, timezone: object = None, every: object = None) -> Times:
    """Check what can be checked here. What an expression means only the engine knows.

    :raises InvalidError: not exactly one of both is given, or one is of the wrong type.
    """
    if (cron is None) == (every is None):
        raise InvalidError('give cron= or every=, such as cron="0 9 * * mon-fri" or every="15m"')
    for name, value in (("cron", cron), ("timezone", timezone)):
        if value is not None and not isinstance(value, str):
            raise InvalidError(f"{name}= must be text, not {type(value).__name__}")
    if every is not None and timezone is not None:
        raise InvalidError("an interval has no timezone; only cron= has")
    if every is not None:
        check_span("every", every, 1, 366 * DAY, "1 s to 366 days")
    return Times(
        cron=cron if isinstance(cron, str) else None,
        timezone=timezone if isinstance(timezone, str) else None,
        every=None if every is None else wire_duration(every, "every"),
    )


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule in the engine's terms.

    :raises InvalidError: its name or its tasks' type cannot be one.
    """

    name: str
    type: str
    input: msgspec.Raw
    times: Times
    options: SubmitOptions
    policies: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse names that no engine would take; the type first, for it is the name where none is given."""
        check_name(self.type, "a task type")
        check_name(self.name, "a schedule's name")

    def check_secrecy(self, client: Client) -> None:
        """Refuse an input that codecs should keep secret: a schedule keeps it as it is, to compare it.

        :raises InvalidError: there is such an input.
        """
        if client.keeps_secrets and bytes(self.input) not in (b"null", b"{}"):
            raise InvalidError(
                f"the input of schedule {self.name!r} would be stored in plain, and the codecs "
                f"{', '.join(client.vault.chain.hiding)} are to keep inputs secret: let the handler look up what it "
                "needs, and give the schedule no input"
            )

    def request(self, **more: object) -> dict[str, Any]:
        """The fields of ``schedule.put``."""
        given = {name: value for name in Times.__struct_fields__ if (value := getattr(self.times, name)) is not None}
        options = {
            name: value
            # When a task starts is the schedule's to say, and each slot's task is the only one of its slot.
            for name in ("timeout", "retry", "priority", "ttl", "tags", "metadata")
            if (value := getattr(self.options, name)) is not UNSET
        }
        head = {"name": self.name, "type": self.type, "input": self.input}
        return {**head, **given, **options, **self.policies, **more}


def policies(overlap: object, catch_up: object, catch_up_limit: int | None, jitter: Duration | None) -> dict[str, Any]:
    """Check how a schedule treats what overlaps and what was missed.

    :raises InvalidError: there is no such policy, or one contradicts another.
    """
    if catch_up_limit is not None:
        check_limit(catch_up_limit, name="catch_up_limit")
    for name, value, known in (("overlap", overlap, get_args(Overlap)), ("catch_up", catch_up, get_args(CatchUp))):
        if value not in known:
            raise InvalidError(f"{name}={value!r} must be one of {', '.join(map(repr, known))}")
    if catch_up_limit is not None and catch_up != "all":
        raise InvalidError(f'catch_up_limit={catch_up_limit!r} says nothing without catch_up="all"')
    checked: dict[str, Any] = {"overlap": overlap, "catch_up": catch_up}
    if catch_up_limit is not None:
        checked["catch_up_limit"] = catch_up_limit
    if jitter is not None:
        checked["jitter"] = wire_duration(jitter, "jitter")
        check_span("jitter", jitter, 0, DAY, "up to a day")
    return checked


def _named(name: object) -> dict[str, Any]:
    check_given(name, "name")
    return {"name": name}


def put(definition: Definition, *, enabled: bool | None, replace: bool) -> Call[_Put, Schedule]:
    """Create a schedule, or change the one of that name; gives it as it is then."""
    check_flag(replace, "replace")
    if enabled is not None:
        check_flag(enabled, "enabled")
    more: dict[str, object] = {"replace": replace} if enabled is None else {"replace": replace, "enabled": enabled}
    return Call("schedule.put", definition.request(**more), _Put, lambda answer: answer.schedule)


def get(name: str) -> Call[Schedule, Schedule]:
    """Read one schedule."""
    return Call("schedule.get", _named(name), Schedule, lambda schedule: schedule)


def list_schedules(limit: int, cursor: str | None) -> Call[SchedulePage, SchedulePage]:
    """Read one page of schedules."""
    check_limit(limit)
    check_text(cursor, "cursor")
    request: dict[str, Any] = {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}
    return Call("schedule.list", request, SchedulePage, lambda page: page)


def delete(name: str) -> Call[dict[str, Any], None]:
    """Delete a schedule."""
    return Call("schedule.delete", _named(name), dict[str, Any], lambda _: None)


def enable(name: str, *, enabled: bool) -> Call[Schedule, Schedule]:
    """Let a schedule fire, or not."""
    op = "schedule.enable" if enabled else "schedule.disable"
    return Call(op, _named(name), Schedule, lambda schedule: schedule)


def trigger(name: str) -> Call[_Triggered, str]:
    """Submit a schedule's task now; gives its id."""
    return Call("schedule.trigger", _named(name), _Triggered, lambda answer: answer.id)


def backfill(name: str, start: datetime, end: datetime) -> Call[_Filled, list[FilledSlot]]:
    """See to it that each slot of a range has its task."""
    request = {**_named(name), "from": wire_time(start, "start"), "until": wire_time(end, "end")}
    return Call("schedule.backfill", request, _Filled, lambda answer: answer.slots)


def preview(of: str | Times, count: int, after: datetime | None) -> Call[_Previewed, list[datetime]]:
    """Find the next slots of a schedule, or of times that are given."""
    check_limit(count, name="count")
    request: dict[str, Any] = {"name": of} if isinstance(of, str) else msgspec.structs.asdict(of)
    request = {name: value for name, value in request.items() if value is not None} | {"count": count}
    if after is not None:
        request["after"] = wire_time(after, "after")
    return Call("schedule.preview", request, _Previewed, lambda answer: answer.slots)


def sync(declared: Sequence[tuple[Definition, str]], modules: Iterable[str]) -> Call[ScheduleSync, ScheduleSync]:
    """Make the stored schedules what code declares; each comes with its module."""
    schedules = [definition.request(module=module) for definition, module in declared]
    request = {"schedules": schedules, "modules": sorted(set(modules))}
    return Call("schedule.sync", request, ScheduleSync, lambda answer: answer)
