"""Log events with stable dotted names (``noun.past_participle``) and key-values; never the content of a trace.

Where the application has configured structlog, its configuration holds. Otherwise events go to the standard
library's logger ``interwhen``, so that a library never prints on its own account.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

_FALLBACK = structlog.wrap_logger(
    logging.getLogger("interwhen"),
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)


def log_warning(event: str, **values: Any) -> None:
    """Log something that went wrong and was dealt with."""
    _logger().warning(event, **values)


def log_info(event: str, **values: Any) -> None:
    """Log something that happened."""
    _logger().info(event, **values)


def _logger() -> Any:
    return structlog.get_logger("interwhen") if structlog.is_configured() else _FALLBACK
