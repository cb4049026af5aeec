"""A completion queue as one thread uses it: with calls that block."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from buquet._engine import Completion, ReportedError, completions
from buquet.errors import DecodeError, InternalError, from_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buquet._engine import CompletionQueue

_SLICE_MS = 100
"""How long a wait may keep Python from running signal handlers such as Ctrl-C's."""

DRAIN_LIMIT = 512
_A_LONG_TIME = 3600.0

_logger = logging.getLogger("buquet.engine")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}

_UNREADABLE = (msgspec.DecodeError, RecursionError)
_STRING_OR_MARK = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_TOKEN = re.compile(rb'\{\s*"token"\s*:\s*(\d+)')


class ThreadChannel:
    """Blocking calls of one thread."""

    def __init__(self, queue: CompletionQueue) -> None:
        """Take over ``queue``."""
        self._queue = queue
        self._tokens = itertools.count(1)
        self._expected: dict[int, Completion | None] = {}
        self._frozen = False

    def call(self, op: str, request: bytes) -> msgspec.Raw:
        """Run one operation; a signal handler may call again while this waits."""
        return unwrap(self._run([(op, request)])[0])

    def call_many(self, operations: Sequence[tuple[str, bytes]]) -> list[msgspec.Raw]:
        """Run operations side by side; once all are done, the first error in order is raised."""
        return [unwrap(completion) for completion in self._run(operations)]

    def _run(self, operations: Sequence[tuple[str, bytes]]) -> list[Completion]:
        tokens = list(itertools.islice(self._tokens, len(operations)))
        self._expected.update(dict.fromkeys(tokens))
        done: list[Completion] = []
        try:
            for token, (op, request) in zip(tokens, operations, strict=True):
                self._queue.submit(op, request, token)
            for token in tokens:
                while (completion := self._expected[token]) is None:
                    self._wait()
                done.append(completion)
        except BaseException:
            self._sleep_if_frozen()
            for token in tokens[len(done) :]:
                self._queue.cancel(token)
            raise
        finally:
            for token in tokens:
                del self._expected[token]
        self._sleep_if_frozen()
        return done

    def _wait(self) -> None:
        if not self._queue.wait(_SLICE_MS):
            return
        for completion in read_completions(self._queue.drain(DRAIN_LIMIT) or b"[]"):
            if completion.token in self._expected:
                self._expected[completion.token] = completion

    def _sleep_if_frozen(self) -> None:
        """At exit, a daemon thread must not die noisily of an engine that was closed under it."""
        while self._frozen and threading.current_thread() is not threading.main_thread():
            time.sleep(_A_LONG_TIME)

    def freeze(self) -> None:
        """Let a thread that waits here sleep until the process is gone."""
        self._frozen = True

    def close(self) -> None:
        """Free the queue; who still waits on it gets ``ClosedError``."""
        self._queue.close()


def read_completions(drained: bytes) -> list[Completion]:
    """Decode what a drain gave, and log what the engine tells besides.

    A completion that cannot be read fails alone: the others are gone from the queue.
    """
    try:
        arrived = completions.decode(drained)
    except _UNREADABLE:
        arrived = [completion for part in _split(drained) if (completion := _read_one(part)) is not None]
    for completion in arrived:
        for notice in completion.notices:
            _logger.log(_LEVELS.get(notice.level, logging.WARNING), "%s", notice.message)
    return arrived


def _read_one(raw: bytes) -> Completion | None:
    try:
        return completions.decode(b"[" + raw + b"]")[0]
    except _UNREADABLE as error:
        token = _TOKEN.match(raw)
        if token is None:
            return None
        return Completion(int(token[1]), error=ReportedError(DecodeError.code, f"the answer cannot be read: {error}"))


def _split(array: bytes) -> list[bytes]:
    """Cut an array into its elements without recursion, which is what deep nesting exhausts."""
    parts: list[bytes] = []
    depth, start = 0, 1
    for match in _STRING_OR_MARK.finditer(array):
        mark = match[0]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if (mark == b"," and depth == 1) or depth == 0:
            parts.append(array[start : match.start()].strip())
            start = match.end()
    return parts


def unwrap(completion: Completion) -> msgspec.Raw:
    """The answer of a completion, or its error raised."""
    if completion.error is not None:
        raise from_code(completion.error.code, completion.error.message)
    if not bytes(completion.ok):
        raise InternalError("the engine completed an operation with neither answer nor error")
    return completion.ok
