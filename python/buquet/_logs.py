"""What keeps buquet's own log lines coming, whatever the program does to its logging."""

from __future__ import annotations

import logging


def enable_loggers() -> None:
    """Let buquet's loggers speak again.

    ``dictConfig`` and ``fileConfig`` disable all loggers that exist and are not named, unless they are told otherwise;
    most programs that do so do not know that they silence a library.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "buquet":
            logger.disabled = False
