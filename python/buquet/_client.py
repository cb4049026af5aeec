"""One lazily opened engine, called from any thread and any event loop.

Each thread and each running loop gets a completion queue of its own, freed when the
thread or loop ends. A forked child forgets what it inherited and opens its own.

A signal handler may come in between two lines of the first call and make a call itself.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import sys
import threading
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from buquet._channels import ThreadChannel
from buquet._checks import no_text
from buquet._forking import whole
from buquet._in_thread import run_at_once
from buquet._lazy import lazy
from buquet._loop_channel import LoopChannel, get_running_loop
from buquet._native import open_engine
from buquet.codecs import check_codecs
from buquet.errors import BuquetError, ClosedError, DecodeError, InvalidError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from buquet._address import Config
    from buquet._chain import Chain
    from buquet._engine import Engine, EngineOpener
    from buquet._vault import Vault
    from buquet.codecs import Codec

    Check: TypeAlias = Generator["Call[Any, Any]", Any, None]
    """Asks for one operation after the other, and raises what it finds wrong."""

A = TypeVar("A")
T = TypeVar("T")
U = TypeVar("U")

CLOSE_TIMEOUT_MS = 5_000
_EXIT_TIMEOUT_MS = 1_000
_SIDE_BY_SIDE = 1_000
"""Most operations of one ``call_many`` in flight."""


@cache
def _decoder(kind: type[A]) -> msgspec.json.Decoder[A]:
    return msgspec.json.Decoder(kind)


class Call(Generic[A, T]):
    """One operation: what is sent, what comes back, and what the caller gets from it."""

    __slots__ = ("answer", "check", "finish", "op", "request")

    def __init__(self, op: str, request: Any, answer: type[A], finish: Callable[[A], T]) -> None:
        """Describe the operation ``op``.

        :raises InvalidError: a text in the request has no UTF-8, such as a file's name that is not text.
        """
        self.op = op
        try:
            self.request: bytes = msgspec.json.encode(request)
        except UnicodeEncodeError as error:
            raise no_text(error) from None
        self.answer = answer
        self.finish = finish
        self.check: Callable[[Chain, A], Check] | None = None
        """Where there are codecs: what else to ask before the answer is believed. The answer is checked, not what the
        caller gets."""

    def then(self, further: Callable[[T], U]) -> Call[A, U]:
        """The same operation, of whose outcome the caller gets something else."""
        finish = self.finish
        other: Any = copy.copy(self)
        other.finish = lambda answer: further(finish(answer))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        return other

    def read(self, raw: msgspec.Raw) -> T:
        """Decode the engine's answer to what the caller gets.

        :raises DecodeError: it holds JSON that Python cannot read, such as a number out of range.
        """
        return self.finish(self.decode(raw))

    def decode(self, raw: msgspec.Raw) -> A:
        """Decode the engine's answer.

        :raises DecodeError: it holds JSON that Python cannot read, such as a number out of range.
        """
        try:
            return _decoder(self.answer).decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise DecodeError(f"the answer to {self.op!r} cannot be read: {error}") from error


class Client:
    """The connection behind a ``Queue`` or a ``Buquet``."""

    def __init__(
        self,
        config: Config,
        opener: EngineOpener = open_engine,
        codecs: Iterable[Codec] = (),
        *,
        reopens: bool = False,
    ) -> None:
        """Remember the configuration, and where relative paths begin. Nothing is opened before the first call.

        :param reopens: whether a call after ``close`` opens the engine again, or is refused.
        """
        self.config = config.here()
        self.codecs = check_codecs(codecs) if codecs else ()
        self._opener = opener
        self._reopens = reopens
        self._forget()
        _clients.add(self)

    def _forget(self) -> None:
        """Start from nothing: at first, and in a forked child."""
        self._opened: dict[str, Engine] = {}
        self._refusal: str | None = None
        """Why nothing is opened any more."""
        self._thread = threading.local()
        self._threads: weakref.WeakSet[ThreadChannel] = weakref.WeakSet()
        self._loops: weakref.WeakKeyDictionary[AbstractEventLoop, LoopChannel] = weakref.WeakKeyDictionary()

    def reconfigure(self, config: Config) -> None:
        """Point to another queue, as long as none was opened.

        :raises InvalidError: too late.
        """
        with whole:
            if self._opened:
                raise InvalidError("this app is connected already; set the URL before its first use")
            self.config = config

    def refuse_to_open(self, why: str) -> None:
        """Answer calls with an error, as long as no engine was opened."""

        def refuse(_: bytes) -> Engine:
            raise InvalidError(why)

        self._opener = refuse

    def call(self, call: Call[Any, T]) -> T:
        """Run an operation and block this thread until it is done. Ctrl-C interrupts."""
        return self._answer(call, self._channel().call(call.op, call.request))

    def call_many(self, calls: Sequence[Call[Any, T]]) -> list[T]:
        """Run operations side by side and block until all are done; then the first error in order is raised.

        Of very many some are begun later, and not at all once one has failed.
        """
        answers: list[T] = []
        for part in _side_by_side(calls):
            raws = self._channel().call_many([(call.op, call.request) for call in part])
            answers += [self._answer(call, raw) for call, raw in zip(part, raws, strict=True)]
        return answers

    def _answer(self, call: Call[Any, T], raw: msgspec.Raw) -> T:
        if self.codecs and call.check is not None:
            self.ask(call.check(self.vault.chain, call.decode(raw)))
        return self._plain(call.read(raw))

    def ask(self, check: Check) -> None:
        """Run the operations that a check asks for, and raise what it finds wrong. Blocks."""
        with contextlib.suppress(StopIteration):
            question = next(check)
            while True:
                try:
                    answer = self.call(question)
                except BuquetError as error:
                    question = check.throw(error)
                else:
                    question = check.send(answer)

    async def ask_async(self, check: Check) -> None:
        """Like ``ask``, on the running loop."""
        with contextlib.suppress(StopIteration):
            question = next(check)
            while True:
                try:
                    answer = await self.call_async(question)
                except BuquetError as error:
                    question = check.throw(error)
                else:
                    question = check.send(answer)

    def _channel(self) -> ThreadChannel:
        channel: ThreadChannel | None = getattr(self._thread, "channel", None)
        if channel is None:
            with whole:
                thread, threads = self._thread, self._threads
                channel = ThreadChannel(self._open().open_queue())
                threads.add(channel)
                thread.channel = channel
        return channel

    async def call_async(self, call: Call[Any, T]) -> T:
        """Run an operation on the running loop. Cancelling the await cancels the operation."""
        loop = get_running_loop()
        channel = self._loops.get(loop)
        if channel is None:
            with whole:
                self._drop_closed_loops()
                loops = self._loops
                channel = LoopChannel(self._open().open_queue(), loop)
                loops[loop] = channel
        raw = await channel.call(call.op, call.request)
        if self.codecs and call.check is not None:
            await self.ask_async(call.check(self.vault.chain, call.decode(raw)))
        return self._plain(call.read(raw))

    async def call_many_async(self, calls: Sequence[Call[Any, T]]) -> list[T]:
        """Like ``call_many``, on the running loop."""
        from asyncio import gather  # noqa: PLC0415 - programs without async code do not pay for it

        answers: list[T] = []
        for part in _side_by_side(calls):
            for answer in await gather(*map(self.call_async, part), return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer
                answers.append(answer)
        return answers

    @lazy
    def vault(self) -> Vault:
        """What values pass through on their way to the store and back."""
        from buquet._chain import Chain  # noqa: PLC0415 - it needs this module
        from buquet._vault import Vault  # noqa: PLC0415

        return Vault(self, Chain(self.codecs))

    @property
    def keeps_secrets(self) -> bool:
        """Whether there are codecs that may hide what passes through them."""
        return bool(self.codecs) and bool(self.vault.chain.hiding)

    def _plain(self, answer: T) -> T:
        if not self.codecs:
            return answer
        from buquet._reveal import reveal  # noqa: PLC0415 - only for those who use codecs

        return reveal(self.vault.chain, answer)

    def close(self) -> None:
        """Close the engine; what still runs gets a few seconds to end, and then ``ClosedError``. Twice is harmless."""
        engine = self._detach()
        if engine is not None:
            engine.close(CLOSE_TIMEOUT_MS)

    async def close_async(self) -> None:
        """Close the engine without blocking the loop."""
        engine = self._detach()
        if engine is not None:
            await run_at_once(lambda: engine.close(CLOSE_TIMEOUT_MS), "buquet-close")

    def close_behind(self) -> None:
        """Close the engine and wait for nothing, as befits a call that failed or was given up."""
        engine = self._detach()
        if engine is not None:
            threading.Thread(target=engine.close, args=(0,), name="buquet-close", daemon=True).start()

    def __del__(self) -> None:
        """Close what nobody closed; loops would keep it otherwise.

        That takes a round trip if the workers are still to be woken for what was submitted, and no other time.
        """
        # No lock, and no thread: this may come in between anything. Nobody else has the connection.
        engine = _close_channels(self._take_apart())
        if engine is not None:
            engine.close(0)

    def _detach(self) -> Engine | None:
        with whole:
            parts = self._take_apart()
        return _close_channels(parts)

    def _take_apart(self) -> tuple[Engine | None, list[ThreadChannel | LoopChannel]]:
        if not self._reopens:
            self._refusal = "this queue was closed; open a new one"
        engine = self._opened.pop("engine", None)
        channels = [*self._threads, *self._loops.values()]
        self._threads, self._loops = weakref.WeakSet(), weakref.WeakKeyDictionary()
        self._thread = threading.local()
        return engine, channels

    def _open(self) -> Engine:
        if self._refusal is not None:
            raise ClosedError(self._refusal)
        engine = self._opened.get("engine")
        if engine is None:
            fresh = self._opener(msgspec.json.encode(self.config))
            _close_at_the_end_of_a_child()
            # A signal handler may have opened one meanwhile: there is to be one only.
            engine = self._opened.setdefault("engine", fresh)
            if engine is not fresh:
                fresh.close(0)
        return engine

    def _drop_closed_loops(self) -> None:
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            self._loops.pop(loop).close()

    def _exit(self) -> None:
        """Close the engine at interpreter exit, and leave daemon threads asleep."""
        self._refusal = "Python is about to exit, and this queue was closed; submit before that"
        for channel in [*self._threads, *self._loops.values()]:
            channel.freeze()
        engine = self._opened.pop("engine", None)
        if engine is not None:
            engine.close(_EXIT_TIMEOUT_MS)


def _close_channels(parts: tuple[Engine | None, list[ThreadChannel | LoopChannel]]) -> Engine | None:
    engine, channels = parts
    for channel in channels:
        channel.close()
    return engine


def _side_by_side(calls: Sequence[Call[Any, T]]) -> Iterator[Sequence[Call[Any, T]]]:
    for start in range(0, len(calls), _SIDE_BY_SIDE):
        yield calls[start : start + _SIDE_BY_SIDE]


_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_registered: set[int] = set()
"""This process, if it is a child that closes its engines by ``_close_at_the_end_of_a_child``."""


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._forget()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _at_exit() -> None:
    for client in list(_clients):
        client._exit()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _close_at_the_end_of_a_child() -> None:
    """Close the engines at the end of a process that multiprocessing forked: it may end without atexit.

    Such a child forgets what its parent registered, so each registers for itself, when it opens an engine.
    """
    processes: Any = sys.modules.get("multiprocessing.process")
    if processes is None or processes.parent_process() is None or os.getpid() in _registered:
        return
    from multiprocessing.util import Finalize  # noqa: PLC0415 - only for such children, where it is loaded already

    _registered.add(os.getpid())
    Finalize(None, _at_exit, exitpriority=0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
