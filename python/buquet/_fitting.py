"""Whether inputs fit their type's schema, where the engine would find out too late or cannot look at all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from buquet._chain import FRAME
from buquet._client import Call
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from buquet._client import Check
    from buquet._vault import Parcel

    Numbered: TypeAlias = tuple[int, bytes]
    """An input, and which of all it is."""
    Ask: TypeAlias = Callable[[Sequence[bytes]], Call["_Checked", bool]]

_SOME = 1_000
"""Most inputs that are handed over at a time."""


class _Checked(msgspec.Struct):
    has_schema: bool


def _schema_check(kind: str, inputs: Sequence[bytes], *, secret: bool) -> Call[_Checked, bool]:
    request = {"type": kind, "inputs": [msgspec.Raw(item) for item in inputs], "secret": secret}
    return Call("schema.check", request, _Checked, lambda answer: answer.has_schema)


def fits(parcels: Sequence[Parcel], operations: int, *, secret: bool) -> Check:
    """Have the engine check inputs before anything of them is stored. Costs no request.

    The inputs of a single operation it checks itself, before it stores the first, unless they are encoded.

    :param operations: how many will store them.
    :param secret: whether an error leaves values out.
    :raises InvalidError: one does not fit; it names the place.
    """
    would_be_late = operations > 1 or any(parcel.sources for parcel in parcels)
    of_types: dict[str, list[Numbered]] = {}
    for number, parcel in enumerate(parcels):
        raw = parcel.json if parcel.plain is None and would_be_late else parcel.plain
        if raw is not None:
            of_types.setdefault(parcel.place.type, []).append((number, raw))
    for kind, inputs in of_types.items():
        ask = partial(_schema_check, kind, secret=secret)
        is_little = len(inputs) == 1 and len(inputs[0][1]) <= FRAME
        # Whether there is a schema at all is asked first where it is much to hand over.
        if not is_little and not (yield ask(())):
            continue
        for some in _some(inputs):
            try:
                yield ask([raw for _, raw in some])
            except InvalidError:
                if len(parcels) > 1:
                    yield from _name(some, ask, len(parcels))
                raise


def _some(inputs: Sequence[Numbered]) -> Iterator[list[Numbered]]:
    some: list[Numbered] = []
    size = 0
    for number, raw in inputs:
        if some and (len(some) == _SOME or size + len(raw) > FRAME):
            yield some
            some, size = [], 0
        some.append((number, raw))
        size += len(raw)
    yield some


def _name(some: Sequence[Numbered], ask: Ask, count: int) -> Check:
    """Raise what is wrong with the first that does not fit. The engine's own numbers count what it was handed."""
    for number, raw in some:
        try:
            yield ask([raw])
        except InvalidError as error:
            raise InvalidError(f"input number {number} of {count}: {error}") from error
