"""What becomes of runs as training data: nothing unknown is correct, and what we wrote is marked."""

from __future__ import annotations

import json
import os

import interwhen
import pytest
from interwhen import Budgets, Feedback, Fork, Message, Repair, Resample, Unknown, UsageError
from interwhen.journal import JournalError
from interwhen.remedies import Stop
from interwhen.testing import Say
from interwhen.training import export_journals
from interwhen.training._export import FORMATS
from sums import judge, slow, watch

GOOD = "1+1=2\nso\n2+2=4\n"


@pytest.fixture
def rows(tmp_path):
    def make(paths, form, **options):
        out = tmp_path / "out.jsonl"
        done = export_journals(paths if isinstance(paths, list) else [paths], out, format=form, **options)
        exported = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert len(exported) == done.rows
        return exported, done.left_out

    return make


# ---------------------------------------------------------------------- whole traces


def test_verified_run_is_document_with_reasoning(record, rows):
    path, result = record([GOOD], answered=True)
    assert result.status == "verified"
    ((row,), _) = rows(path, "tpt")
    assert row["text"] == row["document"] + row["thinking"] == "How much is it?\n" + GOOD
    assert row["spans"] == []


def test_unverified_run_gives_no_document_or_chat(record, rows):
    unsure = slow(0.0, function=lambda _claim: Unknown("who knows"))
    path, result = record([GOOD], watch(unsure), answered=True)
    assert result.status == "unverified"
    for form in ("tpt", "messages"):
        assert rows(path, form) == ([], {"runs without a verified answer": 1})


def test_verified_steps_are_no_verified_answer(record, rows):
    path, result = record([GOOD])
    assert result.label == "steps verified"
    for form in ("tpt", "messages"):
        assert rows(path, form) == ([], {"runs without a verified answer": 1})


def test_inserted_text_is_marked_in_documents(record, rows):
    path, result = record(["1+1=3\n", "\n2+2=4\n"], watch(remedy=Repair()), answered=True)
    assert result.text == "1+1=2\n2+2=4\n"
    ((row,), _) = rows(path, "tpt")
    assert [(row["text"][span["start"] : span["end"]], span["origin"]) for span in row["spans"]] == [("2", "repair")]


def test_feedback_and_refuted_text_are_marked_in_chats(record, rows):
    path, result = record(
        ["<think>1+1=3\nmore\n", "1+1=2\n</think>two\n"], watch(remedy=Feedback("append")), answered=True
    )
    assert result.status == "verified"
    ((row,), _) = rows(path, "messages")
    assert row["messages"][0] == {"role": "user", "content": "How much is it?\n"}
    assert row["messages"][1]["content"] == "two\n"
    content = row["messages"][1]["reasoning_content"]
    assert content == result.reasoning
    marked = {span["origin"]: content[span["start"] : span["end"]] for span in row["spans"]}
    assert marked["refuted"].startswith("1+1=3")
    assert marked["feedback"] in result.text
    assert {(span["message"], span["field"]) for span in row["spans"]} == {(1, "reasoning_content")}
    learned = "".join(c for at, c in enumerate(content) if not any(s["start"] <= at < s["end"] for s in row["spans"]))
    assert "1+1=3" not in learned
    assert learned.endswith("1+1=2\n")


@pytest.mark.parametrize("form", ["tpt", "messages"])
def test_observed_violation_is_left_out_or_marked(record, rows, form):
    path, result = record(["1+1=3\n2+2=4\n"], watch(delivery="observe", required=False), answered=True)
    assert result.answer_verified
    assert len(result.violations) == 1
    assert rows(path, form) == ([], {"runs with a line that was refuted and not corrected": 1})
    ((row,), left_out) = rows(path, form, keep_refuted=True)
    assert left_out == {}
    text = row["text"] if form == "tpt" else row["messages"][1]["content"]
    [span] = row["spans"]
    assert (text[span["start"] : span["end"]].strip(), span["origin"]) == ("1+1=3", "refuted")


@pytest.mark.parametrize("form", ["prm", "preference"])
def test_labelled_formats_refuse_keep_refuted(record, rows, form):
    path, _ = record(["1+1=2\n"], answered=True)
    with pytest.raises(UsageError, match="keep_refuted must be used with tpt or messages, got"):
        rows(path, form, keep_refuted=True)


