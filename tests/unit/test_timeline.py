"""A run's journal is told in plain words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from buquet.cli._timeline import changed, length, timeline

AT = 1_700_000_000_000


def said(*entries: dict[str, Any]) -> list[str]:
    return [line.text for line in timeline([{"at": AT, **entry} for entry in entries])]


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"ask": "step", "scope": "", "name": name, "n": 0, **more}


def test_a_step_is_asked_for_and_ends_after_a_while_and_some_attempts() -> None:
    assert said(step("charge"), {"told": "step", "op": 0, "at": AT + 1500, "outcome": "completed", "attempts": 3}) == [
        "asks for step charge",
        "step charge completed after 1.5 s, 3 attempts",
    ]


def test_an_error_is_named_in_one_line() -> None:
    error = {"type": "ValueError", "message": "no\nluck"}
    told = {"told": "step", "op": 0, "outcome": "failed", "error": error, "attempts": 1}
    assert said(step("charge", n=1, scope="0"), told)[1] == "step charge #2 in 0 failed (ValueError: no) after 0 ms"
    error["message"] = "x" * 500
    assert len(said(step("charge"), told)[1]) < 200


def test_waits_say_until_when_and_what_came_of_them() -> None:
    until = AT + 3_600_000
    assert said(
        {"ask": "timer", "name": "sleep", "until": until},
        {"ask": "signal", "name": "approved", "until": None},
        {"ask": "select", "name": "select", "arms": {"paid": {"signal": "paid"}, "late": {"timer": until}}},
        {"ask": "callback", "name": "callback", "until": until},
        {"told": "signal", "op": 1, "outcome": "completed", "payload": 1},
        {"told": "select", "op": 2, "arm": "late"},
        {"told": "timer", "op": 0, "at": until},
        {"told": "callback", "op": 3, "outcome": "timeout"},
    ) == [
        "asks for timer until 2023-11-14 23:13:20",
        "asks for signal approved",
        "asks for select of paid, late",
        "asks for callback until 2023-11-14 23:13:20",
        "signal approved arrived after 0 ms",
        "select chose late after 0 ms",
        "timer fired after 60.0 min",
        "callback timed out after 0 ms",
    ]


def test_cancels_say_who_and_why_and_compensations_what_they_undo() -> None:
    assert said(
        step("slow"),
        {"told": "cancel", "by": "ada", "reason": "enough"},
        {"ask": "cancel", "op": 0},
        step("undo", scope="rollback", compensates=0),
    )[1:] == ["is to be cancelled by ada: enough", "gives up step slow", "asks for step undo in rollback (undoes 0)"]


@pytest.mark.parametrize(
    ("took", "shown"),
    [(0.25, "250 ms"), (1.23, "1.2 s"), (119, "119.0 s"), (150, "2.5 min"), (9000, "2.5 h"), (216000, "2.5 d")],
)
def test_lengths_of_time_are_exact_enough_to_see_what_was_slow(took: float, shown: str) -> None:
    assert length(timedelta(seconds=took)) == shown


def test_what_has_changed_between_two_looks_is_said() -> None:
    assert list(changed({"completed": 1, "running": 1}, {"completed": 2, "running": 1})) == ["2 completed"]
