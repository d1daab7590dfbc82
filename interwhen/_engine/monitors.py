"""The monitors of a run and of its prompt: preparation, extractions, checks, and the states of trackers."""

from __future__ import annotations

import dataclasses
import inspect
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import CoroutineType
from typing import Any, NamedTuple, cast

import anyio
import anyio.to_thread
import msgspec

from interwhen._core.checks import tracks
from interwhen._core.messages import Drop, Extract, Extracted, Fact, Invalidate, Settled
from interwhen._core.release import merge
from interwhen._engine.loop_blocking import is_own_cancellation
from interwhen._types.errors import name_error, name_value
from interwhen._types.extensions import Task, WorkerPool
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import Message, Prompt, Reply
from interwhen._types.monitors import Fork, Monitor, Prepare, Recognizer, Tracker
from interwhen._types.prompts import PromptAction, PromptFinding, PromptMonitor, PromptRefused, PromptText
from interwhen._types.results import PromptOutcome, PromptRecord
from interwhen._types.segments import Claim, Mention, Segment, Span, WrittenCalls
from interwhen._types.triggers import ToolCalls
from interwhen._types.verdicts import Errored, Judged, Outcome, Pass, TimedOut, Unknown, Verdict, Violation
from interwhen._types.verifiers import Verifier, Worker, is_async

# Run one check or one extraction, and turn every possible end of it, including exceptions, into an outcome.

LONGEST = 65_536
"""The longest text in a verdict, in characters."""
MOST_CLAIMS = 10_000
"""The largest number of claims, and of a recognizer's spans, in one segment."""
_MISSING = object()


def as_outcome(verifier: Verifier, claim: Claim, value: object) -> Outcome:
    flaw: str | None
    # The types are compared exactly: isinstance would accept a mock whose __class__ is Pass.
    if type(value) is Pass:
        flaw = _text_flaw("evidence", value.evidence)
        if flaw is None and value.scope not in ("answer", "steps"):
            flaw = "whose scope is neither 'answer' nor 'steps'"
    elif type(value) is Unknown:
        flaw = _text_flaw("why", value.why)
        if flaw is None and type(value.excused) is not bool:
            flaw = "whose excused is not a bool"
    elif type(value) is Violation:
        flaw = _flaw(value, claim)
    else:
        if type(value) is CoroutineType:
            value.close()
        flaw = "which is not a Pass, Violation or Unknown"
    if flaw is None:
        return Judged(cast("Verdict", value))
    return Errored(f"verifier {verifier.name!r} returned {name_value(value)}, {flaw}"[:500])


def _text_flaw(label: str, value: object) -> str | None:
    # A subclass of str is refused, because it can run any code when it is sliced, compared or written.
    if type(value) is not str:
        return f"whose {label} is not a str"
    if len(value) > LONGEST:
        return f"whose {label} is longer than {LONGEST} characters"
    return None


def _flaw(violation: Violation, claim: Claim) -> str | None:
    texts = [("why", violation.why), ("witness", violation.witness)]
    if violation.repair is not None:
        texts.append(("repair", violation.repair))
    for label, value in texts:
        if (flaw := _text_flaw(label, value)) is not None:
            return flaw
    where = violation.where
    if where is None:
        return None
    if not _is_span(where):
        return "whose where is not a Span"
    if claim.span is not None and where.end > len(claim.span):
        return f"whose where lies outside the claim, which is {len(claim.span)} characters long"
    return None


def _is_span(value: object) -> bool:
    return type(value) is Span and type(value.start) is int and type(value.end) is int


def check_inline(verifier: Verifier, claim: Claim) -> Outcome:
    try:
        return as_outcome(verifier, claim, verifier.check(claim))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (any error of the verifier is its outcome)
        return Errored(name_error(error))


async def check_aside(verifier: Verifier, claim: Claim, *, workers: WorkerPool, scope: anyio.CancelScope) -> Outcome:
    # `scope` is the cancel scope around this call, with the deadline of the check.
    try:
        match verifier.worker:
            case "process" | "thread":
                value, failure = await workers.check(verifier, claim, scope)
                if failure is not None:
                    return Errored(failure[:500])
            case _:
                value = verifier.check(claim)
        if inspect.isawaitable(value):
            value = await value
        return as_outcome(verifier, claim, value)
    except KeyboardInterrupt:
        raise
    except anyio.get_cancelled_exc_class():
        if is_own_cancellation():
            raise
        return Errored(f"verifier {verifier.name!r} raised a cancellation of its own; catch it in check")
    except BaseException as error:  # noqa: BLE001  (any error of the verifier is its outcome)
        return Errored(name_error(error))


