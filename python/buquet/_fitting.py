"""Whether inputs fit their type's schema, where the engine cannot look into what is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from buquet._chain import FRAME
from buquet._client import Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buquet._client import Check
    from buquet._vault import Parcel


class _Checked(msgspec.Struct):
    has_schema: bool


def _schema_check(kind: str, inputs: Sequence[bytes], *, secret: bool) -> Call[_Checked, bool]:
    request = {"type": kind, "inputs": [msgspec.Raw(item) for item in inputs], "secret": secret}
    return Call("schema.check", request, _Checked, lambda answer: answer.has_schema)


def fits(parcels: Sequence[Parcel], *, secret: bool) -> Check:
    """Have the engine check inputs of one type in plain. Costs no request.

    :param secret: whether an error leaves values out.
    :raises InvalidError: one does not fit; it names the place.
    """
    inputs = [parcel.plain for parcel in parcels if parcel.plain is not None]
    if not inputs:
        return
    kind = parcels[0].place.type
    # Whether there is a schema at all is asked first where it is much to hand over.
    if sum(map(len, inputs)) <= FRAME or (yield _schema_check(kind, (), secret=secret)):
        yield _schema_check(kind, inputs, secret=secret)
