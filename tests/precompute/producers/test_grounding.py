"""Statements that follow from the lines they cite, and statements that only look as if they did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.precompute.producers._grounding import lack_of

WAGES = ("Jo earns 45 dollars a day.", "She works 4 days.")
APPLES = ("Anna has 12 apples and Ben has 45 apples.",)


@pytest.mark.parametrize(
    ("said", "cited"),
    [
        ("45 * 4 = 180 dollars.", WAGES),
        ("Jo earns 45 * 4 = 180 dollars in total.", WAGES),
        ("Jo earns $45 a day.", WAGES),
        ("Anna has 12 apples.", APPLES),
        ("Anna and Ben have 12 + 45 = 57 apples.", APPLES),
        ("There are 12 + 45 = 57 apples in total.", APPLES),
        ("Jo has 12 apples.", ("Jo has 12 red apples with 3 pears.",)),
        ("The hens lay three eggs.", ("The hens lay 3 eggs every day.",)),
        ("The hens lay 3 eggs.", ("The hens lay three eggs every day.",)),
        ("45 dollars * 4 days - 10 dollars = 170 dollars", (*WAGES, "She pays a fee of 10 dollars.")),
        ("5 * \u20ba8 = \u20ba40", ("5 folders", "a folder costs \u20ba8")),
        ("2 x 3 = 6 apples", ("2 bags", "3 apples in each bag")),
        ("1,000 / 4 = 250 people", ("1,000 people", "4 buses")),
        ("100 - 20 - 30 = 50 people", ("100 people, 20 people leave, 30 people leave",)),
        ("A crate and the pallet: 24 + 10 = 34.", ("A crate weighs 24 kg, the pallet 10 kg.",)),
        ("2 + 0.5 = 2.5 hours", ("2 hours", "0.5 hours")),
    ],
)
def test_these_follow(said, cited):
    assert lack_of(said, cited) == ""


@pytest.mark.parametrize(
    ("said", "cited", "why"),
    [
        ("45 * 4 * 15 = 2700 dollars.", WAGES, "the number 15 is in no cited line"),
        ("45 * 4 = 190 dollars.", WAGES, "without an equation that holds"),
        ("45 + 4 = 45 dollars.", WAGES, "without an equation that holds"),
        ("45 * 4 = 180 days.", WAGES, "does not show that 180 counts day"),
        ("Jo earns 45 dollars a week.", WAGES, "'week' is in no cited line"),
        ("Anna has 45 apples.", APPLES, "to which of anna, ben 45 belongs"),
        ("There are 12 apples.", APPLES, "to which of anna, ben 12 belongs"),
        ("Cid has 12 apples.", APPLES, "'Cid' is in no cited line"),
        ("Anna has 45 apples.", ("Anna has 12 apples and Ben has 45.",), "no cited line counts 45"),
        ("Jo has 12 pears.", ("Jo has 12 apples with 3 pears.",), "no cited line counts 12 pear"),
        ("12 + 3 = 15 apples", ("Jo has 12 red apples with 3 pears.",), "does not show that 15 counts"),
        (
            "Ann bought 5 * 8 = 40 folders.",
            ("Ann bought 5 folders which cost \u20ba8 each.",),
            "not show that 40 counts",
        ),
        ("5 * 8 = 40 folders", ("Ann bought 5 folders for 8 dollars each.",), "does not show that 40 counts folder"),
        ("2 * 3 = 6 bags", ("2 bags", "3 apples in each bag"), "does not show that 6 counts bag"),
        ("Jo has 9 apples.", ("If Jo buys 9 apples, she is happy.",), "'if'"),
        ("Jo has 9 apples.", ("Jo doesn't have 9 apples.",), "'not'"),
        ("Jo has no 9 apples.", ("Jo has 9 apples.",), "'no' can turn"),
        ("4 / 0 = 4", ("4", "0"), "without an equation that holds"),
        ("Ann reports to Cid.", ("Ann reports to Bob.", "Bob reports to Cid."), "put together in a wrong way"),
        ("7 = 7 dollars", ("Jo has 7 dollars.",), "without an equation that holds"),
    ],
)
def test_these_do_not(said, cited, why):
    assert why in lack_of(said, cited)


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=3))
def test_any_text_is_judged(said, cited):
    assert isinstance(lack_of(said, cited), str)


@given(st.integers(2, 10**6), st.integers(2, 10**6), st.integers(-3, 3))
def test_only_the_right_sum_follows(one, other, off):
    cited = (f"Ann has {one} coins.", f"Ann gets {other} coins.")
    assert (lack_of(f"Ann has {one} + {other} = {one + other + off} coins.", cited) == "") == (off == 0)
