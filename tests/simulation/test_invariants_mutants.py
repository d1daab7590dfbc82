"""A planted defect is found, by the promise that it breaks; and made small."""

import json

import pytest
from tests.simulation.campaign import shrink_failure
from tests.simulation.description import describe, report
from tests.simulation.found_by import PATH, SEEDS, first_failure
from tests.simulation.generation import generate
from tests.simulation.invariants import examine
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants_of_deaths import MUTANTS_OF_DEATHS
from tests.simulation.worlds import from_json, to_json

KNOWN = json.loads(PATH.read_text())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", [*MUTANTS, *MUTANTS_OF_DEATHS], ids=lambda mutant: mutant.name)
def test_a_planted_defect_is_found(mutant, monkeypatch):
    monkeypatch.setattr("tests.simulation.play.TURNS", 4_000)
    mutant.plant(monkeypatch)
    failure = first_failure(mutant.found_as, KNOWN.get(mutant.name))
    assert failure is not None, f"{SEEDS} worlds, and none shows that {mutant.name}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["a retraction is not told", "whatever was judged counts as a pass"])
def test_a_failure_can_be_shrunk_reported_and_repeated(name, monkeypatch):
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    mutant.plant(monkeypatch)
    seed, broken = first_failure(mutant.found_as, KNOWN.get(mutant.name))
    world = generate(seed)
    small = shrink_failure(world, broken, plays=300)
    assert len(to_json(small)) <= len(to_json(world))
    assert len(small.items) <= 2
    assert len(small.watches) == 1
    assert not small.wires
    again = examine(from_json(to_json(small)))
    assert broken[0].invariant in {one.invariant for one in again.broken}
    told = report(again)
    assert describe(small) in told
    assert f"BROKEN: {broken[0].invariant}" in told
    monkeypatch.undo()
    assert not examine(small).broken
