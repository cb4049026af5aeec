"""Processes that tests start: workers, producers, commands. They are stopped by process id, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.servers import CREDENTIALS
from tests.support.surroundings import plain

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started process and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        """What it has printed so far, both streams."""
        return self.log.read_text("utf-8", "replace")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> int:
        """Return the exit status, or fail with the output so far."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            message = f"still running after {seconds} s:\n{self.output()[-3000:]}"
            raise AssertionError(message) from None


@contextlib.contextmanager
def background(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], logs: Path | None = None
) -> Generator[Running]:
    """Run a command in the background until the block ends; its output goes to a file in `logs`, or in `cwd`."""
    handle, name = tempfile.mkstemp(prefix="output-", suffix=".log", dir=logs or cwd)
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield Running(process=process, log=Path(name))
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def clean_environment(**settings: str) -> dict[str, str]:
    """Return the environment without any buquet or AWS settings but these; this Python's commands come first."""
    kept = plain(os.environ)
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **CREDENTIALS, "PATH": path, "PYTHONUNBUFFERED": "1", **settings}
