"""What a queue can do with schedules, for async code and for sync code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from buquet import _codec, _schedule_ops
from buquet._checks import check_given
from buquet._handle import TaskHandle
from buquet._options import plain_options
from buquet.errors import InvalidError

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from buquet._about import About
    from buquet._client import Call, Client
    from buquet._durations import Duration
    from buquet._models import RetryPolicy
    from buquet._schedule_models import CatchUp, FilledSlot, Overlap, Schedule, SchedulePage


def _about(ttl: Duration | None, tags: Sequence[str], metadata: Mapping[str, str] | None) -> About:
    about: About = {}
    if ttl is not None:
        about["ttl"] = ttl
    if tags:
        about["tags"] = tags
    if metadata:
        about["metadata"] = metadata
    return about


class ScheduleCalls:
    """The methods of ``Queue`` that are about schedules."""

    _client: Client

    async def create_schedule(
        self,
        name: str,
        type: str,  # noqa: A002 - the field's name everywhere
        input: Any = None,  # noqa: A002
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: Duration | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        catch_up_limit: int | None = None,
        jitter: Duration | None = None,
        enabled: bool | None = None,
        replace: bool = False,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Schedule:
        """Create a schedule: from now on its task is submitted at its times. Creating the same again changes nothing.

        :param name: 1 to 128 of ``A-Z a-z 0-9 _ . : -``.
        :param type: the tasks' type.
        :param input: the tasks' input, up to 128 KiB of JSON.
        :param cron: five fields, such as ``"0 9 * * mon-fri"``, or ``"@daily"`` and its kin.
        :param timezone: the IANA zone that ``cron`` is meant in (default UTC).
        :param every: an interval, a duration of 1 s or more, counted from 1970: ``"15m"`` is at :00, :15, :30 and :45.
        :param overlap: while the last task has not finished a slot fires all the same (``"allow"``), is left out
            (``"skip"``), or waits for its end (``"wait"``; one at most, further ones are left out).
        :param catch_up: of slots that no worker was there for, none fire, the newest, or all.
        :param catch_up_limit: with ``"all"``, how many at most, the newest: 1 to 1000 (default 100).
        :param jitter: each task may start up to so much later, a duration up to a day.
        :param enabled: whether it fires (default: as it is, and at first yes).
        :param replace: change a schedule of that name that says something else.
        :param max_retries: as in ``submit``, like ``retry``, ``timeout`` and ``priority``.
        :param ttl: how long after its slot a task may start; one that is caught up with later expires.
        :param tags: words to find the tasks by.
        :param metadata: facts about the tasks, besides the schedule's name and the slot, which are added.
        :raises InvalidError: an argument is wrong, there is a schedule of that name that says something else, or
            there is an input and codecs keep inputs secret: a schedule's is stored as it is.

        Example::

            await queue.create_schedule("reports", "send_email", {"to": "a@b.c"}, cron="0 9 * * mon-fri")
        """
        return await self._client.call_async(
            _creation(
                self._client,
                name,
                type,
                input,
                cron=cron,
                timezone=timezone,
                every=every,
                overlap=overlap,
                catch_up=catch_up,
                catch_up_limit=catch_up_limit,
                jitter=jitter,
                enabled=enabled,
                replace=replace,
                max_retries=max_retries,
                retry=retry,
                timeout=timeout,
                priority=priority,
                ttl=ttl,
                tags=tags,
                metadata=metadata,
            )
        )

    async def get_schedule(self, name: str) -> Schedule:
        """Read one schedule.

        :raises NotFoundError: there is none of that name.
        """
        return await self._client.call_async(_schedule_ops.get(name))

    async def list_schedules(self, *, limit: int = 100, cursor: str | None = None) -> SchedulePage:
        """Read one page of schedules, by name. Pass the page's ``cursor`` on until it is None.

        :param limit: most schedules of the page, 1 to 1000.
        """
        return await self._client.call_async(_schedule_ops.list_schedules(limit, cursor))

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule. Tasks that it has submitted stay.

        :raises NotFoundError: there is none of that name.
        """
        await self._client.call_async(_schedule_ops.delete(name))

    async def enable_schedule(self, name: str) -> Schedule:
        """Let a schedule fire, from now on: what would have fired while it was disabled is not caught up with."""
        return await self._client.call_async(_schedule_ops.enable(name, enabled=True))

    async def disable_schedule(self, name: str) -> Schedule:
        """Let a schedule rest. A sync of schedules that code declares leaves it so."""
        return await self._client.call_async(_schedule_ops.enable(name, enabled=False))

    async def trigger_schedule(self, name: str) -> TaskHandle[Any]:
        """Submit a schedule's task now, besides its slots and whatever its policies say."""
        return TaskHandle(self._client, await self._client.call_async(_schedule_ops.trigger(name)))

    async def backfill_schedule(self, name: str, start: datetime, end: datetime) -> builtins.list[FilledSlot]:
        """See to it that each slot from ``start`` to before ``end`` has its task, whatever the policies say.

        Slots that have one keep it, so calling again is harmless.

        :param start: an aware datetime.
        :param end: an aware datetime, not in the future.
        :raises InvalidError: the range has more than 1,000 slots, or is not over yet.
        """
        return await self._client.call_async(_schedule_ops.backfill(name, start, end))

    async def preview_schedule(
        self,
        name: str | None = None,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: Duration | None = None,
        count: int = 10,
        after: datetime | None = None,
    ) -> builtins.list[datetime]:
        """The next slots of a schedule by its name, or of ``cron`` or ``every`` before there is one.

        :param count: how many, 1 to 1000.
        :param after: slots after this moment (default: now).

        Example::

            print(await queue.preview_schedule(cron="0 9 * * mon-fri", timezone="Europe/Berlin"))
        """
        return await self._client.call_async(
            _schedule_ops.preview(_previewed(name, cron, timezone, every), count, after)
        )


