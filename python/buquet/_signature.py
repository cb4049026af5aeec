"""From a call's arguments to the task's input, and back.

A task's input is one JSON object with a member for each argument given, under its
parameter's name, however it was passed. ``*args`` is an array under its own name and
``**kwargs`` an object under its own. So ``thumbnail("cat.png", size=128)`` is
``{"path": "cat.png", "size": 128}``: readable in the bucket and easy to write from C
or Go. Defaults are not stored; the worker's code supplies them. Those of a unique task
are, for a call is the same whether it gives a default or leaves it out.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import typing
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from buquet import _codec
from buquet._checks import check_name
from buquet._context import TaskContext
from buquet._lazy import lazy
from buquet._options import OPTION_NAMES
from buquet._packing import packing
from buquet.errors import ArgumentError, DecodeError, EncodeError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import Signature

_CONTEXT = re.compile(r"(\w+\.)*TaskContext( ?\| ?None)?")

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments of a call."""


def signature_of(function: Callable[..., Any]) -> Signature:
    """Read a signature, whatever its annotations are worth."""
    if sys.version_info >= (3, 14):  # where they are computed when they are looked at
        from annotationlib import Format  # noqa: PLC0415 - there is none before

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


class TaskSignature:
    """A task function's parameters, for submitting and for running it."""

    noun = "task"
    """What messages call the function."""
    name_is = "a task type"
    """What they call its name."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        """Read the function's signature; its annotations are resolved at first use.

        :raises InvalidError: ``name`` cannot be a task type.
        """
        check_name(name, self.name_is)
        self._function = function
        self._name = name
        self._input = f"the input of {self.noun} {name!r}"
        self._whole = signature_of(function)

    @lazy
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._function, include_extras=True)
        except Exception as error:
            raise InvalidError(
                f"the annotations of {self.noun} {self._name!r} cannot be resolved ({error}); "
                "import the types at run time, not only under TYPE_CHECKING"
            ) from error

    @lazy
    def context_name(self) -> str | None:
        """The parameter that wants the context, if there is one. Says so too where other hints cannot be resolved."""
        try:
            hints = self._hints
        except InvalidError:
            hints = {name: self._hint_alone(parameter) for name, parameter in self._whole.parameters.items()}
        return next((name for name in self._whole.parameters if _wants_context(hints.get(name))), None)

    def _hint_alone(self, parameter: Parameter) -> Any:
        """One parameter's type, or its text where that is not known here."""
        only = SimpleNamespace(__annotations__={"it": parameter.annotation})
        try:
            return typing.get_type_hints(only, inspect.unwrap(self._function).__globals__)["it"]
        except Exception:  # noqa: BLE001 - an annotation may be any code
            return getattr(parameter.annotation, "__forward_arg__", parameter.annotation)

    @lazy
    def _public(self) -> Signature:
        """The signature as the caller sees it: without the context."""
        kept = [p for name, p in self._whole.parameters.items() if name != self.context_name]
        return self._whole.replace(parameters=kept)

    def kind_of(self, name: str) -> Any:
        """The annotated type of one parameter; Any where there is none."""
        return self._hints.get(name, Any)

    @property
    def returns(self) -> Any:
        """The type of the result; Any where it is not annotated."""
        kind = self._hints.get("return", Any)
        if kind in (typing.NoReturn, typing.Never):
            return Any
        return None if kind is type(None) else kind

    @lazy
    def _checked_returns(self) -> Any:
        try:
            _codec.check_readable(self.returns)
        except InvalidError as error:
            raise InvalidError(f"the result of {self.noun} {self._name!r}: {error}") from error
        return self.returns

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, whole: bool = False) -> bytes:
        """Bind and check a call's arguments, and write them as the task's input; ``whole`` with the defaults.

        :raises ArgumentError: they do not fit the signature.
        :raises EncodeError: one has no JSON form or not the annotated type.
        :raises InvalidError: the return annotation is no type that JSON can be read to.
        """
        return self._encode_bound(self.bind(args, kwargs), whole=whole)

    @property
    def takes_first(self) -> str:
        """The name of the first parameter.

        :raises InvalidError: there is none that takes a single value.
        """
        first = next(iter(self._public.parameters.values()), None)
        if first is None or first.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise InvalidError(f"task {self._name!r} has no first parameter that could take the result before it")
        return first.name

    def encode_rest(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Write the task's input without its first argument, which is the result of another task.

        :raises ArgumentError: they do not fit the signature.
        :raises EncodeError: one has no JSON form or not the annotated type.
        """
        first = self.takes_first
        if first in kwargs:
            raise ArgumentError(f"argument {first!r} of task {self._name!r} is the result before it; leave it out")
        try:
            bound = self._public.bind(None, *args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"task {self._name!r} called as it is not defined: {error}") from None
        return self._encode_bound({name: value for name, value in bound.arguments.items() if name != first})

    def _encode_bound(self, arguments: Mapping[str, Any], *, whole: bool = False) -> bytes:
        members = {name: self.encode_one(name, value) for name, value in arguments.items()}
        if whole:
            given = {**self._defaults, **members}
            members = {name: given[name] for name in self._kinds if name in given}
        return msgspec.json.encode(members)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by parameter.

        :raises ArgumentError: they do not fit the signature.
        :raises InvalidError: the return annotation is no type that JSON can be read to.
        """
        _ = self._checked_returns
        try:
            return self._public.bind(*args, **kwargs).arguments
        except TypeError as error:
            problem = f"{self.noun} {self._name!r} called as it is not defined: {error}"
            raise ArgumentError(f"{problem}{self.hint(kwargs)}") from None

    def hint(self, kwargs: Mapping[str, Any]) -> str:
        """What to do about named arguments that the function does not take."""
        options = [name for name in kwargs if name not in self.names and name in OPTION_NAMES]
        return f"; options are given as .options({options[0]}=...).submit(...)" if options else ""

    @lazy
    def names(self) -> frozenset[str]:
        """The parameters' names, without that of the context."""
        return frozenset(self._public.parameters)

    @lazy
    def _defaults(self) -> dict[str, msgspec.Raw]:
        """The members of the input for arguments that are left out. A default that has no JSON form has none."""
        raws: dict[str, msgspec.Raw] = {}
        for name, parameter in self._public.parameters.items():
            if parameter.default is not Parameter.empty:
                # Whatever is being put together just now: this is for all calls to come.
                with contextlib.suppress(EncodeError), packing(None):
                    raws[name] = self.encode_one(name, parameter.default)
        return raws

    def encode_one(self, name: str, value: object) -> msgspec.Raw:
        """Write one argument as it is stored.

        :raises EncodeError: it has no JSON form or not the annotated type.
        """
        raw = _codec.encode(value, self._names[name])
        try:
            self._decode_one(name, raw)
        except DecodeError as error:
            raise EncodeError(str(error)) from error
        return msgspec.Raw(raw)

    def _decode_one(self, name: str, raw: bytes | msgspec.Raw) -> Any:
        return _codec.decode(raw, self._kinds[name], self._names[name])

    @lazy
    def _names(self) -> dict[str, str]:
        """What messages call each member of the input."""
        return {name: f"argument {name!r} of {self.noun} {self._name!r}" for name in self._public.parameters}

    @lazy
    def _kinds(self) -> dict[str, Any]:
        """The type of each member of the input."""
        kinds: dict[str, Any] = {}
        for name, parameter in self._public.parameters.items():
            kind = self._hints.get(name, Any)
            if parameter.kind is Parameter.VAR_POSITIONAL:
                kind = list[kind]
            elif parameter.kind is Parameter.VAR_KEYWORD:
                kind = dict[str, kind]
            kinds[name] = kind
        return kinds

    @property
    def parameters(self) -> tuple[dict[str, Any], frozenset[str]]:
        """The type of each member of the input, and which members have to be there."""
        return self._kinds, frozenset(name for name in self._kinds if name in self._required)

    def bind_input(self, raw: bytes | msgspec.Raw, context: TaskContext) -> Arguments:
        """Read a task's input back into the function's arguments.

        :raises DecodeError: the input does not fit the signature.
        """
        # A plain submit without an input stores null.
        members: dict[str, msgspec.Raw] = _codec.decode(
            b"{}" if bytes(raw) == b"null" else raw, dict[str, msgspec.Raw], self._input
        )
        return self.read(members, context)

    def read(self, members: dict[str, msgspec.Raw], context: Any) -> Arguments:
        """Read the members of an input, which are used up, to the function's arguments.

        :raises DecodeError: they do not fit the signature.
        """
        arguments: dict[str, Any] = {}
        for name, reader in self._readers.items():
            if reader is None:
                arguments[name] = context
            elif name in members:
                arguments[name] = reader(members.pop(name))
            elif name in self._required:
                raise DecodeError(f"{self._input} lacks {name!r}")
        if members:
            unknown = ", ".join(map(repr, sorted(members)))
            raise DecodeError(f"{self.noun} {self._name!r} has no parameter {unknown}")
        return self._call_form(arguments)

    @lazy
    def _readers(self) -> dict[str, Callable[[msgspec.Raw], Any] | None]:
        """How each parameter's member of the input is read; None for the context."""
        return {
            name: None if name == self.context_name else partial(self._decode_one, name)
            for name in self._whole.parameters
        }

    @lazy
    def _required(self) -> frozenset[str]:
        return frozenset(name for name, parameter in self._whole.parameters.items() if _is_required(parameter))

    @lazy
    def _call_form(self) -> CallForm:
        return CallForm(self._whole)

    def with_context(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], context: Callable[[], TaskContext]
    ) -> Arguments:
        """The arguments of a plain call, with the context filled in unless the caller gave one."""
        name = self.context_name
        if name is None or name in kwargs or any(isinstance(value, TaskContext) for value in args):
            return args, kwargs
        bound = self._public.bind(*args, **kwargs)
        arguments = {
            other: context() if other == name else bound.arguments[other]
            for other in self._whole.parameters
            if other == name or other in bound.arguments
        }
        return self._call_form(arguments)


