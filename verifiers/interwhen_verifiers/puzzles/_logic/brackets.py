"""Reads bracket problems from a prompt, and judges statements about the stack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, TypeAlias
from typing import Final as Constant

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.wording import MAX_PROMPT
from interwhen_verifiers.puzzles._statements import FinalAnswer, Spanned, judged

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
_FOR_ONE = re.compile(r",?\s(?:to close|for|when|from the|off|as|because|then|next|first)\b", re.IGNORECASE)
"""Words after brackets that are not all of those that close the input."""
_PLAIN = re.compile(rf"[\s\"'`]{{0,4}}{_SIGNS}[\s\"'`]{{0,4}}$")


@dataclass(frozen=True, slots=True)
class Read(Spanned):
    """States that the brackets ``signs`` come next in the input, after its first ``at`` brackets."""

    signs: str
    at: int


@dataclass(frozen=True, slots=True)
class Stack(Spanned):
    """States that the open brackets are ``signs`` after the first ``at`` brackets of the input."""

    signs: str
    at: int


@dataclass(frozen=True, slots=True)
class Closing(Spanned):
    """States that ``signs`` close all brackets that are still open at the end of the input."""

    # `is_popped`: the statement is instead that `signs` are popped from the final stack.

    signs: str
    is_popped: bool


Bracketed: TypeAlias = Read | Stack | Closing | FinalAnswer


@dataclass(frozen=True, slots=True)
class Brackets:
    """A bracket problem: the given brackets, and the stack of open ones at the start and after each of them."""

    given: str
    stacks: tuple[str, ...]

    @property
    def closing(self) -> str:
        return "".join(PAIRS[sign] for sign in reversed(self.stacks[-1]))

    start: ClassVar[int] = 0
    """Before the first line, no bracket has been read."""
    lost: ClassVar[None] = None
    """A line that is too long to read does not change the state."""

    def read(self, at: int, line: str) -> tuple[int, list[Bracketed]]:
        """Return the number of brackets read so far, and the statements in *line*.

        *at* is that number before the line. A line that states an empty stack begins again, with the number 0.
        """
        if _START.match(line):
            return 0, []
        if match := _READ.match(line):
            signs = _only(match["signs"])
            after = at + len(signs)
            stack = Stack(*match.span("stack"), _only(match["stack"]), after)
            return after, [Read(*match.span("signs"), signs, at), stack]
        statements: list[Bracketed] = [
            Stack(*match.span("stack"), _only(match["stack"]), len(self.given)) for match in _LAST.finditer(line)
        ]
        statements += [
            Closing(*match.span("signs"), _only(match["signs"]), pattern is _POPPED)
            for pattern in (_POPPED, _NEEDED)
            for match in pattern.finditer(line)
            if not _FOR_ONE.match(line, match.end()) and at in (0, len(self.given))
        ]
        return at, statements

    def judge(self, said: Bracketed) -> Verdict:
        match said:
            case Read():
                return self._judge_read(said)
            case Stack():
                return self._judge_stack(said)
            case Closing(signs=signs, is_popped=is_popped):
                right = self.stacks[-1][::-1] if is_popped else self.closing
                return Pass("so the brackets are open") if signs == right else Violation(why=_differ(signs, right))
            case FinalAnswer(text=text):
                if not _PLAIN.match(text):
                    return Unknown("the answer has more than brackets in it")
                signs, right = _only(text), self.closing
                if len(signs) >= len(self.given) + len(right):
                    signs = signs.removeprefix(self.given)
                return judged(signs == right, evidence="it closes all brackets", why="that does not close all brackets")

    def _judge_read(self, said: Read) -> Verdict:
        after = said.at + len(said.signs)
        if after > len(self.given):
            return Violation(why=f"there are {len(self.given)} brackets, and all of them were read before")
        if self.given[said.at : after] == said.signs:
            return Pass(f"bracket {said.at + 1} of the input")
        if len(said.signs) == 1:
            return Violation(why=f"bracket {after} of the input is not {said.signs!r}")
        return Violation(why=f"the input does not continue so after bracket {said.at}")

    def _judge_stack(self, said: Stack) -> Verdict:
        if said.at >= len(self.stacks):
            return Unknown("there are no more brackets")
        right = self.stacks[said.at]
        if said.signs == right:
            return Pass(f"so it is after {said.at} brackets")
        if said.signs == right[::-1]:
            return Unknown("the stack may be written from its top")
        why = f"that is not the stack after {said.at} brackets"
        if said.at == len(self.given):
            return Violation(why=why)  # The stack at the end would tell the answer.
        sound = " ".join(right) if right else "empty"
        witness = f"the stack after {said.at} brackets: {sound}"
        return Violation(why=why, witness=witness, where=Span(0, said.end - said.start), repair=sound)


def _differ(said: str, right: str) -> str:
    if len(said) != len(right):
        return f"there are not {len(said)} open brackets"
    at = next(at for at in range(len(said)) if said[at] != right[at])
    return f"{said[at]!r} is wrong: bracket {at + 1} of those"


def read_brackets(prompt: str) -> Brackets | None:
    if len(prompt) > MAX_PROMPT:
        return None
    inputs = list(_INPUT.finditer(prompt))
    match = inputs[-1] if inputs else _ALONE.match(prompt)
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
