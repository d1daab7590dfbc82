"""Foreign things in one bounded line: exceptions and values whose own words may be endless, or raise."""

from __future__ import annotations

import reprlib

_WORDS = reprlib.Repr()
_WORDS.maxstring = _WORDS.maxother = 160
_WORDS.maxlevel = 3


def name_error(error: BaseException) -> str:
    """Return *error* in one bounded line."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001  (an exception of user code may not even be printable)
        text = f"(its text raised {type(second).__name__})"
    return f"{type(error).__name__}: {text}"[:500]


def name_value(value: object) -> str:
    """Return *value* in one bounded line."""
    try:
        return _WORDS.repr(value)[:200]
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is of user code and ends nothing of ours)
        return f"{type(value).__name__} (whose text raised {type(error).__name__})"[:200]
