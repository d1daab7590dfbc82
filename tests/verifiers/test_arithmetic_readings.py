"""Other readings of an expression: mixed numbers with a dash, numbers in brackets, percentages, dates and units."""

from __future__ import annotations

import pytest
from interwhen import Pass, Unknown, Violation
from tests.verifiers.arithmetic_support import judge


def verdicts(text: str, prompt: str = "") -> list[type[Pass | Violation | Unknown]]:
    return [type(statement.verdict) for statement in judge(text, prompt)]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("2-1/2 × 2 = 5", "2-1/2 × 2 = 6"),
        ("6 × 1-1/2 = 9", "6 × 1-1/2 = 8"),
        ("2-½ × 2 = 5", "2-½ × 2 = 6"),
        ("2-1/2% = 2.5%", "2-1/2% = 2.6%"),
        ("2-½% of 100 = 2.5", "2-½% of 100 = 3.5"),
        ("2-½% × 4 = 0.1", "2-½% × 4 = 10"),
        ("-(2-1/2) × 2 = -5", "-(2-1/2) × 2 = -6"),
        ("(2-1/2)^2 = 25/4", "(2-1/2)^2 = 27/4"),
        ("200 - 350 = (150)", "200 - 350 = (160)"),
        ("10% + 10% = 21%", "10% + 10% = 22%"),
        ("20% + 10% = 28%", "20% + 10% = 27%"),
        ("1/2/2024 + 1 = 2/2/2024", "1/2/20 + 1 = 2/2/20"),
        ("8 × 125 = 1 kB", "3 kB + 4 kB = 8 kB"),
        ("60 × 24 = 1 day", "60 × 24 = 14 days"),
    ],
)
def test_equation_with_true_alternative_reading_is_unknown(right: str, wrong: str) -> None:
    assert verdicts(right) == [Unknown]
    assert verdicts(wrong) == [Violation]


@pytest.mark.parametrize(
    "text", ["2 - 1/2 × 2 = 5", "2-3/2 × 2 = 7", "2-1/2.5 × 2 = 5", "2(3) = -7", r"\boxed{3} + 1 = -2"]
)
def test_false_equation_without_alternative_reading_is_refuted(text: str) -> None:
    assert verdicts(text) == [Violation]


def test_the_reading_without_a_mixed_number_passes_too() -> None:
    assert verdicts("2-1/2 × 2 = 1") == [Pass]


@pytest.mark.parametrize("text", ["Answer: (3)", "**Answer:** (3)", r"\boxed{(3)}"])
def test_an_answer_in_round_brackets_may_be_negative(text: str) -> None:
    assert verdicts(text, "What is 5 - 8?") == [Unknown]
    assert verdicts(text, "What is 5 - 2?") == [Pass]
    assert verdicts(text, "What is 5 - 1?") == [Violation]


@pytest.mark.parametrize("text", ["Answer: 3", r"\boxed{3}"])
def test_an_answer_without_round_brackets_is_positive(text: str) -> None:
    assert verdicts(text, "What is 5 - 8?") == [Violation]


@pytest.mark.parametrize("text", ["Answer: 5", "Answer: 1"])
def test_mixed_number_in_prompt_is_not_computed(text: str) -> None:
    assert Violation not in verdicts(text, "What is 2-1/2 * 2?")


def test_riddle_needs_three_false_equations_per_line() -> None:
    assert Violation not in verdicts("1 + 4 = 6, 2 + 5 = 12, 3 + 6 = 21")
    assert verdicts("1 + 4 = 6, 2 + 5 = 12, 3 + 6 = 9") == [Violation, Violation, Pass]


@pytest.mark.parametrize(
    "text",
    [
        "The pupils pay 3 × 4 = 13 dollars.",
        "We write 3 + 4 = 8.",
        "So it must be large, and 3 + 4 = 8.",
        "We need 3 × 4 = 13 eggs.",
        "She said so, but 3 + 4 = 8.",
        "A minus sign means a loss, and 3 + 4 = 8.",
        "- means of transport: 3 + 4 = 8",
        "3 + 4 = 8 apples but 2 are bad.",
    ],
)
def test_words_resembling_wish_or_report_excuse_nothing(text: str) -> None:
    assert Violation in verdicts(text)


def test_a_prompt_may_give_a_sign_another_meaning() -> None:
    assert verdicts("3 + 4 = 12", "If + means ×, what is 3 + 4?") == [Unknown]
    assert verdicts("3 + 4 = 12", "What does + mean in 3 + 4?") == [Violation]