class PlainSignature:
    """A plain-level handler: the whole input in one parameter, and the context if wanted."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        """Read the handler's signature.

        :raises InvalidError: it takes more than an input and the context.
        """
        self._inner = TaskSignature(function, name)
        self._name = name
        self._input = f"the input of task {name!r}"
        self._parameters = signature_of(function)
        if len(self._parameters.parameters) > 1:
            _ = self._input_name

    @lazy
    def _input_name(self) -> str | None:
        names = [name for name in self._parameters.parameters if name != self._inner.context_name]
        if len(names) > 1:
            raise InvalidError(
                f"the handler of {self._name!r} takes one input (and a TaskContext if it likes), "
                f"not {', '.join(names)}; @app.task takes any arguments"
            )
        return names[0] if names else None

    @property
    def returns(self) -> Any:
        """The type of the result."""
        return self._inner.returns

    def bind_input(self, raw: bytes | msgspec.Raw, context: TaskContext) -> Arguments:
        """Read the input to the type that its parameter is annotated with."""
        arguments: dict[str, Any] = {}
        for name in self._parameters.parameters:
            if name == self._input_name:
                arguments[name] = _codec.decode(raw, self._kind, self._input)
            else:
                arguments[name] = context
        return self._call_form(arguments)

    @lazy
    def _kind(self) -> Any:
        return self._inner.kind_of(self._input_name or "")

    @lazy
    def _call_form(self) -> CallForm:
        return CallForm(self._parameters)


class CallForm:
    """Turns arguments by parameter into those of a call: positional as long as they can be, as people call."""

    def __init__(self, signature: Signature) -> None:
        """Look at the parameters once; a handler is called many times."""
        kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
        self._signature = signature
        self._is_variadic = not {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}.isdisjoint(kinds.values())
        self._positional = [name for name, kind in kinds.items() if kind is not Parameter.KEYWORD_ONLY]

    def __call__(self, arguments: dict[str, Any]) -> Arguments:
        """Sort the arguments into both kinds."""
        if self._is_variadic:
            bound = inspect.BoundArguments(self._signature, arguments)  # type: ignore[arg-type]
            return bound.args, bound.kwargs
        args: list[Any] = []
        for name in self._positional:
            if name not in arguments:  # it has a default, and what follows must be named
                break
            args.append(arguments.pop(name))
        return tuple(args), arguments


def _wants_context(hint: Any) -> bool:
    """Whether this is ``TaskContext``, or it or None; or a text that says so."""
    if isinstance(hint, str):
        return _CONTEXT.fullmatch(hint) is not None
    parts = typing.get_args(hint)  # those of a Callable cannot be in a set
    return hint is TaskContext or parts in ((TaskContext, type(None)), (type(None), TaskContext))


def _is_required(parameter: Parameter) -> bool:
    variadic = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return parameter.default is Parameter.empty and not variadic