def _ends_task(error: BaseException) -> bool:
    # Return whether `error`, caught around a plug-in, must be raised: KeyboardInterrupt, or this task is cancelled. A
    # cancellation that the plug-in itself has raised is an error of the plug-in.
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return is_own_cancellation()
    return isinstance(error, KeyboardInterrupt)


def parse(name: str, extract: Callable[..., Any], *given: object) -> tuple[Claim, ...] | Errored:
    try:
        extracted: Any = extract(*given)
        if type(extracted) is CoroutineType:
            extracted.close()
            return Errored(f"extractor of {name!r} must be a plain function, got an asynchronous one; remove async")
        claims: tuple[Claim, ...] = () if extracted is None else tuple(islice(extracted, MOST_CLAIMS + 1))
        if len(claims) > MOST_CLAIMS:
            return Errored(
                f"extractor of {name!r} must find at most {MOST_CLAIMS} claims in one segment, got more; use a trigger "
                "with shorter segments"
            )
        for claim in claims:
            if not _is_claim(claim):
                return Errored(f"extractor of {name!r} must return valid Claim objects, got {name_value(claim)}")
        if len(claims) > 1 and (clash := _clash(claims)) is not None:
            return Errored(f"extractor of {name!r}: {clash}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (any error of the parser is its outcome)
        return Errored(f"extractor of {name!r}: {name_error(error)}")
    return claims


def _clash(claims: tuple[Claim, ...]) -> str | None:
    # Claims with the same key and text share one verdict.
    known: dict[tuple[str, Span | None], Claim] = {}
    for claim in claims:
        other = known.setdefault((claim.key, claim.span), claim)
        if other is claim:
            continue
        differing = [each for each in _labels(claim, other) if not _equal(each, claim, other)]
        if differing:
            return (
                f"two claims with the key {claim.key!r:.80} at {claim.span!r} differ in {', '.join(differing[:5])}; "
                "a key must name everything that the verdict depends on"
            )
        if type(claim) is not type(other):
            return (
                f"two claims with the key {claim.key!r:.80} at {claim.span!r} are of different types; "
                "give them different keys"
            )
    return None


def _labels(*claims: Claim) -> list[str]:
    labels = {entry.name for claim in claims for entry in dataclasses.fields(claim)}
    labels.update(name for claim in claims for name in getattr(claim, "__dict__", ()))
    return sorted(labels)


def _equal(label: str, *claims: Claim) -> bool:
    one, other = (getattr(claim, label, _MISSING) for claim in claims)
    return one is other or bool(one == other)


def recognize(
    name: str, find: Callable[..., Any], segment: Segment, claims: tuple[Claim, ...]
) -> tuple[tuple[Span, ...], tuple[Mention, ...]] | Errored:
    # Only spans that no claim covers are returned: text that looks like a claim and that the extractor did not read.
    try:
        recognized = tuple(islice(find(segment), MOST_CLAIMS + 1))
        if not recognized:
            return (), ()
        if len(recognized) > MOST_CLAIMS:
            return Errored(
                f"recognizer of {name!r} must find at most {MOST_CLAIMS} spans in a segment, got more; match less text"
            )
        mentions = tuple(each for each in recognized if isinstance(each, Mention))
        spans = tuple(each for each in recognized if not isinstance(each, Mention))
        for span in (*spans, *(mention.span for mention in mentions)):
            if not _is_span(span) or not segment.span.covers(span):
                return Errored(
                    f"recognizer of {name!r} must return spans in the segment {segment.span!r}, got {name_value(span)}"
                )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (any error of the recognizer is its outcome)
        return Errored(f"recognizer of {name!r}: {name_error(error)}")
    return _uncovered(spans, claims) if spans else (), mentions


def _uncovered(spans: tuple[Span, ...], claims: tuple[Claim, ...]) -> tuple[Span, ...]:
    covered = merge(claim.span for claim in claims if claim.span is not None)
    starts = [span.start for span in covered]
    left = []
    for span in sorted(set(spans)):
        at = bisect_right(starts, span.start) - 1
        if len(span) and (at < 0 or not covered[at].covers(span)):
            left.append(span)
    return tuple(left)


def _is_claim(claim: object) -> bool:
    if not issubclass(type(claim), Claim):  # isinstance would accept a mock
        return False
    known = cast("Claim", claim)
    return type(known.key) is str and (known.span is None or _is_span(known.span))


class BoundVerifier(msgspec.Struct, frozen=True):
    """A verifier together with the value that ``prepare`` returned. Both are pickled together for a worker process."""

    inner: Verifier
    prepared: Any
    prepare: Prepare | None = None
    """The function that returned ``prepared``: a pool can call it again on another machine. It is not pickled."""
    task: Task | None = None

    def __reduce__(self) -> tuple[type[BoundVerifier], tuple[Verifier, Any]]:
        return BoundVerifier, (self.inner, self.prepared)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def version(self) -> str:
        return self.inner.version

    @property
    def deadline(self) -> float:
        return self.inner.deadline

    @property
    def worker(self) -> Worker:
        return self.inner.worker

    def check(self, claim: Any) -> Verdict | Awaitable[Verdict]:
        check: Callable[..., Verdict | Awaitable[Verdict]] = self.inner.check
        return check(claim, self.prepared)


class Watcher:
    """Runs the extractor of one monitor in one run. Segments wait in this object until ``prepare`` has ended."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.verifier: Verifier = monitor.verifier
        self.is_ready = monitor.prepare is None
        self._ready: anyio.Event | None = None if self.is_ready else anyio.Event()
        self._waiting: dict[int, Extract] = {}
        self._invalidated: list[Invalidate] = []
        """The invalidations that came before the preparation ended. The tracker gets them afterwards."""
        self._failure: Outcome | None = None
        self._stands_aside = False
        self._fold: _TrackerStates | None = None
        self._revived: dict[int, Extracted | Settled] = {}
        self._last: anyio.Event | None = None
        self._extract: Callable[..., Any] = _nothing
        self._more: tuple[Any, ...] = ()
        self._recognize: Recognizer | None = None
        if self.is_ready:
            self._bind(())

    @property
    def reader(self) -> Callable[..., object]:
        # Reports about a blocked event loop name this function.
        match self.monitor.extractor:
            case Tracker(step=step) | Fork(parse=Tracker(step=step)):
                return step
            case Fork(parse=read):
                assert not isinstance(read, Tracker)
                return read
            case function:
                return function

    async def prepare(self, task: Task) -> list[Fact]:
        # Returns the facts of the segments that waited for `prepare`. If it fails or is late, every extraction ends
        # with its error; if it returns `None`, with no claims.
        monitor, outcome = self.monitor, None
        call = monitor.prepare
        assert call is not None
        with anyio.move_on_after(monitor.prepare_deadline) as scope:
            try:
                if is_async(call):
                    prepared = call(task)
                else:  # in a tuple, because trio refuses a coroutine
                    (prepared,) = await anyio.to_thread.run_sync(lambda: (call(task),), abandon_on_cancel=True)
                if inspect.isawaitable(prepared):
                    prepared = await prepared
                self._prepared(prepared, task)
            except BaseException as error:  # any error of the preparation is its outcome
                if _ends_task(error):
                    raise
                outcome = Errored(f"prepare of {monitor.name!r}: {name_error(error)}")
                log_warning("monitor.not_prepared", monitor=monitor.name, error=type(error).__name__)
        if scope.cancelled_caught:
            self._failure = TimedOut(monitor.prepare_deadline)
            log_warning("monitor.not_prepared", monitor=monitor.name, seconds=monitor.prepare_deadline)
        self._failure = self._failure or outcome
        self.is_ready = True
        if self._ready is not None:
            self._ready.set()
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return [self.extract(order) for order in waiting]

    @property
    def has_answer(self) -> bool:
        # Whether `extract` needs no extractor, because `prepare` has failed or has returned `None`.
        return self._failure is not None or self._stands_aside

    async def until_ready(self) -> None:
        if self._ready is not None:
            await self._ready.wait()

    def _prepared(self, prepared: Any, task: Task) -> None:
        if prepared is None:
            self._stands_aside = True
            log_info("monitor.stood_aside", monitor=self.monitor.name)
            return
        self.verifier = BoundVerifier(self.monitor.verifier, prepared, self.monitor.prepare, task)
        self._bind((prepared,))

    def _bind(self, more: tuple[Any, ...]) -> None:
        self._more = more
        extractor, recognizer = self.monitor.extractor, self.monitor.recognizer
        if recognizer is not None:
            self._recognize = (lambda segment: recognizer(segment, *more)) if more else recognizer
        match extractor:
            case (Tracker() as tracker) | Fork(parse=Tracker() as tracker):
                self._fold = _TrackerStates(tracker, more[0] if more else None)
                for order in self._invalidated:
                    self._fold.invalidate(order.start, order.end)
                self._extract = self._fold.extract
            case Fork(parse=read):
                assert not isinstance(read, Tracker)
                self._extract = (lambda reply, segment: read(reply, segment, *more)) if more else read
            case _:
                self._extract = (lambda segment: extractor(segment, *more)) if more else extractor

    def hold(self, order: Extract) -> None:
        self._waiting[order.job] = order

    def forget(self, order: Drop | Invalidate) -> None:
        if isinstance(order, Drop):
            self._waiting.pop(order.job, None)
        elif self._fold is not None:
            self._fold.invalidate(order.start, order.end)
        elif not self.is_ready:
            self._invalidated.append(order)

    def line_up(self) -> tuple[anyio.Event | None, anyio.Event]:
        # For a tracker, forks read their replies in the order of the text: each one waits for the first event (if any),
        # which the fork before it sets at its end, and then sets the second one.
        mine = anyio.Event()
        if not tracks(self.monitor.extractor):
            return None, mine
        before, self._last = self._last, mine
        return before, mine

    def revive(self, order: Extract, reply: str | Reply | None) -> None:
        """Let a tracker read the segment of *order* again after a resume, which restores its state.

        *reply* is the recorded reply of the fork; ``None`` for a parser.
        """
        if self._fold is not None:
            self._revived[order.job] = self.extract(order, reply)

    def read_again(self, order: Extract, reply: str | Reply | None) -> Extracted | Settled:
        """Return the fact of *order* after a resume. A segment that :meth:`revive` has read is not read again."""
        return self._revived.get(order.job) or self.extract(order, reply)

    def extract(self, order: Extract, reply: str | Reply | None = None, seconds: float = 0.0) -> Extracted | Settled:
        """Extract the claims of a segment, or of a fork's *reply*. *seconds* is the time of the job so far."""
        if self._failure is not None:
            return Settled(order.job, self._failure, seconds)
        if self._stands_aside:
            return Extracted(order.job, (), seconds)
        if order.segment.written is not None and (unreadable := self._unreadable(order.segment.written)) is not None:
            return Settled(order.job, unreadable, seconds)
        if reply is None and isinstance(self.monitor.extractor, Fork):
            # The fork's local parser had answered, so the journal has no reply.
            return self.locally(order, seconds) or Settled(order.job, Errored("fork: it was not answered"), seconds)
        given = (order.segment,) if reply is None else (reply, order.segment)
        claims = parse(self.monitor.name, self._extract, *given)
        if isinstance(claims, Errored):
            log_warning("extractor.failed", monitor=self.monitor.name)
            return Settled(order.job, claims, seconds)
        return self._found(order, claims, seconds, reply)

    def _unreadable(self, written: WrittenCalls) -> Errored | None:
        trigger = self.monitor.trigger
        if not written.problem or not isinstance(trigger, ToolCalls) or trigger.unreadable != "fail":
            return None
        # An extractor that found no claims in it would be silent, and silence must not release the call.
        log_warning("tool_call.unreadable", monitor=self.monitor.name, format=written.form)
        return Errored(f"unreadable tool call (format {written.form}): {written.problem}"[:500])

    def read(self, segment: Segment) -> tuple[Claim, ...] | Errored | None:
        # For repaired text, which may never be written: so no state of a tracker is stored.
        extractor = self.monitor.extractor
        if self.has_answer:
            return ()
        if isinstance(extractor, Fork):
            if extractor.local is None:
                return None
            local, more = extractor.local, self._more
            return parse(self.monitor.name, lambda given: local(given, *more) or (), segment)
        return parse(self.monitor.name, self._extract if self._fold is None else self._fold.read, segment)

    def locally(self, order: Extract, seconds: float = 0.0) -> Extracted | Settled | None:
        # `None` means that the model must be asked. `seconds` is the time that the job has taken so far.
        fork = self.monitor.extractor
        if not isinstance(fork, Fork) or fork.local is None or self.has_answer:
            return None
        answers: list[Iterable[Claim] | None] = []
        local, more = fork.local, self._more

        def ask(segment: Segment) -> Iterable[Claim] | None:
            answers.append(local(segment, *more))
            return answers[-1]

        claims = parse(self.monitor.name, ask, order.segment)
        if isinstance(claims, Errored):
            log_warning("extractor.failed", monitor=self.monitor.name)
            return None
        return None if answers == [None] else self._found(order, claims, seconds, None)

    def _found(
        self, order: Extract, claims: tuple[Claim, ...], seconds: float, reply: str | Reply | None
    ) -> Extracted | Settled:
        if self._recognize is None:
            return Extracted(order.job, claims, seconds, reply)
        recognized = recognize(self.monitor.name, self._recognize, order.segment, claims)
        if isinstance(recognized, Errored):
            log_warning("recognizer.failed", monitor=self.monitor.name)
            return Settled(order.job, recognized, seconds)
        return Extracted(order.job, claims, seconds, reply, *recognized)


class _TrackerStates:
    """Stores the state of a tracker after each segment of the trace, so that it can go back after a cut."""

    def __init__(self, tracker: Tracker[Any], prepared: Any) -> None:
        self._tracker = tracker
        self._prepared = prepared
        self._states: list[tuple[int, Any]] = []
        self._refuted: list[tuple[int, int, list[tuple[int, Any]]]] = []
        """The refuted ranges that stay in the trace with feedback after them: start, end, and their removed states."""

    def extract(self, *given: Any) -> Iterable[Claim]:
        segment: Segment = given[-1]
        self.rewind(segment.span.start)
        state = self._states[-1][1] if self._states else self._tracker.start(self._prepared)
        state, claims = self._tracker.step(state, *given)
        end = segment.span.end
        if not any(low < end <= high for low, high, _ in self._refuted):
            self._states.append((end, state))
        return claims

    def invalidate(self, start: int, end: int) -> None:
        """Remove the states of the text from offset *start* on, as :class:`Invalidate` says.

        If a cut removes feedback, states of the text that it answered come back.
        """
        gone = [state for state in self._states if state[0] > start]
        self.rewind(start)
        standing = [stretch for stretch in self._refuted if stretch[1] < max(start, end)]
        if end:
            standing.append((start, end, gone))
        else:
            # The feedback was cut, so the rest of its range is not refuted any more: restore its states.
            for _, high, states in self._refuted:
                self._states += [state for state in states if high >= start >= state[0]]
        self._refuted = standing

    def read(self, segment: Segment) -> Iterable[Claim]:
        states = (state for end, state in reversed(self._states) if end <= segment.span.start)
        begun = next(states, None)
        state = self._tracker.start(self._prepared) if begun is None else begun
        return self._tracker.step(state, segment)[1]

    def rewind(self, start: int) -> None:
        while self._states and self._states[-1][0] > start:
            self._states.pop()


def _nothing(*_given: object) -> Iterable[Claim]:
    return ()


# Before a repair is written, the extractor reads the repaired text, to make sure that it says what the verifier meant.

Read = Callable[[Segment], tuple[Claim, ...] | Errored | None]
"""Runs the extractor of a monitor on a segment, from the state before that segment. ``None``: only a fork could read
it."""


def repairs(outcome: Outcome) -> Violation | None:
    if isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation) and outcome.verdict.repair is not None:
        return outcome.verdict
    return None


