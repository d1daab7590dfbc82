"""Charts and pages: every series is drawn, and a page needs no other file."""

from __future__ import annotations

import re
from importlib.util import find_spec
from xml.etree import ElementTree as ET

import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench._pictures import draw, page, svg
from interwhen.bench._report import Chart, Report, Series, Table

LINE = Series("bare & <b>", ((0.0, 1.0), (1.0, 10.0), (2.0, 100.0)))
DOTS = Series("supervised", ((1.0, 2.0), (2.0, 3.0)), ((1.0, 3.0), (2.5, 3.5)), color=1, dashed=True, joined=False)
CHART = Chart("Gaps <over> time", "seconds", "ms", (LINE, DOTS), zero=True)
TABLE = Table("numbers", ({"what": "<i>", "measured": 1},), "caption")
REPORT = Report(benchmark="x", subject="<s>", tables=(TABLE,), charts=(CHART,), warnings=("<late>",), machine="m")


def paths(chart):
    figure = ET.fromstring(svg(chart))
    return [each.get("d") or "" for each in figure.iter("path")]


def test_chart_is_well_formed_and_labelled():
    figure = svg(CHART)
    texts = "".join(ET.fromstring(figure).itertext())
    for text in ("Gaps <over> time", "seconds", "ms", "bare & <b>", "supervised"):
        assert text in texts
    assert "nan" not in figure


def test_every_point_is_inside_the_picture():
    for chart in (
        CHART,
        msgspec.structs.replace(CHART, log_x=True, log_y=True),
        Chart("one", "x", "y", (Series("a", ((1.0, 1.0),)),)),
    ):
        for path in paths(chart):
            for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path):
                assert 0 <= float(x) <= 640
                assert 0 <= float(y) <= 300


def test_logarithmic_axis_omits_nonpositive_points():
    drawn = next(path for path in paths(msgspec.structs.replace(CHART, log_x=True)) if "L" in path)
    assert drawn.count("L") == 1  # two of the three points


def test_counting_axis_has_integer_ticks():
    counts = Chart("c", "run", "y", (Series("a", ((1.0, 2.0), (2.0, 3.0), (3.0, 1.0))),))
    texts = ET.fromstring(svg(counts)).iter("text")
    middles = [each.text for each in texts if each.get("text-anchor") == "middle"]
    assert middles[:3] == ["1", "2", "3"]
    assert not msgspec.structs.replace(counts, log_x=True).is_whole


def test_empty_chart_is_drawn():
    assert "<svg" in svg(Chart("none", "x", "y", ()))


def test_page_is_self_contained_and_escaped():
    text = page(REPORT)
    assert text.count("<svg") == text.count("</svg>") == 1
    assert not re.search(r"(?:src|href)=", text)
    for shown in ("&lt;s&gt;", "&lt;i&gt;", "&lt;late&gt;", "caption", "numbers"):
        assert shown in text
    assert "<i>" not in text


needs_plots = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


@needs_plots
def test_charts_are_drawn_into_a_file(tmp_path):
    report = msgspec.structs.replace(REPORT, charts=(CHART, msgspec.structs.replace(CHART, log_y=True), CHART))
    draw(report, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@needs_plots
def test_unwritable_plot_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--plot must be a file that can be written"):
        draw(REPORT, tmp_path / "none" / "p.png")
