"""Stores the questions that were asked about a context."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

import msgspec

from interwhen._types.errors import StoreError
from interwhen.precompute._producer import is_text
from interwhen.precompute._store import Store

LONGEST_QUESTION = 400
"""Longer questions, in characters, are neither noted nor anticipated."""
_MOST = 500
"""The number of questions that are kept for a context."""


def questions_document(name: str) -> str:
    return f"questions:{name}"


def seen_questions(store: Store, name: str) -> dict[str, int]:
    return store.decoded(questions_document(name), dict[str, int]) or {}


def note_questions(store: Store, name: str, questions: Iterable[str], *, is_log: bool = False) -> None:
    # Two processes may do this at once. With `is_log`, `questions` is a whole log, which may be recorded again, so the
    # larger count is kept.
    new = Counter(" ".join(each.split()) for each in questions)
    counts = {
        question: count
        for question, count in new.items()
        if 0 < len(question) <= LONGEST_QUESTION and is_text(question)
    }
    if not counts:
        return

    def change(old: bytes | None) -> bytes:
        totals = Counter({} if old is None else msgspec.msgpack.decode(old, type=dict[str, int]))
        totals = totals | Counter(counts) if is_log else totals + Counter(counts)
        return msgspec.msgpack.encode(dict(totals.most_common(_MOST)))

    store.update(questions_document(name), change)


class QuestionLog:
    """The questions of runs, in memory until :meth:`save` writes them to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[str, list[str]] = {}
        # `save` may run in a thread while a run notes a question. The lock is not held while the store writes.
        self._lock = threading.Lock()

    def note(self, name: str, question: str) -> None:
        with self._lock:
            noted = self._noted.setdefault(name, [])
            if len(noted) < _MOST:
                noted.append(question)

    def save(self) -> None:
        # It may block.
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
