"""Replays of recorded runs with today's code, without effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from buquet._names import did_you_mean
from buquet.errors import BuquetError, CorruptError, InvalidError, MismatchError
from buquet.testing._exports import RecordedRun, read_runs
from buquet.workflow._body import Body
from buquet.workflow._cursor import shown
from buquet.workflow._entries import Ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from buquet.workflow import WorkflowFunction
    from buquet.workflow._core import Block
    from buquet.workflow._ending import Ended
    from buquet.workflow._entries import Entry

_AROUND = 2
"""So many entries are shown before and behind the one that differs."""


class Difference(NamedTuple):
    """A recorded run that today's code does not fit."""

    run_id: str
    workflow: str
    source: str
    """The file that the run was read from."""
    problem: str
    mismatch: MismatchError | None = None
    excerpt: tuple[str, ...] = ()
    """The entries of the journal around the place that differs, a line each."""

    def __str__(self) -> str:
        """Show it in several lines, with the entries around the place."""
        head = f"{self.run_id} (workflow {self.workflow}, {self.source})"
        return "\n  ".join([head, self.problem, *self.excerpt])


def _difference(run: RecordedRun, problem: str, mismatch: MismatchError | None = None) -> Difference:
    excerpt = () if mismatch is None else tuple(_excerpt(run.start.entries, mismatch))
    return Difference(run.start.id, run.workflow, run.source, problem, mismatch, excerpt)


class ReplayError(BuquetError, AssertionError):
    """Recorded runs do not fit the code. ``differences`` are they; the message shows each with its place."""

    code = "replay"

    def __init__(self, differences: list[Difference], count: int) -> None:
        """Bring the differences of ``count`` runs together."""
        self.differences = differences
        shown_ones = "\n\n".join(str(difference) for difference in differences)
        super().__init__(f"{len(differences)} of {count} recorded runs do not fit this code:\n\n{shown_ones}")


class Replayer:
    """Runs workflows against journals of runs that were exported. No step is called, and nothing is stored.

    What a run has asked for must be asked for again, and a run that has completed must complete with the same result.
    In runs that are under way the code may go on as it likes.

    :param workflows: those whose runs are to be replayed.
    :raises InvalidError: two have one name.

    Example::

        from buquet.testing import Replayer

        def test_running_orders_go_on() -> None:
            Replayer(order).check("tests/journals")
    """

    def __init__(self, *workflows: WorkflowFunction[..., Any]) -> None:
        """Take the workflows on."""
        self._workflows: dict[str, WorkflowFunction[..., Any]] = {}
        for workflow in workflows:
            if workflow.name in self._workflows:
                raise InvalidError(f"there are two workflows {workflow.name!r}; give one of them another name=")
            self._workflows[workflow.name] = workflow

    def check(self, journals: str | Path | Mapping[str, Any] | Iterable[Any]) -> int:
        """Replay all runs; gives how many there were.

        :param journals: a file with a run, a list of them, or one in each line; a folder; a run that is decoded
            already; or several of these.
        :raises ReplayError: some do not fit. It is an ``AssertionError`` too.
        :raises InvalidError: there is no such file, or it is no export.
        """
        outcomes = [self._replay(run) for run in read_runs(journals)]
        differences = [difference for difference in outcomes if difference is not None]
        if differences:
            raise ReplayError(differences, len(outcomes))
        return len(outcomes)

    def _replay(self, run: RecordedRun) -> Difference | None:
        """How the code differs from one run, if it does."""
        workflow = self._workflows.get(run.workflow)
        if workflow is None:
            known = ", ".join(sorted(self._workflows)) or "none"
            hint = did_you_mean(run.workflow, self._workflows)
            return _difference(run, f"there is no workflow {run.workflow!r} here, only {known}{hint}")
        with Body(workflow, run.start) as body:
            try:
                block = body.begin()
            except MismatchError as error:
                return _difference(run, str(error), error)
            except CorruptError as error:
                return _difference(run, str(error))
            problem = _compare(run, block, body.ended)
        return None if problem is None else _difference(run, problem)


def _compare(run: RecordedRun, block: Block, ended: Ended | None) -> str | None:
    """How the end of a run that has ended differs."""
    if run.status != "completed":
        has_failed = run.status in {"failed", "cancelled"}
        return f"it {run.status}, and completes now" if has_failed and ended and ended.status == "completed" else None
    if block.asks:
        return f"it had completed here, and the code now asks for {', '.join(shown(ask) for ask in block.asks)}"
    if ended is None:
        return "it had completed here, and the body now waits"
    if ended.output is None:
        error = "" if ended.error is None else f" with {ended.error.type}: {ended.error.message}"
        return f"it had completed, and now {ended.status}{error}"
    output = msgspec.json.decode(ended.output)
    return None if output == run.output else f"its result was {run.output!r}, and is now {output!r}"


def _excerpt(entries: list[Entry], mismatch: MismatchError) -> list[str]:
    """The entries around the place that differs."""
    first, last = max(0, mismatch.position - _AROUND), min(len(entries), mismatch.position + _AROUND + 1)
    return [
        f"{'>' if place == mismatch.position else ' '} {place:5}  {_line(entries[place])}"
        for place in range(first, last)
    ]


def _line(entry: Entry) -> str:
    if isinstance(entry, Ask):
        return f"asked for {shown(entry)}"
    return "told to cancel" if entry.told == "cancel" else f"told that {entry.told} {entry.op} {entry.outcome}"
