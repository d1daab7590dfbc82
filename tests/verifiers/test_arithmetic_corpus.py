"""The arithmetic monitor on lines written to mislead it: true ones, false ones, and one true beside one false."""

from __future__ import annotations

import interwhen
import pytest
from interwhen import Delta, Message, Pass, Retracted, Unknown, Unverified, Verified, Violation
from interwhen.testing import ScriptedModel
from tests.verifiers.arithmetic_support import UNREAD, judge, lines, unchecked

TRUE = list(lines("true"))
FALSE = list(lines("false"))


PAIRS = list(lines("pairs"))


def test_the_corpora_are_large_enough() -> None:
    assert len(PAIRS) >= 300
    assert len(TRUE) >= 500
    assert len(FALSE) >= 300


@pytest.mark.parametrize("text", TRUE)
def test_lines_without_false_statement_are_not_refuted(text: str) -> None:
    assert [statement for statement in judge(text) if isinstance(statement.verdict, Violation)] == []


@pytest.mark.parametrize("text", FALSE)
def test_false_lines_are_never_passed_and_never_overlooked(text: str) -> None:
    assert unchecked(text) or any(not isinstance(each.verdict, Pass) for each in judge(text))


def test_most_false_lines_are_caught() -> None:
    caught = [text for text in FALSE if any(isinstance(statement.verdict, Violation) for statement in judge(text))]
    assert len(caught) >= 225


@pytest.mark.parametrize("text", FALSE)
def test_repair_replaces_wrong_value_and_passes(text: str) -> None:
    for statement in judge(text):
        verdict = statement.verdict
        if not isinstance(verdict, Violation) or verdict.repair is None or verdict.where is None:
            continue
        where = verdict.where.shifted(statement.span.start)
        repaired = text[: where.start] + verdict.repair + text[where.end :]
        again = [each for each in judge(repaired) if each.span.start <= where.start < each.span.end]
        assert again, repaired
        assert all(isinstance(each.verdict, Pass) for each in again), repaired


@pytest.mark.parametrize("text", PAIRS)
def test_true_equation_does_not_certify_other_text(text: str) -> None:
    assert unchecked(text) or any(not isinstance(statement.verdict, Pass) for statement in judge(text))


@pytest.mark.parametrize("text", PAIRS[::12], ids=range(len(PAIRS[::12])))
def test_run_with_false_statement_is_not_verified(text: str) -> None:
    model = ScriptedModel([text, ""])
    with interwhen.run_sync(model, "Say something.", monitors=["arithmetic:delivery=observe"]) as run:
        assert not isinstance(run.drain(), Verified)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("12 + 30 = 42\n42 - 26 = 16\n16 + 5 = 21\nAnswer: 21", "answer"),
        ("12 + 30 = 42\n42 - 26 = 16\nAnswer: 16", None),
        ("12 + 31 = 43\n43 - 26 = 17\n17 + 5 = 22\nAnswer: 22", None),
        ("12 + 30 = 42\n42 - 26 = 16\n16 + 5 = 21", "steps"),
    ],
)
def test_certificate_scope_states_what_was_verified(text: str, scope: str | None) -> None:
    prompt = (Message("system", "Work it out. For 1 + 2 you write: 1 + 2 = 3"), Message("user", "12 + 30 - 26 + 5 ="))
    with interwhen.run_sync(ScriptedModel([text]), prompt, monitors=["arithmetic:delivery=observe"]) as run:
        result = run.drain()
    assert (result.certificate.scope if isinstance(result, Verified) else None) == scope


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("√16 = 5", "16 = 5"),
        ("17 mod 5 = 3", "5 = 3"),
        ("| 17 × 24 | = | 418 |", "24 | = | 418"),
        ("f(3) = 9 + 1 = 11", "3) = 9"),
        ("5x + 7 = 52", "7 = 52"),
        ("5! = 100", "5! = 100"),
        ("٣ + ٤ = ٨", "٤ = ٨"),
    ],
)
def test_unread_arithmetic_is_reported_with_its_span(text: str, place: str) -> None:
    assert place in [statement.text for statement in judge(text) if statement.verdict is UNREAD]


