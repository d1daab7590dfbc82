"""``python -m tests.benchmarks resumes``: what a correction costs on llama.cpp, with and without the wait for its slot."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

import interwhen
from interwhen import Claim, Message, Monitor, Pass, Sampling, Segment, Span, UsageError, Verdict, Violation
from interwhen._types.ledger import ResumeCost
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate
from interwhen.models import _token_stream, open_local
from interwhen.models._local import LocalModel

Arm = Literal["after the release of the slot", "at once"]
_ARMS: tuple[Arm, ...] = ("after the release of the slot", "at once")
LOOKS = _token_stream.MOST_LOOKS
_APART = 3
_STEPS = {"Add": (12, 999), "Subtract": (12, 999), "Multiply by": (2, 9)}


def problem(rng: random.Random) -> tuple[Message, ...]:
    steps = [f"{word} {rng.randint(*_STEPS[word])}." for word in rng.choices(list(_STEPS), k=5)]
    return (Message("user", f"Start with {rng.randint(100, 999)}. {' '.join(steps)} What is the result?"),)


def refuting() -> Monitor:
    # Return a monitor that refutes one line, and some lines later a second one, whether they are right or wrong. It
    # passes the other lines.
    keys = itertools.count()
    passed, refuted = 0, 0

    def extract(segment: Segment) -> Iterator[Claim]:
        if len(segment.text.strip()) > 1:
            # Each line gets a key of its own, so that a repaired line is checked again.
            yield Claim(key=str(next(keys)), span=segment.at(0, len(segment.text)))

    @interwhen.verifier(name="by-number", worker="inline")
    def judge(claim: Claim) -> Verdict:
        nonlocal passed, refuted
        if refuted == 2 or passed < _APART or claim.span is None:
            passed += 1
            return Pass()
        passed, refuted = 0, refuted + 1
        size = claim.span.end - claim.span.start
        return Violation(why="the benchmark refutes this line", where=Span(size - 1, size), repair="7")

    return Monitor(name="by-number", verifier=judge, extractor=extract, phase="both", remedy=interwhen.Repair())


async def costs(model: LocalModel, prompt: tuple[Message, ...], arm: Arm, tokens: int) -> tuple[ResumeCost, ...]:
    """Let *model* answer *prompt* in one run, in which a monitor refutes two lines. Return the cost of each resume.

    *arm* says whether a resume waits until the slot of the closed stream is free; meanwhile this holds for all streams
    of this process. *tokens* limits the run.
    """
    # No user needs this switch, so it is not an option of the model.
    _token_stream.MOST_LOOKS = LOOKS if arm == _ARMS[0] else 0
    sampling = Sampling(max_tokens=tokens, temperature=0.0)
    try:
        async with interwhen.run(model, prompt, monitors=[refuting()], sampling=sampling) as run:
            return (await run.drain()).ledger.resumes
    finally:
        _token_stream.MOST_LOOKS = LOOKS


@vetted("--")
async def resumes(
    *,
    model: str = "local",
    api: Literal["completions", "chat"] = "completions",
    pairs: Positive = 50,
    tokens: Positive = 150,
    seed: int = 1,
    minutes: Above | None = None,
) -> Report:
    """Measure what a correction costs on llama.cpp: the tokens that the server reads again, and the first new token.

    In a run that is long enough, a monitor refutes two lines, whether right or wrong, and writes another last
    character. Runs
    that wait until the slot of the closed stream is free are compared with runs that resume at once.

    Parameters
    ----------
    model
        "local" (the tiny model that comes with interwhen) or "local:PATH.gguf".
    api
        The API of the server.
    pairs
        How many runs of each kind are measured, after one that warms up.
    tokens
        The largest number of tokens of a run.
    seed
        The seed of the problems and of the order within a pair.
    minutes
        Begin no further pair after this many minutes, but measure at least one.
    """
    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(f"--model must be 'local' or 'local:PATH.gguf', got {model!r}: only a local model is measured")
    rng = random.Random(seed)
    async with open_local(spec, api=api) as opened:
        # A new problem for each run, so that the server has nothing of it in its cache.
        by_arm = await Experiment(_ARMS, pairs, seed, minutes=minutes).run(
            lambda arm, _: costs(opened, problem(rng), arm, tokens)
        )
        name = opened.name
    rows = tuple(row for arm in _ARMS for row in _rows(arm, list(itertools.chain.from_iterable(by_arm[arm]))))
    note = "The bar holds for resumes that wait. After feedback, its text is read, too."
    shown = {
        arm: [[(c.prompt_tokens, c.cached_tokens, c.first_token) for c in run] for run in by_arm[arm]] for arm in _ARMS
    }
    return Report(
        benchmark="resumes",
        subject=name,
        tables=(Table(f"Resumes, {api}", rows, note),),
        observations=observations(shown),
    )


def _rows(arm: Arm, arm_costs: Sequence[ResumeCost]) -> Iterator[Row]:
    shares = [cost.cached_share * 100 for cost in arm_costs if cost.cached_share is not None]
    again = [cost.uncached_tokens for cost in arm_costs if cost.uncached_tokens is not None]
    first = [cost.first_token * 1e3 for cost in arm_costs if cost.first_token is not None]
    if not shares or not first:
        raise UsageError(
            "at least one run must be corrected, and the server must count its tokens, and neither was so: "
            "try more --pairs, or more --tokens"
        )
    limit = 90.0 if arm == _ARMS[0] else None
    yield {"what": f"{arm}: resumes", "measured": Estimate(len(arm_costs))}
    middle = Estimate(statistics.median(shares), "%", n=len(shares), limit=limit, at_least=True)
    yield {"what": "  cached share of the prompt, median", "measured": middle}
    yield {
        "what": "  resumes with less than 90 % cached",
        "measured": Estimate(100 * sum(share < 90 for share in shares) / len(shares), "%"),
    }
    yield {"what": "  tokens read again, mean", "measured": Estimate(statistics.fmean(again))}
    yield {"what": "  first new token, median", "measured": Estimate(statistics.median(first), "ms")}
    yield {"what": "  first new token, mean", "measured": Estimate(statistics.fmean(first), "ms")}


command = command_of(resumes)
