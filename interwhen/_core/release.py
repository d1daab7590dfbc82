"""The release rule: what the end of a due check means for the text or the call that was checked.

One table and one pure function; a test compares the table with docs/release.md. After them: :class:`Gates`, which
applies the rule to the reader's text, and the certificate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, assert_never

from interwhen._core.segmenter import Intake
from interwhen._core.transcript import Transcript
from interwhen._types.events import Event, FrontierMoved
from interwhen._types.models import FinishReason
from interwhen._types.monitors import GATING, Delivery, Monitor
from interwhen._types.results import Certificate, CheckRecord, UnverifiedReason, sha256
from interwhen._types.spans import Span
from interwhen._types.verdicts import (
    Cancelled,
    Ending,
    Errored,
    Judged,
    OnError,
    Outcome,
    Pass,
    Retry,
    Skipped,
    TimedOut,
    Unknown,
    Violation,
)

Kind = Literal["pass", "unknown", "failure", "violation"]
"""How a check ended. ``failure``: there is no verdict, because the check raised, timed out, lost its worker, was
cancelled or skipped, or its extractor or ``prepare`` failed."""
Way = Literal["gating", "live", "observe"]
"""How a monitor delivers: it holds text back until its checks ended, it shows text at once, or it changes nothing."""
Fate = Literal["released", "shown", "held", "retracted"]
"""``released``: a gate lets the text through. ``shown``: it was shown already, and stays. ``held``: it is never shown.
``retracted``: it was shown, and is taken back."""


class ReleaseRule(NamedTuple):
    """The fate of the text: ``fate``; if the monitor's *option* has *value*, ``otherwise``."""

    fate: Fate
    option: Literal["unproven", "on_error"] | None = None
    value: Ending | None = None
    otherwise: Fate | None = None


Table: TypeAlias = Mapping[tuple[Kind, Way], ReleaseRule]

TABLE: Table = {
    ("pass", "gating"): ReleaseRule("released"),
    ("pass", "live"): ReleaseRule("shown"),
    ("pass", "observe"): ReleaseRule("shown"),
    ("unknown", "gating"): ReleaseRule("released", "unproven", "closed", "held"),
    ("unknown", "live"): ReleaseRule("shown", "unproven", "closed", "retracted"),
    ("unknown", "observe"): ReleaseRule("shown"),
    # If a gate opened when its verifier fails, text that makes the verifier fail would pass it.
    ("failure", "gating"): ReleaseRule("held", "on_error", "open", "released"),
    ("failure", "live"): ReleaseRule("shown", "on_error", "closed", "retracted"),
    ("failure", "observe"): ReleaseRule("shown"),
    ("violation", "gating"): ReleaseRule("held"),
    ("violation", "live"): ReleaseRule("retracted"),
    ("violation", "observe"): ReleaseRule("shown"),
}
"""The release rule. If text is ``held`` or ``retracted`` for a violation, the remedy follows. For another kind, the
run ends as ``abstained``."""

_WAYS: Mapping[Delivery, Way] = {
    "observe": "observe",
    "interrupt": "live",
    "gate": "gating",
    "gate_tools": "gating",
    "final": "gating",
}

_KINDS: Mapping[type, Kind] = {Pass: "pass", Unknown: "unknown", Violation: "violation"}


def kind_of(outcome: Outcome) -> Kind:
    """Return how a check with *outcome* ended."""
    return _KINDS.get(type(outcome.verdict), "failure") if isinstance(outcome, Judged) else "failure"


def way_of(delivery: Delivery) -> Way:
    """Return how a monitor with *delivery* treats its text."""
    return _WAYS[delivery]


def gates(delivery: Delivery) -> bool:
    """Tell whether *delivery* holds text, calls or the answer back."""
    return _WAYS[delivery] == "gating"


def fate_of(kind: Kind, way: Way, *, unproven: Ending = "open", on_error: OnError = None) -> Fate:
    """Return the fate of text after a check that ended as *kind*, with these options of its monitor."""
    rule = TABLE[kind, way]
    if rule.option is None or rule.otherwise is None:
        return rule.fate
    value = unproven if rule.option == "unproven" else _at_last(unproven, on_error)
    return rule.otherwise if value == rule.value else rule.fate


def _at_last(unproven: Ending, on_error: OnError) -> Ending | None:
    """Return what a failure means after the last try; ``None``: the delivery decides.

    A monitor that is closed to ``Unknown`` is closed to failures too.
    """
    policy = on_error.then if isinstance(on_error, Retry) else on_error
    return policy or ("closed" if unproven == "closed" else None)


