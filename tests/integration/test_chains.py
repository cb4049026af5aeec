"""Tasks that run after others, named after what went wrong with them elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buquet import ArgumentError, Buquet, InvalidError, NotFoundError, Outcome, TaskCancelledError, TaskStatus, group
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 60


@pytest.fixture
def app(tmp_path: Path) -> Buquet:
    return Buquet(url=f"sqlite:{tmp_path / 'chains.db'}")


def test_an_empty_group_is_followed_with_an_empty_list(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with app.worker():
        assert one.map([]).then(total).result(timeout=WAIT) == 0
        assert one.map(n for n in ()).then(total).result(timeout=WAIT) == 0


def test_a_group_of_one_is_followed_with_a_list_of_one(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n

    @app.task
    def seen(numbers: list[int]) -> list[int]:
        return numbers

    with app.worker():
        assert one.map([7]).then(seen).result(timeout=WAIT) == [7]


def test_results_come_in_the_order_of_the_group_whatever_finishes_first(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n

    @app.task
    def seen(numbers: list[int]) -> list[int]:
        return numbers

    members = group(one.map([3, 1]), one.options(priority=9).map([2]), one.submit(0))
    after = members.then(seen)
    with app.worker():
        assert after.result(timeout=WAIT) == [3, 1, 2, 0]


def test_an_error_callback_of_a_group_runs_once_with_all_that_became_of_it(app: Buquet) -> None:
    runs: list[list[str]] = []

    @app.task(retries=0)
    def one(n: int) -> int:
        if n > 1:
            raise ValueError(n)
        return n

    @app.task
    def tell(outcomes: list[Outcome]) -> list[str]:
        runs.append([outcome.status.value for outcome in outcomes])
        return [outcome.error.message if outcome.error else str(outcome.result) for outcome in outcomes]

    told = one.map([1, 2, 3]).then_failed(tell)
    calm = one.map([1, 1]).then_failed(tell)
    with app.worker():
        assert told.result(timeout=WAIT) == ["1", "2", "3"]
        with pytest.raises(TaskCancelledError, match="for failures"):
            calm.result(timeout=WAIT)
    assert runs == [["completed", "failed", "failed"]]


def test_a_callback_can_run_although_members_failed(app: Buquet) -> None:
    @app.task(retries=0)
    def one(n: int) -> int:
        if n > 1:
            raise ValueError(n)
        return n

    @app.task
    def count(outcomes: list[Outcome]) -> int:
        return sum(outcome.status is TaskStatus.COMPLETED for outcome in outcomes)

    after = one.map([1, 2]).then_finished(count)
    with app.worker():
        assert after.result(timeout=WAIT) == 1


def test_what_waits_for_a_failure_is_cancelled_and_names_it_all_along_the_chain(app: Buquet) -> None:
    @app.task(retries=0)
    def one(n: int) -> int:
        raise ValueError(n)

    @app.task
    def next_one(n: int) -> int:
        return n

    first = one.submit(4)
    second = first.then(next_one)
    third = second.then(next_one)
    with app.worker():
        with pytest.raises(TaskCancelledError, match=f"task {first.id}, which failed"):
            second.result(timeout=WAIT)
        with pytest.raises(TaskCancelledError, match=f"task {second.id}, which was cancelled"):
            third.result(timeout=WAIT)


def test_groups_in_chains_in_groups_run_every_leaf_once_and_every_join_after_its_leaves(app: Buquet) -> None:
    ran: list[str] = []

    @app.task
    def leaf(name: str) -> list[str]:
        ran.append(name)
        return [name]

    @app.task
    def join(parts: list[list[str]], name: str) -> list[str]:
        ran.append(name)
        return [leaf for part in parts for leaf in part]

    left = leaf.map(["a", "b"]).then(join, "left")
    right = group(leaf.submit("c"), group(leaf.submit("d"), leaf.map(["e"]).then(join, "inner")).then(join, "right"))
    whole = group(left, right).then(join, "whole")
    with app.worker():
        assert whole.result(timeout=WAIT) == list("abcde")
    assert sorted(ran) == sorted(["a", "b", "c", "d", "e", "left", "inner", "right", "whole"])
    assert ran.index("whole") == len(ran) - 1
    assert ran.index("inner") < ran.index("right")


def test_every_task_of_a_chain_has_an_id_and_can_be_waited_for(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n + 1

    chain = [one.submit(0)]
    for _ in range(5):
        chain.append(chain[-1].then(one))
    with app.worker():
        assert [handle.result(timeout=WAIT) for handle in chain] == [1, 2, 3, 4, 5, 6]


def test_what_has_ended_can_be_followed(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n + 1

    with app.worker():
        first = one.submit(0)
        assert first.result(timeout=WAIT) == 1
        assert first.then(one).result(timeout=WAIT) == 2


def test_a_delay_counts_from_the_end_of_what_is_waited_for(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n + 1

    first = one.submit(0)
    second = first.then(one.options(delay="1h"))
    with app.worker():
        first.result(timeout=WAIT)
        wait_until(lambda: second.status() is TaskStatus.PENDING, within=WAIT, what="the second is due")
    task, ended = second.refresh(), first.refresh().completed_at
    assert task.available_at is not None
    assert ended is not None
    assert abs((task.available_at - ended).total_seconds() - 3_600) < 60


def test_calling_the_first_off_calls_off_the_rest(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n

    first = one.submit(0)
    last = first.then(one).then(one)
    first.cancel("the wrong one")
    with pytest.raises(TaskCancelledError, match="the wrong one"):
        last.result(timeout=WAIT)


def test_wrong_arguments_and_what_cannot_be_waited_for_are_refused_before_anything_is_stored(app: Buquet) -> None:
    @app.task
    def one(n: int, *, by: int = 1) -> int:
        return n + by

    @app.task
    def none() -> None: ...

    first = one.submit(0)
    with pytest.raises(ArgumentError, match="by"):
        first.then(one, bye=2)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="leave it out"):
        first.then(one, n=2)  # type: ignore[call-arg]
    with pytest.raises(InvalidError, match="no first parameter"):
        first.then(none)  # type: ignore[arg-type]
    with pytest.raises(InvalidError, match="unique"):
        first.then(one.options(unique=True))
    with pytest.raises(NotFoundError):
        one.handle("5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000").then(one)
    assert len(app.list().tasks) == 1


async def test_async_code_has_the_same(app: Buquet) -> None:
    @app.task
    async def one(n: int) -> int:
        return n + 1

    @app.task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    first = await one.submit_async(0)
    second = await first.then_async(one)
    both = await group(first, second).then_async(total)
    with app.worker():
        assert await both.result_async(timeout=WAIT) == 3


def test_after_says_only_when_to_run(app: Buquet) -> None:
    @app.task
    def one(n: int) -> int:
        return n

    first = one.submit(1)
    second = one.options(after=first).submit(2)
    third = one.options(after=[first, second], on="finished").map([3, 4])
    assert second.status() is TaskStatus.WAITING
    with app.worker():
        assert third.results(timeout=WAIT) == [3, 4]
        assert second.result(timeout=WAIT) == 2
    with pytest.raises(InvalidError, match="twice"):
        one.options(after=[first, first])
    with pytest.raises(InvalidError, match="'success', 'finished' or 'failure'"):
        one.options(after=first, on="always")  # type: ignore[typeddict-item]


def test_a_replay_brings_back_what_was_called_off_only_if_asked_to(app: Buquet) -> None:
    good: list[bool] = []

    @app.task(retries=0)
    def one() -> int:
        if not good:
            raise ValueError("not yet")
        return 1

    @app.task
    def plus(n: int) -> int:
        return n + 1

    first, alone = one.submit(), one.submit()
    last, other = first.then(plus).then(plus), alone.then(plus)
    with app.worker():
        for handle in (last, other):
            with pytest.raises(TaskCancelledError):
                handle.result(timeout=WAIT)
        good.append(True)
        app.dead_letters.replay(first, with_dependents=True)
        app.dead_letters.replay(alone)
        assert last.result(timeout=WAIT) == 3
        assert alone.result(timeout=WAIT) == 1
        assert other.status() is TaskStatus.CANCELLED
