"""``arithmetic`` on a long answer that is one line: read in windows, between sentences."""

from __future__ import annotations

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Segment, Span, Unknown, Violation
from interwhen.testing import ScriptedModel
from interwhen.testing.complexity import Bait, assert_linear
from tests.verifiers.arithmetic_support import judge

from interwhen_verifiers._arithmetic.windows import windows
from interwhen_verifiers.arithmetic import MAX_PARTS, MAX_SEGMENT, check, extract, recognize

SENTENCES = [f"Then there are {n} + {n} = {2 * n} of them in the box." for n in range(2_000)]


@given(st.lists(st.sampled_from(["One two.", "3.", "It is 4.5 and more.", "a", "Ab!", "(so it is.)"]), max_size=60))
def test_windows_cover_text_and_end_at_sentences(parts: list[str]) -> None:
    text = " ".join(parts)
    bounds = list(windows(text, 40))
    assert "".join(text[start:end] for start, end in bounds) == text
    for start, end in bounds[:-1]:
        assert text[start:end].endswith((". ", "! "))
        assert not text[start:end].endswith(("3. ", "4. "))
        assert end - start <= 40 or not any(mark in text[start : end - 2].strip() for mark in ("wo. ", "b! "))


def test_every_equation_of_a_long_line_is_read() -> None:
    text = " ".join(SENTENCES)
    assert len(text) > 4 * MAX_SEGMENT
    claims = list(extract(Segment(text, Span(5, 5 + len(text)), "answer")))
    assert len(claims) == len(SENTENCES)
    for claim, sentence in zip(claims, SENTENCES, strict=True):
        assert claim.span is not None
        assert text[claim.span.start - 5 : claim.span.end - 5] in sentence
    places = recognize(Segment(text, Span(0, len(text)), "answer"))
    assert sum(isinstance(each, Span) for each in places) == len(SENTENCES)


def test_false_equation_in_long_text_is_repaired() -> None:
    wrong = [*SENTENCES]
    wrong[1_500] = "Then there are 3 + 4 = 8 of them in the box."
    text = " ".join(wrong)
    model = ScriptedModel(lambda request: [" of them."] if request.pieces else [text])
    with interwhen.run_sync(model, "How many of the 3 and 4 are in the box?", monitors=["arithmetic"]) as run:
        result = run.drain()
    assert [text[one.span.start : one.span.end] for one in result.violations if one.span] == ["8"]
    assert result.text.endswith("Then there are 3 + 4 = 7 of them.")


def test_one_sentence_that_is_too_long_is_unknown() -> None:
    text = "There are 1 + 1 = 2 of them. " + "and so on " * (MAX_SEGMENT // 5) + "1 + 1 = 3"
    claims = list(extract(Segment(text, Span(0, len(text)), "answer")))
    assert [claim.doubt for claim in claims] == ["", f"a text of more than {MAX_SEGMENT:,} characters is not read"]
    from interwhen_verifiers.arithmetic import arithmetic

    verdict = arithmetic().verifier.check(claims[1])
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize("part", ["a. ", ". ", "ab. 1 = 1 ", "1 + 1 = 2. ", "a", "ab) "])
def test_cutting_is_linear(part: str) -> None:
    assert_linear(lambda text: list(windows(text, 1_000)), baits=[Bait(part)], size=20_000)


FILLER = "And so it goes on and on in the box. " * 1_200
"""More than two windows."""


@pytest.mark.parametrize(
    ("opening", "equation"),
    [
        ("Let a * b = a + 2b.", "So we get 3 * 4 = 11 in the end."),
        ("We work modulo 8 here.", "So we get 5 + 4 = 1 in the end."),
        ("The student's work is this: 1 + 1 = 2.", "Then 3 + 4 = 8 in the end."),
        ("Here is a list with mistakes: 1 + 1 = 2.", "Then 3 + 4 = 8 in the end."),
        ("Let's try some values. First 1 + 1 = 2.", "Then 3 + 4 = 8 in the end."),
    ],
)
def test_opening_of_long_line_applies_to_its_end(opening: str, equation: str) -> None:
    text = f"{opening} {FILLER}{equation}"
    assert len(text) > 2 * MAX_SEGMENT
    assert not any(isinstance(statement.verdict, Violation) for statement in judge(text))
    plain = judge(f"It is so. {FILLER}{equation}\n{equation}")
    assert [isinstance(statement.verdict, Violation) for statement in plain] == [True, True]


def test_setting_announced_in_line_ends_with_it() -> None:
    text = f"The student's work is this: 1 + 1 = 2. {FILLER}\nWe start again.\nThen 3 + 4 = 8."
    assert isinstance(judge(text)[-1].verdict, Violation)


def test_segment_lines_beyond_limit_are_unknown():
    text = "1 + 1 = 2\n" * (MAX_PARTS + 5)
    claims = list(extract(Segment(text, Span(7, 7 + len(text)), "answer")))
    assert len(claims) == MAX_PARTS + 1
    assert claims[-1].span.end == 7 + len(text)
    assert claims[-1].span.start == 7 + 10 * MAX_PARTS
    assert isinstance(check(claims[-1]), Unknown)
