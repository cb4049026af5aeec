"""A queue's stored objects, read and written past buquet: on SQLite as in a bucket."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.s3 import Bucket

PATIENCE = 30.0


class Objects(Protocol):
    """Objects by their keys, which begin with no prefix."""

    def keys(self, prefix: str = "") -> list[str]: ...
    def get(self, key: str) -> bytes: ...
    def put(self, key: str, body: bytes) -> None: ...
    def delete(self, key: str) -> None: ...


@dataclass(frozen=True)
class InBucket:
    """The objects of the queue at `queue/` in a bucket."""

    bucket: Bucket
    prefix: str = "queue/"

    def keys(self, prefix: str = "") -> list[str]:
        return [key.removeprefix(self.prefix) for key in self.bucket.keys(self.prefix + prefix)]

    def get(self, key: str) -> bytes:
        return self.bucket.get(self.prefix + key)

    def put(self, key: str, body: bytes) -> None:
        self.bucket.put(self.prefix + key, body)

    def delete(self, key: str) -> None:
        self.bucket.delete(self.prefix + key)


class InFile:
    """The objects in an embedded store's file, while others use it or not.

    They are reached from a process of their own: SQLite's locks belong to a process, and a second copy of SQLite in
    this one, as Python's is, would drop those of the engine's.
    """

    def __init__(self, path: Path) -> None:
        """Start the process."""
        self._path = path
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def keys(self, prefix: str = "") -> list[str]:
        keys: list[str] = self._do(_keys)
        return [key for key in keys if key.startswith(prefix)]

    def get(self, key: str) -> bytes:
        return bytes(self._do(_get, key))

    def put(self, key: str, body: bytes) -> None:
        self._do(_put, key, body)

    def delete(self, key: str) -> None:
        self._do(_delete, key)

    def grow_old(self, place: str, hours: float) -> None:
        """Let the objects whose keys hold `place` be that much older than they are."""
        self._do(_grow_old, place, hours)

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()

    def _do(self, work: Callable[..., Any], *arguments: object) -> Any:
        return self._process.submit(_do, self._path, work, *arguments).result(2 * PATIENCE)


def _do(path: Path, work: Callable[..., Any], *arguments: object) -> Any:
    """Do some work in one transaction."""
    with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        result = work(database, *arguments)
        database.execute("COMMIT")
    return result


def _keys(database: sqlite3.Connection) -> list[str]:
    return [str(row[0]) for row in database.execute("SELECT key FROM objects ORDER BY key")]


def _get(database: sqlite3.Connection, key: str) -> bytes:
    sql = "SELECT body FROM objects JOIN versions ON versions.id = objects.version WHERE objects.key = ?"
    return bytes(database.execute(sql, [key]).fetchone()[0])


def _put(database: sqlite3.Connection, key: str, body: bytes) -> None:
    (now,) = database.execute("SELECT latest FROM clock").fetchone()
    etag, kept = uuid4().hex, key.startswith("tasks/")
    insert = "INSERT INTO versions (key, kept, etag, modified, body) VALUES (?, ?, ?, ?, ?)"
    version = database.execute(insert, [key, kept, etag, now, body]).lastrowid
    if not kept:
        database.execute("DELETE FROM versions WHERE key = ? AND id <> ?", [key, version])
    replace = "INSERT OR REPLACE INTO objects (key, version, etag, modified, size) VALUES (?, ?, ?, ?, ?)"
    database.execute(replace, [key, version, etag, now, len(body)])


def _delete(database: sqlite3.Connection, key: str) -> None:
    database.execute("DELETE FROM objects WHERE key = ?", [key])
    if not key.startswith("tasks/"):
        database.execute("DELETE FROM versions WHERE key = ?", [key])


def _grow_old(database: sqlite3.Connection, place: str, hours: float) -> None:
    for table in ("objects", "versions"):
        sql = f"UPDATE {table} SET modified = modified - ? WHERE instr(key, ?)"  # noqa: S608 - from the line above
        database.execute(sql, [int(hours * 3_600_000), place])
