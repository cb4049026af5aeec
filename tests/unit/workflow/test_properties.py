"""Random programs, with ends in random order and crashes everywhere: every replay asks for the same and ends alike."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from buquet.workflow._entries import Ask, Told, read_entries
from tests.unit.workflow.driver import Driver, begun
from tests.unit.workflow.programs import random_plain_program, random_program

if TYPE_CHECKING:
    from buquet.workflow._ending import Ended
    from buquet.workflow._operations import Operation

SEEDS = range(40)
PROGRAMS = {"async": random_program, "plain": random_plain_program}


def go_on(driver: Driver, chosen: random.Random) -> None:
    """End something that can end, and the selects that this decides."""
    operation = chosen.choice(sorted(can_end(driver), key=lambda each: each.op))
    if operation.ask.ask == "select":
        win(driver, operation, "late")
        return
    driver.end_operation(operation)
    for select in [each for each in driver.open.values() if each.ask.ask == "select"]:
        arms = select.ask.arms
        assert isinstance(arms, dict)
        label = next((label for label, arm in arms.items() if arm.get("op") == operation.op), None)
        if label is not None and driver.ended is None and select.op in driver.open:
            win(driver, select, label)


def can_end(driver: Driver) -> list[Operation]:
    """Steps, timers, and selects, whose timers may fire."""
    return [*driver.ready(), *(each for each in driver.open.values() if each.ask.ask == "select")]


def win(driver: Driver, select: Operation, label: str) -> None:
    """Let this arm of a select come first."""
    arms = select.ask.arms
    assert isinstance(arms, dict)
    driver.at = max(driver.at + 1, arms[label].get("timer", 0))
    driver.tell(Told(told="select", op=select.op, at=driver.at, arm=label))


def run(driver: Driver, chosen: random.Random, *, cancels: bool) -> Ended:
    """Run to the end; now and then the run is to be cancelled in the middle."""
    while driver.ended is None:
        if cancels and chosen.random() < 0.05:
            driver.cancel("at random")
        else:
            go_on(driver, chosen)
    return driver.ended


def outcome(ended: Ended | None) -> tuple[Any, ...]:
    """What is compared of two ends."""
    assert ended is not None
    error = ended.error
    return ended.status, ended.output, None if error is None else (error.type, error.message)


@pytest.mark.parametrize("cancels", [False, True], ids=["", "cancels"])
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_program_is_replayed_as_it_was_and_goes_on_after_a_crash_anywhere(
    seed: int,
    kind: str,
    cancels: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    chosen = random.Random(seed)  # noqa: S311 - to be the same again
    program = PROGRAMS[kind]
    live = begun(program, seed)
    ended = run(live, chosen, cancels=cancels)
    recorded = list(live.entries)
    live.replay()
    assert outcome(live.ended) == outcome(ended)
    assert live.entries == recorded, "a replay adds nothing"
    entries = read_entries(b"[" + b",".join(recorded) + b"]")
    ends = [place for place, entry in enumerate(entries) if isinstance(entry, Told)]
    for crash in chosen.sample(ends, min(8, len(ends))):
        crashed = Driver(program, seed, entries=recorded[:crash]).begin()
        assert crashed.entries == recorded[:crash]
        go_on_as_recorded(crashed, entries[crash:], recorded)
        assert outcome(crashed.ended) == outcome(ended)
        otherwise = Driver(program, seed, entries=recorded[:crash]).begin()
        run(otherwise, chosen, cancels=cancels)
        before = list(otherwise.entries)
        otherwise.replay()
        assert otherwise.entries == before


def go_on_as_recorded(driver: Driver, rest: list[Ask | Told], recorded: list[bytes]) -> None:
    """Tell what was told, and check that the same is asked for."""
    for told in rest:
        if isinstance(told, Told):
            driver.tell(told)
            assert driver.entries == recorded[: len(driver.entries)]
    assert driver.entries == recorded
