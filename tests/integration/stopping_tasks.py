"""Handlers that a process finds by their names."""

from __future__ import annotations

import threading

from buquet import TaskContext  # noqa: TC001 - workers read the annotations


def report_and_sleep(ctx: TaskContext) -> None:
    """Say a quarter is done, and never end."""
    ctx.progress(0.25, "a quarter")
    threading.Event().wait()
