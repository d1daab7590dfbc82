"""Demotion: monitors that find violations in too many calls get the delivery ``observe``."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable

from interwhen._types.log import log_warning
from interwhen._types.monitors import Monitor
from interwhen._types.results import Result
from interwhen._types.vetting import Inside, Positive, vetted


class Demotion:
    """Demotes a monitor to the delivery ``observe`` when it finds violations in too many calls.

    *above* is the share of calls with violations that a monitor may reach without being demoted, between 0 and 1.
    *calls* is the number of the monitor's latest calls from which the share is computed; before as many calls, it is
    not demoted. The calls of all clients and gateways that use this object are counted together. A demoted monitor
    still checks. It stays demoted until :meth:`restore` is called. Raises :class:`UsageError` on invalid values.
    """

    @vetted("Demotion: ")
    def __init__(self, *, above: Inside, calls: Positive = 100) -> None:
        self.above = above
        self.calls = calls
        self.demoted: set[str] = set()
        """The names of the demoted monitors."""
        self.on_change: Callable[[str, bool], object] = lambda _name, _demoted: None
        """Called with the name of each monitor that is demoted (True) or restored (False)."""
        self._seen: dict[str, deque[bool]] = {}

    def saw(self, monitors: Iterable[Monitor], result: Result) -> None:
        """Count one call of *monitors* that ended with *result*, and demote those with violations in too many calls.

        ``on_change`` is called for each monitor that is demoted. Monitors that only observe are counted, and not
        demoted.
        """
        refuted = {violation.monitor for violation in result.violations}
        for monitor in monitors:
            name = monitor.name
            seen = self._seen.setdefault(name, deque(maxlen=self.calls))
            seen.append(name in refuted)
            share = sum(seen) / self.calls
            acts = monitor.delivery != "observe" and name not in self.demoted
            if acts and len(seen) == self.calls and share > self.above:
                self.demoted.add(name)
                log_warning("monitor.demoted", monitor=name, share=round(share, 3), calls=self.calls)
                self.on_change(name, True)

    def restore(self) -> None:
        """Restore the original delivery of all demoted monitors, and reset the counts of all monitors.

        ``on_change`` is called for each restored monitor.
        """
        demoted, self.demoted = self.demoted, set()
        self._seen.clear()
        for name in sorted(demoted):
            log_warning("monitor.restored", monitor=name)
            self.on_change(name, False)

    def applied(self, monitors: tuple[Monitor, ...]) -> tuple[Monitor, ...]:
        """Return *monitors*; those that are demoted have the delivery ``observe``."""
        if not self.demoted:
            return monitors
        return tuple(
            dataclasses.replace(monitor, delivery="observe") if monitor.name in self.demoted else monitor
            for monitor in monitors
        )
