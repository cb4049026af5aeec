"""Help that reads well: in a word what a value is, and the examples in a block of their own."""

import inspect
import re
from typing import Any

from buquet._models import TaskStatus

STATUSES = ", ".join(list(TaskStatus)[:-1]) + f" or {list(TaskStatus)[-1]}"

_WORDS: dict[object, str] = {
    int: "N",
    float: "N",
    str: "TEXT",
    list[str]: "TEXT",
    "integer": "N",
    "integer range": "N",
    "float": "N",
    "float range": "N",
}


_COMMAND = re.compile(r"(\w+=\S+ )*buquet ")


def with_words(params: list[Any]) -> list[Any]:
    """Give each option a word for its value, where it has none; a flag takes no value."""
    for param in params:
        if param.param_type_name == "option" and param.metavar is None:
            param.metavar = "" if param.is_flag else _WORDS.get(_kind(param))
    return params


def _kind(param: Any) -> object:
    """What a value is. Older versions of Typer say it in a word, newer ones by its Python type."""
    descriptor = getattr(param, "type_descriptor", None)
    return descriptor.annotation if descriptor is not None else param.type.name


def laid_out(text: str) -> str:
    r"""Let paragraphs wrap as the terminal does, and give examples a heading. After ``\b`` lines stay as they are."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(_headed(part) if part.startswith("\b") else " ".join(part.split()) for part in parts)


def _headed(block: str) -> str:
    r"""A block after ``\b`` that holds commands gets a heading, and is indented."""
    mark, *lines = block.splitlines()
    if not lines or not all(_COMMAND.match(line) for line in lines):
        return block
    return "\n".join([mark, "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
