"""Schedules as the engine tells of them: typed, frozen values."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec

from buquet._models import CorruptObject

Overlap: TypeAlias = Literal["allow", "skip", "wait"]
"""What happens to a slot that comes while the task of an earlier one has not finished."""

CatchUp: TypeAlias = Literal["none", "latest", "all"]
"""What happens to slots that were missed because no worker was there."""


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that fired: when it was due, its task, and when that was stored."""

    slot: datetime
    task: str
    at: datetime


class ScheduleSkip(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that was left out, because of ``"overlap"`` or because it was ``"missed"``."""

    slot: datetime
    reason: str
    at: datetime


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was stored at the moment it was read. Times are aware and by the store's clock.

    ``cron`` and ``timezone``, or ``every_ms``, say when it fires. ``next`` is the next slot, None while
    it is disabled. ``declared_in`` names the module that declares it in code, and ``undeclared_at`` says
    since when that module does so no more.
    """

    name: str
    id: str
    cron: str | None = None
    timezone: str | None = None
    every_ms: int | None = None
    type: str
    input: Any = None
    timeout_ms: int = 0
    priority: int = 5
    max_retries: int = 0
    ttl_ms: int | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}
    overlap: Overlap = "allow"
    catch_up: CatchUp = "latest"
    catch_up_limit: int = 100
    jitter_ms: int = 0
    enabled: bool = True
    created_at: datetime
    changed_at: datetime
    declared_in: str | None = None
    undeclared_at: datetime | None = None
    next: datetime | None = None
    waiting: datetime | None = None
    last_run: ScheduleRun | None = None
    last_skip: ScheduleSkip | None = None

    @property
    def every(self) -> timedelta | None:
        """The interval, if it fires at one."""
        return None if self.every_ms is None else timedelta(milliseconds=self.every_ms)


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of schedules, by name. ``corrupt`` are objects among them that cannot be read."""

    schedules: list[Schedule]
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


class FilledSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that ``backfill_schedule`` saw to; ``created`` is False where its task was there before."""

    slot: datetime
    task: str
    created: bool


class ScheduleSync(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the schedules that code declares, and which it declared once and declares no more.

    ``corrupt`` are stored ones of declared names that cannot be read.
    """

    created: list[str] = []
    changed: list[str] = []
    missing: list[Schedule] = []
    corrupt: list[CorruptObject] = []
    modules: list[str] = []
