"""The arithmetic verifier under random equations, hostile text and long text."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from interwhen import Pass, Segment, Span, Unknown, Violation

from interwhen_verifiers._arithmetic.chains import find_chains
from interwhen_verifiers._arithmetic.tokens import Token, tokenize
from interwhen_verifiers.arithmetic import check, extract

Tree = int | tuple[str, Any, Any]


def segment(text: str, at: int = 0) -> Segment:
    return Segment(text=text, span=Span(at, at + len(text)), phase="reasoning")


def value_of(tree: Tree) -> int:
    # Shares no code with the verifier.
    if isinstance(tree, int):
        return tree
    sign, left, right = tree
    one, two = value_of(left), value_of(right)
    return one + two if sign == "+" else one - two if sign == "-" else one * two


@dataclass(frozen=True)
class Style:
    """How an equation is written."""

    times: str
    space: str
    before: str
    after: str
    brackets: tuple[str, str]
    separator: str

    def number(self, value: int) -> str:
        return f"{value:,}".replace(",", self.separator) if abs(value) >= 1000 else str(value)

    def tree(self, tree: Tree, depth: int = 0) -> str:
        if isinstance(tree, int):
            return self.number(tree) if tree >= 0 or not depth else f"({self.number(tree)})"
        sign, left, right = tree
        shown = (
            f" {self.times} "
            if self.times.startswith("\\")
            else self.space + (self.times if sign == "*" else sign) + self.space
        )
        if self.times.startswith("\\") and sign != "*":
            shown = f" {sign} "
        text = self.tree(left, depth + 1) + shown + self.tree(right, depth + 1)
        return self.brackets[0] + text + self.brackets[1] if depth else text


STYLES = [
    Style("*", " ", "", "", ("(", ")"), ""),
    Style("*", "", "So ", ".", ("(", ")"), ","),
    Style("x", " ", "This gives ", " apples in all.", ("(", ")"), ","),
    Style("×", " ", "Total: ", ", which we add.", ("[", "]"), ","),
    Style("·", "", "Step 2: ", "", ("(", ")"), ""),
    Style("\\times", " ", "\\(", "\\)", ("\\left(", "\\right)"), "{,}"),
    Style("\\cdot", " ", "$$", "$$", ("(", ")"), "\\,"),
    Style("*", " ", "- ", "  ", ("(", ")"), ","),
    Style("*", " ", "A = B = ", " = C", ("(", ")"), ""),
]

leaves = st.integers(-60, 60)
trees = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=7).filter(
    lambda tree: isinstance(tree, tuple)
)


@given(trees, st.sampled_from(STYLES))
def test_true_equations_pass(tree: Tree, style: Style) -> None:
    if style.before == "- ":
        assume(style.tree(tree)[0] != "-")
    text = f"{style.before}{style.tree(tree)} = {style.number(value_of(tree))}{style.after}"
    verdicts = [check(claim) for claim in extract(segment(text))]
    assert verdicts
    assert all(isinstance(verdict, Pass) for verdict in verdicts), text


OTHER_MEANINGS = (
    "the first number may be a label",
    "the sign may be left to the words",
    "digits may be meant, and not numbers",
    "it may be the remainder of a division",
    "the values may be meant modulo a number",
)


@given(trees, st.sampled_from(STYLES), st.integers(1, 5000))
@example(("+", 999, 1), STYLES[1], 5)
@example(("-", 3, 5), STYLES[0], 2)
@example(("-", 1, 2), STYLES[2], 5)
def test_false_equations_are_refuted_and_their_repair_passes(tree: Tree, style: Style, off: int) -> None:
    value = value_of(tree)
    left, wrong = style.tree(tree), style.number(value + off)
    # Without spaces, 5-10 may be a range; after a bullet, the sign of the first number is open.
    assume(not (style.space == "" and tree[0] == "-" and isinstance(tree[1], int)))  # type: ignore[index]
    assume(style.before != "- ")
    # With a unit, 1 - 2 = 1 apples may count what is in a range: from one to two it is one, or both of them.
    counts = isinstance(tree[1], int) and isinstance(tree[2], int) and value + off in (-value, 1 - value)  # type: ignore[index]
    assume(not (counts and tree[0] == "-" and "apples" in style.after))  # type: ignore[index]
    # Numbers of zeros and ones alone may be binary or Boolean.
    assume(not set(filter(str.isdigit, left + wrong)) <= {"0", "1"})
    text = f"{style.before}{left} = {wrong}{style.after}"
    (claim,) = extract(segment(text, at=7))
    verdict = check(claim)
    assume(not (isinstance(verdict, Unknown) and verdict.why in OTHER_MEANINGS))
    assert isinstance(verdict, Violation), text
    assert claim.span is not None
    assert verdict.where is not None
    where = verdict.where.shifted(claim.span.start - 7)
    assert text[where.start : where.end] == wrong
    assert verdict.repair is not None
    assert verdict.repair.replace(style.separator or " ", "") == str(value)
    repaired = text[: where.start] + verdict.repair + text[where.end :]
    assert [type(check(claim)) for claim in extract(segment(repaired))] == [Pass], repaired


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 99)), min_size=2, max_size=5), st.integers(100, 10**6))
def test_sums_of_money_are_judged_exactly(prices: list[tuple[int, int]], off: int) -> None:
    cents = sum(100 * dollars + rest for dollars, rest in prices)
    left = " + ".join(f"${dollars}.{rest:02d}" for dollars, rest in prices)
    for amount, expected in ((cents, Pass), (cents + off, Violation)):
        text = f"They pay {left} = ${amount // 100:,}.{amount % 100:02d} today"
        (claim,) = extract(segment(text))
        # A factor that units convert with is no proof where there are units.
        assume(expected is Pass or Fraction(amount, cents).denominator != 1)
        assert isinstance(check(claim), expected), text


@given(st.integers(1, 10**6), st.integers(1, 999), st.integers(1, 6))
@example(1, 8, 2)
def test_correct_roundings_pass(above: int, below: int, places: int) -> None:
    unit = Fraction(1, 10**places)
    rounded = (Fraction(above, below) / unit + Fraction(1, 2)).__floor__() * unit  # half away from zero
    text = f"{above}/{below} = {float(rounded):.{places}f}"
    assert [type(check(claim)) for claim in extract(segment(text))] == [Pass], text


@given(st.integers(1, 10**6), st.integers(2, 999), st.integers(0, 3))
@example(5, 2, 0)
@example(1, 8, 2)
def test_a_decimal_that_ends_is_never_rounded_silently(above: int, below: int, places: int) -> None:
    value = Fraction(above, below)
    for shown in (value.__floor__(), value.__ceil__(), round(value, places)):
        text = f"{above}/{below} = {shown if isinstance(shown, int) else f'{float(shown):.{places}f}'}"
        stated = Fraction(text.split("= ")[1])
        for claim in extract(segment(text)):
            if isinstance(check(claim), Pass):
                assert stated == value or (places and abs(stated - value) * 2 <= Fraction(1, 10**places)), text


@given(st.integers(1, 80), st.integers(1, 500), st.integers(2, 400))
def test_percentages_are_judged_exactly(fives: int, twenties: int, off: int) -> None:
    value = fives * twenties
    left = f"{5 * fives}% of {20 * twenties}"
    (right,) = extract(segment(f"{left} = {value}"))
    assert isinstance(check(right), Pass)
    assume((value + off) % value)  # a factor may be a conversion between units
    (wrong,) = extract(segment(f"{left} = {value + off}"))
    verdict = check(wrong)
    assert isinstance(verdict, Violation)
    assert verdict.repair == str(value)


HOSTILE = st.text(alphabet="0123456789 +-*/^=≈()[]{}.,:;!?%$x×÷·²½\\<>~|\"'#_&aIof\n\t") | st.text()


@given(HOSTILE)
@example("=" * 300)
@example("((((((((((" * 30 + "1+1=3")
@example("1" * 5000 + " + 1 = 2")
@example("2^" * 60 + "2 = 4")
@example("9^9^9 = 1 + 1/0")
@example("1+" * 400 + "1 = 5")
@example("\\frac{1}{ = 3")
@example("٣ + ٤ = ٨")
def test_any_text_yields_claims_within_its_bounds(text: str) -> None:
    for claim in extract(segment(text)):
        assert claim.span is not None
        assert text[claim.span.start : claim.span.end] == claim.text
        verdict = check(claim)
        if isinstance(verdict, Violation):
            assert verdict.where is not None
            assert Span(0, len(claim.text)).covers(verdict.where)


@given(HOSTILE | st.sampled_from(["3 + 4 = 8 apples", "x = 2 * 3 = 7"]), st.integers(0, 10**6))
@example("3 + 4 = 8 apples", 17)
def test_claims_do_not_depend_on_segment_offset(text: str, at: int) -> None:
    here, there = list(extract(segment(text))), list(extract(segment(text, at=at)))
    assert [claim.key for claim in here] == [claim.key for claim in there]
    assert [claim.span.shifted(at) for claim in here if claim.span] == [claim.span for claim in there]
    assert [check(claim) for claim in here] == [check(claim) for claim in there]


@given(st.lists(st.sampled_from(["3 + 4 = 7", "3 + 4 = 8", "5 apples", "2 * 3 = 6 cups", "x = 3"]), max_size=6))
def test_equal_keys_get_equal_verdicts(parts: list[str]) -> None:
    seen: dict[str, object] = {}
    for claim in extract(segment("; ".join(parts))):
        verdict = check(claim)
        assert seen.setdefault(claim.key, verdict) == verdict


class Counted(list[Token]):
    """A list of tokens that counts how many tokens were read from it."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        piece = super().__getitem__(key)
        self.looks += len(piece) if isinstance(key, slice) else 1
        return piece


def looks(text: str) -> int:
    tokens = Counted(tokenize(text))
    assert len(tokens) <= len(text)
    list(find_chains(tokens))
    return tokens.looks


DEGENERATE = [
    " ", "1 ", "(", ")", "1=", "1+", "= ", "-", "- 1 ", "1+1=", "3 + 4 = 8 ", "> Step ", "((1", "x ", "$", "$1=", "1 (a) ",
    "a b ", "5 a/b ", "{", "\\frac{1}{", "\\text{", "1,", "1, 1=", "not 1+1=3. ", "2(", "=1(a)", "^1", "1 apple + ", "%",
    "1=(", ")=1", "=-", "*", "~", "…=", "1 of ", "and 1+1=2 ", "≈",
]  # fmt: skip


@pytest.mark.fault("V12", injected="degenerate text of n and 8n characters", happens="the work is linear")
@pytest.mark.parametrize("unit", DEGENERATE)
def test_work_is_linear_in_text_length(unit: str) -> None:
    short, long = unit * (2000 // len(unit)) + "=1", unit * (16_000 // len(unit)) + "=1"
    assert looks(long) <= 8.5 * looks(short) + 5000
    assert looks(long) <= 200 * len(long)
