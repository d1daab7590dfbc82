"""The pass curve: what further passes of consolidation do to answers, with verified notes, unverified, and none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from interwhen.bench.precompute.arms import ask_trusting, make_case, prepare
from interwhen.bench.precompute.families import Case, FamilyName
from interwhen.bench.precompute.simulated import Rates, SimulatedModel
from interwhen.models.base import Request, Sampling
from interwhen.precompute.producers.facts import notes_of
from interwhen.precompute.producers.statements import ask_for, numbered, read_statements

NotesArm = Literal["verified", "leaky", "unverified", "verbatim"]
MISSES = 0.05
"""The part of the wrong statements that the verifier of the arm ``leaky`` passes."""
PASSES = (1, 2, 4, 8)


class CurvePoint(msgspec.Struct, frozen=True):
    """Notes after so many passes, read by a model that trusts them while nobody watches."""

    family: FamilyName
    arm: NotesArm
    """``verified``: the facts that were accepted; the verifier is exact. ``leaky``: the same with one that misses a
    twentieth of what is wrong, while later passes build on it. ``unverified``: all that was proposed, as it was.
    ``verbatim``: no notes, the text alone."""
    passes: int
    accuracy: float
    facts: float
    """Notes a context, in the mean."""
    wrong: float
    """The share of them that the generator knows to be wrong."""


async def curve(
    family: FamilyName, *, contexts: int, questions: int, rates: Rates, seed: int = 0, most: Sequence[int] = PASSES
) -> list[CurvePoint]:
    """Return the points of one *family*, over so many *contexts*."""
    notes: dict[tuple[NotesArm, int], list[tuple[Case, SimulatedModel, list[str]]]] = {}
    for number in range(seed, seed + contexts):
        case = make_case(family, number, questions, 0.5)
        model = SimulatedModel(case, rates, seed=number)
        verified = await _verified(case, number, max(most), rates)
        leaky = await _verified(case, number, max(most), rates, misses=MISSES)
        unverified = await _unverified(case, model, max(most))
        for passes in most:
            by_arm: dict[NotesArm, dict[int, list[str]]] = {
                "verified": verified,
                "leaky": leaky,
                "unverified": unverified,
                "verbatim": {},
            }
            for arm, by_pass in by_arm.items():
                said = [note for at, found in sorted(by_pass.items()) if at <= passes for note in found]
                notes.setdefault((arm, passes), []).append((case, model, said))
    return [await _point(family, arm, passes, found) for (arm, passes), found in notes.items()]


async def _point(
    family: FamilyName, arm: NotesArm, passes: int, found: Sequence[tuple[Case, SimulatedModel, list[str]]]
) -> CurvePoint:
    right = [
        await ask_trusting(case, model, question, said) for case, model, said in found for question in case.questions
    ]
    said = [(case, note) for case, _, notes in found for note in notes]
    wrong = sum(_is_wrong(case, note) for case, note in said)
    return CurvePoint(
        family, arm, passes, sum(right) / len(right), len(said) / len(found), wrong / len(said) if said else 0.0
    )


async def _verified(case: Case, seed: int, passes: int, rates: Rates, *, misses: float = 0.0) -> dict[int, list[str]]:
    """Return the accepted facts by pass."""
    setting = await prepare(case, "facts", seed=seed, passes=passes, rates=rates, min_gain=0.0, misses=misses)
    found: dict[int, list[str]] = {}
    for item in setting.precomputer.ready(setting.ref):
        found.setdefault(int(item.step.rpartition("/")[2]), []).extend(fact.said for fact in notes_of(item).facts)
    await setting.aclose()
    return found


async def _unverified(case: Case, model: SimulatedModel, passes: int) -> dict[int, list[str]]:
    """Return all that is proposed, by pass, each pass building on those before it as if all were true."""
    found: dict[int, list[str]] = {}
    known: list[str] = []
    for number in range(1, passes + 1):
        for _, text in case.pieces:
            given = numbered(text, known)
            task, asked = ask_for(given, 12)
            reply = await model.complete(Request(f"{task}\n\n{asked}", sampling=Sampling(temperature=0.0)))
            said = [statement.said for statement in read_statements(reply.text, given)]
            found.setdefault(number, []).extend(said)
            known += said
    return found


def _is_wrong(case: Case, note: str) -> bool:
    read = case.read(note)
    return read is not None and case.truth.get(read[0]) != read[1]
