"""Countdown and the game of 24: prompts, steps, numbers left, dead ends, answers, and runs that are interrupted."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from random import Random

import interwhen
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Feedback, Pass, Segment, Span, Task, Unknown, UsageError, Verified, Violation
from interwhen.testing import ScriptedModel

from interwhen_verifiers.puzzles._countdown import NumberPuzzle, read_puzzle, read_whole, tokenize
from interwhen_verifiers.puzzles.countdown import countdown, game24, judge_hopeless, reaches

TOT = "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: {}\n"


def judged(prompt, text, phase="answer", monitor=None):
    watching = monitor or countdown()
    prepared = watching.prepare(Task(prompt))
    assert prepared is not None
    state, judgements, at = watching.extractor.start(prepared), [], 0
    for line in text.split("\n"):
        if line.strip():
            segment = Segment(line, Span(at, at + len(line)), phase)
            state, claims = watching.extractor.step(state, segment)
            judgements += [
                (text[claim.span.start : claim.span.end], watching.verifier.check(claim, prepared)) for claim in claims
            ]
        at += len(line) + 1
    return judgements


def verdicts(prompt, text, **options):
    return [verdict for _, verdict in judged(prompt, text, **options)]


def kinds(prompt, text, **options):
    return [type(verdict) for verdict in verdicts(prompt, text, **options)]


# ------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize(
    ("prompt", "numbers", "target", "use"),
    [
        (TOT.format("4 9 10 13"), (4, 9, 10, 13), 24, "unclear"),
        ("Each step, choose two of the remaining numbers.\n" + TOT.format("4 9 10 13"), (4, 9, 10, 13), 24, "all"),
        (TOT.format("1 2 3 4") + "Answer: 1 * 2 * 3 * 4 = 24\nInput: 4 4 6 8\n", (4, 4, 6, 8), 24, "unclear"),
        ("Use 3, 5 and 7 to make 24.", (3, 5, 7), 24, "unclear"),
        ("Make 24 from 3 5 7. Use each number once.", (3, 5, 7), 24, "all"),
        ("Numbers: 3 5 7. Target: 56.", (3, 5, 7), 56, "unclear"),
        ("Get 24 with + - × / from 3, 5 and 7, each used once.", (3, 5, 7), 24, "all"),
        ("Using the numbers [19, 36, 55, 7], create an equation that equals 65. Use + - * /, and each number only once.",
         (19, 36, 55, 7), 65, "unclear"),
        ("Find a way to make 169 using some or all of these numbers: 83, 94, 74.\nEach number can only be used once.",
         (83, 94, 74), 169, "some"),
        ("Calculate 111 using all of these numbers: 53, 58, 53, 53.\nEach number may be used at most once.",
         (53, 58, 53, 53), 111, "all"),
        ("You are solving the Game of 24.\n\nYou are given four numbers: 3, 3, 8, 8\n\nUse ALL four numbers exactly once.",
         (3, 3, 8, 8), 24, "all"),
        ("Find an arithmetic expression that evaluates to 24, given the numbers 2, 3, 5, 12.", (2, 3, 5, 12), 24, "unclear"),
        ("Combine 3, 7, 7, 3 using any of the operations + - * / to make 24.", (3, 7, 7, 3), 24, "unclear"),
        ("Numbers: 5 8 11 12\nGoal: 24", (5, 8, 11, 12), 24, "unclear"),
        ("Make 24 using 7, 4, 4, 1. You can use the operators +, -, *, /.", (7, 4, 4, 1), 24, "unclear"),
    ],
)  # fmt: skip
def test_puzzle_is_read_from_prompt(prompt, numbers, target, use):
    puzzle = read_puzzle(prompt)
    assert puzzle is not None
    assert (puzzle.numbers, puzzle.target, puzzle.use) == (numbers, target, use)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "What is 17 times 24?",
        "Tom makes 24 cakes from 3 boxes and 4 bags. How many are left?",
        "Numbers: 3 5 7. Target: 24. Numbers: 4 5 6. Target: 30.",
        "The equation x + 3 equals 7. Given 1, 2, 3, 4, which one is x?",
        "Add the numbers 3, 4 and 5. Does that get 12?",
        "Write a poem on the numbers 1, 2 and 3.",
        "Use 1 2 3 4 5 6 7 8 9 10 11 12 to make 24 with + and -.",
    ],
)
def test_prompt_without_puzzle_is_not_prepared(prompt):
    assert countdown().prepare(Task(prompt)) is None


def test_game24_ignores_tasks_with_other_targets():
    assert game24().prepare(Task("Numbers: 3 5 7. Target: 56.")) is None
    assert game24().prepare(Task("Use 3, 5 and 7 to make 24.")) is not None


def test_game24_requires_every_number():
    prompt, text = "Use 4, 6 and 7 to make 24.", "Answer: 4 * 6 = 24"
    assert kinds(prompt, text) == [Unknown]
    assert kinds(prompt, text, monitor=countdown(use="some")) == [Pass]
    assert kinds(prompt, text, monitor=game24()) == [Violation]


@pytest.mark.parametrize("options", [{"target": "24"}, {"target": 2.5}, {"target": True}, {"dead_ends": "no"}])
def test_values_of_another_type_are_refused(options):
    with pytest.raises(UsageError, match=f"countdown: {next(iter(options))} must be"):
        countdown(**options)


def test_options_are_vetted():
    with pytest.raises(UsageError, match=r"use must be one of .*got 'none'"):
        countdown(use="none")
    assert countdown(target=30).prepare(Task("Use the numbers 3, 5 and 2, each once.")).puzzle.target == 30


# --------------------------------------------------------------------------------------------------- steps

RIGHT = (
    "Steps:\n12 - 8 = 4 (left: 4 5 11)\n11 - 5 = 6 (left: 4 6)\n4 * 6 = 24 (left: 24)\nAnswer: (12 - 8) * (11 - 5) = 24"
)


def test_a_right_trace_passes():
    assert kinds(TOT.format("5 8 11 12"), RIGHT, monitor=game24()) == [Pass] * 4


@pytest.mark.parametrize(
    ("line", "quote", "why", "repair"),
    [
        ("12 - 8 = 5 (left: 5 5 11)", "5", "the value is not 5", "4"),
        ("12 - 9 = 3 (left: 3 5 11)", "9", "there is no 9 left", None),
        ("12 - 8 = 4 (left: 4 4 11)", "4 4 11", "the numbers left are not 4 4 11", "4 5 11"),
        ("12 - 8 = 4 (left: 4 5)", "4 5", "the numbers left are not 4 5", "4 5 11"),
        ("8 + 12 = 20 (left: 5 11 20)", "5 11 20", "24 cannot be made from 5 11 20", None),
        ("12 / 8 = 1.6 (left: 1.6 5 11)", "1.6", "the value is not 1.6", "1.5"),
        ("Step 1: 12 − 8 = 5, left 5 5 11", "5", "the value is not 5", "4"),
        ("- 12 × 8 = 95 (remaining: 5, 11, 95)", "95", "the value is not 95", "96"),
    ],
)
def test_wrong_step_is_refuted_and_repaired(line, quote, why, repair):
    ((claim, verdict),) = judged(TOT.format("5 8 11 12"), line)
    assert isinstance(verdict, Violation)
    assert verdict.why == why
    assert verdict.repair == repair
    assert claim[verdict.where.start : verdict.where.end] == quote


def test_dead_end_witness_lists_reachable_values():
    (verdict,) = verdicts(TOT.format("1 1 5 5"), "1 * 1 = 1 (left: 1 5 5)\n")
    assert isinstance(verdict, Pass)
    (_, verdict) = verdicts(TOT.format("2 3 4"), "2 * 3 = 6 (left: 4 6)\n6 + 4 = 10 (left: 10)")
    assert verdict.why == "10 is not 24"
    (verdict,) = verdicts(TOT.format("2 3 4"), "2 + 3 = 5 (left: 4 5)")
    assert verdict.witness == "24 cannot be made from 4 5: they make -1, 0.8, 1, 1.25, 9, 20 and nothing else"


def test_dead_ends_may_be_allowed():
    assert kinds(TOT.format("2 3 4"), "2 + 3 = 5 (left: 4 5)", monitor=countdown(dead_ends=False)) == [Pass]


def test_a_new_try_need_not_be_announced():
    text = "12 - 8 = 4 (left: 4 5 11)\n8 / 12 = 2/3 (left: 2/3 5 11)\nWait.\n11 - 5 = 6 (left: 6 8 12)"
    step_verdicts = verdicts(TOT.format("5 8 11 12"), text, monitor=countdown(dead_ends=False))
    assert [type(verdict) for verdict in step_verdicts] == [Pass] * 3


def test_step_after_wrong_state_is_unknown():
    text = "12 - 8 = 5 (left: 5 5 11)\n5 + 5 = 10 (left: 10 11)"
    step_verdicts = verdicts(TOT.format("5 8 11 12"), text)
    assert isinstance(step_verdicts[0], Violation)
    assert isinstance(step_verdicts[1], Unknown)


@pytest.mark.parametrize(
    "line",
    [
        "5 * 1 = 24 (incorrect, no solution found)",
        "Could 12 - 8 = 5 help?",
        "Solution: 12 - 8 = 4",
        "Answer: first, 12 - 8 = 4",
        "If 12 - 8 = 5, then we are done.",
        "x - 8 = 4 (left: 4)",
        "12 - 8 is 4",
        "Let me try 12 - 8 first",
        "2^3 = 9 (left: 9)",
        "(12 - 8 = 4",
    ],
)
def test_other_lines_are_not_refuted(line):
    assert not [verdict for verdict in verdicts(TOT.format("5 8 11 12"), line) if isinstance(verdict, Violation)]


def test_a_rounded_value_is_unknown():
    assert kinds(TOT.format("3 3 8 8"), "8 / 3 = 2.67 (left: 2.67 3 8)") == [Unknown]
    assert kinds(TOT.format("3 3 8 8"), "8 / 3 = 8/3 (left: 8/3 3 8)") == [Pass]


def test_witness_shows_every_digit():
    [verdict] = verdicts(TOT.format("9873 8"), "9873 / 8 = 1230 (left: 1230)")
    assert (verdict.repair, verdict.witness) == ("1234.125", "the value is 1234.125, not 1230")


def test_overlong_value_is_no_repair():
    [verdict] = verdicts(TOT.format("5 8 11 12"), " * ".join(["99999999"] * 8) + " = 5 (left: 5)")
    assert (verdict.repair, "…" in verdict.witness) == (None, True)


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Answer: (12 - 8) * (11 - 5) = 24", None),
        ("Answer: (12 - 8) * (11 - 5)", None),
        ("\\boxed{(12 - 8) \\times (11 - 5)}", None),
        ("\\boxed{(11 - 5) \\div \\frac{1}{12 - 8}}", "1 is none of the numbers 5 8 11 12"),
        ("<answer>(12 - 8) * (11 - 5)</answer>", None),
        ("(12 - 8) * (11 - 5) = 24", None),
        ("(12 - 8) * (11 - 5)", None),
        ("**Answer:** $(12-8)(11-5)$", None),
        ("Answer: 12 - 8 = 4, 11 - 5 = 6, 4 * 6 = 24", None),
        ("Answer: 12 - 8 = 4, 11 - 5 = 6, 4 + 6 = 10", "the last value is not 24"),
        ("Answer: 12 - 8 = 4, 4 * 6 = 24", "there is no 6 left"),
        ("Answer: (12 - 8) * (12 - 6) = 24", "12 is used 2 times, and it is given once"),
        ("Answer: (12 - 8) * 6 = 24", "6 is none of the numbers 5 8 11 12"),
        ("Answer: 12 + 12 = 24", "12 is used 2 times, and it is given once"),
        ("Answer: (12 - 8) * 11 - 5 = 24", "(12 - 8) * 11 - 5 is not 24"),
        ("Answer: (12 - 8) / (5 - 5) = 24", "(12 - 8) / (5 - 5) divides by zero"),
        ("Answer: (12 + 8) + 5 - 1 = 24", "1 is none of the numbers 5 8 11 12"),
        ("Answer: not possible", "24 can be made from 5 8 11 12"),
        ("There is no solution for this input.", "24 can be made from 5 8 11 12"),
    ],
)
def test_answer_is_judged_by_the_rules(answer, expected):
    (verdict,) = verdicts(TOT.format("5 8 11 12"), answer, monitor=game24())
    assert (verdict.why if isinstance(verdict, Violation) else None) == expected
    assert not isinstance(verdict, Unknown)


def test_unused_number_is_refuted():
    (verdict,) = verdicts(TOT.format("4 6 7"), "Answer: 4 * 6", monitor=game24())
    assert verdict.why == "7 is not used"


def test_no_solution_claim_is_judged():
    assert kinds(TOT.format("1 1 1 1"), "Answer: No solution", monitor=game24()) == [Pass]
    assert kinds(TOT.format("4 6 7"), "Answer: impossible") == [Unknown]
    assert kinds(TOT.format("4 6 7"), "Answer: impossible", monitor=countdown(use="all")) == [Pass]
    (verdict,) = verdicts(TOT.format("4 6 7"), "Answer: impossible", monitor=countdown(use="some"))
    assert verdict == Unknown("it can be made from some of the numbers, and this may be meant of all of them")


def test_statement_about_numbers_left_is_not_judged():
    assert kinds(TOT.format("2 3 4"), "2 + 3 = 5\nThere is no way to make 24 with these numbers.") == [Pass]


def test_an_expression_in_the_reasoning_is_no_answer():
    assert verdicts(TOT.format("5 8 11 12"), "(12 - 8) * 6 = 24", phase="reasoning") == []


def test_feedback_never_contains_a_solution():
    for text in ("Answer: none", "Answer: (12 - 8) * 11 - 5 = 24", "8 + 12 = 20 (left: 5 11 20)"):
        (verdict,) = verdicts(TOT.format("5 8 11 12"), text, monitor=game24())
        assert "*" not in verdict.why.replace("(12 - 8) * 11 - 5", "")
        assert "11 - 5" not in verdict.witness.replace("(12 - 8) * 11 - 5", "")


def test_alternative_step_formats_are_read():
    text = "7 + 5 = 12, left 3 12\n12 × 3 = 36, left 36\n36 is not 24, again\n7 - 5 = 2, left 3 2\n2 × 3 = 6, left 7"
    prompt = "Make 24 from 3 5 7. Use each number once."
    judgements = judged(prompt, text, "reasoning", countdown(dead_ends=False))
    assert [type(verdict) for _, verdict in judgements] == [Pass] * 3 + [Violation]
    assert judgements[3][1].why == "the numbers left are not 7"
    assert kinds("Get 36 with + - × / from 3, 5 and 7, each used once.", "Answer: 7 + 5 = 12, 12 × 3 = 36") == [Pass]


# ------------------------------------------------------------------------------------- against other code


def brute(numbers, target):
    # Shares no code with the verifier.
    return _brute(tuple(sorted(numbers)), target)


@lru_cache(200_000)  # the same two or three numbers are left by many games
def _brute(numbers, target):
    if len(numbers) == 1:
        return numbers[0] == target
    for one, other in combinations(range(len(numbers)), 2):
        rest = [number for at, number in enumerate(numbers) if at not in {one, other}]
        a, b = numbers[one], numbers[other]
        made = {a + b, a - b, b - a, a * b} | ({a / b} if b else set()) | ({b / a} if a else set())
        if any(brute([*rest, value], target) for value in made):
            return True
    return False


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 13), min_size=1, max_size=4), st.integers(-5, 40))
def test_the_search_agrees_with_brute_force(numbers, target):
    fractions = [Fraction(number) for number in numbers]
    assert reaches(tuple(sorted(fractions)), Fraction(target)) == brute(fractions, target)
    parts = [part for size in range(1, len(fractions) + 1) for part in combinations(fractions, size)]
    assert reaches(tuple(sorted(fractions)), Fraction(target), partly=True) == any(
        brute(list(part), target) for part in parts
    )


def test_larger_searches_agree_with_brute_force():
    rng = Random(3)
    for _ in range(2):
        numbers = [Fraction(rng.randint(1, 25)) for _ in range(5)]
        target = Fraction(rng.choice((101, 24, 997, 313)))
        assert reaches(tuple(sorted(numbers)), target) == brute(numbers, target)


def test_six_numbers_are_searched_and_seven_are_not():
    numbers = tuple(map(Fraction, (1, 2, 3, 4, 5, 100)))
    assert reaches(numbers, Fraction(945)) in {True, False}
    assert reaches((*numbers, Fraction(101)), Fraction(945)) is None


@pytest.mark.slow
def test_search_agrees_with_brute_force_on_game24():
    for numbers in combinations_of(13):
        fractions = list(map(Fraction, numbers))
        assert reaches(tuple(fractions), Fraction(24)) == brute(fractions, 24), numbers


def combinations_of(most):
    numbers = range(1, most + 1)
    return ((a, b, c, d) for a in numbers for b in numbers[a - 1 :] for c in numbers[b - 1 :] for d in numbers[c - 1 :])


trees = st.recursive(st.integers(0, 99), lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner), max_leaves=12)


def written(tree):
    if isinstance(tree, int):
        return str(tree), Fraction(tree)
    sign, (left, one), (right, other) = tree[0], written(tree[1]), written(tree[2])
    text = f"({left} {sign} {right})"
    if one is None or other is None or (sign == "/" and not other):
        return text, None
    return text, {"+": one + other, "-": one - other, "*": one * other, "/": one / other if other else None}[sign]


@given(trees)
def test_expressions_have_their_value(tree):
    text, value = written(tree)
    expression = read_whole(tokenize(text))
    assert expression is not None
    assert expression.value == value


@given(st.text(alphabet="0123456789+-*/()= .,left:\\frac{}xAnswer", max_size=80))
def test_any_text_is_judged_without_error(text):
    for phase in ("reasoning", "answer"):
        judged(TOT.format("1 1 4 6"), text, phase)


# -------------------------------------------------------------------------------------------- whole runs


def run(replies, prompt, monitor):
    with interwhen.run_sync(ScriptedModel(replies), prompt, monitors=[monitor]) as running:
        return running.drain()


def test_wrong_value_is_repaired_and_run_continues():
    result = run(
        ["12 - 8 = 5 (left: 5 5 11)\n", " (left: 4 5 11)\n11 - 5 = 6 (left: 4 6)\n4 * 6 = 24 (left: 24)\n"],
        TOT.format("5 8 11 12"),
        game24(),
    )
    assert isinstance(result, Verified)
    assert result.text.startswith("12 - 8 = 4 (left: 4 5 11)\n")
    assert result.ledger.remedies == 1


def test_dead_end_is_cut_back_to_earlier_state():
    result = run(["8 + 12 = 20 (left: 5 11 20)\n", RIGHT + "\n"], TOT.format("5 8 11 12"), game24())
    assert isinstance(result, Verified)
    assert result.violations[0].why == "24 cannot be made from 5 11 20"
    assert result.text == RIGHT + "\n"


def test_a_wrong_answer_gets_feedback_without_the_solution():
    talking = replace(game24(), remedy=Feedback("rewind"))
    result = run(["Answer: (12 - 8) * 11 - 5 = 24\n", RIGHT + "\n"], TOT.format("5 8 11 12"), talking)
    assert isinstance(result, Verified)
    assert "Wait, (12 - 8) * 11 - 5 is 39, not 24." in result.text


def test_countdown_ignores_unrelated_task():
    result = run(["12 - 8 = 5 (left: 5)\n"], "Tell me a story.", countdown())
    assert result.status == "unverified"
    assert not result.violations


# -------------------------------------------------------------------------------------------------- repairs


def test_overlong_list_of_numbers_is_not_repaired():
    numbers = "999983 999979 -999961 -999959 -999953 -999931 -999917 -999907"
    text = "999983 / 999979 = 999983/999979 (left: 5 -999961 -999959 -999953 -999931 -999917 -999907)"
    [verdict] = verdicts(f"Use the numbers {numbers} to make 24. Use each number once.", text)
    assert isinstance(verdict, Violation)
    assert verdict.repair is None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_repaired_text_is_judged_sound(seed):
    rng = Random(seed)
    numbers = [rng.randint(1, 13) for _ in range(rng.randint(3, 6))]
    one, other, *rest = numbers
    sign = rng.choice("+-*/")
    value = {"+": one + other, "-": one - other, "*": one * other, "/": Fraction(one, other)}[sign]
    left = [*map(str, rest), str(value)]
    said = str(value + rng.randint(1, 5)) if rng.random() < 0.5 else str(value)
    if said == str(value):
        left[rng.randrange(len(left))] = "97"
    text = f"{one} {sign} {other} = {said} (left: {' '.join(left)})"
    prompt = f"Use the numbers {' '.join(map(str, numbers))} to make 24. Use each number once."
    for _ in range(2):
        [(quote, verdict)] = judged(prompt, text)
        if not isinstance(verdict, Violation) or verdict.repair is None or verdict.where is None:
            break
        start = text.index(quote) + verdict.where.start
        text = text[:start] + verdict.repair + text[start + len(verdict.where) :]
    [verdict] = verdicts(prompt, text, monitor=countdown(dead_ends=False))
    assert not isinstance(verdict, Violation) or verdict.repair is None, (text, verdict)


def test_exhausted_search_budget_is_unknown(monkeypatch):
    # One number makes the target at once, and the search through all of them is given up.
    monkeypatch.setattr("interwhen_verifiers.puzzles.countdown._BUDGET", 1)
    reaches.cache_clear()
    numbers = tuple(map(Fraction, (3, 5, 7, 11, 13, 17)))
    try:
        verdict = judge_hopeless(NumberPuzzle(numbers, Fraction(3), "all"))
    finally:
        reaches.cache_clear()
    assert isinstance(verdict, Unknown)
