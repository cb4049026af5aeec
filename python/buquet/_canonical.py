"""Values as JSON can say them, the same in every process: sets in one order, and no two keys that become the same.

The order of a set depends on the hash seed of its process. Unique tasks and idempotency keys compare inputs of many.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS = frozenset(
    {bool, bytes, float, int, str, NoneType, Decimal, dt.date, dt.datetime, dt.time, dt.timedelta, uuid.UUID}
)
"""Types that hold nothing else: most values are of these, and are passed over quickly."""
_TEXT = frozenset({str})
_DISTINCT = ({int}, {str}, {dt.date}, {uuid.UUID})
"""Types of keys whose values are as distinct as text."""


class Canonical:
    """Puts values into their one form."""

    def __init__(self, known: Callable[[object], Any]) -> None:
        """Take on ``known``, which says what stands in JSON for a value that msgspec does not know."""
        self._encoder = msgspec.json.Encoder(enc_hook=known)

    def of(self, value: Any) -> Any:
        """The value itself, or one like it whose sets are sorted lists.

        :raises ValueError: two keys of a dict become the same in JSON.
        """
        kind = cast("type[Any]", type(value))
        if kind in _SCALARS:
            return value
        if isinstance(value, dict):
            return self._dict(cast("dict[Any, Any]", value))
        if isinstance(value, list | tuple):
            return self._list(cast("list[Any]", value))
        if isinstance(value, set | frozenset):
            return self._sorted(map(self.of, cast("set[Any]", value)))
        changed: dict[str, Any] = {}
        for name in _fields(kind):
            before = getattr(value, name, None)
            after = self.of(before)
            if after is not before:
                changed[name] = after
        return _replace(value, changed) if changed else value

    def _dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        if not _TEXT.issuperset(map(type, value)):
            check_keys(value)
        if _SCALARS.issuperset(map(type, value.values())):
            return value
        changed: dict[Any, Any] = {}
        for key, before in value.items():
            after = self.of(before)
            if after is not before:
                changed[key] = after
        return {**value, **changed} if changed else value

    def _list(self, value: list[Any]) -> list[Any]:
        if _SCALARS.issuperset(map(type, value)):
            return value
        changed: dict[int, Any] = {}
        for place, before in enumerate(value):
            after = self.of(before)
            if after is not before:
                changed[place] = after
        return [changed.get(place, item) for place, item in enumerate(value)] if changed else value

    def _sorted(self, items: Iterable[Any]) -> list[Any]:
        return sorted(items, key=self._encoder.encode)

    def like(self, value: Any, dumped: Any) -> Any:
        """What pydantic made of a value, with lists sorted that were sets.

        :raises ValueError: two keys of a dict became the same.
        """
        kind = cast("Any", type(value))
        if getattr(kind, "__pydantic_root_model__", False):
            return self.like(value.root, dumped)
        if isinstance(dumped, list):
            items = self._likes(value, cast("list[Any]", dumped))
            return self._sorted(items) if isinstance(value, AbstractSet) else items
        if not isinstance(dumped, dict):
            return dumped
        members = cast("dict[str, Any]", dumped)
        if isinstance(value, Mapping):
            mapping = cast("Mapping[Any, Any]", value)
            check_keys(mapping)
            return dict(zip(members, self._likes(mapping.values(), list(members.values())), strict=True))
        for name, key in _dumped_names(value):
            if key in members:
                members[key] = self.like(getattr(value, name, None), members[key])
        return members

    def _likes(self, values: Any, dumped: list[Any]) -> list[Any]:
        several = list(cast("Iterable[Any]", values)) if isinstance(values, Iterable) else []
        if len(several) != len(dumped):  # the model says in its own way what it is
            return dumped
        return [self.like(value, item) for value, item in zip(several, dumped, strict=True)]


def check_keys(value: Mapping[Any, Any]) -> None:
    """Refuse keys that become the same.

    :raises ValueError: two do; it names both.
    """
    if set(map(type, value)) in _DISTINCT:
        return
    if len(msgspec.to_builtins(dict.fromkeys(value), str_keys=True)) == len(value):
        return
    known: dict[str, Any] = {}
    for key in value:
        text = next(iter(msgspec.to_builtins({key: None}, str_keys=True)))
        if text in known:
            raise ValueError(f"the keys {known[text]!r} and {key!r} are the same in JSON, where keys are text")
        known[text] = key


@lru_cache(maxsize=1024)
def _fields(kind: type[Any]) -> tuple[str, ...]:
    """The attributes that msgspec writes of an object of this class."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(attribute.name for attribute in getattr(kind, "__attrs_attrs__", ()))


def _replace(value: Any, changed: dict[str, Any]) -> Any:
    """A copy with other attributes, whether they may be set or not, and whatever their types."""
    other = copy.copy(value)
    for name, item in changed.items():
        if isinstance(other, msgspec.Struct):
            msgspec.structs.force_setattr(other, name, item)
        else:
            object.__setattr__(other, name, item)
    return other


def _dumped_names(value: Any) -> Iterable[tuple[str, str]]:
    """Attributes of a model, and what they are called in what pydantic made of it."""
    kind = cast("Any", type(value))
    for fields in (getattr(kind, "model_fields", {}), getattr(kind, "model_computed_fields", {})):
        for name, field in fields.items():
            alias = getattr(field, "serialization_alias", None) or field.alias or name
            yield name, alias
    for name in (*_fields(kind), *(getattr(value, "model_extra", None) or ())):
        yield name, name
