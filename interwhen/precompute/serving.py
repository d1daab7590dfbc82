"""How a run uses what is ready: a stored answer to the very question, else the few facts that bear on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from interwhen.contexts import Served
from interwhen.models.base import Message, Model, Prompt
from interwhen.precompute.items import Digest, Item
from interwhen.precompute.producers.answers import answer_of, asked
from interwhen.precompute.relevance import index_of
from interwhen.precompute.saying import SayingModel
from interwhen.tasks import Task

HEADING = "Known, and checked:"
"""Stands above injected facts."""


def everything(_item: Item) -> bool:
    """Let each item be used: no gate has been asked."""
    return True


@dataclass(frozen=True, slots=True)
class ServeReady:
    """The shipped :class:`~interwhen.precompute.using.Serving`.

    A stored answer is said only to the question it was made for, in the same words. Otherwise the facts that bear on
    the question most are put before it, never more than *most* or *budget* characters.
    """

    most: int = 6
    budget: int = 600
    allows: Callable[[Item], bool] = everything
    """Whether an item may be used now: where the gate is asked."""

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        """Return what the run begins with."""
        allowed = [item for item in items if self.allows(item)]
        question = Task(prompt).question
        said = find_answer(allowed, whole_question(prompt))
        if said is not None:
            reasoning = answer_of(said).reasoning
            return Served(SayingModel(said.payload.text, model, reasoning=reasoning), prompt, (said.id,))
        chosen, used = choose_facts(facts_in(allowed), last_line(question), most=self.most, budget=self.budget)
        return Served(model, with_facts(prompt, chosen), used) if chosen else Served(model, prompt)


def find_answer(items: Sequence[Item], question: str) -> Item | None:
    """Return the item among *items* that answers *question*, which must be the very one; ``None``: there is none."""
    key = asked(question)
    return next((item for item in items if item.key.kind == "answers" and key in questions_of(item)), None)


def whole_question(prompt: Prompt) -> str:
    """Return all of *prompt*, since earlier turns may change what is asked; nothing of a chat with replies in it."""
    task = Task(prompt)
    return task.text if all(turn.role in ("system", "user") for turn in task.messages) else ""


def questions_of(item: Item) -> tuple[Digest, ...]:
    """Return the questions that *item* answers, as :func:`asked` tells them; none of an item that does not say."""
    try:
        return answer_of(item).asked
    except msgspec.MsgspecError:
        return ()


def last_line(question: str) -> str:
    """Return the last line of *question* that holds anything: what is asked, where a text comes before it."""
    return next((line for line in reversed(question.splitlines()) if line.strip()), "")


def facts_in(items: Sequence[Item]) -> list[tuple[str, str]]:
    """Return all facts in *items*, whoever produced them, each with the name of its item: a line is a fact."""
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
    """Return the facts that bear on *question* most, best first, and the names of the items they are from.

    Of equally good ones the latest comes first: it has been worked out from the others.
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
    turn = replace_content(prompt[at], f"{lines}\n\n{prompt[at].content}")
    return (*prompt[:at], turn, *prompt[at + 1 :])


def replace_content(turn: Message, content: str) -> Message:
    """Return *turn* with another *content*."""
    return Message(turn.role, content, turn.calls, turn.call_id, turn.name)