def without_repair(outcome: Outcome) -> Outcome:
    violation = repairs(outcome)
    if violation is None or not isinstance(outcome, Judged):
        return outcome
    return msgspec.structs.replace(outcome, verdict=msgspec.structs.replace(violation, repair=None))


class RepairReading(NamedTuple):
    """What an extractor finds in repaired text: the claims that cover the repair, and the offset at which it ends."""

    claims: tuple[Claim, ...]
    end: int


def repaired_claims(segment: Segment, claim: Claim, violation: Violation, read: Read) -> Iterator[RepairReading]:
    # The text after a repair is cut, so the repair is first read without the rest of the segment.
    where, repair = _place(segment, claim, violation), violation.repair
    if where is None or not repair or repair == segment.text[where.start : where.end]:
        return
    before = _until(read(segment), segment.span.start + where.start)
    for rest in dict.fromkeys(("", segment.text[where.end :])):
        text = segment.text[: where.start] + repair + rest
        start = segment.span.start
        claims = read(Segment(text, Span(start, start + len(text)), segment.phase))
        if (
            before is None
            or claims is None
            or isinstance(claims, Errored)
            or _until(claims, start + where.start) != before
        ):
            continue
        place = Span(start + where.start, start + where.start + len(repair))
        covering = tuple(one for one in claims if one.span is not None and one.span.covers(place))
        if covering:
            yield RepairReading(covering, place.end)


