"""Log events with stable dotted names (``noun.past_participle``) and key-values. Do not log the content of a trace.

If the application has configured structlog, its configuration is used. Otherwise events go to the logger ``interwhen``
of the standard library, which prints nothing by default.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

_INFO, _WARNING = 20, 30


def log_warning(event: str, **values: Any) -> None:
    _log(_WARNING, event, values)


def log_info(event: str, **values: Any) -> None:
    _log(_INFO, event, values)


def logs_info() -> bool:
    # So that a costly event is made only if `log_info` would pass it on.
    return _structlog() is not None or _stdlib().isEnabledFor(_INFO)


def _log(level: int, event: str, values: dict[str, Any]) -> None:
    structlog = _structlog()
    if structlog is not None:
        structlog.get_logger("interwhen").log(level, event, **values)
    elif _stdlib().isEnabledFor(level):
        text = " ".join(f"{name}={value!r}" for name, value in {"event": event, **values}.items())
        _stdlib().log(level, "%s", text)


def _structlog() -> Any:
    # Return structlog if the application has configured it, and so imported it; otherwise `None`. It is not imported
    # here: this takes 60 ms, and the first warning comes while streams are read.
    structlog = sys.modules.get("structlog")
    # While another thread imports it, it has no such function yet.
    is_configured = getattr(structlog, "is_configured", None)
    return structlog if is_configured is not None and is_configured() else None


@cache
def _stdlib() -> logging.Logger:
    import logging

    logger = logging.getLogger("interwhen")
    # Without a handler, warnings would go to stderr by logging's last resort.
    logger.addHandler(logging.NullHandler())
    return logger
