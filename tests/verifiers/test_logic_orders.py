"""Objects in an order: clues and statements drawn at random, against every arrangement tried here."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Pass, Unknown, Violation
from tests.verifiers.logic_support import judged, kinds, refuted

from interwhen_verifiers.puzzles._logic.orders import read_order

RANKS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
NUMBERS = {3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}
NAMES = ("apples", "plums", "kiwis", "mangoes", "oranges", "peaches", "blue pears")


class Row:
    """Words for one kind of order."""

    def __init__(self, *, noun, names, low, high, from_low, from_high, ends, be):
        self.noun, self.names, self.low, self.high, self.be = noun, names, low, high, be
        self.from_low, self.from_high, self.ends = from_low, from_high, ends

    def at(self, name, place, count, *, high):
        rank = count - 1 - place if high else place
        return f"{self.names[name]} {self.be} {(self.from_high if high else self.from_low)(rank)}"

    def before(self, one, other, *, high):
        if high:
            return f"{self.names[other]} {self.be} {self.high} {self.names[one]}"
        return f"{self.names[one]} {self.be} {self.low} {self.names[other]}"


def superlative(word):
    return lambda rank: f"the {word}" if not rank else f"the {RANKS[rank]}-{word}"


COLOURS = ("red", "blue", "orange", "gray", "white", "black", "green")
ROWS = {
    "price": Row(
        noun="fruits",
        names=[f"the {name}" for name in NAMES],
        low="less expensive than",
        high="more expensive than",
        from_low=superlative("cheapest"),
        from_high=superlative("most expensive"),
        ends=("cheapest", "most expensive"),
        be="are",
    ),
    "side": Row(
        noun="books",
        names=[f"the {name} book" for name in COLOURS],
        low="to the left of",
        high="to the right of",
        from_low=lambda rank: "the leftmost" if not rank else f"the {RANKS[rank]} from the left",
        from_high=lambda rank: "the rightmost" if not rank else f"the {RANKS[rank]} from the right",
        ends=("left", "right"),
        be="is",
    ),
    "rank": Row(
        noun="golfers",
        names=["Eve", "Rob", "Ana", "Mel", "Joe", "Ada", "Dan"],
        low="above",
        high="below",
        from_low=lambda rank: RANKS[rank],
        from_high=lambda rank: "last" if not rank else f"{RANKS[rank]}-to-last",
        ends=("first", "last"),
        be="finished",
    ),
}


@st.composite
def puzzles(draw):
    kind = draw(st.sampled_from(sorted(ROWS)))
    count = draw(st.integers(3, 6))
    order = draw(st.permutations(range(count)))
    fact = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.booleans())
    return kind, count, [(one, other, high, order) for one, other, high in draw(st.lists(fact, min_size=1, max_size=5))]


def clue(row, count, fact):
    one, other, high, order = fact
    if one == other:
        return row.at(one, order[one], count, high=high), lambda places: places[one] == order[one]
    low, up = sorted((one, other), key=lambda item: order[item])
    return row.before(low, up, high=high), lambda places: places[low] < places[up]


def prompt(row, count, clues):
    listed = ", ".join(row.names[:count]).replace("the ", "a ")
    told = "\n".join(f"- {text[0].upper()}{text[1:]}." for text in clues)
    options = "\n".join(f"({'ABCDEFG'[at]}) {row.at(at, 0, count, high=False)}." for at in range(count))
    return (
        f"The statements are logically consistent.\n- There are {NUMBERS[count]} {row.noun}: {listed}.\n{told}\n"
        f"Q: Given the above statements, which of the following is correct?\nOptions:\n{options}"
    )


def solved(puzzle):
    kind, count, facts = puzzle
    clues = [clue(ROWS[kind], count, fact) for fact in facts]
    left = [places for places in permutations(range(count)) if all(test(places) for _, test in clues)]
    return ROWS[kind], count, prompt(ROWS[kind], count, [text for text, _ in clues]), left


def expected(left, test):
    held = [test(places) for places in left]
    return "Pass" if all(held) else "Unknown" if any(held) else "Violation"


@settings(deadline=None, max_examples=40)
@given(puzzles())
def test_solver_returns_exactly_all_arrangements(puzzle):
    *_, text, left = solved(puzzle)
    assert sorted(read_order(text).rows) == sorted(left)


@settings(deadline=None, max_examples=40)
@given(puzzles(), st.data())
def test_places_and_relations_are_judged_by_what_follows(puzzle, data):
    row, count, text, left = solved(puzzle)
    one, place, high = (
        data.draw(st.integers(0, count - 1)),
        data.draw(st.integers(0, count - 1)),
        data.draw(st.booleans()),
    )
    other = data.draw(st.integers(0, count - 1).filter(lambda item: item != one))
    said = row.at(one, place, count, high=high)
    assert kinds(text, f"So {said}.") == [expected(left, lambda places: places[one] == place)]
    said = row.before(one, other, high=high)
    assert kinds(text, f"Therefore, {said}.") == [expected(left, lambda places: places[one] < places[other])]
    said = row.at(one, place, count, high=high).replace(f" {row.be} ", " cannot be ")
    if row.be != "finished":
        assert kinds(text, f"So {said}.") == [expected(left, lambda places: places[one] != place)]


@settings(deadline=None, max_examples=40)
@given(puzzles(), st.data())
def test_lists_are_judged_together(puzzle, data):
    row, count, text, left = solved(puzzle)
    order = data.draw(st.permutations(range(count)))
    high, is_part = data.draw(st.booleans()), data.draw(st.booleans())
    ends = row.ends[::-1] if high else row.ends
    shown = order[: count - 1] if is_part else order
    items = ", then ".join(f"{RANKS[at]} is {row.names[name]}" for at, name in enumerate(shown))
    places = {name: count - 1 - at if high else at for at, name in enumerate(shown)}
    wanted = expected(left, lambda row: all(row[name] == place for name, place in places.items()))
    assert kinds(text, f"So from {ends[0]} to {ends[1]}: {items}.") == [wanted]
    if not is_part:
        listed = ", ".join(row.names[name] for name in order)
        assert kinds(text, f"From {ends[0]} to {ends[1]}: {listed}.") == [wanted]


@settings(deadline=None, max_examples=40)
@given(puzzles(), st.data())
def test_answers_are_judged_by_what_follows(puzzle, data):
    _, count, text, left = solved(puzzle)
    at = data.draw(st.integers(0, count - 1))
    wanted = expected(left, lambda places: places[at] == 0)
    assert kinds(text, f"So the answer is ({'ABCDEFG'[at]})") == [wanted]


SIDE = ROWS["side"]
PROMPT = prompt(SIDE, 3, ["The red book is the leftmost", "The gray book is to the left of the blue book"]).replace(
    "orange", "gray"
)


@pytest.mark.parametrize(
    ("line", "quote"),
    [
        ("So from left to right: first is the red book, then second is the blue book.", "second is the blue book"),
        ("So from left to right: first can be any book, then fourth is the gray book.", None),
        ("The gray book is the second from the left, so it is the rightmost.", "so it is the rightmost"),
        ("From left to right: first is not the red book.", "first is not the red book"),
        ("The leftmost book is the blue book.", "The leftmost book is the blue book"),
        ("The red book cannot be the leftmost.", "The red book cannot be the leftmost"),
    ],
    ids=["list", "no such place", "pronoun", "not in a list", "inverted", "not"],
)
def test_contradicting_line_is_refuted(line, quote):
    bad = [
        (text[verdict.where.start : verdict.where.end] if verdict.where else text)
        for text, verdict in judged(PROMPT, [line])[0]
        if isinstance(verdict, Violation)
    ]
    assert len(bad) == 1
    assert quote is None or bad == [quote]


def test_nonexistent_place_is_refuted():
    judgements = judged(PROMPT, ["So from left to right: first is the red book, then fifth can be any book."])[0]
    assert [type(verdict) for _, verdict in judgements] == [Pass, Violation]
    assert judgements[1][1].why == "there are 3 places, and so no place 5"


def test_ordinals_count_as_the_last_list_did():
    lines = [
        "From right to left: first is the blue book.",
        "So the third book must be the red book.",
        "The first book is the red book.",
    ]
    assert refuted(PROMPT, lines) == [2]


def test_ranks_counted_from_last_keep_their_direction():
    text = prompt(ROWS["rank"], 3, ["Eve finished first", "Rob finished second"])
    lines = [
        "From last to first: first is Ana.",
        "Then third is Eve.",
        "Eve is first in the list.",
        "Ana finished first.",
    ]
    assert refuted(text, lines) == [3]
    assert refuted(text, ["First is Ana."]) == [0]


@pytest.mark.parametrize(
    "line",
    [
        "Is the blue book the leftmost?",
        "If the blue book is the leftmost, the rest does not fit.",
        "The blue book might be the leftmost.",
        "The book to the right of the blue book is the leftmost.",
        "The blue book is the leftmost or the rightmost.",
        "From left to right: first can be the blue book.",
        "A. The blue book is the leftmost.",
        "(B) The blue book is the leftmost.",
        "- C: The blue book is the leftmost.",
        "Blue is a fine colour, and the leftmost is another.",
        "The statement that the blue book is the leftmost fails.",
        "Ruled out: the blue book is the leftmost.",
        "It can't be that the blue book is the leftmost.",
        "It is untrue that the blue book is the leftmost.",
        "The claim is that the blue book is the leftmost.",
        "Without the red book, the blue book is the leftmost.",
        "The blue book is the leftmost of the two remaining books.",
        "Of the blue and green books, the blue book is the leftmost.",
        "The blue book is the leftmost among the last two.",
    ],
)
def test_other_lines_make_no_claim(line):
    assert kinds(PROMPT, line) == []


def test_lines_under_supposition_are_not_judged():
    lines = ["Suppose the blue book is the leftmost.", "Then the red book is the rightmost.", "So the answer is (B)"]
    assert refuted(PROMPT, lines) == [2]
    assert len(judged(PROMPT, lines)[1]) == 0


def test_undetermined_place_is_unknown():
    text = prompt(SIDE, 3, ["The red book is to the left of the blue book"])
    ((_, verdict),) = judged(text, ["So the red book is the leftmost."])[0]
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PROMPT.replace("three", "four"),
        PROMPT.replace("The red book is the leftmost", "The red book is the leftmost. The blue book is the leftmost"),
        PROMPT.replace("leftmost", "nicest").replace("to the left of", "near"),
        PROMPT.replace("three", "eight"),
    ],
    ids=["empty", "not all named", "contradiction", "no order", "too many"],
)
def test_unsupported_prompt_is_not_read(text):
    assert read_order(text) is None
