"""Reasoning, answer and tags: the same parts however the text was cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen._core.segmenter import Intake
from interwhen._core.transcript import TagPart, ThinkTags
from tests.core.worlds import call_chunk, monitor

TAGS = ("<think>", "</think>")
TEXT = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "</thi", "think>", " ", "\n", "ab", " " * 40])).map(
    "".join
)


def split(chunks, phase):
    tags = ThinkTags(TAGS, phase)
    parts = [part for chunk in chunks for part in tags.feed(chunk)] + tags.drain()
    joined: list[list[str]] = []
    for text, kind in parts:
        if joined and joined[-1][1] == kind == "text":
            joined[-1][0] += text
        else:
            joined.append([text, kind])
    return joined


def reference(text, phase):
    parts = []
    body = text.lstrip()
    lead = len(text) - len(body)
    if phase == "answer":
        if lead > 64 or not body.startswith("<think>"):
            return [[text, "text"]] if text else []
        parts.append([text[: lead + 7], "open"])
        text = text[lead + 7 :]
    before, tag, after = text.partition("</think>")
    parts += [[before, "text"], [tag, "close"], [after, "text"]]
    return [part for part in parts if part[0]]


@settings(max_examples=150, deadline=None)
@given(text=TEXT, cuts=st.lists(st.integers(0, 60)), phase=st.sampled_from(["answer", "reasoning"]))
def test_any_chunking_gives_the_parts_of_the_whole(text, cuts, phase):
    expected = reference(text, phase)
    assert split([text] if text else [], phase) == expected
    assert split(list(text), phase) == expected
    at = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    assert split([text[a:b] for a, b in pairwise(at) if b > a], phase) == expected


@pytest.mark.parametrize("size", range(1, 8))
def test_a_partial_tag_is_held_until_the_end(size):
    tags = ThinkTags(TAGS, "reasoning")
    assert tags.feed("x" + TAGS[1][:size]) == [("x", "text")]
    assert tags.must_see
    assert tags.drain() == [(TAGS[1][:size], "text")]
    assert tags.drain() == []


def test_limited_whitespace_is_held_before_the_first_tag():
    tags = ThinkTags(TAGS, "answer")
    held = sum(not tags.feed(" ") for _ in range(200))
    assert held == 64
    assert tags.done


def test_restart_forgets_half_a_tag():
    tags = ThinkTags(TAGS, "reasoning")
    tags.feed("</thi")
    tags.restart("reasoning", at_start=False)
    assert tags.feed("nk>") == [("nk>", "text")]
    tags.restart("answer", at_start=True)
    assert tags.feed("<think>") == [("<think>", "open")]
    assert tags.phase == "reasoning"


def test_a_second_closing_tag_is_text():
    tags = ThinkTags(TAGS, "answer")
    assert [part.kind for part in tags.feed("<think>so</think>4")] == ["open", "text", "close", "text"]
    assert tags.done
    assert tags.feed("or </think>5") == [TagPart("or </think>5", "text")]


@pytest.mark.parametrize("first", ["<", "</", "</th", "</think"])
def test_a_closing_tag_split_between_chunks_ends_reasoning(first):
    intake = Intake([monitor()], tags=TAGS, phase="reasoning")
    for text in (first, "</think>"[len(first) :] + "so"):
        list(intake.feed(text, 1, "answer"))
    assert intake.phase == "answer"
    assert intake.transcript.text_of("answer") == "so"


def test_tags_mid_answer_stay_text_after_a_cut():
    intake = Intake([monitor()], tags=TAGS, phase="answer")
    for text in ("so it is 5\n", " or 6\n"):
        list(intake.feed(text, 1, "answer"))
    intake.cut(3)
    list(intake.feed("<think>well\n", 1, "answer"))
    assert intake.phase == "answer"
    assert intake.transcript.text_of("answer") == "so <think>well\n"


def test_a_closing_tag_after_a_conclusion_is_text():
    intake = Intake([monitor()], tags=TAGS, phase="reasoning")
    list(intake.feed("so", 1, "answer"))
    intake.conclude(intake.closing(2) + "It is ", "What is it?")
    [due] = intake.feed("4</think>!\n", 1, "answer")
    assert due.segment.text == "4</think>!"
    assert intake.transcript.text_of("answer") == "It is 4</think>!\n"
    assert len(intake.transcript.tags) == 1


@pytest.mark.parametrize("phase", ["reasoning", "answer"])
def test_a_call_belongs_to_the_answer(phase):
    intake = Intake([monitor()], tags=None, phase=phase)
    list(intake.feed("so\n", 1, phase))
    intake.feed_call(call_chunk("first", "1+1=2").call, 1)
    assert intake.phase == "answer"
    assert [phase for _, phase in intake.transcript.phases][-1] == "answer"
