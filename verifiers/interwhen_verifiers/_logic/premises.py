"""Premises: what a prompt gives, what a line concludes, and whether that follows."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers._logic.answers import Final, read_final
from interwhen_verifiers._logic.classes import Classes, Statement, make_classes, read_statement
from interwhen_verifiers._logic.formulas import Formula, Sentences, make_sentences, read_formula
from interwhen_verifiers._logic.wording import MAX_LINE, MAX_PROMPT, is_doubtful, sentences, supposes

_GIVEN = re.compile(
    r"\b(?:premises?|facts|given|rules|statements|(?:is|are)(?: all)? true|known)\b[^:\n.?]{0,60}:", re.IGNORECASE
)
_ASKED = re.compile(
    r"\b(?:does it (?:logically )?follow|what can (?:we|be)|can (?:we|it be) conclude|is it true|which of|question\s?:"
    r"|conclusion\s?:|hypothesis\s?:|options?\s?:|prove\b|determine\b|decide\b)[^?\n]{0,60}",
    re.IGNORECASE,
)
_QUERY = re.compile(
    r"\b(?P<kind>does it (?:logically )?follow(?: that)?|is it true that|can (?:we|it be) conclude(?:d)?"
    r"(?: that)?)\s?:?\s{1,3}(?P<query>[^?\n]{2,200})\?",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\bwhat can (?:we|be) conclude", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:^|\n)[ .]{0,3}(?:[\-*\u2022]|\(?\d{1,2}[.):])[ ]{1,3}")
_BULLET = re.compile(r"[\s*\-]{0,4}(?:\d{1,2}[.)]\s)?")
_CONNECTIVE = re.compile(
    r"(?:and|so|therefore|thus|hence|consequently|then|now|because|since|this means that|this means|it follows that"
    r"|we (?:can |may |must )?(?:conclude|know|infer|deduce) that|we (?:can |may |must )?(?:conclude|know|have)"
    r"|from this),?\s",
    re.IGNORECASE,
)
_MOST_CONNECTIVES = 4
_PARTS = re.compile(r",\s(?=(?:so|therefore|thus|hence)\s)|;\s", re.IGNORECASE)
_MOST = 40
_YES = re.compile(
    r"\W{0,3}(?P<word>yes|true|no|false|unknown|uncertain|undetermined|cannot be determined)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Premises:
    """What is given, and what is asked."""

    world: Sentences | Classes
    query: Formula | Statement | None = None
    asked: Literal["", "follows", "true", "conclude"] = ""
    """Whether the query follows, whether it is true, or what can be concluded; empty: it was not understood."""


class Concluded(NamedTuple):
    """This is said to hold."""

    what: Formula | Statement
    start: int
    end: int


Status: TypeAlias = Literal["follows", "contradicts", "open"]


def read_premises(prompt: str) -> Premises | None:
    """Return the premises of *prompt*; ``None``: there are none, or they contradict each other."""
    markers = list(_GIVEN.finditer(prompt)) if len(prompt) <= MAX_PROMPT else []
    if not markers:
        return None
    rest = prompt[markers[-1].end() :]
    end = _ASKED.search(rest)
    told = _NUMBERED.sub("\n", rest[: end.start()] if end else rest)
    parts = [told[low:high] for low, high in _told(told)]
    world = _world([part for part in parts if part.strip(" .")])
    if world is None:
        return None
    if _CONCLUDES.search(rest):
        return Premises(world, asked="conclude")
    query = _QUERY.search(rest)
    if query is None:
        return Premises(world)
    what = _read(world, query["query"])
    return Premises(world, what, "true" if "true" in query["kind"].lower() else "follows") if what else Premises(world)


def _told(told: str) -> list[tuple[int, int]]:
    """Return the sentences of the premises: an end, a line, or the next number ends one."""
    cuts = [0, *(found.end() for found in re.finditer(r"\.(?=\s|$)|\n|;", told)), len(told)]
    return [(low, high) for low, high in itertools.pairwise(cuts) if told[low:high].strip(" .\n")]


def _world(parts: list[str]) -> Sentences | Classes | None:
    if not 0 < len(parts) <= _MOST:
        return None
    statements = [read_statement(part) for part in parts]
    if all(statements):
        return make_classes(tuple(each for each in statements if each))
    formulas = [None if "?" in part else read_formula(part) for part in parts]
    known = tuple(each for each in formulas if each)
    # Sentences that nothing connects need no logic.
    return make_sentences(known) if len(known) == len(parts) and any(each.parts for each in known) else None


def _read(world: Sentences | Classes, text: str) -> Formula | Statement | None:
    match world:
        case Classes():
            statement = read_statement(text)
            return statement if statement and world.knows(statement) else None
        case Sentences():
            formula = read_formula(text)
            return formula if formula and formula.atoms <= set(world.atoms) else None


def read_conclusions(problem: Premises, is_supposed: bool, line: str) -> tuple[bool, tuple[Concluded | Final, ...]]:  # noqa: FBT001 (a state)
    """Return whether something is supposed behind *line*, and what it concludes. Linear in its length."""
    if len(line) > MAX_LINE:
        return True, ()
    found: list[Concluded | Final] = []
    final = read_final(line)
    cut = final.start if final else len(line)
    for start, end in sentences(line[:cut]):
        if is_supposed:
            break
        some = _concluded(problem, line, start, end)
        found += some
        is_supposed = not some and supposes(line[start:end], is_about=True)
    return is_supposed, (*found, final) if final else tuple(found)


def _concluded(problem: Premises, line: str, start: int, end: int) -> list[Concluded]:
    found: list[Concluded] = []
    cuts = [start, *(match.end() for match in _PARTS.finditer(line, start, end)), end]
    for low, high in itertools.pairwise(cuts):
        text = line[low:high].rstrip(" .,;!*")
        skip = _beginning(text)
        what = _read(problem.world, text[skip:]) if not text.endswith("?") else None
        if what is None:
            # "If" and "not" are words of formulas, and so only doubt in what is none.
            if is_doubtful(text):
                return []
            continue
        found.append(Concluded(what, low + skip, low + len(text)))
    return found


def _beginning(text: str) -> int:
    """Return where what is concluded begins, behind "So" and the like."""
    bullet = _BULLET.match(text)
    at = bullet.end() if bullet else 0
    for _ in range(_MOST_CONNECTIVES):
        if (found := _CONNECTIVE.match(text, at)) is None:
            break
        at = found.end()
    return at


def _status(world: Sentences | Classes, what: Formula | Statement, *, are_peopled: bool = False) -> Status:
    match world, what:
        case Sentences(), Formula():
            return world.status(what)
        case Classes(), Statement():
            return world.status(what, are_peopled=are_peopled)
        case _:
            return "open"


def judge_concluded(problem: Premises, said: Concluded) -> Verdict:
    """Judge a conclusion: wrong if its contrary follows, and unknown if neither does."""
    match _status(problem.world, said.what):
        case "follows":
            return Pass("it follows from the premises")
        case "contradicts":
            return Violation(why="that contradicts the premises: the contrary follows from them")
        case "open":
            return Unknown("the premises leave it open")


def judge_reply(problem: Premises, said: Final) -> Verdict:
    """Judge the answer to the question."""
    if problem.asked == "conclude":
        what = _read(problem.world, said.text)
        if what is None:
            return Unknown("the answer was not understood")
        follows = _status(problem.world, what) == "follows"
        return Pass("it follows") if follows else Violation(why="that does not follow from the premises")
    word = _YES.match(said.text)
    if problem.query is None or word is None:
        return Unknown("the question or the answer was not understood")
    # Whether a class that is spoken of has somebody in it is left open: both traditions must agree.
    found = {_status(problem.world, problem.query, are_peopled=peopled) for peopled in (False, True)}
    return _replied(problem, word["word"].lower(), found)


def _replied(problem: Premises, word: str, found: set[Status]) -> Verdict:
    kinds = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
    rights: dict[Status, str] = {
        "follows": "yes",
        "contradicts": "no",
        "open": "no" if problem.asked == "follows" else "unknown",
    }
    said, right = kinds.get(word, "unknown"), {rights[status] for status in found}
    if problem.asked == "follows" and said == "unknown" and "open" in found:
        return Unknown("the question asks for yes or no")
    if said in right:
        return Pass("so the premises say") if len(right) == 1 else Unknown("traditions differ on it")
    return Violation(why="the premises do not say so")
