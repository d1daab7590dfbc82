"""Stores the questions that were asked about a context, ranks the due steps by them, and reads conversations."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from interwhen._types.errors import StoreError
from interwhen._types.models import Message
from interwhen.precompute._items import digest
from interwhen.precompute._producer import ContextPiece, PlannedStep, is_text
from interwhen.precompute._retrieval import PassageIndex
from interwhen.precompute._store import Store

LONGEST = 400
"""Longer questions, in characters, are not noted."""
_MOST = 500
"""The number of questions that are kept for a context."""
_RANKED = 4
"""The number of passages of a question that it ranks higher."""
_FEW = 8
"""A step that reads more pieces is about the whole context, so no question ranks it higher."""
_TURN = 4000
"""The characters of a turn that are kept."""


def questions_document(name: str) -> str:
    """Return the name of the document with the questions about the context *name*."""
    return f"questions:{name}"


def seen_questions(store: Store, name: str) -> dict[str, int]:
    """Return how often each question about the context *name* was noted; empty if none was."""
    return store.decoded(questions_document(name), dict[str, int]) or {}


def note_questions(store: Store, name: str, questions: Iterable[str], *, is_log: bool = False) -> None:
    """Add *questions* to the stored counts of questions about the context *name*. Two processes may do this at once.

    With *is_log*, *questions* is a whole log, which may be recorded again: the larger count is kept. Questions of more
    than 400 characters are left out, and the 500 most frequent are stored.
    """
    new = Counter(" ".join(each.split()) for each in questions)
    counts = {question: count for question, count in new.items() if 0 < len(question) <= LONGEST and is_text(question)}
    if not counts:
        return

    def change(old: bytes | None) -> bytes:
        found = Counter({} if old is None else msgspec.msgpack.decode(old, type=dict[str, int]))
        found = found | Counter(counts) if is_log else found + Counter(counts)
        return msgspec.msgpack.encode(dict(found.most_common(_MOST)))

    store.update(questions_document(name), change)


class QuestionLog:
    """The questions of runs, in memory until :meth:`save` writes them to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[str, list[str]] = {}
        # `save` may run in a thread while a run notes a question. The lock is not held while the store writes.
        self._lock = threading.Lock()

    def note(self, name: str, question: str) -> None:
        """Remember that *question* was asked about the context *name*, unless 500 are remembered for it."""
        with self._lock:
            noted = self._noted.setdefault(name, [])
            if len(noted) < _MOST:
                noted.append(question)

    def save(self) -> None:
        """Write the remembered questions to the store, and forget them. It may block.

        On a ``StoreError``, those that were not written are kept for the next call.
        """
        while True:
            with self._lock:
                if not self._noted:
                    return
                name, questions = self._noted.popitem()
            try:
                note_questions(self._store, name, questions)
            except StoreError:
                with self._lock:
                    self._noted[name] = [*questions, *self._noted.get(name, ())][:_MOST]
                raise


def demand(index: PassageIndex, questions: Mapping[str, int]) -> dict[str, float]:
    """Return how often *questions*, with their counts, ask about each piece, by the name of the piece.

    A question counts for the four pieces that fit it best, with less weight for a lower rank.
    """
    found: dict[str, float] = {}
    for question, count in questions.items():
        for rank, piece in enumerate(index.ranked(question)[:_RANKED]):
            found[piece.name] = found.get(piece.name, 0.0) + count / (rank + 1)
    return found


def most_wanted(steps: Sequence[PlannedStep], wanted: Mapping[str, float]) -> PlannedStep:
    """Return the step to do next: of the most urgent *steps*, the one whose pieces readers ask about most.

    *steps* must be sorted by urgency, and not be empty. *wanted* maps the name of a piece to how often readers ask
    about it (:func:`demand`). A step with more than 8 pieces counts as 0.
    """
    equal = [each for each in steps if each.step.urgency == steps[0].step.urgency]

    def asked_about(each: PlannedStep) -> float:
        reads = each.step.reads
        return sum(wanted.get(name, 0.0) for name in reads) / len(reads) if 0 < len(reads) <= _FEW else 0.0

    return max(equal, key=asked_about)


def conversation_piece(turns: Sequence[Message]) -> ContextPiece | None:
    """Return one piece with the messages of the user in *turns*; ``None`` without any.

    At most 4,000 characters of each message are kept.
    """
    said = [turn.content.strip()[:_TURN] for turn in turns if turn.role == "user" and turn.content.strip()]
    text = "\n".join(said)
    return ContextPiece(f"said-{digest(text)[:12]}", text) if said else None