@pytest.mark.parametrize(
    "text",
    [
        "She has 3 apples and 4 pears.",
        "The cost of 3 apples = 3 * 2 = 6",
        "Step 2: x = 5",
        "There are 10 of these groups in total, so there are 10*1 = 10 oranges.",
        "The answer is 42.",
        "x = 5",
        "3 boxes = 36 eggs",
        "Day 2 = 12 pages",
        "He is 5 years older than 12.",
        "It was 3 times as good, and that is 100 percent clear.",
        "https://example.com/?a=5&b=6",
    ],
)
def test_non_arithmetic_text_raises_no_finding(text: str) -> None:
    assert [statement for statement in judge(text) if not isinstance(statement.verdict, Pass)] == []


def test_an_equation_of_the_prompt_may_be_quoted() -> None:
    prompt = "If 1 + 4 = 5, 2 + 5 = 12 and 3 + 6 = 21, what is 8 + 11?"
    assert not any(
        isinstance(statement.verdict, Violation) for statement in judge("1 + 4 = 5\n2 + 5 = 12\n3 + 6 = 21", prompt)
    )
    assert isinstance(judge("2 + 5 = 13", prompt)[0].verdict, Violation)


def test_identical_earlier_line_does_not_count_as_read() -> None:
    statements = judge("3 + 4 = 7\nf(x) +\n3 + 4 = 7")
    assert isinstance(statements[0].verdict, Pass)
    assert any(isinstance(each.verdict, Unknown) for each in statements[1:])


NUMBERS = "There are 1, 2, 3, 4, 5, 8, 17, 24, 123 and 456 of them."
"""A prompt that binds the numbers of the equations."""
CONTINUED = [
    ("17 × 24 =\n418", "418", "408"),
    ("17 × 24\n= 418", "418", "408"),
    ("x &= 3 + 5 \\\\\n&= 9", "9", "8"),
    ("4 + 5 +\n1 + 2 = 13", "13", "12"),
    ("123\n+ 456\n-----\n= 580", "580", "579"),
    ("3 + 4\n\n= 8", "8", "7"),
]


@pytest.mark.parametrize(("text", "wrong", "repair"), CONTINUED)
def test_multi_line_equation_is_judged_at_its_end(text: str, wrong: str, repair: str) -> None:
    (refuted,) = [statement for statement in judge(text, NUMBERS) if isinstance(statement.verdict, Violation)]
    assert isinstance(refuted.verdict, Violation)
    assert refuted.verdict.where is not None
    where = refuted.verdict.where.shifted(refuted.span.start)
    assert text[where.start : where.end] == wrong
    assert refuted.verdict.repair == repair


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("１７ × ２４ ＝ ４１８", "４１８"),
        ("1\u200b7 × 24 ＝ 4\u200b18", "4\u200b18"),
        ("17 × 24 = 4\x0018", "4\x0018"),
    ],
)
def test_a_violation_points_into_the_original_text(text: str, wrong: str) -> None:
    (statement,) = judge(text)
    assert isinstance(statement.verdict, Violation)
    assert statement.verdict.where is not None
    where = statement.verdict.where.shifted(statement.span.start)
    assert text[where.start : where.end] == wrong


ROUNDED = [
    ("10/3 = 3.33", "one is rounded to 2 decimals"),
    ("1/8 = 0.13", "one is rounded to 2 decimals"),
    ("2/3 = 0.7", "one is rounded to 1 decimal"),
    ("10/3 ≈ 3", "one is rounded, as the text says"),
    ("10/3 = about 3", "one is rounded, as the text says"),
]


@pytest.mark.parametrize(("text", "evidence"), ROUNDED)
def test_evidence_states_the_rounding(text: str, evidence: str) -> None:
    (statement,) = judge(text)
    assert isinstance(statement.verdict, Pass)
    assert statement.verdict.evidence.endswith(evidence)


@pytest.mark.parametrize(
    "text",
    ["7/2 = 4", "2/3 = 1", "0.5 + 0.4 = 1", "2.5 × 1 = 3", "2.5 × 1 = 2", "1/8 = 0.12", "2/3 = 67%"],
)
def test_approximate_statement_is_unknown(text: str) -> None:
    assert all(isinstance(statement.verdict, Unknown) for statement in judge(text))
    assert judge(text)


