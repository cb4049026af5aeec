"""Schemas derived from a task's annotations, and when a worker publishes them."""

from __future__ import annotations

import dataclasses
from datetime import datetime  # noqa: TC003 - resolved at run time
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, InvalidError, TaskContext
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


def test_what_is_no_schema_is_refused_at_the_decorator(app: Buquet) -> None:
    def free() -> None: ...

    wrong: Any = "object"
    with pytest.raises(InvalidError, match="JSON Schema"):
        app.task(schema=wrong)(free)
