"""Reads the computation that a prompt asks for."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from interwhen.toolkit import normalize

from interwhen_verifiers._arithmetic.chains import find_chains
from interwhen_verifiers._arithmetic.judge import Differs, compare, unambiguous
from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Node,
    Number,
    Operator,
    Value,
    bare,
    render,
    value_of,
)
from interwhen_verifiers._arithmetic.parser import Parser, Side
from interwhen_verifiers._arithmetic.setting import PLAIN, Setting, setting_of
from interwhen_verifiers._arithmetic.tokens import Token, tokenize
from interwhen_verifiers._arithmetic.vocabulary import words_of

MAX_QUESTION = 2000
"""The most characters of a question, and of a prompt's end, that are searched."""
_ASKING = words_of(
    "calculate compute evaluate solve simplify find work out what what's is the value of result answer please give me "
    "state final to following arithmetic problem expression equation sum product quotient difference how much does "
    "equal equals make come determine tell can you exactly step by and show your reasoning think carefully a number "
    "as single only with just reply respond write it this exact in line"
)
"""Words of a question that asks for a value and for nothing else."""
_SIGNS = frozenset(".,:?!;=")
_FIRST = re.compile(r"\s*+(?:Start with|Begin with|Take) ([0-9]++)[.,;]?")
_ORDER = re.compile(r"\s++(?:and |then )?(add|subtract|multiply by|divide by) ([0-9]++)[.,;]?", re.IGNORECASE)
_LAST = re.compile(r"\s*+What is the (?:result|answer|final value|total)\?\s*+\Z")
_CHAIN = re.compile(r"\s*+The chain is ([0-9]++)")
_STEP = re.compile(r", ([-+*/]) ([0-9]++)")
_END = re.compile(r"\.?\s*+\Z")
_OPERATORS: dict[str, Operator] = {
    "add": "+",
    "subtract": "-",
    "multiply by": "*",
    "divide by": "/",
    "+": "+",
    "-": "-",
    "*": "*",
    "/": "/",
}


class Problem(NamedTuple):
    node: Node | None
    """The computation that the question asks for; ``None`` if it may ask for anything else, or has no clear value."""
    setting: Setting
    text: str = ""
    """The prompt, or the end of a long one. An equation that it contains, too, is not refuted."""
    given: frozenset[Value] = frozenset()
    """The values of the numbers in the prompt."""


def read_problem(question: str, context: str, given: frozenset[Value] = frozenset()) -> Problem:
    """Read the computation that *question* asks for, and the arithmetic (such as a modulus) that *context* announces.

    *question* is the last message of the user, and *context* the text of the task, or its end.
    """
    setting = setting_of(context, PLAIN)
    if "left to right" in context or "precedence" in context or _FIRST.match(question):
        setting = setting._replace(in_order=True)
    return Problem(_computation(question, context), setting, context, given)


def _computation(question: str, context: str) -> Node | None:
    if len(question) > MAX_QUESTION:
        return None
    node = _ordered(question, _FIRST, _ORDER, _LAST)
    if node is None and "left to right" in context:
        node = _ordered(question, _CHAIN, _STEP, _END)
    return node or _asked(tokenize(question))


def _ordered(question: str, first: re.Pattern[str], step: re.Pattern[str], last: re.Pattern[str]) -> Node | None:
    """Return the computation that *question* consists of, from left to right; ``None`` if it is anything else.

    *first* matches the first number, *step* each operation, and *last* the end of the question.
    """
    match = first.match(question)
    if match is None:
        return None
    node: Node = _number(match[1])
    at = match.end()
    while match := step.match(question, at):
        operator = _OPERATORS[match[1].lower()]
        node = Binary(operator, operator, node, _number(match[2]))
        at = match.end()
    if isinstance(node, Number) or last.match(question, at) is None or value_of(node) is None:
        return None
    return node


def _number(text: str) -> Number:
    return Number(int(text), text, 0, percent=False, start=0, end=0)


def _asked(tokens: list[Token]) -> Node | None:
    start = next((at for at, token in enumerate(tokens) if token.kind not in {"word", "break", "math"}), None)
    if start is None:
        return None
    parser = Parser(tokens, start, len(tokens))
    side = parser.side(whole=False)
    if side is None or bare(side.node) or side.doubt or side.units or side.remark or side.currency:
        return None
    around = tokens[:start] + tokens[parser.index :]
    for token in around:
        plain = (
            token.text in _ASKING
            if token.kind == "word"
            else token.kind == "math" or token.text in _SIGNS or token.text == "="
        )
        if not plain:
            return None
    return side.node if unambiguous(side.node) else None


def doubt_of_prompt(problem: Problem, left: Side, right: Side) -> str:
    # A riddle gives signs other meanings. So the prompt may state the equation itself, or two or more false ones.
    given = _false_in_prompt(problem.text[-MAX_QUESTION:])
    if _spelled(left, right) in given:
        return "it stands in the prompt, too"
    return "the operation may be defined in the prompt" if len(given) > 1 else ""


@lru_cache(maxsize=4)
def _false_in_prompt(text: str) -> frozenset[str]:
    return frozenset(
        _spelled(left, right)
        for line in text.split("\n")
        if "=" in line
        for chain in find_chains(tokenize(normalize(line).text))
        for relation, (left, right) in zip(chain.links, pairwise(chain.sides), strict=True)
        if isinstance(
            compare(left, right, relation=relation, doubt="", setting=PLAIN, rounding="shown-digits"), Differs
        )
    )


def _spelled(left: Side, right: Side) -> str:
    return f"{render(left.node)} = {render(right.node)}"
