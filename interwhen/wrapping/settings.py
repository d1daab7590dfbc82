"""How calls are supervised: once for a client or a gateway, with changes for a single call."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from interwhen.allocation.allowance import Allocator
from interwhen.budgets import Budgets
from interwhen.errors import UsageError
from interwhen.feedback import FeedbackTemplate
from interwhen.monitors import Delivery, Monitor
from interwhen.registry import MonitorSpec, load_monitors
from interwhen.running import Workers
from interwhen.segments import Phase

Reading = Literal["live", "gate", "final"]
"""What a reader sees: text as it comes, with retractions; only text that was checked; the answer once it is whole."""

Resuming = Literal["auto", "prefill", "turn"]
"""How a chat goes on from kept text. ``auto`` asks ``GET /models`` when it first matters."""

_AS: Mapping[Reading, Mapping[Delivery, Delivery]] = {
    "live": {},
    "gate": {"interrupt": "gate", "final": "gate"},
    "final": {"interrupt": "final", "gate": "final"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a call is supervised. Raises :class:`UsageError` on values that cannot work."""

    monitors: tuple[Monitor, ...] = ()
    """Who watches; with none, a call is not touched at all."""
    reading: Reading = "live"
    resume: Resuming = "auto"
    budgets: Budgets = field(default_factory=lambda: Budgets(reconnects=0))
    """A broken stream is not taken up again unless this says so: the caller's own client does not either."""
    feedback: FeedbackTemplate | None = None
    starts_in: Phase = "answer"
    correction: str = "Correction: "
    """What leads over to text that replaces some the reader has seen already."""
    tools: bool = True
    """Whether tool calls must be whole, valid JSON, and to a tool that was offered."""
    workers: Workers | None = None
    """Run the checks of all calls; without them, each call has ``threads`` and ``processes`` of its own."""
    threads: int = 8
    processes: int = 2
    allocator: Allocator | None = None
    """Makes the budgets of each call as small as it is worth, and learns from what came of it."""

    def __post_init__(self) -> None:
        for label, value, allowed in (
            ("reading", self.reading, get_args(Reading)),
            ("resume", self.resume, get_args(Resuming)),
            ("starts_in", self.starts_in, get_args(Phase)),
        ):
            if value not in allowed:
                raise UsageError(f"{label}={value!r}, choose one of {', '.join(allowed)}")
        if not isinstance(self.budgets, Budgets):
            raise UsageError(f"budgets={self.budgets!r:.200}: write budgets=Budgets(...)")
        if self.allocator is not None and not isinstance(self.allocator, Allocator):
            raise UsageError(f"allocator={self.allocator!r:.200}: write allocator=AdaptiveAllocator(...)")
        if not isinstance(self.workers, Workers | None):
            raise UsageError(f"workers={self.workers!r:.200}: write workers=Workers(...)")

    def changed(self, override: object) -> Settings:
        """Return these settings with those of *override*, a mapping; ``None`` changes nothing, ``False`` is off."""
        if override is None or override is True:
            return self
        if override is False:
            return dataclasses.replace(self, monitors=())
        if not isinstance(override, Mapping):
            raise UsageError(f"interwhen={override!r:.200}: give a mapping such as {{'reading': 'gate'}}")
        return dataclasses.replace(self, **_known(override))

    def deliveries(self, *, structured: bool = False) -> tuple[Monitor, ...]:
        """Return the monitors with the delivery that the reading asks for.

        A *structured* answer (JSON) is not read live but behind a gate: what corrects it would not be JSON.
        """
        change = _AS["gate" if structured and self.reading == "live" else self.reading]
        return tuple(
            dataclasses.replace(monitor, delivery=change[monitor.delivery]) if monitor.delivery in change else monitor
            for monitor in self.monitors
        )


def make_settings(monitors: Iterable[MonitorSpec], options: Mapping[str, Any]) -> Settings:
    """Return the settings for *monitors* (names, mappings, factories or monitors) and the other *options*."""
    return Settings(**_known({"monitors": monitors, **options}))


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    names = [item.name for item in dataclasses.fields(Settings)]
    found = dict(options)
    for name in found:
        if name not in names:
            close = difflib.get_close_matches(str(name), names, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"interwhen has no option {name!r}; {meant}options: {', '.join(names)}")
    if "monitors" in found:
        found["monitors"] = load_monitors(found["monitors"])
    if isinstance(found.get("budgets"), Mapping):
        found["budgets"] = Budgets(**{"reconnects": 0, **found["budgets"]})
    if isinstance(found.get("feedback"), Mapping):
        found["feedback"] = FeedbackTemplate(**found["feedback"])
    return found
