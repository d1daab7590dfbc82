"""Some thousand worlds keep every promise; each is the same each time; the simulator is blind to nothing it claims to see."""

import os
from collections import Counter
from pathlib import Path

import pytest
from interwhen._types.models import Piece
from tests.simulation.campaign import run_batch, run_campaign
from tests.simulation.coverage import all_labels, blind_spots, reached
from tests.simulation.description import report
from tests.simulation.generation import generate, simpler_worlds
from tests.simulation.invariants import examine, is_timeless, varied
from tests.simulation.model import SEED
from tests.simulation.monitors import build_monitors
from tests.simulation.play import play
from tests.simulation.worlds import LostTextError, from_json, go_on, to_json, whole_text

PAST = Path(__file__).with_name("past.jsonl")
SEEDS = 3000


@pytest.fixture(scope="module")
def campaign():
    # From a fixed seed, so that a failure is the same for everybody; `python -m tests.simulation --from` looks
    # elsewhere.
    return run_campaign(range(SEEDS), jobs=min(os.cpu_count() or 1, 2))


@pytest.mark.timeout(600)
@pytest.mark.fault(
    "S1",
    injected="whole worlds made from seeds: wrong claims, faults of verifiers, wire and reader, budgets, all at once",
    happens="every promise holds, judged from the truth of the text: sound, earliest, nothing lost, all counted",
)
def test_thousands_of_worlds_keep_every_promise(campaign, record_property):
    record_property("tries", campaign.worlds)
    assert campaign.worlds == SEEDS
    assert campaign.failed == 0, "\n".join(
        f"python -m tests.simulation --seed {failure.seed}: {failure.broken[0]}" for failure in campaign.failures
    )


@pytest.mark.timeout(600)
def test_these_worlds_reach_all_that_the_simulator_knows(campaign):
    assert blind_spots(campaign.counts) == []
    assert set(campaign.counts) <= set(all_labels()), "a label that the table does not show"


@pytest.mark.parametrize("line", PAST.read_text().splitlines())
def test_worlds_that_once_broke_promises_keep_them_now(line):
    examined = examine(from_json(line))
    assert not examined.broken, report(examined)


def log_of(played):
    sent = [(s.request, s.chunks, s.tokens, s.ended, s.fault) for s in played.model.sent]
    return (
        played.seen,
        played.book,
        played.result,
        sent,
        played.seconds,
        played.turns,
        [repr(process.raised) for process in played.processes],
    )


@pytest.mark.parametrize("seed", range(0, 400, 10))
def test_a_seed_always_repeats_its_world_and_run(seed):
    assert generate(seed) == generate(seed)
    assert log_of(play(generate(seed))) == log_of(play(generate(seed)))


def test_seeds_are_different_worlds():
    assert len({to_json(generate(seed)) for seed in range(100)}) == 100


@pytest.mark.parametrize("seed", range(30))
def test_a_world_survives_being_written_down(seed):
    world = generate(seed)
    assert from_json(to_json(world)) == world


def test_batches_add_up_to_the_whole():
    whole, parts = run_batch(range(40)), run_campaign(range(40))
    assert (whole.worlds, whole.counts, whole.failures) == (parts.worlds, parts.counts, parts.failures)
    by_hand = Counter(label for seed in range(40) for label in reached(play(generate(seed))))
    assert whole.counts == by_hand


def test_a_variation_changes_only_what_must_not_matter():
    changed = 0
    for seed in range(200):
        world = generate(seed)
        if not is_timeless(world):
            continue
        other = varied(world)
        changed += other.chunking != world.chunking
        assert (other.items, other.limits, other.thinking) == (world.items, world.limits, world.thinking)
        assert set(other.watches) == set(world.watches)
        for mine, theirs in zip(world.judges, other.judges, strict=True):
            late = [(a >= mine.deadline, b >= mine.deadline) for a, b in zip(mine.seconds, theirs.seconds, strict=True)]
            assert all(a == b for a, b in late)
    assert changed > 20


# ---------------------------------------------------------------- the model that the world has


@pytest.mark.parametrize("seed", range(60))
def test_the_model_continues_from_anywhere_in_its_text(seed):
    world = generate(seed)
    text = whole_text(world, 0)
    calls = [part.text for part in go_on(world, (), 0) if part.call is not None]
    inside = {at for call in calls for at in range(text.find(call) + 1, text.find(call) + len(call))}
    for at in range(len(text) + 1):
        if at not in inside:
            rest = "".join(part.text for part in go_on(world, (Piece(text[:at]),), 0))
            assert text[:at] + rest == text


def test_the_model_rejects_text_it_did_not_write():
    world = next(world for world in map(generate, range(100)) if len(whole_text(world, 0)) > 20)
    text = whole_text(world, 0)
    for wrong in ("x" + text, text[:3] + text[4:], text + "x", text[:9] + text[:9]):
        with pytest.raises(LostTextError):
            list(go_on(world, (Piece(wrong),), 0))


def test_feedback_is_no_text_of_the_model():
    world = generate(1)
    text = whole_text(world, 0)
    pieces = (Piece(text[:4]), Piece("\nWait, no.\n", "feedback"))
    assert "".join(part.text for part in go_on(world, pieces, 0)) == text[4:]


def test_a_request_tells_its_generation():
    for seed in range(40):
        for sent in play(generate(seed)).model.sent:
            assert sent.generation == sent.request.sampling.seed - SEED


def test_each_simpler_world_can_be_played():
    worlds = [simpler for seed in range(100) for simpler in simpler_worlds(generate(seed))]
    assert len(worlds) > 1000
    for world in worlds:
        build_monitors(world, [])  # refuses a combination that no user could write either
