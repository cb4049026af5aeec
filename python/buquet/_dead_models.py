"""What replays, archives, purges and lifecycle rules came to, as typed, frozen values."""

from __future__ import annotations

from typing import Any

import msgspec

from buquet._models import CorruptObject


class Handled(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay or archive of many tasks came to.

    ``tasks`` were moved, or would be by a call that is no dry run; they lie in ``records``
    objects. ``corrupt`` are stored objects that cannot be read; they were left alone. ``cursor``, as ``progress`` gets
    it, is where to go on should the call break off; None once it is done.
    """

    tasks: int = 0
    records: int = 0
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge came to.

    ``tasks`` were purged, or would be. ``records`` objects were deleted, ``bytes`` of them; ``kept``
    stay because they hold other tasks too, which were stored together with the purged ones.
    ``corrupt`` are stored objects that cannot be read; they were left alone. ``cursor``, as ``progress`` gets it, is
    where to go on should the call break off; None once it is done.
    """

    tasks: int = 0
    records: int = 0
    kept: int = 0
    bytes: int = 0
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What old versions of the queue's records take up and cost, from a sample; ``at_least`` if there is more."""

    sampled: int
    records: float
    at_least: bool
    old_versions: float
    old_bytes: float
    removable_bytes: float
    dollars_a_month: float
    saved_a_month: float


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """The lifecycle rules of a queue's bucket, what they cost and what they save.

    ``rules`` is what ``aws s3api put-bucket-lifecycle-configuration`` takes. ``applies`` is False for a store that
    is no bucket; ``others`` counts the bucket's other rules, which stayed as they were.
    """

    applies: bool
    applied: bool
    others: int | None = None
    rules: dict[str, Any]
    estimate: Estimate
    notes: list[str]