def test_reasoning_has_its_own_field_in_chats(record, rows):
    path, _ = record(
        ["<think>1+1=2\n</think>3+3=6\n"], prompt=[Message("system", "Be brief."), Message("user", "Q")], answered=True
    )
    ((row,), _) = rows(path, "messages")
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][2]["reasoning_content"] == "1+1=2\n"
    assert row["messages"][2]["content"] == "3+3=6\n"


def test_reasoning_from_a_field_is_kept_separate(record, rows):
    path, _ = record(lambda _request: [Say("1+1=2\n", "reasoning"), Say("3+3=6\n", "answer")], answered=True)
    ((row,), _) = rows(path, "messages")
    assert row["messages"][1]["reasoning_content"] == "1+1=2\n"
    assert row["messages"][1]["content"] == "3+3=6\n"


def test_spans_count_from_the_start_of_their_field(record, rows):
    path, result = record(["<think>1+1=3\n", "\n</think>3+3=6\n"], watch(remedy=Repair()), answered=True)
    assert result.status == "verified"
    ((row,), _) = rows(path, "messages")
    ((span),) = row["spans"]
    assert span["field"] == "reasoning_content"
    assert row["messages"][1]["reasoning_content"][span["start"] : span["end"]] == "2"


# ---------------------------------------------------------------------- steps


def test_lines_are_labelled_by_their_verdicts(record, rows):
    path, _ = record(["1+1=2\n2+2=4\n3+3=7\n", "3+3=6\n"], watch(remedy=Resample()))
    prm_rows, _ = rows(path, "prm")
    assert [(row["completions"], row["labels"]) for row in prm_rows] == [
        (["1+1=2", "2+2=4", "3+3=7"], [True, True, False]),
        (["3+3=6"], [True]),
    ]
    assert prm_rows[0]["prompt"] == "How much is it?\n"
    assert prm_rows[1]["prompt"] == "How much is it?\n1+1=2\n2+2=4\n"


def test_unjudged_line_is_context_and_no_step(record, rows):
    path, _ = record([GOOD])
    prm_rows, left_out = rows(path, "prm")
    assert [(row["prompt"][16:], row["completions"]) for row in prm_rows] == [
        ("", ["1+1=2"]),
        ("1+1=2\nso\n", ["2+2=4"]),
    ]
    assert left_out == {"lines without a claim": 1}


def unsure_of_twos(claim):
    return Unknown("a two") if claim.left == 2 else judge(claim)


def fails_at_twos(claim):
    if claim.left == 2:
        raise RuntimeError("broken")
    return judge(claim)


@pytest.mark.parametrize("function", [unsure_of_twos, fails_at_twos])
def test_unknown_verdict_is_not_labelled_correct(record, rows, function):
    path, _ = record(["1+1=2\n2+2=4 and 4+4=8\n5+5=10\n"], watch(slow(0.0, function=function)))
    prm_rows, left_out = rows(path, "prm")
    assert [row["completions"] for row in prm_rows] == [["1+1=2"], ["5+5=10"]]
    assert all(all(row["labels"]) for row in prm_rows)
    assert left_out == {"lines that are open": 1}


@pytest.mark.parametrize("function", [unsure_of_twos, fails_at_twos])
def test_unproven_final_line_is_not_labelled_wrong(record, rows, function):
    path, result = record(["1+1=2\n2+2=4\n"], watch(slow(0.0, function=function), unproven="closed"))
    assert result.status == "abstained"
    prm_rows, left_out = rows(path, "prm")
    assert [(row["completions"], row["labels"]) for row in prm_rows] == [(["1+1=2"], [True])]
    assert left_out == {"lines that are open": 1}
    assert rows(path, "preference") == ([], {"interrupts that were not corrected": 1})


@pytest.mark.parametrize(("said", "lines"), [("1+1=2\n2+2=4\n", 2), ("1+1=2", 1)], ids=["chunk", "end"])
def test_lines_cut_by_fork_budget_are_open(record, rows, said, lines):
    # A chunk and the end of the stream can end the run, too, because no fork is left for their lines.
    fork = Fork("Which sums?", lambda _reply, _segment: ())
    gate = watch(extractor=fork, unproven="closed", delivery="gate")
    path, result = record([[Say(said)]], gate, budgets=Budgets(forks=0))
    assert (result.status, result.text) == ("abstained", "")
    assert rows(path, "prm") == ([], {"lines that are open": lines})


