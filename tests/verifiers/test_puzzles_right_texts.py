"""Texts about puzzles that say nothing false, in the words of real models, beside false ones that are much alike."""

from __future__ import annotations

import pytest
from interwhen import Pass, Segment, Span, Task, Unknown, Violation

from interwhen_verifiers.puzzles.countdown import game24
from interwhen_verifiers.puzzles.logic import logic
from interwhen_verifiers.puzzles.maze import maze
from interwhen_verifiers.puzzles.spatialmap import spatialmap

GAME = "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: 4 6 4 8"
GRID = (
    "#######\n#S#   #\n#X# # #\n#XXX# #\n# #X# #\n# #XXE#\n#######\n"
    "S is the start, E is the exit, X marks the path. How many right turns are there in the path from S to E?"
)
MAP = (
    "Old Mill is to the Northeast of Blue Bakery. Corner Pub is to the Southeast of Old Mill. "
    "In which direction is Old Mill relative to Blue Bakery?"
)
ORDER = (
    "On a shelf, there are three books: a red book, a blue book, and a green book. The red book is to the left of the "
    "blue book. The green book is to the right of the blue book."
)
SORT = "Sort the following words alphabetically: List: fig apple plum"
BRACKETS = "Complete the rest of the sequence, making sure that the brackets are closed properly. Input: [ { ( ) < >"


def judged(monitor, prompt, text):
    problem = monitor.prepare(Task(prompt))
    state, at, verdicts = monitor.extractor.start(problem), 0, []
    for line in text.split("\n"):
        state, claims = monitor.extractor.step(state, Segment(line, Span(at, at + len(line)), "answer"))
        verdicts += [monitor.verifier.check(claim, problem) for claim in claims]
        at += len(line) + 1
    return verdicts


def is_refuted(monitor, prompt, text):
    return any(isinstance(verdict, Violation) for verdict in judged(monitor, prompt, text))


@pytest.mark.parametrize(
    "text",
    [
        "8 + 4 = 12 (remaining numbers: 6 and 4)",
        "8 + 4 = 12. Remaining: 4, 6.",
        "8 + 4 = 12 (left: 6, 4, and our new 12)",
        "8 + 4 = 12 (left: 12 & 6 & 4)",
        "6 - 8 = -2 (left: 4 4 -2)\n4 - (-2) = 6 (left: 4 6)\n4 * 6 = 24 (left: 24)",
        "**Step 1** - 8 + 4 = 12 (left: 12 6 4)",
        "Answer: 4 + 8 = 12\n6 - 4 = 2\n12 * 2 = 24",
        "There is no solution using only addition.",
        "It's impossible with just + and -.",
        "24 cannot be reached this way.",
        "24 cannot be made from 4 26",
        "12 * 2 = 24 [24]",
        "6 - 4 = 2 [2]",
    ],
)
def test_right_game24_texts_are_not_refuted(text):
    assert not is_refuted(game24(), GAME, text)


@pytest.mark.parametrize(
    "text",
    [
        "8 + 4 = 12 (left: 12 6 5)",
        "8 + 4 = 12 (left: 12)",
        "4 - 2 = 2 (left: 2 4 8)",
        "Step 1 - 8 + 4 = 13 (left: 13 6 4)",
        "Answer: 4 + 8 = 13",
        "There is no solution.",
        "It is impossible to make 24 from 4, 4, 6 and 8.",
        "There is no way to make 24 using 4, 4, 6 and 8.",
    ],
)
def test_wrong_game24_texts_are_refuted(text):
    assert is_refuted(game24(), GAME, text)


def test_false_value_beside_right_expression_does_not_pass():
    for text in ("Answer: (4 + 8) * (6 - 4) = 25", "Answer: 30 = (4 + 8) * (6 - 4) = 24"):
        assert is_refuted(game24(), GAME, text)
    for text in ("Answer: (4 + 8) * (6 - 4) = 24 is wrong", "Answer: (4 + 8) * (6 - 4) = 24, but 8 - 4 = 4"):
        assert not any(isinstance(verdict, Pass) for verdict in judged(game24(), GAME, text))
    assert isinstance(judged(game24(), GAME, "Answer: (4 + 8) * (6 - 4) = 24, using each number once.")[0], Pass)


def test_the_example_of_the_prompt_may_be_quoted():
    prompt = f"Return the answer in tags, for example <answer> (1 + 2) / 3 </answer>. {GAME}"
    text = "I write it like <answer> (1 + 2) / 3 </answer>"
    assert is_refuted(game24(), GAME, text)
    assert judged(game24(), prompt, text) == []
    assert is_refuted(game24(), prompt, "<answer> 4 * 6 + 8 - 4 </answer>")


def test_a_list_without_the_new_number_is_followed():
    verdicts = judged(game24(), GAME, "8 + 4 = 12 (remaining: 6, 4)\n6 - 4 = 2 (left: 12 2)\n12 * 2 = 24 (left: 24)")
    assert [type(verdict) for verdict in verdicts] == [Pass] * 3
    assert is_refuted(game24(), GAME, "8 * 4 = 32 (remaining: 6, 4)")


