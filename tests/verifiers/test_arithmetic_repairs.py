"""``arithmetic`` writes a value only where the prompt or a step binds the numbers and nothing gives them another meaning."""

from __future__ import annotations

import interwhen
import pytest
from interwhen import Unknown, Unverified, Violation
from interwhen.testing import ScriptedModel
from tests.verifiers.arithmetic_support import judge


def violations(text: str, prompt: str) -> list[Violation]:
    return [statement.verdict for statement in judge(text, prompt) if isinstance(statement.verdict, Violation)]


@pytest.mark.parametrize(
    ("prompt", "text", "repair"),
    [
        ("He buys 17 boxes of 24 eggs.", "17 * 24 = 418", "408"),
        ("He buys seventeen boxes of two dozen eggs.", "17 * 24 = 418", "408"),
        ("He buys 17 boxes of 24 eggs.", "First, the number of eggs is 17 * 24 = 418 eggs in total.", "408"),
        ("He buys 17 boxes of 24 eggs and eats 8.", "17 * 24 = 408\n408 - 8 = 390", "400"),
        ("He buys 17 boxes of 24 eggs and eats 8.", "So 17 * 24 = 408 eggs, and 408 - 8 = 390 eggs.", "400"),
        ("A shirt of $40 is 25% off.", "0.25 * 40 = 8", "10"),
        ("One weighs 4.5 kg and one 3.2 kg.", "4.5 kg + 3.2 kg = 7.8 kg", "7.7"),
        ("A pen is $4.50 and a pad $3.20.", "$4.50 + $3.20 = $7.80", "7.70"),
    ],
)
def test_bound_values_are_repaired(prompt: str, text: str, repair: str) -> None:
    assert [(violation.repair, violation.sure) for violation in violations(text, prompt)] == [(repair, True)]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("How many?", "17 * 24 = 418"),
        ("He buys 17 boxes.", "17 * 24 = 418"),
        ("He buys 17 boxes of 24 eggs.", "In warped arithmetic, 17 * 24 = 418"),
        ("He buys 17 boxes of 24 eggs.", "With ten of them added: 17 * 24 = 418"),
        ("Take 3 and 5.", "The larger one wins: 3 + 5 = 5"),
        ("Take 17 and 24.", "After the fee of 3: 17 + 24 = 38"),
        ("How many?", "1/0 = 2/0\n1 + 2 = 4"),
        ("Take 50 and 20.", "With 10% service, 50 + 20 = 77"),
        ("Add 4.4 and 0.3 overs.", "4.4 overs + 0.3 overs = 5.1 overs"),
    ],
)
def test_unbound_values_are_not_repaired(prompt: str, text: str) -> None:
    assert [(violation.repair, violation.sure) for violation in violations(text, prompt)] == [(None, False)]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("The budget is 200, and 350 were spent.", "Deficit: 200 - 350 = 150"),
        ("Take 9 and 9.", "9 + 9 = 18 = 1 + 8 = 9"),
        ("Take 250 and 10.", "With wrap-around at 256: 250 + 10 = 4"),
        ("Walk from 4 to 1.", "On a torus of size 5, 4 + 1 = 0"),
        ("It is 9 now.", "Five hours later the clock shows 9 + 5 = 2"),
        ("Share 17 among 5.", "What is left over: 17 / 5 = 2"),
        ("Add 20 and 8.", "The ring has 26 letters.\nThen 20 + 8 = 2"),
    ],
)
def test_a_value_that_another_arithmetic_explains_is_unknown(prompt: str, text: str) -> None:
    assert violations(text, prompt) == []
    assert any(isinstance(statement.verdict, Unknown) for statement in judge(text, prompt))


def run(prompt: str, *texts: str) -> interwhen.Result:
    with interwhen.run_sync(ScriptedModel(texts), prompt, monitors=["arithmetic"]) as supervised:
        return supervised.drain()


def test_unbound_value_is_resampled_first() -> None:
    result = run("How many?", "17 * 24 = 418\n", "17 * 24 = 408\n")
    assert [violation.remedy for violation in result.violations] == ["resample"]
    assert result.text == "17 * 24 = 408\n"


def test_repeated_unbound_value_is_unknown() -> None:
    result = run("How many?", "17 * 24 = 418\n", "17 * 24 = 418\nSo it is.\n")
    assert [violation.remedy for violation in result.violations] == ["resample"]
    assert isinstance(result, Unverified)
    assert result.text == "17 * 24 = 418\nSo it is.\n"
    assert "wrote it again" in result.unverified_reasons[0].why


def test_different_wrong_value_is_resampled() -> None:
    result = run("How many?", "17 * 24 = 418\n", "17 * 24 = 428\n", "17 * 24 = 408\n")
    assert [violation.remedy for violation in result.violations] == ["resample", "resample"]
    assert result.text == "17 * 24 = 408\n"
