"""Arithmetic: chains of sums, chains with products, and word problems. The verifier is ``arithmetic``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from interwhen import UsageError
from interwhen.models import Prompt
from interwhen.strategies import Exercise
from interwhen.toolkit.quantities import read_number, write_number

from interwhen_verifiers.tasks._gym import chat, exercises

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


def read(text: str) -> str | None:
    """Return the number after the last "Answer" at the start of a line in *text*; ``None`` if no number can be read.

    The number is a text in a normal form, so that answers can be compared.
    """
    found = [match["number"] for match in _ANSWER.finditer(text)]
    value = read_number(found[-1].replace("$", "").replace("\u2212", "-")) if found else None
    return None if value is None else write_number(value)


def chain_sum(
    *, count: int, seed: int, terms: int = 6, digits: int = 4, wording: Wording = "worked"
) -> Iterator[Exercise]:
    """Generate *count* sums and differences of *terms* numbers from *seed*.

    The numbers of one exercise have equally many digits: two to *digits*, or one if *digits* is 1. Raises
    :class:`UsageError` for fewer than 2 terms, and unless *digits* is from 1 to 12. Raises
    :class:`~interwhen.toolkit.MissingExtraError` at the first exercise if ``reasoning-gym`` is not installed.
    """
    _vet("chain_sum", terms, digits)

    def prompt(entry: Mapping[str, Any]) -> Prompt:
        expression = entry["metadata"]["expression"]
        return chat("", _ordered(expression)) if wording == "orders" else chat(_CHAIN, f"{expression} =")

    return exercises(
        "chain_sum",
        count,
        seed,
        prompt=prompt,
        read=read,
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

    Each number is from 0 to ``10**digits``. *seed*, *wording* and the errors are those of :func:`chain_sum`.
    """
    _vet("chained_arithmetic", terms, digits)

    def prompt(entry: Mapping[str, Any]) -> Prompt:
        expression = entry["metadata"]["expression"]
        if wording == "orders":
            return chat("", _ordered(expression))
        chain = " ".join(_TERM.sub(r", \1 \2", expression).replace(" ,", ",").split())
        return chat(_CHAINED, f"The chain is {chain}.")

    return exercises(
        "basic_arithmetic",
        count,
        seed,
        prompt=prompt,
        read=read,
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
    """Generate *count* word problems in the style of the data set GSM-Symbolic.

    The same *seed* gives the same problems. Raises :class:`~interwhen.toolkit.MissingExtraError` at the first exercise
    if ``reasoning-gym`` is not installed.
    """
    return exercises(
        "gsm_symbolic",
        count,
        seed,
        prompt=lambda entry: chat(_STORY, entry["question"]),
        read=read,
        monitor="arithmetic",
    )


def _ordered(expression: str) -> str:
    """Return *expression* in words: ``Start with 12. Add 30. What is the result?``."""
    first, _, rest = expression.partition(" ")
    orders = " ".join(f"{_ORDERS[sign]} {number}." for sign, number in _TERM.findall(rest))
    return f"Start with {first}. {orders} What is the result?"


def _vet(task: str, terms: int, digits: int) -> None:
    if terms < 2 or not 1 <= digits <= 12:
        raise UsageError(
            f"{task}: terms must be at least 2 and digits from 1 to 12, got {terms!r} and {digits!r}; correct them"
        )