def test_line_with_inserted_text_is_no_step(record, rows):
    path, result = record(["1+1=3\n", "\n2+2=4\n"], watch(remedy=Repair()))
    assert result.status == "verified"
    prm_rows, left_out = rows(path, "prm")
    assert [(row["completions"], row["labels"]) for row in prm_rows] == [(["1+1=3"], [False]), (["2+2=4"], [True])]
    (span,) = prm_rows[1]["prompt_spans"]
    assert prm_rows[1]["prompt"][span["start"] : span["end"]] == "2"
    assert left_out == {}  # what is left of the repaired line is blank


def test_stopped_run_exports_its_steps(record, rows):
    path, result = record(["1+1=2\n2+2=5\n"], watch(remedy=Stop()))
    assert result.status == "unverified"
    prm_rows, _ = rows(path, "prm")
    assert [(row["completions"], row["labels"]) for row in prm_rows] == [(["1+1=2", "2+2=5"], [True, False])]


# ---------------------------------------------------------------------- preferences


@pytest.mark.parametrize(
    ("remedy", "replies", "prefix", "rejected", "chosen"),
    [
        (Repair(), ["1+1=2\n2+2=5 so\n", " so\n"], "1+1=2\n2+2=", "5 so\n", "4 so\n"),
        (Resample(), ["1+1=2\n2+2=5\n", "2+2=4\nx\n"], "1+1=2\n", "2+2=5\n", "2+2=4\n"),
        (Feedback("rewind"), ["1+1=2\n2+2=5\n", "well\n2+2=4\nx\n"], "1+1=2\n", "2+2=5\n", "well\n2+2=4\n"),
        (Feedback("append"), ["1+1=2\n2+2=5\n", "2+2=4\nx\n"], "1+1=2\n", "2+2=5\n", "2+2=4\n"),
    ],
    ids=["repair", "resample", "rewind", "append"],
)
def test_interrupt_gives_preference_pair_with_shared_prefix(record, rows, remedy, replies, prefix, rejected, chosen):
    path, _ = record(replies, watch(remedy=remedy))
    ((row,), _) = rows(path, "preference")
    assert (row["prefix"], row["rejected"], row["chosen"]) == (prefix, rejected, chosen)
    assert row["prompt"] == "How much is it?\n" + prefix
    marked = [row["chosen"][span["start"] : span["end"]] for span in row["chosen_spans"]]
    assert marked == (["4"] if isinstance(remedy, Repair) else [])
    assert row["monitor"] == "sums"


def test_unverified_correction_is_not_preferred(record, rows):
    path, _ = record(["2+2=5\n", "2+2=4\n"], watch(slow(0.0, function=_refutes_then_wonders), remedy=Resample()))
    assert rows(path, "preference") == ([], {"interrupts without a verified correction": 1})


def _refutes_then_wonders(claim):
    return judge(claim) if claim.total == 5 else Unknown("hm")


def test_interrupt_ending_the_run_gives_no_pair(record, rows):
    path, _ = record(["1+1=2\n2+2=5\n"], watch(remedy=Stop()))
    assert rows(path, "preference") == ([], {"interrupts that were not corrected": 1})


def test_only_the_final_correction_is_preferred(record, rows):
    path, result = record(["2+2=5\n", "2+2=6\n", "2+2=4\n"], watch(remedy=Resample()))
    assert result.status == "verified"
    preferences, _ = rows(path, "preference")
    assert [(row["rejected"], row["chosen"]) for row in preferences] == [("2+2=5\n", "2+2=4\n"), ("2+2=6\n", "2+2=4\n")]


# ---------------------------------------------------------------------- the file


def test_export_is_deterministic(record, tmp_path):
    paths = [record(["1+1=2\n2+2=5\n", "4\nx\n"])[0], record([GOOD])[0]]
    for form in FORMATS:
        first, again = tmp_path / "a", tmp_path / "b"
        export_journals(paths, first, format=form)
        export_journals(paths, again, format=form)
        assert first.read_bytes() == again.read_bytes()


