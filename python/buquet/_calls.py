"""Calls with their arguments, to be submitted together later: of different tasks, in few requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from buquet import _ops
from buquet._sending import send_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


class _Lot(NamedTuple):
    """One operation, and which of the calls it stores."""

    call: Call[Any, list[_ops.Submitted]]
    places: Sequence[int]


def store(client: Client, calls: Sequence[TaskCall[R]]) -> list[TaskHandle[R]]:
    """Submit all, in as few operations as their types and options allow; gives the handles in order."""
    if not calls:
        return []
    payloads = [client.vault.send(call.parcel) for call in calls]
    lots = list(_lots(calls, payloads))
    return _handles(calls, lots, client.call_many([lot.call for lot in lots]))


async def store_async(client: Client, calls: Sequence[TaskCall[R]]) -> list[TaskHandle[R]]:
    """Like ``store``, without blocking the loop."""
    if not calls:
        return []
    payloads = [await send_async(client.vault, call.parcel) for call in calls]
    lots = list(_lots(calls, payloads))
    return _handles(calls, lots, await client.call_many_async([lot.call for lot in lots]))


def _lots(calls: Sequence[TaskCall[Any]], payloads: Sequence[list[Payload]]) -> Iterator[_Lot]:
    """One operation for all calls of a type and its options; what is the only such call, the engine joins with others.

    A unique call has a record of its own, and so does one with payloads.
    """
    together: dict[tuple[str, bytes, int], list[int]] = {}
    for place, call in enumerate(calls):
        alone = payloads[place] or call.options.unique not in (msgspec.UNSET, None)
        key = (call.name, msgspec.json.encode(call.options), place if alone else -1)
        together.setdefault(key, []).append(place)
    for places in together.values():
        first = calls[places[0]]
        if len(places) == 1:
            single = _ops.submit(first.name, first.parcel.json, first.options, payloads[places[0]])
            yield _Lot(single.then(_as_list), places)
            continue
        for start in range(0, len(places), _ops.SUBMIT_MANY_LIMIT):
            part = places[start : start + _ops.SUBMIT_MANY_LIMIT]
            many = _ops.submit_many(first.name, [calls[place].parcel.json for place in part], first.options)
            yield _Lot(many.then(_as_stored), part)


def _handles(
    calls: Sequence[TaskCall[R]], lots: Sequence[_Lot], answers: Sequence[list[_ops.Submitted]]
) -> list[TaskHandle[R]]:
    stored: dict[int, _ops.Submitted] = {}
    for lot, answer in zip(lots, answers, strict=True):
        stored.update(zip(lot.places, answer, strict=True))
    return [call.stored(stored[place]) for place, call in enumerate(calls)]


def _as_list(stored: _ops.Submitted) -> list[_ops.Submitted]:
    return [stored]


def _as_stored(ids: list[str]) -> list[_ops.Submitted]:
    return [_ops.Submitted(task_id) for task_id in ids]
