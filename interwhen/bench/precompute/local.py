"""One run with the real local model, whatever it shows: running totals, asked again and again."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Callable

import msgspec

from interwhen.bench.precompute.totals import QUESTION, Total, total, totals
from interwhen.models.base import Model, Sampling
from interwhen.precompute import ContextRef, MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.answers import answers, compose
from interwhen.precompute.producers.facts import facts
from interwhen.precompute.serving import ServeReady

_ANSWER = re.compile(r"Answer: (-?\d+)\s*\Z")
_SAMPLING = Sampling(max_tokens=300, temperature=0.0)


class LocalPrecompute(msgspec.Struct, frozen=True):
    """Running totals before the real local model, one question a context."""

    model: str
    problems: int
    right_before: float
    """Answers that are right with nothing prepared, with the monitor."""
    right_after: float
    generated_before: float
    """Tokens a query while the reader waits."""
    generated_after: float
    answers_stored: int
    """Of the problems; the others were not verified, and nothing was stored for them."""
    wrong_stored: int
    facts_proposed_for: int
    """Contexts in which the model was asked for statements, too."""
    facts_stored: int
    offline: float
    """Tokens generated ahead of time, a context, on answers and on facts."""
    cost_10: float
    """The cost a query at 10 queries a context, where a reader's token weighs 10, over that with nothing prepared."""
    cost_1: float


async def measure_local(
    model: Model, *, problems: int = 40, seed: int = 0, say: Callable[[str], None] = lambda _line: None
) -> LocalPrecompute:
    """Ask *problems* totals with nothing prepared; prepare them; ask again."""
    rng = random.Random(seed)  # noqa: S311
    asked = [total(rng) for _ in range(problems)]
    precomputer = Precomputer(
        Store(MemoryShelf()),
        model,
        [totals()],
        producers=[answers(questions=[QUESTION], max_tokens=300), facts(max_tokens=100)],
        passes=1,
        debounce=0.0,
        serving=ServeReady(),
    )
    refs = [await precomputer.add(f"total {at}", {"total": one.text}) for at, one in enumerate(asked)]
    say(f"{problems} totals with nothing prepared")
    before = [await _ask(precomputer, one) for one in asked]
    say("preparing")
    await precomputer.work()
    say(f"{problems} totals with what is ready")
    after = [await _ask(precomputer, one, context=ref) for one, ref in zip(asked, refs, strict=True)]
    items = [(one, item) for one, ref in zip(asked, refs, strict=True) for item in precomputer.ready(ref)]
    stored = [(one, item) for one, item in items if item.key.kind == "answers"]
    offline = statistics.fmean(prepared.spending.cost.generated for prepared in precomputer.contexts.values())
    await precomputer.aclose()
    usual, now = (statistics.fmean(tokens for _, tokens in runs) for runs in (before, after))
    return LocalPrecompute(
        model=model.name,
        problems=problems,
        right_before=statistics.fmean(right for right, _ in before),
        right_after=statistics.fmean(right for right, _ in after),
        generated_before=usual,
        generated_after=now,
        answers_stored=len(stored),
        wrong_stored=sum(not _is_right(one, item.payload.text) for one, item in stored),
        facts_proposed_for=problems,
        facts_stored=len(items) - len(stored),
        offline=offline,
        cost_10=(offline / 10 + 10 * now) / (10 * usual),
        cost_1=(offline / 10 + now) / usual,
    )


async def _ask(precomputer: Precomputer, one: Total, *, context: ContextRef | None = None) -> tuple[bool, int]:
    prompt = compose(one.text, QUESTION)
    async with precomputer.run(prompt, context=context, sampling=_SAMPLING) as supervised:
        result = await supervised.drain()
    return _is_right(one, result.text), result.ledger.kept + result.ledger.discarded


def _is_right(one: Total, text: str) -> bool:
    found = _ANSWER.search(text)
    return found is not None and found[1] == one.answer
