"""A view that only ever appends: for pipes, files and terminals that cannot move a cursor."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import assert_never

from rich.text import Text

from interwhen.cli.escape import one_line
from interwhen.cli.picture import line_start, picture
from interwhen.cli.signs import GHOST, REPAIR, STYLES, Signs
from interwhen.cli.view_state import ViewState, apply
from interwhen.events import (
    CheckSettled,
    CheckStarted,
    Delta,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    Retracted,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen.results import CheckRecord
from interwhen.verdicts import Cancelled, Errored, Judged, Outcome, Pass, Skipped, TimedOut, Unknown, Violation


@dataclass(frozen=True, slots=True)
class PlainLog:
    """How far a run has been logged: text in whole lines, facts as they come."""

    signs: Signs
    state: ViewState = field(default_factory=ViewState)
    logged: int = 0
    """The offset up to which the text has been logged."""

    def after(self, event: Event) -> tuple[PlainLog, list[Text]]:
        """Return the log after *event*, and the lines that it adds."""
        log = PlainLog(self.signs, apply(self.state, event), self.logged)
        match event:
            case Delta(text=text):
                return log._with_text(log.state.text.rfind("\n") + 1) if "\n" in text else (log, [])
            case Retracted(to=to):
                return log._retracted(self.state, to)
            case StreamEnded():
                return log._with_text(log.state.end)
            case Finished():
                return log._with_text(log.state.end)
            case _:
                return log, _facts(event, log)

    def _with_text(self, end: int) -> tuple[PlainLog, list[Text]]:
        if end <= self.logged:
            return self, []
        # What is known about a line comes later, and what was taken back came before, in lines of their own.
        lines = picture(replace(self.state, ghosts=()), self.logged, end, signs=self.signs)
        bar = Text(f"  {self.signs.bar} ", style="dim")
        wrote = Text(f" {self.signs.wrote}{self.signs.bar} ", style=REPAIR)
        return (
            PlainLog(self.signs, self.state, end),
            [(wrote if line.wrote else bar).copy().append(line.text.plain) for line in lines],
        )

    def _retracted(self, before: ViewState, to: int) -> tuple[PlainLog, list[Text]]:
        left, right = self.signs.ghost
        gone = one_line(before.text[to:].strip())
        logged = PlainLog(self.signs, self.state, min(self.logged, line_start(self.state, to)))
        if not gone:
            return logged, []  # only a line end went
        line = Text.assemble(f" {self.signs.cut} taken back: ", (f"{left}{gone}{right}", GHOST))
        return logged, [line]


def _facts(event: Event, log: PlainLog) -> list[Text]:
    signs = log.signs
    match event:
        case ViolationFound(violation=found):
            said = one_line(found.witness or found.why)
            return [
                Text.assemble(
                    (f" {signs.violated} {visible_name(found.monitor)}: ", STYLES["violated"]),
                    f"{one_line(found.quote)}  ({said})",
                )
            ]
        case CheckSettled(check=check):
            return _settled(check, log)
        case Remedied(violation=found):
            return [Text(f" {signs.wrote} {found.remedy}: {one_line(found.inserted.strip())}", style=REPAIR)]
        case StreamBroken(error=error, action=action):
            return [Text(f" ! the stream broke ({one_line(error)}): {action}", style=STYLES["unproven"])]
        case Delta() | Retracted() | CheckStarted() | FrontierMoved() | StreamStarted() | StreamEnded() | Finished():
            return []
        case _:
            assert_never(event)


def _settled(check: CheckRecord, log: PlainLog) -> list[Text]:
    signs, span = log.signs, check.span or check.segment
    # A claim's key is for machines; the words it stands for are in the text, unless a gate still holds them.
    shown = log.state.text[span.start : span.end].strip() if span.end <= log.state.end else ""
    words = shown or re.split(r"[\x00-\x1f]", check.key, maxsplit=1)[0]
    name = f"{visible_name(check.monitor)}: {one_line(words)}"
    outcome = check.outcome
    if isinstance(outcome, Cancelled) or (isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation)):
        return []  # A violation is told by an event of its own.
    if isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass):
        return [Text(f" {signs.passed} {name}", style=STYLES["passed"])]
    return [Text(f" {signs.unproven} {name} ({one_line(_open_reason(outcome))})", style=STYLES["unproven"])]


def _open_reason(outcome: Outcome) -> str:
    match outcome:
        case Judged(verdict=Unknown(why=why)) | Skipped(why=why) | Errored(error=why):
            return why
        case TimedOut(deadline=deadline):
            return f"no verdict within {deadline:g} s"
        case _:
            return type(outcome).__name__.lower()


def visible_name(name: str) -> str:
    """Return the name of a plug-in, fit for a terminal."""
    return one_line(name, 60)
