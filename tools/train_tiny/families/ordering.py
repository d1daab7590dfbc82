"""Ordering puzzles: clues that compare people two by two, and a question about the order."""

from __future__ import annotations

import random
from itertools import pairwise

from tools.train_tiny.tasks import Blunder, Lookup, Mistake, Problem, Step, Worked

_NAMES = (
    "Ann",
    "Bob",
    "Cid",
    "Dan",
    "Eve",
    "Fay",
    "Gus",
    "Hal",
    "Ida",
    "Jan",
    "Kim",
    "Leo",
    "Max",
    "Ned",
    "Pam",
    "Ray",
    "Sue",
    "Tom",
    "Una",
    "Vic",
)
_WORDS = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
    ("heavier", "lighter", "heaviest", "lightest"),
    ("richer", "poorer", "richest", "poorest"),
)


def ordering(rng: random.Random, *, hard: bool = False) -> Worked:
    count = rng.randint(6, 8) if hard else rng.randint(3, 5)
    people = rng.sample(_NAMES, count)
    more, less, most, least = rng.choice(_WORDS)
    pairs = list(pairwise(people))
    if rng.random() < 0.3:
        at = rng.randrange(count - 2)
        pairs.append((people[at], people[at + 2]))
    rng.shuffle(pairs)
    clues = [f"{a} is {more} than {b}." if rng.random() < 0.5 else f"{b} is {less} than {a}." for a, b in pairs]
    rank, asked = rng.choice(
        ((0, f"Who is the {most}?"), (count - 1, f"Who is the {least}?"), (1, f"Who is the second {most}?"))
    )
    if rng.random() < 0.3:
        asked = asked.replace("Who is", "Name").replace("?", ".")
    clue_lines = [f"{a} > {b}" for a, b in pairs]
    steps = [
        Step(line, {"known": clue_lines[: at + 1]}, _turned(a, b))
        for at, ((a, b), line) in enumerate(zip(pairs, clue_lines, strict=True))
    ]
    steps.append(Step(" > ".join(people), {"order": people}, _jumbled(people)))

    def blunder(rng: random.Random) -> Mistake:
        other = rng.choice([name for name in people if name != people[rank]])
        superlative = {0: most, 1: f"second {most}"}.get(rank, least)
        why = f"{other} is not the {superlative}"
        return Mistake(f"Answer: {other}", other, why, why)

    facts = {"order": people, "rank": rank, "clues": sorted(clue_lines)}
    prompt = " ".join((*clues, asked)) if rng.random() < 0.7 else " ".join((asked, *clues))
    lookups = tuple(
        Lookup(f"{' and '.join(sorted(pair))}?", line) for pair, line in zip(pairs, clue_lines, strict=True)
    )
    return Worked(Problem("ordering", prompt, facts), tuple(steps), f"Answer: {people[rank]}", blunder, lookups)


def _turned(one: str, other: str) -> Blunder:
    def blunder(_: random.Random) -> Mistake:
        line = f"{other} > {one}"
        return Mistake(line, line, f"the clues do not say {line}", f"the clues say {one} > {other}, not {line}")

    return blunder


def _jumbled(people: list[str]) -> Blunder:
    def blunder(rng: random.Random) -> Mistake:
        at = rng.randrange(len(people) - 1)
        wrong = people[:]
        wrong[at], wrong[at + 1] = wrong[at + 1], wrong[at]
        line = f"{wrong[at]} > {wrong[at + 1]}"
        right = f"{people[at]} > {people[at + 1]}"
        return Mistake(" > ".join(wrong), line, f"the clues do not say {line}", f"the clues say {right}, not {line}")

    return blunder
