"""The pure core of a run: facts go in, orders and events come out.

Sans-I/O in the way of h11: no await, clock, randomness, log or network, and the same facts in the same order
always give the same orders and events. The object is mutable because copying a trace for each token would
make every run quadratic; nobody but its owner may touch it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from interwhen._core.check_table import Job, Work
from interwhen._core.checks import Checks
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Close,
    Ended,
    Extracted,
    Fact,
    Finish,
    Idle,
    Invalidate,
    Open,
    Opened,
    Order,
    OutOfTime,
    Rare,
    Resumed,
    RunSummary,
    Settled,
    SwitchedOff,
    Tally,
)
from interwhen._core.release import ENDED_WELL, Gates, certificate, coverage_reason, unverified_reasons
from interwhen._core.segmenter import Due, Intake
from interwhen._core.transcript import Transcript
from interwhen._core.violations import RULES, Candidate, Remedying, Violations, plan_surrender
from interwhen._types.budgets import Budgets
from interwhen._types.events import Delta, Event, Remedied, StreamBroken, StreamEnded, StreamStarted
from interwhen._types.models import Chunk, FinishReason, Piece, ResumeMode, Usage
from interwhen._types.monitors import GATING, Monitor, tracks
from interwhen._types.remedies import DEFAULT_TEMPLATE, FeedbackTemplate
from interwhen._types.results import Status, UnverifiedReason
from interwhen._types.segments import Phase
from interwhen._types.spans import Span
from interwhen._types.verdicts import Outcome

# How the model's stream ended, as far as it said, and what the run's end is for that: everything in one record.


class Ending:
    """Keeps why the model stopped; says how a run stands and how it ended, from the books of its core."""

    def __init__(
        self,
        transcript: Transcript,
        work: Work,
        violations: Violations,
        tally: Tally,
        prompt_sha256: str,
        min_coverage: float = 0.0,
    ) -> None:
        self._transcript = transcript
        self._work = work
        self._violations = violations
        self._tally = tally
        self._prompt_sha256 = prompt_sha256
        self._min_coverage = min_coverage
        self.reason: FinishReason | None = None
        """Why the model stopped; ``None``: it has not said that it did."""
        self.unchecked_from: int | None = None
        """Up to where all was checked when supervision was switched off; ``None``: it was not."""
        self.resume: ResumeMode | None = None
        """How the text so far was given to the model last; ``None``: it never was."""

    def hear(self, reason: FinishReason) -> None:
        """Take what the model says. A bad reason stays: what was cut short is not whole because more is said."""
        if self.reason is None or self.reason in ENDED_WELL:
            self.reason = reason

    def status(self) -> Status:
        """Return what a run is whose checks are all settled."""
        return "unverified" if self._unverified_reasons() else "verified"

    def finish(self, status: Status, why: str) -> Finish:
        """Return the order that ends the run as *status*, because of *why*."""
        return Finish(self._summary(status, why))

    def _unverified_reasons(self) -> tuple[UnverifiedReason, ...]:
        """Return everything that keeps the standing text from being verified."""
        work, violations = self._work, self._violations
        records, refuted = work.ordered_records(), violations.refuted()
        found = unverified_reasons(records, work.monitors, refuted, self.reason)
        if self._min_coverage:
            found = (*found, *coverage_reason(self._transcript, records, refuted, self._min_coverage))
        if self.unchecked_from is not None:
            end = self._transcript.length
            span = Span(min(self.unchecked_from, end), end)
            found = (UnverifiedReason("", span, "supervision was switched off, so this was not checked"), *found)
        return (*violations.concluded, *found)

    def _summary(self, status: Status, why: str) -> RunSummary:
        transcript, violations, tally = self._transcript, self._violations, self._tally
        records = self._work.ordered_records()
        found = (*violations.unproven, *self._unverified_reasons())
        if why and status == "unverified":
            found = (UnverifiedReason("", None, why), *found)
        certified = None
        if status == "verified":
            monitors = self._work.monitors
            certified = certificate(transcript, records, monitors, violations.refuted(), self._prompt_sha256)
        return RunSummary(
            status=status,
            text=transcript.slice(0, transcript.length),
            reasoning=transcript.text_of("reasoning"),
            answer=transcript.text_of("answer"),
            finish_reason=self.reason,
            checks=records,
            violations=violations.all(),
            insertions=tuple(transcript.insertions),
            resume=self.resume,
            unverified_reasons=found,
            certificate=certified,
            reason=why,
            kept=transcript.kept_tokens,
            discarded=tally.discarded + tally.late,
            late=tally.late,
            remedies=tally.remedies,
            reconnects=tally.reconnects,
            forks=tally.forks,
        )


# How long to wait before the model is asked again: a storm of remedies must not become one of requests.

FREE = 1
"""Remedies that bring no progress and are followed up at once, all the same."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


