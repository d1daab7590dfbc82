"""Tasks of one's own: from a file, and from rows of a dataset."""

import re
import sys
from pathlib import Path

import msgspec
import pytest
from interwhen import Message, UsageError
from interwhen.bench._task_files import SHIPPED, ExerciseLine, from_rows, normal, reader
from interwhen.strategies._attempts import load_exercises
from interwhen.toolkit import MissingExtraError


def load(path, spec="", count=2):
    return load_exercises(f"jsonl:path={path}{spec}", count=count, seed=1, shipped=SHIPPED)


def test_file_has_one_exercise_per_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"prompt": "2 + 2?", "answer": "4", "name": "sum"}\n\n'
        '{"prompt": [{"role": "user", "content": "Capital?"}], "answer": "Bern.", "monitors": []}\n'
    )
    first, second = load(path, ',monitors=["arithmetic"]')
    assert first.question.prompt == (Message("user", "2 + 2?"),)
    assert (first.question.name, second.question.name) == ("sum", "line-3")
    assert (first.question.monitors, second.question.monitors) == (("arithmetic",), ())
    answer = first.question.read("2 + 2 = 5\nAnswer: 5\nNo.\n**Answer:** 4.0")
    assert answer == "4"
    assert first.grade(answer)
    assert second.grade(second.question.read("answer: BERN"))
    assert first.question.read("It is 4.") is None


def test_the_reasoning_gives_no_answer():
    read = reader(r"Answer: (\d+)")
    assert read("<think>Answer: 4</think>\nI do not know.") is None
    assert read("<think>Answer: 4</think>\nAnswer: 5") == "5"
    assert read("<think>\nAnswer: 4\n") is None


def test_answer_pattern_is_configurable(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "?", "answer": "4"}\n')
    [one] = load(path, r",answer=#### (\d+)", count=1)
    assert one.question.read("#### 3\n#### 4") == "4"


def test_an_order_follows_from_the_seed(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}", "answer": "{n}"}}\n' for n in range(30)))
    names = [[one.question.name for one in load(path, ",shuffle=true", count=5)] for _ in range(2)]
    assert names[0] == names[1] != [f"line-{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        ('{"prompt": "a"}\n', "", "line 1 must be an exercise with prompt and answer, got an error: .*`answer`"),
        ('{"prompt": "a", "answer": "b"}\nx\n', "", "line 2 must be an exercise"),
        ('{"prompt": "a", "answer": "b"}\n', ",answer=(", "answer must be a regular expression, got '\\('"),
        (
            '{"prompt": "a", "answer": "b"}\n',
            ",answer=x",
            "must have a group, in brackets, that matches the answer; got 'x'",
        ),
    ],
)
def test_invalid_file_is_refused(tmp_path, content, spec, message):
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        load(path, spec)


def test_line_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'{"prompt": "\xff", "answer": "b"}\n')
    with pytest.raises(UsageError, match="line 1 must be an exercise"):
        load(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="must be a readable file of exercises"):
        load(tmp_path / "none.jsonl")


def rows(**options):
    given = {
        "prompt": "question", "target": "answer", "target_pattern": r"####\s*(\S+)\s*\Z", "instruction": "Solve.",
        "monitors": ("arithmetic",), "answer": r"answer:\s*([^\n]+)",
    }  # fmt: skip
    return list(from_rows([{"question": "2 + 2?", "answer": "2 + 2 is 4\n#### 4"}], 5, **given | options))


def test_rows_of_a_dataset_become_exercises():
    [one] = rows()
    assert one.question.prompt == (Message("system", "Solve."), Message("user", "2 + 2?"))
    assert one.grade("4")
    assert not one.grade("5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "problem"}, "must have the column 'problem', got answer, question"),
        ({"target_pattern": "(no)"}, "row 0: target_pattern must find the answer in .* got no match of '\\(no\\)'"),
        ({"target_pattern": "(no)?4"}, "row 0: target_pattern must find the answer"),
    ],
)
def test_missing_dataset_columns_are_an_error(options, message):
    with pytest.raises(UsageError, match=message):
        rows(**options)


def test_match_with_empty_group_is_no_answer():
    read = reader(r"answer: (\d+)?")
    assert read("answer: ") is None
    assert read("answer: 4, or answer: none") == "4"


def test_the_hub_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[datasets\]"):
        load_exercises("hub:name=a/b", count=1, seed=0, shipped=SHIPPED)


@pytest.mark.parametrize(
    ("said", "meant"), [("4.0", "4"), ("1,200", "1200"), (" $5 ", "5"), ("`Bern`.", "bern"), ("a  B", "a b"), ("", "")]
)
def test_answers_are_compared_in_a_normal_form(said, meant):
    assert normal(said) == meant


def test_page_lists_each_shipped_task():
    page = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    assert set(SHIPPED) < set(re.findall(r"^\| `(\w+)` \|", page.partition("## Tasks")[2], re.MULTILINE))
    [line] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert msgspec.json.decode(line, type=ExerciseLine).answer == "408"
