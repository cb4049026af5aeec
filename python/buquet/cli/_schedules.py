"""``buquet schedules``: look at schedules, create, change, fire and delete them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import typer
from rich.table import Table

from buquet import _schedule_ops
from buquet._client import Call
from buquet._options import submit_options
from buquet._schedule_models import CatchUp, Overlap, Schedule
from buquet.cli._about import Facts, Tags, given_about
from buquet.cli._output import (
    Json,
    Url,
    ask,
    connection,
    out,
    plain,
    print_corrupt,
    print_json,
    print_rows,
    read_argument,
    shared,
)
from buquet.cli._output import wants_json as wants
from buquet.cli._render import age, exact
from buquet.cli._usage import Commands, interval, moment, time_limit, up_to_a_day
from buquet.errors import InvalidError

schedules = Commands(no_args_is_help=True, help="Tasks that are submitted by themselves, at times or intervals.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Cron = Annotated[str | None, typer.Option("--cron", help="Five fields, such as '0 9 * * mon-fri', or @daily.")]
Zone = Annotated[str | None, typer.Option("--timezone", "-z", help="The IANA zone that --cron is meant in.")]
Every = Annotated[
    str | None, typer.Option("--every", metavar="DURATION", help="An interval, such as 15m.", callback=interval)
]


@schedules.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most schedules to print.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on from where the last page ended.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the schedules by name. One marked ! was declared by code that declares it no more."""
    shared.json = wants(json)
    page = ask(url, _schedule_ops.list_schedules(limit, cursor))
    if shared.json:
        print_json(page)
        return
    rows = [["NAME", "TYPE", "TIMES", "NEXT", "LAST", "DECLARED IN"]]
    for schedule in cast("list[Schedule]", page.schedules):
        following = age(schedule.next) if schedule.enabled else "[yellow]disabled[/]"
        declared = plain(schedule.declared_in or "") + (" [red]![/]" if schedule.undeclared_at else "")
        last = age(schedule.last_run.slot) if schedule.last_run else ""
        rows.append([schedule.name, plain(schedule.type), plain(_times(schedule)), following, last, declared])
    if page.schedules:
        print_rows(*rows)
    else:
        out.print("no schedules")
    print_corrupt(page.corrupt)
    if page.cursor is not None:
        out.print(f"more: --cursor {page.cursor}")


@schedules.command()
def show(name: Name, url: Url = None, json: Json = False) -> None:
    """Show one schedule: when it fires, what it submits, and how that went."""
    _print(url, _schedule_ops.get(name), json)


