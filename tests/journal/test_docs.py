"""The page says what there is."""

import dataclasses
import re
from pathlib import Path

from interwhen import Journal

PAGE = Path(__file__).parents[2] / "docs" / "journal.md"


def test_the_page_lists_every_setting_with_its_default():
    found = re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    rows = {name: default.strip() for name, default in found}
    fields = {entry.name: entry.default for entry in dataclasses.fields(Journal)}
    assert rows.keys() == fields.keys()
    assert (rows["fsync"], float(rows["flush_seconds"]), float(rows["close_seconds"])) == (
        f"`{fields['fsync']}`",
        fields["flush_seconds"],
        fields["close_seconds"],
    )
    assert rows["buffer_bytes"] == f"{fields['buffer_bytes'] >> 20} MiB"
