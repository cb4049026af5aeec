"""The operations of drivers, typed. ``docs/abi.md`` has their JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from buquet._client import Call
from buquet._models import Payload
from buquet.workflow._models import RunParent

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a driver has opened."""

    id: str
    name: str
    version: str | None = None
    generation: int | str = 1
    execution: int = 0
    began: int
    """When this execution began, in milliseconds since the epoch."""
    deadline: int | None = None
    patches: dict[str, bool] = {}
    parent: RunParent | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A run with its journal."""

    run: RunFacts
    input: msgspec.Raw = msgspec.Raw(b"null")
    input_ref: Payload | None = None
    input_files: list[Payload] = []
    entries: msgspec.Raw = msgspec.Raw(b"[]")
    now: int = 0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do for a run."""

    told: msgspec.Raw = msgspec.Raw(b"[]")
    round: bool = False
    stop: list[int] = []
    again_at: int | None = None
    terminated: bool = False
    lost: bool = False
    now: int = 0


class StepStart(msgspec.Struct, frozen=True):
    """A step whose start is stored."""

    op: int
    attempt: int


class Advanced(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a round."""

    state: Literal["running", "parked", "ended", "continued"]
    status: str = ""
    start: list[StepStart] = []
    stop: list[int] = []
    now: int = 0


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a report."""

    reported: str
    again_at: int | None = None


class _Value(msgspec.Struct):
    value: msgspec.Raw


class Lease(NamedTuple):
    """The right to drive a run."""

    worker: str
    id: str
    lease: str

    def request(self, **rest: Any) -> dict[str, Any]:
        """A request in its name."""
        return {"worker": self.worker, "id": self.id, "lease": self.lease, **rest}


def run_open(lease: Lease, version: str | None) -> Call[Opened, Opened]:
    """Read a run with its journal."""
    given = {} if version is None else {"version": version}
    return Call("run.open", lease.request(**given), Opened, lambda answer: answer)


def run_reopen(lease: Lease) -> Call[Opened, Opened]:
    """Go on with the execution that begins."""
    return Call("run.reopen", lease.request(), Opened, lambda answer: answer)


def run_report(lease: Lease, op: int, attempt: int, outcome: Mapping[str, Any]) -> Call[Reported, Reported]:
    """Say how a step's function has ended."""
    return Call("run.report", lease.request(op=op, attempt=attempt, **outcome), Reported, lambda answer: answer)


def run_next(lease: Lease) -> Call[Turn, Turn]:
    """Ask what there is to do."""
    return Call("run.next", lease.request(), Turn, lambda answer: answer)


def run_advance(lease: Lease, round_: Mapping[str, Any]) -> Call[Advanced, Advanced]:
    """Store a round."""
    return Call("run.advance", lease.request(**round_), Advanced, lambda answer: answer)


def run_mismatch(lease: Lease, mismatch: Mapping[str, Any]) -> Call[Advanced, Advanced]:
    """Pause the run: the code does not fit its journal."""
    return Call("run.mismatch", lease.request(mismatch=mismatch), Advanced, lambda answer: answer)


def run_release(lease: Lease) -> Call[dict[str, Any], None]:
    """Give the run back."""
    return Call("run.release", lease.request(), dict[str, Any], lambda _: None)


def read_value(run_id: str, ref: Mapping[str, Any]) -> Call[_Value, msgspec.Raw]:
    """Read what lies in an object of its own."""
    request = {"id": run_id, "key": ref["key"], "sha256": ref["sha256"]}
    return Call("workflow.read", request, _Value, lambda answer: msgspec.Raw(bytes(answer.value)))
