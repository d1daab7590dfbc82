"""Shared parts of the factories that make the shipped monitors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from interwhen import Lines, Monitor, Task, Tracker, UsageError
from interwhen.toolkit import Delivery, Level, PhaseFilter, Recognizer, Verifier


def require_choice(factory: str, choices: Iterable[str], **options: str) -> None:
    known = tuple(choices)
    for name, value in options.items():
        if value not in known:
            raise UsageError(f"{factory}: {name} must be one of {', '.join(known)}, got {value!r}")


def require_texts(factory: str, **options: object) -> None:
    for name, value in options.items():
        # A text is a collection of texts, too: its characters.
        if (
            isinstance(value, str)
            or not isinstance(value, Collection)
            or not all(isinstance(entry, str) for entry in value)
        ):
            raise UsageError(f"{factory}: {name} must be a list of texts, got {value!r:.100}; give a list or tuple")


def require_positive(factory: str, **options: float) -> None:
    for name, value in options.items():
        if not value > 0:
            raise UsageError(f"{factory}: {name} must be above 0, got {value!r}")


def task_monitor(
    name: str,
    verifier: Verifier,
    tracker: Tracker[Any],
    prepare: Callable[[Task], Any],
    *,
    level: Level,
    delivery: Delivery,
    phase: PhaseFilter,
    trigger: Lines = Lines(),  # noqa: B008 (a frozen value)
    recognizer: Recognizer | None = None,
) -> Monitor:
    return Monitor(
        name=name,
        trigger=trigger,
        extractor=tracker,
        verifier=verifier,
        prepare=prepare,
        recognizer=recognizer,
        delivery=delivery,
        level=level,
        phase=phase,
        scope="answer",
    )
