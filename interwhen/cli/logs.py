"""Logging of the command line: structlog to stderr. The library itself configures nothing."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from interwhen.cli.escape import joined

LogLevel = Literal["debug", "info", "warning", "error"]


class _Stderr:
    """Writes where stderr points at that moment: a live view catches it to keep its picture whole."""

    def msg(self, message: str) -> None:
        print(joined(message), file=sys.stderr)

    log = debug = info = warning = warn = error = critical = exception = failure = fatal = msg


def configure(level: LogLevel) -> None:
    """Send log events of *level* and above to stderr, one line each, without colours."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            # Quotes what would look like another pair, or like another line.
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
