"""``buquet dev``: an S3 server on this machine, for development."""

import os
import shlex
import signal
import subprocess
import sys
from typing import Annotated

import typer

from buquet import _ops
from buquet._address import Config
from buquet._client import Client
from buquet.cli._output import Json, err, print_json, shared, wants_json
from buquet.cli._usage import duration
from buquet.errors import InvalidError

_PORT = 9753
_ENDING = (signal.SIGINT, signal.SIGTERM)
_KILLED = 128
_MISLEADING = {"AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_PROFILE"}
"""What would lead a command elsewhere, or send somebody's own token along."""


def dev(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND]", help="Run this with the variables set, and end with it.", show_default=False
        ),
    ] = None,
    store: Annotated[
        str, typer.Option("--store", "-s", metavar="URL", help="Where buckets are kept: sqlite:PATH or memory:.")
    ] = "sqlite:.buquet/dev.db",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0 takes a free one.")] = _PORT,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The IP address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Permit a --host that other machines can reach.")
    ] = False,
    bucket: Annotated[str, typer.Option("--bucket", "-b", help="A bucket to begin with.")] = "dev",
    access_key: Annotated[
        str | None, typer.Option("--access-key", help="The access key (default: buquet-dev).", show_default=False)
    ] = None,
    secret_key: Annotated[
        str | None,
        typer.Option("--secret-key", help="The secret key (default: random, kept in the store).", show_default=False),
    ] = None,
    latency: Annotated[
        str,
        typer.Option(
            "--latency", metavar="DURATION", help="Add this to every request, such as 20ms.", callback=duration
        ),
    ] = "0s",
    error_503: Annotated[
        float, typer.Option("--error-503", min=0, max=1, help="Share of requests refused with 503 SlowDown.")
    ] = 0.0,
    lost_answers: Annotated[
        float, typer.Option("--lost-answers", min=0, max=1, help="Share of requests done but never answered.")
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Makes the faults repeatable.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Serve S3 buckets from this machine, for development and tests only.

    Prints the variables to use it on stdout, as lines for a shell,
    and runs until SIGTERM or Ctrl-C. Every bucket keeps versions.

    \b
    buquet dev
    buquet dev --store memory: -- pytest
    buquet dev --latency 20ms --error-503 0.05 --lost-answers 0.02
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    if not command:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # taken below, also one that comes early
    client = Client(Config(url="memory:"))  # an engine is needed, a queue is not
    faults = {
        "latency": latency,
        "error_503": error_503,
        "lost_answers": lost_answers,
        **({} if seed is None else {"seed": seed}),
    }
    server = client.call(
        _ops.dev_server_start(
            store=store,
            host=host,
            port=port,
            allow_remote=allow_remote,
            bucket=bucket,
            access_key=access_key,
            secret_key=secret_key,
            faults=faults,
        )
    )
    try:
        if command:
            raise typer.Exit(_run(command, server.environment()))
        _announce(server)
        signal.sigwait(_ENDING)
    finally:
        client.call(_ops.dev_server_stop(server.server))
        client.close()


def _announce(server: _ops.DevServer) -> None:
    err.print(f"S3 for development at {server.endpoint}, kept in {server.store}; not for production", soft_wrap=True)
    if shared.json:
        print_json(server)
    else:
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in server.environment().items())
        sys.stdout.write("".join(lines))
        sys.stdout.flush()


def _run(command: list[str], variables: dict[str, str]) -> int:
    """Run a command to its end, signals or not; gives its exit code as a shell would."""
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    early: list[int] = []
    # Python's own handlers until there is somebody to pass a signal to: a command inherits a signal that is ignored.
    signal.signal(signal.SIGTERM, lambda number, _: early.append(number))
    signal.signal(signal.SIGINT, _leave_to_command)
    try:
        process = subprocess.Popen(command, env={**environment, **variables})  # noqa: S603 - the user's own command
    except FileNotFoundError:
        raise InvalidError(f"there is no command {command[0]!r}") from None
    except OSError as error:
        raise InvalidError(f"{command[0]!r} cannot be run: {error.strerror}") from error
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    for number in early:
        process.send_signal(number)
    code = process.wait()
    return code if code >= 0 else _KILLED - code


def _leave_to_command(_number: int, _frame: object) -> None:
    """Do nothing about Ctrl-C: a terminal sends it to the command as well."""
