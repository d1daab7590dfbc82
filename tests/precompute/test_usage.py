"""From use: questions are noted where this was chosen, and the most frequent ones are answered ahead of time."""

import threading

import pytest
from interwhen.precompute import MemoryShelf, Precomputer, Store, StoreError
from interwhen.precompute._usage import QuestionLog, note_questions, seen_questions
from interwhen.precompute.producers.answers import answers
from interwhen.testing import ScriptedModel
from tests.precompute.toys import Sums, numbers, per_piece, precomputer

pytestmark = pytest.mark.anyio
TEXT = {
    f"chapter {at}": f"The {animal} weighs {at} kg." for at, animal in enumerate(("ant", "bee", "cat", "dog", "emu"))
}


async def test_run_and_file_questions_are_counted_together():
    store = Store(MemoryShelf())
    pre = Precomputer(store, ScriptedModel(["Yes."]), [], producers=[answers()], debounce=0.0, notes_questions=True)
    ref = await pre.add("animals", TEXT)
    for question in ("How heavy is the dog?", "Is the dog heavy?", "Is the dog heavy?"):
        async with pre.run(f"Be brief.\n{question}", context=ref) as run:
            await run.drain()
    note_questions(store, "animals", ["And the bee?", "Is the dog heavy?"])
    await pre.work()
    assert seen_questions(store, "animals") == {"How heavy is the dog?": 1, "Is the dog heavy?": 3, "And the bee?": 1}


async def test_question_with_invalid_text_does_not_stop_work():
    model = ScriptedModel(["Yes."])
    pre = Precomputer(Store(), model, [], producers=[answers(questions=["Who?"])], debounce=0.0, notes_questions=True)
    ref = await pre.add("animals", TEXT)
    for question in ("Is the \ud800 heavy?", "Is the emu heavy?"):
        async with pre.run(f"Be brief.\n{question}", context=ref) as run:
            await run.drain()
    assert len(await pre.work()) == 1
    assert seen_questions(pre.store, "animals") == {"Is the emu heavy?": 1}


async def test_without_questions_plan_order_is_used():
    pre = precomputer(producer=Sums(per_piece))
    await pre.add("book", numbers(5))
    assert [done.step for done in await pre.work()] == [f"sums::sum/p{at}" for at in range(5)]


async def test_questions_are_kept_only_where_this_was_chosen():
    store = Store(MemoryShelf())
    pre = Precomputer(store, ScriptedModel(["Yes."]), [], producers=[answers()], debounce=0.0)
    ref = await pre.add("animals", TEXT)
    async with pre.run("How heavy is the dog?", context=ref) as run:
        await run.drain()
    await pre.work()
    assert seen_questions(store, "animals") == {}


def test_question_counts_add_up_across_processes():
    store = Store(MemoryShelf())
    one, other = QuestionLog(store), QuestionLog(store)
    for log in (one, other):
        log.note("book", "Why?  ")
        log.note("book", "x" * 401)
        log.save()
        log.save()
    for _ in range(2):
        note_questions(store, "book", ["Why?", "How?", "How?"], is_log=True)
    assert seen_questions(store, "book") == {"Why?": 2, "How?": 2}
    note_questions(store, "book", [f"Question {at}?" for at in range(600)])
    assert len(seen_questions(store, "book")) == 500
    assert seen_questions(store, "book")["Why?"] == 2


def test_questions_survive_a_store_that_fails():
    class Failing(Store):
        fails = True

        def update(self, name, change):
            if self.fails:
                raise StoreError("memory", "the disk is full")
            return super().update(name, change)

    store = Failing(MemoryShelf())
    log = QuestionLog(store)
    for name in ("book", "film"):
        log.note(name, "Why?")
    with pytest.raises(StoreError):
        log.save()
    store.fails = False
    log.save()
    log.save()
    assert seen_questions(store, "book") == seen_questions(store, "film") == {"Why?": 1}


async def test_store_closes_despite_unwritable_questions():
    class Failing(Store):
        is_closed = False

        def update(self, name, change):
            raise StoreError("memory", "the disk is full")

        def close(self):
            self.is_closed = True

    store = Failing(MemoryShelf())
    pre = Precomputer(store, ScriptedModel([""]), [], producers=[], notes_questions=True)
    pre.questions.note("book", "Why?")
    with pytest.raises(StoreError):
        await pre.aclose()
    assert store.is_closed


async def test_most_frequent_questions_are_answered_ahead():
    store = Store(MemoryShelf())
    note_questions(store, "animals", ["rare?", "often?", "often?", "given?", "given?", "given?"])
    pre = Precomputer(store, ScriptedModel([""]), [], producers=[answers(questions=["given?"], seen=1)], debounce=0.0)
    await pre.add("animals", TEXT)
    planned = [each.step.params for each in pre.contexts["animals"].plan]
    assert len(planned) == 2
    assert b"given?" in planned[0]
    assert b"often?" in planned[1]


def test_question_logged_during_save_is_not_lost():
    store = Store(MemoryShelf())
    log = QuestionLog(store)
    log.note("animals", "And the dog?")
    saved = threading.Event()

    def save():
        log.save()
        saved.set()

    class Interrupted(dict[str, list[str]]):
        def setdefault(self, name, default=None):
            entry = super().setdefault(name, default)
            threading.Thread(target=save).start()
            saved.wait(0.3)
            return entry

    log._noted = Interrupted(log._noted)  # the only way to stop a thread in the middle of `note`
    log.note("animals", "And the bee?")
    assert saved.wait(30)
    log.save()
    assert seen_questions(store, "animals") == {"And the bee?": 1, "And the dog?": 1}
