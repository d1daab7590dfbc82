"""The zebralogic verifier: puzzles read and solved, statements judged, nothing hostile costly."""

from __future__ import annotations

import gzip
import itertools
import json
import threading

import pytest

pytest.importorskip("z3", reason="the extra 'z3' is not installed")

import interwhen
import z3
from interwhen import Pass, Segment, Span, Task, Tracker, Unknown, Verdict, Violation
from interwhen.testing import ScriptedModel
from interwhen.testing.complexity import BAITS, Bait, assert_linear, assert_quick
from tests.public_sets import needs, public_set

from interwhen_verifiers.puzzles._zebralogic import Cell, HousePuzzle, HouseRelation
from interwhen_verifiers.puzzles.zebralogic import (
    Finding,
    Prepared,
    ReadingState,
    check,
    examine,
    holds,
    prepare,
    read_line,
    zebralogic,
)

PUZZLES = "zebra/puzzles.jsonl.gz"
PUZZLE = """There are 3 houses, numbered 1 to 3 from left to right. Each house has a unique attribute:
 - Each person has a unique name: `Eric`, `Peter`, `Arnold`
 - People have unique hair colors: `red`, `black`, `gray`
 - Each person has a favorite color: `white`, `red`, `yellow`
 - The people keep unique animals: `cat`, `dog`, `bird`
 - Each person has a unique type of pet: `cat`, `fish`, `dog`

## Clues:
1. Eric is in the first house.
2. Arnold is directly left of the person who has black hair.
3. The person who has red hair is Eric.
4. The person who loves white is the dog owner.
5. The person whose favorite color is red is not in the second house.
6. The dog owner is somewhere to the right of the cat lover.
7. There is one house between the cat lover and the dog owner.
8. The person who has a cat and the person who owns a dog are next to each other.
9. The person with an aquarium of fish is in the third house.
10. The person who owns a dog is Eric.
"""


