"""Statements whose result is derived again by other words; what agrees is a weaker basis, and is served as such."""

from fractions import Fraction

import pytest
from interwhen import UsageError
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute._served_items import AGREED_HEADING, HEADING
from interwhen.precompute.producers._agreement import Blank, ask_to_derive, blank_of, read_derived, select_agreed
from interwhen.precompute.producers._statements import Statement
from interwhen.precompute.producers.facts import facts
from interwhen.testing import ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]
TEXT = "Jo earns 45 dollars a day.\nJo works 4 days.\nShe sells the rest for 2 dollars each."
CHECKED = "Jo earns 45 * 4 = 180 dollars."
DOUBTFUL = "She sells 16 eggs for 16 * 2 = 32 dollars."
WRONG = "She sells 9 eggs for 9 * 2 = 19 dollars."


@pytest.mark.parametrize(
    ("said", "text", "value"),
    [
        (CHECKED, "Jo earns ____ dollars.", 180),
        ("In total $45 * 4 = $180.", "In total ____.", 180),
        ("The coat costs 55 dollars.", "The coat costs ____ dollars.", 55),
        ("In 2 days Jo earns 1,090.5 dollars", "In 2 days Jo earns ____ dollars", Fraction(2181, 2)),
    ],
)
def test_the_result_is_blanked_with_its_calculation(said, text, value):
    assert blank_of(said) == Blank(text, Fraction(value))


@pytest.mark.parametrize(
    "said", ["Jo is rich.", "45 * 4 = 180", "180 dollars", "It was -5 degrees", "She got up at 9:30"]
)
def test_without_a_sentence_around_a_number_there_is_nothing_to_derive(said):
    assert blank_of(said) is None


def test_each_phrasing_asks_with_the_text_and_without_the_result():
    blank = blank_of(CHECKED)
    prompts = [ask_to_derive(TEXT.splitlines()[:2], [blank], number) for number in range(4)]
    assert len({prompt[0].content for prompt in prompts}) == 3
    assert prompts[3] == prompts[0]
    for prompt in prompts:
        assert "1. Jo earns ____ dollars." in prompt[1].content
        assert "Jo works 4 days." in prompt[1].content
        assert "180" not in prompt[1].content


def test_a_number_counts_only_if_it_is_clear():
    reply = (
        "1. 45 * 4 = 180\n2) 7\n3: the rest = 5 or 6\n4. ?\n5. 3 + 4\n6. = 8\n6. = 9\nso 7. = 1\n 8. 2 * 3 = 1,006.5"
    )
    assert read_derived(reply) == {1: 180, 2: 7, 8: Fraction(2013, 2)}
    assert read_derived("1. 2 - 7 = -5\n2. = \u2212 5\n3. 7 at 10:30\n4. the rest: 5") == {4: 5}


def test_only_equal_results_agree():
    statements = [Statement(said, ()) for said in (CHECKED, DOUBTFUL)]
    blanks = [blank_of(each.said) for each in statements]
    derived = [{1: Fraction(180), 2: Fraction(30)}, {1: Fraction(180), 2: Fraction(32)}, {2: Fraction(32)}]
    assert select_agreed(statements, blanks, derived, 2) == [(statements[0], 2), (statements[1], 2)]
    assert select_agreed(statements, blanks, derived, 3) == []


async def prepared(*replies, monitors=("arithmetic",), **options):
    model = ScriptedModel(list(replies))
    pre = Precomputer(Store(MemoryShelf()), model, monitors, producers=[facts(**options)], passes=1, debounce=0.0)
    ref = await pre.add("wages", {"wages": TEXT})
    return pre, ref, await pre.work(), model


async def test_what_agrees_is_served_under_its_own_heading_after_what_is_checked():
    proposed = f"{CHECKED} [S1 S2]\n{DOUBTFUL} [S3]\n{WRONG} [S3]"
    pre, ref, done, model = await prepared(proposed, "1. 16 * 2 = 32", "1. 2 * 16 = 32", derivations=2)
    assert [(each.step, each.outcome) for each in done] == [
        ("facts::wages/1", "accepted"),
        ("facts::agreed/wages", "accepted"),
    ]
    checked, agreed = pre.ready(ref)
    assert (checked.proof.basis, checked.payload.text) == ("judged", CHECKED)
    assert (agreed.proof.basis, agreed.payload.text) == ("agreed", DOUBTFUL)
    assert agreed.proof.evidence == "derived again with the same result: 2 of 2 times"
    # The wrong sum was refuted, so it was not derived again.
    assert all("9 eggs" not in request.prompt[-1].content for request in model.requests[1:])
    served = pre.serve(ref, model, "What does Jo earn, and she for eggs?")
    assert served.prompt == (
        f"{HEADING}\n{CHECKED}\n\n{AGREED_HEADING}\n{DOUBTFUL}\n\nWhat does Jo earn, and she for eggs?"
    )
    assert set(served.items) == {checked.id, agreed.id}


async def test_what_only_agrees_is_never_under_the_heading_of_what_is_checked():
    pre, ref, _, model = await prepared(f"{DOUBTFUL} [S3]", "1. 32", "1. 32", derivations=2)
    served = pre.serve(ref, model, "What does she get for eggs?")
    assert served.prompt.startswith(f"{AGREED_HEADING}\n{DOUBTFUL}\n")
    assert HEADING not in served.prompt


async def test_what_does_not_agree_is_not_served():
    pre, ref, done, _ = await prepared(f"{DOUBTFUL} [S3]", "1. 32", "1. 30", derivations=2)
    assert [each.outcome for each in done] == ["guess", "nothing"]
    assert done[1].why == "1 statements were derived again, and no result came out the same"
    assert pre.ready(ref) == ()


async def test_without_derivations_nothing_is_derived_again():
    _, _, done, model = await prepared(f"{DOUBTFUL} [S3]")
    assert [each.outcome for each in done] == ["nothing"]
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"derivations": -1},
        {"derivations": 1.5, "agreeing": 1},
        {"derivations": 2, "agreeing": 3},
        {"derivations": 1, "agreeing": 0},
    ],
)
def test_options_that_cannot_work_are_errors(options):
    with pytest.raises(UsageError, match=r"facts: (derivations|agreeing) must be a whole number"):
        facts(**options)
