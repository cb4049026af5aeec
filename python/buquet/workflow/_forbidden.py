"""What no body may call: everything whose outcome a replay could not repeat."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from buquet.errors import NotDeterministicError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_ASYNCIO = str(Path(asyncio.__file__).parent)

REFUSED = (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "remove_reader",
    "remove_signal_handler",
    "remove_writer",
    "run_forever",
    "run_in_executor",
    "run_until_complete",
    "sendfile",
    "set_debug",
    "set_default_executor",
    "set_exception_handler",
    "set_task_factory",
    "shutdown_default_executor",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "stop",
    "subprocess_exec",
    "subprocess_shell",
)
"""The methods of an event loop that a body's loop lacks."""


def refusal(call: str) -> NotDeterministicError:
    """Build the one error for all that a body may not call."""
    return NotDeterministicError(
        f"a workflow's body cannot call {call}: when the body is replayed, the outcome would be another; "
        "do it in a step, as in ctx.step(function, ...)"
    )


def refuse_all(kind: type) -> None:
    """Give a class of event loops a method for each call that is refused."""
    for name in REFUSED:
        setattr(kind, name, _refused(name))


def frame(depth: int) -> FrameType | None:
    """The frame of the caller's caller, ``depth`` 1, or of one further up."""
    return sys._getframe(depth + 1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as ``inspect`` does, for less


def _refused(name: str) -> Callable[..., NoReturn]:
    def method(_loop: object, *args: Any, **_options: Any) -> NoReturn:
        for coroutine in filter(asyncio.iscoroutine, args):
            coroutine.close()  # or it would complain that nobody awaited it
        raise refusal(_outermost(frame(1)) or f"loop.{name}")

    method.__name__ = name
    return method


def _outermost(caller: FrameType | None) -> str | None:
    """The function of asyncio that the body called, where that is what calls the loop."""
    name: str | None = None
    while caller is not None and caller.f_code.co_filename.startswith(_ASYNCIO):
        if not caller.f_code.co_name.startswith("_"):
            name = f"asyncio.{caller.f_code.co_name}"
        caller = caller.f_back
    return name


def called_by(caller: FrameType | None, *names: str) -> FrameType | None:
    """The frame of the first of these functions of asyncio among the callers, with only asyncio between."""
    while caller is not None and caller.f_code.co_filename.startswith(_ASYNCIO):
        if caller.f_code.co_qualname in names:
            return caller
        caller = caller.f_back
    return None