@dataclass(slots=True)
class Pace:
    """Counts the remedies in a row that brought no progress: none of them cut further on than any before."""

    _farthest: int = -1
    _in_vain: int = 0

    def after(self, cut: int) -> float:
        """Take a remedy that cuts at *cut*; return the seconds to wait before the next request."""
        if cut > self._farthest:
            self._farthest, self._in_vain = cut, 0
            return 0.0
        self._in_vain += 1
        if self._in_vain <= FREE:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** (self._in_vain - FREE - 1), LONGEST_PAUSE)


# How many tokens a run may have: the caller's limit, and the context window of the model.

OVERRUN = 64
"""How many tokens beyond ``max_tokens`` are taken from a server that ignores it, before we end the stream."""


class Window:
    """What is left of the context window, as far as the endpoint has said how long it is."""

    __slots__ = ("_most", "_prompt", "ceiling", "context")

    def __init__(self, max_tokens: int | None, context: int | None) -> None:
        self.context = context
        self._most = max_tokens
        self._prompt: int | None = None
        limits = [limit for limit in (None if max_tokens is None else max_tokens + OVERRUN, context) if limit]
        self.ceiling: float = min(limits, default=float("inf"))
        """More standing tokens than these come only from a server that knows no end."""

    def learn(self, usage: Usage | None, requests: int) -> None:
        """Take the length of the prompt from the server's count for the first request."""
        if requests == 1 and usage is not None and usage.prompt_tokens is not None:
            self._prompt = usage.prompt_tokens

    def is_full(self, kept: int) -> bool:
        """Tell whether the model, *kept* of whose tokens stand, may write nothing more."""
        return self._most is not None and kept >= self._most

    def room(self, pieces: Iterable[Piece], kept: int) -> int | None:
        """Return how many tokens fit behind the prompt, *kept* tokens of the model and what we wrote into *pieces*.

        Where the prompt was not counted, there may be less room. A byte of ours counts as a token: no tokenizer makes
        more of it, and asking for too much is refused whole.
        """
        if self.context is None:
            return None
        ours = sum(len(piece.text.encode(errors="replace")) for piece in pieces if piece.origin != "model")
        return max(self.context - (self._prompt or 0) - kept - ours, 0)


# How many tokens of the main stream there are: those that chunks told of, put right by the server's own count.

_MOST_TOKENS = 1 << 40
"""The most that a server is believed of one request: the trace keeps 64 bits for each text."""


class Counting:
    """Keeps the count of a run that may take several requests."""

    __slots__ = ("_before", "_intake", "_tally", "_window")

    def __init__(self, intake: Intake, tally: Tally, window: Window) -> None:
        self._intake = intake
        self._tally = tally
        self._window = window
        self._before = 0
        """Tokens of the requests before this one."""

    def tokens(self) -> int:
        """Return how many tokens of the main stream have come."""
        return self._intake.transcript.kept_tokens + self._intake.owed + self._tally.discarded + self._tally.late

    def told(self, usage: Usage) -> int:
        """Return how many tokens of the main stream there are by what the server says of this request."""
        return self._before + min(usage.completion_tokens or 0, _MOST_TOKENS)

    def opened(self) -> None:
        """Begin with another request."""
        self._before = self.tokens()

    def audit(self, usage: Usage | None, *, closed: bool, ended: bool) -> None:
        """Believe the server's own count of the tokens of this request where chunks told of another number.

        A chunk may stand for several tokens, and a token may be no text: half a character, or the one that ends a turn.
        *closed*: we closed the stream already; *ended*: the model has said that it is done.
        """
        self._window.learn(usage, self._tally.requests)
        if usage is None or usage.completion_tokens is None:
            return
        missing = self.told(usage) - self.tokens()
        if closed:
            self._tally.late += max(missing, 0)
        elif missing > 0 or ended:  # before its last word a server may not have counted yet
            self._intake.credit(missing)


