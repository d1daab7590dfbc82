"""Compare remedies on a real model: chained sums, bare, with feedback, and repaired in place.

    python examples/chained_sums.py --model local:/path/to/model.gguf --problems 24

Problems come from a seeded generator, answers from Python's integers; neither knows the verifier. Every arm
gets the same prompt, greedy sampling and the same limit of tokens that may stand in the trace.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from dataclasses import dataclass

import anyio
import interwhen
from interwhen import Message, Result, Sampling
from interwhen.models import Model

ARMS = {
    "bare": (),
    "feedback appended": ("arithmetic:remedy=feedback,place=append",),
    "feedback rewound": ("arithmetic:remedy=feedback,place=rewind",),
    "repaired in place": ("arithmetic:remedy=repair",),
}

TASK = """\
Work out the chain from left to right, one equation a line, and end with a line "Answer: N". Write nothing else.
For the chain 12, + 30, * 3, - 26 you write:
12 + 30 = 42
42 * 3 = 126
126 - 26 = 100
Answer: 100"""


@dataclass(frozen=True)
class Problem:
    """A chain of operations, and its result."""

    chain: str
    answer: int

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The chat that the model answers."""
        return (Message(role="system", content=TASK), Message(role="user", content=f"The chain is {self.chain}."))


def generate(count: int, seed: int) -> list[Problem]:
    """Return *count* chains of two multiplications and four sums and differences."""
    rng = random.Random(seed)
    problems = []
    for _ in range(count):
        value = rng.randint(12, 99)
        parts = [str(value)]
        steps = ["*", "+", "-", "*", "+", "-"]
        for sign in steps:
            other = rng.randint(12, 99) if sign == "*" else rng.randint(101, 989)
            value = {"*": value * other, "+": value + other, "-": value - other}[sign]
            parts.append(f"{sign} {other}")
        problems.append(Problem(", ".join(parts), value))
    return problems


def is_right(problem: Problem, result: Result) -> bool:
    """Grade the last line: the trace must say the answer, and the run must have given one."""
    said = re.findall(r"^Answer: (-?\d+)\s*$", result.text, re.MULTILINE)
    return result.status in {"verified", "unverified"} and bool(said) and int(said[-1]) == problem.answer


async def solve(model: Model, problem: Problem, monitors: tuple[str, ...], max_tokens: int) -> tuple[Result, float]:
    """Run one problem in one arm."""
    begun = time.perf_counter()
    sampling = Sampling(max_tokens=max_tokens, temperature=0.0)
    async with interwhen.run(model, problem.prompt, monitors=monitors, sampling=sampling) as run:
        result = await run.drain()
    return result, time.perf_counter() - begun


async def main(spec: str, count: int, seed: int, max_tokens: int) -> None:
    """Run all arms on all problems, in turn, and print the table."""
    problems = generate(count, seed)
    model = interwhen.registry.load_model(spec)
    rights: dict[str, list[bool]] = {}
    rows = []
    try:
        await solve(model, problems[0], (), max_tokens)  # loads the model
        results: dict[str, list[tuple[Result, float]]] = {arm: [] for arm in ARMS}
        for number, problem in enumerate(problems, start=1):
            for arm, monitors in ARMS.items():
                results[arm].append(await solve(model, problem, monitors, max_tokens))
            print(f"\r{number} of {count}", end="", flush=True)
        print("\r", end="")
    finally:
        with anyio.CancelScope(shield=True):
            await model.aclose()
    for arm, arm_results in results.items():
        right = rights[arm] = [is_right(p, r) for p, (r, _) in zip(problems, arm_results, strict=True)]
        bare = rights["bare"]
        rows.append(
            (
                arm,
                f"{sum(right)}/{count}",
                sum(b < a for b, a in zip(bare, right, strict=True)),
                sum(b > a for b, a in zip(bare, right, strict=True)),
                sum(r.ledger.remedies for r, _ in arm_results),
                sum(r.ledger.kept for r, _ in arm_results),
                sum(r.ledger.discarded for r, _ in arm_results),
                statistics.median(seconds for _, seconds in arm_results),
                ", ".join(
                    f"{sum(r.label == label for r, _ in arm_results)} {label}"
                    for label in ("answer verified", "steps verified", "unverified", "abstained", "failed")
                    if any(r.label == label for r, _ in arm_results)
                ),
            )
        )
    print("| arm | right | fixed | broken | interrupts | tokens kept | discarded | seconds (median) | results |")
    print("|---|---|---|---|---|---|---|---|---|")
    for arm, right_of, fixed, broken, remedies, kept, discarded, seconds, statuses in rows:
        print(
            f"| {arm} | {right_of} | {fixed} | {broken} | {remedies} | {kept} | {discarded} | {seconds:.2f} "
            f"| {statuses} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2")
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=160)
    given = parser.parse_args()
    anyio.run(main, given.model, given.problems, given.seed, given.max_tokens)
