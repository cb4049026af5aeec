"""Durations, times and options are checked before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import to_builtins

from buquet import InvalidError, RetryPolicy
from buquet._durations import seconds, wire_duration, wire_time
from buquet._options import submit_options


@pytest.mark.parametrize(("value", "sent"), [(5, 5.0), (0.25, 0.25), (timedelta(minutes=2), 120.0), ("1h30m", "1h30m")])
def test_a_duration_is_sent_as_seconds_or_as_its_text(value: Any, sent: object) -> None:
    assert wire_duration(value, "timeout") == sent


@pytest.mark.parametrize(
    "value",
    [
        -1,
        timedelta(seconds=-1),
        "-5m",
        "",
        "5 parsecs",
        "5",
        "1.5s",
        "5 m",
        "400d",
        1e9,
        float("nan"),
        float("inf"),
        True,
        None,
        [],
    ],
)
def test_what_is_no_duration_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidError, match="timeout"):
        wire_duration(value, "timeout")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("2d1ms", 172800.001), (timedelta(days=1), 86400)],
)
def test_python_reads_the_durations_it_waits_for_itself(value: Any, expected: float) -> None:
    assert seconds(value, "drain_timeout") == expected


@pytest.mark.parametrize("value", ["5 parsecs", "m", "5", -3])
def test_python_refuses_durations_it_cannot_read(value: Any) -> None:
    with pytest.raises(InvalidError, match="drain_timeout"):
        seconds(value, "drain_timeout")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidError, match="time zone"):
        wire_time(datetime(2026, 1, 1), "at")  # noqa: DTZ001 - the point of the test
    assert wire_time(datetime(2026, 1, 1, tzinfo=UTC), "at") == "2026-01-01T00:00:00+00:00"


def test_only_what_is_given_is_sent() -> None:
    assert to_builtins(submit_options()) == {}
    assert to_builtins(submit_options(retries=0, priority=0)) == {"retry": {"max_retries": 0}, "priority": 0}


def test_backoff_is_a_first_wait_or_a_whole_policy() -> None:
    assert to_builtins(submit_options(backoff="2s")) == {"retry": {"initial": "2s"}}
    policy = RetryPolicy(initial=1, max="5m", multiplier=3, jitter=0)
    assert to_builtins(submit_options(retries=8, backoff=policy)) == {
        "retry": {"initial": 1.0, "max": "5m", "multiplier": 3, "jitter": 0, "max_retries": 8}
    }


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"retries": 1, "backoff": RetryPolicy(max_retries=2)},
        {"priority": 10},
        {"priority": "high"},
        {"timeout": 0},
        {"timeout": "0s"},
        {"timeout": -5},
        {"delay": "-1s"},
        {"delay": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)},
        {"at": "tomorrow"},
        {"backoff": -1},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        submit_options(**options)


@pytest.mark.parametrize(
    "policy",
    [
        {"max_retries": -1},
        {"multiplier": 0.5},
        {"jitter": 2},
        {"initial": -1},
        {"max": "x" * 0},
        {"multiplier": "2"},
        {"jitter": []},
    ],
)
def test_a_wrong_retry_policy_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        RetryPolicy(**policy)


def test_later_options_win_over_earlier_ones() -> None:
    base = submit_options(retries=5, backoff="1s", priority=3, delay=10)
    merged = submit_options(retries=1, at=datetime(2026, 1, 1, tzinfo=UTC)).over(base)
    assert to_builtins(merged) == {
        "retry": {"initial": "1s", "max_retries": 1},
        "priority": 3,
        "at": "2026-01-01T00:00:00+00:00",
    }
