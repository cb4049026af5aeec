"""One step for each of many items: how many at a time, and how many may fail."""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from buquet._checks import check_name
from buquet._models import check_count
from buquet.errors import InvalidError, MapError, StepCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")
MANY = 5
"""So many failed items are named in a message."""


def scope_name(name: str) -> str:
    """The name of a map's scope.

    :raises InvalidError: it cannot be one, as that of a local function.
    """
    check_name(name, "the name of a scope")
    return name


class MapReason(StrEnum):
    """Why a map ended."""

    ALL_ENDED = "all_ended"
    """Every item has ended, and no more failed than may."""
    ENOUGH_SUCCEEDED = "enough_succeeded"
    """``min_successful`` was reached."""
    TOO_MANY_FAILED = "too_many_failed"
    """More failed than may, or so many that ``min_successful`` cannot be reached."""


class ItemStatus(StrEnum):
    """How an item of a map ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """It ran when the map ended."""
    NOT_STARTED = "not_started"
    """The map ended before its turn."""


class MapResult(Generic[R]):
    """How a map ended. Indexes are those of the items."""

    def __init__(
        self, reason: MapReason, statuses: list[ItemStatus], values: dict[int, R], errors: dict[int, Exception]
    ) -> None:
        """Bring the outcomes together."""
        self.reason = reason
        self.statuses = statuses
        """One for each item."""
        self.succeeded = sorted(values)
        self.failed = sorted(errors)
        self.errors = {index: errors[index] for index in sorted(errors)}
        """What the failed items raised."""
        self._values = values

    def __repr__(self) -> str:
        """Show the numbers."""
        return (
            f"MapResult({self.reason.value}: {len(self.succeeded)} succeeded, {len(self.failed)} failed, "
            f"{len(self.statuses)} in all)"
        )

    @property
    def is_success(self) -> bool:
        """Whether no more failed than may."""
        return self.reason is not MapReason.TOO_MANY_FAILED

    def raise_if_failed(self) -> None:
        """Raise if more failed than may.

        :raises MapError: it names the first failed items; its cause is the first's error.
        """
        if self.is_success:
            return
        first = self.failed[0]
        several = ", ".join(str(index) for index in self.failed[:MANY]) + (", ..." if len(self.failed) > MANY else "")
        raise MapError(
            f"{len(self.failed)} of {len(self.statuses)} items failed (index {several}), more than may; "
            f"item {first}: {type(self.errors[first]).__name__}: {self.errors[first]}",
            self,
        ) from self.errors[first]

    @property
    def results(self) -> list[R]:
        """What the items that succeeded gave, in the order of the items.

        :raises MapError: more failed than may.
        """
        self.raise_if_failed()
        return [self._values[index] for index in self.succeeded]

    def value(self, index: int) -> R:
        """What this item gave.

        :raises Exception: what the item raised, or a ``StepCancelledError`` if it has not ended.
        """
        if index in self._values:
            return self._values[index]
        status = self.statuses[index].value.replace("_", " ")
        raise self.errors.get(index) or StepCancelledError("Cancelled", f"item {index} of the map was {status}")


class Bounds:
    """How many items may run, must succeed, and may fail."""

    def __init__(
        self,
        count: int,
        *,
        max_concurrency: int | None,
        min_successful: int | None,
        tolerated_failures: int | None,
        tolerated_percentage: float | None,
    ) -> None:
        """Check the bounds against each other.

        :raises InvalidError: one makes no sense.
        """
        for name, value in (("max_concurrency", max_concurrency), ("min_successful", min_successful)):
            check_count(value, name)
            if value == 0:
                raise InvalidError(f"{name}=0 must be 1 or more")
        check_count(tolerated_failures, "tolerated_failures")
        share = cast("Any", tolerated_percentage)
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if share is not None and not (is_number and 0 <= share <= 100):  # noqa: PLR2004
            raise InvalidError(f"tolerated_percentage={share!r} must be a number from 0 to 100")
        if min_successful is not None and min_successful > count:
            raise InvalidError(f"min_successful={min_successful} is more than the {count} items there are")
        self.at_once = count if max_concurrency is None else max_concurrency
        self.enough = min_successful
        tolerated = [] if tolerated_failures is None else [tolerated_failures]
        if tolerated_percentage is not None:
            tolerated.append(math.floor(count * tolerated_percentage / 100))
        if min_successful is not None:
            tolerated.append(count - min_successful)
        self.tolerated = min(tolerated, default=0)


class Pending(Protocol):
    """An item that runs: a future of either kind of body."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> object:
        """Call this when it has ended."""
        ...

    def cancel(self) -> object:
        """End it."""
        ...

    def cancelled(self) -> bool:
        """Whether it was ended so."""
        ...

    def exception(self) -> BaseException | None:
        """What it raised."""
        ...

    def result(self) -> Any:
        """What it gave."""
        ...


