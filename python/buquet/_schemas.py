"""JSON Schemas of task types: derived from annotations, published in the bucket, enforced by the engine."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

import msgspec

from buquet._client import Call
from buquet._signature import TaskSignature
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from buquet._attempt import Handler
    from buquet._client import Client

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"


class TaskSchema(msgspec.Struct, frozen=True, kw_only=True):
    """The published schemas of one task type. ``input`` is enforced; ``output`` is for those who read results."""

    type: str
    input: dict[str, Any] | bool | None = None
    output: dict[str, Any] | bool | None = None
    at: datetime | None = None


class _Changed(msgspec.Struct):
    changed: bool


class _Listed(msgspec.Struct):
    schemas: list[TaskSchema]


def schema_put(schemas: Mapping[str, Mapping[str, Any]]) -> Call[_Changed, bool]:
    """Publish schemas by type: ``{"greet": {"input": ..., "output": ...}}``."""
    return Call("schema.put", {"schemas": schemas}, _Changed, lambda answer: answer.changed)


def schema_get(kind: str) -> Call[TaskSchema, TaskSchema]:
    """Read one type's schemas."""
    return Call("schema.get", {"type": kind}, TaskSchema, lambda answer: answer)


def schema_list() -> Call[_Listed, list[TaskSchema]]:
    """Read all schemas."""
    return Call("schema.list", {}, _Listed, lambda answer: answer.schemas)


def schema_delete(kind: str) -> Call[_Changed, bool]:
    """Delete one type's schemas."""
    return Call("schema.delete", {"type": kind}, _Changed, lambda answer: answer.changed)


class Schemas:
    """The schemas of a queue: ``queue.schemas``.

    Example::

        await queue.schemas.put("greet", {"type": "object", "required": ["name"]})
        print(await queue.schemas.get("greet"))
    """

    def __init__(self, client: Client) -> None:
        """Take the queue's connection."""
        self._client = client

    async def put(
        self,
        type: str,  # noqa: A002 - the field's name everywhere
        input: Mapping[str, Any] | None = None,  # noqa: A002
        *,
        output: Mapping[str, Any] | None = None,
    ) -> bool:
        """Publish the schemas of a task type in place of those it had; whether anything changed.

        :param type: the task type.
        :param input: a JSON Schema that every input has to fit from now on.
        :param output: a JSON Schema of results, for those who read them.
        :raises InvalidError: a schema cannot be used.
        """
        given = {"input": input, "output": output}
        schemas = {name: schema for name, schema in given.items() if schema is not None}
        return await self._client.call_async(schema_put({type: schemas}))

    async def get(self, type: str) -> TaskSchema:  # noqa: A002
        """Read the schemas of a task type.

        :raises NotFoundError: it has none.
        """
        return await self._client.call_async(schema_get(type))

    async def list(self) -> list[TaskSchema]:
        """Read the schemas of all task types that have some."""
        return await self._client.call_async(schema_list())

    async def delete(self, type: str) -> bool:  # noqa: A002
        """Delete the schemas of a task type; whether there were any."""
        return await self._client.call_async(schema_delete(type))


def check_schema(schema: object) -> bool | dict[str, Any] | None:
    """Refuse what ``schema=`` does not take.

    :raises InvalidError: it is neither True, False, None nor a schema.
    """
    if schema is None or isinstance(schema, bool):
        return schema
    if isinstance(schema, dict):
        return cast("dict[str, Any]", schema)
    raise InvalidError(f"schema={schema!r} must be True, to derive it from the annotations, or a JSON Schema as a dict")


def publishable(handlers: Iterable[Handler]) -> dict[str, dict[str, Any]]:
    """What a worker publishes: the schemas of those tasks that ask for it, by type.

    :raises InvalidError: no schema can be derived from a task's annotations.
    """
    found: dict[str, dict[str, Any]] = {}
    for handler in handlers:
        signature, schema = handler.signature, handler.schema
        if isinstance(schema, dict):
            found[handler.name] = {"input": schema}
        elif schema and isinstance(signature, TaskSignature):
            found[handler.name] = {"input": input_schema(signature), "output": output_schema(signature)}
    return found


def input_schema(signature: TaskSignature) -> dict[str, Any]:
    """Derive the schema of a task's input from the function's parameters."""
    kinds, required = signature.parameters
    schemas, definitions = _schemas(list(kinds.values()))
    whole: dict[str, Any] = {
        "$schema": DRAFT,
        # A plain submit without an input stores null.
        "type": "object" if required else ["object", "null"],
        "properties": dict(zip(kinds, schemas, strict=True)),
        "required": sorted(required),
        "additionalProperties": False,
    }
    return whole | ({"$defs": definitions} if definitions else {})


def output_schema(signature: TaskSignature) -> dict[str, Any]:
    """Derive the schema of a task's result from the function's return annotation."""
    (schema,), definitions = _schemas([signature.returns])
    return {"$schema": DRAFT, **schema} | ({"$defs": definitions} if definitions else {})


def _schemas(kinds: list[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    try:
        schemas, definitions = msgspec.json.schema_components(kinds, schema_hook=_foreign, ref_template=_REF)
    except (TypeError, msgspec.ValidationError) as error:
        raise InvalidError(f"no JSON Schema can be derived ({error}); pass one with schema=") from error
    return schemas, definitions


def _foreign(kind: Any) -> dict[str, Any]:
    """The schema of a type that msgspec does not know; anything goes where nothing can be said."""
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return {"type": "string"}
    describe: Callable[..., dict[str, Any]] | None = getattr(cast("object", kind), "model_json_schema", None)
    return {} if describe is None else _without_definitions(describe())


def _without_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """A model's own schema; one that refers to parts of itself says too much to be put into another."""
    return {} if "$defs" in schema else schema
