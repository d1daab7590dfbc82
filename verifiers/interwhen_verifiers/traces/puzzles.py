"""Readers of puzzles: the game of 24, mazes and maps of SpatialEval, and plans of PlanBench."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from interwhen import Span
from interwhen.testing import Label, LabelledTrace

from interwhen_verifiers.traces._records import joined, one_turn, records

_GAME24_PROMPTS = {
    "cot": (
        "Use numbers and basic arithmetic operations (+ - * /) to obtain 24. Each step, you are only allowed to choose "
        "two of the remaining numbers to obtain a new number.\nInput: {}\n"
    ),
    "standard": "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: {}\n",
}
_NO_PLAN = "[PLAN]\n[PLAN END]\n"
"""A plan without actions, in the format of PlanBench's prompts. An empty text has no segment, so nothing reads it."""
_PLAN_LABELS: dict[Any, Label] = {True: "right", False: "wrong"}
_CONTRARY = {"Northeast": "Southwest", "Southwest": "Northeast", "Northwest": "Southeast", "Southeast": "Northwest"}
_RELATION = re.compile(r"([^.]+?) is to the (Northeast|Northwest|Southeast|Southwest) of ([^.]+?)\.")

_Told: TypeAlias = tuple[str, list[Span]]
"""A text, and the span of each move in it."""

_STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_MAZE_PROMPT = (
    "Here is a maze, written in ASCII code: '#' is a wall, 'S' the starting point, 'E' the exit, and 'X' marks the "
    "path.\n\n{grid}\n\nThe objective is to navigate from S to E by following the path marked by X. A right turn is a "
    "change of direction by 90 degrees clockwise. Please answer the following question: "
    "{question}\nAvailable options:\n{options}"
)


def game24(path: Path) -> Iterator[LabelledTrace]:
    for record in records(path, "gpt4_outputs.jsonl.gz"):
        prompt = _GAME24_PROMPTS[record["mode"]].format(" ".join(map(str, record["numbers"])))
        yield one_turn(record["id"], prompt, record["output"], "right" if record["correct"] else "wrong")


def planbench(path: Path) -> Iterator[LabelledTrace]:
    """Yield the plans, one action on each line. The data set does not say which action of an invalid plan fails."""
    for record in records(path):
        plan = record["plan"]
        lines = plan.splitlines() if isinstance(plan, str) else plan
        text = "\n".join(lines) + "\n" if lines else _NO_PLAN
        yield one_turn(record["id"], record["prompt"], text, _PLAN_LABELS.get(record["valid"], "unclear"))


def spatialmap(path: Path) -> Iterator[LabelledTrace]:
    """Yield traces that give an answer, or state one step of reasoning.

    An answer other than the gold one is ``wrong`` where the set says that only one option is possible, else
    ``unclear``.
    """
    for record in records(path, "questions.jsonl.gz"):
        yield from _map_answers(record)
        yield from _map_steps(record)


