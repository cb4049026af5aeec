"""An HTTP proxy in front of an S3 server that injects faults and counts what reaches the server.

It runs an event loop on a thread of its own, so tests and worker processes may block as they like.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.messages import Message, read_head, read_message

if TYPE_CHECKING:
    from types import TracebackType

CONDITIONS = frozenset({"if-match", "if-none-match"})
ERRORS = {
    403: ("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}
PHRASES = {403: "Forbidden", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(kw_only=True)
class Faults:
    """What goes wrong, each as a share of the requests unless said otherwise.

    A share of 1/n means exactly one in each n requests, at a random place among them: how much a run meets is known.
    """

    answer_500: float = 0.0
    answer_503: float = 0.0
    answer_403: float = 0.0
    break_before: float = 0.0  # the connection breaks and the server sees nothing
    break_after: float = 0.0  # the server did it, but its answer is lost
    delay: float = 0.0
    delay_seconds: float = 0.05
    latency: dict[str, float] = field(default_factory=dict[str, float])  # seconds, by place: every request there
    drop_conditions: bool = False  # as stores do that ignore If-Match and If-None-Match


@dataclass(kw_only=True)
class Proxy:
    """A proxy in front of one server; use it in a `with` block."""

    target: str  # the server's URL
    faults: Faults = field(default_factory=Faults)
    seed: int = 0
    seen: Counter[str] = field(default_factory=Counter[str])  # requests the server got, by kind
    places: Counter[str] = field(default_factory=Counter[str])  # likewise, with the place: "put tasks"
    injected: Counter[str] = field(default_factory=Counter[str])  # faults, by kind
    port: int = 0

    def __post_init__(self) -> None:
        """Prepare the thread; nothing listens before the `with` block."""
        self._random = random.Random(self.seed)  # noqa: S311 - the same faults for the same seed
        self._decks: dict[str, list[bool]] = {}
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """The endpoint to give to clients."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Listen on a free loopback port."""
        self._thread.start()
        if not self._listening.wait(60):
            raise RuntimeError("the proxy does not listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Break what is open and stop."""
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self._listening.set()
        await self._stop.wait()
        server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client connection until it ends or a fault breaks it."""
        try:
            while (request := await read_message(reader, writer)) is not None:
                answer = await self._answer(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away, as killed workers do
        except asyncio.CancelledError:
            pass  # the proxy ends, and nobody waits for this task
        finally:
            # Aborted, not closed: a broken connection has no polite end, and no answer is half-written here.
            writer.transport.abort()

    async def _answer(self, request: Message) -> bytes | None:
        """Return the answer's bytes, or None where the connection is to break."""
        faults = self.faults
        if latency := faults.latency.get(request_place(request)):
            await asyncio.sleep(latency)
        if self._draw(faults.delay, "delay"):
            await asyncio.sleep(faults.delay_seconds * self._random.random() * 2)
        for status, share in ((403, faults.answer_403), (500, faults.answer_500), (503, faults.answer_503)):
            if self._draw(share, str(status)):
                return error_answer(status)
        if self._draw(faults.break_before, "break_before"):
            return None
        if faults.drop_conditions:
            request = request.without(CONDITIONS)
        answer = await self._forward(request)
        if self._draw(faults.break_after, "break_after"):
            return None
        return answer

    def _draw(self, share: float, name: str) -> bool:
        if share <= 0:
            return False
        deck = self._decks.setdefault(name, [])
        if not deck:
            deck += [True] + [False] * (round(1 / share) - 1)
            self._random.shuffle(deck)
        drawn = deck.pop()
        self.injected[name] += drawn
        return drawn

    async def _forward(self, request: Message) -> bytes | None:
        """Send the request on a connection of its own and return the whole answer."""
        address = urlsplit(self.target)
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
        except OSError:
            return None  # the server is down: the client sees a broken connection
        try:
            writer.write(request.with_header("Connection", "close").encode())
            await writer.drain()
            head = await read_head(reader)
            if head is None:
                return None
            body = await reader.read(-1)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        kind = "not_modified" if head.status == 304 else request_kind(request)
        self.seen[kind] += 1
        self.places[f"{kind} {request_place(request)}"] += 1
        # The client's connection stays open, so the answer needs a length of its own.
        framed = head.without(frozenset({"connection"}))
        if not head.has("transfer-encoding") and not head.has("content-length") and head.status not in {204, 304}:
            framed = framed.with_header("Content-Length", str(len(body)))
        return framed.with_body(body).encode()


def request_kind(request: Message) -> str:
    """Return the kind of request as S3 bills it: put, get, list, delete, head, or other."""
    path, _, query = request.target.partition("?")
    options = {option.partition("=")[0] for option in query.split("&")}
    has_key = bool(path.strip("/").partition("/")[2])
    if has_key:
        return {"PUT": "put", "GET": "get", "DELETE": "delete", "HEAD": "head"}.get(request.method, "other")
    if request.method == "GET" and options & {"list-type", "versions", "prefix"}:
        return "list"
    if request.method == "POST" and "delete" in options:
        return "delete"
    return "other"


def request_place(request: Message) -> str:
    """Return the key's first part within a queue whose prefix has one part: `tasks`, `bell.json`."""
    path, _, query = request.target.partition("?")
    key = unquote(path).lstrip("/").partition("/")[2] or parse_qs(query).get("prefix", [""])[0]
    return key.partition("/")[2].partition("/")[0]


def error_answer(status: int) -> bytes:
    """Return an S3 error answer."""
    code, text = ERRORS[status]
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'
    first = f"HTTP/1.1 {status} {PHRASES[status]}"
    headers = (("Content-Type", "application/xml"), ("Content-Length", str(len(body))))
    return Message(first=first, headers=headers, body=body.encode()).encode()
