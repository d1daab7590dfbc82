"""Whatever a model writes, or a prompt says: the puzzle verifiers take time in proportion to its length."""

from __future__ import annotations

import importlib
import re

import pytest
from interwhen import Segment, Span, Task
from interwhen.testing.complexity import BAITS, Bait, assert_linear, assert_quick, suspicious

from interwhen_verifiers.puzzles.countdown import countdown
from interwhen_verifiers.puzzles.maze import maze
from interwhen_verifiers.puzzles.spatialmap import make_grammar, spatialmap

PROMPTS = {
    countdown: "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: 1 1 4 6\n",
    maze: "#####\n#S  #\n#X# #\n#XE #\n#####\nX marks the path. How many right turns are there?",
    spatialmap: (
        "A Shop is to the Northeast of B Store. C Inn is to the Southwest of B Store. "
        "In which direction is A Shop relative to C Inn?"
    ),
}
UNITS = (
    *("1 + 1 = 2, ", "(1,1) → ", "right, ", "left then ", "R ", "A Shop is ", "is NE of A Shop ", "A Shop (AS) "),
    *("so ", "*", "\\frac{1}{", "( ", "- ", "1 2 ", " of ", "S is at ", "step 1. ", "up 3 ", "left: ", "Input: 1 2 "),
)
FRAMES = (
    ("", ""),
    ("Answer: ", ""),
    ("\\boxed{", "}"),
    ("1 + 1 = 2 (left: ", ")"),
    ("Path: ", "!"),
    ("A Shop is to the ", " x"),
)
OWN = [Bait(unit, start, end) for unit in UNITS for start, end in FRAMES]
MODULES = (
    *(
        "puzzles._countdown",
        "puzzles._maze.lines",
        "puzzles._maze.grid",
    ),
    *(
        "puzzles._maze.walk",
        "puzzles.spatialmap",
        "puzzles._statements",
        "puzzles.spatialmap",
    ),
)


def reader(factory):
    watching = factory()
    prepared = watching.prepare(Task(PROMPTS[factory]))
    assert prepared is not None

    def read(text):
        segment = Segment(text, Span(0, len(text)), "answer")
        _, claims = watching.extractor.step(watching.extractor.start(prepared), segment)
        return [watching.verifier.check(claim, prepared) for claim in claims]

    return read


@pytest.mark.parametrize("factory", PROMPTS, ids=lambda factory: factory.__name__)
def test_reading_is_linear(factory):
    baits = [*BAITS[::2], *OWN[::3]] if factory is countdown else [*BAITS, *OWN]
    assert_linear(reader(factory), baits=baits, size=200)


@pytest.mark.parametrize("factory", PROMPTS, ids=lambda factory: factory.__name__)
def test_reading_is_quick(factory):
    assert_quick(reader(factory), baits=[*BAITS, *OWN], size=3_900, seconds=1)
    assert_quick(reader(factory), baits=[*BAITS[::4], *OWN[::4]], size=250_000, seconds=0.5)


@pytest.mark.parametrize("factory", PROMPTS, ids=lambda factory: factory.__name__)
def test_preparing_is_quick(factory):
    baits = [bait for each in [*BAITS[::3], *OWN[::3]] for bait in (each, Bait(each.unit, PROMPTS[factory], each.end))]
    assert_quick(lambda text: factory().prepare(Task(text)), baits=baits, size=10_000, seconds=2)


@pytest.mark.parametrize("name", MODULES)
def test_no_pattern_backtracks_without_bound(name):
    module = importlib.import_module(f"interwhen_verifiers.{name}")
    patterns = [value for value in vars(module).values() if isinstance(value, re.Pattern)]
    assert patterns
    assert [(pattern.pattern, suspicious(pattern)) for pattern in patterns if suspicious(pattern)] == []


def test_no_pattern_of_names_backtracks_without_bound():
    assert not any(suspicious(pattern) for pattern in make_grammar(("A Shop", "B (Store", "C.* Inn")))
