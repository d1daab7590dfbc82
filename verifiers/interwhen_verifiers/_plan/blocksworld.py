"""The built-in domain: blocks on a table and one hand, told in PDDL or in English."""

from __future__ import annotations

import re
from typing import Final

from interwhen_verifiers._plan.model import ANYTHING, Atom, Literals, Problem
from interwhen_verifiers._plan.pddl import read_domain

BLOCKSWORLD: Final = read_domain("""
(define (domain blocksworld)
  (:requirements :strips)
  (:predicates (clear ?x) (ontable ?x) (handempty) (holding ?x) (on ?x ?y))
  (:action pick-up :parameters (?x)
    :precondition (and (clear ?x) (ontable ?x) (handempty))
    :effect (and (holding ?x) (not (clear ?x)) (not (ontable ?x)) (not (handempty))))
  (:action put-down :parameters (?x)
    :precondition (holding ?x)
    :effect (and (clear ?x) (handempty) (ontable ?x) (not (holding ?x))))
  (:action stack :parameters (?x ?y)
    :precondition (and (clear ?y) (holding ?x))
    :effect (and (handempty) (clear ?x) (on ?x ?y) (not (clear ?y)) (not (holding ?x))))
  (:action unstack :parameters (?x ?y)
    :precondition (and (on ?x ?y) (clear ?x) (handempty))
    :effect (and (holding ?x) (clear ?y) (not (on ?x ?y)) (not (clear ?x)) (not (handempty)))))
""")

_COLOURS = ["red", "blue", "orange", "yellow", "white", "magenta", "black", "cyan", "green", "violet", "silver", "gold"]
"""What the letters a, b, c, ... stand for where a problem is told in colours and the plan in letters."""
_INITIAL = "as initial conditions i have that"
_GOAL = "my goal is to have that"
LONGEST = 20_000
_ROW = re.compile(r", and |,| and ")
_FACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"the (\w{1,40}) block is clear"), "clear"),
    (re.compile(r"the (\w{1,40}) block is on the table"), "ontable"),
    (re.compile(r"the (\w{1,40}) block is on top of the (\w{1,40}) block"), "on"),
    (re.compile(r"the hand is empty"), "handempty"),
    (re.compile(r"the hand is (?:currently )?holding (?:the )?(\w{1,40}) block"), "holding"),
)
_BLOCK = r"(?:the )?(?:block )?(\w{1,40}+)(?: block)?"
_TELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"pick up {_BLOCK}(?: from the table)?"), "pick-up"),
    (re.compile(rf"put down {_BLOCK}(?: on(?:to)? (?:the )?table)?"), "put-down"),
    (re.compile(rf"put {_BLOCK} down(?: on(?:to)? (?:the )?table)?"), "put-down"),
    (re.compile(rf"unstack {_BLOCK} from (?:on )?(?:top of )?{_BLOCK}"), "unstack"),
    (re.compile(rf"stack {_BLOCK} (?:on|onto)(?: top of)? {_BLOCK}"), "stack"),
)


def read_statement(text: str) -> Problem | None:
    """Read the last problem told in *text*; ``None`` where there is none or a word of it is not understood."""
    low = text.lower()
    at = low.rfind(_INITIAL)
    goal_at = low.find(_GOAL, at)
    if at < 0 or goal_at < 0 or goal_at - at > LONGEST:
        return None
    initial = low[at + len(_INITIAL) : goal_at]
    goal = low[goal_at + len(_GOAL) : goal_at + LONGEST].split("\n", 1)[0].split(".", 1)[0]
    start, wanted = _facts(initial), _facts(goal)
    if not start or not wanted:
        return None
    blocks = {block: ANYTHING for atom in (*start, *wanted) for block in atom[1:]}
    letters = {chr(ord("a") + at): colour for at, colour in enumerate(_COLOURS)}
    aliases = letters if blocks.keys() <= set(_COLOURS) else {}
    return Problem(BLOCKSWORLD, blocks, frozenset(start), Literals(wanted), aliases, in_words=True)


def _facts(text: str) -> tuple[Atom, ...]:
    found = []
    for each in _ROW.split(" ".join(text.split()).strip(" .,")):
        atom = _fact(each.strip())
        if atom is None:
            return ()
        found.append(atom)
    return tuple(found)


def _fact(text: str) -> Atom | None:
    for pattern, predicate in _FACTS:
        match = pattern.fullmatch(text)
        if match:
            return (predicate, *match.groups())
    return None


def read_telling(text: str) -> Atom | None:
    """Read an action told in English, such as ``stack the red block on top of the blue block``, in small letters."""
    for pattern, name in _TELLINGS:
        match = pattern.fullmatch(text)
        if match:
            return (name, *match.groups())
    return None
