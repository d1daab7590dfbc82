"""The seed of the first world that finds each planted defect, so that a test need not play the worlds before it.

``python -m tests.simulation.found_by`` plays all worlds up to those and writes ``found_by.json``. Run it after changes of
the generator: a seed that no longer finds its defect costs time, because the test then searches from the first world.
"""

import json
from pathlib import Path

import pytest
from tests.simulation.cases import BrokenInvariant
from tests.simulation.generation import generate
from tests.simulation.invariants import examine

SEEDS = 4_000
PATH = Path(__file__).with_name("found_by.json")


def hits(seed: int, found_as: str) -> tuple[BrokenInvariant, ...]:
    return tuple(one for one in examine(generate(seed)).broken if found_as in one.invariant)


def first_failure(found_as: str, known: int | None = None) -> tuple[int, tuple[BrokenInvariant, ...]] | None:
    # Return a seed whose world breaks invariants with `found_as` in their names, and these invariants. It is `known`,
    # if that still does, or else the first one. `None` if none of the first 4,000 does.
    for seed in (*(() if known is None else (known,)), *range(SEEDS)):
        if broken := hits(seed, found_as):
            return seed, broken
    return None


if __name__ == "__main__":
    from tests.simulation.mutants import MUTANTS
    from tests.simulation.mutants_of_deaths import MUTANTS_OF_DEATHS

    seeds = {}
    for mutant in (*MUTANTS, *MUTANTS_OF_DEATHS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.simulation.play.TURNS", 4_000)
            mutant.plant(patch)
            if failure := first_failure(mutant.found_as):
                seeds[mutant.name] = failure[0]
    PATH.write_text(json.dumps(seeds, indent=1, sort_keys=True) + "\n")
