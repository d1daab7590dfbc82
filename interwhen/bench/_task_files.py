"""Loads exercises from a local file, or from a dataset of the Hugging Face hub."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from interwhen import Message, UsageError
from interwhen._types.errors import DECODE_ERRORS
from interwhen.models import Prompt
from interwhen.strategies import Exercise, Question
from interwhen.strategies._answers import ANSWER, normal, outside_thoughts
from interwhen.toolkit import MissingExtraError


class PromptLine(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt in a file. Other fields are ignored."""

    prompt: Prompt
    """A text becomes one message of the user."""
    answer: str | int | float | None = None
    name: str | int = ""
    monitors: tuple[str, ...] | None = None
    """``None``: those of the task or the command."""


class ExerciseLine(PromptLine, frozen=True, kw_only=True):
    answer: str


def jsonl(
    *, count: int, seed: int, path: str, monitors: tuple[str, ...] = (), answer: str = ANSWER, shuffle: bool = False
) -> Iterator[Exercise]:
    """Yield the first *count* exercises in the file at *path*. Each line is JSON: ``{"prompt": ..., "answer": ...}``.

    *answer* is a regex whose first group is the answer in a text; the last match counts. *monitors* watch exercises
    that name none. With *shuffle*, *seed* determines the order. Raises :class:`~interwhen.UsageError` if the file or a
    line cannot be read, or if *answer* is no regex with a group.
    """
    lines = list(_lines(Path(path)))
    if shuffle:
        random.Random(seed).shuffle(lines)  # noqa: S311  (an order, not secrets)
    read = reader(answer)
    for number, line in lines[:count]:
        yield exercise_of(line, f"line-{number}", read, monitors)


def hub(
    *,
    count: int,
    seed: int,
    name: str,
    config: str | None = None,
    split: str = "test",
    prompt: str = "question",
    target: str = "answer",
    target_pattern: str = r"(?:####)?\s*([^\n#]+)\s*\Z",
    instruction: str = 'Work it out step by step, and end with a line "Answer: ...".',
    monitors: tuple[str, ...] = (),
    answer: str = ANSWER,
) -> Iterator[Exercise]:
    """Yield at most *count* rows of the Hugging Face dataset *name* as exercises, in random order.

    The dataset is downloaded, unless it is in the cache of the package ``datasets``. *prompt* and *target* are names of
    columns; the first group of the regex *target_pattern* in the column *target* is the right answer. *instruction*
    becomes the system message. The regex *answer* finds the answer in a text of the model. Raises
    :class:`MissingExtraError` without the extra ``datasets``. The iterator raises :class:`~interwhen.UsageError` if a
    column is missing, if *target_pattern* finds no answer, or if a pattern is no regex with a group.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("the task 'hub'", "datasets") from error
    rows = datasets.load_dataset(name, config, split=split).shuffle(seed=seed)
    return from_rows(
        rows,
        count,
        prompt=prompt,
        target=target,
        target_pattern=target_pattern,
        instruction=instruction,
        monitors=monitors,
        answer=answer,
    )


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    count: int,
    *,
    prompt: str,
    target: str,
    target_pattern: str,
    instruction: str,
    monitors: tuple[str, ...],
    answer: str,
) -> Iterator[Exercise]:
    # The other parameters are those of `hub`.
    pattern, read = _compiled("target_pattern", target_pattern), reader(answer)
    for number, row in zip(range(count), rows, strict=False):
        for column in (prompt, target):
            if column not in row:
                raise UsageError(
                    f"row {number} of the dataset must have the column {column!r}, got "
                    f"{', '.join(sorted(row))}; choose one of these"
                )
        match = pattern.search(str(row[target]))
        if match is None or match[1] is None:
            raise UsageError(
                f"row {number}: target_pattern must find the answer in {str(row[target])!r:.200}, got no "
                f"match of {target_pattern!r}; change it"
            )
        asked = (Message("system", instruction), Message("user", str(row[prompt])))
        yield exercise_of(ExerciseLine(prompt=asked, answer=match[1]), f"row-{number}", read, monitors)


SHIPPED: Mapping[str, Callable[..., Iterable[Exercise]]] = {"hub": hub, "jsonl": jsonl}
"""The tasks of this package, which work for any domain."""


def reader(pattern: str) -> Callable[[str], str | None]:
    compiled = _compiled("answer", pattern)

    def read(text: str) -> str | None:
        said = outside_thoughts(text)
        answers = [match[1] for match in compiled.finditer(said) if match[1] is not None]
        return normal(answers[-1]) or None if answers else None

    return read


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UsageError(f"{option} must be a regular expression, got {pattern!r} ({error}); correct it") from error
    if not compiled.groups:
        raise UsageError(f"{option} must have a group, in brackets, that matches the answer; got {pattern!r}; add one")
    return compiled


def exercise_of(
    line: PromptLine, place: str, read: Callable[[str], str | None], monitors: tuple[str, ...] = ()
) -> Exercise:
    # `read` finds the answer in a text.
    prompt = (Message("user", line.prompt),) if isinstance(line.prompt, str) else line.prompt
    watching = monitors if line.monitors is None else line.monitors
    question = Question(name=str(line.name) or place, prompt=prompt, read=read, monitors=watching)
    right = normal(str(line.answer))
    return Exercise(question, lambda answer: answer == right)


def grader(exercise: Exercise) -> Callable[[str], bool]:
    def grade(text: str) -> bool:
        answer = exercise.question.read(text)
        return answer is not None and exercise.grade(answer)

    return grade


def _lines(path: Path) -> Iterator[tuple[int, ExerciseLine]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} must be a readable file of exercises, got {error.strerror or error}; name another file"
        ) from error
    for number, text in enumerate(content.split(b"\n"), start=1):
        if text.strip():
            try:
                yield number, msgspec.json.decode(text, type=ExerciseLine)
            except DECODE_ERRORS as error:
                raise UsageError(
                    f"{str(path)!r}, line {number} must be an exercise with prompt and answer, got an error: "
                    f"{error}; correct the line"
                ) from error
