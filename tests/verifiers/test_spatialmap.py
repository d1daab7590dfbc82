"""Maps in words: what follows, what is contradicted, what is left open; and runs that are interrupted."""

from __future__ import annotations

from itertools import product
from random import Random

import interwhen
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Pass, Segment, Span, Task, Unknown, Verified, Violation
from interwhen.testing import ScriptedModel

from interwhen_verifiers.puzzles.spatialmap import MapRelation, Premise, make_order, read_problem, spatialmap

MAP = (
    "Consider a map with multiple objects: \nBlue Bakery is in the map.  Old Mill is to the Northeast of Blue Bakery.  "
    "Zoe's Zoo is to the Northwest of Old Mill. Zoe's Zoo is to the Northeast of Blue Bakery.  X-Y Gym is to the Southwest "
    "of Old Mill. X-Y Gym is to the Northeast of Blue Bakery. \n\nPlease answer the following multiple-choice question "
    "based on the provided information. {} Available options:\n{}"
)
DIRECTION = MAP.format(
    "In which direction is Zoe's Zoo relative to X-Y Gym?", "A. Northeast\nB. Southeast\nC. Northwest\nD. Southwest."
)
WHICH = MAP.format("Which object is in the Southwest of Zoe's Zoo?", "A. Old Mill\nB. X-Y Gym\nC. Blue Bakery\nD. Pub.")
COUNT = MAP.format("How many objects are in the Northeast of Blue Bakery?", "A. 0\nB. 3\nC. 2\nD. 1.")


def judged(prompt, text, phase="answer"):
    watching = spatialmap()
    prepared = watching.prepare(Task(prompt))
    assert prepared is not None
    state, judgements, at = watching.extractor.start(prepared), [], 0
    for line in text.split("\n"):
        if line.strip():
            segment = Segment(line, Span(at, at + len(line)), phase)
            state, claims = watching.extractor.step(state, segment)
            judgements += [
                (text[claim.span.start : claim.span.end], watching.verifier.check(claim, prepared)) for claim in claims
            ]
        at += len(line) + 1
    return judgements


def verdicts(prompt, text):
    return [verdict for _, verdict in judged(prompt, text)]


# ------------------------------------------------------------------------------------------------- prompts


def test_a_map_and_its_question_are_read():
    problem = read_problem(DIRECTION)
    assert problem.names == ("Old Mill", "Blue Bakery", "Zoe's Zoo", "X-Y Gym")
    assert (problem.asked, problem.names[problem.one], problem.names[problem.other]) == (
        "direction",
        "Zoe's Zoo",
        "X-Y Gym",
    )
    assert problem.options == {"A": "Northeast", "B": "Southeast", "C": "Northwest", "D": "Southwest"}
    assert (read_problem(WHICH).asked, read_problem(WHICH).relation) == ("which", MapRelation(-1, -1))
    assert (read_problem(COUNT).asked, read_problem(COUNT).relation) == ("count", MapRelation(1, 1))


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "What lies to the north of Spain?",
        "Spain is to the south of France.",
        "A Inn is to the Northeast of B Inn. B Inn is to the Northeast of A Inn.",  # contradicts itself
        "A Inn is to the East of B Inn. B Inn is to the East of C Inn. C Inn is to the East of A Inn.",
    ],
)
def test_prompt_without_map_is_not_prepared(prompt):
    assert spatialmap().prepare(Task(prompt)) is None


# --------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Blue Bakery is to the Southwest of Old Mill.", Pass),
        ("So Zoe's Zoo is northeast of Blue Bakery.", Pass),
        ("X-Y Gym is to the southwest of Zoe's Zoo.", Unknown),  # its east is not known
        ("X-Y Gym is to the Southeast of Blue Bakery.", Violation),
        ("**Old Mill** is located to the **Northwest** of **Zoe's Zoo**.", Violation),
        ("Old Mill is in the Southwest of X-Y Gym.", Violation),
        ("Old Mill is north of Blue Bakery.", Unknown),
        ("Old Mill is south of Blue Bakery.", Violation),
        ("Old Mill is west of X-Y Gym.", Violation),
        ("- Old Mill (OM) is to the Northwest of Blue Bakery (BB).", Violation),
    ],
)
def test_statements_are_judged_by_the_map(text, kind):
    (verdict,) = verdicts(DIRECTION, text)
    assert isinstance(verdict, kind), verdict


