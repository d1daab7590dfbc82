"""The table of the verifiers is written by a program, which marks what it cannot run; the page's own code runs."""

import gzip
import json
import re
from pathlib import Path

import pytest
from tests.measurements import judge_verifiers as judge

PAGE = Path(__file__).parents[2] / "docs" / "verifiers.md"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    with gzip.open(tmp_path / "gsm8k" / "a.jsonl.gz", "wt") as file:
        for number, answer in enumerate(("2+2 = 4", "2+2 = 5")):
            file.write(json.dumps({"id": str(number), "question": "?", "answer": answer}) + "\n")
    return tmp_path


def test_row_contains_the_rates(data):
    cells = judge.row(judge.PAIRS[0], data)
    assert cells[0] == "`arithmetic` on gsm8k (people's and models' solutions)"
    assert cells[1:5] == ("2", "-", "-", "1 of 2 (9.5 to 90.5 %)")
    assert re.fullmatch(r"[\d.e-]+ / [\d.e-]+ ms", cells[5])
    assert len(cells) == len(judge.HEADERS)


def test_limit_reduces_the_number_of_traces(data):
    assert judge.row(judge.PAIRS[0], data, 1)[1] == "1"


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (judge.Pair("no_such", "gsm8k", "gsm8k"), "not run: 'no_such': not installed"),
        (judge.Pair("arithmetic", "no_such", "gsm8k"), "not run: 'no_such': not installed"),
        (
            judge.Pair("arithmetic", "gsm8k", "absent"),
            "not run: the traces must be in an existing file or folder, got 'DATA/absent'",
        ),
    ],
)
def test_unavailable_row_shows_the_reason(data, pair, why):
    cells = judge.row(pair, data)
    assert cells[1].startswith(why)
    assert len(cells) == len(judge.HEADERS)


def test_table_is_written_into_the_page(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge, "PAIRS", judge.PAIRS[:1])
    page = tmp_path / "page.md"
    page.write_text(f"a\n{judge.START}\nold\n{judge.END}\nz\n")
    for _ in range(2):
        assert judge.main([str(data), "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"a\n{judge.START}\n| verifier |")
    assert text.endswith(f"|\n{judge.END}\nz\n")
    assert "old" not in text
    assert judge.main([str(data)]) == 0
    assert "`arithmetic` on gsm8k" in capsys.readouterr().out


def test_page_without_placeholder_is_refused():
    with pytest.raises(SystemExit, match="the page must have the lines"):
        judge.placed("text", "table")


def test_page_has_placeholder_and_its_code_runs():
    text = PAGE.read_text()
    judge.placed(text, "")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
    import msgspec
    from interwhen.testing import LabelledTrace

    [example] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert msgspec.json.decode(example, type=LabelledTrace).label == "wrong"


def test_table_shows_share_of_verified_right_traces(data, monkeypatch, capsys):
    monkeypatch.setattr(judge, "VERIFIED", (judge.VERIFIED[0], *judge.VERIFIED[-2:], judge.Pair("no_such", "x", "y")))
    with gzip.open(data / "gsm8k" / "b.jsonl.gz", "wt") as file:
        for number, answer in enumerate(("3+3 = 6\nkill", "3+3 = 6 and 3 plus 3 is 7", "nothing")):
            file.write(json.dumps({"id": f"b{number}", "question": "?", "answer": answer}) + "\n")
    assert judge.main([str(data), "--verified"]) == 0
    _head, _line, *rows = capsys.readouterr().out.splitlines()
    cells = [row.strip("| ").split(" | ")[1:] for row in rows]
    assert cells[0] == ["5", "2", "1"]
    assert cells[1] == ["5", "4", "1"]
    assert cells[2] == ["5", "5", "0"]
    assert cells[3][0].startswith("not run: 'no_such': not installed")
    assert judge.verified_row(judge.VERIFIED[0], data, 1)[1] == "1"
