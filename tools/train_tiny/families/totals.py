"""Running totals and arithmetic in several steps: numbers of two to four digits, with + - and ×."""

from __future__ import annotations

import random
from typing import TypeAlias

from tools.train_tiny.tasks import Mistake, Problem, Step, Worked

from .sums import apply, misjudged, misvalue

Change: TypeAlias = tuple[str, int]
"""A sign and a number: a change of the total."""

_NAMES = ("Ann", "Bob", "Cid", "Eve", "Gus", "Ida", "Kim", "Leo", "Max", "Sue")
_THINGS = ("stamps", "boxes", "coins", "books", "nails", "cards", "shells", "beads", "apples", "bricks")
_ORDERS = {
    "+": ("add {}", "plus {}", "add {} more", "then add {}"),
    "-": ("subtract {}", "take away {}", "minus {}", "then subtract {}"),
    "×": ("multiply by {}", "times {}", "then multiply by {}"),
}
_EVENTS = {
    "+": ("gets {} more", "buys {}", "finds {}", "wins {}"),
    "-": ("sells {}", "loses {}", "gives away {}", "uses {}"),
}
_LIMIT = 9999


def totals(rng: random.Random, *, hard: bool = False) -> Worked:
    kind = rng.choice(("chain", "chain", "weeks", "story", "expression"))
    length = rng.randint(6, 8) if hard else rng.randint(2, 5)
    if kind == "expression":
        return _expression(rng, hard=hard)
    start = _number(rng, hard=hard)
    if kind == "weeks":
        change = rng.choice("+-"), _number(rng, hard=hard)
        if change[0] == "-" and start < change[1] * length:
            start += change[1] * length
        changes = [change] * length
    else:
        changes = _changes(rng, start, length, "+-" if kind == "story" else "+++---×", hard=hard)
    prompt = {"chain": _chain, "weeks": _weeks, "story": _story}[kind](rng, start, changes)
    return _work(prompt, start, changes)


def _number(rng: random.Random, *, hard: bool) -> int:
    if hard:
        return rng.randint(1000, _LIMIT) if rng.random() < 0.6 else rng.randint(100, 999)
    kind = rng.random()
    if kind < 0.45:
        return rng.randint(11, 99)
    return rng.randint(100, 999) if kind < 0.85 else rng.randint(1000, _LIMIT)


def _changes(rng: random.Random, start: int, length: int, signs: str, *, hard: bool) -> list[Change]:
    total, changes = start, list[Change]()
    limit = 99999 if hard else 2 * _LIMIT
    while len(changes) < length:
        sign = rng.choice(signs)
        if sign == "×":
            number = rng.randint(11, 99) if total < 100 and rng.random() < 0.5 else rng.randint(2, 9)
        else:
            number = _number(rng, hard=hard)
        if 0 < (after := apply(sign, total, number)) <= limit:
            changes.append((sign, number))
            total = after
        elif sign == "×" and not hard:
            signs = signs.replace("×", "") or "+-"
    return changes


def _chain(rng: random.Random, start: int, changes: list[Change]) -> str:
    orders = [rng.choice(_ORDERS[sign]).format(number) for sign, number in changes]
    end = rng.choice(("What is the result?", "What do you get?", "Result?", "Where do you end?"))
    begin = rng.choice(("Start with {}", "Take {}", "Begin at {}", "Start: {}")).format(start)
    if rng.random() < 0.5:
        return f"{begin}. {' '.join(f'{order.capitalize()}.' for order in orders)} {end}"
    return f"{begin}, {', '.join(orders)}. {end}"


def _weeks(rng: random.Random, start: int, changes: list[Change]) -> str:
    (sign, number), times = changes[0], len(changes)
    unit = rng.choice(("day", "week", "month", "year"))
    verb = "Add" if sign == "+" else rng.choice(("Subtract", "Take away"))
    begin = rng.choice(("Start: {}.", "Start with {}.", "It is {} now.")).format(start)
    end = rng.choice(("What is the total after {} {}s?", "What is left after {} {}s?", "Total after {} {}s?"))
    return f"{begin} {verb} {number} each {unit}. {end.format(times, unit)}"


