"""The shipped verifiers ``countdown`` and ``game24``: they check how a target is made from numbers.

They read steps such as ``8 - 4 = 4 (left: 4 6 4)``, and answers. See ``docs/verifiers/countdown.md``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, product
from typing import Literal, NamedTuple, TypeAlias

from interwhen import (
    Monitor,
    Pass,
    Segment,
    Span,
    Task,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import Delivery, Level, PhaseFilter, safe_from_data

from interwhen_verifiers._factories import require_choice, task_monitor
from interwhen_verifiers.puzzles._countdown import (
    MAX_PROMPT,
    CalculationStep,
    Expression,
    ExpressionAnswer,
    Hopeless,
    NumberPuzzle,
    Said,
    read_line,
    read_puzzle,
)
from interwhen_verifiers.puzzles._statements import (
    Afterwards,
    Statement,
    make_statement,
    of_answer,
    recognizer,
    track_phases,
    watch_answer,
)

# Judging the steps and answers of a text, by exact arithmetic and a complete search.


# An exact search for the values that numbers make.
#
# To make a target from numbers, the last operation joins what one part of them makes with what the rest makes. The
# smaller part is listed; what the other must make then follows, and is searched for in turn. So only small parts are
# ever listed, and six numbers take no longer than the thousands of values of three.

Numbers: TypeAlias = tuple[Fraction, ...]
"""Numbers; those of a search are in ascending order."""

MOST = 6
"""The search runs only for at most this many numbers."""
_LISTED = 3
"""For at most this many numbers, all possible values are computed at once."""
_BUDGET = 400_000
"""The largest number of subproblems that one search may look at."""


class _Spent(Exception):
    pass


@lru_cache(maxsize=4096)
def reaches(numbers: Numbers, target: Fraction, *, partly: bool = False) -> bool | None:
    # `numbers` must be sorted. With `partly`, the target may also be made from some of them.
    if len(numbers) > MOST:
        return None
    search = _Search()
    sizes = range(1, len(numbers) + 1) if partly else (len(numbers),)
    try:
        return any(search.makes(part, target) for size in sizes for part in sorted(set(combinations(numbers, size))))
    except _Spent:
        return None


@lru_cache(maxsize=4096)
def values(numbers: Numbers) -> frozenset[Fraction]:
    # `numbers` must be sorted, and at most three, because all their values are listed.
    if len(numbers) == 1:
        return frozenset(numbers)
    return frozenset(
        value
        for one, other in _parts(numbers)
        for left, right in product(values(one), values(other))
        for value in _joined(left, right)
    )


class _Search:
    def __init__(self) -> None:
        self._looked = 0
        self._known: dict[tuple[Numbers, Fraction], bool] = {}

    def makes(self, numbers: Numbers, target: Fraction) -> bool:
        self._looked += 1
        if self._looked > _BUDGET:
            raise _Spent
        if len(numbers) <= _LISTED:
            return target in values(numbers)
        known = self._known.get((numbers, target))
        if known is None:
            known = self._known[numbers, target] = any(
                self.makes(rest, wanted)
                for part, rest in _parts(numbers)
                for value in values(part)
                for wanted in _wanted(value, target, rest)
            )
        return known


def _wanted(value: Fraction, target: Fraction, rest: Numbers) -> Iterator[Fraction]:
    yield target - value
    yield value - target
    yield value + target
    if value:
        yield target / value
        yield target * value
        if target:
            yield value / target
        # 0 / x and 0 * x are 0, whatever x is.
    elif not target:
        # Any value of *rest* will do, such as its sum.
        yield sum(rest, Fraction(0))


def _joined(left: Fraction, right: Fraction) -> tuple[Fraction, ...]:
    quotients = [one / other for one, other in ((left, right), (right, left)) if other]
    return (left + right, left - right, right - left, left * right, *quotients)


@lru_cache(maxsize=4096)
def _parts(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    places = range(len(numbers))
    splits = {
        (tuple(numbers[at] for at in chosen), tuple(numbers[at] for at in places if at not in chosen))
        for size in range(1, len(numbers) // 2 + 1)
        for chosen in combinations(places, size)
    }
    return tuple(sorted(splits, key=lambda parts: (len(parts[0]), parts)))


_LONGEST = 60
"""The most characters of an expression, or of a value, that a message repeats."""
_SHORT = 1000
"""The largest denominator of a fraction that a message shows as a decimal."""
_PLACES = 12
"""A decimal is compared with at most this many places."""
_LOST = Unknown("the numbers left are not known: an earlier line was not understood, or was wrong")


class Followed(NamedTuple):
    """The result of a step: the numbers that are left after it, or the verdict if it is wrong or cannot be judged."""

    left: Numbers | None
    """``None`` if they are not known, and always if there is a ``fault``."""
    fault: Verdict | None = None


def follow(puzzle: NumberPuzzle, left: Numbers | None, step: CalculationStep) -> Followed:
    # The result has neither numbers nor a fault if the step takes other numbers and does not list the numbers left.
    fault = _miscalculated(step.equation.sides, step.start)
    if fault is not None:
        return Followed(None, fault)
    tries = [_taken(numbers, step) for numbers in dict.fromkeys((left, puzzle.numbers)) if numbers is not None]
    if right := next((followed for followed in tries if followed.fault is None), None):
        return right
    if step.listed is None:
        return Followed(None)  # The numbers may come from anywhere.
    return Followed(None, _LOST if left is None else tries[0].fault)


def judge_step(puzzle: NumberPuzzle, left: Numbers | None, step: CalculationStep, *, dead_ends: bool) -> Verdict:
    """Judge whether *step* calculates correctly, uses available numbers, and leaves numbers that can make the target.

    *left* are the numbers before the step (``None``: not known). A step may also begin again with all numbers of
    *puzzle*. A correct step with other numbers passes, unless it lists the numbers left.
    """
    followed = follow(puzzle, left, step)
    if followed.fault is not None:
        return followed.fault
    after = followed.left
    if after is None:
        return Pass("the value was computed exactly")
    if step.listed is None or not dead_ends or step.is_given_up:
        return Pass("the value was computed exactly, and its numbers are there")
    reachable = reaches(tuple(sorted(after)), puzzle.target, partly=puzzle.use != "all")
    if reachable is None:
        return Pass("the value was computed exactly; there are too many numbers left for a search")
    if reachable:
        return Pass(f"computed exactly; a search found that {puzzle.target} can still be made")
    named = _names(n.value for n in step.listed) if len(step.listed) == len(after) else _names(sorted(after))
    why = f"{puzzle.target} cannot be made from {named}" if len(after) > 1 else f"{named} is not {puzzle.target}"
    witness = f"{why}: {_tried(after)}" if len(after) > 1 else ""
    return Violation(why=why, witness=witness, where=_at(step.list_start, step.end, step.start))


def judge_final(puzzle: NumberPuzzle, final: ExpressionAnswer, line: str) -> Verdict:
    if final.chain:
        return _judge_chain(puzzle, final)
    expression = next((side for side in final.sides if not side.is_bare), None)
    if expression is None:
        return Unknown("the answer is no expression")
    shown = _short(line[expression.start : expression.end])
    if _is_step(puzzle, final.sides):
        return Unknown("it may be a step, and the answer may be in the next lines")
    if expression.value is None:
        return Violation(why=f"{shown} divides by zero")
    if expression.value != puzzle.target:
        why = f"{shown} is not {puzzle.target}"
        return Violation(why=why, witness=f"{shown} is {_value(expression.value)}, not {puzzle.target}")
    other = next((side for side in final.sides if side.value != puzzle.target), None)
    if other is not None:
        said = _short(line[other.start : other.end])
        return Violation(why=f"{shown} is not {said}") if other.is_bare else Unknown("its sides have different values")
    return _judge_use(puzzle, [number.value for number in expression.numbers])


def _is_step(puzzle: NumberPuzzle, sides: Sequence[Expression]) -> bool:
    if len(sides) != 2 or len(sides[0].numbers) != 2 or len(puzzle.numbers) < 3:
        return False
    return sides[0].value == sides[1].value != puzzle.target


def judge_hopeless(puzzle: NumberPuzzle) -> Verdict:
    # The statement is that the target cannot be made from the numbers.
    numbers = tuple(sorted(puzzle.numbers))
    whole = reaches(numbers, puzzle.target)
    if whole:
        why = f"{puzzle.target} can be made from {puzzle.listed}"
        return Violation(why=why, witness=f"{why}: a complete search found a way")
    partly = reaches(numbers, puzzle.target, partly=True)
    if whole is None or partly is None:
        return Unknown("there are too many numbers for a search")
    if not partly:
        return Pass(f"a complete search found no way to make {puzzle.target} from {puzzle.listed}")
    if puzzle.use == "all":
        return Pass(f"a complete search found no way to make {puzzle.target} from all of {puzzle.listed}")
    # "There is no way with all three numbers" is true, even where numbers may be left out.
    return Unknown("it can be made from some of the numbers, and this may be meant of all of them")


def _judge_chain(puzzle: NumberPuzzle, final: ExpressionAnswer) -> Verdict:
    left: Numbers = puzzle.numbers
    for equation in final.chain:
        fault = _miscalculated(equation.sides, final.start)
        if fault is not None:
            return replace(fault, repair=None) if isinstance(fault, Violation) else fault
        followed = _taken(left, CalculationStep(final.start, equation.end, equation, None, equation.end))
        if followed.left is None:
            return followed.fault or _LOST
        left = followed.left
    value = final.chain[-1].sides[-1].value
    if value != puzzle.target:
        return Violation(why=f"the last value is not {puzzle.target}")
    unused = list(left)
    unused.remove(value)
    return _judge_unused(puzzle, unused)


def _judge_use(puzzle: NumberPuzzle, used: Sequence[Fraction]) -> Verdict:
    counts, given = Counter(used), Counter(puzzle.numbers)
    for number, count in counts.items():
        if number not in given:
            return Violation(why=f"{_value(number)} is none of the numbers {puzzle.listed}")
        if count > given[number]:
            times = "once" if given[number] == 1 else f"{given[number]} times"
            return Violation(why=f"{_value(number)} is used {count} times, and it is given {times}")
    return _judge_unused(puzzle, list((given - counts).elements()))


def _judge_unused(puzzle: NumberPuzzle, unused: Sequence[Fraction]) -> Verdict:
    if unused and puzzle.use == "all":
        return Violation(why=f"{_names(unused)} is not used")
    if unused and puzzle.use == "unclear":
        return Unknown(f"{_names(unused)} is not used, and the text does not say whether all numbers must be")
    return Pass("the value was computed exactly, and no number is used more often than it is given")


def _miscalculated(sides: Sequence[Expression], base: int) -> Verdict | None:
    computed, stated = sides[-2], sides[-1]
    if stated.value is None or computed.value is None:
        return Violation(why="it divides by zero") if len(sides) == 2 else Unknown("it divides by zero")
    if computed.value == stated.value:
        return None
    if computed.is_bare:
        return Unknown("the sides differ, and either may be meant")
    if _is_rounded(computed.value, stated):
        return Unknown("the value is rounded, so that what follows from it is not known")
    said, right = _value(stated.value), _value(computed.value)
    return Violation(
        why=f"the value is not {said}",
        witness=f"the value is {right}, not {said}",
        where=_at(stated.start, stated.end, base),
        repair=right if stated.is_bare and not right.endswith("…") else None,  # a value that was cut is no repair
    )


def _is_rounded(value: Fraction, stated: Expression) -> bool:
    said = stated.value
    if said is None or not stated.is_bare or said.denominator == 1:
        return False
    places = next((n for n in range(1, _PLACES) if (said * 10**n).denominator == 1), _PLACES)
    unit: int = 10**places
    return abs(value - said) * unit < 1


def _taken(left: Numbers, step: CalculationStep) -> Followed:
    sides = step.equation.sides
    value = sides[-1].value
    assert value is not None
    rest = Counter(left)
    # In a = b = c, b may be a step of its own.
    for number in sides[0].numbers if len(sides) == 2 else ():
        if not rest[number.value] and rest[-number.value]:
            rest[-number.value] -= 1  # 4 - (-2) = 6
            continue
        if not rest[number.value]:
            why = f"there is no {_value(number.value)} left"
            where = _at(number.start, number.end, step.start)
            return Followed(None, Violation(why=why, witness=f"the numbers left are {_names(left)}", where=where))
        rest[number.value] -= 1
    if len(sides) != 2:
        return Followed(None, _LOST)
    others = +rest
    rest[value] += 1
    after = tuple(rest.elements())
    # "8 + 4 = 12, remaining: 6, 4" may leave out the new number.
    if step.listed is not None and Counter(number.value for number in step.listed) not in (rest, others):
        return Followed(None, _mislisted(step, after))
    return Followed(after)


def _mislisted(step: CalculationStep, after: Numbers) -> Verdict:
    assert step.listed is not None
    if any(number.value.denominator > 1 for number in step.listed) or any(n.denominator > 1 for n in after):
        rounded = all(any(abs(n.value - m) < Fraction(1, 50) for m in after) for n in step.listed)
        if rounded and len(step.listed) == len(after):
            return Unknown("a number left is rounded")
    right, said = _names(sorted(after)), _names(number.value for number in step.listed)
    return Violation(
        why=f"the numbers left are not {said}",
        witness=f"the numbers left are {right}",
        where=_at(step.list_start, step.end, step.start),
        repair=None if "…" in right else right,
    )


def _tried(left: Numbers) -> str:
    if 1 < len(left) <= 2:
        return f"they make {', '.join(_value(value) for value in sorted(values(tuple(sorted(left)))))} and nothing else"
    return "all operations in all orders were tried"


def _at(start: int, end: int, base: int) -> Span:
    return Span(start - base, end - base)


def _value(value: Fraction) -> str:
    if 1 < value.denominator <= _SHORT and _SHORT % value.denominator == 0:
        whole, rest = divmod(abs(value), 1)
        digits = f"{rest * _SHORT}".zfill(len(str(_SHORT)) - 1).rstrip("0")
        return _short(f"{'-' if value < 0 else ''}{whole}.{digits}")
    return _short(str(value))


def _names(numbers: Iterable[Fraction]) -> str:
    return _short(" ".join(_value(number) for number in numbers))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


_TAG = re.compile(r"<answer>([^<>]{1,400})</answer>", re.IGNORECASE)
_EQUATION = re.compile(r"(?=(\d[\s)\]|*$`}]{0,8}[=\u2260\u2248\u2261<>\u2264\u2265]{1,2}[\s(\[|*$`{\u2212-]{0,8}\d))")
_IN_WORDS = re.compile(
    r"(\d\s{1,3}(?:is|are|equals?|makes?|made|gives?|yields?|gets?|leaves?|becomes?)\s{1,3}-?\d)", re.IGNORECASE
)
_HOPELESS = re.compile(
    r"\b(impossible|infeasible|cannot\s(?:be\s)?(?:made|make|reached?|obtain(?:ed)?|get)|can't\s(?:be|make|reach|get)|no\s(?:way|solution))\b",
    re.IGNORECASE,
)
recognize = recognizer(_EQUATION, _IN_WORDS, _HOPELESS)


class BeforeStep(NamedTuple):
    """The numbers left before a statement (``None`` if they are not known), and the text of its line."""

    left: Numbers | None
    line: str


@dataclass(frozen=True, slots=True)
class CountdownProblem:
    """The puzzle, and whether a step after which the target cannot be made any more is a violation."""

    puzzle: NumberPuzzle
    dead_ends: bool
    examples: frozenset[str] = frozenset()
    """Answers in tags in the prompt, which show how to write an answer. The text may quote them."""


def _read(
    problem: CountdownProblem, left: Numbers | None, segment: Segment
) -> tuple[Numbers | None, Iterable[Statement[Said, BeforeStep]]]:
    puzzle = problem.puzzle
    if any(character.isdecimal() and not character.isascii() for character in segment.text):
        # Digits of another script are not read: the line may be a step that leaves other numbers.
        return None, ()
    said = read_line(segment.text, puzzle, answering=segment.phase == "answer")
    if said is None:
        return left, ()
    if isinstance(said, ExpressionAnswer) and segment.text[said.start : said.end] in problem.examples:
        return left, ()
    if isinstance(said, Hopeless) and not said.is_answer and left != puzzle.numbers:
        return left, ()  # It may speak of the numbers that are left, and be right.
    known = "?" if left is None else " ".join(map(str, left))
    context = f"{segment.text} | {segment.phase} | {known} | {puzzle.listed}"
    claim = make_statement(segment, said, BeforeStep(left, segment.text), context=context)
    return follow(puzzle, left, said).left if isinstance(said, CalculationStep) else left, (claim,)


@verifier(name="countdown", version="3", deadline=10.0, worker="thread")
def check(claim: Statement[Said, BeforeStep], problem: CountdownProblem) -> Verdict:
    """Judge a step or an answer.

    If the search for a way to the target would be too long, a step passes, and the statement that there is no way is
    ``Unknown``.
    """
    match claim.said:
        case Afterwards(verdict=verdict):
            return verdict
        case CalculationStep() as step:
            return judge_step(problem.puzzle, claim.before.left, step, dead_ends=problem.dead_ends)
        case ExpressionAnswer() as final:
            return of_answer(judge_final(problem.puzzle, final, claim.before.line))
        case Hopeless(is_answer=is_answer):
            verdict = judge_hopeless(problem.puzzle)
            return of_answer(verdict) if is_answer else verdict


@safe_from_data()
def countdown(
    *,
    target: int | None = None,
    use: Literal["prompt", "all", "some"] = "prompt",
    dead_ends: bool = True,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a monitor for puzzles that make a target from numbers. It does nothing if it can read none in the prompt.

    ``target`` is used if the prompt does not name a target. ``use`` says whether all numbers must be used, if the
    prompt does not say it (``prompt``: then it is left open). With ``dead_ends=False``, a correct step passes even if
    the target cannot be made any more. ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    Raises :class:`UsageError` on a wrong option value.
    """
    require_choice("countdown", ("prompt", "all", "some"), use=use)
    if target is not None and type(target) is not int:
        raise UsageError(f"countdown: target must be a whole number, got {target!r:.100}; give an int or None")
    return _monitor("countdown", target, use, dead_ends, level, delivery, phase)


