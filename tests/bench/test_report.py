"""Reports: what is printed follows from the rows."""

from __future__ import annotations

import msgspec
import pytest
from interwhen.bench._report import Chart, Report, Series, Table, lines, markdown, show
from interwhen.bench._statistics import Estimate

ROWS = (
    {"what": "first [text]", "measured": Estimate(1.23456, "ms", 1.1, 1.3, 5, limit=2.0)},
    {"what": "share", "measured": Estimate(98.0, "%", limit=99.0, at_least=True), "floor": 7},
    {"what": "count", "measured": 12345, "floor": None},
)
REPORT = Report(
    benchmark="x", subject="s", tables=(Table("numbers", ROWS, "caption"),), warnings=("late",), machine="m"
)


def test_a_bar_is_judged_by_its_number():
    assert [Estimate(1.0, limit=limit).met for limit in (0.5, 1.0, None)] == [False, True, None]
    assert [Estimate(1.0, limit=limit, at_least=True).met for limit in (1.0, 1.5)] == [True, False]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1.23456, "ms", 1.1, 1.3), "1.23 [1.1, 1.3] ms"),
        (Estimate(1.23456, "ms"), "1.235 ms"),
        (Estimate(12345.678), "12,346"),
        (Estimate(999.96, "ms", 998.0, 1000.4), "1,000 [998, 1,000] ms"),
        (Estimate(0), "0"),
        (Estimate(-0.00012, "s"), "-0.00012 s"),
    ],
)
def test_estimates_are_rounded_for_display(estimate, text):
    assert str(estimate) == text


def test_table_has_columns_of_its_rows():
    (table,) = REPORT.tables
    assert table.columns == ("what", "measured", "floor", "bar", "met")
    assert table.texts() == [
        ["first [text]", "1.23 [1.1, 1.3] ms", "", "≤ 2 ms", "yes"],
        ["share", "98 %", "7", "≥ 99 %", "NO"],
        ["count", "12,345", "", "", ""],
    ]
    assert Table("t", ({"a": "b"},)).columns == ("a",)


def test_report_rows_are_addressed_by_label():
    assert REPORT.value("share") == 98.0
    assert REPORT.value("share", "floor") == 7
    assert REPORT.row("count")["measured"] == 12345
    with pytest.raises(KeyError):
        REPORT.row("none")
    assert lines({"a": 1}, "counted") == [{"what": "a", "counted": 1}]


def test_report_is_untruncated_without_a_terminal(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    long = msgspec.structs.replace(REPORT, tables=(Table("wide", ({f"column {n}": "x" * 30 for n in range(20)},)),))
    show(long)
    assert "…" not in capsys.readouterr().out
    show(REPORT)
    out = capsys.readouterr().out
    for text in ("interwhen bench x · s · m", "first [text]", "caption", "warning: late"):
        assert text in out


def test_a_report_in_markdown_has_the_same_cells():
    text = markdown(REPORT)
    assert "| what | measured | floor | bar | met |\n| --- | --: | --: | --: | --: |" in text
    assert "| share | 98 % | 7 | ≥ 99 % | NO |" in text


def test_json_gives_the_same_report_again():
    chart = Chart("c", "x", "y", (Series("a", ((1.0, 2.0),), ((1.5, 2.5),), dashed=True),), log_x=True)
    report = msgspec.structs.replace(REPORT, charts=(chart,), observations=({"arm": "a", "value": 1.5},))
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_markdown_cells_are_escaped():
    report = Report(benchmark="x", tables=(Table("t", ({"a|b": "one|two\nthree", "c": None},)),))
    assert r"| a\|b | c |" in markdown(report)
    assert r"| one\|two three |  |" in markdown(report)
