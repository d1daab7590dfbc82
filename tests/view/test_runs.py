"""The journals of a folder as rows and timelines, and a journal that grows."""

import json
from pathlib import Path

import pytest
from interwhen import UsageError
from interwhen.view._runs import GrowingRun, RunFolder, run_id
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


def test_a_row_is_read_again_when_its_file_changes(folder, tmp_path):
    path = tmp_path / "a.journal"
    data = (folder / "plain.journal").read_bytes()
    path.write_bytes(data[:-40])
    runs = RunFolder([path])
    assert runs.row(path).status is None
    path.write_bytes(data)
    assert runs.row(path).status == "verified"
    assert runs.row(path) is runs.row(path)


def test_a_file_that_is_no_journal_has_a_row_with_the_reason(tmp_path):
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


def test_parts_of_a_growing_journal_are_its_whole(folder, tmp_path):
    path = tmp_path / "a.journal"
    data = (folder / "repaired.journal").read_bytes()
    path.write_bytes(b"")
    growing, text, ids = GrowingRun(path), "", []
    for size in (40, len(data) // 3, len(data) // 3 + 5, len(data) - 1, len(data)):
        path.write_bytes(data[:size])
        part = growing.part()
        if part is not None:
            text += json.loads(part).get("text", "")
            ids.append(growing.offset)
    whole = json.loads(RunFolder([path]).form(path))
    assert text == whole["text"]
    assert ids == sorted(ids)
    # A reader that was cut off at any of these offsets gets exactly the rest.
    for offset in {0, *ids}:
        again = GrowingRun(path)
        assert again.skip(offset)
        rest = json.loads(again.part() or b"{}").get("text", "")
        assert whole["text"].endswith(rest)
        assert len(rest) == len(whole["text"]) or offset > 0
    assert not GrowingRun(path).skip(17)
