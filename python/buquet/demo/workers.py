"""The demo's worker processes: started, watched, stopped, and asked what they spent."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Self

import msgspec

from buquet._models import Usage
from buquet.cli._supervised import Supervised, environment
from buquet.errors import BuquetError

if TYPE_CHECKING:
    from types import TracebackType

STOP_SECONDS = 30


class WorkerSummary(msgspec.Struct):
    """The last words of ``buquet worker --json``."""

    worker: str | None
    attempts: int
    usage: Usage


class WorkerProcesses:
    """Worker processes for the length of a ``with`` block."""

    def __init__(self, url: str | None, count: int) -> None:
        """Describe ``count`` workers of the demo's app on ``url``, or where this process finds its queue."""
        self._command = [
            *(sys.executable, "-m", "buquet", "worker", "buquet.demo:app"),
            *("--concurrency", "4", "--log-level", "warning", "--json"),
        ]
        self._environment = environment(Supervised(url=url, processes=count))
        self._count = count
        self._running: list[subprocess.Popen[bytes]] = []
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        """Start them."""
        for _ in range(self._count):
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=self._environment,
                start_new_session=True,
            )
            self._running.append(process)
        return self

    def check(self) -> None:
        """Make sure that they still run.

        :raises BuquetError: one does not; the message has its last words.
        """
        for process in self._running:
            if process.poll() is not None:
                raise BuquetError(f"a worker ended with status {process.returncode}:\n{self._last_words()}")

    def stop(self) -> list[WorkerSummary]:
        """Let them drain, and collect what they did and spent."""
        running, self._running = self._running, []
        for process in running:
            process.terminate()
        summaries: list[WorkerSummary] = []
        for process in running:
            try:
                output, _ = process.communicate(timeout=STOP_SECONDS)
                summaries.append(msgspec.json.decode(output, type=WorkerSummary))
            except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
                process.kill()
                process.wait()
                raise BuquetError(f"a worker did not sign off ({error}):\n{self._last_words()}") from error
        return summaries

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End what still runs."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in self._running:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace")
