"""Submitting what was packed: payloads first, then the tasks that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buquet import _ops

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from buquet._client import Call
    from buquet._models import Payload
    from buquet._options import SubmitOptions
    from buquet._vault import Parcel, Vault


async def send_async(vault: Vault, parcel: Parcel, owner: str | None = None) -> list[Payload]:
    """Check and store as ``Vault.send`` does, without blocking the loop."""
    if not parcel.sources:
        if parcel.plain is not None:
            await vault.client.ask_async(vault.fits([parcel]))
        return []
    from buquet._loop_channel import run_in_thread  # noqa: PLC0415 - asyncio is not for everybody

    return await run_in_thread(lambda: vault.send(parcel, owner))


def submissions(
    vault: Vault, kind: str, parcels: Sequence[Parcel], options: SubmitOptions
) -> Iterator[Call[Any, list[str]]]:
    """Give the operations that store many tasks; their answers are the ids in order."""
    for part in _parts(parcels):
        if part[0].sources:
            yield _single(kind, part[0], vault.send(part[0]), options)
        else:
            vault.client.ask(vault.fits(part))
            yield _ops.submit_many(kind, [parcel.json for parcel in part], options)


async def submissions_async(
    vault: Vault, kind: str, parcels: Sequence[Parcel], options: SubmitOptions
) -> AsyncIterator[Call[Any, list[str]]]:
    """Likewise, without blocking the loop."""
    for part in _parts(parcels):
        if part[0].sources:
            yield _single(kind, part[0], await send_async(vault, part[0]), options)
        else:
            await vault.client.ask_async(vault.fits(part))
            yield _ops.submit_many(kind, [parcel.json for parcel in part], options)


def _parts(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """Tasks for one operation; each with payloads goes alone, since its record owns them."""
    part: list[Parcel] = []
    for parcel in parcels:
        if part and (parcel.sources or len(part) == _ops.SUBMIT_MANY_LIMIT):
            yield part
            part = []
        if parcel.sources:
            yield [parcel]
        else:
            part.append(parcel)
    if part:
        yield part


def _single(kind: str, parcel: Parcel, payloads: list[Payload], options: SubmitOptions) -> Call[Any, list[str]]:
    single = _ops.submit(kind, parcel.json, options, payloads)
    return single.then(lambda stored: [stored.id])
