"""Countdown: make a target from numbers, each used once, one operation a line; 24 among the targets."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tools.train_tiny.tasks import Blunder, Mistake, Problem, Step, Worked

from .sums import apply, misjudged, misvalue

_LARGEST = 150
_TRIES = 4


@dataclass(frozen=True, slots=True)
class _Move:
    left: int
    sign: str
    right: int
    rest: tuple[int, ...]
    """The numbers after it: the unused ones in their order, then the value."""

    @property
    def text(self) -> str:
        return f"{self.left} {self.sign} {self.right} = {self.rest[-1]}"

    @property
    def line(self) -> str:
        return f"{self.text}, left {_listed(self.rest)}"


def countdown(rng: random.Random, *, hard: bool = False) -> Worked:
    count = rng.randint(5, 6) if hard else rng.choice((3, 3, 4))
    while True:
        numbers = tuple(rng.randint(1, 20 if hard else 13) for _ in range(count))
        way = _play(rng, numbers)
        target = way[-1].rest[-1]
        if target == 24 or (10 <= target <= 99 and rng.random() < 0.1):
            break
    steps = list[Step]()
    for _ in range(min(_TRIES, int(rng.expovariate(1.1)))):
        failed = _play(rng, numbers)
        if (value := failed[-1].rest[-1]) != target:
            steps += _lines(numbers, failed, taught=False)
            steps.append(Step(f"{value} is not {target}, again", {"left": list(numbers)}))
    steps += _lines(numbers, way, taught=True)
    answer = "Answer: " + ", ".join(move.text for move in way)

    def blunder(rng: random.Random) -> Mistake:
        other = way
        while (value := other[-1].rest[-1]) == target:
            other = _play(rng, numbers)
        text = "Answer: " + ", ".join(move.text for move in other)
        return Mistake(text, other[-1].text, f"that makes {value}, not {target}", f"that makes {value}, not {target}")

    facts = {"numbers": list(numbers), "target": target}
    return Worked(Problem("countdown", _ask(rng, numbers, target), facts), tuple(steps), answer, blunder)


def _ask(rng: random.Random, numbers: tuple[int, ...], target: int) -> str:
    said = ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
    return rng.choice(
        (
            f"Use {said} to make {target}.",
            f"Make {target} from {_listed(numbers)}. Use each number once.",
            f"Numbers: {_listed(numbers)}. Target: {target}.",
            f"Get {target} with + - × / from {said}, each used once.",
        )
    )


def _listed(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


def _play(rng: random.Random, numbers: tuple[int, ...]) -> list[_Move]:
    moves = list[_Move]()
    while len(numbers) > 1:
        move = _combine(rng, numbers)
        moves.append(move)
        numbers = move.rest
    return moves


def _combine(rng: random.Random, numbers: tuple[int, ...]) -> _Move:
    while True:
        one, other = sorted(rng.sample(range(len(numbers)), 2), key=lambda at: (-numbers[at], at))
        left, right, sign = numbers[one], numbers[other], rng.choice("++--××/")
        if (
            (sign == "/" and (right < 2 or left % right))
            or (sign == "×" and right < 2)
            or (sign == "-" and left == right)
        ):
            continue
        if (value := apply(sign, left, right)) <= _LARGEST:
            rest = (*(number for at, number in enumerate(numbers) if at not in {one, other}), value)
            return _Move(left, sign, right, rest)


def _lines(numbers: tuple[int, ...], way: list[_Move], *, taught: bool) -> list[Step]:
    steps, before = list[Step](), numbers
    for move in way:
        given = 0 if taught else len(f"{move.left} {move.sign} {move.right}")
        steps.append(Step(move.line, {"left": list(move.rest)}, _blunder(before, move), given))
        before = move.rest
    return steps


def _blunder(before: tuple[int, ...], move: _Move) -> Blunder:
    def blunder(rng: random.Random) -> Mistake:
        kind = rng.random()
        others = "".join(f"{number} " for number in move.rest[:-1])
        if kind < 0.4:
            return misjudged(rng, move.left, move.sign, move.right, tail=f", left {others}{{}}")
        if kind < 0.7:
            wrong = _mislist(rng, move.rest)
            return Mistake(
                f"{move.text}, left {_listed(wrong)}",
                _listed(wrong),
                f"the numbers left are not {_listed(wrong)}",
                f"the numbers left are {_listed(move.rest)}",
            )
        while (stranger := misvalue(rng, move.right)) in before or not stranger:
            pass
        value = move.left + stranger
        return Mistake(
            f"{move.left} + {stranger} = {value}, left {others}{value}",
            str(stranger),
            f"there is no {stranger} left",
            f"the numbers left are {_listed(before)}",
        )

    return blunder


def _mislist(rng: random.Random, rest: tuple[int, ...]) -> tuple[int, ...]:
    while True:
        wrong = list(rest)
        at = rng.randrange(len(rest))
        if len(rest) > 1 and rng.random() < 0.4:
            del wrong[at]
        elif rng.random() < 0.5:
            wrong.insert(at, rng.choice(rest))
        else:
            wrong[at] = misvalue(rng, wrong[at])
        if sorted(wrong) != sorted(rest):
            return tuple(wrong)
