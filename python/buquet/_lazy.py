"""Properties that are computed at their first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - a decorator, like ``property``
    """A property that is computed once and kept.

    Two threads at a time may compute it twice. ``functools.cached_property`` has a lock against that up to Python 3.11,
    one for all objects, which a child keeps for ever if another thread held it at the fork.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        """Compute the property with ``compute``."""
        self._compute = compute
        self._name = ""
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn where the value is kept."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        """Compute the value; from then on the instance's own attribute is found first."""
        if instance is None:
            return self
        value = self._compute(instance)
        return instance.__dict__.setdefault(self._name, value)
