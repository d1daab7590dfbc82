"""Sorting: letters, chains, groups and lists, each changed in one place, against Python's own order."""

from __future__ import annotations

import string
from itertools import groupby

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interwhen import Pass, Unknown, Violation
from tests.verifiers.logic_support import judged, kinds, refuted

from interwhen_verifiers.puzzles._logic.sorting import read_words

RANKS = ("first", "second", "third", "fourth", "fifth", "sixth")
WORDS = st.lists(st.text("abcmz", min_size=3, max_size=6), min_size=4, max_size=9, unique=True)
GIVEN = "pear apple fig avocado plum"


def number(letter):
    return string.ascii_lowercase.index(letter) + 1


def letters(words, rank):
    said = " ".join(f'"{word}": "{word[rank]}" ({number(word[rank])}).' for word in words)
    return f"The {RANKS[rank]} letter: {said}"


def chain(words, rank):
    groups = [
        list(group) for _, group in groupby(sorted(words, key=lambda word: word[rank]), key=lambda word: word[rank])
    ]
    return " < ".join(f"({number(group[0][rank])}) {shown(group)}" for group in groups)


def shown(group):
    return f'"{group[0]}"' if len(group) == 1 else "[" + " ? ".join(f'"{word}"' for word in group) + "]"


def procedure(words):
    lines = [f"I look at the first letters. {letters(words, 0)}", f"We now have: {chain(words, 0)}."]
    groups = [list(group) for _, group in groupby(sorted(words, key=lambda word: word[0]), key=lambda word: word[0])]
    for at, group in enumerate(groups):
        if len(group) > 1:
            lines.append(
                f"Now let's sort this subpart {shown(group)} by looking at their second letters. {letters(group, 1)}"
            )
            done = [[word] for word in sorted(group)]
            groups[at : at + 1] = [done[0] if len(done) == 1 else [word for each in done for word in each]]
            whole = " < ".join(
                " < ".join(f'"{word}"' for word in sorted(each)) if place <= at else shown(each)
                for place, each in enumerate(groups)
            )
            lines.append(f"We now have: {chain(group, 1)} for the subpart. Hence, we have {whole}.")
    return [*lines, f"I have now sorted all the words. The answer is {' '.join(sorted(words))}"]


@settings(deadline=None, max_examples=40)
@given(WORDS)
def test_a_right_procedure_passes(words):
    lines = procedure(words)
    line_verdicts = judged(" ".join(words), lines)
    assert all(line_verdicts), lines
    assert all(isinstance(verdict, Pass) for line in line_verdicts for _, verdict in line), (lines, line_verdicts)


@settings(deadline=None, max_examples=40)
@given(WORDS, st.data())
def test_any_wrong_letter_is_refuted_and_repaired(words, data):
    word = data.draw(st.sampled_from(words))
    rank = data.draw(st.integers(0, len(word) - 1))
    wrong = data.draw(st.sampled_from([letter for letter in string.ascii_lowercase if letter != word[rank]]))
    line = f'The {RANKS[rank]} letter: "{word}": "{wrong}" ({number(wrong)}).'
    ((quote, verdict),) = judged(" ".join(words), [line])[0]
    assert isinstance(verdict, Violation)
    assert (
        line.replace(quote, verdict.repair)
        == f'The {RANKS[rank]} letter: "{word}": "{word[rank]}" ({number(word[rank])}).'
    )


@settings(deadline=None, max_examples=40)
@given(WORDS, st.randoms(use_true_random=False))
def test_a_chain_passes_only_in_order(words, random):
    listed = list(words)
    random.shuffle(listed)
    said = " < ".join(f'"{word}"' for word in listed)
    (judgement,) = judged(" ".join(words), [f"We now have: {said}."])[0]
    assert isinstance(judgement[1], Pass if listed == sorted(words) else Violation)


