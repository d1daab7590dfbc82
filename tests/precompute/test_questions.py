"""Questions that were asked before: from a text file, from JSON lines, from journals; and which producers get them."""

import json

import interwhen
import pytest
from interwhen import UsageError
from interwhen.precompute._producer import load_producers
from interwhen.precompute._questions import read_questions, with_questions
from interwhen.registry import PluginError
from interwhen.testing import ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]


def test_a_text_has_a_question_on_each_line(tmp_path):
    path = tmp_path / "asked.txt"
    path.write_text(f"How many?\n\n  How much? \nHow many?\n{'x' * 401}\n")
    assert read_questions(path) == ["How many?", "How much?", "How many?"]


def test_json_lines_have_the_field_question(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(json.dumps({"question": text, "at": 1}) for text in ("How many?", "How much?")))
    assert read_questions(path) == ["How many?", "How much?"]
    path.write_text('{"question": "How many?"}\n{"query": "How much?"}\n')
    with pytest.raises(UsageError, match='must be a JSON object with the field "question"'):
        read_questions(path)
    path.write_text('{"question": "How many?"}\n' + "[" * 100_000)
    with pytest.raises(UsageError, match='must be a JSON object with the field "question"'):
        read_questions(path)
    with pytest.raises(UsageError, match="must be readable"):
        read_questions(tmp_path / "none.txt")


def test_question_files_may_contain_unicode_separators(tmp_path):
    path = tmp_path / "asked.txt"
    path.write_text("\ufeffHow many?\r\nHow much?\r\n", encoding="utf-8")
    assert read_questions(path) == ["How many?", "How much?"]
    path = tmp_path / "asked.JSONL"
    path.write_text('\ufeff{"question": "How\u2028many?"}\r\n{"question": "How much?"}\n', encoding="utf-8")
    assert read_questions(path) == ["How\u2028many?", "How much?"]


async def test_a_journal_has_the_question_of_its_run(tmp_path):
    path = tmp_path / "run.iwj"
    prompt = "From the text:\nJo earns 180 dollars.\n\nHow many dollars does Jo earn?"
    async with interwhen.run(ScriptedModel(["180\n"]), prompt, journal=path) as run:
        await run.drain()
    assert read_questions(path) == ["How many dollars does Jo earn?"]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UsageError, match=r"the journal .* must be readable"):
        read_questions(path)


async def test_a_folder_has_the_questions_of_its_journals(tmp_path):
    for name, prompt in (("b.journal", "How many?"), ("a.iwj", "How much?")):
        async with interwhen.run(ScriptedModel(["180\n"]), prompt, journal=tmp_path / name) as run:
            await run.drain()
    (tmp_path / "c.journal").write_bytes(b"half of a ")
    (tmp_path / "notes.txt").write_text("Is this a question?")
    assert read_questions(tmp_path) == ["How much?", "How many?"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "c.journal").write_bytes((tmp_path / "b.journal").read_bytes()[:20])
    with pytest.raises(UsageError, match=r"must have journals that can be read, got 1 files"):
        read_questions(tmp_path / "empty")


def test_questions_reach_only_producers_with_that_option():
    specs = with_questions(["prefixes:share=0.5", 'answers:anticipate=2,questions=["a?"]'], ["b?", "c?"])
    assert specs == [
        {"name": "prefixes", "share": "0.5"},
        {"name": "answers", "anticipate": "2", "questions": ["a?", "b?", "c?"]},
    ]
    _, answers = load_producers(specs)
    assert (answers._anticipate, len(answers._questions)) == (2, 3)
    assert {spec["name"] for spec in with_questions([], [])} == {"answers", "verifiers", "prefixes"}
    with pytest.raises(UsageError, match=r"none of prefixes does; add --producer answers"):
        with_questions(["prefixes"], ["a?"])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("answers:anticipat=2", "its options must be among anticipate, max_tokens, questions"),
        ("answers:anticipate=two", "its option anticipate must have a value that fits"),
        ("answers:deadline=2", "its options must be among anticipate, max_tokens"),
        ("answers:anticipate=-1", "anticipate must be a whole number of at least 0"),
        ({"anticipate": 2}, "must be described with its name"),
        ("anwers", "not installed"),
        ("facts", "got one that was removed .no cheap check .*: 0 of 24 true sentences were accepted"),
        ("answers:derivations=2", "got 'derivations' .a model that agrees with itself is no evidence"),
    ],
)
def test_unknown_producer_option_is_an_error(spec, why):
    with pytest.raises(interwhen.InterwhenError, match=why):
        load_producers([spec])


def test_questions_for_removed_producer_are_refused():
    with pytest.raises(PluginError, match="got one that was removed"):
        with_questions(["facts"], ["Who?"])
