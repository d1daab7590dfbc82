"""The state machine of a run. It does no I/O: the same facts in the same order give the same orders and events.

It is mutable, because copying the trace for each token would take quadratic time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, assert_never

import msgspec

from interwhen._core.checks import CheckTable, Job, tracks
from interwhen._core.messages import (
    NO_OFFER,
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
    Splice,
    SwitchedOff,
    ToolOffer,
)
from interwhen._core.release import (
    ENDED_WELL,
    Gates,
    certificate,
    count_numbers,
    coverage_reason,
    judges_answer,
    number_reasons,
    unverified_reasons,
)
from interwhen._core.segmenter import Due, Intake
from interwhen._core.turns import Repetition, TurnStart, kept_lines, whole_lines
from interwhen._core.violations import (
    Candidate,
    Prices,
    RemedyPlan,
    Violations,
    plan_surrender,
)
from interwhen._types.budgets import Budgets
from interwhen._types.events import Delta, Event, Remedied, Retracted, StreamBroken, StreamEnded, StreamStarted
from interwhen._types.models import Chunk, FinishReason, ResumeMode, ResumeWay, Usage
from interwhen._types.monitors import GATING, Monitor
from interwhen._types.remedies import DEFAULT_TEMPLATE, FeedbackTemplate
from interwhen._types.results import BYTES_A_TOKEN, CheckRecord, NumberCount, Status, UnverifiedReason
from interwhen._types.segments import Phase, Span, ToolCall
from interwhen._types.verdicts import Outcome

# The pause before the next request to the model, so that many remedies in a row do not cause many requests at once.

FREE = 1
"""The number of remedies without progress before the pauses begin."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


class RemedyPace(msgspec.Struct):
    """Counts the remedies in a row without progress, and computes the pauses (in seconds) after them."""

    # A cut farther on than all before is progress: the model has got past the earlier violations.

    _farthest: int = -1
    _in_vain: int = 0

    def after(self, cut: int) -> float:
        if cut > self._farthest:
            self._farthest, self._in_vain = cut, 0
            return 0.0
        self._in_vain += 1
        if self._in_vain <= FREE:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** (self._in_vain - FREE - 1), LONGEST_PAUSE)


# The limits of tokens: `max_tokens` of the caller, and the context window of the model.

OVERRUN = 64
"""The number of tokens beyond ``max_tokens`` that a server may send before we close the stream."""


class Window:
    """Computes how many tokens still fit into the caller's ``max_tokens`` and the model's context window."""

    __slots__ = ("_most", "_prompt", "ceiling", "context", "counts_own_text")

    def __init__(self, max_tokens: int | None, context: int | None, *, counts_own_text: bool = False) -> None:
        self.context = context
        self.counts_own_text = counts_own_text
        """Whether text that we write uses up ``max_tokens``, too."""
        self._most = max_tokens
        self._prompt: int | None = None
        limits = [limit for limit in (None if max_tokens is None else max_tokens + OVERRUN, context) if limit]
        self.ceiling: float = min(limits, default=float("inf"))
        """If the trace has more tokens than this, we close the stream."""

    def learn(self, usage: Usage | None, requests: int) -> None:
        if requests == 1 and usage is not None and usage.prompt_tokens is not None:
            self._prompt = usage.prompt_tokens

    def is_full(self, standing: int) -> bool:
        return self._most is not None and standing >= self._most

    def is_exceeded(self, standing: int) -> bool:
        return self._most is not None and standing > self._most

    def room(self, inserted_bytes: int, kept: int) -> int | None:
        # If the server has not counted the prompt, the real room is smaller than the result.
        if self.context is None:
            return None
        # Each inserted byte counts as one token, which is the most that any tokenizer makes of it. A smaller estimate
        # could ask for too many tokens, and the server would refuse the request.
        return max(self.context - (self._prompt or 0) - kept - inserted_bytes, 0)


