"""The store on its shelves: exclusive creation, compare-and-swap, two processes at once, a kill in the middle."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from interwhen import UsageError
from interwhen._types.errors import StoreConflict
from interwhen.precompute import MemoryShelf, Payload, Store, StoreError, open_store
from interwhen.precompute._fsspec_shelf import FsspecShelf
from interwhen.precompute._items import Cost, digest
from interwhen.precompute._sqlite_shelf import SqliteShelf
from interwhen.precompute._store import KEPT, Document
from interwhen.toolkit import MissingExtraError
from msgspec.structs import replace
from tests.precompute.entries import item

KINDS = ["memory", "sqlite", "file url", "memory url"]


@pytest.fixture(params=KINDS)
def shelf(request, tmp_path):
    match request.param:
        case "memory":
            yield MemoryShelf()
        case "sqlite":
            made = SqliteShelf(tmp_path / "store.db")
            yield made
            made.close()
        case "file url":
            yield FsspecShelf(f"file://{tmp_path / 'shared folder'}")
        case _:
            yield FsspecShelf(f"memory://{tmp_path.name}")


class TestEveryShelf:
    def test_shelf_keeps_entries_and_creates_once(self, shelf):
        assert shelf.read("items/a/1") is None
        assert shelf.names("items") == []
        assert shelf.create("items/a/1", b"one")
        assert not shelf.create("items/a/1", b"two")
        assert shelf.read("items/a/1") == b"one"
        assert shelf.create("items/a/2", b"two")
        assert shelf.create("items/ab/3", b"three")
        shelf.delete("items/a/2")
        assert shelf.names("items/a") == ["items/a/1"]
        assert shelf.names("items") == ["items/a/1", "items/ab/3"]
        shelf.delete("items/a/1")
        shelf.delete("items/a/1")
        assert shelf.read("items/a/1") is None
        assert shelf.create("items/a/1", b"")
        assert shelf.read("items/a/1") == b""

    def test_one_of_many_concurrent_creates_succeeds(self, shelf):
        won = []
        start = threading.Barrier(6)

        def create(number):
            start.wait(30)
            won.extend((at, number) for at in range(8) if shelf.create(f"items/x/{at}", bytes([number])))

        threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(at for at, _ in won) == list(range(8))
        assert all(shelf.read(f"items/x/{at}") == bytes([number]) for at, number in won)

    def test_documents_advance_one_generation_per_commit(self, shelf):
        store = Store(shelf)
        assert store.document("d").generation == store.generation("d") == 0
        with pytest.raises(StoreConflict, match="no longer at generation 3"):
            store.commit("d", b"x", expect=3)
        for at in range(5):
            assert store.commit("d", b"%d" % at, expect=at) == at + 1
            with pytest.raises(StoreConflict):
                store.commit("d", b"late", expect=at)
        assert store.document("d").data == b"4"
        assert store.generation("d") == 5
        shelf.create(f"documents/{digest('d')}/no number", b"")
        assert store.document("d").generation == 5
        store.commit("e", b"", expect=0)
        assert store.documents("d") == ("d",)
        assert store.documents("") == ("d", "e")

    def test_conflicting_update_is_retried(self, shelf):
        store, seen = Store(shelf), []

        def change(old):
            seen.append(old)
            if len(seen) == 1:
                store.commit("d", b"theirs", expect=0)
            return (old or b"") + b", ours"

        assert store.update("d", change) == Document(2, b"theirs, ours")
        assert seen == [None, b"theirs"]
        assert store.update("d", lambda _old: None) == Document(2, b"theirs, ours")

    def test_repeatedly_conflicting_update_is_abandoned(self, shelf):
        store = Store(shelf)

        def change(_old):
            store.commit("d", b"theirs", expect=store.generation("d"))
            return b"ours"

        with pytest.raises(StoreError, match="changed it 32 times in a row"):
            store.update("d", change)

    def test_concurrent_commits_lose_no_update(self, shelf):
        store = Store(shelf)

        def add():
            done = 0
            while done < 5:
                there = store.document("n")
                try:
                    store.commit("n", b"%d" % (int(there.data or b"0") + 1), expect=there.generation)
                except StoreConflict:
                    continue
                done += 1

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert store.document("n").data == b"20"

    def test_items_are_immutable_and_slots_keep_newest(self, shelf):
        store = Store(shelf)
        first = store.put(item())
        assert store.put(replace(item(), payload=Payload("another"))) == first
        assert store.get(first.id) == first
        slot = replace(item().key, inputs=(), version="2", producer="q")
        for at in range(KEPT + 4):
            key = replace(slot, inputs=(replace(first.key.inputs[0], name=f"p{at}"),))
            store.put(replace(item(), key=key, created=float(at)))
        kept = store.candidates(slot.slot)
        assert [each.created for each in kept] == [float(at) for at in range(4, KEPT + 4)]
        assert len(list(store.items())) == KEPT + 1
        store.evict(first.id)
        assert store.get(first.id) is None
        store.quarantine(kept[0].id, "a person said so")
        assert store.get(kept[0].id) is None
        assert [each.why for each in store.quarantined()] == ["a person said so"]


def test_stores_are_opened_by_their_place(tmp_path, monkeypatch):
    assert isinstance(open_store(":memory:").shelf, MemoryShelf)
    made = open_store(tmp_path / "a.db")
    assert isinstance(made.shelf, SqliteShelf)
    assert not made.blocks
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0
    made.close()
    with pytest.raises(StoreError, match="this one was closed"):
        made.get(item().id)
    assert open_store(f"file://{tmp_path}/b").blocks
    with pytest.raises(UsageError, match="go only with a URL"):
        open_store(tmp_path / "c.db", one_writer=True)
    with pytest.raises(StoreError, match="must be a file that can be read and written"):
        open_store(tmp_path / "no folder" / "a.db")
    with pytest.raises(StoreError, match="Protocol not known: nonsense"):
        open_store("nonsense://x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[precompute\]"):
        open_store("memory://x")


def test_file_system_without_exclusive_create_is_refused(tmp_path):
    place = f"dir::file://{tmp_path}/x"
    with pytest.raises(StoreError, match=r"two writers could overwrite each other: set one_writer=True"):
        open_store(place)
    store = open_store(place, one_writer=True)
    assert store.put(item()) == item()
    assert store.get(item().id) == item()
    assert store.commit("d", b"x", expect=0) == 1
    with pytest.raises(StoreConflict):
        store.commit("d", b"x", expect=0)


# ---------------------------------------------------------------------- two processes, and a kill

WRITER = """
import sys
from interwhen._types.errors import StoreConflict
from interwhen.precompute import open_store
from tests.precompute.entries import item
from msgspec.structs import replace
from interwhen.precompute import Payload
from interwhen.precompute._sqlite_shelf import SqliteShelf

