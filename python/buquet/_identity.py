"""Which function is which: a module may be reloaded, as notebooks do, or imported under two names, as ``-m`` does."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def where(function: Callable[..., Any]) -> str:
    """Name a function by its module, that of ``python -m`` by its real name."""
    module = function.__module__
    if module == "__main__":
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        module = module if spec is None else spec.name
    return f"{module}.{function.__qualname__}"


def is_same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether both came from one piece of code."""
    if not (inspect.isfunction(one) and inspect.isfunction(other)):
        return one == other
    if where(one) == where(other):
        return True
    return (place := _place(one)) is not None and place == _place(other)


def is_twin(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether both came from one piece of code by way of two modules."""
    if not (inspect.isfunction(one) and inspect.isfunction(other)) or one.__globals__ is other.__globals__:
        return False
    return (place := _place(one)) is not None and place == _place(other)


def _place(function: Callable[..., Any]) -> tuple[str, int, str] | None:
    """The file and line of a function; None for what is in no file."""
    code = inspect.unwrap(function).__code__
    path = Path(code.co_filename)
    return (str(path.resolve()), code.co_firstlineno, function.__qualname__) if path.is_file() else None
