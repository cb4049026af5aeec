"""``buquet result``: what a task came to, its payload fetched."""

from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from buquet._chain import is_envelope
from buquet._client import Client
from buquet._files import File
from buquet._handle import TaskHandle
from buquet._models import Task
from buquet._shown import shown
from buquet.cli._output import Json, Url, connection, print_json, shared, wants_json
from buquet.cli._usage import duration
from buquet.cli._waiting import wait
from buquet.errors import CodecError, InvalidError


def result(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there; files and bytes over 32 KiB as they are, all else as JSON.",
        ),
    ] = None,
    wait_timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Longest wait for the task to end, such as 1m.", callback=duration),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print a task's result as JSON, once it has ended.

    Exit code 3 says that there is no such task, 4 that it ended without a result, 5 that it had not ended in time.

    \b
    buquet result 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000
    buquet result 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000 --output picture.png
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    client = connection(url)
    task = wait(client, task_id, wait_timeout)
    if output is None:
        print_json(json_result(client, task))
    else:
        _write(_read(client, task), Path(output))


def json_result(client: Client, task: Task) -> Any:
    """A task's result, to be printed as JSON.

    :raises TaskFailedError: there is none.
    :raises InvalidError: it is no JSON.
    :raises CodecError: it passed through codecs.
    """
    value = _read(client, task)
    if isinstance(value, File | bytes):
        what = f"the file {value.name!r}" if isinstance(value, File) else f"{len(value)} bytes"
        raise InvalidError(
            f"the result of task {task.id} is {what}, which is no JSON: give --output, as in "
            f"buquet result {task.id} --output FILE"
        )
    return value


def _read(client: Client, task: Task) -> Any:
    try:
        value: Any = TaskHandle[Any](client, task.id).read(task)
    except CodecError as error:
        if not error.may_help:  # it was not stored by buquet
            raise
        raise CodecError(
            f"the result of task {task.id} is {shown(task.output)}, and the command line has no codecs: "
            "read it in Python, with those that it passed through"
        ) from None
    if task.output_files and _holds_envelopes(value):
        raise InvalidError(
            f"the result of task {task.id} has files inside of it: read it in Python, with the type that its function "
            f"returns; buquet status {task.id} shows the rest"
        )
    return value


def _holds_envelopes(value: object) -> bool:
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return is_envelope(members) or any(map(_holds_envelopes, members.values()))
    return isinstance(value, list) and any(map(_holds_envelopes, cast("list[object]", value)))


def _write(value: Any, path: Path) -> None:
    try:
        if isinstance(value, File):
            value.save(path)
        elif isinstance(value, bytes):
            path.write_bytes(value)
        else:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    except OSError as error:
        raise InvalidError(f"--output={str(path)!r} cannot be written ({error.strerror})") from error
