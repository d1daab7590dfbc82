"""The scribe of a run: notes what its core does with each fact, and when. Why: docs/decisions/journal.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from interwhen._core.machine import Core
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Close,
    Drop,
    Ended,
    Extract,
    Extracted,
    Fact,
    Idle,
    Opened,
    Order,
    OutOfTime,
    Resumed,
    Settled,
    Suspend,
    SwitchedOff,
)
from interwhen._core.release import refuted
from interwhen._types.events import CheckSettled, CheckStarted, Event, FrontierMoved, Remedied, ViolationFound
from interwhen._types.ledger import WireReport
from interwhen._types.models import Chunk
from interwhen._types.results import Certificate, CheckRecord, Result, Verified, ViolationRecord
from interwhen._types.segments import Span, sha256
from interwhen._types.verdicts import Cancelled, Judged, Outcome, Pass, Skipped, TimedOut
from interwhen.journal._records import Header, SpentRecord
from interwhen.journal._tape import Tape
from interwhen.journal._timeline import (
    CheckTimes,
    ForkTimes,
    FrontierStep,
    GrowingNotes,
    Incident,
    RemedyTimes,
    RequestTimes,
    TextShown,
)


class _OrderedCheck(NamedTuple):
    """What the scribe must know of a check to find it again. Offsets are in characters."""

    monitor: str
    key: str
    span: Span | None
    tokens: int
    """The tokens of the model when it was ordered."""


class Scribe:
    # Call `before` and `after` around each step of the core, which may be live or rebuilt from a journal. If the
    # journal is redacted, the notes have no text, key of a claim or reason, and `keyed` makes the stored hash of each
    # hash. Their offsets are in UTF-16 units, or with `in_characters` in characters.

    def __init__(
        self, core: Core, header: Header, *, keyed: Callable[[str], str] = str, in_characters: bool = False
    ) -> None:
        self.core = core
        self.recording = GrowingNotes()
        self._notes = notes = self.recording.notes
        self._keyed = keyed
        self._redacted = header.redacted
        self._who = {
            one.name: (header.verifiers[one.verifier].name, header.verifiers[one.verifier].version)
            for one in header.monitors
        }
        self._inline = {one.name for one in header.monitors if header.verifiers[one.verifier].worker == "inline"}
        self._names = [one.name for one in header.monitors]
        self.tape = Tape(core.transcript, notes, in_characters=in_characters, redacted=header.redacted)
        self._number = 0
        """Each fact has the next number, and so has the cut that it leads to."""
        self._shown: int | None = None
        """The offset up to which the reader has the trace; ``None``: all of it."""
        self._claims: list[_OrderedCheck] = []
        self._open: dict[tuple[str, str, Span | None], list[int]] = {}
        self._uncut: list[int] = []
        self._open_forks: dict[int, int] = {}
        self._answered: set[tuple[object, ...]] = set()
        """The violations with a remedy."""
        self._closes: list[tuple[int, int | None, float, int]] = []
        """For each stream that we closed: the request, the remedy (set later), and time and number of the order."""
        self._spent = SpentRecord()
        self._fork_counts = (0, 0, 0)
        self._length = 0
        self._count = 0
        # What the current step has shown so far.
        self._fact_times: tuple[float, float, str] | None = None
        """Seconds, queued seconds and worker of the job that ended."""
        self._removed: tuple[int, int, int] | None = None
        """The cut, its characters and its tokens."""
        self._finding: int | None = None
        """The fork whose claims are checked."""

    def before(self) -> None:
        # So that `after` sees what the step changes.
        transcript = self.core.transcript
        self._length = transcript.kept_until = transcript.length
        self._count = len(self.core.events)
        self._fact_times = self._removed = self._finding = None

    def after(self, at: float, fact: Fact, orders: Sequence[Order]) -> None:
        self._notes.end = at
        self._number += 1
        transcript = self.core.transcript
        events = self.core.events
        if is_chunk := isinstance(fact, Chunk):
            self._chunk(at, fact)
        else:
            self._fact(at, fact)
        # Before the cut, because the offsets of checks and segments are those of the text that they judged.
        for place in range(self._count, len(events)):
            self._check_event(at, events[place])
        if transcript.kept_until < self._length or (not is_chunk and transcript.length > self._length):
            self._changed(at)
        if orders:
            self._ordered(at, orders)
        for place in range(self._count, len(events)):
            self._event(at, events[place])
        released = None if self.core.released == transcript.length else self.core.released
        if released != self._shown:
            self._shown = released
            to = None if released is None else self.tape.units(released)
            self._notes.shown.append(TextShown(at, to, number=self._number))

    def _chunk(self, at: float, chunk: Chunk) -> None:
        transcript = self.core.transcript
        number, request = self._last()
        is_open = request is not None and request.how == "open"
        if transcript.kept_until >= self._length:
            if transcript.length > self._length:
                self.tape.grow(self._number, at, self._length, chunk.tokens)
            elif is_open and chunk.text:
                self.tape.owe(chunk.tokens)
        if request is None:
            return
        if chunk.text and request.first is None and is_open:
            self._put_request(number, replace(request, first=at))
        if chunk.usage is not None:
            self._change("requests", number, usage=chunk.usage)

    def spent(self, record: SpentRecord) -> None:
        notes, known = self._notes, self._spent
        self._spent = record
        for place, latency in enumerate(record.close_latency[: len(self._closes)]):
            number, remedy, began, _ = self._closes[place]
            if notes.requests[number].ended != began + latency:
                self._change("requests", number, ended=began + latency)
            if remedy is not None and notes.remedies[remedy].closed is None:
                self._change("remedies", remedy, closed=began + latency)
        if record.behind is not None and notes.requests:
            self._change("requests", len(notes.requests) - 1, usage=record.behind)
        tokens, prompt_tokens, cached_tokens = self._fork_counts
        self._fork_counts = (
            tokens + record.fork_tokens - known.fork_tokens,
            prompt_tokens + record.fork_prompt_tokens - known.fork_prompt_tokens,
            cached_tokens + record.fork_cached_tokens - known.fork_cached_tokens,
        )

    def ended(self, at: float, result: Result) -> None:
        notes = self._notes
        notes.end = max(notes.end, at)
        for record in result.violations:
            if record.remedy is not None and _identity(record) not in self._answered:
                # The run was given up: the core emits no event for it.
                self._remedy(at, record)
        noted = without_text(result, self.tape.span)
        if isinstance(result, Verified):
            notes.certified = self._certified(result.certificate)
        if self._redacted:
            notes.text_sha256 = self._keyed(sha256(result.text))
            noted = _without_words(noted, self._keyed)
        notes.result = noted

    def _certified(self, certificate: Certificate) -> tuple[int, ...]:
        checks = self._notes.checks
        places: dict[object, int] = {
            (one.monitor, one.key, one.span): place
            for place, one in enumerate(self._claims)
            if checks[place].cut is None and checks[place].outcome is not None
        }
        known = [places.get((one.monitor, one.key, one.span)) for one in certificate.checks]
        return tuple(number for number in known if number is not None)

    def _unsaid(self, *names: str) -> dict[str, Any]:
        return dict.fromkeys(names, "") if self._redacted else {}

    def _said(self, outcome: Outcome) -> Outcome:
        if not self._redacted or isinstance(outcome, TimedOut):
            return outcome
        if not isinstance(outcome, Judged):
            return type(outcome)("")
        verdict = outcome.verdict
        return Judged(Pass(scope=verdict.scope) if isinstance(verdict, Pass) else type(verdict)(why=""))

    def _changed(self, at: float) -> None:
        transcript = self.core.transcript
        kept = min(transcript.kept_until, self._length)
        if kept < self._length:
            self._number += 1
            tokens = self.tape.cut(self._number, at, kept, self._length - kept)
            number = len(self._notes.cuts) - 1
            still = []
            for place in self._uncut:
                span = self._claims[place].span
                if span is not None and span.end > kept:
                    self._change("checks", place, cut=number)
                else:
                    still.append(place)
            self._uncut = still
            self._removed = number, self._length - kept, tokens
        if transcript.length > kept:
            self.tape.grow(self._number, at, kept, 0)

    def _fact(self, at: float, fact: Fact) -> None:  # noqa: C901  one case a fact
        match fact:
            case Opened(resume=resume, reason=reason, seconds=seconds):
                self._request(sent=at - seconds, accepted=at, resume=resume, reason=reason, remedy=self._unanswered())
            case Ended():
                self._end_request(at, "ended")
            case Broken(error=error, seconds=seconds):
                if not self._end_request(at, "broken", error):
                    self._request(sent=at - seconds, ended=at, how="refused", error=error)
                self._incident(at, "broken", error)
            case Extracted(job=job, claims=claims):
                self._end_fork(at, job, fact, claims=len(claims))
            case Settled(job=job, outcome=outcome, seconds=seconds, queued=queued, worker=worker):
                self._end_fork(at, job, fact, outcome=self._said(outcome))
                self._fact_times = seconds, queued, worker
            case OutOfTime(seconds=seconds):
                self._incident(at, "out_of_time", f"{seconds:g} s")
            case Idle(seconds=seconds, dead=dead):
                self._incident(at, "idle", f"{seconds:g} s" + (", probably dead" if dead else ""))
            case Abandoned():
                self._incident(at, "abandoned")
            case Resumed():
                self._end_request(at, "broken", "the process ended")
                self._incident(at, "resumed")
            case SwitchedOff():
                self._incident(at, "switched_off")

    def _last(self) -> tuple[int, RequestTimes | None]:
        number = len(self._notes.requests) - 1
        return number, self._notes.requests.get(number)

    def _unanswered(self) -> int | None:
        number = len(self._notes.remedies) - 1
        return number if number >= 0 and self._notes.remedies[number].request is None else None

    def _request(self, **fields: Any) -> None:
        start = self.tape.units(self.core.transcript.length)
        fields |= self._unsaid("error")
        self._put_request(len(self._notes.requests), RequestTimes(number=self._number, start=start, **fields))

    def _put_request(self, number: int, request: RequestTimes) -> None:
        self.recording.put("requests", number, request)
        if request.remedy is not None:  # the remedy is over with the first token of this request
            times = {"sent": request.sent, "accepted": request.accepted, "first": request.first}
            self._change("remedies", request.remedy, request=number, **times)

    def _end_request(self, at: float, how: Literal["ended", "closed", "broken"], error: str = "") -> bool:
        # False: no request was open.
        number, request = self._last()
        if request is None or request.how != "open":
            return False
        self._change("requests", number, ended=at, how=how, error="" if self._redacted else error)
        return True

    def _end_fork(self, at: float, job: int, fact: Extracted | Settled, **ending: Any) -> None:
        place = self._open_forks.pop(job, None)
        if place is None:
            return
        if fact.worker:
            ending["began"] = at - fact.seconds + fact.queued
        tokens, prompt_tokens, cached_tokens = self._fork_counts
        self._fork_counts = (0, 0, 0)
        counts = {"tokens": tokens, "prompt_tokens": prompt_tokens, "cached_tokens": cached_tokens}
        self._change("forks", place, ended=at, worker=fact.worker, **counts, **ending)
        self._finding = place

    def _ordered(self, at: float, orders: Sequence[Order]) -> None:
        forks = self._notes.forks
        for order in orders:
            match order:
                case Extract(job=job, monitor=monitor, segment=segment, pieces=pieces) if pieces is not None:
                    self._open_forks[job] = len(forks)
                    fork = ForkTimes(
                        monitor=self._names[monitor],
                        segment=self.tape.span(segment.span),
                        ordered=at,
                        number=self._number,
                    )
                    self.recording.put("forks", len(forks), fork)
                case Drop(job=job) if job in self._open_forks:
                    outcome = self._said(Cancelled("it is not needed any more"))
                    self._change("forks", self._open_forks.pop(job), ended=at, outcome=outcome)
                case Close():
                    if self._end_request(at, "closed"):
                        self._closes.append((self._last()[0], None, at, self._number))
                case Suspend(verifier=verifier, failures=failures):
                    self._incident(at, "suspended" if failures else "restored", verifier)
                case _:
                    pass

    def _incident(self, at: float, what: Any, text: str = "") -> None:
        self._notes.incidents.append(Incident(at, what, "" if self._redacted else text, number=self._number))

    def _check_event(self, at: float, event: Event) -> None:
        match event:
            case CheckStarted(monitor=monitor, key=key, span=span):
                self._start(at, monitor, key, span)
            case CheckSettled(check=check):
                self._settle(at, check)
            case ViolationFound(violation=violation):
                place = self._check_of(violation)
                if place is not None:
                    self._change("checks", place, interrupted=violation.interrupted)
            case _:
                pass

    def _event(self, at: float, event: Event) -> None:
        match event:
            case FrontierMoved(to=to):
                self._notes.frontier.append(FrontierStep(at, self.tape.units(to), number=self._number))
            case Remedied(violation=violation):
                self._remedy(at, violation)
            case _:
                pass

    def _start(self, at: float, monitor: str, key: str, span: Span | None) -> None:
        place = len(self._claims)
        self._claims.append(_OrderedCheck(monitor, key, span, self.tape.model_tokens))
        self._uncut.append(place)
        self._open.setdefault((monitor, key, span), []).append(place)
        verifier, version = self._who[monitor]
        check = CheckTimes(
            number=self._number,
            monitor=monitor,
            verifier=verifier,
            version=version,
            key="" if self._redacted else key,
            span=self.tape.span(span),
            ordered=at,
            fork=self._finding,
        )
        self.recording.put("checks", place, check)

    def _settle(self, at: float, record: CheckRecord) -> None:
        claim = (record.monitor, record.key, record.span)
        if claim not in self._open:  # a cached verdict, a skipped check, or an extraction that failed
            self._start(at, *claim)
        places = self._open[claim]
        place = places.pop(0)
        if not places:
            del self._open[claim]
        outcome = record.outcome
        fields: dict[str, Any] = {"key": self._keyed(record.claim_sha256)} if self._redacted else {}
        if isinstance(outcome, Judged) and outcome.cached:
            fields |= {"worker": "cache", "began": at}
        elif self._fact_times is not None and not isinstance(outcome, Skipped | Cancelled):
            seconds, queued, worker = self._fact_times
            if not worker and record.monitor in self._inline:
                worker = "inline"
            if worker:
                began = max(at - seconds + queued, self._notes.checks[place].ordered)
                fields |= {"worker": worker, "began": began}
        self._change(
            "checks",
            place,
            segment=self.tape.span(record.segment),
            ended=at,
            settled=self._number,
            outcome=self._said(outcome),
            tries=record.tries,
            lag=self.tape.model_tokens - self._claims[place].tokens,
            **fields,
        )

    def _check_of(self, violation: ViolationRecord) -> int | None:
        for place in range(len(self._claims) - 1, -1, -1):
            claim = self._claims[place]
            is_same = (claim.monitor, claim.key) == (violation.monitor, violation.key)
            is_there = claim.span is None or claim.span.covers(violation.span)
            if is_same and is_there and refuted(self._notes.checks[place].outcome):
                return place
        return None

    def _remedy(self, at: float, violation: ViolationRecord) -> None:
        self._answered.add(_identity(violation))
        tape, number = self.tape, len(self._notes.remedies)
        fields: dict[str, Any] = {"found": at, "number": self._number}
        place = self._check_of(violation)
        if place is not None:
            self._change("checks", place, remedy=number)
            check = self._notes.checks[place]
            fields |= {"found": at if check.ended is None else check.ended, "number": check.settled or self._number}
        if self._removed is not None:
            cut, removed, tokens = self._removed
            made = tape.credit(cut, number)
            fields |= {"cut": made.at, "removed": removed, "removed_tokens": tokens}
            self._removed = None
        if violation.inserted:
            fields["written"] = at
        if self._closes:
            request, known, closed, ordered = self._closes[-1]
            if known is None and request == len(self._notes.requests) - 1 and ordered >= fields["number"]:
                self._closes[-1] = request, number, closed, ordered
                if len(self._closes) <= len(self._spent.close_latency):
                    fields["closed"] = closed + self._spent.close_latency[len(self._closes) - 1]
        noted = replace(
            violation,
            span=tape.span(violation.span),
            cut=None if violation.cut is None else tape.units(violation.cut),
            **self._unsaid("key", "quote", "why", "witness", "inserted"),
        )
        self.recording.put(
            "remedies", number, RemedyTimes(violation=noted, remedy=violation.remedy, check=place, **fields)
        )

    def _change(self, name: str, index: int, **changes: Any) -> None:
        self.recording.put(name, index, replace(getattr(self._notes, name)[index], **changes))


def _identity(violation: ViolationRecord) -> tuple[object, ...]:
    return violation.monitor, violation.key, violation.span, violation.remedy, violation.cut


def without_text(result: Result, span: Callable[[Span | None], Span | None]) -> Result:
    # Also without what the notes have elsewhere. `span` converts offsets in characters to those of the notes.
    fields: dict[str, Any] = {"insertions": tuple(replace(one, span=span(one.span)) for one in result.insertions)}
    if reasons := getattr(result, "unverified_reasons", ()):
        fields["unverified_reasons"] = tuple(replace(one, span=span(one.span)) for one in reasons)
    if isinstance(result, Verified):
        certificate = result.certificate
        covered, refuted = tuple(map(span, certificate.covered)), tuple(map(span, certificate.refuted))
        fields["certificate"] = replace(certificate, checks=(), covered=covered, refuted=refuted, signature="")
    for name in ("checks", "violations", "precomputed", "prompt_findings", "numbers"):
        fields[name] = ()
    return replace(result, text="", reasoning="", answer="", journal=None, context=None, **fields)


def _without_words(result: Result, keyed: Callable[[str], str]) -> Result:
    fields: dict[str, Any] = {name: "" for name in ("reason", "error") if hasattr(result, name)}
    if reasons := getattr(result, "unverified_reasons", ()):
        fields["unverified_reasons"] = tuple(replace(one, why="") for one in reasons)
    if isinstance(result, Verified):
        certificate = result.certificate
        hashes = {name: keyed(getattr(certificate, name)) for name in _HASHES}
        fields["certificate"] = replace(certificate, **hashes)
    # The samples of skipped events quote what a server sent.
    return replace(result, wire=WireReport(), **fields)


_HASHES = ("text_sha256", "prompt_sha256", "chain_sha256")