class PromptCounts:
    """Counts the prompt tokens of the main requests, and estimates those of requests without a count."""

    # The estimate is the size of the request, corrected by the error of this estimate for the last counted request.

    __slots__ = (
        "_counted",
        "_error",
        "_last",
        "_last_size",
        "_prompt_bytes",
        "_requests",
        "_size",
        "_uncounted",
        "_uncounted_size",
        "fresh",
    )

    def __init__(self, prompt_bytes: int) -> None:
        self._prompt_bytes = prompt_bytes
        self._size: int | None = None
        """The size of the current request, in estimated tokens; ``None`` if there is no request, or it is counted."""
        self._last = 0
        """The count of the last counted request."""
        self._last_size = 0
        self._counted = 0
        self._uncounted = 0
        """The number of requests without a count."""
        self._uncounted_size = 0
        self._requests = 0
        self.fresh: float | None = None
        """The share of the last request after the first one that the server did not take from its cache. ``None``: the
        server has not reported any, and most servers that report none have a cache."""
        self._error = 0

    def opened(self, kept: int, inserted_bytes: int) -> None:
        self._size = self._size_of(kept, inserted_bytes)
        self._requests += 1
        self._uncounted += 1
        self._uncounted_size += self._size

    def counted(self, usage: Usage | None) -> None:
        if usage is None or usage.prompt_tokens is None:
            return
        tokens = min(usage.prompt_tokens, _MOST_TOKENS)
        if self._size is not None:
            self._uncounted -= 1
            self._uncounted_size -= self._size
            self._last, self._last_size, self._size = 0, self._size, None
        self._counted += tokens - self._last
        self._last = tokens
        self._error = tokens - self._last_size
        if self._requests > 1 and tokens and usage.cached_tokens is not None:
            self.fresh = 1.0 - min(usage.cached_tokens, tokens) / tokens

    def estimated(self) -> int:
        return max(self._uncounted_size + self._uncounted * self._error, 0)

    def total(self) -> int:
        return self._counted + self.estimated()

    def next(self, kept: int, inserted_bytes: int) -> int:
        return max(self._size_of(kept, inserted_bytes) + self._error, 0)

    def _size_of(self, kept: int, inserted_bytes: int) -> int:
        return kept + (self._prompt_bytes + inserted_bytes) // BYTES_A_TOKEN


_MOST_TOKENS = 1 << 40
"""The largest token count of one request that is accepted from a server. The trace stores counts in 64 bits."""


class Counts:
    """Counts requests and tokens: an estimate per chunk, reconciled with the server's ``usage``."""

    __slots__ = (
        "_before",
        "_begun_at",
        "_intake",
        "_window",
        "hid_reasoning",
        "late",
        "prompts",
        "reconnects",
        "requests",
    )

    def __init__(self, intake: Intake, window: Window, prompt_bytes: int = 0) -> None:
        self.hid_reasoning = False
        """Whether a request seems to have produced reasoning that the server did not send."""
        self.requests = 0
        self.prompts = PromptCounts(prompt_bytes)
        self.reconnects = 0
        self.late = 0
        """Tokens of streams that we had closed: they arrived later, or only the server's count includes them."""
        self._intake = intake
        self._window = window
        self._before = 0
        """Tokens of all requests before the current one."""
        self._begun_at = 0
        """The offset in the trace at which the current request began."""

    def tokens(self) -> int:
        intake = self._intake
        return intake.transcript.kept_tokens + intake.owed + intake.discarded + self.late

    def reported(self, usage: Usage) -> int:
        return self._before + min(usage.completion_tokens or 0, _MOST_TOKENS)

    def opened(self) -> None:
        self.requests += 1
        self._before = self.tokens()
        transcript = self._intake.transcript
        self._begun_at = transcript.length
        self.prompts.opened(transcript.kept_tokens, transcript.inserted_bytes)

    def reconnected(self) -> None:
        self.reconnects += 1

    def came_late(self, chunk: Chunk) -> None:
        self.late += chunk.tokens  # first, because `_learn_missing` counts these tokens as known
        self.late += max(self._learn_missing(chunk.usage), 0)

    def audit(self, usage: Usage | None, *, ended: bool) -> None:
        # `ended`: the model has sent its finish reason.
        missing = self._learn_missing(usage)
        if usage is not None and (usage.hides_reasoning or (ended and self._reasoned_unseen(usage))):
            self.hid_reasoning = True
        if missing > 0 or ended:  # before the end, the server's count may be lower because it is not up to date
            self._intake.credit(missing)

    def _learn_missing(self, usage: Usage | None) -> int:
        # Also stores the prompt tokens in `usage`. The result is negative if the server counted fewer tokens than we
        # did.
        if usage is None:
            return 0
        self._window.learn(usage, self.requests)
        self.prompts.counted(usage)
        return 0 if usage.completion_tokens is None else self.reported(usage) - self.tokens()

    def _reasoned_unseen(self, usage: Usage) -> bool:
        # If `usage` does not say how much, a model that was asked to reason counts as one that did.
        if not usage.reasoning_tokens and (usage.reasoning_tokens is not None or not usage.asked_to_reason):
            return False
        transcript = self._intake.transcript
        return not any(run.phase == "reasoning" for run in transcript.runs(self._begun_at, transcript.length))


WRITTEN_AS_TEXT = (
    "the request gave the tools in a field, and the model wrote a call as text, which is no tool call of the API"
)
"""The beginning of the ``why`` of an :class:`UnverifiedReason`."""