def test_reasons_are_sentences_of_the_map():
    ((claim, verdict),) = judged(
        COUNT, "Thus, Zoe's Zoo is to the South of X-Y Gym, or nearly.\nZoe's Zoo is south of Blue Bakery"
    )
    assert claim == "Zoe's Zoo is south of Blue Bakery"
    assert verdict.witness == "that contradicts the map: Zoe's Zoo is to the northeast of Blue Bakery"
    (verdict,) = verdicts(COUNT, "X-Y Gym is to the Southwest of Old Mill.")
    assert verdict.evidence == "it follows: X-Y Gym is to the southwest of Old Mill"


def test_a_witness_does_not_answer_the_question():
    prompt = MAP.format("In which direction is Old Mill relative to Blue Bakery?", "A. Northeast\nB. Northwest.")
    (verdict,) = verdicts(prompt, "Old Mill is to the Northwest of Blue Bakery.")
    assert (verdict.why, verdict.witness) == ("that contradicts the map", "")


@pytest.mark.parametrize(
    "text",
    [
        "Is Old Mill southwest of Blue Bakery?",
        "Old Mill is not southwest of Blue Bakery.",
        "If Old Mill is southwest of Blue Bakery, then all is lost.",
        "Suppose Old Mill is southwest of Blue Bakery.",
        "Maybe Old Mill is southwest of Blue Bakery.",
        "What lies north of Old Mill is southwest of Blue Bakery.",
        "The place between Zoe's Zoo and Old Mill is southwest of Blue Bakery.",
        "Old Mill is southwest of Blue Bakery's roof.",
        "Old Mill would be southwest of Blue Bakery.",
        "OM is southwest of BB.",
        "A. Old Mill is southwest of Blue Bakery: false.",
        "Old Mill is southwest of Blue Bakery. Wrong!",
        "Old Mill is southwest of Blue Bakery ❌",
        "Old Mill is southwest of Unknown Place.",
        "The Old Mill Museum is southwest of Blue Bakery.",
    ],
)
def test_other_texts_are_not_refuted(text):
    assert not [verdict for verdict in verdicts(DIRECTION, text) if isinstance(verdict, Violation)]


def test_short_names_are_learned_from_the_text():
    text = "Old Mill (OM) and Blue Bakery (BB).\nOM is southwest of BB."
    ((claim, verdict),) = judged(DIRECTION, text)
    assert claim == "OM is southwest of BB"
    assert isinstance(verdict, Violation)
    assert judged(DIRECTION, "Old Mill (M), Blue Bakery (BB), Zoe's Zoo (M)\nM is southwest of BB.") == []


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("prompt", "text", "kind"),
    [
        (DIRECTION, "Answer: A", Unknown),
        (DIRECTION, "Answer: B", Violation),  # further south is excluded
        (DIRECTION, "The answer is C. Northwest.", Unknown),
        (DIRECTION, "\\boxed{D}", Violation),
        (WHICH, "Answer: C", Pass),
        (WHICH, "Answer: Old Mill", Violation),
        (WHICH, "\\boxed{\\text{B}}", Unknown),
        (WHICH, "Answer: Pub", Unknown),
        (COUNT, "Answer: 3", Pass),
        (COUNT, ">>> FINAL ANSWER: B", Pass),
        (COUNT, "Answer: C", Violation),
        (COUNT, "Answer: A. 0", Violation),
        (COUNT, "There are 2 objects in the Northeast of Blue Bakery.", Violation),
        (COUNT, "Answer: many", Unknown),
    ],
)
def test_answers_are_judged(prompt, text, kind):
    (verdict,) = verdicts(prompt, text)
    assert isinstance(verdict, kind), verdict


def test_due_north_is_no_quadrant():
    prompt = MAP.format("How many objects are in the North of Blue Bakery?", "A. 0\nB. 3\nC. 2\nD. 4.")
    assert [type(*verdicts(prompt, f"Answer: {letter}")) for letter in "ABCD"] == [Unknown, Unknown, Unknown, Violation]


# -------------------------------------------------------------------------------------- against other code

SIGNS = [
    MapRelation(1, 1),
    MapRelation(1, -1),
    MapRelation(-1, 1),
    MapRelation(-1, -1),
    MapRelation(0, 1),
    MapRelation(0, -1),
    MapRelation(1, 0),
]


def models(count, premises):
    # Places may share a number.
    arrangements = []
    for axis in (0, 1):
        ranks = [
            line
            for line in product(range(count), repeat=count)
            if all(
                (line[one] - line[other]) * relation[axis] > 0 for one, relation, other in premises if relation[axis]
            )
        ]
        arrangements.append(ranks)
    return arrangements


def holds(east, north, one, relation, other):
    axes = ((east, relation[0]), (north, relation[1]))
    return all((line[one] - line[other]) * sign > 0 for line, sign in axes if sign)


