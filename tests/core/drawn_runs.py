"""Runs of the core that are drawn by a number: whatever monitors, texts, verdicts and facts the number says."""

from __future__ import annotations

import json
import random

import msgspec
from interwhen import (
    Answer,
    Auto,
    Budgets,
    Claim,
    CodeBlocks,
    Feedback,
    Fork,
    Lines,
    Paragraphs,
    Pass,
    Repair,
    Resample,
    Sentences,
    ToolCall,
    ToolCalls,
    Tracker,
    Unknown,
)
from interwhen._core.machine import Core
from interwhen._core.messages import (
    NO_OFFER,
    Abandoned,
    Broken,
    Check,
    Drop,
    Ended,
    Extract,
    Extracted,
    Finish,
    Idle,
    Opened,
    OutOfTime,
    Resumed,
    Settled,
    SwitchedOff,
)
from interwhen.models import Chunk, Usage
from interwhen.remedies import Abstain, Conclude, FeedbackTemplate, Retry, Stop
from interwhen.results import Errored, Judged, TimedOut
from interwhen.triggers import EveryChars, Markers, Polls, ThinkEnd
from tests.core.call_texts import OFFER, REACT, TEXTS
from tests.core.worlds import PLAIN, STRICT, judge, monitor, parse, parse_ungrounded

MOST_FACTS = 160
TAGS = ("<think>", "</think>")
TEMPLATE = FeedbackTemplate(
    flag="Wait.",
    locate='Wait, "{quote}"?',
    explain="Wait: {why}.",
    witness="Wait, {witness}.",
    again=(FeedbackTemplate(flag="No.", locate='No, "{quote}"?', explain="No: {why}.", witness="No, {witness}."),),
)


