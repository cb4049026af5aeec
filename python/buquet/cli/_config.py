"""``buquet config``: every option, its value, and where that came from."""

import contextlib
from typing import Annotated

import typer
from rich.markup import escape

from buquet._address import Config
from buquet._client import Client
from buquet._config import ConfigOption, Configuration, config
from buquet.cli._output import Json, Url, out, plain, print_json, print_rows, shared, wants_json


def show(
    profile: Annotated[str | None, typer.Option(help=escape("The table of .buquet.toml: [profiles.NAME]."))] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show every option, its value, and where that came from. Secrets are never shown.

    What is wrong with the configuration is the error, with exit code 2.

    \b
    buquet config
    BUQUET_PROFILE=prod buquet config --json
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    found = read(url, profile)
    if shared.json:
        print_json(found)
        return
    rows = [["OPTION", "VALUE", "VARIABLE", "FROM"]]
    rows += [_row(option) for option in (*found.store, *found.options)]
    print_rows(*rows, cut=False)
    out.print()
    out.print(f"file: {plain(found.file) if found.file else 'none'}", soft_wrap=True)
    if found.credentials is not None:
        out.print(f"credentials: {plain(found.credentials.source)}", soft_wrap=True)


def read(url: str | None = None, profile: str | None = None) -> Configuration:
    """The configuration as a command sees it; reaches no store."""
    with contextlib.closing(Client(Config(url=shared.url if url is None else url, profile=profile))) as client:
        return client.call(config())


def _row(option: ConfigOption) -> list[str]:
    value = "" if option.value is None else plain(str(option.value))
    source = plain(option.source)
    return [option.name, value, option.variable, f"[dim]{source}[/]" if option.source == "default" else source]
