"""The clauses of a policy's text, and which rules stand for each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from interwhen.policy.rules import Rule

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_WORDS = 4
"""Shorter pieces, such as headings, are no clauses."""


@dataclass(frozen=True, slots=True)
class Covered:
    """A clause, and what stands for it."""

    clause: str
    rules: tuple[str, ...]
    examples: int
    """How many examples these rules have."""
    fired: int
    """How often these rules have refuted a call."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Each clause of a policy, in the order of its text."""

    clauses: tuple[Covered, ...]

    @property
    def without(self) -> tuple[str, ...]:
        """The clauses that no rule stands for."""
        return tuple(covered.clause for covered in self.clauses if not covered.rules)


def squeezed(text: str) -> str:
    """Return *text* with every run of white space as one space: what quotations are compared by."""
    return " ".join(text.split())


def sentences(text: str) -> list[str]:
    """Return the sentences of *text*, its white space squeezed."""
    return _SENTENCE_END.split(squeezed(text))


def clauses(text: str) -> Iterator[str]:
    """Yield the sentences of a policy, list items and paragraphs taken apart. Linear."""
    for block in _blocks(text):
        for sentence in sentences(block):
            if len(sentence.split()) >= _WORDS:
                yield sentence


def _blocks(text: str) -> Iterator[str]:
    block: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        begins = stripped.startswith(("- ", "* ", "+ ", "#")) or re.match(r"\d{1,3}[.)] ", stripped) is not None
        if (begins or not stripped) and block:
            yield "\n".join(block)
            block = []
        if stripped and not stripped.startswith("#"):
            block.append(re.sub(r"^(?:[-*+]|\d{1,3}[.)]) ", "", stripped))
    if block:
        yield "\n".join(block)


def coverage(text: str, rules: Sequence[Rule], fired: Mapping[str, int]) -> Coverage:
    """Return which of *rules* quote which clause of *text*: a part of it, or it among others."""
    quotes = [
        (rule, [part for clause in rule.clauses for part in _SENTENCE_END.split(squeezed(clause))]) for rule in rules
    ]
    found = []
    for clause in clauses(text):
        covering = [rule for rule, quoted in quotes if any(quote in clause or clause in quote for quote in quoted)]
        names = tuple(rule.id for rule in covering)
        examples = sum(len(rule.examples) for rule in covering)
        found.append(Covered(clause, names, examples, sum(fired.get(name, 0) for name in names)))
    return Coverage(tuple(found))
