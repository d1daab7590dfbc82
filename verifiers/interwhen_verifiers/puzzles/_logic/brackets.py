"""Brackets to close: the stack after each of them, and what a line says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final as Constant
from typing import NamedTuple, TypeAlias

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.answers import FinalAnswer, read_final
from interwhen_verifiers.puzzles._logic.wording import MAX_LINE, MAX_PROMPT

PAIRS: Constant = {"(": ")", "[": "]", "{": "}", "<": ">"}
_SIGN = r"[()\[\]{}<>]"
_SIGNS = rf"{_SIGN}(?:\s?{_SIGN}){{0,400}}"
_INPUT = re.compile(
    rf"(?:input|sequence|brackets|parentheses)\s?:\s{{0,3}}(?P<signs>{_SIGNS})\s{{0,3}}(?=\n|$)", re.IGNORECASE
)
_ALONE = re.compile(rf"\s{{0,9}}(?P<signs>{_SIGNS})\s{{0,9}}$")
_NUMBER = r"\s{0,8}(?:[\-*]\s)?(?:(?:input |step |thought )?#?\d{1,3}\s?[:.)]\s{1,3})?"
_READ = re.compile(
    rf"{_NUMBER}(?P<signs>{_SIGNS})\s?[;,]\s{{1,3}}stack\s?:\s{{1,3}}(?P<stack>empty|{_SIGNS})\s{{0,3}}[.;]?\s{{0,3}}$",
    re.IGNORECASE,
)
_START = re.compile(rf"{_NUMBER}(?:stack\s?:\s?empty|empty stack|the stack is empty)\s?\.?\s{{0,3}}$", re.IGNORECASE)
_QUOTED_SIGNS = rf"[\"\u201c]\s?{_SIGNS}\s?[\"\u201d]"
_LAST = re.compile(
    rf"\bfinal stack (?:is|looks like)\s?:?\s(?P<stack>empty\b|[\"\u201c]\s?(?:empty|{_SIGNS})?\s?[\"\u201d])",
    re.IGNORECASE,
)
_POPPED = re.compile(
    rf"\bpop(?: out)?\s(?P<signs>{_QUOTED_SIGNS}(?:,?\s(?:and\s)?{_QUOTED_SIGNS}){{0,200}})", re.IGNORECASE
)
_NEEDED = re.compile(rf"\bwe need\s(?P<signs>{_QUOTED_SIGNS}(?:,?\s(?:and\s)?{_QUOTED_SIGNS}){{0,200}})", re.IGNORECASE)
_PLAIN = re.compile(rf"[\s\"'`]{{0,4}}{_SIGNS}[\s\"'`]{{0,4}}$")


@dataclass(frozen=True, slots=True)
class Brackets:
    """The brackets that are given, and the stack of open ones: before all of them, and after each."""

    given: str
    stacks: tuple[str, ...]

    @property
    def closing(self) -> str:
        """What closes the rest."""
        return "".join(PAIRS[sign] for sign in reversed(self.stacks[-1]))


class Read(NamedTuple):
    """These brackets are the next ones behind so many."""

    signs: str
    at: int
    start: int
    end: int


class Stack(NamedTuple):
    """After so many brackets, this is the stack."""

    signs: str
    at: int
    said: str
    start: int
    end: int


class Closing(NamedTuple):
    """These are what is popped in the end, or what closes it."""

    signs: str
    is_popped: bool
    start: int
    end: int


Bracketed: TypeAlias = Read | Stack | Closing | FinalAnswer


def read_brackets(prompt: str) -> Brackets | None:
    """Return the brackets of *prompt*; ``None``: there are none, or one of them closes another kind."""
    if len(prompt) > MAX_PROMPT:
        return None
    found = list(_INPUT.finditer(prompt))
    match = found[-1] if found else _ALONE.match(prompt)
    if match is None:
        return None
    given = _only(match["signs"])
    stacks = [""]
    for sign in given:
        stack = stacks[-1]
        if sign in PAIRS:
            stacks.append(stack + sign)
        elif stack and PAIRS[stack[-1]] == sign:
            stacks.append(stack[:-1])
        else:
            return None
    return Brackets(given, tuple(stacks)) if len(given) > 1 else None


def _only(text: str) -> str:
    return "".join(re.findall(_SIGN, text))


def read_stacks(problem: Brackets, at: int, line: str) -> tuple[int, tuple[Bracketed, ...]]:
    """Return how many brackets have been read behind *line*, and what it says. Linear in its length."""
    if len(line) > MAX_LINE:
        return at, ()
    if _START.match(line):
        return 0, ()
    if match := _READ.match(line):
        signs = _only(match["signs"])
        after = at + len(signs)
        read = Read(signs, at, *match.span("signs"))
        return after, (read, Stack(_only(match["stack"]), after, match["stack"], *match.span("stack")))
    found: list[Bracketed] = []
    final = read_final(line)
    cut = final.start if final else len(line)
    found += [
        Stack(_only(match["stack"]), len(problem.given), match["stack"], *match.span("stack"))
        for match in _LAST.finditer(line, 0, cut)
    ]
    found += [
        Closing(_only(match["signs"]), pattern is _POPPED, *match.span("signs"))
        for pattern in (_POPPED, _NEEDED)
        for match in pattern.finditer(line, 0, cut)
    ]
    return at, (*found, final) if final else tuple(found)


def judge_brackets(problem: Brackets, said: Bracketed) -> Verdict:
    """Judge what is said of the brackets by reading them."""
    match said:
        case Read(signs=signs, at=at):
            if at + len(signs) > len(problem.given):
                return Violation(why=f"there are {len(problem.given)} brackets, and all of them were read before")
            if problem.given[at : at + len(signs)] == signs:
                return Pass(f"bracket {at + 1} of the input")
            return (
                Violation(why=f"bracket {at + 1} of the input is not {signs[0]!r}")
                if len(signs) == 1
                else Violation(why=f"the input does not go on so behind bracket {at}")
            )
        case Stack():
            return _judge_stack(problem, said)
        case Closing(signs=signs, is_popped=is_popped):
            right = problem.stacks[-1][::-1] if is_popped else problem.closing
            return Pass("so the brackets are open") if signs == right else Violation(why=_differ(signs, right))
        case FinalAnswer(text=text):
            if not _PLAIN.match(text):
                return Unknown("the answer is not of brackets alone")
            signs = _only(text)
            given, right = problem.given, problem.closing
            signs = signs[len(given) :] if signs.startswith(given) and len(signs) >= len(given) + len(right) else signs
            return (
                Pass("it closes all brackets") if signs == right else Violation(why="that does not close all brackets")
            )


def _differ(said: str, right: str) -> str:
    if len(said) != len(right):
        return f"there are not {len(said)} open brackets"
    at = next(at for at in range(len(said)) if said[at] != right[at])
    return f"{said[at]!r} is wrong: bracket {at + 1} of those"


def _judge_stack(problem: Brackets, said: Stack) -> Verdict:
    if said.at >= len(problem.stacks):
        return Unknown("there are no more brackets")
    right = problem.stacks[said.at]
    if said.signs == right:
        return Pass(f"so it is after {said.at} brackets")
    why = f"that is not the stack after {said.at} brackets"
    if said.at == len(problem.given):
        return Violation(why=why)  # The stack at the end would tell the answer.
    sound = " ".join(right) if right else "empty"
    return Violation(
        why=why, witness=f"the stack after {said.at} brackets: {sound}", where=Span(0, len(said.said)), repair=sound
    )
