"""``buquet demo``: the whole of buquet on real input, in under a minute."""

from typing import Annotated

import typer

from buquet.cli._output import Json, Url, shared, wants_json


def demo(
    processes: Annotated[
        int | None, typer.Option("--processes", "-p", min=1, help="Worker processes (default: one per CPU, 2 to 4).")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Count all of Python's standard library: one task per file, several worker processes.

    Prints the largest files, the totals, one task's history, what it cost, and where the data lies.

    \b
    buquet demo
    buquet demo --url s3://my-bucket/demo
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    from buquet.cli._demo_run import run  # noqa: PLC0415 - no other command needs what it imports

    run(shared.url if url is None else url, processes)
