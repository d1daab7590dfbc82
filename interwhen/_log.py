"""Log events with stable dotted names (``noun.past_participle``) and key-values; never the content of a trace.

Where the application has configured structlog, its configuration holds. Otherwise events go to the standard
library's logger ``interwhen``, so that a library never prints on its own account. structlog is imported with
the first event that anybody wants to see: it costs 60 ms.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

_STDLIB = logging.getLogger("interwhen")
_STDLIB.addHandler(logging.NullHandler())  # without one, warnings would go to stderr by logging's last resort


def log_warning(event: str, **values: Any) -> None:
    """Log something that went wrong and was dealt with."""
    _log(logging.WARNING, event, values)


def log_info(event: str, **values: Any) -> None:
    """Log something that happened."""
    _log(logging.INFO, event, values)


def _log(level: int, event: str, values: dict[str, Any]) -> None:
    application_uses_structlog = "structlog" in sys.modules
    if not application_uses_structlog and not _STDLIB.isEnabledFor(level):
        return
    import structlog

    if structlog.is_configured():
        structlog.get_logger("interwhen").log(level, event, **values)
    elif _STDLIB.isEnabledFor(level):
        structlog.wrap_logger(
            _STDLIB,
            processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
            wrapper_class=structlog.stdlib.BoundLogger,
        ).log(level, event, **values)
