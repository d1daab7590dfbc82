"""The page about training data: its code runs, and it names every format and column."""

from __future__ import annotations

import re
from pathlib import Path

from interwhen.training._export import FORMATS
from interwhen.training._rows import Chat, Preference, Steps, ThinkingDocument

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page_runs(record, tmp_path, monkeypatch, capsys):
    path, _ = record(["1+1=3\n", "\n2+2=4\n"])
    monkeypatch.chdir(tmp_path)
    path.rename("run.journal")
    names: dict = {}
    exec(BLOCKS[0], names)
    assert capsys.readouterr().out == "1 {}\n"
    exec(BLOCKS[2], names)

    def tokenizer(text, *, return_offsets_mapping):
        assert return_offsets_mapping
        places = [(at, at + 1) for at in range(len(text))]
        return {"input_ids": [ord(c) for c in text], "offset_mapping": places}

    row = {"text": "1+1=2", "spans": [{"start": 4, "end": 5, "origin": "repair"}]}
    assert names["masked"](row, tokenizer)["labels"] == [*map(ord, "1+1="), -100]
    assert len(BLOCKS) == 3


def test_the_page_names_every_format_and_column():
    assert all(f"`{form}`" in PAGE for form in FORMATS)
    columns = {name for kind in (ThinkingDocument, Chat, Steps, Preference) for name in kind.__struct_fields__}
    told = {"document", "thinking", "prefix", "monitor", "remedy"}  # for people
    assert {name for name in columns - told if f"`{name}`" not in PAGE} == set()