def _story(rng: random.Random, start: int, changes: list[Change]) -> str:
    name, things = rng.choice(_NAMES), rng.choice(_THINGS)
    events = [rng.choice(_EVENTS[sign]).format(number) for sign, number in changes]
    told = ", ".join(events[:-1]) + f" and {events[-1]}" if len(events) > 1 else events[0]
    end = rng.choice((f"How many {things} are there now?", f"How many has {name} now?", "How many are left?"))
    return f"{name} has {start} {things}, {told}. {end}"


def _expression(rng: random.Random, *, hard: bool) -> Worked:
    ask = rng.choice(("What is {}?", "Compute {}.", "Work out {}.", "{} = ?"))
    if rng.random() < 0.4:
        first, second = rng.randint(11, 99), rng.randint(11, 99)
        if hard:
            first = rng.randint(100, 999)
        return _work(ask.format(f"{first} × {second}"), first, [("×", second)])
    first, second, sign = rng.randint(11, 999), rng.randint(2, 9), rng.choice("+-")
    other = _number(rng, hard=hard)
    product = first * second
    if sign == "-" and other < product:
        other, sign = other + product, "-"
    steps = [*_product(first, second, None), *_parts(other, sign, product, None)]
    value = apply(sign, other, product)
    prompt = ask.format(f"{other} {sign} {first} × {second}")
    return _worked(prompt, {"value": value, "terms": [other, sign, first, second]}, steps, value)


def _work(prompt: str, start: int, changes: list[Change]) -> Worked:
    total, steps, before = start, list[Step](), None
    for sign, number in changes:
        steps += _product(total, number, before) if sign == "×" else _parts(total, sign, number, before)
        total = before = apply(sign, total, number)
    return _worked(prompt, {"value": total, "start": start, "changes": changes}, steps, total)


def _parts(total: int, sign: str, number: int, before: int | None) -> list[Step]:
    rest = number % 100
    steps = list[Step]()
    for part in (number - rest, rest):
        if part:
            steps.append(_equation(total, sign, part, before))
            total = before = apply(sign, total, part)
    return steps


def _product(total: int, number: int, before: int | None) -> list[Step]:
    if number > 9:
        high, low = (total, number // 10 * 10), (total, number % 10)
    elif total > 99:
        high, low = (total // 100 * 100, number), (total % 100, number)
    else:
        high, low = (total, number), (0, 0)
    first = _equation(high[0], "×", high[1], before if high[0] == total else None)
    if not all(low):
        return [first]
    second = _equation(low[0], "×", low[1], None)
    return [first, second, _equation(high[0] * high[1], "+", low[0] * low[1], None)]


def _worked(prompt: str, facts: dict[str, object], steps: list[Step], value: int) -> Worked:
    def blunder(rng: random.Random) -> Mistake:
        wrong = misvalue(rng, value)
        why = "the last line does not say so"
        return Mistake(f"Answer: {wrong}", str(wrong), why, why)

    return Worked(Problem("totals", prompt, facts), tuple(steps), f"Answer: {value}", blunder)


def _equation(left: int, sign: str, right: int, before: int | None) -> Step:
    def blunder(rng: random.Random) -> Mistake:
        if before is not None and rng.random() < 0.15:
            other = misvalue(rng, before)
            text = f"{other} {sign} {right} = {apply(sign, other, right)}"
            return Mistake(
                text, str(other), f"the value before is not {other}", f"the value before is {before}, not {other}"
            )
        return misjudged(rng, left, sign, right)

    value = apply(sign, left, right)
    return Step(f"{left} {sign} {right} = {value}", {"value": value}, blunder)
