"""Durations as people write them: seconds, a timedelta, or text such as "5m"."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import TypeAlias

from buquet.errors import InvalidError

Duration: TypeAlias = float | timedelta | str

# The engine's grammar, checked here too so that a decorator can refuse what a submit would.
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_DAYS = 366

DAY = 24 * 3600
"""A day's seconds."""


def wire_duration(value: object, name: str) -> float | str:
    """Check a duration; text is sent as it was written.

    :raises InvalidError: it is none, or not from 0 to 366 days.
    """
    number = seconds(value, name)
    return value if isinstance(value, str) else number


def seconds(value: object, name: str) -> float:
    """Read a duration that Python itself waits for, in seconds."""
    if not isinstance(value, str):
        number = _number(value, name)
    elif _WHOLE.fullmatch(value):
        number = sum(float(count) * _UNIT_SECONDS[unit] for count, unit in _PART.findall(value))
    else:
        raise InvalidError(
            f"{name}={value!r} is no duration; write whole numbers with the units ms s m h d, "
            'like "250ms", "5m" or "1h30m", or a number of seconds'
        )
    if number > _LONGEST_DAYS * _UNIT_SECONDS["d"]:
        raise InvalidError(f"{name}={value!r} is longer than {_LONGEST_DAYS} days")
    return number


def written_duration(text: str, name: str) -> str:
    """Check a duration that somebody typed; a mere number of seconds gets its unit."""
    if (number := _NUMBER.fullmatch(text)) is not None:
        text = f"{text}s" if number[1] is None else f"{round(float(text) * 1000)}ms"
    seconds(text, name)
    return text


def check_span(name: str, value: object, least: float, most: float, wanted: str) -> None:
    """Refuse a duration that is out of range.

    :raises InvalidError: it is too short or too long.
    """
    if not least <= seconds(value, name) <= most:
        raise InvalidError(f"{name}={value!r} must be {wanted}")


def wire_time(value: object, name: str) -> str:
    """Check a point in time; a naive one is refused, since its zone would be a guess."""
    if not isinstance(value, datetime):
        raise InvalidError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidError(
            f"{name}={value.isoformat()} has no time zone; write datetime.now(timezone.utc) or add tzinfo="
        )
    return value.isoformat()


def _number(value: object, name: str) -> float:
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        raise InvalidError(
            f'{name} must be seconds, a timedelta or text like "5m", not {type(value).__name__} ({value!r})'
        )
    if not math.isfinite(number) or number < 0:
        raise InvalidError(f"{name}={value!r} must be a finite duration of zero or more")
    return number
