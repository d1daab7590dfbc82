"""The open work of a run: which claims are being checked, for whom, and what is known already.

Why: docs/decisions/0014-when-a-verifier-fails.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, assert_never

import msgspec

from interwhen._types.claims import Claim
from interwhen._types.monitors import Monitor
from interwhen._types.results import CheckRecord, sha256
from interwhen._types.segments import Segment
from interwhen._types.spans import Span
from interwhen._types.verdicts import Cancelled, Errored, Judged, Outcome, Pass, Skipped, TimedOut, Verdict

Question: TypeAlias = tuple[int, str, str]
"""What is asked of a verifier: its number, the claim's key, and the claim's very text. Positions in a verdict are
relative to that text, so a verdict on one spelling says nothing on where another one is wrong."""


class OpenSegment(msgspec.Struct, eq=False):
    """A segment some of whose checks are still open."""

    span: Span
    pending: int = 1
    clear: bool = True
    certain: int | None = None
    """Up to where its words are certain, for a segment that the model has not finished; ``None``: it has."""
    torn: int | None = None
    """Where its last line begins, if a cut of ours ended that line in the middle: no claim is read in it."""


class Ref(msgspec.Struct, eq=False):
    """One claim of one monitor that waits for a verdict."""

    monitor: int
    claim: Claim
    segment: Segment
    home: OpenSegment

    @property
    def span(self) -> Span:
        """Where the claim stands; for one that is not grounded, its whole segment."""
        return self.segment.span if self.claim.span is None else self.claim.span

    @property
    def text(self) -> str:
        """The text of the claim; for one that is not grounded, nothing."""
        span = self.claim.span
        if span is None:
            return ""
        base = self.segment.span.start
        return self.segment.text[span.start - base : span.end - base]


class Job(msgspec.Struct, eq=False):
    """Something the engine does for us: one extraction, or one check for all claims that are equal."""

    number: int
    monitor: int
    segment: Segment
    home: OpenSegment
    refs: list[Ref] | None = None
    """``None`` for an extraction. Empty: the claim stands, but its segment is not complete any more; when it is
    again, the verdict will be there or on its way."""
    key: Question | None = None
    tries: int = 1
    """How often it has been ordered."""
    seconds: float = 0.0
    """How long the tries took that are over."""


class Loss(NamedTuple):
    """What one job lost because text was cut: claims of it, and perhaps its purpose."""

    job: int
    refs: tuple[Ref, ...]
    dropped: bool
    """Whether the job is off the books: nobody waits for it any more."""


@dataclass(slots=True)
class Work:
    """Knows every job, every verdict and every record. Decides nothing."""

    monitors: Sequence[Monitor]
    codes: Sequence[str] = ()
    """The hash of each monitor's verifier, as far as it is known."""
    jobs: dict[int, Job] = field(default_factory=dict)
    records: dict[tuple[int, str, Span, bool], CheckRecord] = field(default_factory=dict)
    """By monitor, claim and place, and whether the claim is tied to it: one that is not may be judged otherwise."""
    open_segments: list[dict[int, OpenSegment]] = field(default_factory=list)
    watched: int = -1
    """The monitor that holds the frontier back."""
    touched: bool = True
    """Whether anything has changed for that monitor since this was last set to false."""
    _opened: list[list[Span]] = field(default_factory=list)
    """For each monitor, the standing segments it has been shown, in order: they never overlap."""
    _unclear: list[list[Span]] = field(default_factory=list)
    """For each monitor, its standing segments without a pass; the first one comes first."""
    _verdicts: dict[Question, Verdict] = field(default_factory=dict)
    _in_flight: dict[Question, int] = field(default_factory=dict)
    _verifier_ids: list[int] = field(default_factory=list)
    _names: list[tuple[str, str, str]] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        self._names = [(who.name, who.verifier.name, who.verifier.version) for who in self.monitors]
        self.codes = (*self.codes, *[""] * (len(self.monitors) - len(self.codes)))
        self.open_segments = [{} for _ in self.monitors]
        self._opened = [[] for _ in self.monitors]
        self._unclear = [[] for _ in self.monitors]
        seen: list[tuple[object, object]] = []
        for monitor in self.monitors:
            # What was prepared belongs to the question: the same verifier with another preparation is another one.
            asked = (monitor.verifier, monitor.prepare)
            known = [
                number for number, other in enumerate(seen) if all(a is b for a, b in zip(other, asked, strict=True))
            ]
            self._verifier_ids.append(known[0] if known else len(seen))
            if not known:
                seen.append(asked)

    @property
    def awaited(self) -> bool:
        """Whether some job may still say something about a segment."""
        return any(job.refs is None or job.refs for job in self.jobs.values())

    def admit(self, monitor: int, span: Span) -> list[Loss] | None:
        """Make room for a segment of *monitor*; ``None`` if it has seen this very one.

        A segment that was complete only because of text that is cut now may have grown into a longer one, and
        then counts no more; return what was lost with it.
        """
        opened = self._opened[monitor]
        if not opened or opened[-1].end <= span.start:
            return []
        if opened[-1] == span:
            return None
        while opened and opened[-1].end > span.start:
            opened.pop()
        return self._forget(lambda who, segment: who == monitor and segment.end > span.start, None)

    def withdraw(self, looks: Iterable[tuple[int, Span]]) -> list[Loss]:
        """Forget *looks*, each of a monitor at a segment that was not finished; return what was lost with them."""
        gone = set(looks)
        for monitor, span in gone:
            opened = self._opened[monitor]
            if opened and opened[-1] == span:
                opened.pop()
        return self._forget(lambda who, segment: (who, segment) in gone, None)

    def extraction(self, monitor: int, segment: Segment, certain: int | None = None, torn: int | None = None) -> Job:
        """Open *segment* for *monitor*: its claims are not known yet."""
        self._opened[monitor].append(segment.span)
        self._next += 1
        home = OpenSegment(segment.span, certain=certain, torn=torn)
        self.open_segments[monitor][id(home)] = home
        job = Job(self._next, monitor, segment, home)
        self.jobs[job.number] = job
        return job

    def question(self, ref: Ref) -> Question:
        """Return what the claim of *ref* asks its verifier."""
        return self._verifier_ids[ref.monitor], ref.claim.key, ref.text

    def known(self, question: Question) -> Verdict | None:
        """Return the verdict on an equal claim, if there is one."""
        return self._verdicts.get(question)

    def join(self, ref: Ref, key: Question) -> Job | None:
        """Wait for a verdict on the claim of *ref*; return the job if it is a new one."""
        number = self._in_flight.get(key)
        if number is not None:
            refs = self.jobs[number].refs
            assert refs is not None
            refs.append(ref)
            return None
        self._next += 1
        job = Job(self._next, ref.monitor, ref.segment, ref.home, [ref], key)
        self.jobs[job.number] = job
        self._in_flight[key] = job.number
        return job

    def is_asked(self, question: Question) -> bool:
        """Tell whether a verdict on an equal claim is on its way."""
        return question in self._in_flight

    def close(self, number: int) -> Job | None:
        """Take a job that ended off the books; ``None`` for one that nobody waits for any more."""
        job = self.jobs.pop(number, None)
        if job is not None and job.key is not None:
            del self._in_flight[job.key]
        return job

    def learn(self, job: Job, outcome: Outcome) -> None:
        """Keep a verdict for equal claims. Errors and timeouts are no knowledge."""
        if isinstance(outcome, Judged) and job.key is not None:
            self._verdicts[job.key] = outcome.verdict

    def record(self, ref: Ref, outcome: Outcome, seconds: float, tries: int = 1) -> CheckRecord:
        """Write down how the check of one claim ended."""
        record = self.describe(ref, outcome, seconds, tries)
        self.records[ref.monitor, ref.claim.key, ref.span, ref.claim.span is not None] = record
        return record

    def describe(self, ref: Ref, outcome: Outcome, seconds: float, tries: int = 1) -> CheckRecord:
        """Say how the check of one claim ended, without keeping it."""
        claim, segment = ref.claim, ref.segment.span
        words = "" if claim.span is None else sha256(ref.text)
        return self._record(ref.monitor, claim.key, claim.span, segment, outcome, seconds, tries, words)

    def record_extraction(self, job: Job, outcome: Outcome, seconds: float) -> CheckRecord:
        """Write down an extraction that brought no claims because it failed."""
        record = self._record(job.monitor, "", None, job.segment.span, outcome, seconds)
        self.records[job.monitor, "", job.segment.span, False] = record
        return record

    def settle(self, monitor: int, home: OpenSegment, *, passed: bool) -> None:
        """Count one end for a segment."""
        if monitor == self.watched:
            self.touched = True
        home.pending -= 1
        home.clear = home.clear and passed
        if home.pending > 0 or self.open_segments[monitor].pop(id(home), None) is None:
            return
        if not home.clear:
            unclear = self._unclear[monitor]
            unclear.append(home.span)
            if home.span < unclear[0]:
                unclear[0], unclear[-1] = unclear[-1], unclear[0]

    def first_open(self, monitor: int) -> int | None:
        """Return where the first segment of *monitor* with open checks starts."""
        # They were opened in the order of the text, and none is opened again without being forgotten first.
        return next((home.span.start for home in self.open_segments[monitor].values()), None)

    def first_unclear(self, monitor: int) -> int | None:
        """Return where the first standing segment of *monitor* without a pass starts."""
        unclear = self._unclear[monitor]
        return unclear[0].start if unclear else None

    def ordered_records(self) -> tuple[CheckRecord, ...]:
        """Return the records of the standing text, in an order that does not depend on time."""
        return tuple(
            sorted(
                self.records.values(),
                key=lambda record: (
                    record.segment,
                    record.segment if record.span is None else record.span,
                    record.monitor,
                    record.key,
                ),
            )
        )

    def cut(self, to: int) -> list[Loss]:
        """Forget the text from *to* on; return what was lost with it."""
        for opened in self._opened:
            while opened and opened[-1].end > to:
                opened.pop()
        return self._forget(lambda _who, segment: segment.end > to, to)

    def forgive(self, spans: Sequence[Span]) -> None:
        """Let the frontier pass over *spans*, whose violations have been answered."""
        self.touched = True
        for monitor, unclear in enumerate(self._unclear):
            kept = [span for span in unclear if not any(other.covers(span) for other in spans)]
            self._unclear[monitor] = sorted(kept)
        for segments in self.open_segments:
            for home in segments.values():
                home.clear = home.clear or any(other.covers(home.span) for other in spans)

    def _forget(self, goes: Callable[[int, Span], bool], to: int | None) -> list[Loss]:
        self.touched = True
        for monitor, segments in enumerate(self.open_segments):
            for key in [key for key, home in segments.items() if goes(monitor, home.span)]:
                del segments[key]
            self._unclear[monitor] = sorted(span for span in self._unclear[monitor] if not goes(monitor, span))
        self.records = {key: record for key, record in self.records.items() if not goes(key[0], record.segment)}
        losses = []
        for job in list(self.jobs.values()):
            loss = self._lose(job, goes, to)
            if loss is not None:
                losses.append(loss)
        return losses

    def _lose(self, job: Job, goes: Callable[[int, Span], bool], to: int | None) -> Loss | None:
        if job.refs is None:
            if not goes(job.monitor, job.segment.span):
                return None
            self.close(job.number)
            return Loss(job.number, (), dropped=True)
        lost = tuple(ref for ref in job.refs if goes(ref.monitor, ref.segment.span))
        if not lost:
            return None
        job.refs = [ref for ref in job.refs if not goes(ref.monitor, ref.segment.span)]
        wanted = job.refs or any(ref.claim.span is not None and (to is None or ref.span.end <= to) for ref in lost)
        if not wanted:
            self.close(job.number)
        return Loss(job.number, lost, dropped=not wanted)

    def _record(
        self,
        monitor: int,
        key: str,
        span: Span | None,
        segment: Span,
        outcome: Outcome,
        seconds: float,
        tries: int = 1,
        words: str = "",
    ) -> CheckRecord:
        name, verifier, version = self._names[monitor]
        code = self.codes[monitor]
        return CheckRecord(name, verifier, version, key, span, segment, outcome, seconds, tries, words, code)


