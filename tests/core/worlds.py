"""A small world for the core: sums as claims, verdicts decided by the claim, and a driver that plays the engine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec
from interwhen import (
    Claim,
    Delta,
    Monitor,
    Pass,
    Repair,
    Retracted,
    Span,
    ToolCall,
    Unknown,
    Violation,
    verifier,
)
from interwhen._core.machine import Core
from interwhen._core.messages import (
    Check,
    Close,
    Drop,
    Ended,
    Extract,
    Extracted,
    Finish,
    Open,
    Opened,
    Settled,
)
from interwhen.models import Chunk
from interwhen.results import Judged

SUM = re.compile(r"(?<!\d)(\d)\+(\d)=(\d{1,2})(?!\d)")


def parse(segment):
    return tuple(
        Claim(key=match[0], span=segment.at(match.start(), match.end())) for match in SUM.finditer(segment.text)
    )


def parse_ungrounded(segment):
    return tuple(Claim(key=match[0], span=None) for match in SUM.finditer(segment.text))


def judge(name, key):
    # A right sum passes. A wrong sum whose result ends in 0 is unknown. Any other wrong sum is refuted, with a repair
    # only if its first number is even. The verifier `strict` also refuses right sums that begin with 7, and its repairs
    # of sums with the second number 5 are wrong.
    left, right, result = map(int, SUM.fullmatch(key).groups())
    if left + right == result and not (name == "strict" and left == 7):
        return Pass()
    if result % 10 == 0:
        return Unknown("a zero")
    where = Span(4, len(key))
    repair = str(left + right) if left % 2 == 0 else None
    if name == "strict" and repair is not None and right == 5:
        repair = str(left + right + 1)  # a repair that is refuted again
    return Violation(why=f"{key} is wrong", witness=f"it is {left + right}", where=where, repair=repair)


def make_verifier(name):
    @verifier(name=name, worker="inline")
    def check(claim):
        return judge(name, claim.key)

    return check


PLAIN, STRICT = make_verifier("plain"), make_verifier("strict")


def monitor(name="m", *, verifier=PLAIN, extractor=parse, remedy=None, **options):
    # Return a monitor of sums. Its remedy is `Repair` by default, because the ladder depends on earlier violations.
    return Monitor(name=name, verifier=verifier, extractor=extractor, remedy=remedy or Repair(), **options)


def call_chunk(name, arguments):
    call = ToolCall(id=name, name=name, arguments=arguments)
    return Chunk(call.text, call=call)


@dataclass
class Driver:
    """Plays the engine, the model and the reader of *core*."""

    # Ordered jobs wait in `pending` until the test answers them. Events are read at once: `seen` has all of them, and
    # `shown` the text that the reader sees.

    core: Core
    pending: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)
    orders: list = field(default_factory=list)
    facts: list = field(default_factory=list)
    shown: str = ""
    fed: int = 0
    summary: object = None
    checked: list = field(default_factory=list)

    def __post_init__(self):
        self.take(self.core.begin())

    @property
    def state(self):
        return self.core.state

    def take(self, orders):
        self.orders += orders
        for order in orders:
            assert self.summary is None, f"an order after the end: {order}"
            match order:
                case Extract() | Check():
                    assert order.job not in self.pending
                    self.pending[order.job] = order
                    if isinstance(order, Check):
                        self.checked.append((self.core.monitors[order.monitor].verifier.name, order.claim.key))
                case Drop(job=job):
                    assert self.pending.pop(job, None) is not None, f"job {job} is not open"
                case Finish(summary=summary):
                    self.summary = summary
                case Open() | Close():
                    pass
        while self.core.events:
            self.see(self.core.events.popleft())

    def see(self, event):
        self.seen.append(event)
        match event:
            case Delta(text=text, start=start):
                assert start == len(self.shown), "a gap or an overlap in what the reader sees"
                self.shown += text
            case Retracted(to=to):
                assert to < len(self.shown)
                self.shown = self.shown[:to]

    def tell(self, fact):
        self.facts.append(fact)
        self.take(self.core.step(fact))

    def open(self):
        self.tell(Opened(None))

    def feed(self, text, *, size=None, phase="answer", finish=None):
        for at in range(0, len(text), size or len(text) or 1):
            self.chunk(text[at : at + (size or len(text))], phase=phase)
        if finish is not None:
            self.chunk("", tokens=0, finish=finish)

    def chunk(self, text, *, tokens=1, phase="answer", finish=None):
        if self.summary is None:
            self.fed += tokens
        self.tell(Chunk(text, phase, tokens, finish_reason=finish))

    def answer(self, job):
        order = self.pending.pop(job)
        who = self.core.monitors[order.monitor]
        if isinstance(order, Extract):
            parser = who.extractor if callable(who.extractor) else (lambda segment: who.extractor.parse("", segment))
            self.tell(Extracted(job, tuple(parser(order.segment))))
        else:
            self.tell(Settled(job, Judged(judge(who.verifier.name, order.claim.key))))

    def settle(self, pick=min):
        # `pick` chooses the next number among those of open jobs.
        while self.pending:
            self.answer(pick(self.pending))

    def extract(self):
        while jobs := [job for job, order in self.pending.items() if isinstance(order, Extract)]:
            self.answer(jobs[0])

    def end(self, finish="stop"):
        self.feed("", finish=finish)
        self.tell(Ended())

    def job(self, key):
        return next(job for job, order in self.pending.items() if isinstance(order, Check) and order.claim.key == key)

    def of(self, kind):
        return [event for event in self.seen if isinstance(event, kind)]


def drive(*monitors, opened=True, **options):
    driver = Driver(Core(monitors, **options))
    if opened:
        driver.open()
    return driver


def plain_summary(summary):
    # Return the parts of `summary` that must not depend on the times of facts. Left out are seconds, whether a verdict
    # was cached, and counts of discarded text.
    checks = [
        (c.monitor, c.key, c.span, c.segment, type(c.outcome).__name__, getattr(c.outcome, "verdict", None))
        for c in summary.checks
    ]
    return (
        summary.status,
        summary.text,
        summary.finish_reason,
        checks,
        summary.violations,
        summary.insertions,
        sorted(summary.unverified_reasons, key=msgspec.json.encode),
        summary.reason,
        summary.remedies,
    )
