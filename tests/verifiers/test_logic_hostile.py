"""Whatever a model writes, or a prompt says: the logic verifier takes time in proportion to its length."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from interwhen import Segment, Span, Task
from interwhen.testing.complexity import BAITS, Bait, assert_linear, assert_quick, suspicious

import interwhen_verifiers.puzzles._logic as parts
from interwhen_verifiers.puzzles._logic.orders import ObjectOrder, read_order
from interwhen_verifiers.puzzles.logic import logic

PROMPTS = {
    "swaps": "At the start of the game, they each hold a ball: Ann has a red ball, and Bob has a blue ball. First, Ann "
    "and Bob swap balls. Then, Bob and Ann swap balls. At the end of the game, Ann has the\nOptions:\n(A) red ball.\n"
    "(B) blue ball.",
    "words": "Sort the following words alphabetically: List: pear apple fig",
    "order": "- There are three books: a red book, a blue book, and a gray book.\n- The red book is the leftmost.\n"
    "- The blue book is to the left of the gray book.\nQ: Which is correct?\n(A) The red book is the leftmost.\n"
    "(B) The gray book is the leftmost.",
    "brackets": "Complete the sequence. Input: ( [ { } <",
    "sentences": "Premises: If it rains, then the road is wet. It rains. Does it follow that the road is wet?",
    "classes": "Premises: All cats are mammals. Tom is a cat. Does it follow that Tom is a mammal?",
}
UNITS = (
    *("Ann: red, ", "Ann and Bob swap ", "Ann has ", '"pear" < ', '(1) ["pear" ? "fig"] < ', '"pear": "p" (16). '),
    *("the red book is ", "first is the red book, then ", "second or ", "from left to right: ", "( ; stack: ", "( [ "),
    *("if ", "if it rains then ", "it rains and ", "not ", "all cats are ", "P ", "(P & ", "~", "so ", "[", '"'),
)
OWN = [Bait(unit, start, end) for unit in UNITS for start, end in (("", ""), ("So the answer is ", ""), ("so ", "!"))]
NAMES = sorted(path.stem for path in Path(parts.__file__).parent.glob("*.py") if path.stem != "__init__")


def reader(prompt):
    watching = logic()
    prepared = watching.prepare(Task(prompt))
    assert prepared is not None

    def read(text):
        segment = Segment(text, Span(0, len(text)), "answer")
        _, claims = watching.extractor.step(watching.extractor.start(prepared), segment)
        return [watching.verifier.check(claim, prepared) for claim in claims]

    return read


@pytest.mark.parametrize("kind", PROMPTS)
def test_reading_is_linear(kind):
    assert_linear(reader(PROMPTS[kind]), baits=[*BAITS[::4], *OWN[::3]], size=200)


@pytest.mark.parametrize("kind", PROMPTS)
def test_reading_is_quick(kind):
    assert_quick(reader(PROMPTS[kind]), baits=[*BAITS[::3], *OWN[::2]], size=3_900, seconds=1)
    assert_quick(reader(PROMPTS[kind]), baits=BAITS[:2], size=250_000, seconds=0.5)


@pytest.mark.parametrize("kind", PROMPTS)
def test_preparing_is_quick(kind):
    own = [Bait(bait.unit, f"{PROMPTS[kind]}\n", bait.end) for bait in (*BAITS[::5], *OWN[::4])]
    assert_quick(lambda text: logic().prepare(Task(text)), baits=[*BAITS[::5], *OWN[::4], *own], size=10_000, seconds=2)


@pytest.mark.parametrize("name", NAMES)
def test_no_pattern_backtracks_without_bound(name):
    module = importlib.import_module(f"interwhen_verifiers.puzzles._logic.{name}")
    patterns = [value for value in vars(module).values() if isinstance(value, re.Pattern)]
    assert [(pattern.pattern, suspicious(pattern)) for pattern in patterns if suspicious(pattern)] == []


def test_no_pattern_of_names_backtracks_without_bound():
    problem = read_order(PROMPTS["order"].replace("gray", "gray (old"))
    assert isinstance(problem, ObjectOrder)
    assert not suspicious(problem.grammar.facts)
    assert not suspicious(problem.grammar.inverted)


def test_overlong_line_is_not_read():
    assert reader(PROMPTS["sentences"])("So it does not rain. " * 400) == []
