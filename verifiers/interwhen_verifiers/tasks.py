"""Tasks for ``interwhen bench compare``: problems that ``reasoning-gym`` generates by a seed, and grades."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from interwhen import Message, UsageError
from interwhen.models import Prompt
from interwhen.strategies import Exercise, Question, Reader
from interwhen.toolkit import MissingExtraError
from interwhen.toolkit.quantities import read_number, write_number

Wording = Literal["worked", "orders"]
"""``worked``: an instruction with an example; ``orders``: the operations in words that the tiny model knows."""

_CHAIN = """\
Work it out step by step, from left to right, one equation a line, and end with a line "Answer: N". Write nothing else.
For 12 + 30 - 26 + 5 you write:
12 + 30 = 42
42 - 26 = 16
16 + 5 = 21
Answer: 21"""
_CHAINED = """\
Work out the chain from left to right, one equation a line, and end with a line "Answer: N". Write nothing else.
For the chain 12, + 30, * 3, - 26 you write:
12 + 30 = 42
42 * 3 = 126
126 - 26 = 100
Answer: 100"""
_STORY = """\
Work it out step by step, with an equation for each step, such as 12 * 3 = 36, and end with a line "Answer: N"."""
_ANSWER = re.compile(
    r"^\W{0,4}(?:final )?answer\W{0,6}?(?P<number>[-+\u2212]?\$?\d[\d,]*(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE
)
_TERM = re.compile(r"([-+*]) (\d+)")
_ORDERS = {"+": "Add", "-": "Subtract", "*": "Multiply by"}

_COUNTDOWN = """\
Make the target from the numbers with + - * /, each number used exactly once. Take two numbers at a time, one step
a line, and say which numbers are left. End with a line "Answer: EXPRESSION". Write nothing else.
For the numbers 3 5 7 and the target 56 you write:
3 + 5 = 8 (left: 7 8)
8 * 7 = 56 (left: 56)
Answer: (3 + 5) * 7"""
_WAY = """\
Find the shortest way. Say where the start is, as (row, column), counted from 1 from the upper left corner. Then write
each move on a line of its own, and where it leads. End with a line "Answer: MOVES". Write nothing else.
For the grid
X # O
O O X
* O O
you write:
The start is at (3,1).
Move up to (2,1)
Move right to (2,2)
Move up to (1,2)
Answer: up right up"""
_EXAMPLE = re.compile(r"Your output should be a sequence[^\n]*\n+")
"""The example in the questions of the dataset. It is removed, since small models repeat it as their answer."""
_EXPRESSION = re.compile(r"[\d+\-*/() ]{1,200}")
_FINAL = re.compile(r"^\W{0,4}(?:final )?answer\W{0,3}:\W{0,3}?(?P<said>[^\n]{1,400})", re.IGNORECASE | re.MULTILINE)
_MOVES = re.compile(r"\b(up|down|left|right)\b", re.IGNORECASE)


def read_result(text: str) -> str | None:
    # The number is a text in a normal form, so that answers can be compared.
    numbers = [match["number"] for match in _ANSWER.finditer(text)]
    value = read_number(numbers[-1].replace("$", "").replace("\u2212", "-")) if numbers else None
    return None if value is None else write_number(value)


def chain_sum(
    *, count: int, seed: int, terms: int = 6, digits: int = 4, wording: Wording = "worked"
) -> Iterator[Exercise]:
    """Generate *count* sums and differences of *terms* numbers from *seed*.

    The numbers of one exercise have equally many digits: two to *digits*, or one if *digits* is 1.
    """
    _vet("chain_sum", terms, digits)

    def prompt(entry: Mapping[str, Any]) -> Prompt:
        expression = entry["metadata"]["expression"]
        return _chat("", _ordered(expression)) if wording == "orders" else _chat(_CHAIN, f"{expression} =")

    return _exercises(
        "chain_sum",
        count,
        seed,
        prompt=prompt,
        read=read_result,
        monitor="arithmetic",
        min_terms=terms,
        max_terms=terms,
        min_digits=min(digits, 2),
        max_digits=digits,
    )


def chained_arithmetic(
    *, count: int, seed: int, terms: int = 6, digits: int = 2, wording: Wording = "worked"
) -> Iterator[Exercise]:
    """Generate *count* chains of sums, differences and products of *terms* numbers, worked out from left to right.

    Each number is from 0 to ``10**digits``.
    """
    _vet("chained_arithmetic", terms, digits)

    def prompt(entry: Mapping[str, Any]) -> Prompt:
        expression = entry["metadata"]["expression"]
        if wording == "orders":
            return _chat("", _ordered(expression))
        chain = " ".join(_TERM.sub(r", \1 \2", expression).replace(" ,", ",").split())
        return _chat(_CHAINED, f"The chain is {chain}.")

    return _exercises(
        "basic_arithmetic",
        count,
        seed,
        prompt=prompt,
        read=read_result,
        monitor="arithmetic",
        min_terms=terms,
        max_terms=terms,
        min_digits=digits,
        max_digits=digits,
        operators=("+", "-", "*"),
        allow_parentheses=False,
        allow_negation=False,
    )


def gsm_symbolic(*, count: int, seed: int) -> Iterator[Exercise]:
    """Generate *count* word problems in the style of the data set GSM-Symbolic."""
    return _exercises(
        "gsm_symbolic",
        count,
        seed,
        prompt=lambda entry: _chat(_STORY, entry["question"]),
        read=read_result,
        monitor="arithmetic",
    )


def _ordered(expression: str) -> str:
    # Return a text such as `Start with 12. Add 30. What is the result?`.
    first, _, rest = expression.partition(" ")
    orders = " ".join(f"{_ORDERS[sign]} {number}." for sign, number in _TERM.findall(rest))
    return f"Start with {first}. {orders} What is the result?"


def _vet(task: str, terms: int, digits: int) -> None:
    if terms < 2 or not 1 <= digits <= 12:
        raise UsageError(
            f"{task}: terms must be at least 2 and digits from 1 to 12, got {terms!r} and {digits!r}; correct them"
        )


def _said(text: str) -> str | None:
    answers = [match["said"].strip() for match in _FINAL.finditer(text)]
    return answers[-1] if answers else None


def read_expression(text: str) -> str | None:
    # The grader evaluates the expression, so it may have only numbers, brackets and the operators `+ - * /`.
    said = (_said(text) or "").partition("=")[0].replace("\u00d7", "*").replace("\u2212", "-").replace("\u00f7", "/")
    said = " ".join(said.strip("` $.").split())
    if not _EXPRESSION.fullmatch(said) or "**" in said or "//" in said or not any(map(str.isdigit, said)):
        return None
    return said


def read_moves(text: str) -> str | None:
    said = _said(text)
    if said is None:
        return None
    if "infeasible" in said.lower():
        return "infeasible"
    return " ".join(move.lower() for move in _MOVES.findall(said)) or None


def countdown(
    *, count: int, seed: int, numbers: int = 4, largest: int = 20, target: int = 99, dead_ends: bool = True
) -> Iterator[Exercise]:
    """Generate *count* puzzles from *seed*: make a target from *numbers* numbers, each of which is at most *largest*.

    The target is from 10 to *target*, or *target* itself if that is below 10. With ``dead_ends=False``, a correct step
    after which the target cannot be reached is not a violation.
    """

    def prompt(entry: Mapping[str, Any]) -> Prompt:
        given = " ".join(map(str, entry["metadata"]["numbers"]))
        return _chat(_COUNTDOWN, f"Numbers: {given}\nTarget: {entry['metadata']['target']}")

    return _exercises(
        "countdown",
        count,
        seed,
        prompt=prompt,
        read=read_expression,
        monitor=f"countdown:use=all,dead_ends={str(dead_ends).lower()}",
        min_numbers=numbers,
        max_numbers=numbers,
        max_value=largest,
        min_target=min(10, target),
        max_target=target,
    )


def shortest_path(*, count: int, seed: int, size: int = 5) -> Iterator[Exercise]:
    """Generate *count* puzzles from *seed*: find a shortest way in a grid of *size* rows and columns.

    The right answer may also be that there is no way.
    """
    return _exercises(
        "shortest_path",
        count,
        seed,
        prompt=lambda entry: _chat(_WAY, _EXAMPLE.sub("", entry["question"])),
        read=read_moves,
        monitor="maze",
        min_rows=size,
        max_rows=size,
        min_cols=size,
        max_cols=size,
    )


def _exercises(
    dataset: str,
    count: int,
    seed: int,
    *,
    prompt: Callable[[Mapping[str, Any]], Prompt],
    read: Reader,
    monitor: str,
    **config: object,
) -> Iterator[Exercise]:
    """Yield *count* exercises of the data set *dataset*, which is generated from *seed* with the options *config*.

    *read* finds the answer in the text after the reasoning. Raises :class:`~interwhen.toolkit.MissingExtraError` at the
    first exercise if ``reasoning-gym`` is not installed.
    """
    try:
        import reasoning_gym
    except ImportError as error:
        raise MissingExtraError(f"the task {dataset!r}", "tasks") from error

    def read_answer(text: str) -> str | None:
        return read(text.rpartition("</think>")[2])

    data = reasoning_gym.create_dataset(dataset, size=count, seed=seed, **config)
    for number in range(count):
        entry = data[number]
        name = f"{dataset}-{seed}-{number}"
        question = Question(name=name, prompt=prompt(entry), read=read_answer, monitors=(monitor,))
        yield Exercise(question, _Grader(data, entry))


class _Grader:
    """Grades an answer: it is right if the dataset itself gives it full marks."""

    def __init__(self, data: Any, entry: Mapping[str, Any]) -> None:
        self._data = data
        self._entry = entry

    def __call__(self, answer: str) -> bool:
        return bool(self._data.score_answer(answer, self._entry) >= 1.0)


def _chat(system: str, user: str) -> Prompt:
    return (Message("system", system), Message("user", user)) if system else (Message("user", user),)
