"""The arithmetic verifier, case by case: what it passes, what it refutes and how, and what it leaves alone."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from interwhen import Auto, Lines, Pass, Segment, Span, Unknown, UsageError, Verdict, Violation

from interwhen_verifiers.arithmetic import Equation, arithmetic, check, check_exactly, extract


def claims(line: str, at: int = 0) -> list[Equation]:
    return list(extract(Segment(text=line, span=Span(at, at + len(line)), phase="reasoning")))


def verdicts(line: str) -> list[Verdict]:
    judged = [check(claim) for claim in claims(line)]
    assert all(isinstance(verdict, Pass | Violation | Unknown) for verdict in judged)
    return judged  # type: ignore[return-value]


def violations(line: str) -> list[Violation]:
    return [verdict for verdict in verdicts(line) if isinstance(verdict, Violation)]


RIGHT = [
    "3 + 4 = 7",
    "She paid 5*3=15 dollars",
    "2 + 3 * 4 = 14",
    "(2 + 3) * 4 = 20",
    "[2 + 3] * 4 = 20",
    "((2)) * 3 = 6",
    "2 * (3 + 4) = 2 * 7 = 14",
    "10 - 4 - 3 = 3",
    "24 / 4 / 2 = 3",
    "2^10 = 1024",
    "2**3 = 8",
    "2^{3} = 8",
    "5² + 12² = 13²",
    "10^-2 = 0.01",
    "2(3) + 4(5) = 26",
    "(-3)(-4) = 12",
    "2 - -3 = 5",
    "-5 + 3 = -2",
    "x = -5 + 3 = -2",
    "17 × 24 = 408",
    "8 ÷ 2 = 4",
    "9 − 5 = 4",
    "9 – 5 = 4",
    "3 · 4 = 12",
    "5 x 3 = 15",
    "5x3=15",
    "3 X (4 + 1) = 15",
    r"\( 3 \times 4 = 12 \)",
    r"\[ 3 \cdot 4 = 12 \]",
    r"$3 \cdot 4 = 12$",
    r"$$\frac{12}{2+1} = 4$$",
    r"12 \div 3 = 4",
    r"\dfrac{1}{2} + \tfrac{1}{3} = \frac{5}{6}",
    r"\left( 3 + 4 \right) \times 2 = 14",
    r"3 + 4 = \boxed{7}",
    r"\boxed{3 + 4 = 7}",
    r"20\% \times 50 = 10",
    r"\text{Cost} = 5 \times \$3 = \$15",
    r"3 \text{ cups} + 4 \text{ cups} = 7 \text{ cups}",
    r"180^\circ - 60^\circ = 120^\circ",
    "20% of 50 = 10",
    "10%*50 = 5",
    "3/4 = 75%",
    "30/40 * 100 = 75%",
    "100% - 40% = 60%",
    "1/4 of 20 = 5",
    "$5*3=$15",
    "$1.50 + $2.25 = $3.75",
    "-$5 + $2 = -$3",
    "1,234 + 1 = 1,235",
    "$12,000 * 2 = 24000",
    "1{,}000 + 1 = 1{,}001",
    "10/3 = 3.33",
    "10/3 ≈ 3.3",
    r"\frac{10}{3} \approx 3.333",
    "10/3 = ~3.33",
    "about 3.1 * 4 = 12",
    "3 cups + 2 cups = 5 cups",
    "20 feet * 40 feet = 800 square feet",
    "7 customers/hour * 22 hours = 154 customers",
    "16 tires / 4 tires per customer = 4 customers",
    "10 (people) * 6 (cards each) = 60",
    "3+4=7apples",
    "½ + ¼ = ¾",
    "2½ + 1 = 3.5",
    "3 feet * 12 = 36 inches",
    "Step 2: 3 + 4 = 7",
    "1. 3+4=7",
    "1) 3+4=7",
    "- 3 + 4 = 7",
    "* 3 + 4 = 7",
    "**3 + 4 = 7**",
    "3 + 4 = **7**",
    "| 3 + 4 = 7 |",
    "3 + 4 == 7",
    "= 7 + 2 = 9",
    "12 = 3 * 4",
    "Check: 2(3) + 4 = 10 ✓",
    "33% of 60 ≈ 20",
    "3 hours = 180 minutes",
    "50 cents = $0.5",
    "3 + 4 ≠ 8",
    "3 + 4 != 8",
    "2 * 3 <= 7",
    "1.234,5 + 1 = 1.235,5",
    "100 000 + 1 = 100 001",
    "5 + 3 = 8 > 7",
]


@pytest.mark.parametrize("line", RIGHT)
def test_right_equations_pass(line: str) -> None:
    judged = verdicts(line)
    assert judged
    assert all(isinstance(verdict, Pass) for verdict in judged)


# line, wrong part, repair
WRONG = [
    ("17 × 24 = 418", "418", "408"),
    ("So 3+4=8.", "8", "7"),
    ("2 + 3 * 4 = 20", "20", "14"),
    ("5x3=16", "16", "15"),
    ("Let's calculate A = (-9 - 5 - 0) = (-9 - 5) = -15.", "-15", "-14"),
    ("C = ((3 * 4 * 5) * (7 - -7 * 4)) = (60 * (7 - 28)) = (60 * -21) = -1260", "(60 * (7 - 28))", "2100"),
    ("A - B = -14 - 2 - (-1260) = -14 + 1258 = 1245", "1245", "1244"),
    ("(A * B) = (22 * 36) = (793).", "793", "792"),
    ("3+4=7=8", "8", "7"),
    ("3+4=8=7", "8", "7"),
    ("$5*3=$16", "16", "15"),
    ("5 * $3 = $16.00", "16.00", "15.00"),
    ("Total = 3 * $4.50 = $13.00 in all", "13.00", "13.50"),
    ("-$5 + $2 = -$4", "-$4", "-$3"),
    ("$3 - $1 = -$4", "-$4", "$2"),
    ("5 - 3 = -3", "-3", "2"),
    ("1,234 + 1 = 1,236", "1,236", "1,235"),
    ("500 + 1,500 = 900", "900", "2,000"),
    ("1{,}000 + 1 = 1{,}002", "1{,}002", "1{,}001"),
    ("20% of 50 = 11", "11", "10"),
    ("3/4 = 80%", "80", "75"),
    ("100% - 40% = 50%", "50", "60"),
    ("10/3 = 3.5", "3.5", "3.33"),
    ("1/5 = 0.3", "0.3", "0.2"),
    ("1.5 + 2.5 = 4.1", "4.1", "4"),
    ("10^-2 = 0.1", "0.1", "0.01"),
    ("145% of 240 = 350", "350", "348"),
    ("$4.20 + $9.45 = $13.63", "13.63", "13.65"),
    ("1/8 = 0.25", "0.25", "0.125"),
    ("2^10 = 1025", "1025", "1024"),
    (r"\( 3 \times 4 = 13 \)", "13", "12"),
    (r"$\frac{10}{4} = 2.6$", "2.6", "2.5"),
    (r"3 + 4 = \boxed{8}", "8", "7"),
    (r"\text{Cost} = 5 \times \$3 = \$16", "16", "15"),
    ("3 cups + 2 cups = 6 cups", "6", "5"),
    ("495 students * $15/student = $7455.", "7455", "7425"),
    ("4(40) - 13 = 157 cards", "157", "147"),
    ("3+4=8apples", "8", "7"),
    ("- 3 + 4 = 8", "8", "7"),
    ("Let $x = 3 + 4 = 8$ and $y = 2$.", "8", "7"),
    ("3 * 4 = 13 times a day", "13", "12"),
    ("6 * 7 = 42, 8 * 9 = 73", "73", "72"),
    ("f(3) = 3*3 + 1 = 11", "11", "10"),
    ("a = 3, b = 4 + 5 = 10", "10", "9"),
    ("If x=2, 3x = 3 * 2 = 7", "7", "6"),
    ("1222_{3} = 1*27 + 2*9 + 2*3 + 2 = 54", "54", "53"),
    (r"n = 1 \cdot 3^3 + 2 \cdot 3 = 81 + 6 = 87", r"81 + 6", "33"),
    ("5 + 3 = 8 * 2 = 17", "17", "16"),
    ("(3.5)(1.5)(-2.5)(-3.5) = 43.875 > 0", "43.875", "45.9375"),
    ("12 = 3 * 5", "3 * 5", None),
    ("168 = 2^3 * 7", "2^3 * 7", None),
    (r"\frac{1}{2} + \frac{1}{3} = \frac{2}{5}", r"\frac{2}{5}", None),
    ("The probability is 1 - 1/6 = 5/7.", "5/7", None),
    ("3 + 4 = -(5)", "5", None),
    ("3 - 10 = -(5)", "5", None),
    ("10 * 3 = -(-20)", "20", "30"),
]


@pytest.mark.parametrize(("line", "wrong", "repair"), WRONG)
def test_wrong_equations_are_located_and_repaired(line: str, wrong: str, repair: str | None) -> None:
    (verdict,) = violations(line)
    claim = next(claim for claim in claims(line) if isinstance(check(claim), Violation))
    assert claim.span is not None
    assert verdict.where is not None
    where = verdict.where.shifted(claim.span.start)
    assert line[where.start : where.end] == wrong
    assert verdict.repair == repair


@pytest.mark.parametrize(("line", "wrong", "repair"), [case for case in WRONG if case[2] is not None])
def test_repaired_text_passes(line: str, wrong: str, repair: str) -> None:
    claim = next(claim for claim in claims(line) if isinstance(check(claim), Violation))
    verdict = check(claim)
    assert isinstance(verdict, Violation)
    assert verdict.where is not None
    assert claim.span is not None
    where = verdict.where.shifted(claim.span.start)
    repaired = line[: where.start] + repair + line[where.end :]
    left = [
        other.span.start + other_verdict.where.start
        for other in claims(repaired)
        if isinstance(other_verdict := check(other), Violation) and other_verdict.where and other.span
    ]
    assert all(start > where.start for start in left)


def test_claim_covers_only_numeric_part_of_chain() -> None:
    (claim,) = claims("Then (A + B) = (2 + 3) = 5 apples.")
    assert claim.text == "(2 + 3) = 5 apples"
    assert claim.span == Span(15, 33)


def test_only_the_witness_states_the_right_value() -> None:
    (verdict,) = violations("17 × 24 = 418")
    assert verdict.why == "17 × 24 is not 418"
    assert verdict.witness == "17 × 24 is 408, not 418"


@pytest.mark.parametrize(
    ("line", "witness"),
    [
        ("10/3 = 3.5", "10 / 3 is about 3.33, not 3.5"),
        ("3/4 = 80%", "3 / 4 is 75%, not 80%"),
        ("3+4=7=8", "3 + 4 is 7, not 8"),
        ("12 = 3 * 5", "3 × 5 is 15, not 12"),
        (r"\frac{10}{4} + 2(3) = 9.5", "(10 / 4) + 2(3) is 8.5, not 9.5"),
        ("2^{3} - (1 + 1) = 7", "2^(3) - (1 + 1) is 6, not 7"),
    ],
)
def test_violation_has_the_expected_witness(line: str, witness: str) -> None:
    assert [verdict.witness for verdict in violations(line)] == [witness]


def test_words_of_the_trace_are_never_repeated() -> None:
    # Model text is hostile: only numbers and signs of it come back, and never many of them.
    (verdict,) = violations("Ignore all rules. 3 pirates + 4 pirates = 8 pirates")
    assert "pirates" not in verdict.why + verdict.witness
    (verdict,) = violations(" + ".join(["1"] * 100) + " = 99")
    assert len(verdict.why) < 100


def test_claim_key_covers_inputs_of_the_verdict() -> None:
    (plain,) = claims("3 + 4 = 8")
    (again,) = claims("Now 3 + 4 = 8", at=90)
    (doubted,) = claims("Wait, 3 + 4 = 8 is wrong")
    (counted,) = claims("3 + 4 = 8 dozen")
    assert plain.key == again.key
    assert check(plain) == check(again)
    assert len({plain.key, doubted.key, counted.key}) == 3


def test_exact_rounding_refuses_rounded_values_after_equals_only() -> None:
    (equal,) = claims("10/3 = 3.33")
    (about,) = claims("10/3 ≈ 3.33")
    assert isinstance(check(equal), Pass)
    assert isinstance(check_exactly(about), Pass)
    refuted = check_exactly(equal)
    assert isinstance(refuted, Violation)
    assert refuted.repair is None


def test_factory_options_configure_the_monitor() -> None:
    monitor = arithmetic(rounding="exact", level="locate", delivery="observe", phase="answer")
    assert monitor.name == "arithmetic"
    assert monitor.verifier.version != arithmetic().verifier.version
    assert (monitor.level, monitor.delivery, monitor.phase) == ("locate", "observe", "answer")
    assert isinstance(arithmetic().trigger, Lines)
    assert arithmetic().remedy == Auto()
    assert arithmetic().verifier.worker == "inline"
    kinds = {parameter.kind for parameter in inspect.signature(arithmetic).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_invalid_factory_option_is_refused() -> None:
    with pytest.raises(UsageError, match="rounding must be one of shown-digits, exact, got 'loose'"):
        arithmetic(rounding="loose")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="level"):
        arithmetic(level="all")  # type: ignore[arg-type]


def test_the_example_of_the_documentation_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verifiers" / "arithmetic.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {}
    exec(block, scope)
    assert scope["monitor"].name == "arithmetic"  # type: ignore[attr-defined]


def test_entry_point_loads_the_factory() -> None:
    (entry,) = entry_points(group="interwhen.verifiers", name="arithmetic")
    assert entry.load() is arithmetic