@pytest.mark.parametrize(
    "text",
    [
        "Path: ↓ ↓ → → ↓ ↓ → →",
        "Path: ↓, ↓, →, →, ↓, ↓, →, →",
        "Path: down, right, down, right",
        "Down → Right → Down → Right",
    ],
)
def test_right_maze_texts_are_not_refuted(text):
    assert not is_refuted(maze(), GRID, text)


def test_wrong_paths_are_refuted():
    assert isinstance(judged(maze(), GRID, "Path: ↓ ↓ → → ↓ ↓ → →")[0], Pass)
    for text in ("Path: ↓ ↓ ↓ → → ↓ → →", "Path: down, right, down, left", "Path: down, right, right, down"):
        assert is_refuted(maze(), GRID, text)


def test_denied_map_statement_is_not_refuted():
    assert not is_refuted(spatialmap(), MAP, "B. Old Mill is to the southwest of Blue Bakery - no")
    assert is_refuted(spatialmap(), MAP, "B. Old Mill is to the southwest of Blue Bakery - yes")


def test_paraphrased_swaps_are_judged():
    prompt = (
        "Ann, Ben and Eve play. At the start of the game, they are each holding a ball: Ann has a red ball, Ben has a "
        "blue ball, and Eve has a pink ball. First, Ann and Ben swap balls. Then, Ben and Eve swap balls. At the end of "
        "the game, Ann has the"
    )
    start = "Initially Ben has the blue ball."
    assert not is_refuted(logic(), prompt, f"{start} Ben's ball goes to Ann. Ann has the blue ball.")
    assert is_refuted(logic(), prompt, f"{start} Ann has the blue ball. Eve has the red ball.")
    assert is_refuted(logic(), prompt, "Ann and Ben swap balls. Ben gives her his ball. Ann has the pink ball.")


@pytest.mark.parametrize("denial", [". ✗", ". False.", ". No.", ": No", " - no", " (no)"])
def test_denied_order_statement_is_not_refuted(denial):
    assert not is_refuted(logic(), ORDER, f"The blue book is the leftmost{denial}")
    assert is_refuted(logic(), ORDER, "The blue book is the leftmost.")


def test_remark_after_sorted_words_is_ignored():
    assert isinstance(judged(logic(), SORT, "Answer: apple fig plum (3 words)")[0], Pass)
    assert is_refuted(logic(), SORT, "Answer: fig apple plum (3 words)")


@pytest.mark.parametrize("remark", [" (wrong)", " or plum fig apple", " is not right", " (not: fig apple plum)"])
def test_sorted_words_that_are_denied_are_no_answer(remark):
    assert not any(isinstance(verdict, Pass) for verdict in judged(logic(), SORT, f"Answer: apple fig plum{remark}"))


@pytest.mark.parametrize(
    "text",
    [
        'We need "}" to close "{".',
        'First we need "}", then "]".',
        'We pop "(" when we see ")".',
        '1: [ ; stack: [\n2: { ; stack: [ {\n3: ( ; stack: [ { (\nNow pop "("',
        'From top to bottom, the final stack is "{ ["',
    ],
)
def test_right_bracket_texts_are_not_refuted(text):
    assert not is_refuted(logic(), BRACKETS, text)


def test_wrong_brackets_are_refuted():
    for text in ('So, we need "]", "}". So the answer is ] }', 'So, we need "}".', 'The final stack is "[ { ("'):
        assert is_refuted(logic(), BRACKETS, text)


@pytest.mark.parametrize(
    ("monitor", "line", "found"),
    [
        (maze(), "The path has two right turns.", ["two"]),
        (maze(), "It turns twice, and no left turn is in it.", ["no"]),
        (spatialmap(), "Old Mill is below Blue Bakery.", ["below"]),
        (spatialmap(), "Old Mill lies directly right of Blue Bakery.", ["directly right of"]),
    ],
    ids=["count", "none", "below", "right"],
)
def test_recognizer_marks_paraphrased_statements(monitor, line, found):
    spans = list(monitor.recognizer(Segment(line, Span(0, len(line)), "answer")))
    assert sorted(line[span.start : span.end] for span in spans) == sorted(found)


@pytest.mark.fault("H6", injected="text after a puzzle's answer", happens="unverified")
@pytest.mark.parametrize(
    ("monitor", "prompt", "answer"),
    [
        (game24(), GAME, "Answer: (4 + 8) * (6 - 4) = 24"),
        (maze(), GRID, "Answer: 1"),
        (spatialmap(), MAP, "Answer: Northeast"),
        (logic(), SORT, "Answer: apple fig plum"),
    ],
)
@pytest.mark.parametrize("text", ["Actually, I am not sure.", "Or five.", "The opposite is right.", "418", "Nein."])
def test_unread_text_after_answer_is_unknown(monitor, prompt, answer, text):
    def verdicts(more):
        return [type(verdict) for verdict in judged(monitor, prompt, f"{answer}\n{more}")]

    assert verdicts("") == verdicts(f"***\n{answer}")[1:] == [Pass]
    assert Unknown in verdicts(text)
