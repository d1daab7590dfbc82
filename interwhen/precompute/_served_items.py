"""Chooses the items that a run uses: a stored answer to this question, or else the most relevant facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.extensions import Served, Task
from interwhen._types.models import Chunk, Message, Model, Prompt
from interwhen._types.vetting import Count, vet
from interwhen.models._replay import Recording, ReplayModel
from interwhen.precompute._items import Basis, Digest, Item
from interwhen.precompute._retrieval import index_of
from interwhen.precompute._same_question import form_of, stored_form
from interwhen.precompute.producers.answers import answer_of, asked

HEADING = "Checked against the text:"
"""The heading of injected facts that were checked."""
AGREED_HEADING = "Derived twice, not checked:"
"""The heading of injected facts whose derivations only agreed."""
PASSAGES = "From the text:"
"""The heading of injected passages."""


def everything(_item: Item) -> bool:
    """Return true for every item: the default of :attr:`ServeReady.allows`."""
    return True


@dataclass(frozen=True, slots=True)
class ServeReady:
    """The default :class:`~interwhen.precompute.ServingPolicy`: it uses a stored answer, or else relevant facts.

    An answer that fits the question and that a check judged is the reply. Facts are put before the question, and so is
    an answer that was only derived several times with the same result. At most *most* facts with at most *budget*
    characters are used.
    """

    most: Count = 6
    budget: Count = 600
    allows: Callable[[Item], bool] = everything
    """Tells whether an item may be used, for example by a gate."""
    paraphrases: bool = True
    """Whether a stored answer may serve its question in other words, if fixed rules show that it is the same."""

    def __post_init__(self) -> None:
        vet(self)

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        """Return the model and the prompt of the run, and the ids of the items that it uses.

        With a judged answer, the model replays this answer. If no item fits the question, model and prompt are
        unchanged.
        """
        allowed = [item for item in items if self.allows(item)]
        question = Task(prompt).question
        whole = whole_question(prompt)
        said = find_answer(allowed, whole)
        if said is None and self.paraphrases:
            said = find_same(allowed, whole)
        if said is not None and is_agreed(said):
            # Nothing has checked it, so the model decides what it does with it.
            return Served(model, with_facts(prompt, (), (said.payload.text,)), (said.id,))
        if said is not None:
            answer = _chunks(said.payload.text, answer_of(said).reasoning)
            return Served(_say(answer, model), prompt, (said.id,), answer=answer)
        line = last_line(question)
        chosen, used = choose_facts(facts_in(allowed), line, most=self.most, budget=self.budget)
        # What is only agreed fills the room that checked facts leave.
        left, room = self.most - len(chosen), self.budget - sum(len(fact) + 1 for fact in chosen)
        agreed, weak = choose_facts(facts_in(allowed, "agreed"), line, most=left, budget=room)
        if not chosen and not agreed:
            return Served(model, prompt)
        return Served(model, with_facts(prompt, chosen, agreed), tuple(dict.fromkeys((*used, *weak))))


def is_agreed(item: Item) -> bool:
    """Return whether *item* was accepted because several derivations gave the same result, and not by a check."""
    return item.proof is not None and item.proof.basis == "agreed"


def _chunks(text: str, reasoning: int) -> tuple[Chunk, ...]:
    """Return the stored *text* as chunks of 0 tokens, of which the first *reasoning* characters are reasoning."""
    parts = (Chunk(text[:reasoning], "reasoning", tokens=0), Chunk(text[reasoning:], tokens=0))
    return tuple(chunk for chunk in parts if chunk.text)


def _say(answer: Sequence[Chunk], model: Model) -> Model:
    """Return a model that streams the stored *answer*. *model* answers forks, and continues the answer after a cut."""
    return ReplayModel([Recording.untimed(answer)], forks=model, then=model, name=model.name)


def find_answer(items: Sequence[Item], question: str) -> Item | None:
    """Return an item that answers *question* in the same words (:func:`asked`); ``None`` if there is none."""
    key = asked(question)
    return next((item for item in items if item.key.kind == "answers" and key in questions_of(item)), None)


def find_same(items: Sequence[Item], prompt: str) -> Item | None:
    """Return an item that answers a known paraphrase of the last line of *prompt*; ``None`` if there is none.

    The text before that line must be empty, or the text for which the question was answered.
    """
    line = last_line(prompt)
    form = form_of(line)
    if form is None:
        return None
    before = prompt[: prompt.rindex(line)]
    for item in items:
        if item.key.kind == "answers" and questions_of(item):
            question = answer_of(item).question
            if stored_form(question) == form and asked(f"{before}{question}") in questions_of(item):
                return item
    return None


def whole_question(prompt: Prompt) -> str:
    """Return the whole text of *prompt*; empty for a chat with a turn that is not of the system or the user."""
    # Earlier turns may change the meaning of the question.
    task = Task(prompt)
    return task.text if all(turn.role in ("system", "user") for turn in task.messages) else ""


def questions_of(item: Item) -> tuple[Digest, ...]:
    """Return the digests of the prompts that *item* answers (see :func:`asked`); empty if they cannot be decoded."""
    try:
        return answer_of(item).asked
    except DECODE_ERRORS:
        return ()


def last_line(question: str) -> str:
    """Return the last line of *question* that is not blank; empty if there is none."""
    return next((line for line in reversed(question.splitlines()) if line.strip()), "")


def facts_in(items: Sequence[Item], basis: Basis = "judged") -> list[tuple[str, str]]:
    """Return each fact (a line that is not blank) of *items* on the basis *basis*, with the id of its item."""
    return [
        (line, item.id)
        for item in items
        if item.key.kind == "facts" and item.proof is not None and item.proof.basis == basis
        for line in item.payload.text.splitlines()
        if line.strip()
    ]


def choose_facts(
    found: Sequence[tuple[str, str]], question: str, *, most: int, budget: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the facts in *found* that are most relevant to *question*, best first, and the ids of their items.

    *found* has facts with the ids of their items. At most *most* facts with *budget* characters are chosen. Facts
    without a score (:meth:`FactIndex.scores`) are left out.
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


def with_facts(prompt: Prompt, facts: Sequence[str], agreed: Sequence[str] = ()) -> Prompt:
    """Return *prompt* with *facts* inserted before the question (:func:`before_question`).

    *agreed* are facts that no monitor checked. Each group has its own heading.
    """
    groups = ((HEADING, facts), (AGREED_HEADING, agreed))
    return before_question(prompt, "\n\n".join("\n".join((heading, *group)) for heading, group in groups if group))


def before_question(prompt: Prompt, lines: str) -> Prompt:
    """Return *prompt* with the text *lines* before the question.

    In a chat, *lines* are the beginning of the last user message, or a first system message if there is no user
    message.
    """
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
        """Return the model and the prompt of the run, changed to use some *items*, and the ids of these items.

        Each item in *items* is current and may be served (:attr:`Item.may_be_served`); those on the basis ``agreed``
        were not checked. If this raises, or returns the id of another item, the run uses no items.
        """
        ...
