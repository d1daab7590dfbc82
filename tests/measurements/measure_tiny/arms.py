"""The ways of spending tokens on a problem that are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import interwhen
import msgspec
from examples.tiny_monitors import monitors_for
from interwhen import Message, Monitor, Result, Sampling
from interwhen.models import Model, Request
from interwhen.testing import ScriptedModel
from tools.train_tiny.tasks import Problem

from .records import Try, grade_result, grade_text, split_trace

LIMIT = 400
"""The most tokens of one trace."""
SAMPLES = 4
TEMPERATURE = 0.7

BUDGETS = interwhen.Budgets(remedies=6)
"""After so many remedies a supervised run gives up; what is left to spend, another one may."""

GREEDY = Sampling(max_tokens=LIMIT, temperature=0.0)


def sampled(seed: int) -> Sampling:
    """Return the sampling of a sample."""
    return Sampling(max_tokens=LIMIT, temperature=TEMPERATURE, top_p=1.0, seed=seed)


class Sample(NamedTuple):
    """An unsupervised try, and the verdicts that verifiers would have given."""

    text: str
    tokens: int
    prompt_tokens: int
    violations: int
    verified: bool


def ask(problem: Problem) -> tuple[Message, ...]:
    """Return the problem as a chat."""
    return (Message(role="user", content=problem.prompt),)


async def bare(model: Model, problem: Problem, sampling: Sampling) -> tuple[str, int, int]:
    """Return the text of an unsupervised try, its tokens, and those of the prompt."""
    reply = await model.complete(Request(ask(problem), (), sampling))
    return reply.text, reply.usage.completion_tokens or 0, reply.usage.prompt_tokens or 0


async def supervised(model: Model, problem: Problem, sampling: Sampling) -> Result:
    """Return the result of a run under the monitors of the problem's family."""
    monitors = monitors_for(problem.family, problem.prompt)
    async with interwhen.run(model, ask(problem), monitors=monitors, sampling=sampling, budgets=BUDGETS) as run:
        return await run.drain()


async def sample(model: Model, problem: Problem, seed: int) -> Sample:
    """Draw a sample, and verify it afterwards."""
    text, tokens, prompt_tokens = await bare(model, problem, sampled(seed))
    monitors: tuple[Monitor, ...] = monitors_for(problem.family, problem.prompt, delivery="observe")
    async with interwhen.run(ScriptedModel([text]), problem.prompt, monitors=monitors) as run:
        result = await run.drain()
    return Sample(text, tokens, prompt_tokens, len(result.violations), result.answer_verified)


def best_of(problem: Problem, split: str, number: int, samples: Sequence[Sample]) -> Try:
    """Answer with the sample that passes most checks; never abstain."""
    chosen = min(samples, key=lambda one: (not one.verified, one.violations))
    return _spent(grade_text("best of 4", problem, split, number, chosen.text, 0, 0), samples)


def vote(problem: Problem, split: str, number: int, samples: Sequence[Sample]) -> Try:
    """Answer with the most frequent answer (self-consistency), the first one in a tie."""
    answers = [split_trace(one.text)[1] for one in samples]
    counts = Counter(answer for answer in answers if answer is not None)
    winner = counts.most_common(1)[0][0] if counts else None
    chosen = samples[answers.index(winner)] if winner is not None else samples[0]
    return _spent(grade_text("vote of 4", problem, split, number, chosen.text, 0, 0), samples)


def generate_test(problem: Problem, split: str, number: int, samples: Sequence[Sample]) -> Try:
    """Draw samples until one is verified; abstain if none of four is."""
    for drawn, one in enumerate(samples, 1):
        if one.verified:
            return _spent(grade_text("generate, test", problem, split, number, one.text, 0, 0), samples[:drawn])
    gone = grade_text("generate, test", problem, split, number, samples[-1].text, 0, 0)
    return _spent(replace_try(gone, answered=False, right=False), samples)


async def supervised_within(
    model: Model, problem: Problem, split: str, number: int, result: Result, budget: int
) -> Try:
    """Go on from a supervised *result*: not verified, it is sampled again, while *budget* tokens are not spent."""
    spent = prompts = interrupts = discarded = 0
    seed = 1000 * number + SAMPLES
    while True:
        graded = grade_result("supervised, same tokens", problem, split, number, result)
        spent += graded.tokens
        prompts += graded.prompt_tokens
        interrupts += graded.interrupts
        discarded += graded.discarded
        if graded.answered or spent >= budget:
            return replace_try(graded, tokens=spent, prompt_tokens=prompts, interrupts=interrupts, discarded=discarded)
        sampling = replace(sampled(seed), max_tokens=max(1, min(LIMIT, budget - spent)))
        result = await supervised(model, problem, sampling)
        seed += 1


def _spent(graded: Try, samples: Sequence[Sample]) -> Try:
    tokens = sum(one.tokens for one in samples)
    return replace_try(graded, tokens=tokens, kept=tokens, prompt_tokens=sum(one.prompt_tokens for one in samples))


def replace_try(one: Try, **changes: object) -> Try:
    """Return *one* with *changes*."""
    return msgspec.structs.replace(one, **changes)
