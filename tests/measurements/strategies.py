"""Measures what calls with a strategy deliver, in every reading, on a real llama.cpp with the tiny model.

``python -m tests.measurements.strategies [--strategies NAME ...] [--problems 60] [--seed 1] [--minutes 15]``

Each problem is asked through the wrapped ``openai`` client, as a stream, once for each strategy and reading. The problems
are of several families in turn, with their own monitors and the default remedy. A begun problem is finished by all
strategies, so that they can be compared in pairs with a call without a strategy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, get_args

import anyio
import interwhen
import openai
from interwhen import Result
from interwhen._types.monitors import Reading
from interwhen.strategies import Exercise
from tests.local.llamacpp import llama_server
from tests.measurements import tiny_tasks

NONE = "none"
STRATEGIES = (
    NONE,
    "greedy",
    "best-of-n",
    "until-verified",
    "self-consistency",
    "weighted-vote",
    "interrupt",
    "examples.strategies.generate_test:GenerateTest:rounds=4",
    "examples.strategies.revision:Revision:rounds=4",
    "examples.strategies.step_beam:StepBeam",
    "examples.strategies.dvts:TreeSearch",
    "examples.strategies.budget_forcing:BudgetForcing",
)
MOST_TOKENS = 300
FAMILIES = (tiny_tasks.totals, tiny_tasks.maze, tiny_tasks.countdown)


@dataclass
class Arm:
    """What was counted for one strategy in one reading."""

    rights: list[bool] = field(default_factory=list)
    """For each problem, whether the call ended normally with the right answer."""
    statuses: Counter[str] = field(default_factory=Counter)
    refuted: int = 0
    """Calls that ended normally although a violation stands in their text."""
    wrong: int = 0
    """Calls whose model ended its text by itself, with a wrong answer or none, which the reader got."""
    generated: int = 0
    prompt: int = 0
    requests: int = 0
    failures: list[str] = field(default_factory=list)


def problems(count: int, seed: int) -> Iterator[Exercise]:
    each = -(-count // len(FAMILIES))
    return chain.from_iterable(zip(*(make(count=each, seed=seed) for make in FAMILIES), strict=True))


async def ask(
    arm: Arm, client: openai.AsyncOpenAI, strategy: str, reading: Reading, exercise: Exercise, seed: int
) -> None:
    """Ask *exercise* once, and count."""
    options: dict[str, Any] = {} if strategy == NONE else {"strategy": strategy}
    monitors = exercise.question.watchers(acting=True)
    wrapped = interwhen.wrap(client, monitors=monitors, reading=reading, **options)
    (message,) = exercise.question.prompt
    assert not isinstance(message, str)
    sampling = {"max_tokens": MOST_TOKENS, "temperature": 0.7, "seed": seed, "stream": True}
    messages = [{"role": message.role, "content": message.content}]
    result: Result | None = None
    reason = None
    try:
        async for chunk in await wrapped.chat.completions.create(model="tiny", messages=messages, **sampling):  # type: ignore[call-overload]
            reason = (chunk.choices[0].finish_reason if chunk.choices else None) or reason
            result = chunk.interwhen.result or result
    except openai.OpenAIError as error:
        arm.failures.append(f"{type(error).__name__}: {error}")
    if result is None:
        arm.rights.append(False)
        return
    is_normal = result.status in ("verified", "unverified") and reason != "content_filter"
    answer = result.answer.strip()
    is_right = is_normal and exercise.grade(answer)
    arm.rights.append(is_right)
    arm.statuses[result.label] += 1
    arm.refuted += is_normal and any(violation.remedy is None for violation in result.violations)
    arm.wrong += is_normal and reason == "stop" and not is_right
    arm.generated += result.ledger.total_tokens
    arm.prompt += result.ledger.prompt_tokens + result.ledger.estimated_prompt_tokens
    arm.requests += result.ledger.requests


async def measure(
    strategies: Sequence[str], exercises: Sequence[Exercise], seed: int, minutes: float
) -> dict[tuple[str, str], Arm]:
    arms = {(strategy, reading): Arm() for strategy in strategies for reading in get_args(Reading)}
    until = time.monotonic() + minutes * 60
    async with (
        llama_server() as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0) as client,
    ):
        for number, exercise in enumerate(exercises):
            if time.monotonic() > until:
                break
            for (strategy, reading), arm in arms.items():
                await ask(arm, client, strategy, reading, exercise, seed + 1000 * number)
    return arms


def report(arms: dict[tuple[str, str], Arm]) -> Iterator[str]:
    """Yield the lines of a table, and a line for each failure."""
    yield "| strategy | reading | right | better / worse | refuted, delivered | wrong, delivered | abstained | requests | tokens |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for (strategy, reading), arm in arms.items():
        count = len(arm.rights)
        pairs = (
            Counter(zip(arm.rights, arms[(NONE, reading)].rights, strict=True))
            if (NONE, reading) in arms
            else Counter()
        )
        cells = (
            strategy,
            reading,
            f"{sum(arm.rights)} of {count}",
            f"{pairs[True, False]} / {pairs[False, True]}",
            arm.refuted,
            arm.wrong,
            arm.statuses["abstained"],
            f"{arm.requests / max(count, 1):.1f}",
            f"{(arm.generated + arm.prompt) / max(count, 1):.0f}",
        )
        yield f"| {' | '.join(map(str, cells))} |"
    for arm_name, arm in arms.items():
        for failure, times in Counter(arm.failures).items():
            yield f"{json.dumps(arm_name)} failed {times} times: {failure}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=15.0)
    given = parser.parse_args()
    exercises = [*problems(given.problems, given.seed)][: given.problems]
    print("\n".join(report(anyio.run(measure, given.strategies, exercises, given.seed, given.minutes))))


if __name__ == "__main__":
    main()
