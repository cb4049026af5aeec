"""Submitting what was packed: payloads first, then the tasks that name them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from buquet import _ops
from buquet._in_thread import run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from buquet._client import Call
    from buquet._models import Payload
    from buquet._options import SubmitOptions
    from buquet._vault import Parcel, Vault

T = TypeVar("T")


def submit(vault: Vault, kind: str, parcel: Parcel, options: SubmitOptions) -> _ops.Submitted:
    """Check and store one task, its payloads before it. Blocks.

    :raises InvalidError: the input does not fit its type's schema; nothing was stored.
    """
    vault.client.ask(vault.fits([parcel]))
    return vault.client.call(_ops.submit(kind, parcel.json, options, vault.send(parcel)))


async def submit_async(vault: Vault, kind: str, parcel: Parcel, options: SubmitOptions) -> _ops.Submitted:
    """Likewise, without blocking the loop."""
    await vault.client.ask_async(vault.fits([parcel]))
    payloads = await send_async(vault, parcel)
    return await vault.client.call_async(_ops.submit(kind, parcel.json, options, payloads))


async def send_async(vault: Vault, parcel: Parcel, owner: str | None = None) -> list[Payload]:
    """Store as ``Vault.send`` does, without blocking the loop."""
    if not parcel.sources:
        return []
    return await run_in_thread(lambda: vault.send(parcel, owner), "buquet-send")


def submissions(
    vault: Vault, kind: str, parcels: Sequence[Parcel], options: SubmitOptions
) -> Iterator[Call[Any, list[str]]]:
    """Give the operations that store many tasks; their answers are the ids in order.

    :raises InvalidError: an input does not fit its type's schema; nothing was stored.
    """
    parts = list(_parts(parcels))
    vault.client.ask(vault.fits(parcels, len(parts)))
    for part in parts:
        yield _submission(kind, part, vault.send(part[0]), options)


async def submissions_async(
    vault: Vault, kind: str, parcels: Sequence[Parcel], options: SubmitOptions
) -> AsyncIterator[Call[Any, list[str]]]:
    """Likewise, without blocking the loop."""
    parts = list(_parts(parcels))
    await vault.client.ask_async(vault.fits(parcels, len(parts)))
    for part in parts:
        yield _submission(kind, part, await send_async(vault, part[0]), options)


def in_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as one ``submit_many`` takes, each time."""
    for start in range(0, len(items), _ops.SUBMIT_MANY_LIMIT):
        yield items[start : start + _ops.SUBMIT_MANY_LIMIT]


def _parts(parcels: Sequence[Parcel]) -> Iterator[Sequence[Parcel]]:
    """Tasks for one operation; each with payloads goes alone, since its record owns them."""
    for has_payloads, run in groupby(parcels, key=lambda parcel: bool(parcel.sources)):
        if has_payloads:
            yield from ([parcel] for parcel in run)
        else:
            yield from in_parts(list(run))


def _submission(
    kind: str, part: Sequence[Parcel], payloads: list[Payload], options: SubmitOptions
) -> Call[Any, list[str]]:
    if payloads:
        single = _ops.submit(kind, part[0].json, options, payloads)
        return single.then(lambda stored: [stored.id])
    return _ops.submit_many(kind, [parcel.json for parcel in part], options)
