"""Decides which text is shown: the release rule for each check, and :class:`Gates`. Also makes the certificate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, assert_never

from interwhen._core.segmenter import Intake
from interwhen._core.transcript import Transcript
from interwhen._types.events import Event, FrontierMoved
from interwhen._types.models import FinishReason
from interwhen._types.monitors import GATING, Delivery, Monitor
from interwhen._types.remedies import Conclude
from interwhen._types.results import Certificate, CheckRecord, NumberCount, UnverifiedReason
from interwhen._types.segments import Mention, Span, sha256
from interwhen._types.triggers import Answer, ThinkEnd
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

Kind = Literal["pass", "unknown", "excused", "failure", "violation"]
"""How a check ended. ``excused``: ``Unknown``, and the claim is wrong but for the words around it.
``failure``: there is no verdict, for example because the check raised or was skipped."""
Way = Literal["gating", "live", "observe"]
"""How a monitor delivers text. ``gating``: after its checks have ended. ``live``: at once, and a violation may cut it.
``observe``: at once, and a violation cuts nothing."""
Fate = Literal["released", "shown", "held", "retracted"]
"""What happens to checked text. ``released``: this monitor lets it be shown. ``shown``: it was not held back, and
stays. ``held``: it is not shown. ``retracted``: it was not held back, and is cut."""


class ReleaseRule(NamedTuple):
    """An entry of the release table: the fate of a text after its check."""

    # It is `fate`, unless the monitor's option named `option` has the value `value`: then it is `otherwise`.

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
    # The model writes the words around the claim, too, so they must not open a gate.
    ("excused", "gating"): ReleaseRule("held"),
    ("excused", "live"): ReleaseRule("shown", "unproven", "closed", "retracted"),
    ("excused", "observe"): ReleaseRule("shown"),
    # A gate must not open when its verifier fails: text that makes the verifier fail would be shown unchecked.
    ("failure", "gating"): ReleaseRule("held", "on_error", "open", "released"),
    ("failure", "live"): ReleaseRule("shown", "on_error", "closed", "retracted"),
    ("failure", "observe"): ReleaseRule("shown"),
    ("violation", "gating"): ReleaseRule("held"),
    ("violation", "live"): ReleaseRule("retracted"),
    ("violation", "observe"): ReleaseRule("shown"),
}
"""The release rule. If text is ``held`` or ``retracted``, the remedy follows a violation; another outcome usually ends
the run as ``abstained``."""

_WAYS: Mapping[Delivery, Way] = {
    "observe": "observe",
    "interrupt": "live",
    "gate": "gating",
    "gate_tools": "gating",
    "final": "gating",
}

_KINDS: Mapping[type, Kind] = {Pass: "pass", Unknown: "unknown", Violation: "violation"}


def kind_of(outcome: Outcome) -> Kind:
    if isinstance(outcome, Judged) and isinstance(outcome.verdict, Unknown) and outcome.verdict.excused:
        return "excused"
    return _KINDS.get(type(outcome.verdict), "failure") if isinstance(outcome, Judged) else "failure"


def way_of(delivery: Delivery) -> Way:
    return _WAYS[delivery]


def gates(delivery: Delivery) -> bool:
    return _WAYS[delivery] == "gating"


def fate_of(kind: Kind, way: Way, *, unproven: Ending = "open", on_error: OnError = None) -> Fate:
    """Return the fate of a text whose check ended as *kind*. *unproven* and *on_error* are options of the monitor."""
    rule = TABLE[kind, way]
    if rule.option is None or rule.otherwise is None:
        return rule.fate
    value = unproven if rule.option == "unproven" else _at_last(unproven, on_error)
    return rule.otherwise if value == rule.value else rule.fate


def _at_last(unproven: Ending, on_error: OnError) -> Ending | None:
    policy = on_error.then if isinstance(on_error, Retry) else on_error
    return policy or ("closed" if unproven == "closed" else None)


def passed(outcome: Outcome) -> bool:
    return isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass)


def refuted(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation)


def describe(outcome: Outcome, tries: int = 1) -> str:
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
    """What the gates ask about the checks of a run. :class:`~interwhen._core.checks.CheckTable` implements it."""

    @property
    def changed(self) -> bool:
        """Whether a check of the watched monitor, or a cut, may have moved the frontier since :meth:`watch`."""
        ...

    def watch(self, monitor: int, /) -> None:
        """Set :attr:`changed` to false, until a check of *monitor* or a cut sets it to true."""
        ...

    def first_open(self, monitor: int, /) -> int | None:
        """Return the start of the first segment of *monitor* with open checks."""
        ...

    def first_unclear(self, monitor: int, /) -> int | None:
        """Return the start of the first segment of *monitor* whose checks have all ended, and not all passed.

        A claim in reasoning that feedback answers counts as passed.
        """
        ...


class Gates:
    """Computes the offset up to which text may be shown, and the frontier."""

    # Without a gating monitor, all text may be shown, until a monitor refutes text that the reader has seen.

    __slots__ = (
        "_checks",
        "_events",
        "_final",
        "_gates_text",
        "_gating",
        "_held_back",
        "_intake",
        "_piecewise",
        "_required",
        "_slowest",
        "_slowest_hold",
        "_transcript",
        "frontier",
    )

    def __init__(
        self,
        monitors: Sequence[Monitor],
        intake: Intake,
        checks: OpenChecks,
        events: deque[Event],
    ) -> None:
        self.frontier = 0
        """The offset up to which every due check of a required monitor has passed, or feedback answers the refuted
        text."""
        self._intake = intake
        self._transcript = intake.transcript
        self._checks = checks
        self._events = events
        self._gating = [number for number, monitor in enumerate(monitors) if monitor.delivery in GATING]
        self._gates_text = any(monitor.delivery == "gate" for monitor in monitors)
        self._required = [number for number, monitor in enumerate(monitors) if monitor.required]
        self._slowest = 0
        """The number of the monitor that held the frontier back when it was computed last."""
        self._slowest_hold = 0
        """Where the incomplete segment of that monitor began then."""
        self._final = [number for number, monitor in enumerate(monitors) if monitor.delivery == "final"]
        self._piecewise = {number for number, monitor in enumerate(monitors) if _checks_pieces(monitor)}
        self._held_back: set[int] = set()
        """The monitors for whose checks the text waits, although they do not gate it. Empty before the first shown
        mistake."""

    def hold_back(self, monitor: int) -> None:
        # Number `monitor` has refuted text that the reader has seen. The next mistake must not be shown at all.
        self._held_back |= self._piecewise | {monitor}

    def let_go(self) -> None:
        self._held_back = set()

    def open(self) -> None:
        # Hold no text back from now on, and stop moving the frontier, because there will be no more checks.
        self._gating, self._final, self._required = [], [], []
        self.let_go()

    @property
    def holding(self) -> bool:
        return bool(self._gating or self._final)

    @property
    def shows_checked_text(self) -> bool:
        # Whether the reader sees text only after its checks, piece by piece: a monitor has the delivery `gate`, and
        # `open` was not called.
        return self._gates_text and bool(self._gating)

    def limit(self) -> int:
        # With a `final` monitor, none of the answer is shown before the run ends.
        limit = min(self._settled(), self._transcript.length)
        if self._held_back:
            limit = min(limit, *(self._cleared(number, None) for number in self._held_back))
        return min(limit, self._answer_start()) if self._final else limit

    def advance(self) -> None:
        # The slowest monitor holds the frontier back. While nothing changes for it, the frontier cannot move.
        if not self._required or not (self._checks.changed or self._has_moved_hold()):
            return
        frontier, slowest = min((self._verified(number), number) for number in self._required)
        self._slowest, self._slowest_hold = slowest, self._intake.hold(slowest)
        self._checks.watch(slowest)
        if frontier > self.frontier:
            self.frontier = frontier
            self._events.append(FrontierMoved(frontier))

    def _has_moved_hold(self) -> bool:
        # Text in which the slowest monitor finds no segment has no check that ends.
        return self._intake.hold(self._slowest) != self._slowest_hold

    def settled(self, refuted: Mapping[int, int] = _NOTHING) -> int:
        """Return the offset up to which no gating monitor has an incomplete, open or refuted segment.

        *refuted* maps a monitor to the start of its first refuted segment. A ``final`` monitor limits only the answer.
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
        self.frontier = min(self.frontier, to)

    def _verified(self, monitor: int) -> int:
        return self._cleared(monitor, self._checks.first_unclear(monitor))

    def _cleared(self, monitor: int, unclear: int | None) -> int:
        cleared = self._intake.hold(monitor)
        opened = self._checks.first_open(monitor)
        if opened is not None and opened < cleared:
            cleared = opened
        return unclear if unclear is not None and unclear < cleared else cleared

    def _answer_start(self) -> int:
        return next((at for at, phase in self._transcript.phases if phase == "answer"), self._transcript.length)