@settings(deadline=None, max_examples=40)
@given(WORDS, st.data())
def test_only_the_sorted_list_passes(words, data):
    right = sorted(words)
    wrong = list(right)
    match data.draw(st.sampled_from(["swap", "drop", "repeat", "invent"])):
        case "swap":
            at = data.draw(st.integers(0, len(right) - 2))
            wrong[at], wrong[at + 1] = wrong[at + 1], wrong[at]
        case "drop":
            wrong.remove(data.draw(st.sampled_from(right)))
        case "repeat":
            wrong.append(right[-1])
        case _:
            wrong.append("zzzzzzzz")
    assume(wrong != right)
    for listed, kind in ((right, "Pass"), (wrong, "Violation")):
        assert kinds(" ".join(words), f"The answer is {' '.join(listed)}") == [kind]
        assert kinds(" ".join(words), f"Answer: {', '.join(listed)}") == [kind]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('We now have: (16) "apple" < (6) "fig" for the subpart.', "16 is not the number"),
        ('We now have: (1) ["apple" ? "fig"] < (16) "plum" for the subpart.', "1 is not the number"),
        ('Hence, we have "apple" < "avocado" < "fig" < "pear".', "'plum' is missing"),
        ('Hence, we have "apple" < "avocado" < "fig" < "pear" < "plum" < "plum".', "'plum' cannot stand before itself"),
        ('Hence, we have ["apple" ? "fig"] < "avocado" < ["pear" ? "plum"].', "'fig' does not come before 'avocado'"),
        ('Hence, we have "apple" < ["avocado" ? "fig"] < ["pear" ? "plum"].', "differ in their first letters"),
        (
            (
                'We now have: "apple" < "avocado" for the subpart. Hence, we have ["apple" ? "avocado"] < "fig" < '
                '["pear" ? "plum"].'
            ),
            "was just given",
        ),
        ("Hence, we have apple avocado fig plum pear", "'plum' does not come before 'pear'"),
        ('"pear" comes before "fig".', "'pear' does not come before 'fig'"),
        ('sort this subpart ["pear" ? "apple"] by their second letters', "differ before their second letters"),
        ('The second letter of "fig" is "g".', "'g' is not the second letter"),
        ('The first letter: "fig": "f" (7).', "'f' is not the seventh letter"),
        ('The first letter: "fig": "f" (22).', "'f' is not the 22nd letter"),
    ],
    ids=range(13),
)
def test_false_comparison_is_refuted(line, why):
    whys = [
        verdict.why for _, verdict in judged(GIVEN, ["The first letter:", line])[1] if isinstance(verdict, Violation)
    ]
    assert len(whys) == 1
    assert why in whys[0]


@pytest.mark.parametrize(
    "line",
    [
        "x < y, and 3 < 4",
        'We have "pear" and "fig".',
        '"fig": "f" (6)',  # of which letter?
        "The answer is 42",
        "The answer is that I do not know",
    ],
)
def test_other_lines_are_unknown(line):
    assert all(kind == "Unknown" for kind in kinds(GIVEN, line))


def test_unlisted_word_is_unknown_before_the_answer():
    lines = ['The first letter: "aple": "a" (1).', 'Hence, we have "aple" < "avocado" < "fig" < "pear" < "plum".']
    line_verdicts = judged(GIVEN, [*lines, "The answer is aple avocado fig pear plum"])
    assert [[type(verdict) for _, verdict in line] for line in line_verdicts] == [[Pass], [Unknown], [Violation]]
    assert refuted(GIVEN, ['Hence, we have "avocado" < "aple" < "fig" < "pear" < "plum".']) == [0]


def test_chains_under_descending_order_are_unknown():
    given = "Sort these words in descending alphabetical order: fig, apple, pear"
    assert kinds(given, '"apple" < "fig" < "pear"') == kinds(given, '"pear" < "fig" < "apple"') == ["Unknown"]
    assert kinds(given, "Answer: pear, fig, apple") == ["Pass"]
    assert kinds(given, "Answer: apple, fig, pear") == ["Violation"]


def test_words_with_apostrophes_have_no_strict_order():
    given = "we're well wedge its it's"
    assert kinds(given, '"well" comes before "we\'re".') == ["Pass"]
    assert kinds(given, 'The third letter: "we\'re": "r" (18). "we\'re": "e" (5).') == ["Pass", "Violation"]
    assert refuted(given, ['"wedge" < "we\'re" < "well"', '"well" < "wedge"']) == [1]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Sort the following words alphabetically: List: fig apple pear", ("fig", "apple", "pear")),
        ("Sort these words in alphabetical order: fig, apple, pear", ("fig", "apple", "pear")),
        ('Please sort the words in descending order:\n["fig", "apple"]\nWords: fig, apple', ("fig", "apple")),
        ("fig apple pear plum", ("fig", "apple", "pear", "plum")),
    ],
)
def test_words_are_read_from_prompt(prompt, words):
    assert read_words(prompt).given == words


@pytest.mark.parametrize(
    "prompt", ["", "Hello, how are you?", "Sort this out.", "Sort these words: _fig_, apple", "fig apple"]
)
def test_unsupported_prompt_is_not_read(prompt):
    assert read_words(prompt) is None


def test_right_answers_of_reasoning_gym_pass():
    # Its answers pass. With two neighbours exchanged, they do not pass.
    import reasoning_gym  # takes seconds, which the collection of every worker would pay

    seen = 0
    for item in reasoning_gym.create_dataset("word_sorting", size=120, seed=5):
        words = item["answer"].split(", ")
        if read_words(item["question"]) is None:
            continue
        seen += 1
        assert kinds(item["question"], f"Answer: {', '.join(words)}") == ["Pass"]
        words[0], words[1] = words[1], words[0]
        assert kinds(item["question"], f"Answer: {', '.join(words)}") == ["Violation"]
    assert seen > 100


def test_answer_dropping_a_repeated_word_is_unknown():
    prompt = "Sort the following words alphabetically: List: pear apple pear"
    assert kinds(prompt, "The answer is apple pear pear") == ["Pass"]
    assert kinds(prompt, "The answer is apple pear") == ["Unknown"]


def test_an_unknown_list_is_no_answer():
    ((_, verdict),) = judged(GIVEN, ["The answer is red green blue"])[0]
    assert isinstance(verdict, Unknown)