def passed(outcome: Outcome) -> bool:
    """Tell whether a check ended in a pass."""
    return isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass)


def describe(outcome: Outcome, tries: int = 1) -> str:
    """Say in words how a check ended that did not pass."""
    return _describe(outcome) + (f" (tried {tries} times)" if tries > 1 else "")


def _describe(outcome: Outcome) -> str:
    match outcome:
        case Judged(verdict=verdict):
            return f"{type(verdict).__name__.lower()}: {getattr(verdict, 'why', '')}".strip()
        case Errored(error=error):
            return f"error: {error}"
        case TimedOut(deadline=deadline):
            return f"timed out: no verdict within {deadline:g} s"
        case Cancelled(why=why):
            return f"cancelled: {why}"
        case Skipped(why=why):
            return f"skipped: {why}"
        case _:
            assert_never(outcome)


# Gates: how far the text may be shown, and the verified frontier.


_NOTHING: Mapping[int, int] = {}


class OpenChecks(Protocol):
    """The part of the :class:`~interwhen._core.checks.CheckTable` that the gates need."""

    @property
    def changed(self) -> bool:
        """Whether anything that can move the frontier has changed since :meth:`watch`."""
        ...

    def watch(self, monitor: int, /) -> None:
        """Note only changes of *monitor* from now on."""
        ...

    def first_open(self, monitor: int, /) -> int | None:
        """Return where the first segment of *monitor* with open checks starts."""
        ...

    def first_unclear(self, monitor: int, /) -> int | None:
        """Return where the first segment of *monitor* without a pass starts."""
        ...


class Gates:
    """Computes how far the text may be shown, and the verified frontier. Without gates, all text may be shown."""

    __slots__ = (
        "_checks",
        "_events",
        "_final",
        "_gating",
        "_intake",
        "_required",
        "_transcript",
        "frontier",
    )

    def __init__(self, monitors: Sequence[Monitor], intake: Intake, checks: OpenChecks, events: deque[Event]) -> None:
        self.frontier = 0
        """Up to here, every due check of a required monitor has passed."""
        self._intake = intake
        self._transcript = intake.transcript
        self._checks = checks
        self._events = events
        self._gating = [number for number, monitor in enumerate(monitors) if monitor.delivery in GATING]
        self._required = [number for number, monitor in enumerate(monitors) if monitor.required]
        self._final = [number for number, monitor in enumerate(monitors) if monitor.delivery == "final"]

    def open(self) -> None:
        """Hold nothing back from now on, and stop moving the frontier: no more checks come."""
        self._gating, self._final, self._required = [], [], []

    @property
    def holding(self) -> bool:
        """Whether any monitor holds text back."""
        return bool(self._gating or self._final)

    def limit(self) -> int:
        """Return up to where the text may be shown."""
        limit = min(self._settled(), self._transcript.length)
        return min(limit, self._answer_start()) if self._final else limit

    def advance(self) -> None:
        """Tell the reader if the verified frontier has moved."""
        # While nothing changes for the monitor that holds the frontier back, the others need not be asked.
        if not self._required or not self._checks.changed:
            return
        frontier, slowest = min((self._verified(number), number) for number in self._required)
        self._checks.watch(slowest)
        if frontier > self.frontier:
            self.frontier = frontier
            self._events.append(FrontierMoved(frontier))

    def settled(self, refuted: Mapping[int, int] = _NOTHING) -> int:
        """Return up to where no monitor that holds text back has anything unread, open or refuted.

        A run that ends early may keep this much. *refuted*: by monitor, where its first refuted segment starts. A
        ``final`` monitor holds the answer only.
        """
        settled = self._settled()
        for number in self._gating:
            settled = min(settled, refuted.get(number, settled))
        if self._final:
            answer = self._answer_start()
            for number in self._final:
                cleared = min(self._cleared(number, None), refuted.get(number, self._transcript.length))
                settled = min(settled, max(cleared, answer))
        return settled

    def _settled(self) -> int:
        length = self._transcript.length
        return min((self._cleared(number, None) for number in self._gating), default=length)

    def cut(self, to: int) -> None:
        """Forget the text from *to* on."""
        self.frontier = min(self.frontier, to)

    def _verified(self, monitor: int) -> int:
        return self._cleared(monitor, self._checks.first_unclear(monitor))

    def _cleared(self, monitor: int, unclear: int | None) -> int:
        """Return up to where *monitor* has no open and no incomplete segment."""
        cleared = self._intake.hold(monitor)
        opened = self._checks.first_open(monitor)
        if opened is not None and opened < cleared:
            cleared = opened
        return unclear if unclear is not None and unclear < cleared else cleared

    def _answer_start(self) -> int:
        return next((at for at, phase in self._transcript.phases if phase == "answer"), self._transcript.length)


