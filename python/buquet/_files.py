"""Files, as arguments and results of tasks."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from buquet._allocator import joined
from buquet._chain import FRAME
from buquet._in_thread import run_in_thread
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stored(Protocol):
    """A payload in the store, as a file reads it."""

    def pieces(self) -> Iterator[bytes]:
        """Give the content, piece by piece."""
        ...


class File:
    """A file that travels with a task: as an argument, a result, or inside of one.

    Give one with a path, and it is stored piece by piece, through the codecs, and never held whole. A handler gets
    one that it can read, in the same way. Files of up to 5 GiB.

    :param path: the file to be stored. It is read when the task is submitted, or when the handler has returned; of many
        that are submitted at once, each is looked for before the first is stored.
    :param name: what the receiver knows it by (default: the last part of the path).

    Example::

        import buquet
        from buquet import File

        source = File(buquet.__file__, name="init.py")  # an argument of a task, say
        with source.open() as lines:
            print(source.name, next(lines))
    """

    __slots__ = ("_path", "_stored", "name", "size")

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Name a file; nothing is read yet.

        :raises InvalidError: ``path`` is no path, such as an open file, or ``name`` no text.
        """
        self._path: Path | None = _path(path, "File takes")
        self._stored: Stored | None = None
        if not isinstance(cast("object", name), str | None):
            raise InvalidError(f"name={name!r} must be text")
        self.name = self._path.name if name is None else name
        self.size: int | None = None
        """Its length in bytes, of one that was stored; None if what was stored had no length, such as a pipe."""

    @classmethod
    def from_store(cls, stored: Stored, name: str, size: int | None) -> File:
        """Give the file that a payload holds; buquet does this."""
        file = cls(name or "file")
        file._path, file._stored, file.size = None, stored, size
        return file

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine, and not one that was stored."""
        return self._path is not None

    def __repr__(self) -> str:
        """Show the name."""
        return f"<File {self.name!r}>" if self._path is None else f"File({str(self._path)!r})"

    def open(self) -> BinaryIO:
        """Open it for reading from its start.

        Of one that was stored, pieces are fetched as they are read. That everything is there and nothing was
        changed is certain once the end was read without an error. Blocks; in async code use ``read_async`` or
        ``save_async``.

        :raises CorruptError: a piece is gone or was changed; raised by the ``read`` that meets it.
        :raises CodecError: it does not decrypt, or a codec or key is missing; likewise.
        """
        if self._path is not None:
            try:
                return self._path.open("rb")
            except OSError as error:
                raise _unreadable(self._path, error) from error
        return io.BufferedReader(_Pieces(self.pieces()), FRAME)

    def pieces(self) -> Iterator[bytes]:
        """Give the content piece by piece, each of up to 512 KiB."""
        if self._stored is not None:
            yield from self._stored.pieces()
            return
        with self.open() as source:
            while piece := source.read(FRAME):
                yield piece

    def read(self) -> bytes:
        """Read all of it, checked to its end."""
        return joined(self.pieces())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to ``path``, piece by piece; there is a file only if all of it was there and unchanged.

        :raises InvalidError: ``path`` is none, or that of a directory.
        :raises OSError: there is no such folder, or it cannot be written to.
        """
        target = _path(path, "save() takes")
        if not target.name or target.is_dir():
            raise InvalidError(
                f"{str(target)!r} is a directory; give the path of a file, such as {str(target / self.name)!r}"
            )
        # Nobody else writes to it, and its name is short however long the other is.
        part = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            out = part.open("xb")
        except OSError as error:
            error.filename = str(target)  # which is what the caller knows
            raise
        try:
            with out:
                for piece in self.pieces():
                    out.write(piece)
            shutil.move(part, target)
        finally:
            part.unlink(missing_ok=True)
        return target

    async def read_async(self) -> bytes:
        """Like ``read``, for async code."""
        return await _in_thread(self.read)

    async def save_async(self, path: str | os.PathLike[str]) -> Path:
        """Like ``save``, for async code."""
        return await _in_thread(lambda: self.save(path))


def _path(path: object, what: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InvalidError(
            f"{what} the path of a file, not {type(path).__name__}; what is in memory goes as bytes, without a File"
        )
    return Path(cast("str | os.PathLike[str]", path))


def length_of(file: File) -> int | None:
    """How many bytes a file has now; None for what has no length, such as a pipe.

    :raises InvalidError: there is no such file, or it cannot be read.
    """
    path = file._path  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of the class above; no user needs it
    if path is None:
        return file.size
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return None
    with file.open() as source:
        # Those of /proc and of some file systems say that they are empty, and are not.
        return None if found.st_size == 0 and source.read(1) else found.st_size


def _unreadable(path: Path, error: OSError) -> InvalidError:
    return InvalidError(f"cannot read the file {str(path)!r}: {error.strerror}")


async def _in_thread(function: Any) -> Any:
    return await run_in_thread(function, "buquet-file")


class _Pieces(io.RawIOBase):
    """An iterator of pieces, to be read as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
