"""Whole runs: what is wrong is repaired in place or cut, the run continues, and no feedback tells the answer."""

from __future__ import annotations

import interwhen
from interwhen import Verified
from interwhen.testing import ScriptedModel

from interwhen_verifiers.puzzles.logic import logic

SWAPS = (
    "At the start of the game, they each hold a ball: Alice has a red ball, Bob has a blue ball, and Claire has a pink ball. "
    "First, Alice and Bob swap balls. Then, Bob and Claire swap balls. At the end of the game, Claire has the\nOptions:\n"
    "(A) red ball.\n(B) blue ball.\n(C) pink ball."
)


def run(prompt, replies):
    with interwhen.run_sync(ScriptedModel(replies), prompt, monitors=[logic()]) as running:
        return running.drain()


def test_wrong_value_is_repaired_and_run_continues():
    replies = [
        "Alice and Bob swap: Alice: blue, Bob: blue, Claire: pink.\n",
        ", Claire: pink.\nBob and Claire swap: Bob: pink, Claire: red.\nSo the answer is (A)\n",
    ]
    result = run(SWAPS, replies)
    assert isinstance(result, Verified)
    assert result.text.startswith("Alice and Bob swap: Alice: blue, Bob: red, Claire: pink.\nBob and Claire")


def test_wrong_answer_is_resampled_without_feedback():
    result = run(SWAPS, ["So the answer is (B)\n", "\nSo the answer is (A)\n"])
    assert isinstance(result, Verified)
    (violation,) = result.violations
    assert violation.witness == ""
    assert result.violations[0].why == "the swaps do not end so"
    assert result.text == "\nSo the answer is (A)\n"


def test_a_wrong_letter_is_repaired_in_place():
    replies = ['The second letter: "fig": "g" (7).\n', '. "apple": "p" (16).\nThe answer is apple fig\n']
    result = run("Sort the following words alphabetically: List: fig apple", replies)
    assert isinstance(result, Verified)
    assert result.text.startswith('The second letter: "fig": "i" (9). "apple": "p" (16).\n')


def test_unrelated_prompt_is_not_judged():
    result = run("How much is 2 + 2?", ["Alice: red, Bob: blue. So the answer is 4\n"])
    assert result.violations == ()
