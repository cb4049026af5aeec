"""``buquet schemas``: publish, show and delete the JSON Schemas of task types."""

from typing import Annotated, Any

import msgspec
import typer

from buquet._address import Config
from buquet._schemas import TaskSchema, schema_delete, schema_get, schema_list, schema_put
from buquet.cli._load import load_app
from buquet.cli._output import Json, Url, ask, out, plain, print_json, print_rows, read_argument, shared, wants_json
from buquet.cli._usage import Commands
from buquet.errors import NotFoundError

schemas = Commands(
    name="schemas",
    no_args_is_help=True,
    help="Publish, show and delete the JSON Schemas that inputs have to fit.",
    rich_markup_mode="rich",
)

Type = Annotated[str, typer.Argument(metavar="TYPE", help="The task type.")]


@schemas.command("list")
def list_(url: Url = None, json: Json = False) -> None:
    """List the task types that have schemas."""
    shared.json = wants_json(json)
    found: list[TaskSchema] = ask(url, schema_list())
    if shared.json:
        print_json({"schemas": found})
    elif not found:
        out.print("no schemas")
    else:
        rows = [["TYPE", "INPUT", "OUTPUT", "PUBLISHED"]]
        rows += [[plain(each.type), _has(each.input), _has(each.output), str(each.at or "")] for each in found]
        print_rows(*rows)


@schemas.command()
def show(type: Type, url: Url = None, json: Json = False) -> None:  # noqa: A002
    """Print the schemas of one task type, as JSON. Exit code 3 says that it has none."""
    shared.json = wants_json(json)
    print_json(ask(url, schema_get(type)))


@schemas.command()
def put(
    type: Type,  # noqa: A002
    input: Annotated[  # noqa: A002
        str | None, typer.Option("--input", "-i", metavar="JSON", help="The schema of inputs; @FILE reads a file.")
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="JSON", help="That of results.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Publish the schemas of a task type, in place of those it had.

    \b
    buquet schemas put thumbnail --input @thumbnail.json
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    given: dict[str, Any] = {}
    for name, text in (("input", input), ("output", output)):
        if text is not None:
            given[name] = msgspec.json.decode(read_argument(text, f"--{name}"))
    _print_changed(changed=ask(url, schema_put({type: given})))


@schemas.command()
def publish(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the app is, as for buquet worker.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Publish the schemas of an app's tasks, as its worker does when it starts."""
    shared.json = wants_json(json)
    app = load_app(target)
    address = shared.url if url is None else url
    if address is not None:
        app.queue.client.reconfigure(Config(url=address))
    _print_changed(changed=app.publish_schemas())


@schemas.command()
def delete(type: Type, url: Url = None, json: Json = False) -> None:  # noqa: A002
    """Delete the schemas of a task type. Exit code 3 says that it had none."""
    shared.json = wants_json(json)
    if not ask(url, schema_delete(type)):
        raise NotFoundError(f"the task type {type!r} has no schema")
    _print_changed(changed=True)


def _has(schema: object) -> str:
    return "" if schema is None else "yes"


def _print_changed(*, changed: bool) -> None:
    if shared.json:
        print_json({"changed": changed})
    else:
        out.print("changed" if changed else "as it was")
