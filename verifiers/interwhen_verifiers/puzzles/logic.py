"""The shipped verifier ``logic``: it judges small problems of state and order in their usual words.

See ``docs/verifiers/logic.md`` and docs/decisions/own-readers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from interwhen import Monitor, Segment, Verdict, verifier
from interwhen.toolkit import Delivery, Level, PhaseFilter, safe_from_data

from interwhen_verifiers._factories import task_monitor
from interwhen_verifiers.puzzles._logic.brackets import Brackets, read_brackets
from interwhen_verifiers.puzzles._logic.orders import ObjectOrder, read_order
from interwhen_verifiers.puzzles._logic.premises import Premises, read_premises
from interwhen_verifiers.puzzles._logic.sorting import Words, read_words
from interwhen_verifiers.puzzles._logic.swaps import Swaps, read_swaps
from interwhen_verifiers.puzzles._logic.wording import MAX_LINE, read_final
from interwhen_verifiers.puzzles._statements import (
    Afterwards,
    FinalAnswer,
    Statement,
    make_statement,
    of_answer,
    prepare_with,
    recognizer,
    track_phases,
    watch_answer,
)

Problem: TypeAlias = Swaps | Words | ObjectOrder | Brackets | Premises
_READERS: Final[tuple[Callable[[str], Problem | None], ...]] = (
    read_swaps,
    read_order,
    read_brackets,
    read_premises,
    read_words,
)


def _read_problem(prompt: str) -> Problem | None:
    return next((problem for read in _READERS if (problem := read(prompt)) is not None), None)


def _read(problem: Any, state: Any, segment: Segment) -> tuple[Any, list[Statement[Any, None]]]:
    line = segment.text
    if len(line) > MAX_LINE:
        return (state if problem.lost is None else problem.lost), []
    final = read_final(line)
    state, all_said = problem.read(state, line[: final.start] if final else line)
    return state, [make_statement(segment, said, None) for said in ([*all_said, final] if final else all_said)]


@verifier(name="logic", version="3", deadline=2.0, worker="inline")
def check(claim: Statement[Any, None], problem: Any) -> Verdict:
    if isinstance(claim.said, Afterwards):
        return claim.said.verdict
    verdict: Verdict = problem.judge(claim.said)
    return of_answer(verdict) if isinstance(claim.said, FinalAnswer) else verdict


@safe_from_data()
def logic(
    *,
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a monitor for small logic problems, such as sorting. It does nothing if it can read none in the prompt.

    ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    return task_monitor(
        "logic",
        check,
        watch_answer(track_phases(lambda problem: problem.start, _read), FinalAnswer),
        prepare_with(_read_problem),
        recognizer=recognizer(),
        level=level,
        delivery=delivery,
        phase=phase,
    )