def verdicts(text: str, prepared: Prepared | None = None) -> list[Verdict]:
    prepared = prepared or prepare(Task(PUZZLE))
    assert prepared is not None
    tracker = zebralogic().extractor
    assert isinstance(tracker, Tracker)
    state, all_verdicts, at = tracker.start(prepared), [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            segment = Segment(line.rstrip("\n"), Span(at, at + len(line.rstrip("\n"))), "answer")
            state, claims = tracker.step(state, segment)
            all_verdicts += [check(claim, prepared) for claim in claims]
        at += len(line)
    return all_verdicts  # type: ignore[return-value]


def test_clues_are_read_and_determine_one_arrangement() -> None:
    prepared = prepare(Task("An example.\nThere are 2 houses\n## Clues:\n1. x\n\n" + PUZZLE))
    assert prepared is not None
    assert len(prepared.puzzle.understood) == len(prepared.puzzle.clues) == 10
    assert prepared.solved.status == "unique"
    assert prepared.solved.arrangement == ((1, 3, 2), (1, 3, 2), (3, 1, 2), (1, 3, 2), (2, 3, 1))


@pytest.mark.parametrize(
    "line",
    [
        "So Eric is in house 1.",
        "House 2: Arnold, gray hair, yellow",
        "Therefore, the person in the first house is Eric.",
        "- The person who has red hair is not in house 2.",
        "Arnold lives next to Peter",
        "The cat lover is somewhere to the left of the dog owner; Peter is the dog owner.",
        '{"solution": {"House 1": {"Name": "Eric", "HairColor": "red", "Color": "red", "Pet": "dog", "Animal": "cat"}}}',
        "| House | Name | Hair | Color |\n|---|---|---|---|\n| 1 | Eric | red | red |\n| 3 | Peter | black | white |",
        "| | House 1 | House 2 |\n|---|---|---|\n| Name | Eric | **Arnold** |",
    ],
)
def test_true_statements_pass(line: str) -> None:
    judged = verdicts(line)
    assert judged
    assert all(isinstance(verdict, Pass) for verdict in judged)


@pytest.mark.parametrize(
    ("line", "clues"),
    [
        ("So Eric is in house 2.", "1"),
        ("Arnold is in house 3.", "2"),
        ('"House 2": {\n"Color": "red"\n}', "5"),
        ("The person who has red hair is in the third house.", ""),
        ("House 2: Peter", "1 and 2"),
    ],
)
def test_impossible_statement_is_refuted_by_clues(line: str, clues: str) -> None:
    (verdict,) = verdicts(line)
    assert isinstance(verdict, Violation)
    assert f"{clues} rule" in verdict.why
    assert "Clue " in verdict.witness


@pytest.mark.parametrize(
    "line",
    [
        "Suppose Eric is in house 2.",
        "If Eric is in house 2, Peter is in house 1.",
        "Eric could be in house 2.",
        "Eric may be in house 2.",
        "Is Eric in house 2?",
        "Let's try Eric in house 2.\nThen Arnold is in house 1.",
        "House 2: Eric or Peter",
        "Eric is in the second house on the right of the pub.",
        "Eric does not like the second house.",
        "Either way, Eric is in house 2.",
        "Eric is in house 2. Wait, no.",
    ],
)
def test_unasserted_statement_makes_no_claim(line: str) -> None:
    assert verdicts(line) == []


def test_a_puzzle_is_read_once_by_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    make = z3.SolverFor
    monkeypatch.setattr(z3, "SolverFor", lambda logic, ctx: (read.append(logic), make(logic, ctx=ctx))[1])
    wrong = [f"Eric is in house {number}." for number in (2, 3)] + ["Arnold has the bird.", "Eric loves red."]
    wrong += ["Peter is directly left of Eric.", "The cat lover is in house 3."]
    prepared = prepare(Task(PUZZLE))
    del read[:]
    monkeypatch.setattr("interwhen_verifiers.puzzles.zebralogic._LAST", threading.local())
    line_verdicts = [verdicts(line, prepared) for line in (*wrong, *wrong[::-1], *wrong)]
    assert len([each for some in line_verdicts for each in some if isinstance(each, Violation)]) >= 12
    assert len(read) == 1


def test_named_clues_are_sufficient_and_minimal() -> None:
    findings: dict[HouseRelation, Finding] = {}
    prepared = prepare(Task(PUZZLE))
    assert prepared is not None
    puzzle, arrangement = prepared.puzzle, prepared.solved.arrangement
    assert arrangement is not None
    cells = [Cell(at, value) for at in range(len(arrangement)) for value in range(puzzle.houses)]
    for number in (*range(60), *range(59, -1, -1), *range(0, 120, 2)):
        cell = cells[number % len(cells)]
        house = (number // len(cells)) % puzzle.houses + 1
        relation = HouseRelation("house", cell, number=house)
        finding = examine(puzzle, relation)
        assert (finding.status == "refuted") == (arrangement[cell.attribute][cell.value] != house)
        if finding.status == "refuted":
            assert findings.setdefault(relation, finding) == finding
            assert not arrangements(puzzle, finding.clues, relation)
            for one in finding.clues:
                assert arrangements(puzzle, tuple(clue for clue in finding.clues if clue != one), relation)


def arrangements(puzzle: HousePuzzle, clues: tuple[int, ...], relation: HouseRelation) -> bool:
    relations = [relation, *(clue.relation for clue in puzzle.clues if clue.number in clues and clue.relation)]
    named = sorted({cell.attribute for each in relations for cell in (each.one, each.other) if cell is not None})
    orders = list(itertools.permutations(range(1, puzzle.houses + 1)))
    for chosen in itertools.product(orders, repeat=len(named)):
        full: list[tuple[int, ...]] = [()] * len(puzzle.attributes)
        for attribute, row in zip(named, chosen, strict=True):
            full[attribute] = row
        if all(holds(each, tuple(full)) for each in relations):
            return True
    return False


def test_alternating_puzzles_are_judged_separately() -> None:
    other = PUZZLE.replace("1. Eric is in the first house.", "1. Eric is in the third house.")
    before = verdicts("Eric is in house 2."), verdicts("Eric is in house 2.", prepare(Task(other)))
    assert before == (verdicts("Eric is in house 2."), verdicts("Eric is in house 2.", prepare(Task(other))))
    assert isinstance(verdicts("Eric is in house 3.")[0], Violation)


SCHOOLS = """There are 2 houses, numbered 1 to 2 from left to right.
 - Each person has a unique name: `Eric`, `Peter`
 - Each person has a unique level of education: `trade school`, `bachelor`

## Clues:
1. {clue}
"""


@pytest.mark.parametrize(
    "said",
    [
        "attended trade school",
        "attended a trade school",
        "went to trade school",
        "studied at a trade school",
        "finished trade school",
        "has completed trade school",
        "graduated from trade school",
        "holds a trade school diploma",
        "earned a trade school degree",
        "goes to trade school",
        "with a trade school education",
        "whose level of education is trade school",
    ],
)
def test_school_clue_phrasings_are_read(said: str) -> None:
    person = said if said.startswith(("with", "whose")) else f"who {said}"
    prepared = prepare(Task(SCHOOLS.format(clue=f"The person {person} is in the first house.")))
    assert prepared is not None
    assert prepared.puzzle.understood == prepared.puzzle.clues
    assert [type(each) for each in verdicts(f"The person {person} is in house 2.", prepared)] == [Violation]


def test_partial_clues_judge_only_what_they_decide() -> None:
    partly = prepare(
        Task(
            PUZZLE.replace("10. The person who owns a dog is Eric.", "10. Fnord.").replace("9. The person", "9. Fnord")
        )
    )
    assert partly is not None
    assert partly.solved.status == "open"
    assert isinstance(verdicts("Eric is in house 2.", partly)[0], Violation)
    (unknown,) = verdicts('"House 1": {"Pet": "fish"}', partly)
    assert isinstance(unknown, Unknown)
    assert "2 were not" in unknown.why


def test_value_named_may_is_no_modal() -> None:
    prepared = prepare(Task(PUZZLE.replace("`white`, `red`, `yellow`", "`white`, `red`, `may`")))
    assert all(isinstance(verdict, Pass) for verdict in verdicts("House 2: Arnold, may", prepared))
    assert len(verdicts("House 2: Arnold, may", prepared)) == 2


def test_contradictory_clues_give_unknown() -> None:
    prepared = prepare(Task(PUZZLE + "11. Eric is in the second house.\n"))
    assert prepared is not None
    assert all(isinstance(verdict, Unknown) for verdict in verdicts("Eric is in house 2.", prepared))


@pytest.mark.parametrize("prompt", ["How much is 2 + 2?", "There are 3 houses.", PUZZLE.replace("`Eric`, ", ""), ""])
def test_other_problems_are_not_prepared(prompt: str) -> None:
    assert prepare(Task(prompt)) is None


def test_violation_interrupts_and_run_continues() -> None:
    model = ScriptedModel(["Eric is in house 1.\nArnold is in house 3.\n", "So Arnold is in house 2.\n"])
    with interwhen.run_sync(model, PUZZLE, monitors=[zebralogic()]) as run:
        result = run.drain()
    assert result.ledger.remedies == 1
    assert result.violations[0].why == "it cannot be that 'Arnold' is in house 3: clue 2 rules it out"


def test_hostile_lines_are_read_in_linear_time() -> None:
    prepared = prepare(Task(PUZZLE))
    assert prepared is not None
    baits = (
        *BAITS[::6],
        *(
            Bait(unit)
            for unit in ("Eric is ", "Eric is in house 1. ", "| Eric ", '"House 1": {"Name": "Eric", ', "is not ")
        ),
        Bait("Eric, ", start="House 1: "),
    )

    def read(text: str) -> object:
        return read_line(ReadingState(prepared.puzzle), text, answer=True)

    assert_linear(read, baits=baits)
    assert_quick(read, baits=baits, size=5_000, seconds=2.0)


@needs(PUZZLES)
def test_every_public_puzzle_has_one_arrangement() -> None:
    with gzip.open(public_set(PUZZLES), "rt", encoding="utf-8") as lines:
        for line in itertools.islice(lines, 0, None, 5):
            record = json.loads(line)
            prepared = prepare(Task(record["puzzle"]))
            assert prepared is not None, record["id"]
            assert len(prepared.puzzle.understood) == len(prepared.puzzle.clues), record["id"]
            assert prepared.solved.status == "unique", record["id"]
            assert all(isinstance(each, Pass) for each in verdicts(record["puzzle"].split("## Clues:")[1], prepared))


HOUSES = """There are 2 houses, numbered 1 to 2 from left to right.
 - Each person has a unique name: `Eric`, `Peter`
 - Each person has a favorite color: `red`, `blue`

## Clues:
1. Eric is in the second house.
2. The person who loves red is directly left of Eric.
"""


def _house_verdicts(text, prepared):
    monitor = zebralogic()
    state, at, verdicts = monitor.extractor.start(prepared), 0, []
    for line in text.split("\n"):
        state, claims = monitor.extractor.step(state, Segment(line, Span(at, at + len(line)), "answer"))
        verdicts += [monitor.verifier.check(claim, prepared) for claim in claims]
        at += len(line) + 1
    return verdicts


@pytest.mark.parametrize(
    "text",
    [
        "House 1: Eric, Peter",
        "House 1: {Eric, Peter}",
        "House 1: Eric \u2717",
        "House 1: ~Eric",
        "Candidates:\nHouse 1: Eric",
        "Possible arrangement:\nHouse 1: Eric",
        "| House | Candidates |\n|---|---|\n| 1 | Eric |",
    ],
)
def test_candidate_lists_are_not_refuted(text):
    prepared = prepare(Task(HOUSES))
    assert not any(isinstance(verdict, Violation) for verdict in _house_verdicts(text, prepared))


def test_wrong_house_is_refuted():
    prepared = prepare(Task(HOUSES))
    for text in ("House 1: Eric", "House 1: Eric, red", "| House | Name |\n|---|---|\n| 1 | Eric |"):
        assert any(isinstance(verdict, Violation) for verdict in _house_verdicts(text, prepared))


GRID = "House 1: Eric, red hair\nHouse 2: Arnold\nHouse 3: Peter\n"


@pytest.mark.parametrize(
    "line",
    [
        "Peter has the cat.",
        "Arnold loves red.",
        "House 3 \u2013 Peter \u2013 white \u2013 dog",
        "Haus 3: Arnold",
        "| Peter | red | gray |",
        '{"Third house": {"Name": "Arnold"}}',
    ],
)
def test_unread_statement_form_is_never_verified(line):
    def status(text):
        model = ScriptedModel([text])
        with interwhen.run_sync(model, PUZZLE, monitors=["zebralogic:delivery=observe"]) as run:
            result = run.drain()
        assert result.violations == ()
        return result.status

    assert status(GRID) == "verified"
    assert status(GRID + line + "\n") == "unverified"


@pytest.mark.parametrize(
    "line",
    ["The names are Eric, Peter and Arnold.", "If Peter has the cat, then no.", "Peter, red, cat", "That is all."],
)
def test_line_without_placement_keeps_run_verified(line):
    with interwhen.run_sync(ScriptedModel([GRID + line + "\n"]), PUZZLE, monitors=["zebralogic"]) as run:
        assert run.drain().status == "verified"
