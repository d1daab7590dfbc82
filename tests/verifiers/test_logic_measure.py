"""The measuring script says what can be recomputed, and what of it is flagged; and its recomputing is right by hand."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.measurements import measure_logic
from tests.measurements.recompute_logic import brackets_are_wrong, order_is_wrong, sorting_is_wrong, swaps_are_wrong

SWAPS = (
    "Ann, Bob, and Cy play. At the start, they each hold a ball: Ann has a red ball, Bob has a blue ball, and Cy has a pink "
    "ball.\nPlayers trade balls. First, Ann and Bob swap balls. Finally, Bob and Cy swap balls. At the end, Ann has the\n"
    "Options:\n(A) red ball.\n(B) blue ball.\n(C) pink ball."
)
ORDER = (
    "The statements are consistent.\n- There are three books: a red book, a blue book, and a gray book.\n- The red book is the "
    "leftmost.\n- The blue book is to the left of the gray book.\nQ: Which is correct?\nOptions:\n"
    "(A) The red book is the rightmost.\n(B) The gray book is the rightmost."
)


@pytest.mark.parametrize(
    ("recomputes", "problem", "step", "is_wrong"),
    [
        (sorting_is_wrong, "fig apple", 'The first letter: "fig": "f" (6).', False),
        (sorting_is_wrong, "fig apple", 'The first letter: "fig": "i" (9).', True),
        (sorting_is_wrong, "fig apple", 'Hence, we have "fig" < "apple".', True),
        (sorting_is_wrong, "fig apple", "The answer is apple fig", False),
        (swaps_are_wrong, SWAPS, "At the start: Ann: red, Bob: blue, Cy: pink.", False),
        (swaps_are_wrong, SWAPS, "At the start: Ann: red, Bob: red, Cy: pink.", True),
        (swaps_are_wrong, SWAPS, "At the end, Ann has the red ball.", True),
        (swaps_are_wrong, SWAPS, "At the end, Ann has the blue ball. So the answer is (B)", False),
        (order_is_wrong, ORDER, "So from left to right: first is the red book, then second can be any book.", False),
        (order_is_wrong, ORDER, "So from left to right: first is the blue book.", True),
        (order_is_wrong, ORDER, "So from right to left: first is the gray book, then fourth can be any book.", False),
        (order_is_wrong, ORDER, "So the answer is (A)", True),
        (brackets_are_wrong, "Input: ( [", "1: ( ; stack: (", False),
        (brackets_are_wrong, "Input: ( [", "1: ( ; stack: [", True),
        (brackets_are_wrong, "Input: ( [", "So the answer is ) ]", True),
    ],
)
def test_single_steps_are_recomputed(recomputes, problem, step, is_wrong):
    assert recomputes(problem, [step], 0) is is_wrong


def test_measurement_compares_labels(tmp_path, capsys):
    def trace(name, steps, first, *, right):
        return {
            "id": name,
            "problem": "fig apple plum pear",
            "steps": steps,
            "first_error": first,
            "final_correct": right,
        }

    start, wrong = 'The first letter: "fig": "f" (6).', 'The first letter: "fig": "g" (7).'
    traces = [
        trace("found", [start, wrong], 1, right=False),
        trace("early", [wrong, start], 1, right=False),
        trace("clean", [start], -1, right=True),
        trace("unclear", [wrong], -1, right=False),
    ]
    with gzip.open(tmp_path / "word_sorting.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(each) + "\n" for each in traces)
    assert measure_logic.main([str(tmp_path), "--show"]) == 0
    said = capsys.readouterr().out
    assert (
        "word_sorting, both: 1 of 1 checkable mistakes flagged at the label; of 1 others 1 flagged later; 1 flagged before "
        "the label; clean ones flagged: 0 of 1"
    ) in said
    assert "early before 1: step 0" in said
    assert "dyck_languages: absent, skipped" in said
    measure_logic.main([str(tmp_path), "--half", "odd"])
    assert "word_sorting, odd: 0 of 0" in capsys.readouterr().out
