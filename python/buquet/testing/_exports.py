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


class _Run(msgspec.Struct):
    id: str
    workflow: str
    status: str
    version: str | None = None
    generation: int | str = 1
    execution: int = 1
    patches: dict[str, bool] = {}
    deadline: int | None = None
    parent: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    output: msgspec.Raw | UnsetType = UNSET
    submitted_at: datetime | None = None


class _Export(msgspec.Struct):
    run: _Run
    entries: msgspec.Raw


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
    entries = read_entries(export.entries)
    start = Start(
        id=run.id,
        at=_started(entries, run.submitted_at),
        input=run.input,
        entries=entries,
        patches=run.patches,
        version=run.version,
        generation=run.generation,
        execution=run.execution,
        deadline=run.deadline,
        parent=run.parent,
    )
    output = None if run.output is UNSET else msgspec.json.decode(run.output)
    return RecordedRun(source=source, workflow=run.workflow, status=run.status, start=start, output=output)


def _started(entries: list[Entry], submitted_at: datetime | None) -> int:
    """When this execution was started: its first asks have that time."""
    first = entries[0] if entries else None
    if isinstance(first, Ask) and isinstance(first.at, int):
        return first.at
    return 0 if submitted_at is None else round(submitted_at.timestamp() * 1000)