def _checks_pieces(monitor: Monitor) -> bool:
    whole = isinstance(monitor.trigger, ThinkEnd | Answer) or isinstance(monitor.remedy, Conclude)
    return monitor.delivery in ("interrupt", "final") and not whole


# Make the certificate from the records of the checks, or the reasons why there is none.

ENDED_WELL: frozenset[FinishReason] = frozenset(("stop", "tool_calls"))
"""The finish reasons of a model that completed its text. Only such a text can be verified."""


def unverified_reasons(
    records: Sequence[CheckRecord],
    monitors: Sequence[Monitor],
    refuted: Sequence[Span],
    finish_reason: FinishReason | None,
) -> tuple[UnverifiedReason, ...]:
    """Return the reasons, from *finish_reason* and the checks, why the text is not verified; empty if there are none.

    *records* are the checks on the returned text, and *refuted* are the spans of reasoning that feedback answers.
    """
    reasons = []
    if finish_reason not in ENDED_WELL:
        why = "the run ended before the model did" if finish_reason is None else f"finish reason {finish_reason!r}"
        reasons.append(UnverifiedReason("", None, f"the text did not end by itself: {why}"))
    if not any(monitor.required for monitor in monitors):
        reasons.append(UnverifiedReason("", None, "no required monitor watched this run"))
    records_of: dict[str, list[CheckRecord]] = {}
    for record in records:
        records_of.setdefault(record.monitor, []).append(record)
    for monitor in monitors:
        if not monitor.required:
            continue
        mine = records_of.get(monitor.name, [])
        reasons.extend(
            UnverifiedReason(monitor.name, _ground(record), describe(record.outcome, record.tries), record.verifier)
            for record in mine
            if not passed(record.outcome) and not _inside(_ground(record), refuted)
        )
        if not any(_shows(record, refuted) for record in mine):
            reasons.append(UnverifiedReason(monitor.name, None, "found nothing that it could show to be right"))
    return tuple(reasons)


