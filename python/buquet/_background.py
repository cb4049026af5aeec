"""Running a worker: in the background of a loop, on a thread of its own, under signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from buquet._forked import disown_signals, own_signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

_logger = logging.getLogger("buquet.worker")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_KILL_AT = 3
"""Which signal ends the process, whatever it is at."""
_GRACE = 5.0
"""Seconds that asyncio tasks have to end once they are cancelled."""

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
            run_to_end(self._serve())
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


def run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Do as ``asyncio.run``, and wait for nothing that does not end: a task that ignores its cancellation, say."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(main)
    try:
        loop.run_until_complete(task)
    finally:
        if not task.done():  # interrupted
            task.cancel()
            loop.run_until_complete(asyncio.wait({task}))
        _leave_rest(loop)
        loop.close()


def _leave_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on a loop, and give up what does not end by that."""
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    closing = loop.create_task(loop.shutdown_asyncgens())
    _, deaf = loop.run_until_complete(asyncio.wait({closing, *rest}, timeout=_GRACE))
    if deaf:
        _logger.warning("%d asyncio task(s) that handlers have left behind ignore their cancellation", len(deaf))
        loop.set_exception_handler(_say_nothing)  # of what this loop would complain later


def _say_nothing(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    """Handle what an event loop complains of."""


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that end a worker well; SIGHUP is not one of them where it is ignored, as under nohup."""
    return tuple(n for n in _SIGNALS if n is not signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN)


@contextmanager
def signals(
    drain: Callable[[], None], stop: Callable[[], None], told: Callable[[], None] = lambda: None
) -> Generator[None]:
    """Let the first SIGTERM, SIGHUP or Ctrl-C drain and the second stop; the third finds the old handlers again.

    :param told: called at the first, also if something blocks the loop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = ending_signals()
    count = arrived = 0

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

    def noticed(number: int, _: object) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 1:
            told()
        elif arrived == _KILL_AT:
            disown_signals()
            os.kill(os.getpid(), number)

    own_signals({number: signal.getsignal(number) for number in numbers})
    for number in numbers:
        loop.add_signal_handler(number, received)
        # The loop is woken all the same. This one is called even while a handler blocks it.
        signal.signal(number, noticed)
    try:
        yield
    finally:
        restore()
