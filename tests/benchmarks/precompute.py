"""``python -m tests.benchmarks precompute``: asks the local model about totals before and after precompute."""

from __future__ import annotations

import operator
import random
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from interwhen import (
    Claim,
    Lines,
    Monitor,
    Pass,
    Sampling,
    Segment,
    Task,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen._types.vetting import Positive, vetted
from interwhen.bench._experiment import command_of, say
from interwhen.bench._report import Cell, Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate, paired
from interwhen.cli._progress import each as progress_of
from interwhen.models import Model, open_local
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute._precomputer import ContextRef
from interwhen.precompute.producers.answers import answers, compose
from interwhen.testing._scores import Rate
from interwhen.toolkit.quotes import quotes

# Problems about running totals, in the wording on which the tiny model was trained, and a monitor for them.
#
# The generator and the monitor share no code. Python's integers grade the answers.

QUESTION = "What is the result?"
QUERIES = (1, 3, 10)
_START = re.compile(r"Start with (\d{1,9})\.")
_CHANGE = re.compile(r"(Add|Subtract|Multiply by) (\d{1,9})\.")
_CLAIM = re.compile(
    r"(?P<left>\d{1,9}) (?P<sign>[-+\N{MULTIPLICATION SIGN}]) (?P<right>\d{1,9}) = (?P<value>-?\d{1,12})"
    r"|Answer: (?P<answer>-?\d{1,12})"
)

_OPERATIONS = {
    "Add": operator.add,
    "+": operator.add,
    "Subtract": operator.sub,
    "-": operator.sub,
    "Multiply by": operator.mul,
    "\N{MULTIPLICATION SIGN}": operator.mul,
}


class Total(NamedTuple):
    """The text of a problem about a running total, and its right answer."""

    text: str
    answer: str


def total(rng: random.Random) -> Total:
    value = rng.randint(20, 400)
    words = [f"Start with {value}."]
    for _ in range(rng.randint(2, 4)):
        kind = rng.randrange(3)
        # Small values are not subtracted from: the amount must be between 11 and the value.
        subtracts = kind == 1 and value > 50
        sign, low, high = (
            ("Add", 11, 300) if kind == 0 else ("Subtract", 11, value) if subtracts else ("Multiply by", 2, 5)
        )
        amount = rng.randint(low, high)
        words.append(f"{sign} {amount}.")
        value = {"Add": value + amount, "Subtract": value - amount, "Multiply by": value * amount}[sign]
    return Total(" ".join(words), str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Claim):
    """A claim: one step of the computation, *left* *sign* *right* = *value*, or the answer *value*."""

    # For an answer, `sign` is empty.

    left: int = 0
    sign: str = ""
    right: int = 0
    value: int


def prepare(task: Task) -> int | None:
    start = _START.search(task.text)
    if start is None:
        return None
    value = int(start[1])
    for kind, amount in _CHANGE.findall(task.text, start.end()):
        value = _OPERATIONS[kind](value, int(amount))
    return value


def extract(segment: Segment, _right: int) -> Iterator[Figure]:
    # The second parameter, the value from `prepare`, is not used.
    for quote in quotes(segment, _CLAIM):
        if quote["answer"]:
            yield Figure(key=quote.text, span=quote.span, value=int(quote["answer"]))
        else:
            numbers: Any = {name: int(quote[name]) for name in ("left", "right", "value")}
            yield Figure(key=quote.text, span=quote.span, sign=quote["sign"], **numbers)


@verifier(name="bench-totals", version="1", worker="inline")
def check(claim: Figure, right: int) -> Verdict:
    """Check a claim: compute the step again, or compare the answer with *right*, the value from :func:`prepare`.

    A wrong step is a violation with a repair; a wrong answer is ``Unknown``.
    """
    expected = _OPERATIONS[claim.sign](claim.left, claim.right) if claim.sign else right
    if expected == claim.value:
        return Pass("computed", scope="steps" if claim.sign else "answer")
    if not claim.sign:
        return Unknown("the answer is not what the changes come to")
    said = f"{claim.left} {claim.sign} {claim.right} = {expected}"
    return Violation("the sum is wrong", witness=f"{said}, not {claim.value}", repair=said)


def totals() -> Monitor:
    # Return a monitor for problems about running totals. For a wrong answer, its verdict is `Unknown`.
    # A repair would tell the model the right answer.
    return Monitor(
        name="bench-totals", trigger=Lines(), extractor=extract, verifier=check, prepare=prepare, scope="answer"
    )


_ANSWER = re.compile(r"Answer: (-?\d+)\s*\Z")
_SAMPLING = Sampling(max_tokens=300, temperature=0.0)


@vetted("--")
async def precompute(*, model: str = "local", problems: Positive = 40, seed: int = 0) -> Report:
    """Measure what prepared answers to identical questions save, on running totals and with a local model.

    Parameters
    ----------
    model
        "local" (the tiny model that comes with interwhen) or "local:PATH.gguf".
    problems
        How many problems are prepared and asked.
    seed
        The seed of all random choices.
    """
    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(f"--model must be 'local' or 'local:PATH.gguf', got {model!r}; correct it")
    async with open_local(spec) as opened:
        return await measure_local(opened, problems=problems, seed=seed)


async def measure_local(model: Model, *, problems: int = 40, seed: int = 0) -> Report:
    # Ask `model` `problems` problems with nothing prepared, then run precompute, then ask the same problems again.
    # Return the report, which compares right answers and tokens.
    rng = random.Random(seed)
    asked = [total(rng) for _ in range(problems)]
    precomputer = Precomputer(
        Store(MemoryShelf()),
        model,
        [totals()],
        producers=[answers(questions=[QUESTION], max_tokens=300)],
        debounce=0.0,
    )
    refs = [await precomputer.add(f"total {at}", {"total": one.text}) for at, one in enumerate(asked)]
    say(f"{problems} totals with nothing prepared")
    before = [await _ask(precomputer, one) for one in progress_of(asked, "totals", ticks=False)]
    say("preparing")
    await precomputer.work()
    say(f"{problems} totals with what is ready")
    after = [
        await _ask(precomputer, one, context=ref)
        for one, ref in progress_of(list(zip(asked, refs, strict=True)), "totals", ticks=False)
    ]
    stored = [(one, item) for one, ref in zip(asked, refs, strict=True) for item in precomputer.ready(ref)]
    offline = statistics.fmean(prepared.spending.cost.generated for prepared in precomputer.contexts.values())
    await precomputer.aclose()
    usual, now = (statistics.fmean(one.tokens for one in runs) for runs in (before, after))
    costs: list[Row] = [
        {
            "what": f"cost a query at {queries} queries, t = {weight}",
            "nothing": 1,
            "precomputed": (offline / queries + weight * now) / (weight * usual),
        }
        for queries in QUERIES
        for weight in (10, 1)
    ]
    rows: tuple[Row, ...] = (
        {"what": "right", "nothing": _percent(before), "precomputed": _percent(after)},
        {"what": "tokens a query", "nothing": usual, "precomputed": now},
        {"what": "first token, ms", **_times(before, after, "first_token")},
        {"what": "whole answer, ms", **_times(before, after, "total")},
        # No answer is stored for a problem whose answer was not verified.
        {"what": f"answers stored, of {problems}", "precomputed": len(stored)},
        {"what": "  of them wrong", "precomputed": sum(not _is_right(one, item.payload.text) for one, item in stored)},
        {"what": "tokens ahead of time, a context", "precomputed": offline},
        *costs,
    )
    caption = "t: the weight of a token for which a reader waits."
    return Report(benchmark="precompute", subject=model.name, tables=(Table("Running totals", rows, caption),))


class _Reply(NamedTuple):
    """The result of asking one problem; times are in seconds."""

    right: bool
    tokens: int
    first_token: float
    total: float


def _times(before: Sequence[_Reply], after: Sequence[_Reply], name: Literal["first_token", "total"]) -> dict[str, Cell]:
    usual, now = ([1000 * float(getattr(one, name)) for one in runs] for runs in (before, after))
    return {
        "nothing": estimate(usual),
        "precomputed": estimate(now),
        "more, within pairs": paired(usual, now)[1],
    }


def _percent(runs: Sequence[_Reply]) -> Estimate:
    rate = Rate.make(sum(one.right for one in runs), len(runs))
    return Estimate(100 * (rate.value or 0.0), "%", 100 * rate.low, 100 * rate.high, len(runs))


async def _ask(precomputer: Precomputer, one: Total, *, context: ContextRef | None = None) -> _Reply:
    prompt = compose(one.text, QUESTION)
    async with precomputer.run(prompt, context=context, sampling=_SAMPLING) as supervised:
        result = await supervised.drain()
    ledger, timing = result.ledger, result.timing
    first = timing.total if timing.first_token is None else timing.first_token
    return _Reply(_is_right(one, result.text), ledger.kept + ledger.discarded, first, timing.total)


def _is_right(one: Total, text: str) -> bool:
    match = _ANSWER.search(text)
    return match is not None and match[1] == one.answer


command = command_of(precompute)
