"""One equation, and the mistakes in it."""

from __future__ import annotations

import random

from tools.train_tiny.tasks import Mistake


def apply(sign: str, left: int, right: int) -> int:
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "×":
            return left * right
        case _:
            return left // right


def misvalue(rng: random.Random, value: int) -> int:
    digits = list(str(abs(value)))
    while True:
        kind = rng.random()
        if kind < 0.45:
            wrong: int = value + rng.choice((-1, 1)) * 10 ** rng.randrange(len(digits))
        elif kind < 0.6:
            wrong = value + rng.choice((-2, 2, -3, 3, 9, -9, 11, -11))
        elif kind < 0.75 and len(digits) > 1:
            swapped = digits[:]
            at = rng.randrange(len(digits) - 1)
            swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
            wrong = int("".join(swapped))
        else:
            slipped = digits[:]
            slipped[rng.randrange(len(digits))] = str(rng.randrange(10))
            wrong = int("".join(slipped))
        if wrong != value and wrong >= 0:
            return wrong


def misjudged(rng: random.Random, left: int, sign: str, right: int, *, tail: str = "") -> Mistake:
    value = apply(sign, left, right)
    wrong = misvalue(rng, value)
    sum_ = f"{left} {sign} {right}"
    return Mistake(
        f"{sum_} = {wrong}{tail.format(wrong)}",
        str(wrong),
        f"{sum_} is not {wrong}",
        f"{sum_} is {value}, not {wrong}",
    )
