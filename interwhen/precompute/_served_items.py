"""Chooses the items that a run uses: a stored answer to exactly this question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.extensions import Served, Task
from interwhen._types.models import Chunk, Message, Model, Prompt
from interwhen.models._replay import Recording, ReplayModel
from interwhen.precompute._items import Digest, Item
from interwhen.precompute.producers.answers import answer_of, asked

PASSAGES = "From the text:"
"""The heading of injected passages."""


def everything(_item: Item) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class ServeReady:
    """The default `ServingPolicy`."""

    allows: Callable[[Item], bool] = everything
    """Tells whether an item may be used, for example by a gate."""

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        said = find_answer([item for item in items if self.allows(item)], whole_question(prompt))
        if said is None:
            return Served(model, prompt)
        answer = _chunks(said.payload.text, answer_of(said).reasoning)
        return Served(_say(answer, model), prompt, (said.id,), answer=answer)


def _chunks(text: str, reasoning: int) -> tuple[Chunk, ...]:
    parts = (Chunk(text[:reasoning], "reasoning", tokens=0), Chunk(text[reasoning:], tokens=0))
    return tuple(chunk for chunk in parts if chunk.text)


def _say(answer: Sequence[Chunk], model: Model) -> Model:
    # `model` answers forks, and continues the answer after a cut.
    return ReplayModel([Recording.untimed(answer)], forks=model, then=model, name=model.name)


def find_answer(items: Sequence[Item], question: str) -> Item | None:
    key = asked(question)
    return next((item for item in items if item.key.kind == "answers" and key in questions_of(item)), None)


def whole_question(prompt: Prompt) -> str:
    # Earlier turns may change the meaning of the question.
    task = Task(prompt)
    return task.text if all(turn.role in ("system", "user") for turn in task.messages) else ""


def questions_of(item: Item) -> tuple[Digest, ...]:
    # Return the digests of the prompts that `item` answers (see `asked`).
    try:
        return answer_of(item).asked
    except DECODE_ERRORS:
        return ()


def last_line(question: str) -> str:
    return next((line for line in reversed(question.splitlines()) if line.strip()), "")


def before_question(prompt: Prompt, lines: str) -> Prompt:
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

        Each item in *items* is current and may be served (:attr:`Item.may_be_served`). If this raises, or returns the
        id of another item, the run uses no items.
        """
        ...
