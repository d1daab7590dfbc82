"""Only type-checked (mypy strict), never run: the public API as a user writes it."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import interwhen
import interwhen.clients
import interwhen.toolkit
from interwhen import (
    Abstained,
    Claim,
    Delta,
    Failed,
    Fork,
    Monitor,
    Pass,
    Result,
    Retracted,
    Sampling,
    Segment,
    Unknown,
    Unverified,
    Verdict,
    Verified,
    Violation,
)
from interwhen.events import (
    CheckSettled,
    CheckStarted,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen.models import (
    Capabilities,
    Completion,
    IteratorStream,
    Model,
    ReplayModel,
    Request,
    Stream,
    Usage,
    load_recordings,
)
from interwhen.policy import MadeCall, Situation, Talk, admit, read_policy
from interwhen.precompute import (
    Context,
    Kind,
    Nothing,
    Payload,
    Precomputer,
    Proposal,
    Savings,
    Step,
    StepContext,
    open_store,
)
from interwhen.strategies import Exercise, Question, Solution, Strategy, StrategyContext, attempt, load_strategy
from interwhen.testing import (
    LabelledTrace,
    ScriptedModel,
    Turn,
    assert_trial,
    read_traces,
    score,
    try_monitor,
    try_monitor_sync,
)
from interwhen.toolkit import Verifier, solving
from interwhen.toolkit.quantities import convert, read_number, read_unit
from interwhen.toolkit.quotes import quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class DateClaim(Claim):
    """A claim of the user's own."""

    day: int


def dates(segment: Segment) -> Iterator[DateClaim]:
    yield DateClaim(key=segment.text, span=segment.ground("1 May"), day=1)


@interwhen.verifier(name="dates", version="1", deadline=2.0)
def check(claim: DateClaim) -> Verdict:
    """Judge a claim."""
    if claim.day > 31:
        return Violation("no such day", where=interwhen.Span(0, 2), repair="31")
    return Pass() if claim.day > 0 else Unknown("which day?")


@interwhen.verifier(name="async dates", worker="async")
async def check_async(claim: DateClaim) -> Verdict:
    """Judge a claim, waiting for something."""
    return Pass(str(claim.day))


class OwnVerifier:
    """A verifier as a class of the user's own."""

    name = "own"
    version = "1"
    deadline = 1.0
    worker: interwhen.toolkit.Worker = "inline"

    def check(self, claim: DateClaim, /) -> Verdict:
        return Pass(claim.key)


verifiers: list[Verifier] = [check, check_async, OwnVerifier()]


def from_reply(reply: str, segment: Segment) -> list[DateClaim]:
    return [DateClaim(key=reply, span=segment.ground(reply), day=int(reply))]


monitors = [
    Monitor(name="parser", verifier=check, extractor=dates),
    Monitor(
        name="fork",
        verifier=check_async,
        extractor=Fork("Which day?", from_reply, max_tokens=4),
        trigger=interwhen.Paragraphs(),
        delivery="gate",
        remedy=interwhen.Repair(otherwise=interwhen.Resample()),
        level="explain",
        phase="answer",
        unproven="closed",
        on_error=interwhen.remedies.Retry(2, then="open"),
        required=False,
    ),
    Monitor(name="own", verifier=OwnVerifier(), extractor=dates, remedy=interwhen.Feedback("rewind")),
]


class OwnModel:
    """A model of the user's own."""

    name = "own"

    async def capabilities(self) -> Capabilities:
        return Capabilities(resume="prefix", forks=False)

    async def stream(self, request: Request) -> Stream:
        async def texts() -> AsyncIterator[str]:
            yield request.prefix

        return IteratorStream(texts())

    async def complete(self, request: Request) -> Completion:
        return Completion(request.side or "", "stop", Usage())

    async def aclose(self) -> None:
        """Close."""


own: Model = OwnModel()
scripted: Model = ScriptedModel(["text"])
replay: Model = ReplayModel(load_recordings("run.jsonl"), speed=2.0)


def show(event: Event) -> str:
    match event:
        case Delta(text=text):
            return text
        case Retracted(to=to) | FrontierMoved(to=to):
            return str(to + 1)
        case CheckStarted(key=key):
            return key
        case CheckSettled(check=record):
            return record.monitor
        case ViolationFound(violation=violation) | Remedied(violation=violation):
            return violation.why
        case StreamStarted(resume=resume):
            return resume or "first"
        case StreamBroken(error=error):
            return error
        case StreamEnded(finish_reason=reason):
            return reason
        case Finished(result=result):
            return result.text
        case _:
            assert_never(event)


def judge(result: Result) -> str:
    match result:
        case Verified(certificate=certificate):
            return f"{certificate.coverage:.0%} {certificate.matches(result.text)}"
        case Unverified(unverified_reasons=unverified_reasons):
            return unverified_reasons[0].why
        case Abstained(reason=reason):
            return reason
        case Failed(error=error):
            return error
        case _:
            assert_never(result)


async def supervise() -> str:
    async with interwhen.run(own, "prompt", monitors=monitors, sampling=Sampling(max_tokens=9)) as run:
        async for event in run:
            show(event)
        tokens: int = run.result.ledger.total_tokens
    async with interwhen.run("local", [{"role": "user", "content": "Hi"}], monitors=["arithmetic"]) as named:
        result: Result = await named.drain()
    messages = [interwhen.Message("user", "Hi")]
    async with interwhen.run(scripted, messages, budgets=interwhen.Budgets(seconds=3.0)) as third:
        seconds: float = (await third.drain()).timing.total
        blocked_loop: float = sum(one.seconds for one in third.result.timing.blocked_loop)
    async with (
        interwhen.Workers(threads=2, processes=1, memory=None, blocked_loop_after=None) as workers,
        interwhen.run(own, "prompt", monitors=monitors, workers=workers) as shared,
    ):
        tries: int = sum(record.tries for record in (await shared.drain()).checks)
    return judge(result) + str(tokens) + str(seconds) + str(blocked_loop) + str(tries)


