"""``buquet workflow replay``: today's code against recorded journals, without effects."""

from typing import Annotated, Any

import typer

from buquet.cli._load import load_workflows
from buquet.cli._output import ExitCode, Json, Url, connection, out, plain, print_json, shared, wants_json
from buquet.cli._runs_shown import export
from buquet.testing import Difference, Replayer, ReplayError


def replay(
    run_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The runs' ids, or names.")],
    app: Annotated[
        str,
        typer.Option(
            "--app", "-a", metavar="MODULE:APP", help="Where the workflows are: an app, or a module that has them."
        ),
    ],
    url: Url = None,
    json: Json = False,
) -> None:
    """Run today's code against the journals of runs, and say where it differs. No step is called, nothing is stored.

    Exit code 4 says that one of them differs.

    \b
    buquet workflow replay order-17 --app orders:app
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    replayer = Replayer(*load_workflows(app))
    client = connection(url)
    found = [(run_id, _difference(replayer, export(client, run_id))) for run_id in run_ids]
    if shared.json:
        print_json({"runs": [_shown(run_id, difference) for run_id, difference in found]})
    else:
        for run_id, difference in found:
            out.print(f"{plain(run_id)} [green]fits[/]" if difference is None else plain(str(difference), lines=True))
    if any(difference is not None for _, difference in found):
        raise typer.Exit(ExitCode.TASK_FAILED)


def _difference(replayer: Replayer, run: dict[str, Any]) -> Difference | None:
    try:
        replayer.check(run)
    except ReplayError as error:
        return error.differences[0]
    return None


def _shown(run_id: str, difference: Difference | None) -> dict[str, object]:
    if difference is None:
        return {"id": run_id, "fits": True}
    mismatch = difference.mismatch
    shown: dict[str, object] = {"id": run_id, "fits": False, "problem": difference.problem}
    if mismatch is not None:
        shown |= {"position": mismatch.position, "recorded": mismatch.recorded, "asked": mismatch.asked}
    return shown