@safe_from_data()
def game24(
    *,
    dead_ends: bool = True,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a ``countdown`` monitor for the game of 24: the target is 24, and each number must be used exactly once.

    If the prompt says that numbers may be left out, they may. The monitor does nothing if it can read no such puzzle in
    the prompt. The options are those of :func:`countdown`.
    """
    return _monitor("game24", 24, "all", dead_ends, level, delivery, phase)


def _monitor(
    name: Literal["countdown", "game24"],
    target: int | None,
    use: Literal["prompt", "all", "some"],
    dead_ends: bool,  # noqa: FBT001  (an option of the factories)
    level: Level,
    delivery: Delivery,
    phase: PhaseFilter,
) -> Monitor:
    if not isinstance(dead_ends, bool):
        raise UsageError(f"{name}: dead_ends must be true or false, got {dead_ends!r:.100}; give a bool")

    def prepare(task: Task) -> CountdownProblem | None:
        puzzle = read_puzzle(task.question, target) or read_puzzle(task.text, target)
        if puzzle is None or (name == "game24" and puzzle.target != target):
            return None
        if puzzle.use == "unclear" and use != "prompt":
            puzzle = replace(puzzle, use=use)
        examples = frozenset(tag[1].strip() for tag in _TAG.finditer(task.text[-MAX_PROMPT:]))
        return CountdownProblem(puzzle, dead_ends, examples)

    return task_monitor(
        name,
        check,
        watch_answer(track_phases(lambda problem: problem.puzzle.numbers, _read), ExpressionAnswer),
        prepare,
        recognizer=recognize,
        level=level,
        delivery=delivery,
        phase=phase,
    )