class AppSchedules:
    """The schedules of an app's queue, for sync code: ``app.schedules``. The same as ``Queue``'s methods."""

    def __init__(self, client: Client) -> None:
        """Look at the schedules behind a connection."""
        self._client = client

    def create(
        self,
        name: str,
        type: str,  # noqa: A002
        input: Any = None,  # noqa: A002
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: Duration | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        catch_up_limit: int | None = None,
        jitter: Duration | None = None,
        enabled: bool | None = None,
        replace: bool = False,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Schedule:
        """Create a schedule; parameters as of ``Queue.create_schedule``. Creating the same again changes nothing.

        :raises InvalidError: an argument is wrong, there is a schedule of that name that says something else, or
            there is an input and codecs keep inputs secret: a schedule's is stored as it is.

        Example::

            app.schedules.create("reports", "send_email", {"to": "a@b.c"}, cron="0 9 * * mon-fri")
        """
        return self._client.call(
            _creation(
                self._client,
                name,
                type,
                input,
                cron=cron,
                timezone=timezone,
                every=every,
                overlap=overlap,
                catch_up=catch_up,
                catch_up_limit=catch_up_limit,
                jitter=jitter,
                enabled=enabled,
                replace=replace,
                max_retries=max_retries,
                retry=retry,
                timeout=timeout,
                priority=priority,
                ttl=ttl,
                tags=tags,
                metadata=metadata,
            )
        )

    def get(self, name: str) -> Schedule:
        """Read one schedule.

        :raises NotFoundError: there is none of that name.
        """
        return self._client.call(_schedule_ops.get(name))

    def list(self, *, limit: int = 100, cursor: str | None = None) -> SchedulePage:
        """Read one page of schedules, by name."""
        return self._client.call(_schedule_ops.list_schedules(limit, cursor))

    def delete(self, name: str) -> None:
        """Delete a schedule. One that code declares comes back with the next worker."""
        self._client.call(_schedule_ops.delete(name))

    def enable(self, name: str) -> Schedule:
        """Let a schedule fire, from now on."""
        return self._client.call(_schedule_ops.enable(name, enabled=True))

    def disable(self, name: str) -> Schedule:
        """Let a schedule rest."""
        return self._client.call(_schedule_ops.enable(name, enabled=False))

    def trigger(self, name: str) -> TaskHandle[Any]:
        """Submit a schedule's task now, besides its slots."""
        return TaskHandle(self._client, self._client.call(_schedule_ops.trigger(name)))

    def backfill(self, name: str, start: datetime, end: datetime) -> builtins.list[FilledSlot]:
        """See to it that each slot from ``start`` to before ``end`` has its task."""
        return self._client.call(_schedule_ops.backfill(name, start, end))

    def preview(
        self,
        name: str | None = None,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: Duration | None = None,
        count: int = 10,
        after: datetime | None = None,
    ) -> builtins.list[datetime]:
        """The next slots of a schedule by its name, or of ``cron`` or ``every`` before there is one."""
        return self._client.call(_schedule_ops.preview(_previewed(name, cron, timezone, every), count, after))


def _creation(
    client: Client,
    name: str,
    type: str,  # noqa: A002
    input: Any,  # noqa: A002
    *,
    cron: str | None,
    timezone: str | None,
    every: Duration | None,
    overlap: Overlap,
    catch_up: CatchUp,
    catch_up_limit: int | None,
    jitter: Duration | None,
    enabled: bool | None,
    replace: bool,
    max_retries: int | None,
    retry: RetryPolicy | None,
    timeout: Duration | None,
    priority: int | None,
    ttl: Duration | None,
    tags: Sequence[str],
    metadata: Mapping[str, str] | None,
) -> Call[Any, Schedule]:
    """What creates a schedule, once everything about it is checked."""
    definition = _schedule_ops.Definition(
        name=name,
        type=type,
        input=msgspec.Raw(_codec.encode(input, f"the input of schedule {name!r}")),
        times=_schedule_ops.times(cron, timezone, every),
        options=plain_options(
            max_retries=max_retries,
            retry=retry,
            timeout=timeout,
            priority=priority,
            about=_about(ttl, tags, metadata),
        ),
        policies=_schedule_ops.policies(overlap, catch_up, catch_up_limit, jitter),
    )
    definition.check_secrecy(client)
    return _schedule_ops.put(definition, enabled=enabled, replace=replace)


def _previewed(
    name: str | None, cron: str | None, timezone: str | None, every: Duration | None
) -> str | _schedule_ops.Times:
    if name is None:
        return _schedule_ops.times(cron, timezone, every)
    if cron is not None or timezone is not None or every is not None:
        raise InvalidError("give a schedule's name, or times of your own, not both")
    check_given(name, "name")
    return name
