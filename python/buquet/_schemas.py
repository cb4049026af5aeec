"""JSON Schemas of task types: derived from annotations, published in the bucket, enforced by the engine."""

from __future__ import annotations

import enum
import json
import re
from datetime import datetime
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

import msgspec

from buquet._chain import MEMBER
from buquet._client import Call
from buquet._files import File
from buquet._signature import TaskSignature
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from buquet._attempt import Handler
    from buquet._client import Client

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


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
    """Publish schemas by type: ``{"greet": {"input": ..., "output": ...}}``.

    :raises InvalidError: one is no JSON.
    """
    for kind, given in schemas.items():
        if not isinstance(cast("object", kind), str):
            raise InvalidError(f"type={kind!r} must be text")
        try:
            json.dumps(given, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidError(f"the schema of task type {kind!r} is no JSON: {error}") from error
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

    :raises InvalidError: a task's annotations cannot be resolved.
    """
    found: dict[str, dict[str, Any]] = {}
    for handler in handlers:
        signature, schema = handler.signature, handler.schema
        if isinstance(schema, dict):
            found[handler.name] = {"input": schema}
        elif schema and isinstance(signature, TaskSignature):
            derived = {"input": input_schema(signature), "output": output_schema(signature)}
            found[handler.name] = _in_one_order(derived)
    return found


def _in_one_order(schema: Any) -> Any:
    """Sort what defaults of sets came to, which has another order in each process."""
    if isinstance(schema, list):
        return [_in_one_order(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    members = {name: _in_one_order(value) for name, value in cast("dict[str, Any]", schema).items()}
    default = members.get("default")
    kinds = members.get("anyOf", [members])
    if isinstance(default, list) and any("uniqueItems" in kind for kind in kinds):
        members["default"] = sorted(cast("list[Any]", default), key=msgspec.json.encode)
    return members


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


def _schemas(kinds: list[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The schemas of arguments or a result, and the definitions that they share. Of what has none anything goes."""
    known = [kind if _is_known(kind) else Any for kind in kinds]
    foreign: dict[str, Any] = {}
    schemas, definitions = _components(known, foreign)
    for flag in _flags(known):
        # What is described as a choice may be several of them together.
        for definition in definitions.values():
            choices = sorted(member.value for member in flag)
            if definition.get("title") == flag.__name__ and definition.get("enum") == choices:
                del definition["enum"]
                definition["type"] = "integer"
    return [_or_payload(schema) for schema in schemas], definitions | foreign


def _flags(kinds: list[Any]) -> set[type[enum.Flag]]:
    """The flags among these types and whatever they consist of."""
    found: set[type[enum.Flag]] = set()
    seen: set[int] = set()
    left: list[Any] = list(msgspec.inspect.multi_type_info(kinds))
    while left:
        part = left.pop()
        if isinstance(part, list | tuple):
            left.extend(cast("Iterable[Any]", part))
        elif isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field) and id(part) not in seen:
            seen.add(id(part))  # a type may be part of itself
            if isinstance(part, msgspec.inspect.EnumType) and issubclass(part.cls, enum.Flag):
                found.add(part.cls)
            left.extend(getattr(part, name) for name in part.__struct_fields__)
    return found


def _is_known(kind: Any) -> bool:
    try:
        _components([kind], {})
    except Exception:  # noqa: BLE001 - whoever wrote the class may have written what describes it
        return False
    return True


def _components(kinds: list[Any], foreign: dict[str, Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(kinds, schema_hook=partial(_foreign, foreign), ref_template=_REF)


def _or_payload(schema: dict[str, Any]) -> dict[str, Any]:
    """Bytes by themselves are base64 or, if they are many, a payload. Those inside of something are always base64."""
    choices: list[dict[str, Any]] = schema.get("anyOf", [schema])
    if not any(choice.get("contentEncoding") == "base64" for choice in choices):
        return schema
    return {**(schema if "anyOf" in schema else {}), "anyOf": [*choices, _payload("bytes")]}


def _payload(what: str) -> dict[str, Any]:
    """The schema of what stands in the JSON for bytes or a file that are a payload."""
    marker = {"type": "object", "required": [what]}
    return {"type": "object", "properties": {MEMBER: marker}, "required": [MEMBER], "additionalProperties": False}


def _foreign(definitions: dict[str, Any], kind: type) -> dict[str, Any]:
    """The schema of a type that msgspec does not know, never an empty one; it may add ``definitions`` of its own."""
    if issubclass(kind, PurePath):
        return {"type": "string"}
    if kind is File:
        return _payload("file")
    anything = {"title": kind.__name__}
    describe: Callable[..., dict[str, Any]] | None = getattr(cast("object", kind), "model_json_schema", None)
    if describe is None:
        return anything
    # Definitions of different models must not meet under one name.
    prefix = _UNSAFE.sub("_", f"{kind.__module__}.{kind.__qualname__}")
    try:
        schema = describe(ref_template=_REF.format(name=f"{prefix}.{{model}}"))
    except Exception:  # noqa: BLE001 - a model may hold what has no schema, and say so in its own way
        return anything
    definitions |= {f"{prefix}.{name}": part for name, part in schema.pop("$defs", {}).items()}
    return schema or anything
