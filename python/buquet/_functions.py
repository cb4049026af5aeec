"""What functions can become tasks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

from buquet._signature import signature_of
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buquet._attempt import ExceptionTypes

_OWNERS = ("self", "cls")


def check_function(function: Any, pool: object) -> None:
    """Refuse what no worker could run."""
    if isinstance(function, staticmethod | classmethod):
        raise InvalidError(f"a task is a plain function, not {function!r}: put @staticmethod above @app.task")
    if not inspect.isfunction(function):
        raise InvalidError(f"a task is a plain or async function, not {function!r}")
    where = f"{function.__module__}.{function.__qualname__}"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidError(f"{where} is a generator; a task returns its result")
    if pool not in ("thread", "process"):
        raise InvalidError(f"pool={pool!r} must be 'thread' or 'process'")
    if pool == "process" and inspect.iscoroutinefunction(function):
        raise InvalidError(f"{where} is async and runs on the event loop; pool='process' needs a plain def")
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>") and next(iter(signature_of(function).parameters), "") in _OWNERS:
        raise InvalidError(
            f"{where} is a method, and workers have no {owner} to call it on; make it a function of its module, "
            "or put @staticmethod above @app.task and leave the first parameter out"
        )
    if pool == "process" and "<" in function.__qualname__:
        raise InvalidError(f"{where} must be at the top level of its module for a process to find it")


def exception_types(value: object, name: str) -> ExceptionTypes:
    """Read one exception type or a collection of them."""
    several = isinstance(value, list | tuple | set | frozenset)
    types = tuple(cast("Iterable[object]", value)) if several else (value,)
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise InvalidError(f"{name}= takes exception types, not {item!r}")
    return cast("ExceptionTypes", types)
