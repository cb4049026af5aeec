"""Waiting for a task, and saying why it has not been started."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from buquet import _ops
from buquet._client import Call, Client
from buquet._durations import seconds
from buquet.cli._output import err, plain, shared
from buquet.errors import UnavailableError, WaitTimeoutError

if TYPE_CHECKING:
    from buquet._models import Task

_PATIENCE = 3.0
"""Seconds of waiting before somebody at a terminal is told what it waits for."""


class _Explained(msgspec.Struct):
    reason: str | None = None


def reason_why(task_id: str) -> Call[_Explained, str | None]:
    """Say why a task has not been started; None if nothing keeps it."""
    return Call("explain", {"id": task_id}, _Explained, lambda answer: answer.reason)


def wait(client: Client, task_id: str, timeout: str | None) -> Task:
    """Wait for a task to end, and tell on stderr what it waits for if that takes long.

    :raises WaitTimeoutError: it has not ended in time.
    """
    longest = None if timeout is None else seconds(timeout, "--wait-timeout")
    if shared.json or (longest is not None and longest <= _PATIENCE):
        return client.call(_ops.wait(task_id, timeout))
    begun = time.monotonic()
    with contextlib.suppress(WaitTimeoutError):
        return client.call(_ops.wait(task_id, _PATIENCE))
    reason = None
    with contextlib.suppress(UnavailableError):  # as a wait goes on while the store is away
        reason = client.call(reason_why(task_id))
    if reason is not None:
        err.print(f"still waiting: {plain(reason)}", style="dim", soft_wrap=True)
    left = None if longest is None else max(0.0, longest - (time.monotonic() - begun))
    return client.call(_ops.wait(task_id, left))
