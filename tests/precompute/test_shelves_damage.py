"""A store that is damaged anywhere misses; it never tells anything that was not written into it."""

import shutil

import msgspec
import pytest
from interwhen.precompute import MemoryShelf, Store, StoreError
from interwhen.precompute import _store as framing_module
from interwhen.precompute._fsspec_shelf import FsspecShelf
from interwhen.precompute._items import digest
from interwhen.precompute._sqlite_shelf import SqliteShelf
from interwhen.precompute._store import seal
from tests.precompute.entries import item

FLIPS = pytest.mark.fault("P6", injected="every bit of an entry flipped", happens="a miss, quarantine and a warning")
CUTS = pytest.mark.fault(
    "P6", injected="an entry cut at every byte, or made longer", happens="a miss, quarantine and a warning"
)


def damages(entry):
    for at in range(len(entry) * 8):
        changed = bytearray(entry)
        changed[at // 8] ^= 1 << at % 8
        yield bytes(changed)


def cuts(entry):
    for at in range(len(entry)):
        yield entry[:at]
    yield entry + b"\0"
    yield entry + entry


def each_damage(damaged, record_property, log):
    good = item()
    name = f"items/{good.id}"
    entry = seal(name, framing_module.unseal(name, _entry_of(good)))
    tries = 0
    for changed in damaged(entry):
        log.clear()
        shelf = MemoryShelf()
        store = Store(shelf, clock=lambda: 7.0)
        shelf.create(name, changed)
        assert store.get(good.id) is None
        assert [line["event"] for line in log] == ["store.quarantined"]
        assert name not in shelf.entries
        [quarantined] = store.quarantined()
        assert (quarantined.name, quarantined.entry, quarantined.at) == (name, changed, 7.0)
        assert store.put(good) == good
        assert store.get(good.id) == good
        tries += 1
    record_property("tries", tries)
    assert tries > len(entry)


def _entry_of(good):
    shelf = MemoryShelf()
    Store(shelf).put(good)
    return shelf.entries[f"items/{good.id}"]


@FLIPS
def test_flipped_bit_in_entry_is_a_miss(record_property, log):
    each_damage(damages, record_property, log)


@CUTS
def test_truncated_entry_is_a_miss(record_property, log):
    each_damage(cuts, record_property, log)


def document_damage(damaged, record_property, log):
    # A damaged document is unknown; the one before it must not come back in its place.
    shelf = MemoryShelf()
    store = Store(shelf)
    assert store.commit("d", b"old", expect=0) == 1
    [first] = shelf.names("documents")
    old = shelf.entries[first]
    assert store.commit("d", b"new", expect=1) == 2
    [name] = shelf.names("documents")
    whole = shelf.entries[name]
    tries = 0
    for changed in damaged(whole):
        log.clear()
        shelf = MemoryShelf()
        shelf.create(name, changed)
        shelf.create(first, old)  # also where the old one was never taken away
        store = Store(shelf)
        document = store.document("d")
        assert (document.generation, document.data) == (2, None)
        assert store.document("d").data is None
        assert [line["event"] for line in log] == ["store.quarantined"]
        assert store.commit("d", b"newer", expect=2) == 3
        assert store.document("d").data == b"newer"
        tries += 1
    record_property("tries", tries)


@FLIPS
def test_flipped_bit_in_document_is_detected(record_property, log):
    document_damage(damages, record_property, log)


@CUTS
def test_truncated_document_is_detected(record_property, log):
    document_damage(cuts, record_property, log)


@pytest.mark.fault("P6", injected="a sealed entry without a document", happens="left out, quarantine and a warning")
@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x92\xa1\xff\xc4\x00", msgspec.msgpack.encode({"name": "d"})])
def test_undecodable_document_is_quarantined(payload, log):
    shelf = MemoryShelf()
    store = Store(shelf)
    store.commit("d", b"", expect=0)
    store.commit("e", b"", expect=0)
    [name] = shelf.names(f"documents/{digest('d')}")
    shelf.entries[name] = seal(name, payload)
    assert store.documents("") == ("e",)
    assert store.document("d").data is None
    assert [line["event"] for line in log] == ["store.quarantined"]
    assert [each.why.partition(":")[0] for each in store.quarantined()] == ["it cannot be decoded as a document"]


@pytest.mark.fault("P6", injected="an entry under another name", happens="a miss, quarantine and a warning")
def test_entry_under_wrong_name_is_quarantined(log):
    shelf = MemoryShelf()
    store = Store(shelf)
    one, two = item(1), item(2)
    store.put(one)
    shelf.create(f"items/{two.id}", shelf.entries[f"items/{one.id}"])
    assert store.get(two.id) is None
    assert store.get(one.id) == one
    assert "checksum" in store.quarantined()[0].why


@pytest.mark.fault("P6", injected="an entry of another schema", happens="StoreError that says what to do; no change")
@pytest.mark.parametrize(
    ("schema", "hint"),
    [(1, "an older version of interwhen; delete this store"), (99, "a newer version of interwhen; update")],
)
def test_store_of_other_version_is_refused_unchanged(schema, hint, monkeypatch, log):
    shelf = MemoryShelf()
    good = item()
    monkeypatch.setattr(framing_module, "SCHEMA", schema)
    Store(shelf).put(good)
    Store(shelf).commit("d", b"1", expect=0)
    before = dict(shelf.entries)
    monkeypatch.undo()
    store = Store(shelf)
    for use in (
        lambda: store.get(good.id),
        lambda: store.put(good),
        lambda: store.document("d"),
        lambda: store.documents(""),
        lambda: tuple(store.items()),
    ):
        with pytest.raises(StoreError, match=f"must have schema {framing_module.SCHEMA}, got {schema} of {hint}"):
            use()
    assert shelf.entries == before
    assert log == []


def test_a_shelf_that_cannot_be_written_still_misses(log):
    class ReadOnly(MemoryShelf):
        def create(self, name, data, /):
            raise StoreError("x", "read-only")

    shelf = ReadOnly()
    good = item()
    MemoryShelf.create(shelf, f"items/{good.id}", b"torn")
    assert Store(shelf).get(good.id) is None
    assert [line["event"] for line in log] == ["store.quarantined", "store.quarantine_failed"]


# ---------------------------------------------------------------------- files


def filled(path, count=2):
    store = Store(SqliteShelf(path, page_size=512))
    for number in range(count):
        store.put(item(number))
    store.commit("d", b"old", expect=0)
    store.commit("d", b"new", expect=1)
    store.close()


def sqlite_damage(folder, changes, log):
    source = folder / "source.db"
    filled(source)
    whole = source.read_bytes()
    path = folder / "store.db"
    missed = refused = tries = 0
    for changed in changes(whole):
        for old in folder.glob("store.db*"):
            old.unlink()
        path.write_bytes(changed)
        log.clear()
        tries += 1
        try:
            store = Store(SqliteShelf(path))
        except StoreError:
            refused += 1
            continue
        stored = [store.get(item(number).id) for number in range(2)]
        document = store.document("d")
        assert all(each in (None, item(number)) for number, each in enumerate(stored))
        assert document.data in (None, b"new")
        assert document.data is None or document.generation == 2
        if stored != [item(0), item(1)] or document.data is None:
            missed += 1
        for number in range(2):
            assert store.put(item(number)) == item(number)
            assert store.get(item(number).id) == item(number)
        store.close()
    return tries, missed, refused


SQLITE_FLIPS = pytest.mark.fault(
    "P6",
    injected="bits of the SQLite file flipped",
    happens="a reader gets what was written, or nothing; the file is renamed if SQLite cannot read it",
)


@SQLITE_FLIPS
def test_sampled_bit_flips_in_sqlite_are_misses(quick_path, record_property, log):
    def changes(whole):
        for at in range(0, len(whole), 15):
            changed = bytearray(whole)
            changed[at] ^= 1 << at % 8
            yield bytes(changed)

    tries, missed, refused = sqlite_damage(quick_path, changes, log)
    record_property("tries", tries)
    assert missed > tries // 10
    assert refused == 0


@pytest.mark.slow
@SQLITE_FLIPS
def test_bit_flips_in_sqlite_are_misses(quick_path, record_property, log):
    def changes(whole):
        for at in range(len(whole)):
            changed = bytearray(whole)
            changed[at] ^= 1 << at % 8
            yield bytes(changed)

    tries, missed, refused = sqlite_damage(quick_path, changes, log)
    record_property("tries", tries)
    assert missed > tries // 10
    assert refused == 0


@pytest.mark.fault(
    "P6",
    injected="the SQLite file cut short",
    happens="a reader gets what was written, or nothing; the file is renamed if SQLite cannot read it",
)
def test_truncated_sqlite_file_is_a_miss(quick_path, record_property, log):
    tries, missed, refused = sqlite_damage(
        quick_path, lambda whole: (whole[:at] for at in range(0, len(whole), 37)), log
    )
    record_property("tries", tries)
    assert missed > 0.8 * tries  # the last page is a free one
    assert refused == 0


@pytest.mark.fault("P6", injected="files of the log cut short", happens="a reader gets what was written, or nothing")
def test_truncated_sqlite_log_gives_no_wrong_item(quick_path, record_property, log):
    source = quick_path / "source.db"
    store = Store(SqliteShelf(source, page_size=512))
    for number in range(2):
        store.put(item(number))
    # As a killed process leaves it: nothing is checkpointed.
    copies = {suffix: (quick_path / f"source.db{suffix}").read_bytes() for suffix in ("", "-wal")}
    store.close()
    tries = 0
    for at in range(0, len(copies["-wal"]), 41):
        for old in quick_path.glob("store.db*"):
            old.unlink()
        (quick_path / "store.db").write_bytes(copies[""])
        (quick_path / "store.db-wal").write_bytes(copies["-wal"][:at])
        again = Store(SqliteShelf(quick_path / "store.db"))
        assert all(again.get(item(number).id) in (None, item(number)) for number in range(2))
        assert again.put(item(0)) == item(0)
        again.close()
        tries += 1
    record_property("tries", tries)


def test_damaged_file_is_moved_aside(tmp_path, log):
    path = tmp_path / "store.db"
    filled(path)
    ruin = path.read_bytes()[:700]
    path.write_bytes(ruin)
    store = Store(SqliteShelf(path))
    assert store.get(item().id) is None
    assert (tmp_path / "store.db.damaged-1").read_bytes() == ruin
    assert [line["event"] for line in log] == ["store.damaged"]
    store.close()


@pytest.mark.parametrize("content", [b"# a README\n", b"\x7fELF" + bytes(500)])
def test_foreign_file_is_refused_and_unchanged(tmp_path, content):
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="must be a store or not exist"):
        SqliteShelf(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_foreign_database_is_refused(tmp_path):
    import sqlite3

    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="must be a store or not exist"):
        SqliteShelf(path)


@CUTS
def test_truncated_file_below_url_is_a_miss(tmp_path, record_property, log):
    url = f"file://{tmp_path / 'shared'}"
    store = Store(FsspecShelf(url))
    good = item()
    store.put(good)
    [path] = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    whole = path.read_bytes()
    for at in range(0, len(whole), 25):
        path.write_bytes(whole[:at])
        assert Store(FsspecShelf(url)).get(good.id) is None
        assert not path.exists()
        shutil.rmtree(tmp_path / "shared" / "quarantine")
        assert store.put(good) == good
    record_property("tries", len(range(0, len(whole), 25)))