def count_numbers(
    monitor: str, mentions: Sequence[Mention], records: Sequence[CheckRecord], refuted: Sequence[Span]
) -> NumberCount:
    """Count the *mentions* of numbers that *monitor* found, and those whose values stand in no claim that passed."""
    checked: set[str] = set()
    for record in records:
        if (
            record.monitor == monitor
            and isinstance(record.outcome, Judged)
            and isinstance(record.outcome.verdict, Pass)
        ):
            checked.update(record.outcome.verdict.values)
    standing = [mention for mention in mentions if not _inside(mention.span, refuted)]
    unchecked = tuple(mention.span for mention in standing if checked.isdisjoint(mention.values))
    return NumberCount(monitor, len(standing), unchecked)


def number_reasons(counts: Iterable[NumberCount]) -> Iterator[UnverifiedReason]:
    for count in counts:
        if count.unchecked:
            yield UnverifiedReason(count.monitor, None, str(count))
            for span in count.unchecked:
                yield UnverifiedReason(count.monitor, span, "this number has no check")


def certificate(
    transcript: Transcript,
    records: Sequence[CheckRecord],
    monitors: Sequence[Monitor],
    refuted: Sequence[Span],
    prompt_sha256: str,
    *,
    hid_reasoning: bool = False,
    chain: str = "",
) -> Certificate:
    """Return the certificate of the text of *transcript*, for which :func:`unverified_reasons` has found no reason.

    The name of the model is left empty.
    """
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
        scope="answer" if judges_answer(transcript, records, refuted, monitors) else "steps",
        hidden_reasoning=hid_reasoning,
        chain_sha256=chain,
    )


def judges_answer(
    transcript: Transcript, records: Sequence[CheckRecord], refuted: Sequence[Span], monitors: Sequence[Monitor]
) -> bool:
    """Tell whether a check that passed shows that the answer itself is right."""
    return any(_answers(record, transcript, monitors) for record in _good(records, refuted))


def coverage_reason(
    transcript: Transcript, records: Sequence[CheckRecord], refuted: Sequence[Span], least: float
) -> tuple[UnverifiedReason, ...]:
    """Return a reason if the claims that passed cover less of the text than *least*, a share from 0 to 1."""
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
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return tuple(merged)


def _answers(record: CheckRecord, transcript: Transcript, monitors: Sequence[Monitor]) -> bool:
    verdict = record.outcome.verdict if isinstance(record.outcome, Judged) else None
    if not isinstance(verdict, Pass) or verdict.scope != "answer" or not record.span:
        return False
    if transcript.phase_at(record.span.start) != "answer":
        return False
    return any(who.name == record.monitor and who.required and who.scope == "answer" for who in monitors)


def _ground(record: CheckRecord) -> Span:
    return record.segment if record.span is None else record.span


def _shows(record: CheckRecord, refuted: Sequence[Span]) -> bool:
    span = record.span
    return passed(record.outcome) and span is not None and len(span) > 0 and not _inside(span, refuted)


def _inside(span: Span, refuted: Sequence[Span]) -> bool:
    return any(other.covers(span) for other in refuted)
