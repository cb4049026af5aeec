"""``buquet payloads``: delete the payloads that nothing names."""

from typing import Annotated

import typer

from buquet import _ops
from buquet.cli._output import Json, Url, connection, out, print_corrupt, print_json, shared, wants_json
from buquet.cli._usage import Commands, duration

payloads = Commands(
    name="payloads",
    no_args_is_help=True,
    help="Look after payloads, which lie in objects of their own.",
    rich_markup_mode="rich",
)


@payloads.callback()
def _group() -> None:
    """Make a group of what is one command so far."""


@payloads.command()
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them and delete nothing.")] = False,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Leave younger ones alone; 24h or more.", callback=duration)
    ] = "24h",
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete payloads that no record names: their commit never came, or their record is gone.

    Safe while the queue is used, and to be interrupted. Costs a LIST for a thousand objects and a GET for each record.
    """
    shared.json = wants_json(json)
    client = connection(url)
    pages = [client.call(_ops.payload_collect(older_than, None, dry_run=dry_run))]
    while (cursor := pages[-1].cursor) is not None:
        pages.append(client.call(_ops.payload_collect(older_than, cursor, dry_run=dry_run)))
    orphans, size, kept = (sum(numbers) for numbers in zip(*((p.orphans, p.bytes, p.kept) for p in pages), strict=True))
    corrupt = [item for page in pages for item in page.corrupt]
    if shared.json:
        print_json({"orphans": orphans, "bytes": size, "kept": kept, "dry_run": dry_run, "corrupt": corrupt})
        return
    out.print(f"{orphans} objects of {size} bytes {'would be' if dry_run else 'were'} deleted, {kept} kept")
    print_corrupt(corrupt)
