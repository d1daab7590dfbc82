"""The open work of a run: which claims are being checked, for whom, and what is known already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from interwhen.claims import Claim
from interwhen.monitors import Monitor
from interwhen.results import CheckRecord
from interwhen.segments import Segment
from interwhen.spans import Span
from interwhen.verdicts import Cancelled, Errored, Judged, Outcome, Pass, Verdict


@dataclass(slots=True, eq=False)
class OpenSegment:
    """A segment some of whose checks are still open."""

    span: Span
    pending: int = 1
    clear: bool = True


@dataclass(slots=True, eq=False)
class Ref:
    """One claim of one monitor that waits for a verdict."""

    monitor: int
    claim: Claim
    segment: Segment
    home: OpenSegment

    def stands(self, length: int) -> bool:
        """Tell whether the text the claim rests on lies within the first *length* characters."""
        span = self.claim.span or self.segment.span
        return span.end <= length


@dataclass(slots=True, eq=False)
class Job:
    """Something the engine does for us: one extraction, or one check for all claims that are equal."""

    number: int
    monitor: int
    segment: Segment
    home: OpenSegment
    refs: list[Ref] | None = None
    """``None`` for an extraction."""
    key: tuple[int, str] | None = None


@dataclass(slots=True)
class Work:
    """Knows every job, every verdict and every record. Decides nothing."""

    monitors: Sequence[Monitor]
    jobs: dict[int, Job] = field(default_factory=dict)
    records: dict[tuple[int, str, Span], CheckRecord] = field(default_factory=dict)
    open_segments: list[dict[int, OpenSegment]] = field(default_factory=list)
    stuck: list[int | None] = field(default_factory=list)
    """For each monitor, where its first standing segment without a pass starts."""
    _verdicts: dict[tuple[int, str], Verdict] = field(default_factory=dict)
    _in_flight: dict[tuple[int, str], int] = field(default_factory=dict)
    _verifier_ids: list[int] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        self.open_segments = [{} for _ in self.monitors]
        self.stuck = [None for _ in self.monitors]
        seen: list[object] = []
        for monitor in self.monitors:
            known = [number for number, other in enumerate(seen) if other is monitor.verifier]
            self._verifier_ids.append(known[0] if known else len(seen))
            if not known:
                seen.append(monitor.verifier)

    def extraction(self, monitor: int, segment: Segment) -> Job:
        """Open *segment* for *monitor*: its claims are not known yet."""
        self._next += 1
        home = OpenSegment(segment.span)
        self.open_segments[monitor][id(home)] = home
        job = Job(self._next, monitor, segment, home)
        self.jobs[job.number] = job
        return job

    def known(self, ref: Ref) -> Verdict | None:
        """Return the verdict on an equal claim, if there is one."""
        return self._verdicts.get((self._verifier_ids[ref.monitor], ref.claim.key))

    def join(self, ref: Ref) -> Job | None:
        """Wait for a verdict on the claim of *ref*; return the job if it is a new one."""
        key = (self._verifier_ids[ref.monitor], ref.claim.key)
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

    def record(self, ref: Ref, outcome: Outcome, seconds: float) -> CheckRecord:
        """Write down how the check of one claim ended."""
        record = self._record(ref.monitor, ref.claim.key, ref.claim.span, ref.segment.span, outcome, seconds)
        self.records[ref.monitor, ref.claim.key, ref.claim.span or ref.segment.span] = record
        return record

    def record_extraction(self, job: Job, outcome: Outcome, seconds: float) -> CheckRecord:
        """Write down an extraction that brought no claims because it failed."""
        record = self._record(job.monitor, "", None, job.segment.span, outcome, seconds)
        self.records[job.monitor, "", job.segment.span] = record
        return record

    def settle(self, monitor: int, home: OpenSegment, *, passed: bool) -> bool:
        """Count one end for a segment; return whether it is complete now."""
        home.pending -= 1
        home.clear = home.clear and passed
        if home.pending > 0 or self.open_segments[monitor].pop(id(home), None) is None:
            return False
        stuck = self.stuck[monitor]
        if not home.clear and (stuck is None or home.span.start < stuck):
            self.stuck[monitor] = home.span.start
        return True

    def first_open(self, monitor: int) -> int | None:
        """Return where the first segment of *monitor* with open checks starts."""
        segments = self.open_segments[monitor]
        return min((home.span.start for home in segments.values()), default=None) if segments else None

    def cut(self, to: int) -> Iterator[tuple[Job, list[Ref]]]:
        """Forget the text from *to* on. Yield each job that lost claims, with those it lost.

        A job without claims left is off the books when it is yielded.
        """
        for segments in self.open_segments:
            for key in [key for key, home in segments.items() if home.span.end > to]:
                del segments[key]
        self.records = {key: record for key, record in self.records.items() if key[2].end <= to}
        self.stuck = [None if stuck is None or stuck >= to else stuck for stuck in self.stuck]
        for job in list(self.jobs.values()):
            if job.refs is None:
                if job.segment.span.end > to:
                    self.close(job.number)
                    yield job, []
                continue
            lost = [ref for ref in job.refs if not ref.stands(to)]
            if lost:
                job.refs = [ref for ref in job.refs if ref.stands(to)]
                if not job.refs:
                    self.close(job.number)
                yield job, lost

    def forgive(self, span: Span) -> None:
        """Let the frontier pass over *span*, whose violation has been answered."""
        self.stuck = [None if stuck is not None and span.start <= stuck < span.end else stuck for stuck in self.stuck]

    def _record(
        self, monitor: int, key: str, span: Span | None, segment: Span, outcome: Outcome, seconds: float
    ) -> CheckRecord:
        who = self.monitors[monitor]
        return CheckRecord(
            monitor=who.name,
            verifier=who.verifier.name,
            version=who.verifier.version,
            key=key,
            span=span,
            segment=segment,
            outcome=outcome,
            seconds=seconds,
        )


def passed(outcome: Outcome) -> bool:
    """Tell whether a check ended in a pass: nothing else is one."""
    return isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass)


def describe(outcome: Outcome) -> str:
    """Say in words how a check ended that is no pass."""
    match outcome:
        case Judged(verdict=verdict):
            return f"{type(verdict).__name__.lower()}: {getattr(verdict, 'why', '')}".strip()
        case Errored(error=error):
            return f"error: {error}"
        case Cancelled(why=why):
            return f"cancelled: {why}"
        case _:
            return f"{type(outcome).__name__}: {getattr(outcome, 'why', '')}{getattr(outcome, 'deadline', '')}"
