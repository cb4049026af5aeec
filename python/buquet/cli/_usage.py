"""What a command is called with: durations, times, and mistakes, which are told like all errors are."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

import typer

from buquet._durations import seconds, written_duration
from buquet.errors import InvalidError

UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What Typer raises where a command is called as it cannot be. Typer does not export it."""


def duration(param: typer.CallbackParam, value: str | None) -> str | None:
    """Check a duration under the option's name; a mere number of seconds gets its unit.

    :raises InvalidError: it is none.
    """
    return None if value is None else written_duration(value, param.opts[0])


def time_limit(param: typer.CallbackParam, value: str | None) -> str | None:
    """Check a duration that cannot be zero.

    :raises InvalidError: it is none, or zero.
    """
    value = duration(param, value)
    if value is not None and seconds(value, param.opts[0]) == 0:
        raise InvalidError(f"{param.opts[0]}={value!r} leaves no time at all; leave it out for the default")
    return value


def moment(text: str, option: str) -> datetime:
    """Read a point in time.

    :raises InvalidError: it is none, or has no time zone.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError(f"{option}={text!r} is no time; write one as 2026-11-25T00:00:00Z") from None
    if value.utcoffset() is None:
        raise InvalidError(f"{option}={text!r} has no time zone; add Z for UTC, or an offset such as +01:00")
    return value


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` is among the arguments, of which nobody could make sense."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]


def is_help(error: Exception) -> bool:
    """Whether it is only the help, printed where a command was left out."""
    return type(error).__name__ == "NoArgsIsHelpError"


def explain(error: Any) -> str:
    """Say in one line what is wrong with which value, and where to read on."""
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    for value in _given(error):
        if str(value) not in message:
            message += f" (given: {value!r})"
    return message if error.ctx is None else f"{message}; see {error.ctx.command_path} --help"


def _given(error: Any) -> list[Any]:
    """The value that was refused, where Typer checks values by pydantic, whose errors hold it."""
    details: Callable[[], list[dict[str, Any]]] | None = getattr(error.__cause__, "errors", None)
    return [] if details is None else [details()[0]["input"]]