def solve() -> interwhen.Verdict:
    left: float = interwhen.toolkit.time_left()
    with interwhen.toolkit.on_cancel(lambda: None), solving.problem(seconds=left, memory_mb=100) as problem:
        problem.require("yes", True)
        return problem.follows(True)


def supervise_sync() -> str:
    with interwhen.run_sync(replay, "prompt", uvloop=True, monitors=monitors) as run:
        for event in run:
            show(event)
    return judge(run.result)


parser: Callable[[Segment], Iterator[DateClaim]] = dates


def wrapped() -> list[object]:
    import openai

    plain: openai.OpenAI = interwhen.wrap(openai.OpenAI(), monitors=["arithmetic"], reading="gate")
    asynchronous: openai.AsyncOpenAI = interwhen.wrap(openai.AsyncOpenAI(), ["arithmetic"])
    info = interwhen.clients.supervision_info(plain) or interwhen.clients.supervision_info(asynchronous)
    if info is not None and info.result is not None:
        return [info.result.status, info.start, info.lead, info.verdicts, info.violations, info.retracted]
    return []


@interwhen.guard(results=["arithmetic"], on_refused=str, context=["client"])
def tool(path: str, client: object = None) -> int:
    return len(path)


async def by_hand(path: str) -> int:
    return interwhen.guard(tool)(path)


async def journalled() -> str:
    journal = interwhen.journal.Journal("run.journal", fsync=True, close_seconds=0.5)
    async with interwhen.run(own, "prompt", monitors=monitors, journal=journal) as run:
        result: Result = await run.drain()
    async with interwhen.resume("run.journal", model=own, monitors=monitors) as again:
        state: interwhen.results.JournalState | None = (await again.drain()).journal
    replayed = interwhen.replay("run.journal")
    others = await interwhen.recheck("run.journal", ["arithmetic"])
    first = others.findings[0]
    left: int = interwhen.journal.read_journal("run.journal").left_out
    ended = replayed.result.status if replayed.result is not None else "not over"
    return ended + result.text + first.violation.why + str(left) + (state.incomplete if state is not None else "")


async def trial(monitor: Monitor) -> list[str]:
    trace = LabelledTrace(name="a", turns=(Turn(prompt="q", text="1 May"),), label="right")
    total = score(try_monitor_sync(monitor, [trace, *read_traces("traces.jsonl")], on_trial=print))
    total = assert_trial("arithmetic", [trace], recall=0.9, false_interrupts=0.0)
    shares = [total.recall.low, total.recall.value or 0.0, total.check_ms.p99]
    return [
        f"{one.violations[0].why} {shares}" async for one in try_monitor(monitor, [trace], seed=3) if one.is_flagged
    ]


def helpers(segment: Segment, pattern: re.Pattern[str]) -> Iterator[str]:
    for quote in quotes(segment, pattern):
        number, unit, other = read_number(quote["count"]), read_unit(quote["unit"]), read_unit("km")
        if number is not None and unit is not None and other is not None:
            yield f"{convert(number, unit, other)} {quote.where('count')} {quote.span}"


class Shouting:
    """A producer of precomputed things."""

    name, version = "shouting", "1"
    kind: Kind = "answers"

    def plan(self, context: Context) -> list[Step]:
        return [Step(name=piece.name, reads=(piece.name,)) for piece in context.pieces]

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        text = context.read(step.name)
        return Proposal(payload=Payload(text.upper())) if text else Nothing("it is empty")


async def ahead_of_time(model: Model) -> Result:
    store = open_store("store.db")
    savings = Savings(store, limit=1000)
    pre = Precomputer(store, model, ["arithmetic"], producers=[Shouting()], serving=savings)
    ref = await pre.add("book", {"one": "text"}, kinds=["answers"])
    async with pre.idle(), interwhen.run(model, "Q", context=ref) as run:
        return await run.drain()


class Once:
    """A strategy of one's own."""

    name = "once"
    meets_model = False

    async def solve(self, question: Question, context: StrategyContext) -> Solution:
        trace = await context.write(question, context.sampled(context.rng.randrange(9)))
        judged = await context.judge(question, trace)
        return Solution(trace=trace, result=judged.result)


async def strategies(model: Model) -> tuple[str, int]:
    question = Question(name="q", prompt="2 + 2?", read=str.strip, monitors=("arithmetic:level=flag",))
    both: tuple[Strategy, ...] = (Once(), load_strategy("best-of-n:n=4"))
    outcomes = [await attempt(one, model, question, budget=500, seed=1) for one in both]
    exercise = Exercise(question, lambda answer: answer == "4")
    right = sum(exercise.grade(one.answer or "") for one in outcomes if one.answered)
    return outcomes[0].status, right + outcomes[0].ledger.total_tokens


def written_policies(folder: Path) -> tuple[str, ...]:
    policy = read_policy(folder)
    state = policy.learn({}, MadeCall("get_order", {"id": "A"}, {"status": "open"}))
    situation = Situation("cancel", {"id": "A"}, state, talk=Talk(("Yes.",), told=True))
    broken = [judged.rule.id for judged in policy.judge(situation) if isinstance(judged.verdict, Violation)]
    admission = admit(policy)
    return (*broken, *admission.admitted, *admission.coverage.without)
