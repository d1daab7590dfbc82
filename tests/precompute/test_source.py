"""Contexts that are kept open for calls: quick look-ups, and a store that fails costs the context and no call."""

import shutil
import sqlite3
import time
from pathlib import Path

import anyio
import pytest
from interwhen import Message, UsageError
from interwhen._types.errors import UnknownContext
from interwhen.precompute import _source
from interwhen.precompute._access import open_place
from interwhen.precompute._contexts import evict
from interwhen.precompute._source import StoredContexts
from tests.precompute.prepared import ANSWER, QUESTION, TEXT, named, prepare

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]
OTHER = "What does Jo earn in dollars by 4 days?"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "s.db"
    anyio.run(prepare, place)
    return place


@pytest.fixture
def source(prepared, tmp_path):
    shutil.copy(prepared, tmp_path)
    contexts = StoredContexts(str(tmp_path / "s.db"))
    yield contexts
    contexts.close()


def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_a_context_serves_its_answer_and_says_so(source):
    model = named("m")
    context = source.open("wages")
    assert source.find("wages") is context
    served = context.serve(model, QUESTION)
    assert "".join(chunk.text for chunk in served.answer) == ANSWER
    assert (served.use.name, served.use.used, served.use.why) == ("wages", "answer", "")
    served = context.serve(model, OTHER)
    assert (served.model, served.prompt) == (model, OTHER)
    assert (served.use.used, served.use.why) == ("none", "nothing fits the question")


async def test_run_of_another_model_gets_nothing_with_reason(source):
    served = source.open("wages").serve(named("other"), QUESTION)
    assert (served.items, served.use.used) == ((), "unavailable")
    assert served.use.why == "it was prepared for the model 'm'"


async def test_unknown_context_is_an_error(source, tmp_path):
    with pytest.raises(UnknownContext, match="context 'sages' must be in the store"):
        source.open("sages")
    with pytest.raises(UsageError, match=r"must exist, got no file '.*no\.db'"):
        StoredContexts(str(tmp_path / "no.db")).open("wages")
    assert not (tmp_path / "no.db").exists()


async def test_a_lookup_takes_less_than_a_millisecond(source):
    context, model = source.open("wages"), named("m")
    took = []
    for _ in range(50):
        began = time.thread_time()
        context.serve(model, OTHER)
        took.append(time.thread_time() - began)
    assert sorted(took)[25] < 0.001


async def test_locked_store_does_not_delay_serving(source, tmp_path, log):
    context, model = source.open("wages"), named("m")
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Without readers, the log is folded in; then no other connection can read.
    source.opened_store().shelf._connection.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        began = time.perf_counter()
        served = context.serve(model, QUESTION)
        assert time.perf_counter() - began < 4  # SQLite would wait for five seconds
        assert (served.items, served.use.used) == ((), "unavailable")
        assert "another process keeps it locked" in served.use.why
        assert str(tmp_path) not in served.use.why
    finally:
        other.close()
    assert context.serve(model, QUESTION).use.used == "answer"


async def test_items_are_evicted_only_for_existing_context(source, tmp_path):
    store = open_place(str(tmp_path / "s.db"))
    try:
        ids = tuple(item.id for item in store.items())
        with pytest.raises(UnknownContext):
            evict(store, "other", ids)
        assert tuple(item.id for item in store.items()) == ids != ()
        evict(store, "wages", ids)
        assert tuple(store.items()) == ()
    finally:
        store.close()


async def test_later_items_are_served_after_refresh(source, tmp_path, monkeypatch):
    context, model = source.open("wages"), named("m")
    with_store = open_place(str(tmp_path / "s.db"))
    evict(with_store, "wages", tuple(item.id for item in with_store.items()))
    with_store.close()
    assert context.serve(model, QUESTION).use.used == "unavailable"
    monkeypatch.setattr(_source, "_RETRY_SECONDS", 0.0)
    until(lambda: context.serve(model, QUESTION).use.why == "nothing is prepared")
    await prepare(tmp_path / "s.db")
    monkeypatch.setattr(_source, "REREAD_SECONDS", 0.0)
    until(lambda: context.serve(model, QUESTION).use.used == "answer")


async def test_unreadable_store_is_reported_and_retried(source, tmp_path, monkeypatch):
    place = Path(tmp_path / "s.db")
    place.rename(tmp_path / "away.db")
    place.write_bytes(b"GIF89a" * 100)
    fresh = StoredContexts(str(place))
    try:
        context, model = fresh.open("wages"), named("m")
        use = context.serve(model, QUESTION).use
        assert use.used == "unavailable"
        assert "a file of another program" in use.why
        place.unlink()
        (tmp_path / "away.db").rename(place)
        monkeypatch.setattr(_source, "_RETRY_SECONDS", 0.0)
        until(lambda: context.serve(model, QUESTION).use.used == "answer")
    finally:
        fresh.close()


async def test_context_is_recognized_by_its_text(tmp_path):
    long = "\n\n".join(f"The {word} shelf has {at + 2} books." for at, word in enumerate(["red", "blue", "green"]))
    await prepare(tmp_path / "s.db", "wages", text=f"{TEXT}\n\n{long}")
    source = StoredContexts(str(tmp_path / "s.db"))
    try:
        source.load(["w*"])
        text = f"{TEXT}\n\n{long}"

        def recognized(*turns, names=("w*",), least=80):
            return source.recognize(tuple(Message(*turn) for turn in turns), names, least=least)

        assert recognized(("system", text), ("user", "q")) == "wages"
        assert recognized(("user", f"{text}\n\n{QUESTION}")) == "wages"
        assert recognized(("system", f"  {text}\n"), ("user", "q")) == "wages"
        assert source.recognize(f"{text}\nq", ["w*"], least=80) == "wages"
        assert recognized(("system", f"{text} and more"), ("user", "q")) == ""
        assert recognized(("system", text[:-1]), ("user", "q")) == ""
        assert recognized(("user", f"{text}x")) == ""
        assert recognized(("system", text), names=("a*",)) == ""
        assert recognized(("system", text), least=1000) == ""
        assert recognized(("assistant", text)) == ""
    finally:
        source.close()