def test_a_row_is_written_once(record, rows):
    path, _ = record([GOOD], answered=True)
    tpt_rows, left_out = rows([path, path], "tpt")
    assert len(tpt_rows) == 1
    assert left_out == {"duplicate rows": 1}


def test_unfinished_run_exports_its_steps(record, rows):
    path, _ = record(["1+1=2\n2+2=4\n"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    prm_rows, _ = rows(path, "prm")
    assert prm_rows[0]["completions"][0] == "1+1=2"


def test_rows_overlapping_with_test_are_left_out(record, rows):
    path, _ = record([GOOD], answered=True)
    assert rows(path, "tpt", keep_out=["how MUCH, is it"])[1] == {"rows that overlap with test data": 1}
    assert len(rows(path, "tpt", keep_out=["how much was it", "", "?!"])[0]) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_invalid_journal_is_refused(form, tmp_path):
    path = tmp_path / "x"
    path.write_text("hello")
    with pytest.raises(JournalError):
        export_journals([path], tmp_path / "out", format=form)
    assert not (tmp_path / "out").exists()


def test_invalid_export_arguments_are_refused(record, tmp_path):
    with pytest.raises(UsageError, match="choose one of"):
        export_journals([tmp_path / "x"], tmp_path / "out", format="xml")
    with pytest.raises(UsageError, match="needs at least one journal"):
        export_journals([], tmp_path / "out", format="tpt")
    path, _ = record([GOOD])
    with pytest.raises(UsageError, match="must be a file that can be written"):
        export_journals([path], tmp_path / "no" / "out", format="tpt")


def test_a_journal_is_not_overwritten(record, tmp_path):
    path, _ = record([GOOD])
    data = path.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(path)
    for to in (path, link, tmp_path / "x" / ".." / path.name):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="must not be one of the journals"):
            export_journals([path], to, format="prm")
    assert path.read_bytes() == data


@pytest.mark.parametrize("to", ["", "a\0b"])
def test_invalid_output_name_is_refused(to, record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="must be a file that can be written"):
        export_journals([record([GOOD])[0]], to, format="prm")


def test_single_value_instead_of_list_is_refused(record, tmp_path):
    path, _ = record([GOOD])
    for journals in (path, str(path)):
        with pytest.raises(UsageError, match="journals must be a list"):
            export_journals(journals, tmp_path / "out.jsonl", format="prm")
    with pytest.raises(UsageError, match="keep_out must be a list"):
        export_journals([path], tmp_path / "out.jsonl", format="prm", keep_out="How much is it?")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_pipe_is_written_and_not_replaced(record, tmp_path):
    path, _ = record([GOOD])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = export_journals([path], pipe, format="prm")
    assert os.read(reader, 1 << 16).count(b"\n") == done.rows > 0
    os.close(reader)
    assert pipe.is_fifo()


def test_steps_have_no_line_ends(record, rows):
    (prm_rows, _) = rows(record(["1+1=2\r\n2+2=4\r\n"])[0], "prm")
    assert prm_rows[0]["completions"] == ["1+1=2", "2+2=4"]


def test_lone_surrogate_is_replaced_in_export(record, rows):
    path, _ = record(["1+1=2 \ud800\n"], answered=True)
    ((row,), _) = rows(path, "tpt")
    assert row["thinking"] == "1+1=2 ?\n"


def test_the_package_is_not_imported_with_interwhen():
    assert not hasattr(interwhen, "export_journals")


def test_check_open_at_the_cut_is_no_verdict(record, rows):
    def doubting(claim):
        return Unknown("no idea")

    late = watch(slow(0.5, name="late", function=doubting), name="late", delivery="observe")
    path, _ = record(["1+1=2\n2+2=5\n", "2+2=4\n"], watch(remedy=Resample()), late)
    prm_rows, left_out = rows(path, "prm")
    assert [(row["completions"], row["labels"]) for row in prm_rows] == [(["2+2=5"], [False])]
    assert left_out == {"lines that are open": 2}


def test_overlap_is_detected_across_the_continuation_start(record, rows):
    path, _ = record(["1+1=2\n2+2=5\n", "2+2=4\n"], watch(remedy=Resample()))
    assert rows(path, "preference", keep_out=["1+1=2 2+2=5"])[1] == {"rows that overlap with test data": 1}