def is_meant(claims: Iterable[Claim], refuted: Claim, violation: Violation) -> bool:
    """Return whether *claims*, read from repaired text, contain the *refuted* claim with its wrong part replaced.

    Claims are compared by span.
    """
    if refuted.span is None or violation.repair is None:
        return False
    start, end = refuted.span.start, refuted.span.end
    where = violation.where or Span(0, end - start)
    meant = Span(start, end - len(where) + len(violation.repair))
    return any(claim.span == meant for claim in claims)


def is_mended(reading: RepairReading, outcomes: Iterable[Outcome]) -> bool:
    # What comes after the repair is cut, so it may be wrong.
    # A verifier that corrects the left side of an equation refutes its right side next.
    return all(
        isinstance(outcome, Judged)
        and (
            isinstance(outcome.verdict, Pass)
            or (isinstance(outcome.verdict, Violation) and _is_after(reading.end, claim, outcome.verdict))
        )
        for claim, outcome in zip(reading.claims, outcomes, strict=True)
    )


def _is_after(end: int, claim: Claim, violation: Violation) -> bool:
    return claim.span is not None and violation.where is not None and claim.span.start + violation.where.start >= end


def _place(segment: Segment, claim: Claim, violation: Violation) -> Span | None:
    if claim.span is None:
        return None
    where = claim.span if violation.where is None else violation.where.shifted(claim.span.start)
    base = segment.span.start
    return Span(where.start - base, where.end - base)


