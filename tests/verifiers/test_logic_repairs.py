"""``logic``: a repair says in full what is so, and reads back as exactly that; prose behind a list is none of its words."""

from __future__ import annotations

import random

import pytest
from interwhen import Pass, Unknown, Violation
from tests.verifiers.logic_support import judged, kinds

THINGS = {
    "positions": ("goalkeeper", "left midfielder", "right winger", "striker", "cheerleader"),
    "wings": ("left winger", "right winger", "left midfielder", "right midfielder", "center back"),
    "balls": ("a red ball", "a blue ball", "a pink ball", "a white ball", "a green ball"),
    "mixed": ("a red ball", "a yellow present", "a bright blue ball", "an orange", "a black ball"),
    "books": ("The Odyssey", "The Fellowship of the Ring", "Ulysses", "The Great Gatsby", "Moby Dick"),
    "people": ("Rodrigo", "Jamie", "Patrick", "Ophelia", "Sam"),
}
NAMES = ("Alice", "Bob", "Claire", "Dave", "Eve")


def prompt(things):
    held = ", ".join(f"{name} has {thing}" for name, thing in zip(NAMES, things, strict=True))
    return (
        f"Five friends meet. At the start of it, these are the places: {held}.\nFirst, Alice and Bob swap places. Then, Bob and Claire swap "
        f"places. Finally, Dave and Eve swap places. At the end of it, Eve has the\n"
    )


def bare(thing):
    return thing.removeprefix("a ").removeprefix("an ")


def short(things, thing):
    nouns = {each.split()[-1] for each in things}
    return bare(thing).rsplit(" ", 1)[0] if len(nouns) == 1 and " " in bare(thing) else bare(thing)


@pytest.mark.parametrize("kind", THINGS)
@pytest.mark.parametrize("form", ["full", "short"])
@pytest.mark.parametrize("seed", range(6))
def test_repair_names_item_in_full_and_passes(kind, form, seed):
    rng = random.Random(seed)
    things = THINGS[kind]
    say = bare if form == "full" else lambda thing: short(things, thing)
    right = [things[1], things[2], things[0], things[3], things[4]]  # after two swaps
    who = rng.randrange(4)
    said = [right[at] if at != who else rng.choice([each for each in things if each != right[who]]) for at in range(5)]
    lines = [
        f"At the start: {', '.join(f'{name}: {say(thing)}' for name, thing in zip(NAMES, things, strict=True))}.",
        f"Alice and Bob swap places: Alice: {say(things[1])}, Bob: {say(things[0])}.",
        f"Bob and Claire swap places: {', '.join(f'{name}: {say(thing)}' for name, thing in zip(NAMES, said, strict=True))}.",
    ]
    judgements = judged(prompt(things), lines)[2]
    [(quote, verdict)] = [each for each in judgements if isinstance(each[1], Violation)]
    assert quote == say(said[who])
    assert verdict.repair == say(right[who])
    mended = lines[2].replace(f"{NAMES[who]}: {quote}", f"{NAMES[who]}: {verdict.repair}")
    again = judged(prompt(things), [*lines[:2], mended])[2]
    assert len(again) == len(judgements)
    assert all(isinstance(each, Pass) for _, each in again)


def test_the_article_of_the_text_is_kept():
    for said, meant in (("the red ball", "the blue ball"), ("a red ball", "an orange ball"), ("red", "blue")):
        things = ("a red ball", f"{'an orange' if 'orange' in meant else 'a blue'} ball", *THINGS["balls"][2:])
        line = f"Alice and Bob swap places, so now Alice has {said}."
        [(quote, verdict)] = judged(prompt(things), [line])[0]
        assert (quote, verdict.repair) == (said, meant)


WORDS = "Sort the following words alphabetically: List: fig plum apple date"


@pytest.mark.parametrize(
    "line",
    [
        "So the answer is apple date fig plum, and therefrom we have the order.",
        "The answer is apple, date, fig, and plum.",
        "The answer is: apple date fig and plum",
        "The answer is apple, date, fig, plum, as was to be shown.",
        "The answer is apple, date, fig, plum (in ascending order).",
        "So the answer is apple date fig plum which is sorted",
        "Answer: the list is apple, date, fig, plum",
        'Hence, we have "apple" < "date" < "fig" < "plum", and therefrom the answer.',
        "Hence, we have apple date fig plum and therefrom the answer",
        "Thus we have apple date fig plum which is the answer",
        "So we have apple date then fig",
        "Therefore we have apple date fig and then plum",
        'Hence, we have "apple" < "date" < "fig" ? "plum".',
        'Hence, we have "apple" ? "date" < "fig" ? "plum".',
        'Hence, we have "apple" ? "date" ? "fig" < "plum".',
        'We now have: "date" ? "apple" < "plum" ? "fig".',
        'Hence, we have "apple" < "date", then "fig" < "plum".',
        'Hence, we have "apple" < "date" and "fig" < "plum".',
        'Hence, we have "apple" < "date" \u2264 "fig" \u2264 "plum".',
        'Hence, we have "apple" < ("date" ? "fig") < "plum".',
        'Hence, we have "apple" < {"date" ? "fig"} < "plum".',
    ],
)
def test_prose_around_right_list_refutes_nothing(line):
    assert "Violation" not in kinds(WORDS, line), judged(WORDS, [line])


def test_wrong_list_within_prose_is_refuted():
    for line in (
        "So the answer is date apple fig plum, and therefrom we have the order.",
        "The answer is date, apple, fig, and plum.",
        "The answer is apple, date, fig, and pear.",
        "The answer is apple, date, and plum.",
        "Hence, we have date apple fig plum and therefrom the answer",
        'Hence, we have "date" < "apple" ? "fig" < "plum".',
        'Hence, we have "plum" ? "date" < "apple".',
        'Hence, we have "apple" < "date" < "fig".',
    ):
        assert "Violation" in kinds(WORDS, line), line


def test_conjunction_before_last_word_is_no_item():
    for listed in ("fig, plum, apple, and date", "fig, plum, apple and date", "'fig', 'plum', 'apple' and 'date'"):
        given = f"Sort the following words alphabetically: {listed}"
        assert kinds(given, "The answer is apple, date, fig, plum") == ["Pass"]
        assert kinds(given, "The answer is apple, date, fig and plum") == ["Pass"]
        assert kinds(given, "The answer is apple, fig, date, plum") == ["Violation"]
    with_and = "Sort the following words alphabetically: List: fig and plum apple"
    assert kinds(with_and, "The answer is and apple fig plum") == ["Pass"]
    assert kinds(with_and, "The answer is apple fig plum") == ["Violation"]


def test_an_answer_of_prose_is_unknown():
    [(_, verdict)] = judged(WORDS, ["The answer is apple date fig plum because the letters say so and that is all"])[0]
    assert isinstance(verdict, Pass | Unknown)