State = Literal["opening", "streaming", "deciding", "draining", "done"]
"""``deciding``: a violation stands, the stream is closed, earlier checks are awaited. ``draining``: the model
ended, open checks are awaited."""


class Core:
    """One run, from its first fact to its end."""

    __slots__ = (
        "__weakref__",
        "_checks",
        "_ending",
        "_frontier_is_due",
        "_has_trackers",
        "_live",
        "_orders",
        "_pace",
        "_remedying",
        "_violations",
        "budgets",
        "counting",
        "events",
        "gates",
        "intake",
        "min_coverage",
        "monitors",
        "prompt_sha256",
        "starts_in",
        "state",
        "tally",
        "template",
        "think_tags",
        "transcript",
        "window",
        "work",
    )

    def __init__(
        self,
        monitors: Sequence[Monitor] = (),
        *,
        budgets: Budgets | None = None,
        template: FeedbackTemplate | None = None,
        think_tags: tuple[str, str] | None = None,
        starts_in: Phase = "answer",
        max_tokens: int | None = None,
        context_tokens: int | None = None,
        prompt_sha256: str = "",
        min_coverage: float = 0.0,
        rules: int = RULES,
        codes: Sequence[str] = (),
    ) -> None:
        monitors = self.monitors = tuple(monitors)
        self.budgets = budgets or Budgets()
        self.template = template or DEFAULT_TEMPLATE
        self.window = Window(max_tokens, context_tokens)
        self.prompt_sha256 = prompt_sha256
        self.min_coverage = min_coverage
        self.think_tags = think_tags
        self.starts_in: Phase = starts_in
        self.events: deque[Event] = deque()
        """Events for the reader, oldest first; the owner takes them out."""
        self.state: State = "opening"
        self.tally = Tally()
        eager = any(monitor.delivery in GATING for monitor in monitors)
        self.intake = Intake(monitors, tags=think_tags, phase=starts_in, eager=eager)
        self.transcript = self.intake.transcript
        self.work = Work(monitors, codes)
        self.gates = Gates(monitors, self.intake, self.work)
        self._live = not self.gates.holding
        self._has_trackers = any(tracks(monitor.extractor) for monitor in monitors)
        self._orders: list[Order] = []
        self._violations = Violations(monitors, self.transcript, self.budgets)
        self._checks = Checks(
            monitors, self.transcript, self.work, self._violations, self.budgets, self.tally, self.events
        )
        self._ending = Ending(self.transcript, self.work, self._violations, self.tally, prompt_sha256, min_coverage)
        self._remedying = Remedying(
            monitors, self.template, self.intake, self.work, self._violations, self.tally, rules
        )
        self.counting = Counting(self.intake, self.tally, self.window)
        self._pace = Pace()
        self._frontier_is_due = False

    # ------------------------------------------------------------------ facts

    def begin(self) -> list[Order]:
        """Return the first orders."""
        return [Open((), 0, 0)]

    def step(self, fact: Fact) -> list[Order]:  # noqa: C901, PLR0912  the hot path: a call each would cost more
        """Advance by one fact; return what is to be done now, in order. Facts after the end are ignored."""
        orders: list[Order] = []
        self._orders = orders
        if not isinstance(fact, Chunk):
            if self.state != "done":
                self._rare(fact)
        elif self.state == "streaming" and fact.text:
            if fact.finish_reason is not None:
                self._ending.hear(fact.finish_reason)
            if self._frontier_is_due:
                self._frontier_is_due = False
                orders.extend(self._checks.withdraw())
                self.gates.advance(self.events)
            intake, text, start = self.intake, fact.text, self.transcript.length
            if fact.call is None:
                dues = intake.feed(text, fact.tokens, fact.phase)
            else:
                dues = intake.feed_call(fact.call, fact.tokens)
            if fact.usage is not None:
                self.counting.audit(fact.usage, closed=False, ended=self._ending.reason is not None)
            if self._live:
                if intake.plain:
                    self.events.append(Delta(text, start, intake.phase))
                    self.gates.released = start + len(text)
                else:
                    self._release()
            if dues:
                self._due(dues)
            elif not self._live:
                self._release()
            if start > self.budgets.characters or self.transcript.kept_tokens > self.window.ceiling:
                self._overrun()
        else:
            self._textless(fact)
        return orders

    def _rare(self, fact: Rare) -> None:
        match fact:
            case Extracted():
                self._extracted(fact)
            case Settled(job, outcome, seconds):
                self._settled(job, outcome, seconds)
            case Opened(resume):
                self._opened(resume)
            case Ended() | Resumed():
                self._stream_is_over(lost=isinstance(fact, Resumed))
            case Broken(error, retryable):
                self._broken(error, retryable=retryable)
            case OutOfTime(seconds):
                self._out_of_time(seconds)
            case Idle(dead=dead):
                self._idle(dead=dead)
            case SwitchedOff():
                self._switch_off()
            case Abandoned():
                self._end("unverified", "the reader left before the end", shown=False)
            case _:
                assert_never(fact)

    def _textless(self, chunk: Chunk) -> None:
        """Take a chunk that brings no text, or none any more."""
        if self.state != "streaming":
            # It belongs to a stream that we closed, and so does the reason it gives for its end.
            self.tally.late += chunk.tokens
            self.counting.audit(chunk.usage, closed=True, ended=False)
            return
        if chunk.finish_reason is not None:
            self._ending.hear(chunk.finish_reason)
        self.intake.owed += chunk.tokens
        self.counting.audit(chunk.usage, closed=False, ended=self._ending.reason is not None)

    def _overrun(self) -> None:
        """End a stream whose server does not."""
        if self.state == "streaming":
            self._orders.append(Close())
            self._ending.reason = "length"
            self._ended()

    def _opened(self, resume: ResumeMode | None) -> None:
        if self.state != "opening":
            return
        self.state = "streaming"
        self.tally.requests += 1
        self.counting.opened()
        self._ending.resume = resume or self._ending.resume
        self.events.append(StreamStarted(self.tally.remedies, resume))

    def _idle(self, *, dead: bool) -> None:
        """Look at the segments in which the model is silent. What is wrong in them is acted upon; nothing else counts.

        Once the model goes on, the look is void: a segment is judged as a whole when it is complete.
        """
        if self.state != "streaming" or self._ending.reason is not None:
            return
        self._orders.extend(self._checks.withdraw())
        self._orders.extend(self._checks.look(self.intake.unfinished(dead=dead)))
        self._frontier_is_due = True

    def _ended(self) -> None:
        self.state = "draining"
        reason = self._ending.reason = self._ending.reason or "truncated"
        self._orders.extend(self._checks.withdraw())
        skipped = self._open_segments(self.intake.end(finished=reason in ENDED_WELL))
        self._orders.extend(self._checks.call_off_concluding())
        self._release()
        self.events.append(StreamEnded(reason))
        self._skip(skipped)
        self._finish_if_settled()

    def _broken(self, error: str, *, retryable: bool) -> None:
        if self.state not in ("streaming", "opening"):
            return
        is_full = self.window.is_full(self.transcript.kept_tokens)
        if self.state == "streaming" and (self._ending.reason is not None or is_full):
            # The model had said that it is done, or may write nothing more: going on would only add to its answer.
            self._orders.append(Close())
            self._ending.reason = self._ending.reason or "length"
            self._ended()
        elif not retryable or self.tally.reconnects >= self.budgets.reconnects:
            self.events.append(StreamBroken(error, "fail"))
            self._end("failed", error)
        else:
            self.events.append(StreamBroken(error, "reconnect"))
            self.tally.reconnects += 1
            self._go_on()

    def _stream_is_over(self, *, lost: bool) -> None:
        if self.state != "streaming":
            return
        if lost and self._ending.reason is None:
            # As after a break, but nobody's fault: it costs no reconnect.
            self._go_on()
        else:
            self._ended()

    def _out_of_time(self, seconds: float) -> None:
        reason = f"the time budget of {seconds:g} s is spent"
        best = self._violations.first()
        if best is not None:
            self._give_up(best, reason)
        else:
            self._end("abstained", reason)

    # ------------------------------------------------------------------ segments, claims, checks

    def _due(self, dues: Iterable[Due]) -> None:
        """Open the segments that are complete; show what may be shown once that is done."""
        skipped = self._open_segments(dues)
        self._release()
        self._skip(skipped)

    def _open_segments(self, dues: Iterable[Due]) -> list[Job]:
        orders, skipped = self._checks.open(dues)
        self._orders.extend(orders)
        return skipped

    def _skip(self, jobs: Sequence[Job]) -> None:
        # All of them, before one may end the run: none was ordered, so none must be called off.
        for job in jobs:
            self._checks.skip(job)
        if jobs:
            self._after_settling()

    def _extracted(self, fact: Extracted) -> None:
        if fact.job in self.work.jobs:  # its text was not cut meanwhile
            orders = self._checks.extracted(fact)
            self._stop_if_violated()
            self._orders.extend(orders)
            self._after_settling()

    def _settled(self, number: int, outcome: Outcome, seconds: float) -> None:
        if number in self.work.jobs:  # the same
            self._orders.extend(self._checks.settled(number, outcome, seconds))
            self._after_settling()

    # ------------------------------------------------------------------ interrupts

    def _stop_if_violated(self) -> None:
        """Stop the stream at once; where to cut is decided when earlier checks are settled."""
        if self._violations.candidates and self.state in ("streaming", "opening", "draining"):
            if self.state != "draining":
                self._orders.append(Close())
            self.state = "deciding"

    def _after_settling(self) -> None:
        if self._live and self.state == "streaming" and not self._violations.candidates:
            self._frontier_is_due = True  # said with the next text: several segments often end at once
            return
        self._stop_if_violated()
        if self.state == "done":
            return
        if self.state == "deciding":
            best = self._violations.decided(self.work.jobs.values())
            if best is not None:
                self._apply(best)
            return
        if not self._live:
            self._release()
        self.gates.advance(self.events)
        self._finish_if_settled()

    def _apply(self, best: Candidate) -> None:
        violations = self._violations
        self._orders.extend(self._checks.withdraw())
        todo, spent = self._remedying.plan(best)
        if spent is not None:
            if todo.ask:
                self._go_on_thinking()
            else:
                self._give_up(best, spent)
            return
        record = violations.acted(best, todo)
        refused = self._remedying.refused(best, todo)
        if self._has_trackers:
            # What stands before a cut is built on, also in the line that is repaired; what feedback answers is not.
            start = best.ref.segment.span.start
            self._orders.append(Invalidate(start, todo.cut) if todo.answers_segment else Invalidate(todo.cut))
        self._cut(todo.cut)
        if not todo.goes_on:
            self.events.append(Remedied(record, self.tally.remedies))
            why = f"{self.monitors[best.ref.monitor].name}: {best.why}"
            self._end("abstained" if todo.remedy == "abstain" else "unverified", why)
            return
        self._remedying.begin(best, todo)
        pause = self._pace.after(todo.cut)
        self.events.append(Remedied(record, self.tally.remedies))
        skipped = self._open_segments(self._remedying.write(todo, refused))
        if todo.ask:
            violations.conclude(best)
        if violations.candidates:  # another violation stands in the text that was kept
            self._skip(skipped)
            self._after_settling()
            return
        self.state = "opening"
        self._release()
        self._reopen(pause)
        self._skip(skipped)

    def _go_on_thinking(self) -> None:
        """Let the reasoning go on that there is no budget to end: what could only save tokens must not end a run."""
        self._violations.pass_over_conclusions()
        if self._violations.candidates:
            self._after_settling()
        elif self._ending.reason is not None:
            self.state = "draining"
            self._finish_if_settled()
        else:
            self._go_on()

    def _withhold(self) -> None:
        """Keep what a gate has not let through by now out of the result: its checks will never end."""
        if not self.gates.holding:
            return
        length, reason = self.transcript.length, self._ending.reason
        self._violations.file()
        refuted = [candidate.ref for candidate in self._violations.candidates]
        self._cut(length)  # half a tag, which no monitor has seen
        while (to := max(self.gates.settled(refuted), self.gates.released)) < self.transcript.length:
            self._cut(to)
        if self.transcript.length == length:
            self._ending.reason = reason

    def _give_up(self, best: Candidate, reason: str) -> None:
        """End without an answer. The text before the wrong segment is all that stands, and all that is shown."""
        todo = plan_surrender(best, self.transcript.first_call)
        self._violations.acted(best, todo)
        self._cut(todo.cut)
        self._end("abstained", reason)

    def _switch_off(self) -> None:
        """Let the rest of the run pass unchecked, and release what gates hold."""
        if self._ending.unchecked_from is not None or not self.monitors:
            return
        self.gates.advance(self.events)
        self._ending.unchecked_from = self.gates.frontier
        self._orders.extend(self._checks.cancel_open("supervision was switched off"))
        self._violations.candidates = []
        self.intake.stop_scanning()
        self.gates.open()
        self._live, self._has_trackers, self._frontier_is_due = True, False, False
        if self.state == "deciding":
            # The stream was closed for a violation that now changes nothing, so ask for the rest of the text.
            if self._ending.reason is None:
                self._go_on()
            else:
                self.state = "draining"
        self._release()
        self._finish_if_settled()

    def _cut(self, to: int) -> None:
        self._ending.reason = None  # what the model ended is not what stands now
        self.tally.discarded += self.intake.cut(to)
        self._violations.cut(to)
        self._remedying.cut(to)
        self._orders.extend(self._checks.cut(to))
        self.gates.retract(to, self.events)

    def _go_on(self) -> None:
        # Half a tag is not known to the model that goes on: it will write it again, unless it may write nothing more.
        if not self._is_full():
            self._cut(self.transcript.length)
        self._reopen()

    def _is_full(self) -> bool:
        """Tell whether the model may write nothing more."""
        kept = self.transcript.kept_tokens
        return self.window.is_full(kept) or self.window.room(self.transcript.pieces(), kept) == 0

    def _reopen(self, after: float = 0.0) -> None:
        kept = self.transcript.kept_tokens
        pieces = self.transcript.pieces()
        room = self.window.room(pieces, kept)
        if self.window.is_full(kept) or room == 0:
            self._ending.reason = "length"
            self._ended()
            return
        self.state = "opening"
        self._orders.append(Open(pieces, kept, self.tally.remedies, after, room, self._remedying.resamples))

    # ------------------------------------------------------------------ the reader's side and the end

    def _release(self) -> None:
        if self.state != "deciding":  # what a violation stands in is not shown
            self.gates.release(self.events, ended=False)

    def _finish_if_settled(self) -> None:
        if self.state != "draining" or self.work.awaited:
            return
        if self._ending.reason not in ENDED_WELL:
            self._withhold_unfinished()
        self.gates.advance(self.events)
        self._end(self._ending.status(), "", cut_short=False)

    def _withhold_unfinished(self) -> None:
        """Keep the segment that the model did not finish out of the result, where a gate holds it unchecked."""
        reason = self._ending.reason
        while (to := max(self.gates.settled(), self.gates.released)) < self.transcript.length:
            self._cut(to)
        self._ending.reason = reason

    def _end(self, status: Status, reason: str, *, shown: bool = True, cut_short: bool = True) -> None:
        if self.state in ("streaming", "opening"):
            self._orders.append(Close())
        self._orders.extend(self._checks.cancel_open())
        if cut_short:
            self._withhold()
        self.state = "done"
        self.intake.keep_held()
        if shown and status in ("verified", "unverified"):
            self.gates.release(self.events, ended=True)
        self._orders.append(self._ending.finish(status, reason))
