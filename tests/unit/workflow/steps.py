"""Steps of the tests' workflows: of a module, as steps have to be."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from buquet import File  # noqa: TC001 - a step's annotation is read

if TYPE_CHECKING:
    from buquet.workflow import WorkflowContext

effects: list[str] = []
"""What steps have done."""


def add(left: int, right: int = 1) -> int:
    return left + right


async def double(number: int) -> int:
    return 2 * number


def echo(value: str) -> str:
    return value


def act(what: str) -> str:
    effects.append(what)
    return what


def undo(what: str) -> None:
    effects.append(f"undo {what}")


def fail(message: str = "no luck") -> None:
    raise ValueError(message)


def fail_to_undo(what: str) -> None:
    effects.append(f"fail to undo {what}")
    raise RuntimeError(f"{what} cannot be undone")


variable: ContextVar[str] = ContextVar("variable", default="nothing")


def read_and_set_variable() -> str:
    seen = variable.get()
    variable.set("of the step")
    return seen


def untyped_set():  # noqa: ANN201 - its type is the point
    return {2, 1}


def typed_set() -> set[int]:
    return {2, 1}


def take_set(values: set[str]) -> int:
    return len(values)


def take_dict(values: dict[str, int]) -> int:
    return len(values)


def take_list(values: list[str]) -> int:
    return len(values)


held: list[WorkflowContext] = []


def use_held() -> None:
    held[0].wait_signal("a")


def take_file(file: File) -> bytes:
    return file.read()


def take_files(files: list[File]) -> int:
    return len(files)


def take_bytes(value: bytes) -> int:
    return len(value)


def change_list(values: list[str]) -> list[str]:
    values.append("changed")
    return values


def count_up(state: int | None, by: int) -> int:
    return (state or 0) + by


def odd_fails(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def numbered(pair: tuple[int, str]) -> str:
    return f"{pair[0]}{pair[1]}"