def _until(claims: tuple[Claim, ...] | Errored | None, end: int) -> list[tuple[str, Span]] | None:
    if claims is None or isinstance(claims, Errored):
        return None
    return [(claim.key, claim.span) for claim in claims if claim.span is not None and claim.span.end <= end]


# Run the monitors of a prompt, in their order, before the model is asked.

_PROMPT_OUTCOMES: dict[PromptAction, PromptOutcome] = {
    "observe": "observed",
    "refuse": "refused",
    "rewrite": "rewritten",
}
MOST_FINDINGS = 100
"""The most findings of one monitor that are recorded. All findings are acted on."""


class CheckedPrompt(msgspec.Struct, frozen=True):
    """The texts of a prompt after its monitors have read and rewritten them, and the records of the findings."""

    texts: tuple[PromptText, ...]
    records: tuple[PromptRecord, ...]


async def check_texts(texts: Sequence[PromptText], monitors: Sequence[PromptMonitor]) -> CheckedPrompt:
    current = tuple(texts)
    records: list[PromptRecord] = []
    is_refused = False
    for monitor in monitors:
        outcome, new_records = await _run_prompt_monitor(monitor, current)
        records += new_records
        if outcome is None:
            is_refused = is_refused or monitor.is_closed
        else:
            current = outcome
            is_refused = is_refused or any(one.outcome == "refused" for one in new_records)
    if records:
        acted = [one.outcome for one in records if one.outcome != "observed"]
        log_info("prompt.checked", findings=len(records), acted=len(acted), refused=is_refused)
    if is_refused:
        raise PromptRefused(tuple(records))
    return CheckedPrompt(current, tuple(records))