State = Literal["opening", "joining", "streaming", "deciding", "draining", "done"]
"""``opening``: a request was ordered. ``joining``: the model writes the beginning of an extra turn, which may repeat
kept text and is no part of the trace yet. ``streaming``: the model writes. ``deciding``: a violation, or an unproven
claim that ends the run, was found and the stream is closed, but checks of earlier text are still open. ``draining``:
the model has ended, and checks are still open. ``done``: the run has ended."""


class Core:
    """The state machine of one run. :meth:`step` takes a fact, changes the state, adds events and returns orders."""

    __slots__ = (
        "__weakref__",
        "_finish_reason",
        "_frontier_is_due",
        "_has_trackers",
        "_live",
        "_most_characters",
        "_most_tokens",
        "_orders",
        "_pace",
        "_refuted_line",
        "_resume",
        "_shown_whole",
        "_tools_in_field",
        "_turn_start",
        "_unchecked_from",
        "_upstream_status",
        "_was_shown",
        "budgets",
        "checks",
        "counts",
        "events",
        "gates",
        "intake",
        "min_coverage",
        "monitors",
        "prompt_sha256",
        "released",
        "resume",
        "starts_in",
        "state",
        "template",
        "think_tags",
        "transcript",
        "violations",
        "window",
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
        counts_own_text: bool = False,
        context_tokens: int | None = None,
        prompt_sha256: str = "",
        prompt_bytes: int = 0,
        min_coverage: float = 0.0,
        codes: Sequence[str] = (),
        options: Sequence[str] = (),
        offer: ToolOffer = NO_OFFER,
        resume: ResumeMode | None = None,
    ) -> None:
        """Create the state of a new run. Raises :class:`~interwhen.UsageError` if the trigger of a monitor is invalid.

        *min_coverage* is the share of the text, 0 to 1, that passed claims must cover for ``verified``. *codes* and
        *options* have one hash for each monitor: of the source file of its verifier, and of its options.
        """
        monitors = self.monitors = tuple(monitors)
        self.budgets = budgets or Budgets()
        self.template = template or DEFAULT_TEMPLATE
        self.prompt_sha256 = prompt_sha256
        self.min_coverage = min_coverage
        self.think_tags = think_tags
        self.starts_in: Phase = starts_in
        self.events: deque[Event] = deque()
        """The engine removes them when the reader takes them."""
        self.state: State = "opening"
        # Each of these objects owns its part of the state. The core calls their methods, and never sets their fields.
        eager = any(monitor.delivery in GATING for monitor in monitors)
        self.intake = Intake(monitors, tags=think_tags, phase=starts_in, eager=eager, offer=offer)
        self.transcript = self.intake.transcript
        self.resume = resume
        inside = resume in ("tokens", "prefix")
        self.violations = Violations(monitors, self.intake, self.budgets, self.template, continues_reasoning=inside)
        self.checks = CheckTable(
            monitors, self.transcript, self.violations, self.budgets, self.events, codes, options, prompt_sha256
        )
        self.gates = Gates(monitors, self.intake, self.checks, self.events)
        self.window = Window(max_tokens, context_tokens, counts_own_text=counts_own_text)
        self.counts = Counts(self.intake, self.window, prompt_bytes)
        self._tools_in_field = offer.in_field
        self._pace = RemedyPace()
        self._finish_reason: FinishReason | None = None
        self._unchecked_from: int | None = None
        """The frontier when supervision was switched off; ``None``: it was not switched off."""
        self._resume: ResumeWay | None = None
        """How the last resumed request gave the text to the model."""
        self._upstream_status: int | None = None
        """The HTTP status of the last error of the server, if no request was accepted after it."""
        self._was_shown = False
        """Whether text was sent to the reader and then retracted."""
        self._orders: list[Order] = []
        self._live = not self.gates.holding
        self._has_trackers = any(tracks(monitor.extractor) for monitor in monitors)
        self._frontier_is_due = False
        self._turn_start: TurnStart | None = None
        """``None`` unless the state is ``joining``."""
        self._refuted_line = ""
        """The whole line in which the last repair was written, as the model had written it."""
        self.released = 0
        """The offset up to which the trace was sent to the reader."""
        self._shown_whole = 0
        """The offset up to which a run with gates has shown text that no cut has torn since the gates released it."""
        self._most_characters = self.budgets.characters
        self._most_tokens = self.window.ceiling

    @property
    def has_shown(self) -> bool:
        # Whether the reader was sent text other than white space and tool calls, even if it was retracted later.
        runs = () if self._was_shown else self.transcript.runs(0, self.released)
        return self._was_shown or any(run.call is None and not run.refused and run.text.strip() for run in runs)

    def begin(self) -> list[Order]:
        return [Open((), 0, 0)]

    def step(self, fact: Fact) -> list[Order]:  # noqa: C901, PLR0912  the hot path: a call each would cost more
        # After the end of the run, facts change nothing but token counts.
        self._orders = orders = []
        if not isinstance(fact, Chunk):
            if self.state != "done":
                self._rare(fact)
        elif self.state == "streaming" and (text := fact.text):
            if fact.finish_reason is not None:
                self._hear(fact.finish_reason)
            if self._frontier_is_due:
                self._frontier_is_due = False
                orders.extend(self.checks.withdraw_looks())
                self.gates.advance()
            intake = self.intake
            transcript = self.transcript
            start = transcript.length
            if fact.call is None:
                dues = intake.feed(text, fact.tokens, fact.phase)
            else:
                dues = intake.feed_call(fact.call, fact.tokens)
            if fact.usage is not None:
                self.counts.audit(fact.usage, ended=self._finish_reason is not None)
            if self._live:
                if intake.plain:
                    self.events.append(Delta(text, start, intake.phase))
                    self.released = start + len(text)
                else:
                    self._release()
                if dues:
                    self._due(dues)
            elif dues:
                self._due(dues)
            else:
                self._release()
            if start > self._most_characters or transcript.kept_tokens > self._most_tokens:
                self._overrun()
        else:
            self._textless(fact)
        return orders

    def _rare(self, fact: Rare) -> None:  # noqa: C901  one case a fact
        match fact:
            case Extracted():
                self._extracted(fact)
            case Settled(job, outcome, seconds):
                self._settled(job, outcome, seconds)
            case Opened(resume, reason, reasoning):
                self._opened(None if resume is None else ResumeWay(resume, reason, reasoning))
            case Ended():
                self._stream_is_over(lost=False)
            case Resumed(codes=codes):
                self.checks.use_codes(codes)
                self._stream_is_over(lost=True)
            case Broken():
                self._broken(fact)
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
        # Takes a chunk without text, and in states other than `streaming` any chunk.
        if self._turn_start is not None:
            self._read_turn(self._turn_start, chunk)
            return
        if self.state != "streaming":
            # We closed this stream, so its finish reason does not count.
            self.counts.came_late(chunk)
            return
        if chunk.finish_reason is not None:
            self._hear(chunk.finish_reason)
        self.intake.owe(chunk.tokens)
        self.counts.audit(chunk.usage, ended=self._finish_reason is not None)

    def _hear(self, reason: FinishReason) -> None:
        # A reason that shows an incomplete text, such as `length`, is not replaced by a later one.
        if self._finish_reason is None or self._finish_reason in ENDED_WELL:
            self._finish_reason = reason

    def _overrun(self) -> None:
        if self.state == "streaming":
            self._orders.append(Close())
            self._finish_reason = "length"
            self._ended()

    def _opened(self, resume: ResumeWay | None) -> None:
        if self.state != "opening":
            return
        self.state = "streaming"
        self._upstream_status = None
        self._resume = resume or self._resume
        by_turn = resume is not None and resume.mode == "turn"
        skipped = self._keep_whole_lines() if by_turn else ()
        self.counts.opened()
        self.events.append(StreamStarted(self.violations.remedies, None if resume is None else resume.mode))
        if by_turn:
            self._expect_repetition()
        self._skip(skipped)

    # A model that continues by an extra turn does not continue inside a line, and may repeat what it wrote.

    def _keep_whole_lines(self) -> list[Job]:
        transcript = self.transcript
        kept = sum(len(piece.text) for piece in whole_lines(transcript.pieces()))
        if kept < transcript.length:
            self._cut_back(kept)
        if kept > transcript.length and transcript.line_end is not None:
            return self._open_segments(self.intake.insert(transcript.line_end, "repair"))
        return []

    def _expect_repetition(self) -> None:
        lines = [*kept_lines(self.transcript, self.violations.answered())]
        if lines:
            phase = None if self.intake.reads_tags else self.transcript.phase
            self._turn_start = TurnStart(lines, self._refuted_line, phase)
            self.state = "joining"
        self._release()

    def _read_turn(self, turn: TurnStart, chunk: Chunk) -> None:
        if turn.passes(chunk):
            self.state, self._turn_start = "streaming", None
            self._take_again([chunk])
            if self.state == "streaming":
                self.state, self._turn_start = "joining", turn
        elif (repetition := turn.take(chunk)) is not None:
            self._join(turn, repetition)

    def _join(self, turn: TurnStart, repetition: Repetition) -> None:
        self.state, self._turn_start = "streaming", None
        start = self.transcript.length
        if repetition.to is not None:
            self._cut_back(repetition.to)
        if repetition != Repetition():
            self._orders.append(Splice(start, repetition.dropped, self.transcript.length))
        chunks = turn.rest(repetition.dropped)
        self.intake.discard(sum(chunk.tokens for chunk in turn.held) - sum(chunk.tokens for chunk in chunks))
        self._release()
        self._take_again(chunks)

    def _take_again(self, chunks: Sequence[Chunk]) -> None:
        orders = self._orders
        for chunk in chunks:
            orders.extend(self.step(chunk))
        self._orders = orders

    def _drop_turn(self) -> None:
        # The stream of the extra turn is closed or lost, so the rest of its beginning will not come.
        turn, self._turn_start = self._turn_start, None
        for chunk in turn.held if turn is not None else ():
            self.counts.came_late(chunk)

    def _idle(self, *, dead: bool) -> None:
        # Check the incomplete segments while the model sends nothing. Their passes prove nothing; violations are used.
        # These checks are withdrawn when the model continues. `dead`: the stream is probably dead, so the last words
        # are complete.
        if self.state not in ("streaming", "joining") or self._finish_reason is not None:
            return
        self._orders.extend(self.checks.withdraw_looks())
        self._orders.extend(self.checks.look(self.intake.unfinished(dead=dead)))
        self._frontier_is_due = True

    def _ended(self) -> None:
        self.state = "draining"
        reason = self._finish_reason = self._finish_reason or "truncated"
        self._orders.extend(self.checks.withdraw_looks())
        skipped = self._open_segments(self.intake.end(finished=reason in ENDED_WELL))
        self._orders.extend(self.checks.cancel_concluding(skipped))
        self._release()
        self.events.append(StreamEnded(reason))
        self._skip(skipped)
        self._finish_if_settled()

    def _broken(self, fact: Broken) -> None:
        if self.state not in ("streaming", "joining", "opening"):
            return
        self._drop_turn()
        self._upstream_status = fact.status
        is_full = self.window.is_full(self._standing())
        if self.state != "opening" and (self._finish_reason is not None or is_full):
            # The model had finished, or has no tokens left: another request would only make its answer longer.
            self._orders.append(Close())
            self._finish_reason = self._finish_reason or "length"
            self._ended()
        elif not fact.retryable or not (fact.again or self.counts.reconnects < self.budgets.reconnects):
            self.events.append(StreamBroken(fact.error, "fail"))
            if fact.keeps_text:
                self._end("abstained", f"the server did not continue the text: {fact.error}")
            else:
                self._end("failed", fact.error)
        else:
            self.events.append(StreamBroken(fact.error, "reconnect"))
            self.counts.reconnected()
            self._go_on()

    def _stream_is_over(self, *, lost: bool) -> None:
        if self._turn_start is not None:
            if lost:
                self._drop_turn()
            else:
                self._join(self._turn_start, self._turn_start.finish())
        if self.state not in ("streaming", "joining"):
            return
        if lost and self._finish_reason is None:
            # Continue as after a break, but do not count a reconnect: the process ended, the stream did not break.
            self._go_on()
        else:
            self._ended()

    def _out_of_time(self, seconds: float) -> None:
        reason = f"the time budget of {seconds:g} s is spent"
        best = self.violations.first()
        if best is not None:
            self._give_up(best, reason)
        else:
            self._end("abstained", reason)

    def _due(self, dues: Iterable[Due]) -> None:
        # `skipped` are extractions that must not start, such as forks beyond the budget. They end in `_skip`, which may
        # end the run.
        skipped = self._open_segments(dues)
        self._release()
        self._skip(skipped)

    def _open_segments(self, dues: Iterable[Due]) -> list[Job]:
        orders, skipped = self.checks.open(dues)
        self._orders.extend(orders)
        return skipped

    def _skip(self, jobs: Sequence[Job]) -> None:
        # Skip all jobs before the run may end: the engine has no order for them, so they must not get a Drop order.
        for job in jobs:
            self.checks.skip(job)
        if jobs:
            self._after_settling()

    def _extracted(self, fact: Extracted) -> None:
        if fact.job in self.checks.jobs:  # if not, the text was cut
            orders = self.checks.extracted(fact)
            self._stop_if_violated()
            self._orders.extend(orders)
            self._after_settling()

    def _settled(self, number: int, outcome: Outcome, seconds: float) -> None:
        if number in self.checks.jobs:  # if not, the text was cut
            self._orders.extend(self.checks.settled(number, outcome, seconds))
            self._after_settling()

    def _stop_if_violated(self) -> None:
        # The decision waits for open checks of earlier text, which may find an earlier violation.
        if self.violations and self.state in ("streaming", "joining", "opening", "draining"):
            if self.state != "draining":
                self._drop_turn()
                self._orders.append(Close())
            self.state = "deciding"

    def _after_settling(self) -> None:
        if self._live and self.state == "streaming" and not self.violations:
            self._frontier_is_due = True  # computed when the next text arrives, since several checks often end together
            return
        self._stop_if_violated()
        if self.state == "done":
            return
        if self.state == "deciding":
            best = self.violations.first()
            if best is not None and not self.checks.may_precede(best.span.start):
                self._apply(best)
            return
        if not self._live:
            self._release()
        self.gates.advance()
        self._finish_if_settled()

    def _apply(self, best: Candidate) -> None:
        violations = self.violations
        self._orders.extend(self.checks.withdraw_looks())
        # What a gate has shown is never cut. How much that is depends on when checks end, and the choice of a remedy
        # must not depend on that.
        by_turn = self._resume is not None and self._resume.mode == "turn"
        goes_back = not self.gates.shows_checked_text
        prices = None if by_turn else self._prices(best)  # by a turn, a mistake costs two requests in any case
        todo, spent = violations.plan(best, goes_back=goes_back, by_turn=by_turn, prices=prices)
        no_tokens = self._overspent(todo)
        if spent is not None or no_tokens is not None:
            if todo.ask:
                self._go_on_thinking()
            elif no_tokens is None and violations.may_pass_over(best):
                self._pass_over(best)
            else:
                self._give_up(best, spent or no_tokens or "")
            return
        is_full = self._has_no_room(todo)
        if is_full:
            todo = RemedyPlan("stop", plan_surrender(best, self.transcript.first_call).cut)
        record = violations.acted(best, todo)
        refused = () if best.ref.segment.call is None else self.transcript.calls_from(todo.cut)
        if self._has_trackers:
            # Trackers keep the text before a cut, also in a repaired line; they drop a segment that feedback answers.
            start = best.ref.segment.span.start
            self._orders.append(Invalidate(start, todo.cut) if todo.answers_segment else Invalidate(todo.cut))
        line_end = self._cut_refuted(best, todo)
        if not todo.goes_on:
            self.events.append(Remedied(record, violations.remedies))
            self._finish_reason = "length" if is_full else None
            why = f"{self.monitors[best.ref.monitor].name}: {best.why}"
            self._end("abstained" if todo.remedy == "abstain" else "unverified", why)
            return
        if violations.begin(best, todo):
            self.checks.forgive(best.ref.segment.span)
        self.intake.remedied()
        pause = self._pace.after(todo.cut)
        self.events.append(Remedied(record, violations.remedies))
        skipped = self._open_segments(self._write(todo, refused))
        self.transcript.end_line(line_end)
        if todo.ask:
            violations.conclude(best, todo.cut)
        if violations:  # another violation is in the text that was kept
            self._skip(skipped)
            self._after_settling()
            return
        self.state = "opening"
        self._release()
        self._reopen(pause)
        self._skip(skipped)

    def _cut_refuted(self, best: Candidate, todo: RemedyPlan) -> str | None:
        # Return what will complete the last line; `None`: the model must write the line again.
        if self.released > best.span.start and not todo.ask:  # enough thinking is no mistake
            self._hold_back(best.ref.monitor)
        line_end = self._line_end(best, todo)
        self._cut(todo.cut)
        return line_end

    def _line_end(self, best: Candidate, todo: RemedyPlan) -> str | None:
        cut, transcript = todo.cut, self.transcript
        self._refuted_line = ""
        if todo.remedy != "repair":
            is_border = "\n" not in transcript.slice(max(cut - 1, 0), cut + 1) and not self.intake.tears(cut)
            return "" if is_border and not todo.insert else None
        self._refuted_line, rest = transcript.line_around(best.span)
        # Words after a wrong value may depend on it. Closing marks, such as those of a formula, do not.
        return "\n" if any(map(str.isalnum, rest)) else f"{rest}\n"

    def _overspent(self, todo: RemedyPlan) -> str | None:
        most = self.budgets.prompt_tokens
        if most is None or not todo.goes_on:
            return None
        transcript, prompts = self.transcript, self.counts.prompts
        kept = transcript.kept_tokens - transcript.tokens_from(todo.cut)
        if prompts.total() + prompts.next(kept, transcript.inserted_bytes + len(todo.insert)) <= most:
            return None
        return f"the budget of {most} prompt tokens is spent"

    def _prices(self, best: Candidate) -> Prices:
        transcript, prompts = self.transcript, self.counts.prompts
        kept = transcript.kept_tokens - transcript.tokens_from(best.ref.segment.span.start)
        resume = prompts.next(kept, transcript.inserted_bytes)
        return Prices(resume, prompts.next(0, 0), transcript.kept_tokens, prompts.fresh)

    def _standing(self) -> int:
        transcript = self.transcript
        if not self.window.counts_own_text:
            return transcript.kept_tokens
        for_the_model = sum(len(span) for span, _ in transcript.refusals)
        # `line_end` is written when the model continues by an extra turn, and counts already.
        ours = transcript.inserted_bytes + len((transcript.line_end or "").encode(errors="replace"))
        return transcript.kept_tokens + ours - for_the_model

    def _has_no_room(self, todo: RemedyPlan) -> bool:
        if not self.window.counts_own_text or not todo.insert or todo.ask or self.transcript.calls_from(todo.cut):
            return False
        standing = self._standing() - self.transcript.tokens_from(todo.cut)
        return self.window.is_exceeded(standing + len(todo.insert.encode(errors="replace")))

    def _write(self, todo: RemedyPlan, refused: tuple[ToolCall, ...]) -> Iterable[Due]:
        """Write the text of *todo*, whose cut removed the calls *refused*. Return the segments that this completes."""
        if todo.ask:
            return self.intake.conclude(todo.insert, todo.ask, torn=todo.torn)
        if refused and todo.insert:
            self.intake.refuse(todo.insert, refused)
            return ()
        return self.intake.insert(todo.insert, todo.origin, torn=todo.torn) if todo.insert else ()

    def _go_on_thinking(self) -> None:
        # `Conclude` only saves tokens, so a spent budget must not end the run. All candidates with this remedy are
        # dropped.
        self.violations.pass_over_conclusions()
        self._go_on_without_remedy()

    def _pass_over(self, best: Candidate) -> None:
        # Leave the text with the violation `best` unchanged. Its monitor interrupts no more in this run.
        self.violations.pass_over(best.ref.monitor)
        self._go_on_without_remedy()

    def _go_on_without_remedy(self) -> None:
        if self.violations:
            self._after_settling()
        elif self._finish_reason is not None:
            self.state = "draining"
            self._finish_if_settled()
        else:
            self._go_on()

    def _withhold(self) -> None:
        # The run ends early, so the text that gates hold back is cut. Candidates are recorded first, because a cut
        # forgets them.
        if not self.gates.holding:
            return
        length, reason = self.transcript.length, self._finish_reason
        self.violations.note_all()
        refuted = self.violations.first_refuted()
        self._cut(length)  # removes a half think tag, which no monitor has read
        while (to := max(self.gates.settled(refuted), self._shown_whole)) < self.transcript.length:
            self._cut(to)
        if self.transcript.length == length:
            self._finish_reason = reason

    def _give_up(self, best: Candidate, reason: str) -> None:
        todo = plan_surrender(best, self.transcript.first_call)
        self.violations.acted(best, todo)
        self._cut(todo.cut)
        self._end("abstained", reason)

    def _switch_off(self) -> None:
        if self._unchecked_from is not None or not self.monitors:
            return
        self.gates.advance()
        self._unchecked_from = self.gates.frontier
        self._orders.extend(self.checks.cancel_open("supervision was switched off"))
        self.violations.drop()
        self.intake.stop_scanning()
        self.gates.open()
        self._live, self._has_trackers, self._frontier_is_due = True, False, False
        if self._turn_start is not None:
            self._join(self._turn_start, Repetition())
        if self.state == "deciding":
            # The stream was closed for a violation that now changes nothing, so ask for the rest of the text.
            if self._finish_reason is None:
                self._go_on()
            else:
                self.state = "draining"
        self._release()
        self._finish_if_settled()

    def _hold_back(self, monitor: int) -> None:
        """From now on, show text only after its checks, since *monitor* refuted text that was shown."""
        self.gates.hold_back(monitor)
        self.intake.scan_always()
        self._live = False

    def _cut_back(self, to: int) -> None:
        if self._has_trackers:
            self._orders.append(Invalidate(to))
        self._cut(to)

    def _cut(self, to: int) -> None:
        if self.released > to:
            self._was_shown = self.has_shown
        self._finish_reason = None  # it belonged to the text that is cut now
        self.intake.cut(to)
        self.violations.cut(to)
        self._orders.extend(self.checks.cut(to))
        self.gates.cut(to)
        if self.released > to:
            self.released = to
            # What this leaves of a line that a gate has shown as a whole is not checked.
            self._shown_whole = min(to, self.gates.limit())
            self.events.append(Retracted(to))

    def _go_on(self) -> None:
        # Remove a half think tag, which the model will write again when it continues. Keep it if no tokens are left.
        if not self._is_full():
            self._cut(self.transcript.length)
        self._reopen()

    def _is_full(self) -> bool:
        kept = self.transcript.kept_tokens
        return self.window.is_full(self._standing()) or self.window.room(self.transcript.inserted_bytes, kept) == 0

    def _reopen(self, after: float = 0.0) -> None:
        kept = self.transcript.kept_tokens
        room, standing = self.window.room(self.transcript.inserted_bytes, kept), self._standing()
        if self.window.is_full(standing) or room == 0:
            self._finish_reason = "length"
            self._ended()
            return
        self.state = "opening"
        violations = self.violations
        pieces = self.transcript.pieces()
        self._orders.append(Open(pieces, standing, violations.remedies, after, room, violations.resamples))

    def _release(self) -> None:
        # Text with a violation is not shown, and neither is text that a new turn may replace.
        if self.state not in ("deciding", "joining"):
            self._show(self.gates.limit())

    def _show(self, limit: int) -> None:
        if limit > self.released:
            for run in self.transcript.runs(self.released, limit):
                self.events.append(Delta(run.text, run.start, run.phase, run.origin, run.call, run.refused))
            self.released = self._shown_whole = limit

    def _finish_if_settled(self) -> None:
        if self.state != "draining" or self.checks.awaited:
            return
        if self._finish_reason not in ENDED_WELL:
            self._withhold_unfinished()
        self.gates.advance()
        self._end("verified", "", cut_short=False)

    def _withhold_unfinished(self) -> None:
        # The finish reason says why the text is incomplete, so keep it, although `_cut` forgets it.
        reason = self._finish_reason
        while (to := max(self.gates.settled(), self._shown_whole)) < self.transcript.length:
            self._cut(to)
        self._finish_reason = reason

    def _end(self, status: Status, reason: str, *, shown: bool = True, cut_short: bool = True) -> None:
        if self.state in ("streaming", "joining", "opening"):
            self._drop_turn()
            self._orders.append(Close())
        self._orders.extend(self.checks.cancel_open())
        if cut_short:
            self._withhold()
        self.state = "done"
        self.gates.let_go()  # nothing more will be checked
        self._show(self.gates.limit())
        self.intake.keep_held()
        if shown and status in ("verified", "unverified"):
            self._show(self.transcript.length)
        self._orders.append(Finish(self._summary(status, reason)))

    def _unverified_reasons(self, records: Sequence[CheckRecord]) -> tuple[UnverifiedReason, ...]:
        # Unproven claims that ended the run are not among them: `_summary` adds these.
        refuted = self.violations.refuted()
        reasons = unverified_reasons(records, self.monitors, refuted, self._finish_reason)
        if self.min_coverage:
            reasons = (*reasons, *coverage_reason(self.transcript, records, refuted, self.min_coverage))
        if self._unchecked_from is not None:
            end = self.transcript.length
            span = Span(min(self._unchecked_from, end), end)
            reasons = (UnverifiedReason("", span, "supervision was switched off, so this was not checked"), *reasons)
        if self.counts.hid_reasoning and not judges_answer(self.transcript, records, refuted, self.monitors):
            reasons = (
                UnverifiedReason("", None, "the model's reasoning was not sent, so no check has seen it"),
                *reasons,
            )
        return (*self.violations.concluded, *reasons, *self._misplaced_calls())

    def _numbers(self, records: Sequence[CheckRecord]) -> Iterator[NumberCount]:
        for number, monitor in enumerate(self.monitors):
            mentions = self.checks.mentions(number) if monitor.required else []
            if mentions:
                yield count_numbers(monitor.name, mentions, records, self.violations.refuted())

    def _misplaced_calls(self) -> Iterator[UnverifiedReason]:
        for span, written in self.intake.written_calls() if self._tools_in_field else ():
            names = ", ".join(repr(call.name) for call in written.calls[:3]) or "a tool"
            yield UnverifiedReason("", span, f"{WRITTEN_AS_TEXT}: the call of {names:.200} (format {written.form})")

    def _summary(self, status: Status, why: str) -> RunSummary:
        transcript, violations, counts = self.transcript, self.violations, self.counts
        records = self.checks.records()
        numbers = tuple(self._numbers(records))
        reasons = (*self._unverified_reasons(records), *number_reasons(numbers))
        if reasons and status == "verified":
            status = "unverified"
        reasons = (*violations.unproven, *reasons)
        if why and status == "unverified":
            reasons = (UnverifiedReason("", None, why), *reasons)
        certified = None
        if status == "verified":
            certified = certificate(
                transcript,
                records,
                self.monitors,
                violations.refuted(),
                self.prompt_sha256,
                hid_reasoning=counts.hid_reasoning,
                chain=self.checks.chain,
            )
        return RunSummary(
            status=status,
            text=transcript.slice(0, transcript.length),
            reasoning=transcript.text_of("reasoning"),
            answer=transcript.text_of("answer"),
            finish_reason=self._finish_reason,
            checks=records,
            violations=violations.records(),
            insertions=tuple(transcript.insertions),
            resume=self._resume,
            unverified_reasons=reasons,
            certificate=certified,
            reason=why,
            hidden_reasoning=counts.hid_reasoning,
            kept=transcript.kept_tokens,
            discarded=self.intake.discarded + counts.late,
            late=counts.late,
            estimated_prompt_tokens=counts.prompts.estimated(),
            remedies=violations.remedies,
            reconnects=counts.reconnects,
            forks=self.checks.forks,
            numbers=numbers,
            upstream_status=self._upstream_status,
        )