# A process may be stopped for long while it has the lock.
SqliteShelf._do.__kwdefaults__["seconds"] = 100.0
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
won = 0
for number in range(int(sys.argv[2])):
    mine = replace(item(number % 40), payload=Payload(f"{sys.argv[3]} {number % 40}"))
    won += store.put(mine) == mine
    while True:
        there = store.document("n")
        try:
            store.commit("n", b"%d" % (int(there.data or b"0") + 1), expect=there.generation)
            break
        except StoreConflict:
            pass
    print(number, flush=True)
print("won", won, flush=True)
"""

ROOT = Path(__file__).parents[2]


@pytest.fixture
def writer(tmp_path):
    script = tmp_path / "writer.py"
    script.write_text(textwrap.dedent(WRITER))
    paths = [str(ROOT), str(ROOT / "tests" / "engine" / "support"), os.environ.get("PYTHONPATH", "")]
    started = []

    def start(place, count, name):
        process = subprocess.Popen(
            [sys.executable, str(script), str(place), str(count), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def place_of(kind, tmp_path):
    return tmp_path / "store.db" if kind == "sqlite" else f"file://{tmp_path / 'shared'}"


@pytest.mark.fault(
    "P6",
    injected="two processes that write the same entries at once",
    happens="each entry is that of one of them, whole; each compare-and-swap counts once",
)
@pytest.mark.parametrize("kind", ["sqlite", "file url"])
def test_two_writing_processes_lose_no_update(kind, tmp_path, writer, record_property):
    place = place_of(kind, tmp_path)
    both = [writer(place, 40, name) for name in "ab"]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=100)[0].splitlines()[-1] for process in both]
    store = open_store(place)
    texts = {each.key.step: each.payload.text for each in store.items()}
    assert len(texts) == 40
    assert {text[0] for text in texts.values()} <= {"a", "b"}
    assert sorted(int(text[2:]) for text in texts.values()) == list(range(40))
    assert sum(int(end.removeprefix("won ")) for end in ends) == 40
    assert store.document("n").data == b"80"
    assert store.generation("n") == 80
    assert store.quarantined() == ()
    store.close()
    record_property("tries", 80)


@pytest.mark.fault(
    "P6", injected="SIGKILL of a process that writes", happens="each entry is there and whole, or not there"
)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("file url", marks=pytest.mark.slow)])
def test_killed_writer_loses_no_confirmed_item(kind, tmp_path, writer, record_property, log):
    place = place_of(kind, tmp_path)
    told = 0
    for turn in range(2):
        process = writer(place, 100_000, f"w{turn}")
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("\n")
        process.stdin.flush()
        for _ in range(5 + turn):
            told_last = process.stdout.readline()
        time.sleep(0.003 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        told += int(told_last) + 1
        store = open_store(place)
        assert int(store.document("n").data) >= told
        assert all(each.payload.text[0] == "w" for each in store.items())
        assert store.put(item(99, "w 99")) == item(99, "w 99")
        store.close()
    assert {each["event"] for each in log} <= {"store.unsealed"}
    record_property("tries", 2)


def test_lookup_does_not_wait_for_blocked_write(tmp_path, monkeypatch):
    monkeypatch.setitem(SqliteShelf._do.__kwdefaults__, "seconds", 100.0)  # longer than the look-ups take
    path = tmp_path / "store.db"
    shelf = SqliteShelf(path)
    shelf.create("a/1", b"known")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = threading.Event()

    def write():
        begun.set()
        shelf.create("a/2", b"later")

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    try:
        # Each look-up is done while the write is still refused.
        assert [shelf.read("a/1") for _ in range(50)] == [b"known"] * 50
        assert writer.is_alive()
    finally:
        other.execute("ROLLBACK")
        other.close()
        writer.join()
    assert shelf.read("a/2") == b"later"
    shelf.close()


def test_a_store_is_opened_by_its_path_too(tmp_path):
    for place in (tmp_path / "a.db", str(tmp_path / "b.db"), ":memory:"):
        store = Store(place)
        try:
            assert store.get("0" * 64) is None
            assert store.place
        finally:
            store.close()
    assert {path.name for path in tmp_path.iterdir()} >= {"a.db", "b.db"}


class TestOtherWriters:
    """A store without a key: other writers can make its checksums right again."""

    @staticmethod
    def forge(shelf, **changes):
        forged = replace(item(), payload=Payload("1+1=3"), **changes)
        shelf.delete(f"items/{forged.id}")
        return Store(shelf).put(forged)

    @pytest.mark.fault("G14", injected="an item replaced, its checksum right", happens="a miss, quarantined")
    @pytest.mark.parametrize("knows_it", ["writer", "reader"])
    def test_a_replaced_item_is_not_believed(self, shelf, log, knows_it):
        store = Store(shelf)
        (store if knows_it == "writer" else Store(shelf)).put(item())
        assert store.get(item().id) == item()
        forged = self.forge(shelf)
        assert store.get(forged.id) is None
        assert "another writer replaced it" in store.quarantined()[-1].why
        assert [each["entry"] for each in log if each["event"] == "store.quarantined"] == [f"items/{forged.id}"]
        assert store.put(item()) == item()
        assert store.get(item().id) == item()

    @pytest.mark.parametrize("change", [{"cost": Cost(1, 1, 1)}, {"proof": None}, {"why": "x"}, {"premises": ("i",)}])
    def test_each_field_of_an_item_is_compared(self, change):
        store = Store()
        store.put(item())
        self.forge(store.shelf, **change)
        assert store.get(item().id) is None

    def test_evicted_item_can_be_stored_again(self, shelf):
        worker, reader = Store(shelf), Store(shelf)
        worker.put(item())
        assert reader.candidates(item().key.slot) == (item(),)
        worker.evict(item().id)
        again = replace(item(), payload=Payload("2=1+1"))
        assert reader.candidates(item().key.slot) == ()
        assert worker.put(again) == again
        assert reader.candidates(item().key.slot) == (again,)

    @pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
    @pytest.mark.parametrize("which", ["file", "folder", "owner"])
    def test_file_writable_by_others_needs_a_key(self, tmp_path, monkeypatch, which):
        path = tmp_path / "s.db"
        open_store(path).close()
        match which:
            case "file":
                path.chmod(0o620)
            case "folder":
                tmp_path.chmod(0o777)
            case "owner":
                monkeypatch.setattr(os, "geteuid", lambda: 4711)
                if not path.stat().st_uid:
                    os.chown(path, 4712, -1)
        with pytest.raises(StoreError, match="other users can write to"):
            open_store(path)
        open_store(path, key=TestKeys.KEY).close()

    def test_shared_store_without_key_logs_a_warning(self, tmp_path, log):
        for key in (None, TestKeys.KEY):
            open_store(f"file://{tmp_path}/shared", key=key).close()
            open_store(tmp_path / f"{key}.db", key=key).close()
        [entry] = [each for each in log if each["event"] == "store.unsealed"]
        assert entry["place"] == f"file://{tmp_path}/shared"


class TestKeys:
    KEY = "a key of sixteen or more bytes"

    @pytest.fixture
    def opened(self, tmp_path):
        stores = []

        def opened(**options):
            stores.append(open_store(tmp_path / "s.db", **options))
            return stores[-1]

        yield opened
        for store in stores:
            store.close()

    def test_item_sealed_with_the_key_is_served(self, opened):
        with_key = opened(key=self.KEY)
        kept = with_key.put(item())
        assert with_key.get(kept.id) == kept
        assert opened(key=self.KEY.encode()).get(kept.id) == kept

    @pytest.mark.fault("G14", injected="an item written without the key of its store", happens="a miss, quarantined")
    def test_item_with_foreign_seal_is_a_miss(self, opened):
        for other in (opened(), opened(key="another key, long enough")):
            forged = other.put(item())
            ours = opened(key=self.KEY)
            assert ours.get(forged.id) is None
            assert "not sealed with the key" in ours.quarantined()[-1].why
            assert ours.put(item()).id == forged.id
            assert ours.get(forged.id) is not None
            ours.evict(forged.id)

    def test_sealed_store_without_key_is_unchanged(self, opened):
        kept = opened(key=self.KEY).put(item())
        with pytest.raises(StoreError, match="sealed with a key"):
            opened().get(kept.id)
        assert opened(key=self.KEY).get(kept.id) == kept

    def test_a_short_key_is_refused(self):
        with pytest.raises(UsageError, match="at least 16 bytes, got 5"):
            Store(key="short")
