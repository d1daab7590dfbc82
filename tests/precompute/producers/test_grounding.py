"""Statements that follow from the lines they cite, and statements that only look as if they did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.precompute.producers._grounding import lack_of
from tests.precompute.producers.hostile_facts import COUNTED_TWICE, HOSTILE, LOOK_ALIKES

WAGES = ("Jo earns 45 dollars a day.", "She works 4 days.")
APPLES = ("Anna has 12 apples and Ben has 45 apples.",)


@pytest.mark.parametrize(
    ("said", "cited"),
    [
        ("45 * 4 = 180 dollars.", WAGES),
        ("Jo earns 45 * 4 = 180 dollars in total.", WAGES),
        ("Jo earns 45 dollars a day.", ("Jo earns 45 dollars a day, and spends 5 of them.",)),
        ("Anna has 12 apples.", APPLES),
        ("Anna and Ben have 12 + 45 = 57 apples.", APPLES),
        ("There are 12 + 45 = 57 apples in total.", APPLES),
        ("45 dollars * 4 days - 10 dollars = 170 dollars", (*WAGES, "She pays 10 dollars.")),
        ("5 * \u20ba8 = \u20ba40", ("5 folders", "a folder costs \u20ba8")),
        ("Ann bought 5 * 8 = 40 dollars of folders.", ("Ann bought 5 folders for 8 dollars each.",)),
        ("2 x 3 = 6 apples", ("2 bags", "3 apples in each bag")),
        ("6 * 8 * 5 = 240 sweets", ("There are 6 boxes.", "Each box has 8 bags.", "Each bag has 5 sweets.")),
        ("100 - 20 - 30 = 50 people", ("100 people, 20 people leave, 30 people leave",)),
        ("A crate and the pallet: 24 + 10 = 34.", ("The crate weighs 24 kg, the pallet weighs 10 kg.",)),
        ("2 + 0.5 = 2.5 hours", ("2 hours", "0.5 hours")),
        ("Ann ran 6 + 4 = 10 miles.", ("Ann ran 6 miles on Monday.", "Ann ran 4 miles on Tuesday.")),
        ("Bob has 12 * 7 = 84 pens.", ("A box holds 12 pens.", "Bob has 7 boxes.")),
        ("Max buys 24 * 9 = 216 bottles.", ("A crate holds 24 bottles.", "Max buys 9 crates.")),
        ("Jo has 20 - 5 = 15 apples.", ("Jo has 20 apples.", "She eats 5 apples.")),
        ("Jo has 7 + 3 = 10 apples.", ("Jo has 7 apples.", "Jo gets 3 apples.")),
        ("Jo earns 45 * 4 = 180 dollars a week.", ("Jo earns 45 dollars a day.", "Jo works 4 days a week.")),
        (
            "The total cost of the pens is 18 * 9 = 162 dollars.",
            (
                "She bought 18 pens which cost 9 dollars each, 12 rulers which cost 4 dollars each, and paper for 3 dollars.",
            ),
        ),
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
        ("45 + 4 = 49 dollars.", WAGES, "its terms have different units"),
        ("45 + 45 = 90 dollars.", ("Jo has 45 dollars.",), "one number of the lines stands twice"),
        ("Jo earns 45 dollars a week.", WAGES, "not the beginning of a cited sentence"),
        ("Anna has 45 apples.", APPLES, "not the beginning of a cited sentence"),
        ("Jo has 9 apples.", ("If Jo has 9 apples, she is happy.",), "not the beginning"),
        ("Jo has 9 apples.", ("Jo has 9 apples, if she is lucky.",), "not the beginning"),
        ("Ann ran 6 + 9 = 15 miles.", ("Ann ran 6 miles.", "Ben ran 9 miles."), "to which of ann, ben"),
        ("6 * 3 = 18 dollars", ("Ann earns 6 dollars an hour.", "Ben works 3 hours."), "belong to different names"),
        ("12 + 3 = 15 apples", ("Jo has 12 red apples with 3 pears.",), "12 as a plain amount"),
        ("5 * 8 = 40 folders", ("Ann bought 5 folders for 8 dollars each.",), "does not show that 40 counts folder"),
        ("2 * 3 = 6 bags", ("2 bags", "3 apples in each bag"), "does not show that 6 counts bag"),
        ("1,000 / 4 = 250 people", ("1,000 people", "4 buses"), "what a division means"),
        ("80 * 25 = 2000 dollars", ("A coat costs 80 dollars.", "It costs 25% less."), "25 as a plain amount"),
        ("20 + 5 = 25 liters", ("20 liters", "at least 5 liters"), "5 as a plain amount"),
        ("7 + 3 = 10 eggs", ("Jo has 7 eggs.", "Jo eats 3 eggs."), "do not say the same"),
        ("7 - 3 = 4 eggs", ("Jo has 7 eggs.", "Jo buys 3 eggs."), "do not say that its second number is taken away"),
        (
            "120 + 200 = 320 workers",
            ("It had 120 workers in 2005.", "It had 200 workers in 2010."),
            "at different times",
        ),
        ("Jo has no 9 apples.", ("Jo has 9 apples.",), "'no' can turn"),
        ("4 / 0 = 4", ("4", "0"), "without an equation that holds"),
        ("2 + 3 = 5 and 2 * 3 = 6", ("2", "3"), "more than one equation"),
        ("Ann reports to Cid.", ("Ann reports to Bob.", "Bob reports to Cid."), "put together in a wrong way"),
        ("7 = 7 dollars", ("Jo has 7 dollars.",), "without an equation that holds"),
        ("In 2005: 12 + 45 = 57 apples", APPLES, "the number 2005 stands outside the equation"),
        ("They sold 12 + 45 = 57 apples.", APPLES, "'sold' is in no cited line that the equation uses"),
    ],
)
def test_these_do_not(said, cited, why):
    assert why in lack_of(said, cited)


@pytest.mark.parametrize("kind", HOSTILE)
def test_statements_that_only_look_grounded_are_refused(kind):
    passed = [said for said, cited in HOSTILE[kind] if not lack_of(said, cited)]
    assert passed == []


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_statements_that_quote_only_a_part_are_refused(kind):
    passed = [said for said, cited in LOOK_ALIKES[kind] if not lack_of(said, cited, cited)]
    assert passed == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_line_that_is_cited_twice_is_counted_once(kind):
    assert [said for said, cited in HOSTILE[kind] if not lack_of(said, (*cited, *cited), cited)] == []


def test_a_number_is_not_counted_again_through_an_earlier_fact():
    passed = [said for said, text, fact in COUNTED_TWICE if not lack_of(said, (*text, fact), text)]
    assert passed == []


def test_an_earlier_fact_is_a_factor():
    text = ("There are 6 boxes.", "Each box has 8 bags.", "Each bag has 5 sweets.")
    assert lack_of("48 * 5 = 240 sweets", (*text, "6 * 8 = 48 bags"), text) == ""


def test_he_is_the_only_one_who_is_named():
    cited = ("He bought two shirts at $80 each.",)
    said = "Erwan bought 2 * 80 = 160 dollars of shirts."
    assert lack_of(said, cited, ("Erwan went shopping.", *cited)) == ""
    assert "'Erwan' is in no cited line" in lack_of(said, cited, ("Erwan met Ann.", *cited))
    assert "'Erwan' is in no cited line" in lack_of(said, ("Two shirts cost $80 each.",), ("Erwan came.",))


def test_she_may_be_somebody_of_another_line():
    cited = ("Jo earns 45 dollars a day.", "She works 4 days.")
    assert lack_of("Jo earns 45 * 4 = 180 dollars.", cited, cited) == ""
    text = (cited[0], "Ann is her sister.", cited[1])
    assert lack_of("Jo earns 45 * 4 = 180 dollars.", cited, text) == "a pronoun in the lines may mean somebody else"


@pytest.mark.parametrize(
    ("said", "cited"),
    [
        ("Ann has 2 + 3 = 5 apples.", ("Ann has 2 apples.", "She gets 3 apples.")),
        ("Ben has 9 - 3 = 6 apples.", ("Ben has 9 apples.", "He eats 3 apples.")),
        ("Acme makes 9 * 3 = 27 lamps.", ("Acme makes 9 lamps a day.", "It works 3 days.")),
        ("Dan has 6 * 4 = 24 eggs.", ("A box holds 6 eggs.", "Dan has 4 boxes.", "Ben has 2 boxes.")),
        ("Dan sells 6 * 4 = 24 eggs.", ("A box holds 6 eggs.", "Dan sells 4 boxes.")),
        ("Ann ran 2 + 3 = 5 km on Monday and Tuesday.", ("Ann ran 2 km on Monday.", "Ann ran 3 km on Tuesday.")),
        ("Ann ran 2 + 3 = 5 km.", ("Ann ran 2 km on Monday.", "Ann ran 3 km on Tuesday.")),
        ("A worker lays 50 * 6 = 300 bricks.", ("A worker lays 50 bricks an hour.", "4 workers work 6 hours.")),
        ("The buses seat 40 * 3 = 120 people.", ("A bus seats 40 people.", "The school has 3 buses.")),
        ("The cups cost 4 * 5 = 20 dollars.", ("A cup costs 4 dollars.", "Ron buys 5 cups.", "Ron has 30 dollars.")),
    ],
)
def test_statements_beside_those_that_are_refused_follow(said, cited):
    assert lack_of(said, cited, cited) == ""


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=3))
def test_any_text_is_judged(said, cited):
    assert isinstance(lack_of(said, cited), str)


@given(st.integers(2, 10**6), st.integers(2, 10**6), st.integers(-3, 3))
def test_only_the_right_sum_follows(one, other, off):
    cited = (f"Ann has {one} coins.", f"Ann gets {other} coins.")
    assert (lack_of(f"Ann has {one} + {other} = {one + other + off} coins.", cited) == "") == (off == 0)
