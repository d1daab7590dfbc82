"""Traces about mazes with a marked path (as in the MazeNav part of SpatialEval), in the forms that models write.

The data set holds no text, so this module writes the traces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from interwhen import Span
from interwhen.testing import LabelledTrace, Mistake, Turn

from interwhen_verifiers.traces._records import joined, records

Told: TypeAlias = tuple[str, list[Span]]
"""A text, and the span of each move in it."""

_STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_PROMPT = (
    "Here is a maze, written in ASCII code: '#' is a wall, 'S' the starting point, 'E' the exit, and 'X' marks the "
    "path.\n\n{grid}\n\nThe objective is to navigate from S to E by following the path marked by X. A right turn is a "
    "change of direction by 90 degrees clockwise. Please answer the following question: "
    "{question}\nAvailable options:\n{options}"
)


def mazenav(path: Path) -> Iterator[LabelledTrace]:
    """Yield right and wrong traces for the mazes in *path*, a file or the folder with ``mazes.jsonl.gz``.

    Some answer a question about the turns or the exit. Others describe the marked path; a wrong one has one wrong move.
    """
    for number, record in enumerate(records(path, "mazes.jsonl.gz")):
        yield from _answers(record)
        yield from _paths(record, number)


def _answers(record: dict[str, Any]) -> Iterator[LabelledTrace]:
    for kind in ("right", "left", "total"):
        gold = record[f"{kind}_turns"]
        options = [gold + 2, gold, gold + 1, gold + 5]
        prompt = _asked(
            record, f"How many {kind} turns are there in the provided path (marked by X) from S to E?", options
        )
        for letter, value in zip("ABCD", options, strict=True):
            text = f"Following the marked path from S to E.\nAnswer: {letter}. {value}"
            yield _trace(f"{record['id']}-{kind}-{letter}", prompt, text, is_right=value == gold)
    place = record["exit_relative_to_start"]
    for asked in ("top left", "top right", "bottom left", "bottom right", "directly above", "directly below"):
        where = asked if asked.startswith("directly") else f"to the {asked} of"
        prompt = _asked(record, f"Is the exit (E) {where} the starting point (S)?", ["Yes", "No"])
        for letter in "AB":
            is_right = (letter == "A") == (place == asked)
            yield _trace(f"{record['id']}-{asked}-{letter}", prompt, f"\\boxed{{{letter}}}", is_right=is_right)


def _paths(record: dict[str, Any], number: int) -> Iterator[LabelledTrace]:
    cells = [(row, column) for row, column in record["path"]]
    ways = [_way(one, other) for one, other in pairwise(cells)]
    gold = record["total_turns"]
    prompt = _asked(
        record, "How many total turns are there in the provided path (marked by X) from S to E?", [gold, gold + 1]
    )
    for name, tell in _TELLERS.items():
        text, _ = tell(cells[0], ways, number % 2)
        yield _trace(f"{record['id']}-{name}", prompt, text, is_right=True)
    names = list(_TELLERS)
    for at, way in enumerate(ways):
        for count, other in enumerate(sorted(set(_STEPS) - {way})):
            name = names[(at + count + number) % len(names)]
            text, places = _TELLERS[name](cells[0], [*ways[:at], other, *ways[at + 1 :]], number % 2)
            yield LabelledTrace(
                name=f"{record['id']}-{name}-{at}-{other}",
                turns=(Turn(prompt=prompt, text=text),),
                label="wrong",
                mistake=Mistake(turn=0, span=places[at]),
            )


def _asked(record: dict[str, Any], question: str, options: list[Any]) -> str:
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False))
    return _PROMPT.format(grid="\n".join(record["grid"]), question=question, options=f"{listed}.")


def _trace(name: str, prompt: str, text: str, *, is_right: bool) -> LabelledTrace:
    return LabelledTrace(name=name, turns=(Turn(prompt=prompt, text=text),), label="right" if is_right else "wrong")


def _way(one: tuple[int, int], other: tuple[int, int]) -> str:
    return next(way for way, step in _STEPS.items() if (other[0] - one[0], other[1] - one[1]) == step)


def _cells(start: tuple[int, int], ways: list[str], base: int) -> list[tuple[int, int]]:
    """Return the coordinates, counted from *base*, of the cells that *ways* lead to, beginning with *start*."""
    cells = [(start[0] + base, start[1] + base)]
    for way in ways:
        step = _STEPS[way]
        cells.append((cells[-1][0] + step[0], cells[-1][1] + step[1]))
    return cells


def _joined(pieces: list[str], gap: str, before: str = "") -> Told:
    text, places = joined(pieces, gap)
    return before + text, [place.shifted(len(before)) for place in places]


def _as_steps(start: tuple[int, int], ways: list[str], base: int) -> Told:
    cells = _cells(start, ways, base)
    pieces = [f"STEP {at + 1}: Move {way.upper()} from {cells[at]} to {cells[at + 1]}" for at, way in enumerate(ways)]
    return _joined(pieces, "\n", f"S position: {cells[0]}\n")


def _as_cells(start: tuple[int, int], ways: list[str], base: int) -> Told:
    cells = _cells(start, ways, base)
    return _joined([f" → {cell}" for cell in cells[1:]], "", f"Path: {cells[0]}")


_TELLERS: dict[str, Callable[[tuple[int, int], list[str], int], Told]] = {
    "steps": _as_steps,
    "words": lambda _start, ways, _base: _joined(ways, ", ", "Path: "),
    "lines": lambda _start, ways, _base: _joined([f"{at}. Move {way}" for at, way in enumerate(ways, 1)], "\n"),
    "letters": lambda _start, ways, _base: _joined([way[0].upper() for way in ways], " ", "Moves: "),
    "cells": _as_cells,
}
