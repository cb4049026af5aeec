"""Calls with their arguments, to be submitted together later: of different tasks, in few requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from buquet import _ops
from buquet._sending import in_parts, send_async

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buquet._client import Call, Client
    from buquet._handle import TaskHandle
    from buquet._models import Payload
    from buquet._options import SubmitOptions
    from buquet._vault import Parcel

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TaskCall(Generic[R_co]):
    """A call of a task with its arguments, not submitted yet: ``bind`` makes it, and ``group`` submits it.

    The arguments are checked and encoded already. In several groups it is a task in each.
    """

    __slots__ = ("_handle", "client", "name", "options", "parcel")

    def __init__(
        self,
        client: Client,
        name: str,
        parcel: Parcel,
        options: SubmitOptions,
        handle: Callable[[_ops.Submitted], TaskHandle[R_co]],
    ) -> None:
        """Bring together what a submit takes; use ``bind`` instead."""
        self.client = client
        self.name = name
        self.parcel = parcel
        self.options = options
        self._handle = handle

    def __repr__(self) -> str:
        """Show the task type."""
        return f"<call of task {self.name!r}>"

    def stored(self, stored: _ops.Submitted) -> TaskHandle[R_co]:
        """The handle of the task that it became."""
        return self._handle(stored)


def store(client: Client, calls: Sequence[TaskCall[R]]) -> list[TaskHandle[R]]:
    """Submit all, in as few operations as their types and options allow; gives the handles in order.

    :raises InvalidError: an input does not fit its type's schema; nothing was stored.
    """
    vault, parcels, lots = client.vault, [call.parcel for call in calls], _lots(calls)
    client.ask(vault.fits(parcels, len(lots)))
    payloads = [vault.send(parcel) for parcel in parcels]
    answers = client.call_many([_operation(calls, lot, payloads[lot[0]]) for lot in lots])
    return _handles(calls, lots, answers)


async def store_async(client: Client, calls: Sequence[TaskCall[R]]) -> list[TaskHandle[R]]:
    """Like ``store``, without blocking the loop."""
    vault, parcels, lots = client.vault, [call.parcel for call in calls], _lots(calls)
    await client.ask_async(vault.fits(parcels, len(lots)))
    payloads = [await send_async(vault, parcel) for parcel in parcels]
    answers = await client.call_many_async([_operation(calls, lot, payloads[lot[0]]) for lot in lots])
    return _handles(calls, lots, answers)


def _lots(calls: Sequence[TaskCall[Any]]) -> list[Sequence[int]]:
    """Which calls go into one operation: all of a type and its options.

    A unique call has a record of its own, and so does one with payloads.
    """
    together: dict[tuple[str, bytes, int], list[int]] = {}
    for place, call in enumerate(calls):
        alone = call.parcel.sources or call.options.unique not in (msgspec.UNSET, None)
        key = (call.name, msgspec.json.encode(call.options), place if alone else -1)
        together.setdefault(key, []).append(place)
    return [part for places in together.values() for part in in_parts(places)]


def _operation(
    calls: Sequence[TaskCall[Any]], lot: Sequence[int], payloads: Sequence[Payload]
) -> Call[Any, list[_ops.Submitted]]:
    """What stores the calls of a lot. One that is alone, the engine joins with others."""
    first = calls[lot[0]]
    if len(lot) == 1:
        return _ops.submit(first.name, first.parcel.json, first.options, payloads).then(_as_list)
    inputs = [calls[place].parcel.json for place in lot]
    return _ops.submit_many(first.name, inputs, first.options).then(_as_stored)


def _handles(
    calls: Sequence[TaskCall[R]], lots: Sequence[Sequence[int]], answers: Sequence[list[_ops.Submitted]]
) -> list[TaskHandle[R]]:
    stored: dict[int, _ops.Submitted] = {}
    for lot, answer in zip(lots, answers, strict=True):
        stored.update(zip(lot, answer, strict=True))
    return [call.stored(stored[place]) for place, call in enumerate(calls)]


def _as_list(stored: _ops.Submitted) -> list[_ops.Submitted]:
    return [stored]


def _as_stored(ids: list[str]) -> list[_ops.Submitted]:
    return [_ops.Submitted(task_id) for task_id in ids]
