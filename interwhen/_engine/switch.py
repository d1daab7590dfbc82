"""The kill switch: with supervision off, model text passes through unchecked.

``INTERWHEN_OFF=1`` in the environment switches it off from the start; a program, or a gateway on a signal, changes it
later. Runs that begin while it is off have no monitors. Runs that have begun stop checking at once, release
what their gates hold, and stay unchecked to their end, also when supervision is switched on again.
"""

from __future__ import annotations

import os
import weakref
from typing import ClassVar, Protocol

from interwhen._log import log_warning

VARIABLE = "INTERWHEN_OFF"
_ON = ("", "0", "false", "no", "off")
"""Values of the variable that leave supervision on. Any other word switches it off: in an emergency, guess so."""


class Switchable(Protocol):
    """A run that has been entered."""

    def switch_off(self) -> None:
        """Stop checking and release everything. May be called from any thread."""
        ...


class _Switch:
    """What the program said last; ``None``: nothing, so the environment decides."""

    said: bool | None = None
    logged: bool | None = None
    running: ClassVar[weakref.WeakValueDictionary[int, Switchable]] = weakref.WeakValueDictionary()
    """The runs that have been entered, by id. Weak: a run that is forgotten must not be kept by this."""


def means_off(text: str) -> bool:
    """Tell whether *text*, the value of the variable, switches supervision off."""
    return text.strip().lower() not in _ON


def is_off() -> bool:
    """Tell whether supervision is off. Logs the first call after a change."""
    said = _Switch.said
    off = means_off(os.environ.get(VARIABLE, "")) if said is None else said
    if off is not bool(_Switch.logged):
        _Switch.logged = off
        log_warning("supervision.switched", off=off, by=VARIABLE if said is None else "the program")
    return off


def switch(off: bool | None) -> int:  # noqa: FBT001  the state to switch to
    """Set the switch for this process; ``None``: the environment decides again.

    Returns the number of runs that were told to stop checking.
    """
    _Switch.said = off
    if not is_off():
        return 0
    # valuerefs() copies at once: other threads may begin and end runs meanwhile.
    runs = [run for ref in _Switch.running.valuerefs() if (run := ref()) is not None]
    for run in runs:
        run.switch_off()
    return len(runs)


def begun(run: Switchable) -> None:
    """Register *run*, which is entered now."""
    _Switch.running[id(run)] = run


def ended(run: Switchable) -> None:
    """Forget *run*, which has been left."""
    _Switch.running.pop(id(run), None)
