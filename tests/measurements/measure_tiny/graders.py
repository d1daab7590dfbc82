"""Grade answers and steps by the facts from which a problem was made.

It shares no code with generators and verifiers, and reads neither the text of a problem nor its worked solution.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

Facts: TypeAlias = dict[str, Any]
Lines: TypeAlias = Sequence[str]

_EQUATION = re.compile(r"(\d{1,9}) ([-+×/]) (\d{1,9}) = (\d{1,9})")


def is_right(family: str, facts: Facts, answer: str) -> bool:
    """Return whether *answer*, the text after the reasoning, answers the problem."""
    last = answer.strip().rsplit("\n", 1)[-1]
    return _ANSWERS[family](facts, last.removeprefix("Answer: ").strip())


def judge(family: str, facts: Facts, lines: Lines) -> list[bool]:
    """Return for each line of reasoning whether it is right, given the lines before it."""
    return _STEPS[family](facts, lines)


def _equation(text: str) -> tuple[int, str, int, int] | None:
    """Read ``a op b = c``; whether it is true is for :func:`_holds`."""
    if not (match := _EQUATION.fullmatch(text)):
        return None
    return int(match[1]), match[2], int(match[3]), int(match[4])


def _holds(left: int, sign: str, right: int, value: int) -> bool:
    if sign == "/":
        return right != 0 and left == value * right
    return value == {"+": left + right, "-": left - right, "×": left * right}[sign]


def _total(facts: Facts, answer: str) -> bool:
    return answer == str(facts["value"])


def _total_steps(facts: Facts, lines: Lines) -> list[bool]:
    verdicts, course = list[bool](), _course(facts)
    due: Operation | None = next(course)
    for line in lines:
        equation = _equation(line)
        if equation is None or due is None:
            verdicts.append(False)
            continue
        verdicts.append(_holds(*equation) and equation[:3] == due)
        try:
            due = course.send(equation[3])
        except StopIteration:
            due = None
    return verdicts


Operation: TypeAlias = tuple[int, str, int]
Course: TypeAlias = Generator[Operation, int, int]
"""Yields what is to be worked out next; is sent the value that the line states, right or wrong."""


def _course(facts: Facts) -> Course:
    if "terms" in facts:
        other, sign, first, second = facts["terms"]
        product = yield from _times(first, second)
        return (yield from _by_parts(other, sign, product))
    value: int = facts["start"]
    for sign, number in facts["changes"]:
        value = yield from (_times(value, number) if sign == "×" else _by_parts(value, sign, number))
    return value


def _by_parts(value: int, sign: str, number: int) -> Course:
    hundreds, rest = divmod(number, 100)
    for part in (hundreds * 100, rest):
        if part:
            value = yield (value, sign, part)
    return value


def _times(value: int, number: int) -> Course:
    if number >= 10:
        parts = [(value, number // 10 * 10), (value, number % 10)]
    elif value >= 100:
        parts = [(value // 100 * 100, number), (value % 100, number)]
    else:
        return (yield (value, "×", number))
    stated = []
    for left, right in parts:
        if left and right:
            stated.append((yield (left, "×", right)))
    return (yield (stated[0], "+", stated[1])) if len(stated) > 1 else stated[0]


def _made(facts: Facts, answer: str) -> bool:
    left = Counter[int](facts["numbers"])
    value = None
    for part in answer.split(", "):
        equation = _equation(part)
        if equation is None or not _holds(*equation):
            return False
        for number in (equation[0], equation[2]):
            if left[number] < 1:
                return False
            left[number] -= 1
        value = equation[3]
        left[value] += 1
    return value == facts["target"] and left.total() == 1


def _made_steps(facts: Facts, lines: Lines) -> list[bool]:
    verdicts, left = list[bool](), list(facts["numbers"])
    for line in lines:
        if match := re.fullmatch(r"(\d+) is not (\d+), again", line):
            verdicts.append(left == [int(match[1])] != [facts["target"]] and int(match[2]) == facts["target"])
            left = list(facts["numbers"])
            continue
        said, _, listed = line.partition(", left ")
        equation = _equation(said)
        stated = [int(word) for word in listed.split() if word.isdecimal()]
        right = equation is not None and _holds(*equation)
        if equation is not None:
            after = list(left)
            for number in (equation[0], equation[2]):
                if number in after:
                    after.remove(number)
                else:
                    right = False
            right = right and sorted(stated) == sorted([*after, equation[3]])
        verdicts.append(right)
        left = stated
    return verdicts


def _doors(facts: Facts) -> set[tuple[str, str]]:
    return {(a, b) for one, other in facts["doors"] for a, b in ((one, other), (other, one))}


def _path(facts: Facts, answer: str) -> bool:
    rooms, doors = answer.split(" "), _doors(facts)
    return rooms[0] == facts["start"] and rooms[-1] == facts["goal"] and all(step in doors for step in pairwise(rooms))


def _path_steps(facts: Facts, lines: Lines) -> list[bool]:
    doors, stack, seen, verdicts = _doors(facts), [facts["start"]], {facts["start"]}, list[bool]()
    for line in lines:
        here = stack[-1]
        if match := re.fullmatch(r"([A-Z]) to ([A-Z])", line):
            verdicts.append(match[1] == here and (here, match[2]) in doors and match[2] not in seen)
            seen.add(match[2])
            stack.append(match[2])
        elif match := re.fullmatch(r"([A-Z]) is a dead end, back to ([A-Z])", line):
            onward = {b for a, b in doors if a == here} - seen
            verdicts.append(match[1] == here and not onward and len(stack) > 1 and stack[-2] == match[2])
            stack = stack[:-1] if len(stack) > 1 and stack[-2] == match[2] else [*stack, match[2]]
        else:
            verdicts.append(False)
    return verdicts


def _ranked(facts: Facts, answer: str) -> bool:
    return bool(answer == facts["order"][facts["rank"]])


def _ranked_steps(facts: Facts, lines: Lines) -> list[bool]:
    order = facts["order"]
    verdicts = []
    for line in lines:
        names = line.split(" > ")
        places = [order.index(name) if name in order else -1 for name in names]
        whole = len(names) in {2, len(order)}
        verdicts.append(whole and -1 not in places and places == sorted(set(places)))
    return verdicts


def _call(facts: Facts) -> dict[str, Any]:
    if facts["held"] >= facts["low"]:
        return {"name": "wait", "arguments": {"item": facts["item"]}}
    quantity = min(facts["full"] - facts["held"], facts["most"])
    approval = quantity * facts["price"] > facts["limit"]
    return {"name": "order", "arguments": {"item": facts["item"], "quantity": quantity, "approval": approval}}


def _called(facts: Facts, answer: str) -> bool:
    inner = answer.removeprefix("<tool_call>").removesuffix("</tool_call>")
    try:
        return bool(json.loads(inner) == _call(facts))
    except ValueError:
        return False


def _called_steps(facts: Facts, lines: Lines) -> list[bool]:
    held, low, full, most, limit = (facts[key] for key in ("held", "low", "full", "most", "limit"))
    verdicts, value = list[bool](), 0
    for at, line in enumerate(lines):
        if at == 0:
            verdicts.append(line == (f"{held} >= {low}, wait" if held >= low else f"{held} < {low}, order"))
        elif at in {1, 3} and (equation := _equation(line)):
            asked = (full, "-", held) if at == 1 else (value, "×", facts["price"])
            verdicts.append(_holds(*equation) and equation[:3] == asked)
            value = equation[3]
        elif at == 2:
            verdicts.append(
                line == (f"{value} > {most}, take {most}" if value > most else f"{value} <= {most}, take {value}")
            )
            said = line.rsplit(" ", 1)[-1]
            value = int(said) if said.isdecimal() else value
        elif at == 4:
            verdicts.append(
                line == (f"{value} > {limit}, approval" if value > limit else f"{value} <= {limit}, no approval")
            )
        else:
            verdicts.append(False)
    return verdicts


_ANSWERS: dict[str, Callable[[Facts, str], bool]] = {
    "totals": _total,
    "countdown": _made,
    "maze": _path,
    "ordering": _ranked,
    "stock": _called,
}
_STEPS: dict[str, Callable[[Facts, Lines], list[bool]]] = {
    "totals": _total_steps,
    "countdown": _made_steps,
    "maze": _path_steps,
    "ordering": _ranked_steps,
    "stock": _called_steps,
}
