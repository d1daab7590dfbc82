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
def test_lines_that_say_nothing_false_are_never_interrupted(text: str) -> None:
    assert [found for found in judge(text) if isinstance(found.verdict, Violation)] == []


@pytest.mark.parametrize("text", FALSE)
def test_false_lines_are_never_passed_and_never_overlooked(text: str) -> None:
    assert unchecked(text) or any(not isinstance(each.verdict, Pass) for each in judge(text))


def test_most_false_lines_are_caught() -> None:
    caught = [text for text in FALSE if any(isinstance(found.verdict, Violation) for found in judge(text))]
    assert len(caught) >= 225


@pytest.mark.parametrize("text", FALSE)
def test_a_repair_stands_in_the_place_of_the_wrong_value_and_is_read_as_right(text: str) -> None:
    for found in judge(text):
        verdict = found.verdict
        if not isinstance(verdict, Violation) or verdict.repair is None or verdict.where is None:
            continue
        where = verdict.where.shifted(found.span.start)
        repaired = text[: where.start] + verdict.repair + text[where.end :]
        again = [each for each in judge(repaired) if each.span.start <= where.start < each.span.end]
        assert again, repaired
        assert all(isinstance(each.verdict, Pass) for each in again), repaired


@pytest.mark.parametrize("text", PAIRS)
def test_a_true_equation_certifies_nothing_beside_it(text: str) -> None:
    assert unchecked(text) or any(not isinstance(found.verdict, Pass) for found in judge(text))


@pytest.mark.parametrize("text", PAIRS[::12], ids=range(len(PAIRS[::12])))
def test_no_run_is_verified_with_a_false_statement_in_it(text: str) -> None:
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
def test_a_run_says_what_was_verified(text: str, scope: str | None) -> None:
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
def test_what_looks_like_arithmetic_and_is_not_read_is_said_with_its_place(text: str, place: str) -> None:
    assert place in [found.text for found in judge(text) if found.verdict is UNREAD]


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
def test_other_text_with_numbers_is_not_taken_for_arithmetic(text: str) -> None:
    assert [found for found in judge(text) if not isinstance(found.verdict, Pass)] == []


def test_an_equation_of_the_prompt_may_be_quoted() -> None:
    prompt = "If 1 + 4 = 5, 2 + 5 = 12 and 3 + 6 = 21, what is 8 + 11?"
    assert not any(isinstance(found.verdict, Violation) for found in judge("1 + 4 = 5\n2 + 5 = 12\n3 + 6 = 21", prompt))
    assert isinstance(judge("2 + 5 = 13", prompt)[0].verdict, Violation)


def test_what_another_line_said_before_is_not_taken_for_read() -> None:
    found = judge("3 + 4 = 7\nf(x) +\n3 + 4 = 7")
    assert isinstance(found[0].verdict, Pass)
    assert any(isinstance(each.verdict, Unknown) for each in found[1:])


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
def test_an_equation_over_several_lines_is_judged_where_it_ends(text: str, wrong: str, repair: str) -> None:
    (found,) = [found for found in judge(text, NUMBERS) if isinstance(found.verdict, Violation)]
    assert isinstance(found.verdict, Violation)
    assert found.verdict.where is not None
    where = found.verdict.where.shifted(found.span.start)
    assert text[where.start : where.end] == wrong
    assert found.verdict.repair == repair


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("１７ × ２４ ＝ ４１８", "４１８"),
        ("1\u200b7 × 24 ＝ 4\u200b18", "4\u200b18"),
        ("17 × 24 = 4\x0018", "4\x0018"),
    ],
)
def test_a_violation_points_into_the_original_text(text: str, wrong: str) -> None:
    (found,) = judge(text)
    assert isinstance(found.verdict, Violation)
    assert found.verdict.where is not None
    where = found.verdict.where.shifted(found.span.start)
    assert text[where.start : where.end] == wrong


ROUNDED = [
    ("10/3 = 3.33", "one is rounded to 2 decimals"),
    ("1/8 = 0.13", "one is rounded to 2 decimals"),
    ("2/3 = 0.7", "one is rounded to 1 decimal"),
    ("10/3 ≈ 3", "one is rounded, as the text says"),
    ("10/3 = about 3", "one is rounded, as the text says"),
]


