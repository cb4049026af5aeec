"""Schemas derived from a task's annotations, and when a worker publishes them."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Callable  # noqa: TC003 - resolved at run time
from datetime import datetime  # noqa: TC003
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from buquet import Buquet, InvalidError, Queue, TaskContext
from buquet._schemas import input_schema, output_schema
from buquet._signature import TaskSignature

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine


@dataclasses.dataclass
class Size:
    width: int
    height: int


def derived(function: Any) -> dict[str, Any]:
    return input_schema(TaskSignature(function, "t"))


def test_the_input_is_an_object_of_the_arguments() -> None:
    def thumbnail(context: TaskContext, path: Path, size: int = 256, *, at: datetime | None = None) -> str:
        return f"{context}{path}{size}{at}"

    schema = derived(thumbnail)
    assert schema["properties"]["path"] == {"type": "string"}
    assert schema["properties"]["size"] == {"type": "integer"}
    assert sorted(schema["properties"]) == ["at", "path", "size"], "the context is no argument"
    assert (schema["required"], schema["type"], schema["additionalProperties"]) == (["path"], "object", False)
    assert output_schema(TaskSignature(thumbnail, "t"))["type"] == "string"


def test_structures_are_defined_once_and_variadic_arguments_are_arrays_and_objects() -> None:
    def resize(*files: str, to: Size, **more: int) -> list[Size]:
        return [to] * len(files) * len(more)

    schema = derived(resize)
    assert schema["properties"]["to"] == {"$ref": "#/$defs/Size"}
    assert schema["$defs"]["Size"]["required"] == ["width", "height"]
    assert schema["properties"]["files"] == {"type": "array", "items": {"type": "string"}}
    assert schema["properties"]["more"]["additionalProperties"] == {"type": "integer"}
    assert schema["required"] == ["to"]


class Own:
    """A class that nobody but its author knows."""


class Holder(pydantic.BaseModel):
    """A model that pydantic has no schema of."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    own: Own


class Chain(pydantic.BaseModel):
    following: list[Chain] = []


@dataclasses.dataclass
class Parcel:
    own: Own
    number: int


def test_of_types_without_a_schema_anything_goes_and_the_others_keep_theirs() -> None:
    def pack(own: Own, either: Own | int, holder: Holder, call: Callable[[int], int], **parcels: Parcel | None) -> Own:
        del either, holder, call, parcels
        return own

    schema = derived(pack)
    for name in ("own", "either", "holder", "call"):
        assert set(schema["properties"][name]) <= {"title"}
    assert schema["$defs"]["Parcel"]["properties"] == {"own": {"title": "Own"}, "number": {"type": "integer"}}
    assert set(output_schema(TaskSignature(pack, "t"))) == {"$schema", "title"}


def test_a_model_brings_its_definitions_along() -> None:
    def follow(chain: Chain, sizes: list[Size]) -> Chain:
        del sizes
        return chain

    for schema in (derived(follow), output_schema(TaskSignature(follow, "t"))):
        names = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
        assert names <= set(schema["$defs"])
        assert len(names) == len(schema["$defs"])


def test_bytes_by_themselves_may_be_a_payload_and_those_inside_of_others_may_not() -> None:
    def flip(data: bytes, maybe: bytes | None, inside: list[bytes], *more: bytes) -> bytes:
        del maybe, inside, more
        return data

    schema = derived(flip)
    found = {name: "$buquet" in json.dumps(part) for name, part in schema["properties"].items()}
    assert found == {"data": True, "maybe": True, "inside": False, "more": False}
    assert "$buquet" in json.dumps(output_schema(TaskSignature(flip, "t")))


def test_a_task_without_required_arguments_takes_a_submit_without_input() -> None:
    def tidy(days: int = 7) -> None:
        del days

    assert derived(tidy)["type"] == ["object", "null"]


def test_a_worker_publishes_what_was_asked_for_and_nothing_else(app: Buquet, engine: FakeEngine) -> None:
    @app.task(schema=True)
    def greet(name: str) -> str:
        return name

    @app.task(schema={"type": "object"})
    def given(**fields: int) -> None:
        del fields

    @app.task
    def free(anything: int) -> None:
        del anything

    del greet, given, free
    with app.worker():
        pass
    (request,) = engine.requests("schema.put")
    assert sorted(request["schemas"]) == ["given", "greet"]
    assert request["schemas"]["given"] == {"input": {"type": "object"}}
    assert request["schemas"]["greet"]["input"]["required"] == ["name"]


def test_without_schemas_nothing_is_asked_of_the_store(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def free(anything: int) -> None:
        del anything

    del free
    with app.worker():
        pass
    assert engine.requests("schema.put") == []


class Marks(enum.IntFlag):
    BOLD = 1
    ITALIC = 2


@dataclasses.dataclass
class Marked:
    marks: Marks
    inner: list[Marked]


def test_flags_may_be_combined_also_inside_of_structures() -> None:
    def write(marks: Marks, text: Marked) -> None: ...

    assert derived(write)["$defs"]["Marks"]["type"] == "integer"
    assert "enum" not in derived(write)["$defs"]["Marks"]

    def nested(text: Marked) -> None: ...

    assert "enum" not in derived(nested)["$defs"]["Marks"]


def test_a_choice_that_is_named_as_a_flag_stays_a_choice() -> None:
    choice = enum.Enum("Marks", {"RED": "red", "BLUE": "blue"}, module="elsewhere")

    def write(marks: Marks, other: Any) -> None: ...

    write.__annotations__["other"] = choice
    described = [one.get("enum") for one in derived(write)["$defs"].values()]
    assert None in described
    assert ["blue", "red"] in described


async def test_what_is_no_json_is_refused_before_it_is_published(queue: Queue, engine: FakeEngine) -> None:
    with pytest.raises(InvalidError, match="'add' is no JSON: Out of range float"):
        await queue.schemas.put("add", {"maximum": float("nan")})
    with pytest.raises(InvalidError, match="'add' is no JSON: Object of type set"):
        await queue.schemas.put("add", {"enum": {1, 2}})
    with pytest.raises(InvalidError, match="type=5 must be text"):
        await queue.schemas.put(5, {})  # pyright: ignore[reportArgumentType]
    assert engine.requests("schema.put") == []


def test_an_app_without_schemas_says_how_to_have_one(app: Buquet) -> None:
    with pytest.raises(InvalidError, match=r"schema=True"):
        app.publish_schemas()


def test_what_is_no_schema_is_refused_at_the_decorator(app: Buquet) -> None:
    def free() -> None: ...

    wrong: Any = "object"
    with pytest.raises(InvalidError, match="JSON Schema"):
        app.task(schema=wrong)(free)
