"""Questions about contexts on a real endpoint: what is drawn, graded, kept in the file of rows, and reported."""

import gzip
import itertools
import json
import re
from pathlib import Path

import pytest
from interwhen import UsageError
from interwhen.bench import _contexts
from interwhen.bench._contexts import (
    HOW,
    ContextRun,
    contexts,
    draw_contexts,
    is_right,
    read_questions,
    read_rows,
    report_on,
)
from interwhen.testing import ScriptedModel
from msgspec.structs import replace
from tests.precompute.producers.test_prefixes import CachingServer

pytestmark = pytest.mark.anyio
CUPS = "Tom sells 30 cups on Monday. Tom sells 25 cups on Tuesday."
FACT = "Tom sells 30 + 25 = 55 cups on Monday and Tuesday."
LINES = [
    {"id": "a", "context": CUPS, "question": "How many cups on Monday and Tuesday?", "gold": "55"},
    {"id": "b", "context": CUPS, "question": "How many cups on two Mondays?", "gold": "60"},
    {"context": "Tom has 5 pens.", "question": "How many pens has Tom?", "gold": "5"},
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    return path


def reply(request):
    """Return the reply of the model: a fact if *request* asks for statements, else an answer.

    The answer is short if the fact is in the prompt, and long otherwise.
    """
    prompt = request.prompt[-1].content
    if request.prompt[0].content != HOW:
        return [f"{FACT} [S1 S2]" if "cups" in prompt else "Tom has 5 pens."]
    if "= 55 cups" in prompt and "Monday and Tuesday?" in prompt:
        return ["Answer: 55"]
    long = ["First Monday, ", "then Tuesday, ", "and so on.\n"]
    return [*long, "Answer: 60" if "two Mondays" in prompt else "Answer: 5" if "pens" in prompt else "Answer: 54"]


@pytest.fixture
def scripted(monkeypatch):
    model = ScriptedModel(reply, forks=lambda request: "".join(reply(request)))
    monkeypatch.setattr(_contexts, "_opened", lambda *_: model)
    return model


async def test_arms_are_compared_and_rows_are_kept(data, tmp_path, scripted):
    rows = tmp_path / "rows.jsonl"
    report = await contexts(data=data, rows=rows, arm=("bare", "facts", "notes"))
    assert report.value("bare", "n") == report.value("facts", "n") == 3
    assert report.value("bare", "right") == pytest.approx(200 / 3)
    assert report.value("facts", "right") == report.value("notes", "right") == 100
    assert report.value("facts", "tokens a query") < report.value("bare", "tokens a query")
    assert report.value("facts", "with an item") == 2  # both questions on the cups
    pair = report.tables[1].rows[0]
    assert (pair["pairs"], pair["fixed"], pair["broken"]) == (3, 1, 0)
    kept = read_rows(rows)
    assert kept["a", "facts"].served == (FACT,)
    assert kept["a", "facts"].offline > 0 == kept["a", "bare"].offline
    # A second call measures nothing again; a line that a kill cut off is ignored, and is measured again.
    asked = len(scripted.requests), len(scripted.fork_requests)
    assert (await contexts(data=data, rows=rows, arm=("bare", "facts", "notes"))).tables == report.tables
    assert (len(scripted.requests), len(scripted.fork_requests)) == asked
    text = rows.read_bytes()
    rows.write_bytes(text[:-20])
    assert len(read_rows(rows)) == len(kept) - 1
    rows.write_bytes(text + b'{"id": "\xff"}\n')
    assert read_rows(rows) == kept
    rows.write_bytes(text[:-20])
    await contexts(data=data, rows=rows, arm=("bare", "facts", "notes"))
    assert read_rows(rows).keys() == kept.keys()


async def test_cold_runs_share_no_start_and_are_never_repeated(data, tmp_path, scripted):
    rows = tmp_path / "rows.jsonl"
    await contexts(data=data, rows=rows, arm=("bare",))
    arms = ("bare", "facts", "answers")
    report = await contexts(data=data, rows=rows, arm=arms, cold=True)
    starts = [request.prompt[0].content for request in scripted.requests[3:] if len(request.prompt) == 2]
    runs = [start.removesuffix(HOW) for start in starts if start.endswith(HOW)]
    # Two contexts in three arms; the earlier results of bare were not cold, so bare is measured, too.
    assert len(set(runs)) == 6
    assert all(run.startswith("Session ") for run in runs)
    times = report.tables[2]
    assert [(row["arm"], row["pairs"]) for row in times.rows] == [("facts", 3), ("answers", 3)]
    assert all(one.cold for one in read_rows(rows).values())
    asked = len(scripted.requests)
    assert (await contexts(data=data, rows=rows, arm=arms, cold=True)).tables == report.tables
    assert len(scripted.requests) == asked


async def test_the_arm_with_prefixes_finds_its_context_in_the_cache(tmp_path, monkeypatch):
    data = tmp_path / "questions.jsonl"
    data.write_text(json.dumps({**LINES[0], "context": CUPS * 10}), encoding="utf-8")
    monkeypatch.setattr(_contexts, "_opened", lambda *_: CachingServer())
    report = await contexts(data=data, rows=tmp_path / "rows", arm=("prefixes", "bare"), cold=True)
    assert report.value("prefixes", "with an item") == 1
    assert report.tables[2].rows[0]["cached"] > 0.8
    bare = read_rows(tmp_path / "rows")["a", "bare"]
    assert bare.cached_tokens == 0 < bare.prompt_tokens


def test_the_short_contexts_of_the_measurement_can_be_read():
    found = read_questions(Path(__file__).with_name("short_contexts.jsonl"))
    assert len(found) == len({one.context for one in found}) == 10
    # Each answer is the product or the sum of two numbers in the context.
    for one in found:
        numbers = [int(word) for word in re.findall(r"\d+", one.context)]
        assert any(int(one.gold) in (a * b, a + b) for a, b in itertools.combinations(numbers, 2)), one


def test_times_are_compared_only_between_cold_runs():
    one = ContextRun("a", "bare", True, 9, 90, 0, 2.0, 4.0, 0, 0.0, "", 0, (), "", cold=True)
    fast = replace(one, arm="prefixes", first_token=0.5, seconds=3.0, cached_tokens=45)
    instant = replace(one, arm="answers", first_token=None, seconds=1.0, cold=False)
    (table,) = [table for table in report_on([one, fast, instant], "m").tables if "Times" in table.title]
    (row,) = table.rows
    assert (row["arm"], row["first token, more"].value, row["answer, more"].value) == ("prefixes", -75.0, -25.0)
    assert row["cached"] == 0.5
    assert len(report_on([one, instant], "m").tables) == 2


def test_questions_with_one_context_stay_together_and_a_larger_draw_adds_contexts(data):
    found = read_questions(data)
    assert [one.id for one in found] == ["a", "b", "line-3"]
    drawn = draw_contexts(found, 9, seed=1)
    assert sorted(len(questions) for _, questions in drawn) == [1, 2]
    assert draw_contexts(found, 1, seed=1) == drawn[:1]


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("3 * 4 = 12\nAnswer: 12", "12", True),
        ("Answer: 11\nNo.\n**Answer:** $1,250.", "1250", True),
        ("Answer: 12 apples and 3 pears", "12", False),  # two numbers: the last one counts
        ("so it is 37.5", "37.5", True),
        ("Answer: none", "0", False),
        ("", "0", False),
        ("Answer: -5", "-5", True),
        ("Answer: -5", "5", False),
        ("Answer: 007", "x", False),  # neither is a number that can be read
    ],
)
def test_the_last_number_of_the_last_answer_counts(text, gold, right):
    assert is_right(text, gold) is right


def test_a_truncated_or_damaged_archive_is_no_readable_file(tmp_path):
    whole = gzip.compress(json.dumps(LINES[0]).encode() * 50)
    path = tmp_path / "data.jsonl.gz"
    for damaged in (whole[:-20], whole[:12] + b"\xff" * 20 + whole[32:], b"no archive"):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="--data must be a readable file"):
            read_questions(path)


def test_a_bad_line_is_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(LINES[0]) + '\n\n{"context": "x"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="line 3"):
        read_questions(path)
