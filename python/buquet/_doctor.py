"""The doctor's findings: what was looked at, what is wrong, and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from buquet._client import Call
from buquet._models import CorruptObject, RequestCounts, check_text


class CheckStatus(StrEnum):
    """How a check came out."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. ``advice`` is empty where there is nothing to do."""

    name: str
    status: CheckStatus
    what: str
    advice: str = ""
    details: dict[str, Any] = {}


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What the doctor found. ``status`` is the worst of the checks that were not skipped.

    ``requests`` and ``dollars`` say what the examination cost. ``policy`` is the smallest IAM policy that this
    queue needs, on S3. ``cursor`` is for the next page of records, when all are asked for.
    """

    status: CheckStatus
    url: str
    checks: list[Check]
    requests: RequestCounts
    dollars: float = 0.0
    cursor: str | None = None
    policy: dict[str, Any] | None = None

    def check(self, name: str) -> Check:
        """The check of that name.

        :raises KeyError: there is none.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)


def doctor(*, deep: bool = False, cursor: str | None = None) -> Call[Diagnosis, Diagnosis]:
    """Examine the store and the queue."""
    check_text(cursor, "cursor")
    request: dict[str, Any] = {"deep": deep}
    if cursor is not None:
        request["cursor"] = cursor
    return Call("doctor", request, Diagnosis, lambda answer: answer)


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What was found among the parked tasks: those that wait, and index entries that led nowhere and were deleted."""

    waiting: int = 0
    deleted: int = 0
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


def repair(cursor: str | None = None) -> Call[Repaired, Repaired]:
    """Look after parked tasks, a page at a time: what they wait for is told of them, and what leads nowhere goes."""
    return Call("repair", {} if cursor is None else {"cursor": cursor}, Repaired, lambda answer: answer)
