"""Processes that die, and those that resume: nothing is lost, nothing happens twice."""

import msgspec
import pytest
from interwhen.events import Remedied
from tests.simulation.description import report
from tests.simulation.generation import generate, simpler_worlds
from tests.simulation.invariants import examine
from tests.simulation.play import FileState, play
from tests.simulation.worlds import (
    Chunking,
    MonitorSetup,
    ProcessDeath,
    SimulatedReader,
    SumItem,
    TextItem,
    ThinkEndItem,
    VerifierSetup,
    World,
    from_json,
    to_json,
)

EVER = 100_000
LINES = (
    SumItem(3, "+", 4),
    TextItem("so "),
    SumItem(4, "+", 5, (1, 0)),
    SumItem(2, "*", 6, (1, 1, 0)),
    ThinkEndItem(),
    SumItem(9, "-", 2),
)
WORLDS = {
    "one monitor": World(LINES, (MonitorSetup("m"),), chunking=Chunking((3,))),
    "slow checks": World(
        LINES,
        (MonitorSetup("m"), MonitorSetup("n", delivery="gate")),
        (VerifierSetup("async", seconds=(0.3, 0.1)),),
        chunking=Chunking((5,), (0.2,)),
    ),
    "tags": World(LINES, (MonitorSetup("m", remedy="append"),), thinking="tags", chunking=Chunking((1,))),
    "forks": World(
        LINES, (MonitorSetup("m", fork=True),), fork_seconds=0.4, thinking="opened", chunking=Chunking((9,), (0.1,))
    ),
}


def killed(world, *turns, torn=0, **options):
    return msgspec.structs.replace(world, deaths=tuple(ProcessDeath(turn, torn) for turn in turns), **options)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(("torn", "seconds"), [(0, 0.0), (25, 0.3), (EVER, 0.3)])
@pytest.mark.fault(
    "P4",
    injected="a death at every turn of the event loop, in virtual time",
    happens="what is on file is kept; the run ends as an unbroken one",
)
def test_a_death_at_every_turn(name, torn, seconds, record_property):
    world = WORLDS[name]
    last = play(world).turns + 3
    record_property("tries", last)
    for turn in range(last):
        examined = examine(killed(world, turn, torn=torn, disk_seconds=seconds))
        assert not examined.broken, report(examined)


@pytest.mark.fault(
    "P4", injected="a death while a run is resumed, and another one", happens="the same, as often as it is killed"
)
def test_a_death_at_every_turn_of_going_on(record_property):
    world = WORLDS["slow checks"]
    whole = play(world).turns
    deaths = [(first, second, third) for first in range(8, whole, 9) for second in range(6) for third in (1, 7)]
    record_property("tries", len(deaths))
    for turns in deaths:
        examined = examine(killed(world, *turns))
        assert not examined.broken, report(examined)


def test_nothing_a_dying_process_does_has_any_effect():
    for turn in range(play(WORLDS["slow checks"]).turns):
        played = play(killed(WORLDS["slow checks"], turn))
        dead, last = played.processes
        if not dead.was_killed:
            continue
        assert (dead.result, dead.raised, dead.left_tasks) == (None, None, ())
        assert not (dead.filed or FileState()).is_over
        assert all(sent.closed for sent in played.model.sent)
        assert last.result is not None


def test_torn_records_are_dropped_and_earlier_ones_kept():
    world = killed(WORLDS["one monitor"], 14, disk_seconds=0.3)
    whole = play(killed(WORLDS["one monitor"], 14, torn=EVER, disk_seconds=0.3)).processes[0].filed
    sizes = set()
    for torn in range(0, whole.size, 37):
        [dead, _] = play(msgspec.structs.replace(world, deaths=(ProcessDeath(14, torn),))).processes
        filed = dead.filed or FileState()
        assert filed.left_out <= torn
        sizes.add(filed.size)
    assert len(sizes) > 2
    assert whole.left_out == 0


def test_a_run_killed_before_any_record_starts_over():
    played = play(killed(WORLDS["one monitor"], 0))
    assert [process.is_resumed for process in played.processes] == [False, False]
    assert played.result.status == "verified"


def test_a_run_that_is_over_asks_nobody():
    played = play(killed(WORLDS["one monitor"], EVER))
    first, second = played.processes
    assert not first.was_killed
    assert second.result == first.result
    assert [seen.event for seen in second.seen] == [seen.event for seen in first.seen]


def test_a_run_whose_reader_left_is_resumed():
    world = WORLDS["one monitor"]
    for at in range(12):
        played = play(msgspec.structs.replace(world, deaths=(ProcessDeath(EVER, 0, SimulatedReader("leaves", at)),)))
        assert played.result.text == play(world).result.text


def test_a_remedy_is_neither_lost_nor_done_twice():
    whole = [seen.event for seen in play(WORLDS["one monitor"]).seen if isinstance(seen.event, Remedied)]
    assert len(whole) == 2
    for turn in range(play(WORLDS["one monitor"]).turns):
        played = play(killed(WORLDS["one monitor"], turn, 3))
        assert [seen.event for seen in played.seen if isinstance(seen.event, Remedied)] == whole


# ---------------------------------------------------------------- worlds with deaths as data


def test_about_one_world_in_seven_has_deaths():
    worlds = [generate(seed) for seed in range(1000)]
    assert 120 <= sum(bool(world.deaths) for world in worlds) <= 180
    assert {len(world.deaths) for world in worlds} == {0, 1, 2, 3}


def test_a_world_written_before_deaths_existed_has_none():
    world = generate(1)
    fields = msgspec.json.decode(to_json(world))
    del fields["deaths"], fields["disk_seconds"]
    assert from_json(msgspec.json.encode(fields).decode()) == msgspec.structs.replace(
        world, deaths=(), disk_seconds=0.0
    )


def test_shrinking_drops_deaths_first():
    world = killed(WORLDS["slow checks"], 9, 3, torn=40)
    simpler = list(simpler_worlds(world))
    assert simpler[0].deaths == ()
    assert any(len(other.deaths) == 1 for other in simpler)
    assert any(other.deaths and other.deaths[0].torn < 40 for other in simpler)


def test_a_report_tells_of_each_process():
    told = report(examine(killed(WORLDS["one monitor"], 14, torn=30)))
    assert "process 0 is killed: turn=14, torn=30" in told
    assert "process 0 begins" in told
    assert "killed at turn 15" in told
    assert "on file: size=" in told
    assert "process 1 resumes" in told
    assert "every invariant holds" in told


@pytest.mark.parametrize("seed", [seed for seed in range(200) if generate(seed).deaths])
def test_deaths_are_the_same_each_time(seed):
    first, again = play(generate(seed)), play(generate(seed))
    assert [process.seen for process in first.processes] == [process.seen for process in again.processes]
    assert [process.filed for process in first.processes] == [process.filed for process in again.processes]
    assert first.result == again.result