def _map_answers(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    gold, is_sure = record["gold_option"], record["relabel_option"] == record["gold_option"]
    for letter in "ABCD":
        wrong: Label = "wrong" if is_sure and record["qtype"] == "direction" else "unclear"
        yield _map_trace(record, letter, f"Answer: {letter}", "right" if letter == gold else wrong)
    yield _map_trace(record, "text", f"The answer is {record['gold_answer']}.", "right")


def _map_steps(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    for number, (one, way, other) in enumerate(_RELATION.findall(record["text"])):
        first, second = one.split("\n")[-1].strip(), other.strip()
        back = _CONTRARY[way]
        yield _map_trace(record, f"step{number}", f"So {second} is to the {back} of {first}.", "right")
        yield _map_trace(record, f"slip{number}", f"So {second} is to the {way} of {first}.", "wrong")


def _map_trace(record: dict[str, Any], name: str, text: str, label: Label) -> LabelledTrace:
    return one_turn(f"{record['id']}-{name}", record["text"], text, label)


def mazenav(path: Path) -> Iterator[LabelledTrace]:
    """Yield right and wrong traces. The data set has no text: they are written here, in the forms that models use."""
    for number, record in enumerate(records(path, "mazes.jsonl.gz")):
        yield from _maze_answers(record)
        yield from _paths(record, number)


def _maze_answers(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    for kind in ("right", "left", "total"):
        gold = record[f"{kind}_turns"]
        options = [gold + 2, gold, gold + 1, gold + 5]
        prompt = _asked(
            record, f"How many {kind} turns are there in the provided path (marked by X) from S to E?", options
        )
        for letter, value in zip("ABCD", options, strict=True):
            text = f"Following the marked path from S to E.\nAnswer: {letter}. {value}"
            label: Label = "right" if value == gold else "wrong"
            yield one_turn(f"{record['id']}-{kind}-{letter}", prompt, text, label)
    place = record["exit_relative_to_start"]
    for asked in ("top left", "top right", "bottom left", "bottom right", "directly above", "directly below"):
        where = asked if asked.startswith("directly") else f"to the {asked} of"
        prompt = _asked(record, f"Is the exit (E) {where} the starting point (S)?", ["Yes", "No"])
        for letter in "AB":
            label = "right" if (letter == "A") == (place == asked) else "wrong"
            yield one_turn(f"{record['id']}-{asked}-{letter}", prompt, f"\\boxed{{{letter}}}", label)


def _paths(record: dict[str, Any], number: int) -> Iterator[LabelledTrace]:
    cells = [(row, column) for row, column in record["path"]]
    ways = [_way(one, other) for one, other in pairwise(cells)]
    gold = record["total_turns"]
    prompt = _asked(
        record, "How many total turns are there in the provided path (marked by X) from S to E?", [gold, gold + 1]
    )
    for name, tell in _TELLERS.items():
        text, _ = tell(cells[0], ways, number % 2)
        yield one_turn(f"{record['id']}-{name}", prompt, text, "right")
    names = list(_TELLERS)
    for at, way in enumerate(ways):
        for count, other in enumerate(sorted(set(_STEPS) - {way})):
            name = names[(at + count + number) % len(names)]
            text, places = _TELLERS[name](cells[0], [*ways[:at], other, *ways[at + 1 :]], number % 2)
            yield one_turn(f"{record['id']}-{name}-{at}-{other}", prompt, text, "wrong", places[at])


def _asked(record: dict[str, Any], question: str, options: list[Any]) -> str:
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False))
    return _MAZE_PROMPT.format(grid="\n".join(record["grid"]), question=question, options=f"{listed}.")


def _way(one: tuple[int, int], other: tuple[int, int]) -> str:
    return next(way for way, step in _STEPS.items() if (other[0] - one[0], other[1] - one[1]) == step)


def _cells(start: tuple[int, int], ways: list[str], base: int) -> list[tuple[int, int]]:
    cells = [(start[0] + base, start[1] + base)]
    for way in ways:
        step = _STEPS[way]
        cells.append((cells[-1][0] + step[0], cells[-1][1] + step[1]))
    return cells


def _joined(pieces: list[str], gap: str, before: str = "") -> _Told:
    text, places = joined(pieces, gap)
    return before + text, [place.shifted(len(before)) for place in places]


def _as_steps(start: tuple[int, int], ways: list[str], base: int) -> _Told:
    cells = _cells(start, ways, base)
    pieces = [f"STEP {at + 1}: Move {way.upper()} from {cells[at]} to {cells[at + 1]}" for at, way in enumerate(ways)]
    return _joined(pieces, "\n", f"S position: {cells[0]}\n")


def _as_cells(start: tuple[int, int], ways: list[str], base: int) -> _Told:
    cells = _cells(start, ways, base)
    return _joined([f" → {cell}" for cell in cells[1:]], "", f"Path: {cells[0]}")


_TELLERS: dict[str, Callable[[tuple[int, int], list[str], int], _Told]] = {
    "steps": _as_steps,
    "words": lambda _start, ways, _base: _joined(ways, ", ", "Path: "),
    "lines": lambda _start, ways, _base: _joined([f"{at}. Move {way}" for at, way in enumerate(ways, 1)], "\n"),
    "letters": lambda _start, ways, _base: _joined([way[0].upper() for way in ways], " ", "Moves: "),
    "cells": _as_cells,
}
