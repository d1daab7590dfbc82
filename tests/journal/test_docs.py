"""The page says what there is."""

import dataclasses
import re
from pathlib import Path

from interwhen.journal import Journal
from interwhen.journal._directory import JournalSettings

PAGE = Path(__file__).parents[2] / "docs" / "journal.md"


def test_the_page_lists_every_setting_with_its_default():
    page = PAGE.read_text(encoding="utf-8").partition("## When the disk fails")[2]
    cells = re.findall(r"^\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE)
    rows = {name: default.strip() for name, default in cells}
    fields = {entry.name: entry.default for entry in dataclasses.fields(Journal)}
    assert rows.keys() == fields.keys()
    assert (rows["fsync"], float(rows["flush_seconds"]), float(rows["close_seconds"])) == (
        f"`{fields['fsync']}`",
        fields["flush_seconds"],
        fields["close_seconds"],
    )
    assert rows["buffer_bytes"] == f"{fields['buffer_bytes'] >> 20} MiB"


def test_page_lists_settings_of_call_journals():
    page = PAGE.read_text(encoding="utf-8").partition("## Journals of calls")[2].partition("## The timeline")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ?([^|]*?) ?\|", page, re.MULTILINE))
    ours = JournalSettings()
    assert tuple(rows) == ours.__struct_fields__
    assert (rows["keep"], rows["text"], float(rows["share"])) == (ours.keep, ours.text, ours.share)
    assert (rows["max_bytes"], float(rows["max_days"])) == (f"{ours.max_bytes >> 30} GiB", ours.max_days)