@pytest.mark.parametrize(("text", "evidence"), ROUNDED)
def test_the_evidence_says_what_was_rounded(text: str, evidence: str) -> None:
    (found,) = judge(text)
    assert isinstance(found.verdict, Pass)
    assert found.verdict.evidence.endswith(evidence)


@pytest.mark.parametrize(
    "text",
    ["7/2 = 4", "2/3 = 1", "0.5 + 0.4 = 1", "2.5 × 1 = 3", "2.5 × 1 = 2", "1/8 = 0.12", "2/3 = 67%"],
)
def test_what_is_only_close_is_unknown(text: str) -> None:
    assert all(isinstance(found.verdict, Unknown) for found in judge(text))
    assert judge(text)


def test_a_word_elsewhere_in_the_sentence_rounds_nothing() -> None:
    (found,) = judge("In the next round about ten people came, and 7/2 = 4")
    assert isinstance(found.verdict, Unknown)


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
def test_the_arithmetic_of_the_text_is_respected_and_nothing_more(setting: str, text: str, *, held: bool) -> None:
    for found in (judge(f"{setting}\n{text}"), judge(text, prompt=setting)):
        assert any(isinstance(each.verdict, Violation) for each in found) is not held


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
def test_the_answer_is_judged_where_the_prompt_states_the_computation(prompt: str, answer: str, form: str) -> None:
    (right,) = judge(form.format(answer), prompt)
    assert isinstance(right.verdict, Pass)
    assert (right.verdict.scope, right.verdict.values[-1]) == ("answer", answer)
    (wrong,) = judge(form.format(int(answer) + 3), prompt)
    assert isinstance(wrong.verdict, Violation)
    # Feedback must not give the answer away.
    assert answer not in wrong.verdict.why + wrong.verdict.witness
    assert wrong.verdict.repair is None


def test_a_value_that_stands_alone_passes_and_is_never_refuted() -> None:
    (right,) = judge("408", "What is 17 * 24?")
    assert isinstance(right.verdict, Pass)
    assert right.verdict.scope == "answer"
    (other,) = judge("418", "What is 17 * 24?")
    assert isinstance(other.verdict, Unknown)


def test_an_equation_with_the_computation_of_the_prompt_is_the_answer() -> None:
    (found,) = judge("17 × 24 = 408", "What is 17 * 24?")
    assert isinstance(found.verdict, Pass)
    assert found.verdict.scope == "answer"
    (found,) = judge("24 × 17 = 408", "What is 17 * 24?")
    assert isinstance(found.verdict, Pass)
    assert found.verdict.scope == "steps"


def test_another_number_after_the_answer_is_not_overlooked() -> None:
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
def test_an_equation_that_only_looks_trivial_never_passes(text: str) -> None:
    assert [type(found.verdict) for found in judge(text)] == [Unknown]


@pytest.mark.parametrize(
    "text", ["2 + 2 = 4", "2 + 2 = 4 = 4", "4 = 4 = 2 + 2", "50% = 0.5", "4 < 5", "60 minutes = 1 hour"]
)
def test_an_equation_with_something_to_compute_is_judged(text: str) -> None:
    assert any(isinstance(found.verdict, Pass) for found in judge(text))


def test_no_certificate_rests_on_an_identity() -> None:
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
def test_other_prompts_leave_the_answer_alone(prompt: str) -> None:
    assert all(not isinstance(found.verdict, Violation) for found in judge("Answer: 7", prompt))
    assert all(getattr(found.verdict, "scope", "steps") == "steps" for found in judge("Answer: 408", prompt))


def test_in_the_reasoning_nothing_is_the_answer() -> None:
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
def test_a_false_line_is_repaired_once_the_next_one_begins(text: str, rest: str) -> None:
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
def test_a_trial_that_the_next_line_rejects_is_not_interrupted(following: str, between: str) -> None:
    judged = judge(f"Make 24 of 3, 8 and 1.\n3 * 8 + 1 = 24{between}{following}\nso we go on")
    assert [type(found.verdict) for found in judged] == [Unknown]


@pytest.mark.parametrize(
    "following", ["This makes 24 of them.", "So we are done.", "It is a lot.", "5 + 6 = 11", "But then"]
)
def test_a_false_line_is_refuted_where_the_next_line_does_not_reject_it(following: str) -> None:
    judged = judge(f"3 * 8 + 1 = 24\n{following}\nso we go on", NUMBERS)
    assert isinstance(judged[0].verdict, Violation)
    assert judged[0].verdict.repair == "25"
