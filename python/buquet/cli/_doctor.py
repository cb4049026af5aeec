"""``buquet doctor``: what is wrong with a store and a queue, and what to do about it."""

from typing import Annotated

import typer
from msgspec.structs import replace

from buquet._client import Client
from buquet._doctor import Check, CheckStatus, Diagnosis, doctor, repair
from buquet.cli._output import (
    ExitCode,
    Json,
    Url,
    connection,
    err,
    out,
    plain,
    print_corrupt,
    print_json,
    shared,
    wants_json,
)
from buquet.errors import InvalidError

_MARKS = {
    CheckStatus.OK: "[green]ok     [/]",
    CheckStatus.SKIPPED: "[dim]skipped[/]",
    CheckStatus.WARNING: "[yellow]warning[/]",
    CheckStatus.FAILED: "[red]failed [/]",
}
_CODES = {"unavailable": ExitCode.UNAVAILABLE, "denied": ExitCode.DENIED}
_NAMED = 20


def examine(
    deep: Annotated[bool, typer.Option("--deep", help="Read every record, not a sample.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
    mend: Annotated[
        bool, typer.Option("--repair", help="Look after parked tasks, and delete index entries that lead nowhere.")
    ] = False,
    iam: Annotated[bool, typer.Option("--iam", help="Print the IAM policy that the queue needs instead.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Look at the store and the queue, and say what is wrong and what to do.

    Nothing is changed but scratch keys, which are deleted again, unless --repair is given.

    Exit codes: 0 healthy (warnings too, unless --strict), 1 something failed,
    6 the store does not answer, 7 it refuses.

    \b
    buquet doctor
    buquet doctor --deep --json | jq '.checks[] | select(.status == "failed")'
    buquet doctor --iam > policy.json
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    client = connection(url)
    if mend:
        _repair(client)
    found: Diagnosis = client.call(doctor(deep=deep and not iam))
    if iam:
        _print_policy(found)
        return
    if deep:
        found = _read_on(client, found)
    if shared.json:
        print_json(found)
    else:
        _print(found)
    raise typer.Exit(_exit_code(found, strict=strict))


def _repair(client: Client) -> None:
    waiting, deleted, page = 0, 0, client.call(repair())
    while True:
        waiting, deleted = waiting + page.waiting, deleted + page.deleted
        print_corrupt(page.corrupt)
        if page.cursor is None:
            break
        page = client.call(repair(page.cursor))
    if not shared.json:
        out.print(f"{waiting} entries lead to tasks that wait, and {deleted} that led nowhere are deleted")


def _print_policy(found: Diagnosis) -> None:
    if found.policy is None:
        raise InvalidError(f"{found.url} is not on S3 and needs no policy")
    print_json(found.policy)


def _read_on(client: Client, found: Diagnosis) -> Diagnosis:
    """Read the rest of the records; what was found so far goes into one check."""
    checks = {check.name: check for check in found.checks}
    spent, dollars, cursor = found.requests, found.dollars, found.cursor
    worst = checks["records"]
    read, corrupt, newer = _figures(worst)
    while cursor is not None:
        page: Diagnosis = client.call(doctor(deep=True, cursor=cursor))
        check = page.check("records")
        more, bad, new = _figures(check)
        read, corrupt, newer = read + more, [*corrupt, *bad][:_NAMED], [*newer, *new][:_NAMED]
        spent = replace(spent, get=spent.get + page.requests.get, list=spent.list + page.requests.list)
        dollars += page.dollars
        worst = max(worst, check, key=lambda check: _RANK.index(check.status))
        if page.cursor == cursor:  # the store does not answer any more
            break
        cursor = page.cursor
        if not shared.json:
            err.print(f"{read:,} records read", style="dim")
    what = f"{read:,} records read, all sound" if worst.status is CheckStatus.OK else worst.what
    checks["records"] = replace(worst, what=what, details={"read": read, "corrupt": corrupt, "newer": newer})
    status = max((check.status for check in checks.values()), key=_RANK.index)
    status = CheckStatus.OK if status is CheckStatus.SKIPPED else status
    return replace(found, status=status, checks=list(checks.values()), requests=spent, dollars=dollars, cursor=cursor)


_RANK = [CheckStatus.OK, CheckStatus.SKIPPED, CheckStatus.WARNING, CheckStatus.FAILED]


def _figures(check: Check) -> tuple[int, list[object], list[object]]:
    return (
        int(check.details.get("read", 0)),
        list(check.details.get("corrupt", [])),
        list(check.details.get("newer", [])),
    )


def _print(found: Diagnosis) -> None:
    out.print(plain(found.url), soft_wrap=True)
    for check in found.checks:
        out.print(f"{_MARKS[check.status]}  [bold]{check.name}[/]: {plain(check.what)}", soft_wrap=True)
        if check.advice:
            out.print(f"         [dim]→ {plain(check.advice)}[/]", soft_wrap=True)
    counts = found.requests
    spent = f"{counts.put} PUT, {counts.get} GET, {counts.list} LIST"
    if found.url.startswith("s3:"):
        spent += f": ${found.dollars:.6f}"
    out.print(spent, style="dim", soft_wrap=True)


def _exit_code(found: Diagnosis, *, strict: bool) -> ExitCode:
    if found.status is CheckStatus.FAILED:
        store = found.checks[0]
        kind = store.details.get("kind") if store.status is CheckStatus.FAILED else None
        return _CODES.get(str(kind), ExitCode.ERROR)
    return ExitCode.ERROR if strict and found.status is CheckStatus.WARNING else ExitCode.OK
