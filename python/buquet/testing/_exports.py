"""Exported journals: what ``buquet workflow history --json`` writes of a run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from buquet.errors import InvalidError
from buquet.workflow._core import Start
from buquet.workflow._entries import Ask, Entry, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class _Journal(msgspec.Struct):
    entries: msgspec.Raw = msgspec.Raw(b"[]")
    chunks: list[dict[str, Any]] = []


class _Run(msgspec.Struct):
    status: str
    id: str = ""
    workflow: str = ""
    name: str = ""
    version: str | None = None
    generation: int | str = 1
    execution: int = 1
    patches: dict[str, bool] = {}
    deadline: int | str | None = None
    parent: Any = None
    input: msgspec.Raw | UnsetType = UNSET
    output: msgspec.Raw | UnsetType = UNSET
    submitted_at: datetime | None = None
    journal: _Journal = msgspec.field(default_factory=_Journal)


class _Export(msgspec.Struct):
    """The answer of ``workflow.history``; or a driver's task as it is stored, with its journal in ``run``."""

    run: _Run
    entries: msgspec.Raw | UnsetType = UNSET
    id: str = ""
    input: msgspec.Raw | UnsetType = UNSET
    output: msgspec.Raw | UnsetType = UNSET
    submitted_at: datetime | None = None


class RecordedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it was exported."""

    source: str
    """The file it was read from."""
    workflow: str
    status: str
    start: Start
    output: Any = None
    """Of a completed run, its result as JSON."""


def read_runs(journals: str | Path | Mapping[str, Any] | Iterable[Any]) -> Iterator[RecordedRun]:
    """Read exported runs.

    :param journals: a file with a run, a list of them, or one in each line; a folder, whose ``*.json`` and ``*.jsonl``
        are read; a run that is decoded already; or several of these.
    :raises InvalidError: there is no such file, or it is no export; it says which one.
    """
    if isinstance(journals, str | Path):
        yield from _read_path(Path(journals))
    elif isinstance(journals, dict):
        yield _read(msgspec.json.encode(journals), "a run given as it is")
    else:
        for each in journals:
            yield from read_runs(each)


def _read_path(path: Path) -> Iterator[RecordedRun]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in {".json", ".jsonl"})
        if not files:
            raise InvalidError(
                f"there is no *.json or *.jsonl in {path}; write some with buquet workflow history --json"
            )
        for file in files:
            yield from _read_path(file)
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidError(f"the journals in {path} cannot be read: {error}") from error
    for number, raw in enumerate(_parts(content, path), 1):
        yield _read(raw, f"{path}, run {number}" if number > 1 else str(path))


def _parts(content: bytes, path: Path) -> Iterator[bytes | msgspec.Raw]:
    try:
        if content.lstrip().startswith(b"["):
            yield from msgspec.json.decode(content, type=list[msgspec.Raw])
        elif path.suffix == ".jsonl":
            yield from (line for line in content.splitlines() if line.strip())
        else:
            yield content
    except msgspec.DecodeError as error:
        raise InvalidError(f"{path} is no JSON: {error}") from error


def _read(raw: bytes | msgspec.Raw, source: str) -> RecordedRun:
    try:
        export = msgspec.json.decode(raw, type=_Export)
    except msgspec.DecodeError as error:
        raise InvalidError(
            f"{source} is no exported run: {error}; write one with buquet workflow history ID --json"
        ) from error
    run = export.run
    run_id, workflow = run.id or export.id, run.workflow or run.name
    if not run_id or not workflow:
        raise InvalidError(
            f"{source} is no exported run: it lacks {'an id' if workflow else 'the name of its workflow'}"
        )
    if run.journal.chunks:
        raise InvalidError(
            f"{source} lacks {len(run.journal.chunks)} parts of its journal, which are objects of their own; "
            "buquet workflow history ID --json has all of it"
        )
    entries = read_entries(run.journal.entries if export.entries is UNSET else export.entries)
    given = export.input if run.input is UNSET else run.input
    start = Start(
        id=run_id,
        at=_started(entries, run.submitted_at or export.submitted_at),
        input=msgspec.Raw(b"null") if given is UNSET else given,
        entries=entries,
        patches=run.patches,
        version=run.version,
        generation=run.generation,
        execution=run.execution,
        deadline=run.deadline if isinstance(run.deadline, int) else None,
        parent=run.parent if isinstance(run.parent, str) else None,
    )
    output = export.output if run.output is UNSET else run.output
    return RecordedRun(
        source=source,
        workflow=workflow,
        status=run.status,
        start=start,
        output=None if output is UNSET else msgspec.json.decode(output),
    )


def _started(entries: list[Entry], submitted_at: datetime | None) -> int:
    """When this execution was started: its first asks have that time."""
    first = entries[0] if entries else None
    if isinstance(first, Ask) and isinstance(first.at, int):
        return first.at
    return 0 if submitted_at is None else round(submitted_at.timestamp() * 1000)
