"""From a step's or a workflow's arguments to JSON and back."""

from __future__ import annotations

import hashlib
import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from buquet._files import File
from buquet._lazy import lazy
from buquet._packing import Packing, packing
from buquet._signature import TaskSignature, signature_of
from buquet.errors import EncodeError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buquet._chain import Marker

_DIGEST = 16


class StepSignature(TaskSignature):
    """A step's parameters."""

    noun = "step"
    name_is = "a step's name"

    def hint(self, kwargs: Mapping[str, Any]) -> str:
        """Options of steps stand beside their arguments: there is nothing to tell."""
        del kwargs
        return ""


class WorkflowSignature(TaskSignature):
    """A workflow's parameters; the first takes the context, whatever its annotation."""

    noun = "workflow"
    name_is = "a workflow's name"

    def hint(self, kwargs: Mapping[str, Any]) -> str:
        """There are no options here."""
        del kwargs
        return ""

    @lazy
    def context_name(self) -> str | None:
        """The first parameter."""
        return next(iter(self._whole.parameters), None)


class _BodyPacking(Packing):
    """Sets aside what does not go into JSON, of what a replay will find as well."""

    argument = ""

    def set_aside(self, content: bytes | File, *, whole: bool = False) -> Marker:
        """Keep a part; refuse a file that no other machine has."""
        if isinstance(content, File) and content.is_local:
            raise EncodeError(
                f"argument {self.argument!r} is {content!r}, a file of this machine, which a replay elsewhere would "
                "not have: give its path as text and open it in the step, or let a step return the File"
            )
        return super().set_aside(content, whole=whole)


class Arguments:
    """The arguments of one call, encoded: they reach the function as a replay would give them."""

    __slots__ = ("_members", "_packing", "_signature")

    def __init__(self, signature: TaskSignature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Encode them.

        :raises ArgumentError: they do not fit the signature.
        :raises EncodeError: one cannot be encoded; it is named.
        """
        self._signature = signature
        self._packing = _BodyPacking([])
        self._members: dict[str, msgspec.Raw] = {}
        with packing(self._packing):
            for name, value in _bound(signature, args, kwargs):
                self._packing.argument = name
                self._members[name] = signature.encode_one(name, value)

    @property
    def json(self) -> bytes:
        """All of them as one object, as a task's input is stored."""
        return msgspec.json.encode(self._members)

    @property
    def packing(self) -> Packing:
        """What does not stand in the JSON: files, and bytes over 32 KiB."""
        return self._packing

    def digests(self) -> dict[str, str]:
        """16 hex characters of the digest of each."""
        return {name: self._digest(bytes(raw)) for name, raw in self._members.items()}

    def _digest(self, raw: bytes) -> str:
        digest = hashlib.sha256()
        for source in self._packing.sources:  # their markers hold random names
            stream = source.stream.encode()
            if stream in raw:
                raw = raw.replace(stream, b"")
                digest.update(source.content if isinstance(source.content, bytes) else repr(source.size).encode())
        digest.update(_in_order(raw))
        return digest.hexdigest()[:_DIGEST]

    def read(self, context: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, decoded, as the function is called; ``context`` where it wants one."""
        with packing(self._packing):
            return self._signature.read(dict(self._members), context)


def _bound(signature: TaskSignature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    from buquet.workflow._context_base import ContextBase  # noqa: PLC0415 - it needs this module

    bound = list(signature.bind(args, kwargs).items())
    for name, value in bound:
        if isinstance(value, ContextBase):
            raise EncodeError(
                f"argument {name!r} is the workflow's context, and steps may not use it: what a step does is not "
                "recorded, only its result; let the body do it"
            )
    return bound


def _in_order(raw: bytes) -> bytes:
    """The same JSON with the members of its objects in one order: that of a dict is not what tells two apart."""
    if b"{" not in raw:
        return raw
    try:
        return msgspec.json.encode(msgspec.json.decode(raw), order="sorted")
    except (msgspec.MsgspecError, RecursionError):
        return raw


@lru_cache(maxsize=4096)
def step_signature(function: Callable[..., Any], name: str | None) -> StepSignature:
    """The signature of a step's function, read once.

    :raises InvalidError: it can be no step; it says why.
    """
    return StepSignature(function, name or function.__qualname__)


@lru_cache(maxsize=4096)
def check_step(function: Any) -> Callable[..., Any]:
    """The function to be called for a step; that of a task, if it is one.

    :raises InvalidError: it can be no step; it says why.
    """
    found: Any = inspect.unwrap(function) if hasattr(function, "bind") and hasattr(function, "submit") else function
    if inspect.ismethod(found) and not isinstance(found.__self__, type):
        kind = cast("type[Any]", type(found.__self__)).__name__
        raise InvalidError(
            f"{found.__qualname__} is bound to a {kind}, which a replay may not have as it was; "
            "make the step a function, and give it what it needs as arguments"
        )
    if isinstance(found, type):
        raise InvalidError(f"a step is a function, and {found.__qualname__} is a class; write a function that uses it")
    if not (inspect.isfunction(found) or inspect.ismethod(found)):
        raise InvalidError(f"a step is a plain or async function of a module, not {function!r}")
    where = f"{found.__module__}.{found.__qualname__}"
    if found.__name__ == "<lambda>":
        raise InvalidError(f"{where} is a lambda, which has no name to be known by at a replay; write a function")
    if "<locals>" in found.__qualname__:
        raise InvalidError(
            f"{where} is a local function, which may use variables that a replay sets otherwise; "
            "move it to the top level of its module, and give it what it needs as arguments"
        )
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise InvalidError(f"{where} is a generator, whose items cannot be recorded; return a list")
    owner = found.__qualname__.rpartition(".")[0]
    if not inspect.ismethod(found) and owner and next(iter(signature_of(found).parameters), "") in ("self", "cls"):
        raise InvalidError(f"{where} is a method without its {owner}; make it a function of its module")
    return cast("Callable[..., Any]", found)
