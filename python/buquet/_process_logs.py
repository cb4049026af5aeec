"""Log records of handlers in processes: they go to the handlers of the worker's root logger, as those of threads do."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buquet._process_pipe import Pipe

_PLAIN = (str, int, float, bool, type(None))


def log_levels() -> dict[str, int]:
    """The levels that are set in this process; the root logger's under an empty name."""
    named = {
        name: logger.level
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level
    }
    return {"": logging.root.level, **named}


def send_logs(pipe: Pipe, levels: Mapping[str, int]) -> None:
    """Send what reaches this process's root logger to the worker, unless the program sets handlers of its own."""
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    logging.root.addHandler(_Sender(pipe))


def log_here(fields: dict[str, Any]) -> None:
    """Give a record of another process to the handlers of this one's root logger."""
    record = logging.makeLogRecord(fields)
    if record.levelno > logging.root.manager.disable:
        logging.root.handle(record)


class _Sender(logging.Handler):
    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock that handlers have: the pipe has one, and a finalizer may log while it is held.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._pipe.is_here and self._pipe.is_free:
                self._pipe.send(0, "log", _fields(record))
            elif logging.lastResort is not None:
                logging.lastResort.handle(record)
        except Exception:  # noqa: BLE001 - what logging itself does with a handler's failure
            self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The record in values that any process can read: its message and its exception as text."""
    fields = {
        name: value if isinstance(value, _PLAIN) else repr(value)
        for name, value in vars(record).items()
        if name not in {"msg", "args", "exc_info"}
    }
    fields |= {"msg": record.getMessage(), "args": None, "exc_info": None}
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    return fields
