"""What goes into the queue as JSON, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest

from buquet import DecodeError, EncodeError, File, InvalidError
from buquet._codec import convert, decode, encode
from buquet._packing import Packing, packing


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: float
    at: datetime


class Model(pydantic.BaseModel):
    name: str
    when: datetime


NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", str),
        (None, None),
        (NOW, datetime),
        (date(2026, 1, 2), date),
        (timedelta(minutes=5), timedelta),
        (UUID(int=7), UUID),
        (Decimal("1.10"), Decimal),
        (b"\x00\xff", bytes),
        (Colour.RED, Colour),
        (Point(1.5, NOW), Point),
        ({"a", "b"}, set[str]),
        ((1, "two"), tuple[int, str]),
        ({1: "one"}, dict[int, str]),
        (Path("a/b"), Path),
        (Model(name="n", when=NOW), Model),
        ([Model(name="n", when=NOW)], list[Model]),
        (2**63, int),
        (-(2**70), int),
    ],
)
def test_a_value_comes_back_as_its_annotated_type(value: object, kind: Any) -> None:
    encoded = encode(value, "the value")
    assert decode(encoded, kind, "the value") == value
    assert convert(decode(encoded, Any, "the value"), kind, "the value") == value


@pytest.mark.parametrize(
    "value",
    [float("nan"), [1, {"deep": float("inf")}], Point(float("-inf"), NOW), lambda: None, object(), "\ud800"],
    ids=["nan", "nested infinity", "in a dataclass", "function", "object", "lone surrogate"],
)
def test_what_json_cannot_say_is_refused_by_name(value: object) -> None:
    with pytest.raises(EncodeError, match="argument 'size'"):
        encode(value, "argument 'size'")


def test_a_file_that_is_gone_is_no_fault_of_the_value_and_may_be_there_the_next_time() -> None:
    for value in (File("/nonexistent"), {"inner": File("/nonexistent")}):
        with pytest.raises(InvalidError, match="cannot read the file") as caught, packing(Packing([])):
            encode(value, "the result")
        assert not isinstance(caught.value, EncodeError)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError):
        encode(endless, "the value")


def test_a_model_is_written_under_its_aliases() -> None:
    class Aliased(pydantic.BaseModel):
        user_name: str = pydantic.Field(alias="userName")

    encoded = encode(Aliased(userName="u"), "the value")
    assert encoded == b'{"userName":"u"}'
    assert decode(encoded, Aliased, "the value").user_name == "u"


def test_null_is_no_reason_to_refuse() -> None:
    assert encode({"a": None, "b": [1.5, None]}, "the value") == b'{"a":null,"b":[1.5,null]}'


def test_json_that_does_not_fit_its_type_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="the input does not fit"):
        decode(b'"x"', int, "the input")
    with pytest.raises(DecodeError):
        decode(b'{"name": "n"}', Model, "the input")


def test_a_type_that_json_cannot_give_is_named() -> None:
    class Socket:
        pass

    with pytest.raises((InvalidError, DecodeError), match="Socket"):
        decode(b"{}", Socket, "the input")


def test_a_type_that_json_cannot_give_is_no_bare_type_error() -> None:
    with pytest.raises(InvalidError, match="cannot be read from JSON"):
        convert({}, list[dict[str, int]] | list[int], "the result")
