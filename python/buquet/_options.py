"""The options of a submitted task, checked here and sent to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from buquet._about import NAMES as ABOUT_NAMES
from buquet._about import About, AboutOne, about_fields
from buquet._durations import Duration, seconds, wire_duration, wire_time
from buquet._models import RetryPolicy, check_count
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

PRIORITIES = range(10)
NAMES = ("retries", "backoff", "timeout", "priority", "delay", "at")
TASK_NAMES = (*NAMES[:-1], "name", "retry_on", "no_retry_on", "pool", "schema")
OPTION_NAMES = frozenset((*NAMES, *ABOUT_NAMES))
_PLAIN_NAMES = ("max_retries", "retry", *NAMES[2:])


class SubmitOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Options in the engine's terms. What is unset takes the engine's default."""

    timeout: float | str | UnsetType = UNSET
    retry: dict[str, float | str] | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    delay: float | str | UnsetType = UNSET
    at: str | UnsetType = UNSET
    ttl: float | str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    parent: str | UnsetType | None = UNSET
    unique: dict[str, Any] | UnsetType | None = UNSET
    after: list[str] | UnsetType = UNSET
    on: str | UnsetType = UNSET
    results: dict[str, Any] | UnsetType = UNSET

    @property
    def known_by(self) -> Literal["input", "key"] | None:
        """What makes the task the only one of its kind."""
        if not isinstance(self.unique, dict):
            return None
        return "key" if "key" in self.unique else "input"

    def over(self, base: SubmitOptions) -> SubmitOptions:
        """These options on top of ``base``: what is set here wins, a new start time replaces the old."""
        mine = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}
        theirs = {name: getattr(base, name) for name in base.__struct_fields__}
        if "delay" in mine or "at" in mine:
            theirs.update(delay=UNSET, at=UNSET)
        if "ttl" in mine or "expires_at" in mine:
            theirs.update(ttl=UNSET, expires_at=UNSET)
        if "after" in mine:
            theirs.update(on=UNSET, results=UNSET)
        if self.retry is not UNSET and base.retry is not UNSET:
            mine["retry"] = {**base.retry, **self.retry}
        if isinstance(self.unique, dict) and isinstance(base.unique, dict):
            kept = {name: value for name, value in base.unique.items() if name != "key"}
            mine["unique"] = {**kept, **self.unique}
        return SubmitOptions(**{**theirs, **mine})


def submit_options(
    *,
    retries: int | None = None,
    backoff: RetryPolicy | Duration | None = None,
    timeout: Duration | None = None,
    priority: int | None = None,
    delay: Duration | None = None,
    at: datetime | None = None,
    about: About | AboutOne | None = None,
    declared: SubmitOptions | None = None,
    beside: Collection[str] = NAMES,
) -> SubmitOptions:
    """Check the options and put them in the engine's terms; ``declared`` are those that they go on top of.

    :param beside: what else the caller takes, to be offered for a misspelt name.

    :raises InvalidError: an option has the wrong type or is out of its range.
    """
    if delay is not None and at is not None:
        raise InvalidError("give delay= or at=, not both")
    fields: dict[str, Any] = {}
    retry = _retry(retries, backoff)
    if retry:
        fields["retry"] = retry
    if timeout is not None:
        fields["timeout"] = _positive(wire_duration(timeout, "timeout"), "timeout")
    if priority is not None:
        fields["priority"] = _priority(priority)
    if delay is not None:
        fields["delay"] = wire_duration(delay, "delay")
    if at is not None:
        fields["at"] = wire_time(at, "at")
    if about:
        unique = None if declared is None else declared.unique
        fields |= about_fields(about, unique if isinstance(unique, dict) else None, beside=beside)
    return SubmitOptions(**fields)


def plain_options(
    *,
    max_retries: int | None,
    retry: RetryPolicy | None,
    timeout: Duration | None,
    priority: int | None,
    delay: Duration | None = None,
    at: datetime | None = None,
    about: About | AboutOne | None = None,
) -> SubmitOptions:
    """Like ``submit_options``, by the names of the plain level."""
    check_count(max_retries, "max_retries")
    check_policy(retry)
    return submit_options(
        retries=max_retries,
        backoff=retry,
        timeout=timeout,
        priority=priority,
        delay=delay,
        at=at,
        about=about,
        beside=_PLAIN_NAMES,
    )


def check_declared(options: SubmitOptions) -> None:
    """Refuse what no submit of a task could be stored with, at no time: a module must go on being imported.

    :raises InvalidError: the tasks would expire before they may start.
    """
    if isinstance(options.ttl, UnsetType) or isinstance(options.delay, UnsetType):
        return
    if seconds(options.ttl, "ttl") <= seconds(options.delay, "delay"):
        raise InvalidError(f"ttl={options.ttl!r} is over before the task may start, after delay={options.delay!r}")


def check_policy(retry: object) -> None:
    """Refuse what is no retry policy; None passes."""
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InvalidError(f"retry={retry!r} must be a RetryPolicy, such as RetryPolicy(max_retries=5)")


def _retry(retries: object, backoff: object) -> dict[str, float | str]:
    check_count(retries, "retries")
    wire: dict[str, float | str] = {}
    if isinstance(backoff, RetryPolicy):
        wire = backoff.wire()
    elif backoff is not None:
        wire = {"initial": wire_duration(backoff, "backoff")}
    if isinstance(retries, int):
        if wire.get("max_retries", retries) != retries:
            raise InvalidError(f"retries={retries} contradicts max_retries={wire['max_retries']} of the RetryPolicy")
        wire["max_retries"] = retries
    return wire


def _positive(value: float | str, name: str) -> float | str:
    if seconds(value, name) == 0:
        raise InvalidError(f"{name}={value!r} leaves no time at all; leave it out for the default")
    return value


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in PRIORITIES:
        raise InvalidError(f"priority={value!r} must be a whole number from 0 to 9 (9 runs first)")
    return value