async def _run_prompt_monitor(
    monitor: PromptMonitor, texts: tuple[PromptText, ...]
) -> tuple[tuple[PromptText, ...] | None, list[PromptRecord]]:
    # `None` in place of the texts: the monitor failed, and its `is_closed` decides whether the prompt is sent.
    why = f"it did not answer within {monitor.deadline:g} s"
    with anyio.move_on_after(monitor.deadline):
        try:
            # A function that blocks must not stop the loop; one that never returns keeps its thread.
            return await anyio.to_thread.run_sync(_apply_prompt_monitor, monitor, texts, abandon_on_cancel=True)
        except BaseException as error:  # a plug-in; its error is a failure, recorded below
            if _ends_task(error):
                raise
            why = f"it raised {type(error).__name__}"
    log_warning("prompt_monitor.failed", monitor=monitor.name, why=why, closed=monitor.is_closed)
    return None, [PromptRecord(monitor.name, monitor.version, "failed", None, None, None, why)]


def _apply_prompt_monitor(
    monitor: PromptMonitor, texts: tuple[PromptText, ...]
) -> tuple[tuple[PromptText, ...], list[PromptRecord]]:
    changed = list(texts)
    records: list[PromptRecord] = []
    for number, text in enumerate(texts):
        if text.role not in monitor.roles or not text.text:
            continue
        findings = _findings(monitor, text)
        if monitor.action == "rewrite" and findings:
            changed[number] = msgspec.structs.replace(text, text=_rewritten(monitor, text, findings))
        records += [_prompt_record(monitor, text, one) for one in findings[: MOST_FINDINGS - len(records)]]
    return tuple(changed), records


