"""The command ``interwhen export``."""

from __future__ import annotations

import json

import pytest
from interwhen import ToolCall, UsageError
from interwhen.training._decontamination import Decontaminator, read_texts
from interwhen.training._rows import Chat
from interwhen_launcher.__main__ import main


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_export_writes_rows_and_reports_omissions(record, tmp_path, capsys):
    path, _ = record(["1+1=2\nso\n"], answered=True)
    out = tmp_path / "rows.jsonl"
    assert call("export", "--format", "prm", path, "-o", out) == 0
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["labels"] == [True]
    said = capsys.readouterr().err.replace("\n", "")
    assert "1 rows from 1 journals" in said
    assert "left out: 1 lines without a claim" in said


def test_decontamination_leaves_out_tested_questions(record, tmp_path, capsys):
    path, _ = record(["1+1=2\n"], answered=True)
    tests = tmp_path / "tests.jsonl"
    tests.write_text(json.dumps({"question": ["How much is it?"], "n": 3}) + "\n")
    out = tmp_path / "rows.jsonl"
    assert call("export", "--format", "tpt", path, "-o", out, "--decontaminate", tests) == 0
    assert out.read_text() == ""
    assert "overlap" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ['{"to": ["the quick brown fox\\njumps"]}', "the quick brown fox, jumps {"])
def test_tool_call_arguments_are_searched(arguments):
    calls = [{"id": "1", "type": "function", "function": {"name": "say", "arguments": arguments}}]
    turns = ({"role": "user", "content": "go"}, {"role": "assistant", "content": None, "tool_calls": calls})
    assert Decontaminator(["quick brown fox jumps"], size=4).is_contaminated(Chat("a", turns, ()).searched)
    assert not Decontaminator(["quick brown cat jumps"], size=4).is_contaminated(Chat("a", turns, ()).searched)


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "type": "custom", "custom": {"name": "say", "input": "the quick brown fox jumps"}},
        {"function_call": {"name": "say", "arguments": '{"what": "the quick brown fox jumps"}'}},
    ],
)
def test_every_kind_of_call_is_searched(call):
    said = call if "function_call" in call else {"tool_calls": [call]}
    chat = Chat("a", ({"role": "assistant", "content": None, **said},), ())
    assert Decontaminator(["quick brown fox jumps"], size=4).is_contaminated(chat.searched)


def test_a_custom_call_is_exported(record, tmp_path):
    call_of = ToolCall("1", "say", "the quick brown fox jumps", "custom")
    path, _ = record([["1+1=2\n", call_of]], answered=True)
    assert call("export", "--format", "messages", path, "-o", tmp_path / "x") == 0
    assert "quick brown fox" in (tmp_path / "x").read_text()


def test_role_names_are_not_searched(tmp_path):
    turns = ({"role": "user", "content": "go"}, {"role": "assistant", "content": "gone", "reasoning_content": "well"})
    (tmp_path / "tests.jsonl").write_text('{"messages": [{"role": "user", "content": "something else"}]}\n')
    texts = read_texts(tmp_path / "tests.jsonl")
    assert texts == ["something else"]
    chat = Chat("a", turns, ())
    assert not Decontaminator(["user", "assistant"]).is_contaminated(chat.searched)
    assert Decontaminator(["go well gone"]).is_contaminated(chat.searched)  # in the order in which it is said


def test_wrong_usage_ends_with_2(record, tmp_path, capsys):
    path, _ = record(["1+1=2\n"], answered=True)
    assert call("export", "--format", "tpt", path, "-o", path) == 2
    assert call("export", "--format", "xml", path, "-o", tmp_path / "x") == 2
    assert call("export", "--format", "tpt", tmp_path / "gone", "-o", tmp_path / "x") == 2
    assert call("export", "--format", "tpt", path, "-o", tmp_path / "x", "--decontaminate", tmp_path / "gone") == 2
    assert "must be a readable file" in capsys.readouterr().err


def test_texts_are_lines_or_the_strings_of_objects(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two\n")
    assert read_texts(tmp_path / "a.txt") == ["one", " two"]
    (tmp_path / "a.jsonl").write_text('{"q": "one", "more": [{"x": "two"}, 3]}\n')
    assert read_texts(tmp_path / "a.jsonl") == ["one", "two"]
    (tmp_path / "b.jsonl").write_text('"one"\n{\n')
    with pytest.raises(UsageError, match="line 2"):
        read_texts(tmp_path / "b.jsonl")


def test_overlap_is_a_run_of_equal_words():
    text = "the quick brown fox jumps over the lazy dog"
    decontaminator = Decontaminator([text], size=4)
    assert decontaminator.is_contaminated("He saw: Quick, BROWN fox jumps.")
    assert not decontaminator.is_contaminated("quick brown cat jumps over the dog")
    assert Decontaminator(["lazy dog"], size=4).is_contaminated("a lazy dog")
    assert not Decontaminator([], size=4).is_contaminated(text)
    with pytest.raises(UsageError, match="at least 1"):
        Decontaminator([text], size=0)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("one two three", "zero one _two_ three four"),
        ("one STRASSE three", "one straße three"),
        ("a résumé here", "a re\u0301sume\u0301 here"),
    ],
)
def test_case_punctuation_and_unicode_forms_are_ignored(text, row):
    assert Decontaminator([text]).is_contaminated(row)
    assert Decontaminator([row[:40]]).is_contaminated(row)


def test_the_output_must_not_be_the_test_data(record, tmp_path, capsys):
    path, _ = record(["1+1=2\n"])
    tests = tmp_path / "tests.txt"
    tests.write_text("a b c\n")
    assert call("export", "--format", "prm", path, "-o", tmp_path / "." / "tests.txt", "--decontaminate", tests) == 2
    assert "--output must not be a file of --decontaminate" in capsys.readouterr().err
    assert tests.read_text() == "a b c\n"
