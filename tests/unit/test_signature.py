"""A call's arguments become one readable JSON object, and come back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from buquet import ArgumentError, DecodeError, EncodeError, InvalidError, TaskContext
from buquet._context import local_context
from buquet._signature import PlainSignature, TaskSignature

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Box:
    width: int


def everything(first: int, /, box: Box, *rest: int, key: str = "k", **more: float) -> Any:
    return first, box, rest, key, more


def with_context(ctx: TaskContext, path: str) -> Any:
    return ctx.id, path


def context_last(path: str, *, size: int = 1, ctx: TaskContext) -> Any:
    return path, size, ctx.id


def loaded(function: Any, encoded: bytes) -> Any:
    args, kwargs = TaskSignature(function, "t").bind_input(encoded, local_context("t"))
    return function(*args, **kwargs)


def test_the_input_has_a_member_for_each_argument() -> None:
    encoded = TaskSignature(everything, "t").encode((1, Box(2), 3, 4), {"extra": 0.5})
    assert json.loads(encoded) == {"first": 1, "box": {"width": 2}, "rest": [3, 4], "more": {"extra": 0.5}}


def test_any_way_of_passing_arguments_comes_back_as_the_same_call() -> None:
    signature = TaskSignature(everything, "t")
    encoded = signature.encode((1,), {"box": Box(2), "key": "x"})
    assert loaded(everything, encoded) == (1, Box(2), (), "x", {})
    encoded = signature.encode((1, Box(2), 3), {"more_of_it": 1})
    assert loaded(everything, encoded) == (1, Box(2), (3,), "k", {"more_of_it": 1.0})


def test_the_context_is_no_argument_wherever_it_stands() -> None:
    assert TaskSignature(with_context, "t").encode(("p",), {}) == b'{"path":"p"}'
    assert loaded(with_context, b'{"path":"p"}') == ("local", "p")
    assert loaded(context_last, b'{"path":"p"}') == ("p", 1, "local")


@pytest.mark.parametrize("kwargs", [{}, {"path": "p", "wrong": 1}])
def test_arguments_that_do_not_fit_the_signature_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="'t'"):
        TaskSignature(with_context, "t").encode((), kwargs)


def test_an_argument_of_the_wrong_type_is_refused_by_name() -> None:
    with pytest.raises(EncodeError, match=r"'path'.*str"):
        TaskSignature(with_context, "t").encode((7,), {})
    with pytest.raises(EncodeError, match="'rest'"):
        TaskSignature(everything, "t").encode((1, Box(1), "three"), {})


@pytest.mark.parametrize("raw", [b"[1]", b'"x"', b"{}", b'{"path": 1}', b'{"path": "p", "other": 1}'])
def test_an_input_that_does_not_fit_is_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        TaskSignature(with_context, "t").bind_input(raw, local_context("t"))


def test_annotations_that_cannot_be_resolved_say_what_to_do() -> None:
    def broken(x: Missing) -> None:  # noqa: F821 # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]
        del x

    with pytest.raises(InvalidError, match="TYPE_CHECKING"):
        TaskSignature(cast("Callable[..., Any]", broken), "t").encode((1,), {})


def test_a_plain_handler_gets_the_whole_input_in_its_type() -> None:
    def handler(box: Box, ctx: TaskContext) -> None: ...

    args, kwargs = PlainSignature(handler, "t").bind_input(b'{"width": 3}', local_context("t"))
    assert args[0] == Box(3)
    assert args[1].type == "t"
    assert kwargs == {}


def test_a_plain_handler_may_do_without_its_input() -> None:
    def handler() -> None: ...

    assert PlainSignature(handler, "t").bind_input(b'{"any": 1}', local_context("t")) == ((), {})


def test_a_plain_handler_with_two_inputs_is_refused() -> None:
    def handler(a: int, b: int) -> None: ...

    with pytest.raises(InvalidError, match="one input"):
        PlainSignature(handler, "t").bind_input(b"1", local_context("t"))