def relations(count):
    place = st.integers(0, count - 1)
    return st.tuples(place, st.sampled_from(SIGNS), place).filter(lambda triple: triple[0] != triple[2])


@settings(max_examples=60, deadline=None)
@given(st.lists(relations(4), min_size=1, max_size=5), relations(4))
def test_entailment_agrees_with_all_models(premises, claim):
    order = make_order(4, [Premise(*triple, "") for triple in premises])
    easts, norths = models(4, premises)
    assert order.is_consistent == bool(easts and norths)
    if not order.is_consistent:
        return
    one, relation, other = claim
    # The axes are independent, so that a relation may hold (fail) where each axis may (one of them may).
    may_hold = all(
        any(holds(line, line, one, part, other) for line in lines) for lines, part in parts(easts, norths, relation)
    )
    may_fail = any(
        any(not holds(line, line, one, part, other) for line in lines) for lines, part in parts(easts, norths, relation)
    )
    expected = "open" if may_hold and may_fail else "follows" if may_hold else "contradicts"
    assert order.status(one, relation, other) == expected


def parts(easts, norths, relation):
    both = ((easts, MapRelation(relation[0], 0)), (norths, MapRelation(0, relation[1])))
    return [(lines, part) for lines, part in both if any(part)]


@settings(max_examples=25, deadline=None)
@given(st.lists(relations(3), min_size=1, max_size=3), st.integers(0, 2), st.sampled_from(SIGNS[:4]))
def test_possible_counts_agree_with_all_models(premises, other, relation):
    order = make_order(3, [Premise(*triple, "") for triple in premises])
    easts, norths = models(3, premises)
    if not order.is_consistent:
        return
    counts = {
        sum(holds(east, north, place, relation, other) for place in range(3) if place != other)
        for east in easts
        for north in norths
    }
    statuses = [order.status(place, relation, other) for place in range(3) if place != other]
    assert counts == set(range(statuses.count("follows"), len(statuses) - statuses.count("contradicts") + 1))


def test_entailment_agrees_with_z3():
    z3 = pytest.importorskip("z3")
    from interwhen.toolkit import solving

    rng = Random(4)
    for _ in range(25):
        places = [(rng.random(), rng.random()) for _ in range(6)]

        def seen(one, other, places=places):
            return MapRelation(*(1 if places[one][axis] > places[other][axis] else -1 for axis in (0, 1)))

        pairs = [(one, rng.randrange(one)) for one in range(1, 6) for _ in range(2)]
        order = make_order(6, [Premise(one, seen(one, other), other, "") for one, other in pairs])
        with solving.problem() as problem:
            axes = [[z3.Real(f"{axis}{at}", problem.context) for at in range(6)] for axis in "xy"]

            def said(one, relation, other, axes=axes):
                return z3.And([axes[axis][one] * sign > axes[axis][other] * sign for axis, sign in relation.signs])

            for number, (one, other) in enumerate(pairs):
                problem.require(f"{number}", said(one, seen(one, other), other))
            for one, other, relation in ((rng.randrange(1, 6), 0, SIGNS[rng.randrange(4)]) for _ in range(4)):
                follows = isinstance(problem.follows(said(one, relation, other)), Pass)
                excluded = isinstance(problem.follows(z3.Not(said(one, relation, other))), Pass)
                expected = "follows" if follows else "contradicts" if excluded else "open"
                assert order.status(one, relation, other) == expected


@given(st.text(alphabet="OldMilBueakry isnorthweasof.()?*ABCD:nswer", max_size=80))
def test_any_text_is_judged_without_error(text):
    judged(DIRECTION, text)
    judged(DIRECTION, f"Old Mill is {text} Blue Bakery")


# -------------------------------------------------------------------------------------------- whole runs


def test_contradicting_step_is_cut_and_run_continues():
    replies = [
        "Old Mill is to the Southwest of Blue Bakery.\n",
        "\nOld Mill is to the Northeast of Blue Bakery.\nAnswer: C\n",
    ]
    with interwhen.run_sync(ScriptedModel(replies), WHICH, monitors=[spatialmap()]) as running:
        result = running.drain()
    assert isinstance(result, Verified)
    assert result.violations[0].why == "that contradicts the map"
    assert result.text == replies[1]


def test_undetermined_answer_is_unverified():
    with interwhen.run_sync(ScriptedModel(["Answer: A\n"]), DIRECTION, monitors=[spatialmap()]) as running:
        result = running.drain()
    assert result.status == "unverified"
    assert not result.violations
