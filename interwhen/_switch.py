"""The kill switch: with it off, calls that begin are passed through without supervision.

``INTERWHEN_OFF=1`` in the environment sets it from the start; a program, or a gateway that got a signal, changes it
while it runs. A call that has begun ends as it began.
"""

from __future__ import annotations

import os

from interwhen._log import log_warning

VARIABLE = "INTERWHEN_OFF"
_ON = ("", "0", "false", "no", "off")
"""Values of the variable that leave supervision on; a switch for emergencies takes any other word as yes."""


class _Switch:
    """What this process was told last; ``None``: nothing, so that the environment decides."""

    told: bool | None = None
    logged: bool | None = None


def means_off(text: str) -> bool:
    """Tell whether *text*, the value of the variable, switches supervision off."""
    return text.strip().lower() not in _ON


def is_off() -> bool:
    """Tell whether calls that begin now are to be left alone. The first call that is, is logged."""
    told = _Switch.told
    off = means_off(os.environ.get(VARIABLE, "")) if told is None else told
    if off is not bool(_Switch.logged):
        _Switch.logged = off
        log_warning("supervision.switched", off=off, by=VARIABLE if told is None else "the program")
    return off


def switch(off: bool | None) -> None:  # noqa: FBT001  it says what is to be
    """Set the switch for this process; ``None``: the environment decides again."""
    _Switch.told = off
    is_off()
