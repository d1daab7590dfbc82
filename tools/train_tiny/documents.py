"""Make training documents of worked problems: text, and which parts of it the model learns to write.

Text of others (the problem, feedback, the question of a fork) and every mistake are read but never taught.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .charset import ASSISTANT, BEGIN, END, SYSTEM, THINK, THOUGHT, USER, encode
from .families import FAMILIES
from .tasks import Family, Mistake, Split, Step, Worked, draw

SHARES = {"totals": 0.28, "countdown": 0.14, "maze": 0.22, "ordering": 0.2, "stock": 0.16}
"""The share of each family in the training text."""

_RECALLED = 0.2
"""How many of the documents with questions that the prompt answers are only that."""

_SYSTEMS = ("You solve small puzzles.", "Think step by step.", "You are a careful assistant.", "Be brief.")
_GO_ON = (
    "Continue exactly where you stopped. Do not repeat anything.",
    "Go on.",
    "Continue.",
)
_FORKS = (
    "State so far, in braces:",
    "What is the state now? Answer in braces.",
    "State:",
    "In braces, the state after the last line:",
    "Say the current state as JSON.",
)


class Piece(NamedTuple):
    """A stretch of a document."""

    text: str
    taught: bool


class Document(NamedTuple):
    """The ids of a document, and for each whether the model learns to write it."""

    ids: list[int]
    taught: list[bool]


Sentence: TypeAlias = Callable[[Mistake], str]

SENTENCES: dict[str, Sentence] = {
    "flag": lambda _: "Wait, something above is not right. Let me check it again.",
    "locate": lambda mistake: f'Wait, "{mistake.wrong}" is not right. Let me redo that step.'.replace("…", "..."),
    "explain": lambda mistake: f"Wait, {mistake.why}.",
    "witness": lambda mistake: f"Wait, {mistake.witness}.",
}
"""The default feedback of interwhen, by level."""


def document(rng: random.Random, split: Split = "train") -> Document:
    name = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
    return tokenise(compose(rng, FAMILIES[name], split))


def tokenise(pieces: list[Piece]) -> Document:
    ids, taught = list[int](), list[bool]()
    for piece in pieces:
        new = encode(piece.text)
        ids += new
        taught += [piece.taught] * len(new)
    return Document(ids, taught)


def compose(rng: random.Random, family: Family, split: Split) -> list[Piece]:
    worked = draw(family, rng, split)
    if worked.lookups and rng.random() < _RECALLED:
        return _recalled(rng, worked)
    kind = rng.random()
    if kind < 0.5:
        return [*_opening(rng, worked), *_lines(worked, 0), *_closing(worked)]
    if kind < 0.82:
        return _corrected(rng, worked)
    if kind < 0.9:
        return _asked(rng, worked)
    return _interrupted(rng, worked)


def _opening(rng: random.Random, worked: Worked, *, chat: bool = False) -> list[Piece]:
    prompt = worked.problem.prompt
    if not chat and rng.random() < 0.12:
        # A plain completion, without a chat around it.
        return [Piece(f"{BEGIN}{prompt}\n", False), Piece(f"{THINK}\n", True)]
    system = f"{SYSTEM}{rng.choice(_SYSTEMS)}{END}" if rng.random() < 0.05 else ""
    return [Piece(f"{BEGIN}{system}{USER}{prompt}{END}{ASSISTANT}", False), Piece(f"{THINK}\n", True)]


def _lines(worked: Worked, first: int, last: int | None = None) -> list[Piece]:
    return [piece for step in worked.steps[first:last] for piece in _line(step)]


def _line(step: Step, cut: int = 0) -> list[Piece]:
    text, given = f"{step.text}\n", max(cut, step.given)
    return [Piece(text[cut:given], False), Piece(text[given:], True)] if given > cut else [Piece(text[cut:], True)]


def _closing(worked: Worked) -> list[Piece]:
    return [Piece(f"{THOUGHT}\n{worked.answer}{END}", True)]


def _fault(rng: random.Random, worked: Worked) -> tuple[int, Callable[[random.Random], Mistake]]:
    places = [(at, step.blunder) for at, step in enumerate(worked.steps) if step.blunder is not None]
    if worked.blunder is not None and (not places or rng.random() < 0.15):
        return len(worked.steps), worked.blunder
    at, blunder = rng.choice(places)
    assert blunder is not None
    return at, blunder


def _corrected(rng: random.Random, worked: Worked) -> list[Piece]:
    at, blunder = _fault(rng, worked)
    in_answer = at == len(worked.steps)
    by_turn = rng.random() < 0.25
    pieces = [*_opening(rng, worked, chat=by_turn), *_lines(worked, 0, at)]
    if in_answer:
        pieces.append(Piece(f"{THOUGHT}\n", True))
    for again in range(2 if rng.random() < 0.2 else 1):
        mistake = blunder(rng)
        sentence = SENTENCES[rng.choice(tuple(SENTENCES))](
            mistake
            if rng.random() < 0.6
            else mistake.__class__(mistake.text, mistake.text, mistake.why, mistake.witness)
        )
        if rng.random() < 0.5 or (again and by_turn):
            pieces.append(Piece(mistake.text + ("" if by_turn and rng.random() < 0.5 else "\n"), False))
        pieces.append(Piece(f"{END}{USER}{sentence}{END}{ASSISTANT}" if by_turn else f"{sentence}\n", False))
    pieces += [*_lines(worked, at), *_closing(worked)] if not in_answer else [Piece(f"{worked.answer}{END}", True)]
    return pieces


def _asked(rng: random.Random, worked: Worked) -> list[Piece]:
    at = rng.randint(1, len(worked.steps))
    by_turn = rng.random() < 0.3
    question = rng.choice(_FORKS)
    lines = _lines(worked, 0, at)
    if rng.random() < 0.5:
        lines[-1] = lines[-1]._replace(text=lines[-1].text.rstrip("\n"))
    joint = rng.choice(("\n", "\n\n", ""))
    asked = (
        f"{END}{USER}{question}{END}{ASSISTANT}" if by_turn else f"{joint}{question}{rng.choice((' ', chr(10), ''))}"
    )
    state = json.dumps(worked.steps[at - 1].state)
    if not by_turn and rng.random() < 0.3:
        # Some forks open the brace themselves.
        return [
            *_opening(rng, worked, chat=by_turn),
            *lines,
            Piece(asked + "{", False),
            Piece(f"{state[1:]}{END}", True),
        ]
    return [*_opening(rng, worked, chat=by_turn), *lines, Piece(asked, False), Piece(f"{state}{END}", True)]


def _recalled(rng: random.Random, worked: Worked) -> list[Piece]:
    asked = rng.sample(worked.lookups, rng.randint(1, len(worked.lookups)))
    pieces = [Piece(f"{BEGIN}{USER}{worked.problem.prompt}\n{asked[0].question}", False)]
    for at, lookup in enumerate(asked):
        question = f"{USER}{lookup.question}" if at else ""
        pieces += [Piece(f"{question}{END}{ASSISTANT}", False), Piece(f"{lookup.answer}{END}", True)]
    return pieces


def _interrupted(rng: random.Random, worked: Worked) -> list[Piece]:
    at = rng.randrange(len(worked.steps))
    line = worked.steps[at].text
    cut = rng.randrange(len(line) + 1) if rng.random() < 0.7 else 0
    return [
        *_opening(rng, worked, chat=True),
        *_lines(worked, 0, at),
        Piece(line[:cut], False),
        Piece(f"{END}{USER}{rng.choice(_GO_ON)}{END}{ASSISTANT}", False),
        *_line(worked.steps[at], cut),
        *_lines(worked, at + 1),
        *_closing(worked),
    ]
