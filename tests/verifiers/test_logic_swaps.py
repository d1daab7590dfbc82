"""Swaps: stories told in three ways, with any one value changed, against a table that is swapped by hand."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from interwhen import Pass, Segment, Span, Task, Unknown, Violation
from tests.verifiers.logic_support import judged, kinds, refuted

from interwhen_verifiers.puzzles._logic.swaps import read_swaps
from interwhen_verifiers.puzzles.logic import logic

NAMES = ("Alice", "Bob", "Claire", "Dave", "Eve")
THINGS = ("red ball", "blue ball", "pink ball", "white ball", "green ball")


def prompt(count, pairs, asked=0):
    held = ", ".join(f"{name} has a {thing}" for name, thing in zip(NAMES[:count], THINGS, strict=False))
    words = ["First", *["Then"] * (len(pairs) - 2), "Finally"][: len(pairs)]
    told = " ".join(
        f"{word}, {NAMES[one]} and {NAMES[other]} swap balls." for word, (one, other) in zip(words, pairs, strict=True)
    )
    options = "\n".join(f"({'ABCDE'[at]}) {THINGS[at]}." for at in range(count))
    return (
        f"Some friends are playing a game. At the start of the game, they are each holding a ball: {held}.\n"
        f"As the game progresses, pairs of players trade balls. {told} At the end of the game, {NAMES[asked]} has the\n"
        f"Options:\n{options}"
    )


def played(count, pairs):
    states = [list(range(count))]
    for one, other in pairs:
        now = list(states[-1])
        now[one], now[other] = now[other], now[one]
        states.append(now)
    return states


def told(style, pairs, states):
    lines = []
    for at, state in enumerate(states):
        swap = "" if not at else f"{NAMES[pairs[at - 1][0]]} and {NAMES[pairs[at - 1][1]]} swap balls"
        short = [f"{NAMES[who]}: {THINGS[thing].split()[0]}" for who, thing in enumerate(state)]
        if style == "named":
            lines.append(f"{swap or 'At the start'}: {', '.join(short)}.")
        elif style == "bare":
            lines.append(", ".join(each[0] + each[each.index(":") :] for each in short))
        else:
            says = " and ".join(f"{NAMES[who]} has the {THINGS[thing]}" for who, thing in enumerate(state))
            lines.append(f"{at}. {swap + ', so now' if swap else 'To begin,'} {says}.")
    return lines


@st.composite
def stories(draw):
    count = draw(st.integers(3, 5))
    pair = st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True).map(tuple)
    return count, draw(st.lists(pair, min_size=1, max_size=6)), draw(st.sampled_from(["named", "bare", "said"]))


@settings(deadline=None, max_examples=40)
@given(stories())
def test_right_stories_pass(story):
    count, pairs, style = story
    states = played(count, pairs)
    answer = "ABCDE"[states[-1][0]]
    lines = [*told(style, pairs, states), f"At the end of the game, {NAMES[0]} has it. So the answer is ({answer})"]
    verdicts = [verdict for line in judged(prompt(count, pairs), lines) for _, verdict in line]
    assert len(verdicts) == count * len(states) + 1
    assert all(isinstance(verdict, Pass) for verdict in verdicts), (lines, verdicts)


@settings(deadline=None, max_examples=40)
@given(stories(), st.data())
def test_any_changed_value_is_refuted_at_its_span(story, data):
    count, pairs, style = story
    states = played(count, pairs)
    # A bare list that is wrong from the start may be the one behind the first swap.
    at, who = data.draw(st.integers(style == "bare", len(pairs))), data.draw(st.integers(0, count - 1))
    wrong = data.draw(st.sampled_from([thing for thing in range(count) if thing != states[at][who]]))
    changed = [list(state) for state in states]
    changed[at][who] = wrong
    # With initials, a list like that at the start may be one of the options.
    assume(style != "bare" or all(state != states[0] for state in (*states[1:at], *changed[1 : at + 1])))
    lines = told(style, pairs, changed)
    line_verdicts = judged(prompt(count, pairs), lines)
    bad = [(quote, verdict) for quote, verdict in line_verdicts[at] if isinstance(verdict, Violation)]
    assert all(not isinstance(verdict, Violation) for line in line_verdicts[:at] for _, verdict in line)
    (quote, verdict), *more = bad
    assert not more
    assert quote.endswith(THINGS[wrong].split()[0] if style != "said" else THINGS[wrong])
    told_answer = who == 0 and at == len(pairs)
    assert (verdict.repair is None) == told_answer
    if verdict.repair:
        assert verdict.repair.removeprefix("the ") in THINGS[states[at][who]]
        assert verdict.repair in verdict.witness


@settings(deadline=None, max_examples=40)
@given(stories())
def test_each_other_answer_is_refuted(story):
    count, pairs, _ = story
    right = played(count, pairs)[-1][0]
    for option in range(count):
        (judgement,) = judged(prompt(count, pairs), [f"So the answer is ({'ABCDE'[option]})"])[0]
        assert isinstance(judgement[1], Pass if option == right else Violation)


class Game(RuleBasedStateMachine):
    """Makes one swap after another and keeps its own record. After each swap, the verifier reads the whole story."""

    def __init__(self):
        super().__init__()
        self.pairs = []
        self.held = dict(enumerate(THINGS[:4]))

    @rule(one=st.integers(0, 3), by=st.integers(1, 3))
    def swap(self, one, by):
        other = (one + by) % 4
        self.pairs.append((one, other))
        self.held[one], self.held[other] = self.held[other], self.held[one]

    @invariant()
    def the_last_state_is_known(self):
        if self.pairs:
            says = ", ".join(f"{NAMES[who]} has the {thing}" for who, thing in self.held.items())
            judgements = judged(prompt(4, self.pairs), [f"At the end, {says}."])[0]
            assert [type(verdict) for _, verdict in judgements] == [Pass] * 4


TestGame = Game.TestCase
TestGame.settings = settings(max_examples=20, stateful_step_count=8, deadline=None)

PROMPT = prompt(3, [(0, 1), (1, 2), (0, 1)])


@pytest.mark.parametrize(
    "line",
    [
        "If Alice and Bob swap, Alice has the red ball.",
        "Before that, Bob has the red ball.",
        "They swap, and Bob has the green ball.",
        "Wait, Alice has the blue ball?",
        "Alice is taller: Bob",
    ],
)
def test_other_lines_are_not_refuted(line):
    assert all(kind != "Violation" for kind in kinds(PROMPT, line)), line


def test_listed_swaps_do_not_advance_the_state():
    lines = [
        "First, Alice and Bob swap balls. Then, Bob and Claire swap balls. Finally, Alice and Bob swap balls.",
        "Alice: red",
        "At the start: Alice: red, Bob: blue, Claire: pink.",
        "Alice and Bob swap: Alice: red",
    ]
    line_verdicts = judged(PROMPT, lines)
    assert isinstance(line_verdicts[1][0][1], Unknown)
    assert refuted(PROMPT, lines) == [3]


def test_swap_out_of_order_is_unknown():
    (judgement,) = judged(PROMPT, ["Alice and Claire swap balls: Alice: pink"])[0]
    assert isinstance(judgement[1], Unknown)


def test_state_without_its_swap_may_be_later():
    lines = ["Alice: red, Bob: blue, Claire: pink", "So Alice has the blue ball.", "Claire has the green ball."]
    assert refuted(PROMPT, lines) == []
    # Nobody holds it at any time: Claire never has the red ball.
    assert refuted(prompt(3, [(0, 1)]), [*lines[:1], "Now Claire has the red ball."]) == [1]


def test_letters_may_be_those_of_the_options():
    lines = [
        "A: red, B: blue, C: pink",
        "A: blue, B: red, C: pink",
        "A: red, B: blue, C: pink",
        "A: pink ball.",
        "B: red",
    ]
    assert refuted(PROMPT, lines) == []
    assert refuted(PROMPT, ["At the start: A: blue", "Alice and Bob swap: A: pink"]) == [0, 1]


def test_after_last_swap_only_final_state_passes():
    lines = ["A: red, B: blue, C: pink", "A: blue, B: red, C: pink", "A: blue, B: red, C: pink", "A: blue, B: pink"]
    assert refuted(prompt(3, [(0, 1)]), lines) == [3]


@pytest.mark.parametrize("sign", [" ", " and ", " & ", "/", "-", " <-> ", " ↔ "])
def test_swaps_in_short_notation_are_judged(sign):
    lines = ["A: red, B: blue, C: pink", f"A{sign}B: A blue, B: red", f"B{sign}C: B pink, C blue"]
    assert refuted(PROMPT, lines) == [2]
    assert [quote for quote, verdict in judged(PROMPT, lines)[2] if isinstance(verdict, Violation)] == ["blue"]


def test_unknown_things_are_not_judged():
    assert kinds(PROMPT, "Alice: happy, Zoe: red") == []


def test_other_swap_stories_are_judged():
    books = (
        "At the start of the semester, they each buy one new book: Alice gets The Great Gatsby, Bob gets The Pearl, and "
        "Claire gets Hound of the Baskervilles.\nAs the semester proceeds, they start trading around the new books. "
        "First, Claire and Alice swap books. At the end of the semester, Bob has"
    )
    assert kinds(books, "Claire and Alice swap: Alice: Hound, Bob: Pearl, Claire: Gatsby.") == ["Pass"] * 3
    dance = (
        "At the start of a song, they each have a partner: Alice is dancing with Sam, and Bob is dancing with Jamie. "
        "First, Alice and Bob switch partners. At the end of the dance, Alice is dancing with"
    )
    assert kinds(dance, "Alice switches partners with Bob. Alice is dancing with Sam.") == ["Violation"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Alice and Bob swap balls.",
        PROMPT.replace("Then, Bob and Claire swap", "Then, somebody and Claire swap"),
        PROMPT.replace("Bob has a blue ball", "Bob has a red ball"),
        PROMPT.replace(" swap ", " juggle "),
    ],
    ids=["empty", "no start", "a stranger", "twice the same", "no swap"],
)
def test_unsupported_prompt_is_not_read(text):
    assert read_swaps(text) is None


def test_each_phase_restarts_the_swaps():
    watching = logic()
    state = watching.extractor.start(watching.prepare(Task(PROMPT)))
    line = "Alice and Bob swap balls: Alice: blue"
    for phase in ("reasoning", "answer"):
        state, claims = watching.extractor.step(state, Segment(line, Span(0, len(line)), phase))
        assert [claim.said.at for claim in claims] == [frozenset({1})]
