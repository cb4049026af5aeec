"""Several worker processes under one: started again when they crash, stopped together."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

from buquet._background import ending_signals
from buquet.cli._output import ExitCode
from buquet.cli._supervised import Supervised, environment

_logger = logging.getLogger("buquet.cli")
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_LIVED_WELL = 60.0
_KILL_AT = 3
_GIVE_UP = (ExitCode.USAGE, ExitCode.DENIED)


class _Supervisor:
    def __init__(self, command: Sequence[str], supervised: Supervised) -> None:
        self._command = command
        self._environment = environment(supervised)
        self._running: set[asyncio.subprocess.Process] = set()
        self._signals = 0
        self.ending = asyncio.Event()

    def received(self) -> None:
        """Pass a signal on: the first drains, the second stops, the third kills."""
        self._signals += 1
        self.ending.set()
        for process in self._running:
            self._signal(process)

    def _signal(self, process: asyncio.subprocess.Process) -> None:
        send_signal(process, signal.SIGKILL if self._signals >= _KILL_AT else signal.SIGTERM)

    async def keep_one(self) -> int:
        """Run one process, again after each crash; gives the exit code that ended it for good."""
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        while True:
            started = loop.time()
            code = await self._run_once()
            if self.ending.is_set() or code == ExitCode.OK or code in _GIVE_UP:
                if code in _GIVE_UP:
                    self.received()
                return code
            if loop.time() - started > _LIVED_WELL:
                pause = _FIRST_PAUSE
            _logger.error("a worker process ended with status %d; starting another in %.3g s", code, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), pause)
                return code
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _run_once(self) -> int:
        try:
            process = await self._start()
        except OSError as error:  # no memory or no number for a process, which may pass
            _logger.error("a worker process cannot be started: %s", error)  # noqa: TRY400 - where from is of no use
            return ExitCode.ERROR
        self._running.add(process)
        if self.ending.is_set():  # the signal came while the process was started
            self._signal(process)
        try:
            code = await process.wait()
            # Before the process can handle it, the signal that should end it does.
            return ExitCode.OK if self.ending.is_set() and code == -signal.SIGTERM else code
        finally:
            self._running.discard(process)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "buquet",
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            env=self._environment,
            # Ctrl-C reaches a terminal's whole process group; it is this process that passes it on.
            start_new_session=True,
        )


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a process that may be ending.

    asyncio's own ``send_signal`` looks first whether it has. Before Python 3.13 that look takes the exit code, and
    whoever waits for the process is told 255.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def supervise(command: Sequence[str], supervised: Supervised) -> int:
    """Keep processes of ``buquet COMMAND`` running until told to stop; gives the exit code."""
    loop, supervisor = asyncio.get_running_loop(), _Supervisor(command, supervised)
    for number in ending_signals():
        loop.add_signal_handler(number, supervisor.received)
    codes = await asyncio.gather(*(supervisor.keep_one() for _ in range(supervised.processes)))
    return max(code if code >= 0 else ExitCode.ERROR for code in codes)  # below 0 is the signal that killed it
