"""What a command is called with: options, durations, times, and mistakes, which are told like all errors are."""

import copy
import math
import reprlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup

from buquet._checks import parent_id
from buquet._durations import DAY, check_span, seconds, written_duration
from buquet.cli._help import laid_out, with_words
from buquet.errors import InvalidError

UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What Typer raises where a command is called as it cannot be. Typer does not export it."""

F = TypeVar("F", bound=Callable[..., Any])

_MAY_HOLD_SECRETS = {"--url", "--secret-key", "--input"}


class Command(TyperCommand):
    """A command that refuses an option given twice where only one counts, and whose help reads well."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.help = laid_out(self.help or "")

    def get_params(self, ctx: Any) -> Any:
        return with_words(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)  # Typer takes them out of the list
        rest = super().parse_args(ctx, args)
        refuse_repeated(self, ctx, given)
        return rest


class CommandGroup(TyperGroup):
    """A group whose help reads well."""

    def get_params(self, ctx: Any) -> Any:
        return with_words(super().get_params(ctx))


class Commands(typer.Typer):
    """A group of such commands."""

    def __init__(self, *, cls: type[TyperGroup] = CommandGroup, **options: Any) -> None:
        super().__init__(cls=cls, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        options.setdefault("cls", Command)
        return super().command(name, **options)


def refuse_repeated(command: Any, ctx: Any, args: list[str]) -> None:
    """Refuse an option given twice of which Typer would take the last, and drop the others without a word.

    :raises InvalidError: there is one.
    """
    if ctx.resilient_parsing:  # a shell wants it completed
        return
    once = [param for param in command.params if param.param_type_name == "option" and not _may_repeat(param)]
    reader = copy.copy(command)
    reader.params = [_collecting(param) if param in once else param for param in command.params]
    given, _, _ = reader.make_parser(ctx).parse_args(args)
    for param in once:
        values, name = given.get(param.name, ()), param.opts[0]
        if len(values) > 1:
            shown = [name if name in _MAY_HOLD_SECRETS else f"{name}={reprlib.repr(value)}" for value in values]
            raise InvalidError(f"{' and '.join(shown)} are given, and only one counts: give one")


def _may_repeat(param: Any) -> bool:
    return param.multiple or param.is_flag


def _collecting(param: Any) -> Any:
    """The same option, keeping all its values."""
    param = copy.copy(param)
    param.multiple = True
    return param


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


def interval(param: typer.CallbackParam, value: str | None) -> str | None:
    """Check a duration of a second or more.

    :raises InvalidError: it is none, or shorter.
    """
    value = duration(param, value)
    if value is not None:
        check_span(param.opts[0], value, 1, math.inf, "1 s or more")
    return value


def up_to_a_day(param: typer.CallbackParam, value: str | None) -> str | None:
    """Check a duration of a day or less.

    :raises InvalidError: it is none, or longer.
    """
    value = duration(param, value)
    if value is not None:
        check_span(param.opts[0], value, 0, DAY, "up to a day")
    return value


def parent_task(param: typer.CallbackParam, value: str | None) -> str | None:
    """Check a parent's id under the option's name.

    :raises InvalidError: it is none.
    """
    try:
        return parent_id(value)
    except InvalidError:
        example = "5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000"
        said = f"{param.opts[0]}={str(value)[:64]!r} is not a task id; give it as submit printed it, such as {example}"
        raise InvalidError(said) from None


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
