"""The logger of a body: silent at a replay, and held back until what it speaks of is stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_behind = logging.getLogger("buquet.workflow.body")


class BodyLogger(logging.Logger):
    """A logger whose records are kept for the driver, which hands them on when the round is stored.

    Example::

        @workflow
        async def order(ctx: WorkflowContext, order_id: str) -> None:
            ctx.log.info("order %s is on its way", order_id)
    """

    def __init__(self, what: str, keep: Callable[[logging.LogRecord], object]) -> None:
        """Log about the run ``what``."""
        super().__init__(_behind.name)
        self.parent = _behind
        self._what = what
        self._keep = keep

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """Whether the logger ``buquet.workflow.body`` takes this level."""
        return _behind.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Keep a record back."""
        try:
            message = record.getMessage()  # now: what it speaks of may have changed when the round is stored
        except Exception:  # noqa: BLE001 - logging tells of it when the record is written, and the body goes on
            record.msg = f"{self._what.replace('%', '%%')}: {record.msg}"
        else:
            record.msg, record.args = f"{self._what}: {message}", None
        self._keep(record)


def write(records: list[logging.LogRecord]) -> None:
    """Hand on what was held back. The driver does so when the round is stored."""
    for record in records:
        _behind.handle(record)
