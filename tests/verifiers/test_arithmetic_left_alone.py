"""What the arithmetic verifier leaves alone: a false interrupt is worse than a miss."""

from __future__ import annotations

import interwhen
import pytest
from interwhen import Pass, Segment, Span, Unknown, Verdict, Violation
from interwhen.testing import ScriptedModel

from interwhen_verifiers.arithmetic import check, extract


def verdicts(line: str) -> list[Verdict]:
    judged = [check(claim) for claim in extract(Segment(text=line, span=Span(0, len(line)), phase="reasoning"))]
    assert all(isinstance(verdict, Pass | Violation | Unknown) for verdict in judged)
    return judged  # type: ignore[return-value]


UNCLEAR = [
    ("10/3 = 3", "a value was rounded on the way"),
    ("33% of 60 = 20", "a value was rounded on the way"),
    ("1.234,5 + 1 = 3", "the number is written as in other languages"),
    ("100 000 + 1 = 100 002", "a space may stand inside a number"),
    ("7 - 10 = 3", "the sign may be left to the words"),
    ("2(3) = -6", "the sign may be left to the words"),
    ("9 + 9 = 18 = 1 + 8 = 9", "digits may be meant, and not numbers"),
    ("17 / 5 = 2", "it may be the remainder of a division"),
    ("250 + 10 = 4", "the values may be meant modulo a number"),
    ("9 + 5 = 2", "the values may be meant modulo a number"),
    ("3 + 4 ≠ 7", "a comparison may be a condition"),
    ("2 * 3 <= 5", "a comparison may be a condition"),
    ("408 = 418", "two plain numbers are equated"),
    ("7 hours = 400 minutes", "units may have been converted"),
    ("1/2 hour = 30 minutes", "the units differ"),
    ("50 cents * 3 = $1.5", "units may have been converted"),
    ("1 hour + 30 minutes = 90 minutes", "different things are added"),
    ("2 hours + 30 = 150", "a number without a unit is added"),
    ("192*100=$1920", "units may have been converted"),
    ("2 * 12 = 2 dozen", "a word scales the number"),
    ("3 tens + 4 = 34", "a word scales the number"),
    ("7.5 hours = 7 * 60 + 30 = 450 minutes", "a quantity may be described rather than counted"),
    ("5 days a week (Mon to Fri) = 5 * 5 = 25", "a quantity may be described rather than counted"),
    ("50+10% = 55", "a percentage is added"),
    ("10% + 20% + 50 = 65", "a percentage is added"),
    ("(10% + 20%) + 50 = 65", "a percentage is added"),
    ("50 - (10% + 20%) = 35", "a percentage is added"),
    ("50 + (5 + 5)% = 55", "a percentage is added"),
    ("48 = 100% + 20% = 120%", "a share of something may be described"),
    ("3/4 = 15", "a share of something may be described"),
    ("90-100 = 4.0", "a range may be described"),
    ("1.500 * 2 = 3000", "a point may separate thousands"),
    ("10/3 = 4", "a value was rounded on the way"),
    ("2/3 = 0.66", "a value was rounded on the way"),
    ("0.33 * 300 = 100", "a value was rounded on the way"),
    ("$4.20 + $9.45 = $13.64", "a value was rounded on the way"),
    ("0.1 + 0.2 = 0.30000000000000004", "a value was rounded on the way"),
    ("$1,000,000 / 3 = $333,000", "a value was rounded on the way"),
    ("19 * 21 ≈ 20 * 20", "it is an estimate"),
    ("5 + 3 = 8 * 2 = 16", "the calculation may run on"),
    ("5 + 3 = 10 - 8 = 2", "the calculation may run on"),
    ("20 / 3 = 6.67 * 3 = 20", "the calculation may run on"),
    ("3 * 4 = 2*3 + 4 = 10", "the operation may be defined in the text"),
    ("100 / 2 * 5 = 10", "a product after a division can be read in two ways"),
    ("6/2(1+2) = 1", "a product after a division can be read in two ways"),
    ("-2^2 = 4", "a sign before a power can be read in two ways"),
    ("2^3^2 = 64", "a power of a power can be read in two ways"),
    ("- 3 + 4 = 1", "the start of the line may be a sign or a bullet"),
    ("1.5 + 3 = 8", "the start of the line may be a sign or a bullet"),
    ("3 + 4 = 6 and 1 more", "another amount follows"),
    ("3 + 4 = 6 feet 12 inches", "another amount follows"),
    ("3 + 4 = 2 times n", "another amount follows"),
    ("3 + 4 = 8!", "it may be a factorial"),
    ("3*4 = 12[3]", "such a bracket may be a note"),
    ("3 * 4 = 2 1/2", "a mixed number can be read in two ways"),
    ("3 < 4 + 1 = 6", "another relation stands before it"),
    ("1/0 = 5", "division by zero"),
    ("2^99999 = 4", "a power that is too large"),
    ("4^0.5 = 3", "a power that is not whole"),
    ("10 + 5 = 3 pm", "a word scales the number"),
    ("25 May + 10 = 4 June", "a word scales the number"),
    ("17 + 5 = 4 (mod 6)", "the sentence around it casts doubt on it"),
    ("101 + 11 = 1000 (binary)", "the sentence around it casts doubt on it"),
    ("7 + 8 = 5 (carry the 1)", "the sentence around it casts doubt on it"),
    ("Wait, 3+4=8 is wrong", "the sentence around it casts doubt on it"),
    ("Suppose that 2 + 2 = 5", "the sentence around it casts doubt on it"),
    ("3+4=8. Wait, let me see, it is 7", "it may be taken back in what follows"),
    ("is 3+4=8? no", "it is part of a question"),
    ("if 2 + 2 = 5 then all is lost", "it may not be asserted"),
    ("he said 3 + 4 = 8", "it may not be asserted"),
    ("I had 3 + 4 = 8 but it should be 7", "it may not be asserted"),
    ("not 3 + 4 = 8", "it may be denied"),
    ("2 + 3 = 6, which is not true", "it may be denied"),
    ("2 + 3 = 6. This is not right", "it may be denied"),
    ("0 = 5 - 3, which has no solution", "it may be denied"),
    ('the text "3 + 4 = 8" again', "it is quoted"),
]