def test_unrelated_rounding_word_has_no_effect() -> None:
    (statement,) = judge("In the next round about ten people came, and 7/2 = 4")
    assert isinstance(statement.verdict, Unknown)


@pytest.mark.parametrize(
    ("setting", "text", "held"),
    [
        ("We work modulo 7.", "5 + 4 = 2", True),
        ("We work modulo 7.", "5 + 4 = 3", False),
        ("We work modulo 7.", "4 / 3 = 6", True),
        ("We work modulo 7.", "4 / 3 = 5", False),
        ("We reduce modulo p.", "1 / 3 = 5", True),
        ("Write it in binary.", "100011 / 101 = 111", True),
        ("Write it in binary.", "100011 / 101 = 110", False),
        ("Write it in base 8.", "17 / 3 = 5", True),
        ("Write it in base 8.", "15 + 3 = 20", True),
        ("Write it in base 8.", "15 + 3 = 21", False),
        ("Define a * b = a + 2b.", "3 * 4 = 11", True),
        ("The pages are numbered.", "5 + 4 = 1", False),
    ],
)
def test_declared_arithmetic_setting_is_respected(setting: str, text: str, *, held: bool) -> None:
    for statements in (judge(f"{setting}\n{text}"), judge(text, prompt=setting)):
        assert any(isinstance(each.verdict, Violation) for each in statements) is not held


# ---------------------------------------------------------------------- the answer


ASKED = [
    ("What is 17 * 24?", "408"),
    ("Calculate 12 + 30 - 26 + 5", "21"),
    ("578 + 2001 =", "2579"),
    ("Compute \\(\\frac{3}{4} + \\frac{1}{4}\\).", "1"),
    ("Start with 12. Add 30. Multiply by 3. Subtract 26. What is the result?", "100"),
    ("Work from left to right.\n\nThe chain is 12, + 30, * 3, - 26.", None),
]


@pytest.mark.parametrize(("prompt", "answer"), [each for each in ASKED if each[1]])
@pytest.mark.parametrize("form", ["Answer: {}", "The answer is {}.", "\\boxed{{{}}}", "#### {}", "<answer>{}</answer>"])
def test_answer_is_judged_against_computation_in_prompt(prompt: str, answer: str, form: str) -> None:
    (right,) = judge(form.format(answer), prompt)
    assert isinstance(right.verdict, Pass)
    assert (right.verdict.scope, right.verdict.values[-1]) == ("answer", answer)
    (wrong,) = judge(form.format(int(answer) + 3), prompt)
    assert isinstance(wrong.verdict, Violation)
    # Feedback must not give the answer away.
    assert answer not in wrong.verdict.why + wrong.verdict.witness
    assert wrong.verdict.repair is None


def test_standalone_value_passes_but_is_never_refuted() -> None:
    (right,) = judge("408", "What is 17 * 24?")
    assert isinstance(right.verdict, Pass)
    assert right.verdict.scope == "answer"
    (other,) = judge("418", "What is 17 * 24?")
    assert isinstance(other.verdict, Unknown)


def test_equation_matching_prompt_computation_has_answer_scope() -> None:
    (statement,) = judge("17 × 24 = 408", "What is 17 * 24?")
    assert isinstance(statement.verdict, Pass)
    assert statement.verdict.scope == "answer"
    (statement,) = judge("24 × 17 = 408", "What is 17 * 24?")
    assert isinstance(statement.verdict, Pass)
    assert statement.verdict.scope == "steps"


def test_number_after_the_answer_is_unknown() -> None:
    _, after = judge("Answer: 408\nSo we settle for 418 in the end", "What is 17 * 24?")
    assert isinstance(after.verdict, Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "4 = 4",
        "408 = 408.0",
        "x = x",
        "x = 4 = 4",
        "$4 = $4",
        "So -4 = -4",
        "(4) = 4",
        "4 = 4 = 4",
        "4 ≈ 4",
        "4 ≤ 4",
        "1,000 = 1000",
        "50% = 50%",
        "90 minutes = 90 minutes",
        "24 = 24 (correct)",
        "24 = 24 ✓",
        "17 × 24 = 17 × 24",
        "2 * (3 + 4) = (2 * (3 + 4))",
        "408 =\n408",
    ],
)
def test_a_value_equated_with_itself_is_no_claim(text: str) -> None:
    assert judge(text) == []


