"""What all commands share: exit codes, options, JSON and error output."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from buquet import errors
from buquet._address import Config
from buquet._client import Call, Client
from buquet._models import CorruptObject, TaskStatus

_WIDE = 200
out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
err = Console(stderr=True, highlight=False)

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Where the queue is: s3://bucket/prefix or sqlite:PATH.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", "-n", min=1, max=1000, help="Tasks to print, or a few more: what was submitted together stays so."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

STYLES = {
    TaskStatus.PENDING: "yellow",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.WAITING: "blue",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
}


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    TASK_FAILED = 4
    TIMEOUT = 5
    UNAVAILABLE = 6
    DENIED = 7
    INTERRUPTED = 130


_CODES: dict[type[errors.BuquetError], ExitCode] = {
    errors.InvalidError: ExitCode.USAGE,
    errors.ConfigError: ExitCode.USAGE,
    errors.NotFoundError: ExitCode.NOT_FOUND,
    errors.TaskFailedError: ExitCode.TASK_FAILED,
    errors.WaitTimeoutError: ExitCode.TIMEOUT,
    errors.UnavailableError: ExitCode.UNAVAILABLE,
    errors.DeniedError: ExitCode.DENIED,
}


class Shared(msgspec.Struct):
    """The options given before the command: ``buquet --url URL --json list``."""

    url: str | None = None
    json: bool = False


shared = Shared()


_opened: list[Client] = []


def connection(url: str | None) -> Client:
    """A connection to the queue that the command is about, open until the command ends.

    A person who looks where there is no queue has probably misspelt its address, and is told so.
    """
    client = Client(Config(url=shared.url if url is None else url, expect_queue=True))
    _opened.append(client)
    return client


def close_connections() -> None:
    """Close what the command has opened. That wakes the workers for the tasks that it made."""
    while _opened:
        _opened.pop().close()


def ask(url: str | None, call: Call[Any, Any]) -> Any:
    """Run one operation."""
    return connection(url).call(call)


def wants_json(flag: bool) -> bool:
    """Whether JSON is wanted, by this command's option or the one before it."""
    return flag or shared.json


def confirm(question: str, *, yes: bool, look: str = "with --dry-run") -> None:
    """Ask a person; a program has to say --yes.

    :raises InvalidError: there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise errors.InvalidError(f"this cannot be undone: say --yes, or look first {look}")
    if not typer.confirm(question, err=True):
        raise typer.Exit(ExitCode.ERROR)


def print_json(value: object) -> None:
    """Print one JSON value on stdout, and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def read_argument(text: str, name: str) -> bytes:
    """Read JSON from an argument, from the file that ``@FILE`` names, or from stdin for ``-``.

    :raises InvalidError: it cannot be read, or is no JSON.
    """
    if text == "-":
        raw = sys.stdin.buffer.read()
    elif text.startswith("@"):
        try:
            raw = Path(text[1:]).read_bytes()
        except OSError as error:
            raise errors.InvalidError(f"{name}: cannot read {text[1:]} ({error.strerror})") from error
    else:
        raw = os.fsencode(text)  # the bytes as they were given
    try:
        raw.decode()
        return msgspec.json.encode(msgspec.json.decode(raw))
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start + 1} (0x{raw[error.start]:02x})"
        raise errors.InvalidError(f"{name} is not JSON, which is UTF-8, and {wrong} is not") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise errors.InvalidError(f"{name} is not JSON: {error}") from error


def exit_code_for(error: errors.BuquetError) -> ExitCode:
    """How a command that met this error ends."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.ERROR)


def print_error(code: str, message: str) -> None:
    """Print an error on stderr, as JSON if that was asked for."""
    _print_note("error", "red", code, message)


def _print_note(kind: str, colour: str, code: str, message: str) -> None:
    if shared.json:
        told = message.encode(errors="backslashreplace").decode()  # it may repeat bytes that were no text
        sys.stderr.write(msgspec.json.encode({kind: {"code": code, "message": told}}).decode() + "\n")
    else:
        err.print(f"{kind}:", style=f"bold {colour}", end=" ")
        err.print(plain(message, lines=True), soft_wrap=True)


def print_warning(code: str, message: str) -> None:
    """Print on stderr what does not make the command fail, as JSON if that was asked for."""
    _print_note("warning", "yellow", code, message)


class Notices(logging.Handler):
    """Prints on stderr what the engine tells besides its answers."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one notice."""
        kind, colour = ("note", "cyan") if record.levelno < logging.WARNING else ("warning", "yellow")
        _print_note(kind, colour, "engine", record.getMessage())


def show_notices() -> None:
    """Print on stderr what the engine tells besides its answers, from now on."""
    logger = logging.getLogger("buquet.engine")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, Notices) for handler in logger.handlers):
        logger.addHandler(Notices())


def print_corrupt(corrupt: Iterable[CorruptObject]) -> None:
    """Print a warning for each stored object that cannot be read."""
    for item in corrupt:
        named = item.message.startswith(item.key)
        print_warning("corrupt", item.message if named else f"{item.key}: {item.message}")


def print_rows(*rows: Sequence[str], cut: bool = True) -> None:
    """Print rows of markup under their headers, the first row.

    A narrow terminal cuts lines at their end, or goes on in the next line where nothing may be ``cut``.
    """
    texts = [[Text.from_markup(cell) for cell in row] for row in rows]
    widths = [max(text.cell_len for text in column) for column in zip(*texts, strict=True)]
    for row in texts:
        line = Text()
        for text, width in zip(row, widths, strict=True):
            text.pad_right(width - text.cell_len + 2)
            line.append_text(text)
        line.rstrip()
        if cut:
            out.print(line, no_wrap=True, overflow="ellipsis")
        else:
            out.print(line, soft_wrap=True)


def plain(text: str, *, lines: bool = False) -> str:
    r"""Stored text for a terminal: what would control it is shown as ``\x1b``, and so are new lines unless wanted."""
    kept = "\n\t" if lines else ""
    visible = (c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)
    return escape("".join(visible))


def styled(status: TaskStatus) -> str:
    """A status in its colour."""
    style = STYLES.get(status)
    return f"[{style}]{status.value}[/]" if style else status.value