@pytest.mark.parametrize(("line", "why"), UNCLEAR)
def test_ambiguous_equation_is_unknown(line: str, why: str) -> None:
    judged = verdicts(line)
    assert Unknown(why=why) in judged
    assert not any(isinstance(verdict, Violation) for verdict in judged)


NOTHING = [
    "",
    "No equation here.",
    "x = 5",
    "x + 3 = 5",
    "2n = 8",
    "3 + 4i = 5",
    "3 + 4 = 7x",
    "3 + 4 = 7 x",
    "cost - 5 + 3 = 8",
    "cost -5 + 3 = 9",
    "a - 5 + 3 = 8",
    "3 + 4 =",
    "3 + 4 = 5 +",
    "+ 3 + 4 = 9",
    "3:4 + 1 = 5",
    "10:30 + 2:15 = 12:45",
    "f(3) = 9",
    "max(3, 4) - 2 = 2",
    "C(5,2) = 10",
    r"\binom{5}{2} = 10",
    r"\sqrt{16} + 3 = 8",
    "sqrt(16) + 3 = 8",
    "log 100 + 5 = 8",
    "17 mod 5 = 2",
    "17 + 5 ≡ 2 (mod 5)",
    r"10 + 5 \equiv 3 \pmod{12}",
    "5! = 120",
    "5!-4+1 = 117",
    "1 + 2 + ... + 10 = 55",
    "1 + 2 + … + 10 = 55",
    "|3 - 7| = 4",
    "101_2 + 1 = 6",
    "2024-01-05 = 5",
    "12/25/2020 = x",
    "192.168.1.1 + 3 = 4",
    "v1.2 + 3 = 4",
    "1e3 + 1 = 1001",
    "0900-0130 = 0730 hours",
    "half of 10 + 2 = 7",
    "twice 5 + 3 = 13",
    "Half of the 20 + 5 = 25",
    "add 5 to 3 + 2 = 10",
    "50% off $20 + $5 = $15",
    "10% tax on $20 + $20 = $22",
    "5 apples and 3 oranges + 2 pears = 10 fruits",
    "5 feet 6 inches + 2 = 7",
    "May 25 + 10 = 4 June",
    "Day 2 - 3 * 4 = 12",
    "Number of apples in box 2 = 3 * x",
    "dp[2] + 1 = 4",
    "dp [2] + 1 = 4",
    "(3, 4) + (1, 2) = (4, 6)",
    "2 * (3 + 4 = 7",
    "17 % 5 = 2",
    "17 // 5 = 3",
    "x += 3 + 4",
    "=" * 50,
    "3 * 4 = 12 - that is it",
    "1 m2 + 3 = 5",
]


@pytest.mark.parametrize("line", NOTHING)
def test_unreadable_line_makes_no_claim(line: str) -> None:
    assert verdicts(line) == []


@pytest.mark.parametrize("before", ["… +", "... + ", r"\dots -", "x +", "f(x) *"])
def test_equation_continuing_open_line_is_not_refuted(before):
    model = ScriptedModel([f"{before}\n1 + 2 = 6\n"])
    with interwhen.run_sync(model, "Q", monitors=["arithmetic"]) as run:
        result = run.drain()
    assert result.violations == ()
    assert result.status == "unverified"