class Dice:
    """Draws from a seed. It uses only `random.random`, which gives the same in each version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, count: int) -> int:
        return int(self._random() * count)

    def one(self, *things):
        return things[self.below(len(things))]

    def chance(self, share: float) -> bool:
        return self._random() < share


def whole(segment):
    return (Claim(key=segment.text[:40], span=segment.span),)


def both(segment):
    claims = parse(segment)
    return (*claims, Claim(key=claims[0].key, span=None)) if claims else ()


def _trigger(dice):
    return dice.one(
        *(Lines(), Lines(), Lines(), Lines(every=2), Lines(joins=("so", "=")), Paragraphs(), Sentences(), Answer()),
        *(Markers(("Wait", "so")), CodeBlocks(), EveryChars(7), EveryChars(16), Polls(9.0, 1.0, 20.0, 4, 30)),
        *(ThinkEnd(), ToolCalls(), ToolCalls("<a>", "</a>")),
    )


def _remedy(dice):
    return dice.one(
        *(Auto(), Auto(), Auto(order=("feedback", "restart"), end="unverified"), Auto(order=("resample", "restart"))),
        *(Repair(), Repair(Resample()), Feedback(), Feedback(), Feedback("rewind"), Resample(), Stop(), Abstain()),
        *(Conclude(), Auto(order=("feedback",), place="append")),
    )


def _delivery(dice, trigger):
    if isinstance(trigger, ToolCalls) and dice.chance(0.4):
        return "gate_tools"
    return dice.one("interrupt", "interrupt", "interrupt", "observe", "gate", "gate", "final")


def _monitor(dice, number):
    tracking = Tracker(lambda _: 0, lambda state, segment: (state, parse(segment)))
    extractor = dice.one(parse, parse, parse, parse, both, parse_ungrounded, tracking, Fork("?", lambda _, s: parse(s)))
    trigger, remedy = _trigger(dice), _remedy(dice)
    delivery, required = _delivery(dice, trigger), dice.chance(0.8)
    if isinstance(remedy, Conclude):
        trigger = dice.one(Lines(), Paragraphs(), Sentences(), EveryChars(16))
        delivery, required = dice.one("interrupt", "interrupt", "observe"), False
    phase = dice.one("both", "both", "reasoning", "answer")
    if isinstance(trigger, Answer | ThinkEnd):
        phase = "both"
    return monitor(
        f"m{number}",
        verifier=dice.one(PLAIN, STRICT),
        extractor=extractor,
        remedy=remedy,
        trigger=trigger,
        delivery=delivery,
        level=dice.one("witness", "witness", "explain", "locate", "flag"),
        phase="reasoning" if isinstance(remedy, Conclude) else phase,
        unproven=dice.one(*("open",) * 7, "closed"),
        on_error=dice.one(None, None, None, "open", "closed", Retry(1), Retry(2, then="open")),
        required=required,
        scope=dice.one("steps", "answer"),
    )


def _core(dice, *, mild):
    if mild:
        triggers = (Lines(), Lines(), Sentences(), Paragraphs(), Answer(), EveryChars(40))
        monitors = [
            monitor(f"m{number}", trigger=dice.one(*triggers), remedy=dice.one(Auto(), Repair(), Feedback()))
            for number in range(1 + dice.below(2))
        ]
        gate = monitor("g", delivery=dice.one("gate", "final"), remedy=dice.one(Auto(), Feedback(), Resample()))
        return Core(
            monitors + [gate] * dice.below(2),
            template=TEMPLATE,
            think_tags=dice.one(None, TAGS),
            starts_in=dice.one("answer", "reasoning"),
            prompt_bytes=50,
            min_coverage=dice.one(0.0, 0.1),
            resume=dice.one("tokens", "turn"),
        )
    monitors = [_monitor(dice, number) for number in range(1 + dice.below(3))]
    return Core(
        monitors,
        budgets=Budgets(
            remedies=dice.one(16, 16, 16, 16, 2, 0),
            repeats=dice.one(3, 3, 3, 1),
            discarded_tokens=dice.one(8192, 8192, 8192, 8192, 6),
            prompt_tokens=dice.one(None, 1_000_000, 1_000_000, 200),
            forks=dice.one(256, 1, 0),
            reconnects=dice.one(3, 1, 0),
            characters=dice.one(4_000_000, 4_000_000, 4_000_000, 90),
            failures=dice.one(5, None, 1),
        ),
        template=TEMPLATE,
        think_tags=dice.one(None, TAGS, TAGS),
        starts_in=dice.one("answer", "answer", "reasoning"),
        max_tokens=dice.one(None, None, None, None, 20),
        context_tokens=dice.one(None, None, None, 200, 40),
        prompt_sha256="0" * 64,
        prompt_bytes=dice.one(0, 60),
        min_coverage=dice.one(0.0, 0.0, 0.3),
        codes=["c"],
        offer=dice.one(NO_OFFER, NO_OFFER, OFFER, REACT),
        resume=dice.one(None, "tokens", "prefix", "turn"),
    )


READABLE = [each.text for each in TEXTS.values() if each.form not in ("code", "llama", "pythonic")]


def _part(dice, *, mild):
    left, right = dice.below(10), dice.below(10)
    result = left + right if dice.chance(0.95 if mild else 0.85) else dice.one(left + right + 1, 10, right)
    equation = f"{left}+{right}={result}"
    return dice.one(
        *(f"{equation}\n",) * (30 if mild else 9),
        *(f"{equation} ", f"so {equation}\n", f"= {equation}\n", f"I see. {equation}. ", f"Wait, {equation}\n"),
        *("\n", "\n\n", "so", " and ", "e.g. ", f"```\n{equation}\n```\n", f"<a>{equation}</a>", "<think>", "</think>"),
        *("</think>\n", f"</think>{equation}\n", "<thi", dice.one(*READABLE), "\ud83d", "é"),
    )


class DrawnRun:
    """One run: it plays the model, the engine and the verifiers, and keeps all that the core says."""

    def __init__(self, seed: int) -> None:
        self.seed, self.dice = seed, Dice(seed)
        self.mild = self.dice.chance(0.4)
        self.core = _core(self.dice, mild=self.mild)
        self.lines: list[str] = []
        self.facts: list = []
        self.orders: list = []
        self.events: list = []
        self.ends: list[tuple[int, int, int]] = []
        """After each fact: how much is shown, the frontier, and the length of the trace."""
        self.summary = None
        self.pending: dict[int, Extract | Check] = {}
        self.over = False
        self.phase = self.dice.one("answer", "answer", "reasoning")
        self.take(self.core.begin())

    def play(self) -> str:
        while not self.over and len(self.lines) < MOST_FACTS * 4:
            self.tell(self.fact())
        if not self.over:
            self.tell(Abandoned())
        return "\n".join(self.lines)

    def tell(self, fact) -> None:
        self.facts.append(fact)
        self.lines.append(f"> {_said(fact)}")
        self.take(self.core.step(fact))
        core = self.core
        self.ends.append((core.released, core.gates.frontier, core.transcript.length))
        self.lines.append(f"  {core.state} {core.released} {core.gates.frontier} {core.counts.tokens()}")

    def take(self, orders) -> None:
        self.orders += orders
        for order in orders:
            self.lines.append(f"  {_said(order)}")
            match order:
                case Extract() | Check():
                    self.pending[order.job] = order
                case Drop(job=job):
                    del self.pending[job]
                case Finish(summary=summary):
                    self.over, self.summary = True, summary
        while self.core.events:
            self.events.append(self.core.events.popleft())
            self.lines.append(f"  {_said(self.events[-1])}")

    def fact(self):
        dice, state = self.dice, self.core.state
        rare = dice.below(900)
        if rare < 8:
            return (
                *(Broken("reset", retryable=True), Broken("reset", retryable=True), Broken("no", retryable=False)),
                *(SwitchedOff(), Abandoned(), OutOfTime(1.0), Resumed(), Idle(1.0)),
            )[rare]
        if rare < 24:
            return Idle(1.0, dead=rare < 12)
        if self.pending and (dice.chance(0.55) or state in ("deciding", "draining")):
            return self.answer(sorted(self.pending)[dice.below(len(self.pending))])
        match state:
            case "opening":
                return Opened(dice.one(None, "prefix", "turn"))
            case "streaming":
                return self.chunk()
            case _:
                return Chunk("late", tokens=1, usage=dice.one(None, Usage(completion_tokens=dice.below(30))))

    def chunk(self):
        dice = self.dice
        if self.core._finish_reason is not None or len(self.lines) > MOST_FACTS * 3 or dice.chance(0.03):
            if self.core._finish_reason is not None or dice.chance(0.2):
                return Ended()
            reasons = ("stop", "stop", "stop", "stop", "length", "tool_calls")
            return Chunk("", tokens=dice.below(2), finish_reason=dice.one(*reasons))
        usage = None
        if dice.chance(0.1):
            usage = Usage(
                prompt_tokens=dice.one(None, 20),
                completion_tokens=dice.one(None, dice.below(40)),
                reasoning_tokens=dice.one(None, 0, 3),
                asked_to_reason=dice.chance(0.3),
            )
        if dice.chance(0.04):
            name = f"c{dice.below(3)}"
            call = ToolCall(id=name, name=name, arguments=dice.one("1+1=2", "2+2=5", "{}"))
            return Chunk(call.text, "answer", 2, call=call, usage=usage)
        if dice.chance(0.1):
            self.phase = dice.one("answer", "answer", "reasoning")
        text = _part(dice, mild=self.mild)
        if dice.chance(0.1 if self.mild else 0.3):
            text = text[: 1 + dice.below(len(text))]
        return Chunk(text, self.phase, dice.below(4), usage=usage)

    def answer(self, job):
        order, dice = self.pending.pop(job), self.dice
        if not self.mild and dice.chance(0.03):
            return Settled(job, dice.one(Errored("broken"), TimedOut(1.0)), 0.5)
        if isinstance(order, Extract):
            claims = _claims(self.core.monitors[order.monitor].extractor, order.segment)
            unread = (order.segment.span,) if not claims and dice.chance(0.15) else ()
            return Extracted(job, claims, 0.25, unread=unread)
        verdict = judge(self.core.monitors[order.monitor].verifier.name, order.claim.key)
        if isinstance(verdict, Pass) and not self.mild:
            verdict = dice.one(*(verdict,) * 12, Pass(scope="answer"), Unknown("?"))
        return Settled(job, Judged(verdict), 0.125)


def _claims(extractor, segment):
    match extractor:
        case Fork():
            return tuple(extractor.parse("", segment))
        case Tracker():
            return tuple(extractor.step(0, segment)[1])
        case _:
            return tuple(extractor(segment))


_WORDS = ("why", "reason", "error", "problem")


def _said(thing) -> str:
    # Of words for people it keeps only whether there are any: they may change.
    return f"{type(thing).__name__} {json.dumps(_plain(msgspec.to_builtins(thing)), sort_keys=True)}"


def _plain(value):
    match value:
        case dict():
            return {key: bool(each) if key in _WORDS else _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value
