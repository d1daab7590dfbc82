"""From what was asked to the problem: PDDL in the prompt, PDDL of the options, or blocksworld in English."""

from __future__ import annotations

import re

from interwhen_verifiers._plan.blocksworld import read_statement
from interwhen_verifiers._plan.model import Domain, Problem
from interwhen_verifiers._plan.pddl import LONGEST, PddlError, read_domain, read_problem

_DEFINITION = re.compile(r"\(\s*+define\s*+\(\s*+(domain|problem)\b", re.IGNORECASE)
_BRACKET = re.compile(r"[()]|;[^\n]*+")


def problem_of(text: str, domain: Domain, *, in_words: bool) -> Problem | None:
    """Return the last problem in *text*, of the domain in it or else of *domain*; ``None`` where there is none."""
    found = {match[1].lower(): match.start() for match in _DEFINITION.finditer(text)}
    if "problem" not in found:
        return read_statement(text) if in_words and not found else None
    try:
        own = read_domain(_definition(text, found["domain"])) if "domain" in found else domain
        return read_problem(_definition(text, found["problem"]), own)
    except PddlError:
        return None


def _definition(text: str, at: int) -> str:
    """Return the text from the bracket at *at* to the one that closes it."""
    depth = 0
    for match in _BRACKET.finditer(text, at, at + LONGEST):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return text[at : match.end()]
    raise PddlError("a bracket is never closed")
