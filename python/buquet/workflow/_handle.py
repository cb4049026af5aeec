"""Handles of runs: what a start gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from buquet import _codec
from buquet._checks import check_name
from buquet._current import Waiting
from buquet._durations import Duration, wire_duration
from buquet._handle import refuse_on_loop
from buquet._in_thread import run_in_thread
from buquet._names import no_attribute
from buquet.errors import RunEndedError, run_without_result
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._models import RunStatus, WishOutcome

if TYPE_CHECKING:
    from collections.abc import Generator

    from buquet._client import Call, Client
    from buquet.workflow._models import RunHistory, WishResult, WorkflowRun
    from buquet.workflow._workflow_ops import Started, Wish

R_co = TypeVar("R_co", covariant=True)

_WAIT = "wait for the result with .result(timeout=...), or await the handle"
_ELSEWHERE = {
    "abort": "cancel it with .cancel(), or end it without its body with .terminate()",
    "describe": "read it with .refresh()",
    "get_result": _WAIT,
    "get_status": "read where it stands with .status()",
    "join": _WAIT,
    "query": "read what the body has published with .refresh().published",
    "send": "send it a signal with .signal(name, payload)",
    "wait": _WAIT,
}
"""What other engines call it, and how it is done here."""


class RunHandle(Generic[R_co]):
    """A run, by its ``id``: the one it was given at its start, or the one that it got.

    ``await run`` and ``run.result()`` give the run's result, decoded to what the body's return annotation promises.
    Every method has a twin for async code, ``..._async``.
    """

    __slots__ = ("_client", "_kind", "created", "generation", "id")

    created: bool | None
    """Whether the start that gave this handle stored the run, or found it: None for a handle made from an id."""
    generation: int | str | None
    """Which start under this id is meant; None: whichever is the latest."""

    def __init__(
        self,
        client: Client,
        run_id: str,
        kind: Any = Any,
        *,
        created: bool | None = None,
        generation: int | str | None = None,
    ) -> None:
        """Name a run; nothing is read yet."""
        self.id = run_id
        self.created = created
        self.generation = generation
        self._client = client
        self._kind = kind

    def __repr__(self) -> str:
        """Show the id."""
        return f"RunHandle({self.id!r})"

    def __eq__(self, other: object) -> bool:
        """Whether both are handles of the same run of the same queue."""
        if not isinstance(other, RunHandle):
            return NotImplemented
        mine, theirs = (self.id, self.generation), (other.id, other.generation)
        return mine == theirs and self._client.config == other._client.config

    def __hash__(self) -> int:
        """Hash by the id."""
        return hash(self.id)

    if not TYPE_CHECKING:  # or type checkers would let any name pass

        def __getattr__(self, name: str) -> Any:
            """Say what it is called here."""
            raise no_attribute(self, name, _ELSEWHERE)

    def __await__(self) -> Generator[Any, Any, R_co]:
        """Wait for the result, as long as it takes."""
        return self.result_async().__await__()

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the run and give its result.

        :param timeout: the longest wait, a duration; for ever when left out.
        :raises WorkflowFailedError: the run has ended without a result.
        :raises WaitTimeoutError: it had not ended in time; it goes on.
        :raises ConflictError: it was started anew under its id meanwhile.
        :raises DecodeError: the stored result does not fit the return annotation.
        :raises InvalidError: called on a running event loop, which it would block.
        """
        refuse_on_loop()
        with Waiting():
            run = self._client.call(self._wait(timeout))
        return self._read(run)

    async def result_async(self, timeout: Duration | None = None) -> R_co:
        """Like ``result``, for async code. ``await run`` is the same without a timeout."""
        with Waiting():
            run = await self._client.call_async(self._wait(timeout))
        if run.output_ref is not None and run.output is None:
            return await run_in_thread(lambda: self._read(run), "buquet-read")
        return self._read(run)

    def _wait(self, timeout: Duration | None) -> Call[Any, WorkflowRun]:
        return ops.wait(self.id, self.generation, None if timeout is None else wire_duration(timeout, "timeout"))

    def _read(self, run: WorkflowRun) -> R_co:
        if run.status is not RunStatus.COMPLETED:
            raise run_without_result(run)
        what = f"the result of run {run.name}"
        if run.output_ref is None:
            return _codec.convert(run.output, self._kind, what)
        delivery = self._client.vault.delivery(run, msgspec.json.encode(run.output), "result")
        return delivery.read(lambda raw: _codec.decode(raw, self._kind, what))

    def refresh(self, *, steps: bool = False) -> WorkflowRun:
        """Read the run as it is stored now.

        :param steps: read also where everything that its body asked for stands.
        :raises NotFoundError: there is no such run.
        """
        return self._client.call(ops.get(self.id, steps=steps))

    async def refresh_async(self, *, steps: bool = False) -> WorkflowRun:
        """Like ``refresh``, for async code."""
        return await self._client.call_async(ops.get(self.id, steps=steps))

    def status(self) -> RunStatus:
        """Read where the run stands now."""
        return self.refresh().status

    async def status_async(self) -> RunStatus:
        """Like ``status``, for async code."""
        return (await self.refresh_async()).status

    def history(self) -> RunHistory:
        """Read the run with its journal: what its body asked for and was told, and when."""
        return self._client.call(ops.history(self.id))

    async def history_async(self) -> RunHistory:
        """Like ``history``, for async code."""
        return await self._client.call_async(ops.history(self.id))

    def signal(self, name: str, payload: object = None, *, id: str | None = None) -> None:  # noqa: A002
        """Send the run a signal. When this returns it is stored, and the run is woken if it waits.

        :param name: what ``ctx.wait_signal`` waits for.
        :param payload: anything with a JSON form.
        :param id: the signal's own id: of several with the same one the run hears once.
        :raises RunEndedError: the run has ended.
        :raises NotFoundError: there is no such run.
        """
        self._client.call(self._signal(name, payload, id))

    async def signal_async(self, name: str, payload: object = None, *, id: str | None = None) -> None:  # noqa: A002
        """Like ``signal``, for async code."""
        await self._client.call_async(self._signal(name, payload, id))

    def _signal(self, name: str, payload: object, signal_id: str | None) -> Call[Any, None]:
        check_name(name, "a signal's name")
        raw = _codec.encode(payload, f"the payload of signal {name!r}")
        return ops.signal(self.id, name, raw, signal_id, self.generation)

    def cancel(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Cancel the run: its body is told once, may clean up, and what it registered for that is undone.

        :param reason: why, up to 500 characters.
        :param by: who; this process's user and machine when left out.
        :returns: what became of it. A run that had ended says so, and nothing changes.
        :raises NotFoundError: there is no such run.
        """
        return self._client.call(self._wish("cancel", reason, by))

    async def cancel_async(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Like ``cancel``, for async code."""
        return await self._client.call_async(self._wish("cancel", reason, by))

    def pause(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Let what runs end, and start nothing new until ``resume``.

        :raises RunEndedError: the run has ended.
        """
        return _alive(self._client.call(self._wish("pause", reason, by)), self.id)

    async def pause_async(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Like ``pause``, for async code."""
        return _alive(await self._client.call_async(self._wish("pause", reason, by)), self.id)

    def resume(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Let a paused run go on exactly where it stopped.

        :raises RunEndedError: the run has ended.
        """
        return _alive(self._client.call(self._wish("resume", reason, by)), self.id)

    async def resume_async(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Like ``resume``, for async code."""
        return _alive(await self._client.call_async(self._wish("resume", reason, by)), self.id)

    def retry(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Let a failed or cancelled run go on from the step that failed.

        :raises ConflictError: that is not possible: it has completed, say.
        """
        return self._client.call(self._wish("retry", reason, by))

    async def retry_async(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Like ``retry``, for async code."""
        return await self._client.call_async(self._wish("retry", reason, by))

    def terminate(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """End the run now, without its body: nothing is cleaned up, nothing is undone."""
        return self._client.call(self._wish("terminate", reason, by))

    async def terminate_async(self, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Like ``terminate``, for async code."""
        return await self._client.call_async(self._wish("terminate", reason, by))

    def _wish(self, what: Wish, reason: str | None, by: str | None) -> Call[Any, WishResult]:
        return ops.wish(what, self.id, self.generation, reason, by)


def started(client: Client, stored: Started, kind: Any) -> RunHandle[Any]:
    """The handle of a run that was started or found."""
    run_id = stored.key or stored.id
    return RunHandle(client, run_id, kind, created=stored.created, generation=stored.generation)


def _alive(result: WishResult, run_id: str) -> WishResult:
    if result.outcome is WishOutcome.ENDED:
        raise RunEndedError(f"run {run_id} has ended as {result.status}; a retry lets a failed one go on")
    return result
