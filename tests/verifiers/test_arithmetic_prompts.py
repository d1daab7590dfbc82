"""What a prompt or the words around an equation say about it: riddles, orders of operations, labels, denials."""

from __future__ import annotations

import pytest
from interwhen import Pass, Unknown, Violation
from tests.verifiers.arithmetic_support import judge

RIDDLE = "If 2 + 3 = 10, 7 + 2 = 63 and 6 + 5 = 66, then what is 9 + 7?"
CLAIM = "Is 17*24 = 418 correct?"
CHAIN = "Work out the chain from left to right. The chain is 12, + 30, * 2"


def refuted(text: str, prompt: str) -> list[str]:
    return [statement.text for statement in judge(text, prompt) if isinstance(statement.verdict, Violation)]


@pytest.mark.parametrize(
    "text",
    ["2+3=10", r"\(2 + 3 = 10\)", "2 + 3 = **10**", "7 + 2 = 63 = 7 × 9", "**6+5** = 66", "9 + 7 = 144"],
)
def test_equations_of_a_riddle_are_not_refuted(text: str) -> None:
    assert refuted(text, "What is it?")
    assert not refuted(text, RIDDLE)


@pytest.mark.parametrize(
    "text", ["17 × 24 = 418", "The claim is 17 × 24 = 418.", "Let me check $17*24 = 418$: it is 408."]
)
def test_prompt_equation_in_other_spelling_is_not_refuted(text: str) -> None:
    assert not refuted(text, CLAIM)


def test_stated_equation_excuses_only_itself() -> None:
    assert refuted("17 × 4 = 78", CLAIM)
    assert refuted("17 × 4 = 78", "Is 17 * 24 = 408? Is 5 + 3 = 8, and 10/3 = 3.33?")


def test_equations_in_prompt_order_are_not_refuted() -> None:
    for text in ("12 + 30 * 2 = 84", "12 + 30 * 2 = 42 * 2 = 84", "(12 + 30 * 2) - 2^3 = 76"):
        assert refuted(text, "What is it?")
        assert not refuted(text, CHAIN)
        assert not refuted(text, "Start with 12. Add 30. Multiply by 2. What is the result?")
    assert refuted("12 + 30 * 2 = 85", CHAIN)


@pytest.mark.parametrize(
    "text", ["Answer - 15", "Answer – 15", "**Answer** - 15", "The answer is – 15", "Answer: - 15"]
)
def test_a_dash_before_an_answer_is_no_sign(text: str) -> None:
    assert not refuted(text, "What is 5 * 3?")


def test_a_sign_before_an_answer_is_read() -> None:
    assert refuted("Answer: -15", "What is 5 * 3?") == ["-15"]
    (answer,) = judge("Answer: - 3", "What is 5 - 8?")
    assert isinstance(answer.verdict, Pass)
    assert answer.verdict.scope == "answer"
    assert not any(isinstance(statement.verdict, Pass) for statement in judge("Answer - 3", "What is 5 - 8?"))


def test_an_answer_may_have_a_point_between_thousands() -> None:
    (answer,) = judge("Answer: 2.579", "What is 578 + 2001?")
    assert isinstance(answer.verdict, Unknown)


@pytest.mark.parametrize(
    "text", ["Player 2 - 5 * 3 = 15", "**Player 1** - 3 + 4 = 7", "2 – 5 * 3 = 15", "Car 2 - 20 / 4 = 5"]
)
def test_a_first_number_may_be_a_label(text: str) -> None:
    assert not refuted(text, "")
    assert refuted("Player 2 - 5 * 3 = 16", "")
    assert refuted("We get 2-5*3 = 15", "")


@pytest.mark.parametrize("text", ["From 1990 - 2000 = 10 years", "pages 10 - 15 = 6 pages", "Houses 3 - 7 = 5 houses"])
def test_a_range_with_spaces_may_be_counted(text: str) -> None:
    assert not refuted(text, "")
    assert refuted("pages 10 - 15 = 8 pages", "")
    assert refuted("3 apples - 5 apples = 1 apples", "")


@pytest.mark.parametrize("text", ["17 * 24", "Answer: 17 × 24", r"\boxed{17 \times 24}"])
def test_the_question_itself_is_no_answer(text: str) -> None:
    assert not any(isinstance(part.verdict, Pass) for part in judge(text, "What is 17 * 24?"))
    assert judge("17 * 24 = 17 * 24", "What is 17 * 24?") == []
    for line in ("17 * 24 = 17 * 20 + 17 * 4", "17 * 24 = 17 * 24 = 17 * 20 + 17 * 4"):
        (statement,) = judge(line, "What is 17 * 24?")
        assert isinstance(statement.verdict, Pass)
        assert statement.verdict.scope == "steps"
    (statement,) = judge("Answer: 816 / 2", "What is 17 * 24?")
    assert isinstance(statement.verdict, Pass)


@pytest.mark.parametrize(
    "text",
    [
        "5*5 = 24 no, 4*6 = 24 yes",
        "- 5*5 = 24: no\n- 4*6 = 24: yes",
        "| 5*5 = 24 | No |",
        "5*5 = 24 -> should be 25",
        "Earlier I had 5*5 = 24.",
        "I computed 5*5 = 24 earlier, but it is 25.",
        "There's no way 5*5 = 24",
        "5*5 = 24 [sic]",
        "10 +- 2 = 12",
    ],
)
def test_denied_equations_are_not_refuted(text: str) -> None:
    assert not refuted(text, "")


def test_unrelated_words_do_not_deny_equation() -> None:
    for text in (
        "5*5 = 24: yes",
        "5*5 = 24 notes",
        "| 5*5 = 24 | 4*6 = 24 |",
        "There is no rest: 5*5 = 24",
        "10 + -2 = 12",
    ):
        assert refuted(text, "")
