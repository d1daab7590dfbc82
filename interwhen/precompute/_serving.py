"""Chooses the items that a run uses: a stored answer to exactly this question, or else the most relevant facts."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import msgspec

from interwhen._types.extensions import Served, Task
from interwhen._types.models import Chunk, Message, Model, Prompt
from interwhen.models._replay import Recording, ReplayModel
from interwhen.precompute._items import Digest, Item
from interwhen.precompute.producers.answers import answer_of, asked

# The relevance of statements to a question: shared words weighted by rarity (BM25), and the distance of numbers.

_WORD = re.compile(r"\d+|[^\W\d_]+")
_FREQUENCY = 1.2
_LENGTH = 0.5
_EMPTY = frozenset(
    (  # noqa: SIM905
        "a an and are as at be been by can could did do does for from had has have how i if in into is it its many may "
        "me much my no not of on or our should so some than that the their them then there these they this to us was "
        "we were what when where which who whom whose why will with would you your"
    ).split()
)
"""Stop words: a statement that shares only these with a question is not relevant."""
_DIGITS = 18
"""A number with more digits is treated as a word."""
_NEAR = 0.5
"""The weight of a number that is near the one in the question, before it is reduced by the distance. An equal number
has the weight 1."""


_NEIGHBOURS = 32
"""The number of near numbers, below and above the one in the question, that are considered."""


def words(text: str) -> list[str]:
    """Return the words and whole numbers of *text*, in lower case."""
    return _WORD.findall(text.casefold())


class FactIndex:
    """Finds the statements that share words with a question.

    Okapi BM25 (Robertson and Zaragoza, 2009). A statement also scores for a number near one in the question, so that
    the state after step 35 is found for a question about step 37.
    """

    def __init__(self, statements: Sequence[str]) -> None:
        texts = [words(statement) for statement in statements]
        usual = max(sum(map(len, texts)) / max(len(texts), 1), 1.0)
        self._size = len(texts)
        self._damping = [_FREQUENCY * (1 - _LENGTH + _LENGTH * len(text) / usual) for text in texts]
        self._places: dict[str, dict[int, int]] = {}
        for at, text in enumerate(texts):
            for word, count in Counter(text).items():
                self._places.setdefault(word, {})[at] = count
        self._numbers = sorted(
            (int(word), at) for word, places in self._places.items() if _is_number(word) for at in places
        )

    def scores(self, question: str) -> dict[int, float]:
        """Return the scores of the statements for *question*, by their index. Statements without a score are left out.

        A statement has a score if it shares a word with the question, or has a number near one in the question.
        """
        found: dict[int, float] = {}
        for word in sorted(set(words(question)) - _EMPTY):
            places = self._places.get(word, {})
            rarity = math.log(1 + (self._size - len(places) + 0.5) / (len(places) + 0.5))
            counts: dict[int, float] = {**self._near(word), **places}
            for at, count in counts.items():
                gain = rarity * count * (_FREQUENCY + 1) / (count + self._damping[at])
                found[at] = found.get(at, 0.0) + gain
        return found

    def _near(self, word: str) -> dict[int, float]:
        if not _is_number(word):
            return {}
        wanted = int(word)
        middle = bisect_left(self._numbers, (wanted, -1))
        found: dict[int, float] = {}
        for number, at in self._numbers[max(middle - _NEIGHBOURS, 0) : middle + _NEIGHBOURS]:
            found[at] = max(found.get(at, 0.0), _NEAR / (1 + math.log2(1 + abs(wanted - number))))
        return found


@lru_cache(maxsize=64)
def index_of(statements: tuple[str, ...]) -> FactIndex:
    """Return the index of *statements*. It is cached, because all questions about a context use the same index."""
    return FactIndex(statements)


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _DIGITS


HEADING = "Checked against the text:"
"""The heading of injected facts."""


def everything(_item: Item) -> bool:
    """Allow every item."""
    return True


@dataclass(frozen=True, slots=True)
class ServeReady:
    """The default :class:`~interwhen.precompute.ServingPolicy`.

    A stored answer is used only for its own question, in the same words. Otherwise the most relevant facts are put
    before the question: at most *most* facts and *budget* characters.
    """

    most: int = 6
    budget: int = 600
    allows: Callable[[Item], bool] = everything
    """Tells whether an item may be used, for example by a gate."""

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        """Return the model and the prompt of the run, and the ids of the items that it uses."""
        allowed = [item for item in items if self.allows(item)]
        question = Task(prompt).question
        said = find_answer(allowed, whole_question(prompt))
        if said is not None:
            answer = _chunks(said.payload.text, answer_of(said).reasoning)
            return Served(_say(answer, model), prompt, (said.id,), answer=answer)
        chosen, used = choose_facts(facts_in(allowed), last_line(question), most=self.most, budget=self.budget)
        return Served(model, with_facts(prompt, chosen), used) if chosen else Served(model, prompt)


def _chunks(text: str, reasoning: int) -> tuple[Chunk, ...]:
    """Return the stored *text* in chunks, of which the first *reasoning* characters are reasoning.

    It counts as 0 tokens, because its tokens were spent before; the ledger has them as offline tokens.
    """
    parts = (Chunk(text[:reasoning], "reasoning", tokens=0), Chunk(text[reasoning:], tokens=0))
    return tuple(chunk for chunk in parts if chunk.text)


def _say(answer: Sequence[Chunk], model: Model) -> Model:
    """Return a model that streams the stored *answer*. If a remedy cuts it, *model* continues it."""
    return ReplayModel([Recording.untimed(answer)], forks=model, then=model, name=model.name)


def find_answer(items: Sequence[Item], question: str) -> Item | None:
    """Return the item that answers exactly *question*; ``None`` if there is none."""
    key = asked(question)
    return next((item for item in items if item.key.kind == "answers" and key in questions_of(item)), None)


def whole_question(prompt: Prompt) -> str:
    """Return the whole text of *prompt*; empty for a chat in which the assistant has already replied."""
    # Earlier turns may change the meaning of the question.
    task = Task(prompt)
    return task.text if all(turn.role in ("system", "user") for turn in task.messages) else ""


def questions_of(item: Item) -> tuple[Digest, ...]:
    """Return the digests of the questions that *item* answers (see :func:`asked`); empty if it cannot be decoded."""
    try:
        return answer_of(item).asked
    except msgspec.MsgspecError:
        return ()


def last_line(question: str) -> str:
    """Return the last line of *question* that is not blank.

    If *question* begins with a text, this line is usually the question itself.
    """
    return next((line for line in reversed(question.splitlines()) if line.strip()), "")


def facts_in(items: Sequence[Item]) -> list[tuple[str, str]]:
    """Return each fact in *items* with the id of its item. Each line of an item of kind ``facts`` is one fact."""
    return [
        (line, item.id)
        for item in items
        if item.key.kind == "facts"
        for line in item.payload.text.splitlines()
        if line.strip()
    ]


def choose_facts(
    found: Sequence[tuple[str, str]], question: str, *, most: int, budget: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the facts in *found* that are most relevant to *question*, best first, and the ids of their items.

    *found* has facts with the ids of their items. At most *most* facts with *budget* characters are chosen. Of facts
    with equal scores the latest comes first, because it may be derived from the others.
    """
    marks = index_of(tuple(said for said, _ in found)).scores(question)
    chosen: dict[str, str] = {}
    left = budget
    for at in sorted(marks, key=lambda at: (-marks[at], -at)):
        said, name = found[at]
        if len(chosen) == most:
            break
        if said not in chosen and len(said) < left:
            chosen[said] = name
            left -= len(said) + 1
    return tuple(chosen), tuple(dict.fromkeys(chosen.values()))


def with_facts(prompt: Prompt, facts: Sequence[str]) -> Prompt:
    """Return *prompt* with *facts* before the question (in a chat, before the last turn of the user)."""
    lines = "\n".join((HEADING, *facts))
    if isinstance(prompt, str):
        return f"{lines}\n\n{prompt}"
    at = max((at for at, turn in enumerate(prompt) if turn.role == "user"), default=None)
    if at is None:
        return (Message("system", lines), *prompt)
    turn = msgspec.structs.replace(prompt[at], content=f"{lines}\n\n{prompt[at].content}")
    return (*prompt[:at], turn, *prompt[at + 1 :])


class ServingPolicy(Protocol):
    """Chooses among the items that may be served. Must be pure and quick, because a reader waits for it."""

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        """Return the model and the prompt of the run, and the ids of the *items* that it uses.

        Each item in *items* is verified and current. The caller adds the costs to the returned record.
        """
        ...
