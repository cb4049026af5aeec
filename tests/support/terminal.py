"""Commands that are run in a terminal, as a person does."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WITHIN = 120.0


def in_terminal(command: Sequence[str | Path], *, env: Mapping[str, str], typed: str = "") -> tuple[int, str]:
    """Run a command, type something, and return its exit status and all that the terminal has shown."""
    screen, terminal = pty.openpty()
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=terminal, stdout=terminal, stderr=terminal)
    finally:
        os.close(terminal)
    try:
        os.write(screen, typed.encode())
        shown = b"".join(iter(lambda: _read(screen), b""))
        return process.wait(WITHIN), shown.decode("utf-8", "replace").replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65_536)
    except OSError:  # what Linux says once nobody has the terminal open any more
        return b""