def _findings(monitor: PromptMonitor, text: PromptText) -> list[PromptFinding]:
    findings = list(monitor.find(text))
    for one in findings:
        fits = isinstance(one, PromptFinding) and isinstance(one.span, Span)
        if not fits or not 0 <= one.span.start < one.span.end <= len(text.text):
            raise TypeError(f"find must return findings inside of the text, got {one!r:.80}")
    return sorted(findings, key=lambda one: (one.span.start, -one.span.end))


def _rewritten(monitor: PromptMonitor, text: PromptText, findings: Sequence[PromptFinding]) -> str:
    assert monitor.rewrite is not None
    parts: list[str] = []
    at = 0
    for one in findings:
        if one.span.start < at:
            if one.span.end > at:  # the findings overlap: replace the rest of this one
                parts.append(_replacement(monitor, text, PromptFinding(Span(at, one.span.end), one.why)))
                at = one.span.end
            continue
        parts += [text.text[at : one.span.start], _replacement(monitor, text, one)]
        at = one.span.end
    made = "".join(parts) + text.text[at:]
    if _findings(monitor, msgspec.structs.replace(text, text=made)):
        raise ValueError("the rewritten text must have no findings")
    return made


def _replacement(monitor: PromptMonitor, text: PromptText, one: PromptFinding) -> str:
    assert monitor.rewrite is not None
    made = monitor.rewrite(text, one)
    if not isinstance(made, str):
        raise TypeError(f"rewrite must return a text, got a {type(made).__name__}")
    return made


def _prompt_record(monitor: PromptMonitor, text: PromptText, one: PromptFinding) -> PromptRecord:
    outcome = _PROMPT_OUTCOMES[monitor.action]
    return PromptRecord(monitor.name, monitor.version, outcome, text.role, text.index, one.span, one.why[:200])


async def check_prompt(prompt: Prompt, monitors: Sequence[PromptMonitor]) -> tuple[Prompt, tuple[PromptRecord, ...]]:
    # Raises `PromptRefused` if a monitor refuses the prompt, or fails and is closed.
    if isinstance(prompt, str):
        checked = await check_texts([PromptText(prompt, "user")], monitors)
        return checked.texts[0].text, checked.records
    texts = [
        PromptText(text, message.role, number)
        for number, message in enumerate(prompt)
        for text in (message.content, *(call.arguments for call in message.calls))
    ]
    checked = await check_texts(texts, monitors)
    left = iter(checked.texts)
    return tuple(_with_texts(message, left) for message in prompt), checked.records


def _with_texts(message: Message, texts: Iterator[PromptText]) -> Message:
    content = next(texts).text
    calls = tuple(msgspec.structs.replace(call, arguments=next(texts).text) for call in message.calls)
    return msgspec.structs.replace(message, content=content, calls=calls)
