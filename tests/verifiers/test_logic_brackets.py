"""Brackets: stacks after each of them, changed in one place, against a stack of our own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Pass, Violation
from tests.verifiers.logic_support import judged, kinds, refuted

from interwhen_verifiers.puzzles._logic.brackets import read_brackets

CLOSES = dict(zip("([{<", ")]}>", strict=True))
PROMPT = "Complete the rest of the sequence, making sure that the parentheses are closed properly. Input: {}"


@st.composite
def sequences(draw):
    given_, stacks = "", [""]
    for closes in draw(st.lists(st.booleans(), min_size=2, max_size=14)):
        stack = stacks[-1]
        if closes and stack:
            given_, stack = given_ + CLOSES[stack[-1]], stack[:-1]
        else:
            sign = draw(st.sampled_from("([{<"))
            given_, stack = given_ + sign, stack + sign
        stacks.append(stack)
    return given_, stacks


def told(given_, stacks, *, numbered=True):
    lines = ["We keep track of the stack.", "0: empty stack" if numbered else "stack: empty"]
    for at, sign in enumerate(given_, 1):
        lines.append(f"{f'{at}: ' if numbered else ''}{sign} ; stack: {' '.join(stacks[at]) or 'empty'}")
    end = stacks[-1]
    popped = ", ".join(f'"{sign}"' for sign in reversed(end))
    needed = ", ".join(f'"{CLOSES[sign]}"' for sign in reversed(end))
    lines.append(f'Now, we have reached the end. The final stack is "{" ".join(end)}".')
    if end:
        lines.append(f"We will need to pop out {popped} one by one in that order.")
        lines.append(f"So, we need {needed}. So the answer is {' '.join(CLOSES[sign] for sign in reversed(end))}.")
    return lines


@settings(deadline=None, max_examples=40)
@given(sequences(), st.booleans())
def test_right_stacks_pass(sequence, numbered):
    given_, stacks = sequence
    verdicts = [
        verdict
        for line in judged(PROMPT.format(" ".join(given_)), told(*sequence, numbered=numbered))
        for _, verdict in line
    ]
    assert len(verdicts) == 2 * len(given_) + 1 + 3 * bool(stacks[-1])
    assert all(isinstance(verdict, Pass) for verdict in verdicts)


@settings(deadline=None, max_examples=40)
@given(sequences(), st.data())
def test_any_wrong_stack_is_refuted_and_repaired(sequence, data):
    given_, stacks = sequence
    at = data.draw(st.integers(1, len(given_)))
    # A stack that is written from its top is another spelling.
    wrong = data.draw(st.text("([{<", max_size=5).filter(lambda text: text not in (stacks[at], stacks[at][::-1])))
    lines = told(given_, [*stacks[:at], wrong, *stacks[at + 1 :]])
    line_verdicts = judged(PROMPT.format(" ".join(given_)), lines)
    bad = [(quote, verdict) for quote, verdict in line_verdicts[at + 1] if isinstance(verdict, Violation)]
    ((quote, verdict),) = bad
    assert quote == (" ".join(wrong) or "empty")
    # The last stack would tell the answer.
    assert verdict.repair == (None if at == len(given_) else " ".join(stacks[at]) or "empty")
    assert refuted(PROMPT.format(given_), lines)[0] == at + 1


@settings(deadline=None, max_examples=40)
@given(sequences(), st.data())
def test_any_wrong_bracket_is_refuted(sequence, data):
    given_, _ = sequence
    at = data.draw(st.integers(0, len(given_) - 1))
    wrong = data.draw(st.sampled_from([sign for sign in "([{<)]}>" if sign != given_[at]]))
    lines = told(*sequence)
    lines[at + 2] = lines[at + 2].replace(f"{at + 1}: {given_[at]}", f"{at + 1}: {wrong}")
    assert refuted(PROMPT.format(given_), lines) == [at + 2]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('The final stack is "( [ [".', "that is not the stack after 4 brackets"),
        ("The final stack is empty.", "that is not the stack"),
        ('We will need to pop out "(", "[" one by one in that order.', "'(' is wrong: bracket 1"),
        ('So, we need "]".', "there are not 1 open brackets"),
        ("So the answer is ) ]", "does not close all"),
        ("So the answer is ( [ < > )", "does not close all"),
    ],
)
def test_wrong_final_brackets_are_refuted_without_repair(line, why):
    ((_, verdict),) = judged(PROMPT.format("( [ < >"), [line])[0]
    assert why in verdict.why
    assert verdict.repair is None


@pytest.mark.parametrize(
    "line", ["So the answer is ] )", "So the answer is ( [ < > ] )", r"\boxed{] )}", 'Answer: "])"']
)
def test_right_answers_pass(line):
    assert kinds(PROMPT.format("( [ < >"), line) == ["Pass"]


def test_extra_bracket_step_is_refuted():
    lines = ["1: ( ; stack: (", "2: ( ; stack: ( (", "3: ( ; stack: ( ( ("]
    assert refuted(PROMPT.format("( ("), lines) == [2]


@pytest.mark.parametrize("line", ["So the answer is unclear", "f(x) = [1]", "stack: ( [", "The stack is [ (."])
def test_other_lines_are_unknown(line):
    assert all(kind == "Unknown" for kind in kinds(PROMPT.format("( [ < >"), line))


@pytest.mark.parametrize("prompt", ["", "f(x)", "Input: 3", "Input: ( ]", "Input: )", "Input: ("])
def test_unsupported_prompt_is_not_read(prompt):
    assert read_brackets(prompt) is None


def test_brackets_alone_are_a_prompt():
    assert read_brackets(" [ < ( ").closing == ")>]"
