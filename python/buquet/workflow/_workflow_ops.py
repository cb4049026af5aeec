"""The operations on runs that anybody may ask for, typed. ``docs/abi.md`` has their JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from buquet._cancelling import whoami
from buquet._checks import check_limit
from buquet._client import Call
from buquet._many import Many
from buquet._models import check_text
from buquet.errors import InvalidError, NotFoundError, RunEndedError
from buquet.workflow._models import PruneCounts, RunHistory, RunPage, RunStatus, WishResult, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from buquet.workflow._starting import StartOptions

Wish: TypeAlias = Literal["cancel", "pause", "resume", "retry", "terminate"]

START_MANY_LIMIT = 10_000
"""The most inputs of one ``workflow.start_many`` operation."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is stored; ``created`` is false where it was there already."""

    id: str
    key: str | None = None
    generation: int | str = 1
    created: bool = True
    status: RunStatus = RunStatus.PENDING


class _StartedMany(msgspec.Struct):
    ids: list[str]


class _Got(msgspec.Struct):
    runs: list[WorkflowRun | None]


class _Sent(msgspec.Struct):
    outcome: Literal["sent", "ended"]
    status: str = ""


def start(workflow: str, encoded: bytes, options: StartOptions) -> Call[Started, Started]:
    """Start one run."""
    request = {"workflow": workflow, "input": msgspec.Raw(encoded), **options.request()}
    return Call("workflow.start", request, Started, lambda answer: answer)


def start_many(workflow: str, encoded: Sequence[bytes], options: StartOptions) -> Call[_StartedMany, list[str]]:
    """Start up to ``START_MANY_LIMIT`` runs; gives their ids in order."""
    request = {"workflow": workflow, "inputs": [msgspec.Raw(item) for item in encoded], **options.request()}
    return Call("workflow.start_many", request, _StartedMany, lambda answer: answer.ids)


def get(run_id: str, *, steps: bool = False) -> Call[_Got, WorkflowRun]:
    """Read one run."""

    def finish(answer: _Got) -> WorkflowRun:
        run = answer.runs[0] if answer.runs else None
        if run is None:
            raise NotFoundError(f"there is no run {run_id} in this queue: it was pruned, or is another queue's")
        return run

    return Call("workflow.get", {"ids": [run_id], "steps": steps}, _Got, finish)


def get_many(run_ids: Iterable[str], *, steps: bool = False) -> Call[_Got, list[WorkflowRun | None]]:
    """Read several runs; None stands for one that does not exist."""
    return Call("workflow.get", {"ids": list(run_ids), "steps": steps}, _Got, lambda answer: answer.runs)


def list_runs(
    workflow: str | None,
    status: Iterable[RunStatus | str] | RunStatus | str | None,
    tag: str | None,
    limit: int,
    cursor: str | None,
) -> Call[RunPage, RunPage]:
    """Read one page of runs."""
    for name, value in (("workflow", workflow), ("tag", tag), ("cursor", cursor)):
        check_text(value, name)
    check_limit(limit)
    wanted = {"workflow": workflow, "tag": tag, "cursor": cursor}
    request: dict[str, Any] = {"limit": limit, **{name: value for name, value in wanted.items() if value is not None}}
    if status is not None:
        request["status"] = _statuses(status)
    return Call("workflow.list", request, RunPage, lambda page: page)


def _statuses(status: Iterable[RunStatus | str] | RunStatus | str) -> list[str]:
    return [_status(item) for item in ([status] if isinstance(status, str) else status)]


def _status(value: RunStatus | str) -> str:
    try:
        return RunStatus(value).value
    except ValueError:
        raise InvalidError(f"there is no status {value!r} of runs; known are {', '.join(RunStatus)}") from None


def history(run_id: str) -> Call[RunHistory, RunHistory]:
    """Read a run with its journal."""
    return Call("workflow.history", {"id": run_id}, RunHistory, lambda answer: answer)


def wait(run_id: str, generation: int | str | None, timeout: float | str | None) -> Call[WorkflowRun, WorkflowRun]:
    """Wait until the run has ended."""
    request: dict[str, Any] = {"id": run_id}
    if timeout is not None:
        request["timeout"] = timeout
    return Call("workflow.wait", _of(request, generation), WorkflowRun, lambda run: run)


def signal(
    run_id: str, name: str, payload: bytes, signal_id: str | None, generation: int | str | None
) -> Call[_Sent, None]:
    """Send a signal."""
    check_text(signal_id, "id")
    request: dict[str, Any] = {"id": run_id, "name": name, "payload": msgspec.Raw(payload)}
    if signal_id is not None:
        request["signal_id"] = signal_id
    return Call("workflow.signal", _of(request, generation), _Sent, lambda answer: _sent(answer, f"run {run_id}"))


def _sent(answer: _Sent, what: str) -> None:
    if answer.outcome == "ended":
        raise RunEndedError(f"{what} has ended as {answer.status or 'another did'}, and hears of nothing more")


def callback(
    token: str,
    outcome: Literal["completed", "failed", "alive"],
    *,
    output: bytes | None = None,
    error: Mapping[str, str] | None = None,
) -> Call[_Sent, None]:
    """Complete, fail or keep alive what waits for this token."""
    if not isinstance(token, str) or not token:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidError(f"token={token!r} must be the text that ctx.callback(...).token was")
    request: dict[str, Any] = {"token": token, "outcome": outcome}
    if output is not None:
        request["output"] = msgspec.Raw(output)
    if error is not None:
        request["error"] = error
    return Call("workflow.callback", request, _Sent, lambda answer: _sent(answer, f"the callback {token}"))


def wish(
    what: Wish, run_id: str, generation: int | str | None, reason: str | None, by: str | None
) -> Call[WishResult, WishResult]:
    """Wish a run cancelled, paused, resumed, retried or terminated."""
    check_text(reason, "reason")
    check_text(by, "by")
    request: dict[str, Any] = {"id": run_id, "by": whoami() if by is None else by}
    if reason is not None:
        request["reason"] = reason
    return Call(f"workflow.{what}", _of(request, generation), WishResult, lambda answer: answer)


class _Pruned(PruneCounts, frozen=True, kw_only=True):
    cursor: str | None = None


def prune(
    older_than: float | str,
    workflow: str | None,
    status: Iterable[RunStatus | str] | RunStatus | str | None,
    *,
    dry_run: bool,
) -> Many[PruneCounts]:
    """Remove runs that have ended, page by page."""
    check_text(workflow, "workflow")
    request: dict[str, Any] = {"older_than": older_than, "dry_run": dry_run}
    if workflow is not None:
        request["workflow"] = workflow
    if status is not None:
        request["status"] = _statuses(status)
    return Many("workflow.prune", request, _Pruned, PruneCounts())


def _of(request: dict[str, Any], generation: int | str | None) -> dict[str, Any]:
    return request if generation is None else {**request, "generation": generation}