def passed(outcome: Outcome) -> bool:
    """Tell whether a check ended in a pass: nothing else is one."""
    return isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass)


def describe(outcome: Outcome, tries: int = 1) -> str:
    """Say in words how a check ended that is no pass."""
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


# A verifier that fails time after time is asked no more, but for a trial now and then.

FIRST_TRIAL = 8
"""How many checks are skipped before one is tried; after each trial that fails, twice as many."""
LAST_TRIAL = 128


@dataclass(slots=True)
class Breaker:
    """Counts the failures in a row of one verifier in one run, whichever monitor asked. Time plays no part."""

    limit: int | None
    """How many it takes; ``None``: it never opens."""
    failures: int = 0
    is_open: bool = False
    _skipped: int = 0
    _wait: int = FIRST_TRIAL

    def admits(self) -> bool:
        """Tell whether a check that is due may run, and count it if not."""
        if not self.is_open:
            return True
        if self._skipped < self._wait:
            self._skipped += 1
            return False
        # Should the trial be called off, the next one comes by the same count: nothing waits for its end.
        self._skipped = 0
        self._wait = min(self._wait * 2, LAST_TRIAL)
        return True

    def takes(self, outcome: Outcome) -> bool:
        """Take the end of a check; tell whether that opened or closed the breaker."""
        was_open = self.is_open
        if isinstance(outcome, Judged):
            self.failures, self.is_open = 0, False
            self._skipped, self._wait = 0, FIRST_TRIAL
        elif isinstance(outcome, Errored | TimedOut):
            self.failures += 1
            self.is_open = self.limit is not None and self.failures >= self.limit
        return self.is_open is not was_open
