"""The app of large payloads that test workers run: `buquet worker tests.support.payload_tasks:app`.

Environment:
    PAYLOAD_CODECS  `none`, else what is stored is compressed and encrypted.
    PAYLOAD_FOLDER  where handlers put files.
    PAYLOAD_HALT    a path: once a result's payloads are stored, the worker makes it and goes no further.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buquet import Buquet, File
from buquet._vault import Parcel, Vault
from buquet.codecs import AesGcm, Zstd

if TYPE_CHECKING:
    from buquet._models import Payload

KEY = b"the key that nobody may see!!!!!"
KEY_ID = "2026-11"
SEALED: list[Any] = [Zstd(), AesGcm({KEY_ID: KEY}, primary=KEY_ID)]
CODECS: list[Any] = [] if os.environ.get("PAYLOAD_CODECS") == "none" else SEALED
HALT = os.environ.get("PAYLOAD_HALT")


def other(data: bytes) -> bytes:
    """Take bytes and give as many others: what their digest begins, incompressible."""
    return others(data)


def others(data: bytes) -> bytes:
    """Return the bytes that `other` makes of these."""
    return hashlib.shake_128(hashlib.sha256(data).digest()).digest(len(data))


def reverse(file: File) -> File:
    """Give the file with its pieces in reverse order, and never hold it."""
    folder = Path(os.environ["PAYLOAD_FOLDER"])
    target = folder / f"{os.getpid()}-{threading.get_ident()}"
    with target.open("wb") as out:
        for piece in file.pieces():
            out.write(piece[::-1])
    return File(target, name=f"reversed-{file.name}")


def fail(why: str) -> None:
    """Fail with these words."""
    raise ValueError(why)


def reversed_pieces(data: bytes) -> bytes:
    """Return the bytes that `reverse` makes of a file of these."""
    size = 512 * 1024
    return b"".join(data[start : start + size][::-1] for start in range(0, len(data), size))


class PayloadTasks:
    """The app with its tasks: a worker process has one, and each test that submits to it."""

    def __init__(self, url: str | None = None, codecs: list[Any] = CODECS) -> None:
        """Declare the tasks in a new app."""
        self.app = Buquet(url, codecs=codecs)
        self.other = self.app.task(timeout="5m")(other)
        self.other_in_process = self.app.task(timeout="5m", pool="process", name="other_in_process")(other)
        self.fail = self.app.task(retries=0)(fail)
        self.reverse = self.app.task(timeout="5m")(reverse)
        self.reverse_in_process = self.app.task(timeout="5m", pool="process", name="reverse_in_process")(reverse)


def halt_before_the_commit(mark: Path) -> None:
    """Let a worker stop where the payloads of a result are stored and its commit is not."""
    send = Vault.send

    def send_and_halt(self: Vault, parcel: Parcel, owner: str | None = None) -> list[Payload]:
        payloads = send(self, parcel, owner)
        if parcel.place.what == "result":
            mark.touch()
            threading.Event().wait()
        return payloads

    Vault.send = send_and_halt


if HALT is not None:
    halt_before_the_commit(Path(HALT))

app = PayloadTasks().app