@pytest.mark.parametrize("text", ["4 = 4 dozen", "4 = 4!", "half of 4 = 4", "4 = 4k", "4 ≠ 4", "4 < 4"])
def test_seemingly_trivial_equation_is_unknown(text: str) -> None:
    assert [type(statement.verdict) for statement in judge(text)] == [Unknown]


@pytest.mark.parametrize(
    "text", ["2 + 2 = 4", "2 + 2 = 4 = 4", "4 = 4 = 2 + 2", "50% = 0.5", "4 < 5", "60 minutes = 1 hour"]
)
def test_an_equation_with_something_to_compute_is_judged(text: str) -> None:
    assert any(isinstance(statement.verdict, Pass) for statement in judge(text))


def test_identity_equation_certifies_nothing() -> None:
    with interwhen.run_sync(ScriptedModel(["4 = 4\n"]), "?", monitors=["arithmetic"]) as run:
        assert isinstance(run.drain(), Unverified)
    with interwhen.run_sync(ScriptedModel(["4 = 4\n2 + 2 = 4\n"]), "?", monitors=["arithmetic"]) as run:
        result = run.drain()
    assert isinstance(result, Verified)
    assert [result.text[span.start : span.end] for span in result.certificate.covered] == ["2 + 2 = 4"]


@pytest.mark.parametrize(
    "prompt",
    [
        "Tom has 17 * 24 apples and eats 3. How many are left?",
        "What is 17 * 24 modulo 5?",
        "What is 6 / 2(1 + 2)?",
        "What is the remainder of 17 / 5?",
        "What is 17 * 24 plus 3?",
        "Solve 3x + 4 = 10",
        "What is 50 + 10%?",
        "",
    ],
)
def test_unread_prompt_does_not_judge_the_answer(prompt: str) -> None:
    assert all(not isinstance(statement.verdict, Violation) for statement in judge("Answer: 7", prompt))
    assert all(getattr(statement.verdict, "scope", "steps") == "steps" for statement in judge("Answer: 408", prompt))


def test_reasoning_contains_no_answer_claim() -> None:
    assert judge("Answer: 5", "What is 17 * 24?", phase="reasoning") == []


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("17 × 24 = 418", "\nNow"),
        ("So there are 17 × 24 = 418 seats.", "\nHe"),
        ("17 × 24 = 418", "\n\n5"),
        ("17 × 24 = 418", "\nThis is 418 for each of them.\n"),
    ],
)
def test_false_line_is_repaired_when_next_line_begins(text: str, rest: str) -> None:
    model = ScriptedModel([f"{text}{rest} and then some more text follows it", " seats."], size=1)
    shown = ""
    with interwhen.run_sync(model, f"{NUMBERS} How many seats are there?", monitors=["arithmetic"]) as run:
        for event in run:
            if isinstance(event, Retracted):
                break
            shown += event.text if isinstance(event, Delta) else ""
        result = run.drain()
    assert len(shown) <= len(text + rest)
    assert result.text.startswith(text.replace("418", "408")[: len(text)])


@pytest.mark.parametrize(
    "following",
    [
        "✗",
        "→ fails",
        "this does not work",
        "No, that's too small.",
        "Not 24.",
        "❌ next",
        "That is 20.5, too big.",
        "Wrong",
        "Equals 25.",
        "That is 25.",
    ],
)
@pytest.mark.parametrize("between", ["\n", "\n\n", "\n  \n"])
def test_trial_rejected_by_next_line_is_unknown(following: str, between: str) -> None:
    judged = judge(f"Make 24 of 3, 8 and 1.\n3 * 8 + 1 = 24{between}{following}\nso we go on")
    assert [type(statement.verdict) for statement in judged] == [Unknown]


@pytest.mark.parametrize(
    "following", ["This makes 24 of them.", "So we are done.", "It is a lot.", "5 + 6 = 11", "But then"]
)
def test_false_line_not_rejected_afterwards_is_refuted(following: str) -> None:
    judged = judge(f"3 * 8 + 1 = 24\n{following}\nso we go on", NUMBERS)
    assert isinstance(judged[0].verdict, Violation)
    assert judged[0].verdict.repair == "25"
