"""The journals of a folder as rows and timelines, and a journal that grows."""

import json
from pathlib import Path

import interwhen
import pytest
from interwhen import UsageError
from interwhen.journal import JournalError, TimelineReader, _rebuilt_run
from interwhen.journal._compact_form import PartMark
from interwhen.journal._directory import JournalDirectory, JournalSettings
from interwhen.journal._files import frames
from interwhen.journal._records import OutlineRecord
from interwhen.journal._settings import CallHead
from interwhen.testing import ScriptedModel
from interwhen.view._runs import GrowingRun, RunFolder, run_id
from tests.resealed import put_together, taken_apart
from tests.view.recorded import PLAIN, REPAIRED, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "repaired.journal", REPAIRED)
    record(folder / "plain.journal", PLAIN)
    (folder / "deeper").mkdir()
    data = (folder / "repaired.journal").read_bytes()
    (folder / "deeper" / "killed.journal").write_bytes(data[: len(data) // 2])
    (folder / "notes.txt").write_text("no journal")
    return folder


def test_every_journal_below_a_folder_has_a_row(folder):
    runs = RunFolder([folder])
    rows = {Path(row.path).name: row for row in map(runs.row, runs.paths())}
    assert rows.keys() == {"repaired.journal", "plain.journal", "killed.journal"}
    row = rows["repaired.journal"]
    assert (row.label, row.violations, row.remedies, row.monitors) == ("steps verified", 1, 1, ("arithmetic",))
    assert (row.scope, row.model, row.error) == ("steps", "scripted", "")
    assert row.found == ("17*164=2818",) or "2818" in row.found[0]
    assert row.tokens >= row.discarded > 0
    assert rows["killed.journal"].status is None
    assert rows["plain.journal"].violations == 0


def test_journal_named_by_two_paths_is_one_run(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    places = [folder, folder.name, folder / "plain.journal", Path(folder.name) / "plain.journal"]
    assert len(RunFolder(places).paths()) == len(RunFolder([folder]).paths()) == 3


def test_row_is_reread_when_its_file_changes(folder, tmp_path):
    path = tmp_path / "a.journal"
    data = (folder / "plain.journal").read_bytes()
    path.write_bytes(data[:-40])
    runs = RunFolder([path])
    assert runs.row(path).status is None
    path.write_bytes(data)
    assert runs.row(path).status == "verified"
    assert runs.row(path) is runs.row(path)


def test_inconsistent_outline_has_a_row_with_reason(tmp_path):
    directory = JournalDirectory.at(JournalSettings(path=str(tmp_path), text="redacted"))
    journal = directory.begin(CallHead("0193" + "0" * 28, "wrap", "chat", "m"), shows_path=True)
    with interwhen.run_sync(ScriptedModel(["1 + 1 = 2\n"]), "Q", monitors=["arithmetic"], journal=journal) as run:
        run.drain()
    journal.slot.called({}, has_problem=False)
    directory.close()
    [path] = tmp_path.glob("*.journal")
    entries = taken_apart(path.read_bytes())
    at = next(at for at, one in enumerate(entries) if isinstance(one, OutlineRecord) and '"type":"Pass"' in one.part)
    part = entries[at].part.replace('"type":"Pass"', '"type":null')
    entries[at] = OutlineRecord(entries[at].at, part)
    path.write_bytes(put_together(entries))
    assert "its records must fit together" in RunFolder([path]).row(path).error


def test_invalid_journal_has_a_row_with_reason(tmp_path):
    path = tmp_path / "a.journal"
    path.write_bytes(b"no journal")
    assert "must begin with" in RunFolder([path]).row(path).error
    with pytest.raises(UsageError, match="must exist"):
        RunFolder([tmp_path / "missing"])


def test_no_id_names_a_file_outside(folder):
    runs = RunFolder([folder])
    for name in ("../notes.txt", "/etc/passwd", "", "repaired.journal"):
        assert runs.path(name) is None
    assert runs.path(run_id(folder / "plain.journal")) == folder / "plain.journal"


@pytest.fixture
def decoded(monkeypatch):
    records, decode = [], _rebuilt_run.decode

    def counted(payload):
        records.append(decode(payload))
        return records[-1]

    monkeypatch.setattr(_rebuilt_run, "decode", counted)
    return records


def standing_end(data, ends):
    for number in range(len(ends) // 2, len(ends)):
        reader = TimelineReader("x")
        reader.feed(data[: ends[number]])
        if reader.offset == ends[number]:
            return number
    raise AssertionError(ends)


def test_parts_of_growing_journal_form_the_whole(folder, tmp_path):
    path = tmp_path / "a.journal"
    data = (folder / "repaired.journal").read_bytes()
    path.write_bytes(b"")
    growing, text, ids = GrowingRun(path), "", []
    mark = growing.mark(0)
    for size in (40, len(data) // 3, len(data) // 3 + 5, len(data) - 1, len(data)):
        path.write_bytes(data[:size])
        part = growing.part(mark)
        if part is not None:
            text += json.loads(part).get("text", "")
            ids.append(mark.offset)
    whole = json.loads(RunFolder([path]).form(path))
    assert text == whole["text"]
    assert ids == sorted(ids)
    assert growing.is_over(mark)
    assert not growing.is_over(PartMark())
    # A reader that was cut off at any of these offsets gets exactly the rest.
    for offset in {0, *ids}:
        again = GrowingRun(path)
        rest = json.loads(again.part(again.mark(offset)) or b"{}").get("text", "")
        assert whole["text"].endswith(rest)
        assert len(rest) == len(whole["text"]) or offset > 0
    assert GrowingRun(path).mark(17) is None


def test_followers_share_one_journal_reading(folder, tmp_path, decoded):
    path = tmp_path / "a.journal"
    data = (folder / "repaired.journal").read_bytes()
    ends = [frame.end for frame in frames(data, str(path))]
    middle = standing_end(data, ends)
    decoded.clear()
    path.write_bytes(data[: ends[middle]])
    growing = RunFolder([path]).growing(path)
    first = growing.mark(0)
    whole = growing.part(first)
    others = [growing.mark(begin) for begin in (first.offset, first.offset, 0)]
    assert [growing.part(each) for each in others] == [None, None, whole]
    assert len(decoded) == middle + 1
    path.write_bytes(data)
    rest = growing.part(first)
    assert [growing.part(each) for each in others] == [rest, rest, rest]
    assert growing.part(growing.mark(ends[middle])) == rest
    assert len(decoded) == len(ends)
    assert RunFolder([path]).growing(path) is not growing


def test_evicted_mark_is_rebuilt(folder, decoded):
    path = folder / "repaired.journal"
    data = path.read_bytes()
    ends = [frame.end for frame in frames(data, str(path))]
    growing = GrowingRun(path)
    growing.part(growing.mark(0))
    before = len(decoded)
    for number, end in enumerate(ends):
        reader, mark = TimelineReader(str(path)), PartMark()
        reader.feed(data[:end])
        if reader.offset < end:  # the record waits for its seal, so no part ends here
            assert growing.mark(end) is None
            continue
        reader.part_after(mark)
        reader.feed(data[end:])
        assert (growing.part(growing.mark(end)) or b"") == (reader.part_after(mark) if end < len(data) else b""), number
    assert len(decoded) > before


def test_replaced_journal_is_shown_from_its_start(folder, tmp_path):
    path = tmp_path / "a.journal"
    path.write_bytes((folder / "repaired.journal").read_bytes())
    growing = GrowingRun(path)
    mark = growing.mark(0)
    growing.part(mark)
    (tmp_path / "other").write_bytes((folder / "plain.journal").read_bytes())
    (tmp_path / "other").rename(path)
    part = json.loads(growing.part(mark))
    assert part["from"] == 0
    assert part["text"] == PLAIN[0]


def test_an_incomplete_record_may_be_overwritten(folder, tmp_path):
    path = tmp_path / "a.journal"
    data = (folder / "repaired.journal").read_bytes()
    ends = [frame.end for frame in frames(data, str(path))]
    cut = ends[standing_end(data, ends)]
    path.write_bytes(data[:cut] + b"\x00" * 30)
    growing = GrowingRun(path)
    mark = growing.mark(0)
    text = json.loads(growing.part(mark))["text"]
    assert mark.offset == cut
    path.write_bytes(data)
    part = json.loads(growing.part(mark))
    assert part["from"] == cut
    assert text + part["text"] == json.loads(RunFolder([path]).form(path))["text"]


def test_unreadable_journal_is_read_again_from_start(folder, tmp_path):
    path = tmp_path / "a.journal"
    path.write_bytes(b"no journal, " * 9)
    growing = RunFolder([path]).growing(path)
    for _ in range(2):
        with pytest.raises(JournalError, match="must begin with"):
            growing.mark(0)
    path.write_bytes((folder / "plain.journal").read_bytes())
    assert json.loads(growing.part(growing.mark(0)))["text"] == PLAIN[0]
