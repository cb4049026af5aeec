"""Running a worker: in the background of a loop, on a thread of its own, under signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from buquet._forked import disown_signals, own_signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

_logger = logging.getLogger("buquet.worker")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

RunFrom: TypeAlias = "Callable[[Callable[[], None]], Awaitable[None]]"
"""Runs a worker to its end, and calls its argument once it has started."""


async def start(run_from: RunFrom) -> asyncio.Future[None]:
    """Start a worker in the background of the running loop; gives what ends with it."""
    started = asyncio.Event()
    running = asyncio.ensure_future(run_from(started.set))
    waiting = asyncio.ensure_future(started.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        running.cancel()
        await asyncio.wait({running})
        raise
    finally:
        waiting.cancel()
    if running.done():
        await running
    return running


class WorkerThread(threading.Thread):
    """The thread of ``with worker:``, with an event loop of its own."""

    def __init__(self, run_from: RunFrom) -> None:
        """Prepare to run a worker."""
        super().__init__(name="buquet-worker", daemon=True)
        self._run_from = run_from
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._given_up = False
        self._serving: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def run(self) -> None:
        """Run the worker; called by the thread."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        serving = asyncio.ensure_future(_whole(self._run_from(self._ready.set)))
        self._serving = asyncio.get_running_loop(), serving
        if self._given_up:
            serving.cancel()
        await serving

    def start_and_wait(self) -> None:
        """Start, and wait until tasks can be taken. Raises what the worker raised instead."""
        self.start()
        try:
            self._ready.wait()
        except BaseException:
            self._give_up()
            raise
        if self._error is not None:
            self.finish()

    def _give_up(self) -> None:
        """Stop a worker whose starter waits no more, and wait for its end."""
        self._given_up = True
        if self._serving is not None:
            loop, serving = self._serving
            with suppress(RuntimeError):  # the loop is closed: it has ended on its own
                loop.call_soon_threadsafe(serving.cancel)
        self.join()

    def finish(self) -> None:
        """Wait for the worker's end. Raises what it raised."""
        self.join()
        if self._error is not None:
            raise self._error


async def _whole(work: Awaitable[None]) -> None:
    """Make a coroutine of what can be awaited."""
    await work


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that end a worker well; SIGHUP is not one of them where it is ignored, as under nohup."""
    return tuple(n for n in _SIGNALS if n is not signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN)


@contextmanager
def signals(drain: Callable[[], None], stop: Callable[[], None], *, install: bool) -> Generator[None]:
    """Let the first SIGTERM, SIGHUP or Ctrl-C drain and the second stop; the third finds the old handlers again."""
    if not install or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = ending_signals()
    count = 0

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        disown_signals()

    def received() -> None:
        nonlocal count
        count += 1
        if count == 1:
            _logger.info("draining; a second signal stops at once")
            drain()
        else:
            _logger.info("stopping")
            stop()
            restore()

    own_signals({number: signal.getsignal(number) for number in numbers})
    for number in numbers:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        restore()