@schedules.command()
def create(
    name: Name,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type that a worker handles.")],  # noqa: A002
    cron: Cron = None,
    timezone: Zone = None,
    every: Every = None,
    input: Annotated[  # noqa: A002
        str, typer.Option("--input", "-i", metavar="JSON", help="The input; @FILE reads a file, - reads stdin.")
    ] = "{}",
    overlap: Annotated[Overlap, typer.Option(help="What comes of a slot while the last task runs.")] = "allow",
    catch_up: Annotated[CatchUp, typer.Option("--catch-up", help="Which of the missed slots fire.")] = "latest",
    catch_up_limit: Annotated[
        int | None, typer.Option("--catch-up-limit", min=1, max=1000, help="How many of all.")
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Start up to so much later, such as 30s.", callback=up_to_a_day),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long one attempt may run, such as 5m.", callback=time_limit),
    ] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="Attempts after the first.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 runs first.")] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long after its slot a task may start, such as 1h.", callback=time_limit
        ),
    ] = None,
    tag: Tags = None,
    meta: Facts = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change a schedule of that name.")] = False,
    disabled: Annotated[bool, typer.Option("--disabled", help="Let it not fire yet.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Create a schedule.

    \b
    buquet schedules create nightly clean_up --cron '0 3 * * *' --timezone Europe/Berlin
    buquet schedules create polling poll --every 15m --overlap skip --input '{"path": "cat.png"}'
    """  # noqa: D301 - \b keeps the lines apart in the help
    definition = _schedule_ops.Definition(
        name=name,
        type=type,
        input=msgspec.Raw(read_argument(input, "--input")),
        times=_given_times(cron, timezone, every),
        options=submit_options(
            retries=retries,
            timeout=timeout,
            priority=priority,
            about=given_about(tag=tag, meta=meta, ttl=ttl, parent=None),
        ),
        policies=_schedule_ops.policies(overlap, catch_up, catch_up_limit, jitter),
    )
    try:
        _print(url, _schedule_ops.put(definition, enabled=False if disabled else None, replace=replace), json)
    except InvalidError as error:  # the engine knows no options
        raise InvalidError(str(error).replace("ask for it to be replaced", "say --replace to change it")) from None


@schedules.command()
def delete(name: Name, url: Url = None, json: Json = False) -> None:
    """Delete a schedule. One that code declares comes back with the next worker."""
    shared.json = wants(json)
    ask(url, _schedule_ops.delete(name))
    if shared.json:
        print_json({"deleted": name})


@schedules.command()
def enable(name: Name, url: Url = None, json: Json = False) -> None:
    """Let a schedule fire, from now on."""
    _print(url, _schedule_ops.enable(name, enabled=True), json)


@schedules.command()
def disable(name: Name, url: Url = None, json: Json = False) -> None:
    """Let a schedule rest until it is enabled again."""
    _print(url, _schedule_ops.enable(name, enabled=False), json)


@schedules.command()
def trigger(name: Name, url: Url = None, json: Json = False) -> None:
    """Submit a schedule's task now, besides its slots, and print its id."""
    shared.json = wants(json)
    task_id = ask(url, _schedule_ops.trigger(name))
    if shared.json:
        print_json({"id": task_id})
    else:
        out.print(task_id)


@schedules.command()
def preview(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The schedule's name.")] = None,
    cron: Cron = None,
    timezone: Zone = None,
    every: Every = None,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Slots after it, as 2026-11-25T00:00:00Z (default: now).")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 10,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print when a schedule fires next, or when --cron or --every would.

    \b
    buquet schedules preview nightly
    buquet schedules preview --cron '30 2 * * *' --timezone Europe/Berlin -n 365
    buquet schedules preview nightly --after 2027-03-27T00:00:00Z
    """  # noqa: D301
    shared.json = wants(json)
    start = None if after is None else moment(after, "--after")
    client = connection(url)
    zone = timezone
    of: str | _schedule_ops.Times
    if name is None:
        of = _given_times(cron, timezone, every)
    elif cron is None and timezone is None and every is None:
        of, zone = name, client.call(_schedule_ops.get(name)).timezone
    else:
        raise InvalidError("give a schedule's name, or --cron or --every, not both")
    slots = client.call(_schedule_ops.preview(of, count, start))
    if shared.json:
        print_json({"slots": slots})
        return
    for slot in slots:
        out.print(_in_zone(slot, zone).strftime("%a %Y-%m-%d %H:%M:%S %z"))


@schedules.command()
def backfill(
    name: Name,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="The first slot, as 2026-11-25T00:00:00Z.")],
    end: Annotated[str, typer.Option("--until", metavar="TIME", help="The end; slots before it count.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Submit the tasks of past slots that have none, up to 1,000 of them.

    \b
    buquet schedules backfill nightly --from 2026-11-01T00:00:00Z --until 2026-11-08T00:00:00Z
    """  # noqa: D301
    shared.json = wants(json)
    slots = ask(url, _schedule_ops.backfill(name, moment(start, "--from"), moment(end, "--until")))
    if shared.json:
        print_json({"slots": slots})
        return
    rows = [["SLOT", "TASK", ""]]
    rows += [[slot.slot.isoformat(), slot.task, "submitted" if slot.created else "was there"] for slot in slots]
    if slots:
        print_rows(*rows)
    else:
        out.print("no slots in this range")


def _print(url: str | None, call: Call[Any, Schedule], json: bool) -> None:
    shared.json = wants(json)
    schedule: Schedule = ask(url, call)
    if shared.json:
        print_json(schedule)
        return
    rows = Table(show_header=False, box=None)
    rows.add_row("name", schedule.name)
    rows.add_row("times", plain(_times(schedule)))
    rows.add_row("enabled", "yes" if schedule.enabled else "[yellow]no[/]")
    rows.add_row("type", plain(schedule.type))
    rows.add_row("input", plain(msgspec.json.encode(schedule.input).decode()))
    for what, value in _submitted(schedule):
        rows.add_row(what, plain(value))
    rows.add_row("overlap", schedule.overlap)
    limit = f" (up to {schedule.catch_up_limit})" if schedule.catch_up == "all" else ""
    rows.add_row("catch up", schedule.catch_up + limit)
    if schedule.jitter_ms:
        rows.add_row("jitter", exact(timedelta(milliseconds=schedule.jitter_ms)))
    if schedule.declared_in:
        gone = f" [red]which declares it no more since {schedule.undeclared_at}[/]" if schedule.undeclared_at else ""
        rows.add_row("declared in", plain(schedule.declared_in) + gone)
    if schedule.next:
        rows.add_row("next", _slot(schedule, schedule.next))
    if schedule.waiting:
        rows.add_row("waiting", _slot(schedule, schedule.waiting))
    if schedule.last_run:
        rows.add_row("last run", f"{_slot(schedule, schedule.last_run.slot)}: task {schedule.last_run.task}")
    if schedule.last_skip:
        rows.add_row("last skip", f"{_slot(schedule, schedule.last_skip.slot)}: {plain(schedule.last_skip.reason)}")
    out.print(rows)


def _submitted(schedule: Schedule) -> Iterator[tuple[str, str]]:
    """With what its tasks are submitted, besides their input."""
    yield "timeout", exact(timedelta(milliseconds=schedule.timeout_ms))
    yield "retries", str(schedule.max_retries)
    yield "priority", str(schedule.priority)
    if schedule.ttl_ms is not None:
        yield "ttl", exact(timedelta(milliseconds=schedule.ttl_ms))
    if schedule.tags:
        yield "tags", ", ".join(schedule.tags)
    if schedule.metadata:
        yield "metadata", ", ".join(f"{name}={text}" for name, text in schedule.metadata.items())


def _given_times(cron: str | None, timezone: str | None, every: str | None) -> _schedule_ops.Times:
    """When it fires; what contradicts itself is refused in the command line's words."""
    if cron is not None and every is not None:
        raise InvalidError("give --cron or --every, not both")
    if cron is None and every is None:
        raise InvalidError("give --cron or --every, such as --cron '0 9 * * mon-fri' or --every 15m")
    if every is not None and timezone is not None:
        raise InvalidError("an interval has no --timezone; only --cron has")
    return _schedule_ops.times(cron, timezone, every)


def _times(schedule: Schedule) -> str:
    if schedule.every is not None:
        return f"every {exact(schedule.every)}"
    return f"{schedule.cron} {schedule.timezone or 'UTC'}"


def _slot(schedule: Schedule, slot: datetime) -> str:
    return f"{_in_zone(slot, schedule.timezone).isoformat(' ')} ({age(slot)})"


def _in_zone(moment: datetime, zone: str | None) -> datetime:
    """The moment by the zone's clock, or by UTC's where this machine does not know the zone."""
    try:
        return moment.astimezone(ZoneInfo(zone) if zone else UTC)
    except (ZoneInfoNotFoundError, ValueError):
        return moment.astimezone(UTC)
