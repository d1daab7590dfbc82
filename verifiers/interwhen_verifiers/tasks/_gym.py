"""Exercises from a dataset of ``reasoning-gym``: it generates the problems by a seed, and it grades the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from interwhen import Message
from interwhen.models import Prompt
from interwhen.strategies import Exercise, Question, Reader
from interwhen.toolkit import MissingExtraError


def exercises(
    dataset: str,
    count: int,
    seed: int,
    *,
    prompt: Callable[[Mapping[str, Any]], Prompt],
    read: Reader,
    monitor: str,
    **config: object,
) -> Iterator[Exercise]:
    """Yield *count* exercises of the data set *dataset*, which is generated from *seed* with the options *config*.

    *prompt* makes the prompt for an entry of the data set, and *read* finds the answer in the text after the reasoning.
    *monitor* is the monitor for the runs. Raises :class:`~interwhen.toolkit.MissingExtraError` at the first exercise if
    ``reasoning-gym`` is not installed.
    """
    try:
        import reasoning_gym
    except ImportError as error:
        raise MissingExtraError(f"the task {dataset!r}", "tasks") from error

    def read_answer(text: str) -> str | None:
        return read(text.rpartition("</think>")[2])

    data = reasoning_gym.create_dataset(dataset, size=count, seed=seed, **config)
    for number in range(count):
        entry = data[number]
        name = f"{dataset}-{seed}-{number}"
        question = Question(name=name, prompt=prompt(entry), read=read_answer, monitors=(monitor,))
        yield Exercise(question, _Grader(data, entry))


class _Grader:
    """Grades an answer: it is right if the dataset itself gives it full marks."""

    def __init__(self, data: Any, entry: Mapping[str, Any]) -> None:
        self._data = data
        self._entry = entry

    def __call__(self, answer: str) -> bool:
        return bool(self._data.score_answer(answer, self._entry) >= 1.0)


def chat(system: str, user: str) -> Prompt:
    """Return a chat prompt: the instruction *system*, unless it is empty, and the question *user*."""
    return (Message("system", system), Message("user", user)) if system else (Message("user", user),)
