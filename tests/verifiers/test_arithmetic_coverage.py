"""``arithmetic`` counts the numbers whose value stands neither in the prompt nor in a passed claim."""

from __future__ import annotations

import interwhen
import pytest
from interwhen import Unverified, Verified
from interwhen.testing import ScriptedModel
from tests.verifiers.arithmetic_support import unchecked


@pytest.mark.fault(
    "H8", injected="statements in words beside a checked equation", happens="their numbers have no check, with places"
)
@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("96 / 8 = 12\nDividing 96 by 8 gives 14", ["14"]),
        ("17 * 24 = 408 (actually 418)", ["17", "24", "408", "418"]),
        ("3 + 4 = 7\n30% of 250 is 80", ["30%", "250", "80"]),
        ("3 + 4 = 7\n| 17 | 24 | 418 |", ["17", "24", "418"]),
        ("3 + 4 = 7\na = 5\nb = 6\na + b = 12", ["5", "6", "12"]),
        ("3 + 4 = 7\nseventeen times twenty-four is four hundred", ["seventeen", "twenty-four", "four hundred"]),
        ("3 + 4 = 7\n6B + 5 = 12", ["6", "5", "12"]),
        ("3 + 4 = 7\n三加四等于八", ["八"]),
        ("3 + 4 = 7\n17乘以24等于418", ["17", "24", "418"]),
        (r"3 + 4 = 7, so \text{9 eggs}", ["9"]),
        ("It is 3/4 of them. 3 + 4 = 7", ["3/4"]),
    ],
)
def test_unchecked_numbers_are_listed(text: str, missing: list[str]) -> None:
    assert unchecked(text) == missing


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("He has 96 apples for 8 boxes.", "The 96 apples go into 8 boxes, so 96 / 8 = 12. Each box has 12."),
        ("He has two dozen eggs and breaks half of them.", "24 / 2 = 12, and 1/2 of 24 is 12."),
        ("30% of 250 are red.", "0.3 * 250 = 75, which is 30% of 250, or 75."),
        ("", "1. First, 3 + 4 = 7\n2. Then it is 7."),
        ("", "Step 5: 3 + 4 = 7 on May 9, the 3rd day, in R2 of COVID-19, 100 % sure."),
        ("", "12 * 1,000 = 12,000, or $12,000.00, or 12 thousand."),
        ("", r"\[ 1{,}000 + 5 \text{ eggs} = 1005 \] The total is \(\boxed{1005}\)."),
        ("", "5 dozen = 5 * 12 = 60, and one of them."),
        ("At 6:30 it began.", "3 + 4 = 7, and it was 6:30."),
    ],
)
def test_checked_given_and_label_numbers_are_covered(prompt: str, text: str) -> None:
    assert unchecked(text, prompt) == []


def run(prompt: str, text: str) -> interwhen.Result:
    with interwhen.run_sync(ScriptedModel([text]), prompt, monitors=["arithmetic"]) as supervised:
        return supervised.drain()


def test_result_reports_count_of_checked_numbers() -> None:
    result = run("He has 96 apples for 8 boxes.", "96 / 8 = 12\nSo there are 12 in each.\n")
    assert isinstance(result, Verified)
    assert "arithmetic: 3 of 3 numbers checked" in str(result)


def test_a_result_names_the_places_without_a_check() -> None:
    result = run("He has 96 apples for 8 boxes.", "96 / 8 = 12\nDividing 96 by 8 gives 14\n")
    assert isinstance(result, Unverified)
    assert "unverified (1 of 3 numbers have no check)" in str(result)
    assert result.unverified_reasons[0].span is None
    places = [reason.span for reason in result.unverified_reasons if reason.span is not None]
    assert [result.text[span.start : span.end] for span in places] == ["14"]


@pytest.mark.parametrize(
    "text",
    ["It is false that 2 + 2 = 4.", "That 2 + 2 = 4 is wrong.", "2 + 2 = 4 is not true.", "2 + 2 = 4 (actually 5)"],
)
def test_denied_equation_covers_no_number(text: str) -> None:
    result = run("What about 2, 4 and 5?", f"{text}\n")
    assert isinstance(result, Unverified)


def test_a_repaired_number_needs_no_other_check() -> None:
    texts = ["17 * 24 = 418\n", "\nSo 408 it is.\n"]
    with interwhen.run_sync(
        ScriptedModel(texts), "He buys 17 boxes of 24 eggs.", monitors=["arithmetic"]
    ) as supervised:
        result = supervised.drain()
    assert isinstance(result, Verified), result
    assert result.violations[0].remedy == "repair"