# From the records of the checks to the certificate, or to the reasons against one.

ENDED_WELL: frozenset[FinishReason] = frozenset(("stop", "tool_calls"))


def unverified_reasons(
    records: Sequence[CheckRecord],
    monitors: Sequence[Monitor],
    refuted: Sequence[Span],
    finish_reason: FinishReason | None,
) -> tuple[UnverifiedReason, ...]:
    """Return everything that keeps the text from being verified."""
    found = []
    if finish_reason not in ENDED_WELL:
        why = "the run was ended before the model was" if finish_reason is None else f"finish reason {finish_reason!r}"
        found.append(UnverifiedReason("", None, f"the text did not end by itself: {why}"))
    if not any(monitor.required for monitor in monitors):
        found.append(UnverifiedReason("", None, "no required monitor watched this run"))
    for monitor in monitors:
        if not monitor.required:
            continue
        mine = [record for record in records if record.monitor == monitor.name]
        found.extend(
            UnverifiedReason(monitor.name, _ground(record), describe(record.outcome, record.tries), record.verifier)
            for record in mine
            if not passed(record.outcome) and not _inside(_ground(record), refuted)
        )
        if not any(_shows(record, refuted) for record in mine):
            found.append(UnverifiedReason(monitor.name, None, "found nothing that it could show to be right"))
    return tuple(found)


def certificate(
    transcript: Transcript,
    records: Sequence[CheckRecord],
    monitors: Sequence[Monitor],
    refuted: Sequence[Span],
    prompt_sha256: str,
) -> Certificate:
    """Return the certificate of a text without open reasons."""
    good = _good(records, refuted)
    covered = _covered(good)
    total = transcript.length
    return Certificate(
        text_sha256=sha256(transcript.slice(0, total)),
        prompt_sha256=prompt_sha256,
        model="",
        checks=good,
        covered=covered,
        coverage=_share(covered, total),
        refuted=merge(refuted),
        scope="answer" if any(_answers(record, transcript, monitors) for record in good) else "steps",
    )


def coverage_reason(
    transcript: Transcript, records: Sequence[CheckRecord], refuted: Sequence[Span], least: float
) -> tuple[UnverifiedReason, ...]:
    """Return a reason if the claims that passed cover less than the share *least* of the text."""
    share = _share(_covered(_good(records, refuted)), transcript.length)
    if share >= least:
        return ()
    return (UnverifiedReason("", None, f"checked claims cover {share:.1%} of the text, and {least:.1%} is required"),)


def _good(records: Sequence[CheckRecord], refuted: Sequence[Span]) -> tuple[CheckRecord, ...]:
    return tuple(record for record in records if passed(record.outcome) and not _inside(_ground(record), refuted))


def _covered(good: Sequence[CheckRecord]) -> tuple[Span, ...]:
    return merge(record.span for record in good if record.span is not None)


def _share(covered: Sequence[Span], total: int) -> float:
    return sum(map(len, covered)) / total if total else 0.0


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the union of *spans* as disjoint spans in order."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return tuple(merged)


def _answers(record: CheckRecord, transcript: Transcript, monitors: Sequence[Monitor]) -> bool:
    """Tell whether *record*, a pass, shows that the answer itself is right.

    The claim must stand in the answer: a right value in the reasoning does not show that the answer is right. The
    monitor must be a required one: if an optional monitor refutes another answer, the result gets no reason from it.
    """
    verdict = record.outcome.verdict if isinstance(record.outcome, Judged) else None
    if not isinstance(verdict, Pass) or verdict.scope != "answer" or not record.span:
        return False
    if transcript.phase_at(record.span.start) != "answer":
        return False
    return any(who.name == record.monitor and who.required and who.scope == "answer" for who in monitors)


def _ground(record: CheckRecord) -> Span:
    return record.segment if record.span is None else record.span


def _shows(record: CheckRecord, refuted: Sequence[Span]) -> bool:
    """Tell whether *record* shows that a part of the text is right: a claim without a place does not."""
    span = record.span
    return passed(record.outcome) and span is not None and len(span) > 0 and not _inside(span, refuted)


def _inside(span: Span, refuted: Sequence[Span]) -> bool:
    return any(other.covers(span) for other in refuted)
