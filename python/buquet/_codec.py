"""JSON for inputs and outputs: msgspec, with hooks for what it does not know by itself.

Taken as they are: JSON's own types, dataclasses, msgspec structs, attrs classes,
named tuples, typed dicts, enums, ``datetime`` and its kin, ``UUID``, ``Decimal``,
``bytes`` (as base64; large ones by themselves are stored as they are), ``File``,
tuples and sets (as arrays, sets sorted by their items' JSON), paths, and pydantic models where pydantic is installed.
Everything else is refused, and so are NaN and infinities, which JSON cannot say, and dicts two of whose keys become the
same, as 1 and "1" do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import PurePath
from typing import Any, cast

import msgspec
from msgspec import inspect

from buquet._canonical import Canonical
from buquet._chain import MARK, read_marker
from buquet._files import File
from buquet._packing import restore, set_aside, set_aside_nested
from buquet.errors import DecodeError, EncodeError, InvalidError

_ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)


def encode(value: object, what: str) -> bytes:
    """Encode ``value`` as JSON; ``what`` names it in the error.

    :raises EncodeError: the value has no JSON form.
    :raises InvalidError: it holds a file that cannot be read.
    """
    stands_for = set_aside(value)
    if stands_for is not None:
        return stands_for
    try:
        value = _canonical.of(value)
        encoded = _encoder.encode(value)
        if encoded.startswith(MARK):
            raise ValueError('an object that begins with "$buquet" is buquet\'s own')
        # The encoder writes NaN and infinities as null, so no null means there are none.
        if b"null" in encoded:
            _refuse_non_finite(msgspec.to_builtins(value, enc_hook=_to_numbers, str_keys=True))
    except InvalidError:
        raise  # such as of a file that cannot be read, which may be there the next time
    except _ENCODE_ERRORS as error:
        raise EncodeError(f"{what} cannot be stored as JSON: {error}") from error
    return encoded


def decode(raw: bytes | msgspec.Raw, kind: Any, what: str) -> Any:
    """Decode JSON to the annotated type ``kind``; ``what`` names it in the error.

    :raises DecodeError: the JSON does not fit the type.
    :raises InvalidError: no value of this type can be read from JSON.
    """
    marker = read_marker(raw)
    if marker is not None:
        return convert(restore(marker), kind, what)
    try:
        return _decoder(kind).decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"{what} does not fit its type: {error}") from error


def convert(value: object, kind: Any, what: str) -> Any:
    """Turn an already decoded JSON value into the annotated type ``kind``.

    :raises DecodeError: the value does not fit the type.
    :raises InvalidError: no value of this type can be read from JSON.
    """
    if kind is Any:
        return value
    try:
        return msgspec.convert(value, kind, str_keys=True, dec_hook=_from_json)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DecodeError(f"{what} does not fit its type: {error}") from error
    except TypeError as error:
        raise InvalidError(f"values of type {kind!r} cannot be read from JSON: {error}") from error


def check_readable(kind: Any) -> None:
    """Refuse a type that no JSON can be read to.

    :raises InvalidError: it is one.
    """
    if kind is Any or kind is object:
        return
    _decoder(kind)
    # What msgspec does not know it leaves to the hook, whatever the class.
    if isinstance(kind, type) and isinstance(inspect.type_info(kind), inspect.CustomType):
        model = _pydantic_model()
        if not issubclass(kind, PurePath | File) and not (model is not None and issubclass(kind, model)):
            raise InvalidError(f"values of type {kind!r} cannot be read from JSON")


def _to_json(value: object) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, File):
        return set_aside_nested(value)
    model = _pydantic_model()
    if model is not None and isinstance(value, model):
        return _canonical.like(value, cast("Any", value).model_dump(mode="json", by_alias=True))
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no JSON form")


def _to_numbers(value: object) -> Any:
    """Likewise, with nothing set aside: a file holds no numbers."""
    return None if isinstance(value, File) else _to_json(value)


def _from_json(kind: Any, value: object) -> Any:
    if isinstance(kind, type):
        if isinstance(value, kind):
            return value
        if kind is File:
            return _file(value)
        if issubclass(kind, PurePath) and isinstance(value, str):
            return kind(value)
        model = _pydantic_model()
        if model is not None and issubclass(kind, model):
            return cast("Any", kind).model_validate(value)
    raise TypeError(f"{kind!r} cannot be read from JSON")


def _file(value: object) -> File:
    marker = read_marker(msgspec.json.encode(value)) if isinstance(value, dict) else None
    file = None if marker is None else restore(marker)
    if not isinstance(file, File):
        raise TypeError("this is no file; wrap the path of one in File(...)")
    return file


def _pydantic_model() -> type | None:
    """Pydantic's base class, if anybody has imported pydantic: no import for those who do not."""
    return getattr(sys.modules.get("pydantic"), "BaseModel", None)


def _refuse_non_finite(value: object) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no {value}")
    elif isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in cast("list[object]", value):
            _refuse_non_finite(item)


_encoder = msgspec.json.Encoder(enc_hook=_to_json)
_canonical = Canonical(_to_numbers)


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    try:
        return _cached_decoder(kind)
    except TypeError as error:
        # Unhashable annotations miss the cache; types that msgspec cannot read fail again here.
        try:
            return _new_decoder(kind)
        except TypeError:
            raise InvalidError(f"values of type {kind!r} cannot be read from JSON: {error}") from error


def _new_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    build = cast("Callable[..., msgspec.json.Decoder[Any]]", msgspec.json.Decoder)
    return build(kind, dec_hook=_from_json)


_cached_decoder = lru_cache(maxsize=1024)(_new_decoder)