class FanOut(Generic[R]):
    """Starts the items, and decides when it is over."""

    def __init__(self, count: int, bounds: Bounds, start: Callable[[int], Pending], over: Callable[[], object]) -> None:
        """Begin; ``start`` starts an item, and ``over`` is called once at the end."""
        self._bounds = bounds
        self._start = start
        self._over = over
        self._waiting = deque(range(count))
        self._running: dict[int, Pending] = {}
        self._statuses = [ItemStatus.NOT_STARTED] * count
        self._values: dict[int, R] = {}
        self._errors: dict[int, Exception] = {}
        self._unwinds: BaseException | None = None
        self.reason: MapReason | None = None

    def go_on(self) -> None:
        """Start what may be started, or end."""
        if self.reason is not None:
            return
        if len(self._errors) > self._bounds.tolerated:
            self._end(MapReason.TOO_MANY_FAILED)
        elif self._bounds.enough is not None and len(self._values) >= self._bounds.enough:
            self._end(MapReason.ENOUGH_SUCCEEDED)
        elif not self._waiting and not self._running:
            self._end(MapReason.ALL_ENDED)
        while self.reason is None and self._waiting and len(self._running) < self._bounds.at_once:
            index = self._waiting.popleft()
            self._statuses[index] = ItemStatus.CANCELLED  # unless it ends
            try:
                pending = self._start(index)
            except BaseException as error:  # noqa: BLE001 - it is raised where the map is awaited
                self._unwinds = error
                self._end(MapReason.TOO_MANY_FAILED)
                return
            self._running[index] = pending
            pending.add_done_callback(lambda ended, index=index: self._ended(index, ended))

    def _ended(self, index: int, pending: Pending) -> None:
        if self.reason is not None:
            if not pending.cancelled():
                pending.exception()  # or asyncio would say that nobody has looked
            return
        del self._running[index]
        error = (
            StepCancelledError("Cancelled", f"item {index} was cancelled")
            if pending.cancelled()
            else pending.exception()
        )
        if error is None:
            self._statuses[index] = ItemStatus.SUCCEEDED
            self._values[index] = pending.result()
        elif isinstance(error, Exception):
            self._statuses[index] = ItemStatus.FAILED
            self._errors[index] = error
        else:  # such as continue_as_new in a branch
            self._unwinds = error
            self._end(MapReason.TOO_MANY_FAILED)
            return
        self.go_on()

    def _end(self, reason: MapReason) -> None:
        self.stop(reason)
        self._over()

    def stop(self, reason: MapReason = MapReason.TOO_MANY_FAILED) -> None:
        """Start nothing more, and cancel what runs."""
        self.reason = reason
        for pending in self._running.values():
            pending.cancel()

    @property
    def result(self) -> MapResult[R]:
        """How it ended."""
        if self._unwinds is not None:
            raise self._unwinds
        return MapResult(self.reason or MapReason.ALL_ENDED, self._statuses, self._values, self._errors)
