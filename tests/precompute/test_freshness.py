"""Nothing stale and nothing unproven is ever offered: thousands of edits, faults and deaths against a naive oracle."""

import random
from dataclasses import dataclass, field

import anyio
import pytest
from interwhen._types.errors import StoreConflict
from interwhen.precompute import MemoryShelf, Store
from interwhen.precompute._freshness import find_current
from interwhen.precompute._judge import Judge
from interwhen.precompute._sqlite_shelf import SqliteShelf
from tests.precompute.toys import Plan, Sums, ToyModel, expected, precomputer, told


def shape_of(seed):
    def shape(context):
        names = [piece.name for piece in context.pieces]
        plans = [Plan(f"sum/{name}", (name,)) for name in names]
        for at in range(4):
            rng = random.Random(f"{seed}/{at}")
            steps = rng.sample([plan.name for plan in plans], min(len(plans), 1 + rng.randrange(3)))
            pieces = rng.sample(names, min(len(names), rng.randrange(3)))
            plans.append(Plan(f"over/{at}", tuple(pieces), tuple(steps), lazy=rng.random() < 0.5))
        return plans

    return shape


@dataclass
class Process:
    """One process that works on the store: its precomputer, and every reference it ever got."""

    pre: object
    model: str
    version: str
    refs: list = field(default_factory=list)


@dataclass
class World:
    """Processes over one shelf, and what the pieces are, kept apart from the store."""

    rng: random.Random
    shelf: object
    shape: object
    pieces: dict = field(default_factory=dict)
    processes: list = field(default_factory=list)
    edits: int = 0
    offered: int = 0
    looks: int = 0
    damaged: bool = False

    async def start(self):
        model, version = self.rng.choice(["one", "two"]), self.rng.choice("12")
        made = Process(
            precomputer(Store(self.shelf), Sums(self.shape, version=version), ToyModel(model)), model, version
        )
        self.processes.append(made)
        return made

    async def edit(self, process):
        pieces = dict(self.pieces)
        name = f"p{self.rng.randrange(5)}"
        match self.rng.randrange(6):
            case 0 if len(pieces) > 2 and name in pieces:
                del pieces[name]
            case 1:
                pieces = {name: f"again {value % 3}" for value, name in enumerate(pieces)}
            case 2 if name in pieces:
                pieces[name] = pieces[name] + " "  # other words, the same number
            case _:
                pieces[name] = f"number {self.rng.randrange(12)}"
        self.edits += 1
        process.refs.append(await process.pre.add("book", pieces))
        self.pieces = pieces
        self.damaged = False

    async def look(self):
        for process in self.processes:
            for prepared in process.pre.contexts.values():
                assert prepared.current == find_current(prepared.plan_inputs, prepared._candidates)
            context = None
            for ref in process.refs[-6:]:
                items = process.pre.ready(ref)
                self.looks += 1
                if not items:
                    continue
                prepared = process.pre.contexts["book"]
                context = context or prepared.context
                assert {piece.name: piece.text for piece in context.pieces} == self.pieces
                now = expected(self.shape, context, process.model, process.version)
                for name, text in told(items).items():
                    assert now[name] == ("accepted", text), (name, text)
                self.offered += len(items)

    async def work(self, process):
        if process.refs:
            await process.pre.work(slices=self.rng.randrange(1, 9))

    async def work_cut_short(self, process):
        if not process.refs:
            return
        turns = self.rng.randrange(1, 30)

        async def run_begins():
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            with process.pre.foreground():
                await self.look()
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(run_begins)
            await process.pre.work(slices=2)

    async def die(self, process):
        self.processes.remove(process)
        await self.start()

    async def reopen(self, process):
        if self.pieces and not self.damaged:
            process.refs.append(await process.pre.open("book"))

    async def edit_under_way(self, process):
        # Edit while somebody works, so that what is being made is out of date when it is done.
        async with anyio.create_task_group() as group:
            group.start_soon(self.work, process)
            for _ in range(self.rng.randrange(20)):
                await anyio.lowlevel.checkpoint()
            await self.edit(self.rng.choice(self.processes))

    async def conflict(self, process):
        if process.refs:
            there = process.pre.store.generation("context:book")
            with pytest.raises(StoreConflict):
                await process.pre.add("book", {"p0": "never"}, expect=there + self.rng.choice([-1, 1]))

    async def damage(self, _process):
        entries = getattr(self.shelf, "entries", None)
        if not entries:
            return
        name = self.rng.choice(sorted(entries))
        if name.startswith("documents/"):
            if self.rng.random() < 0.8:
                return
            self.damaged = True
        data = bytearray(entries[name])
        match self.rng.randrange(3):
            case 0:
                at = self.rng.randrange(len(data))
                data[at] ^= 1 << self.rng.randrange(8)
            case 1:
                del data[self.rng.randrange(len(data)) :]
            case _ if name.startswith("items/"):
                self.shelf.delete(name)
                return
        entries[name] = bytes(data)

    async def evict(self, process):
        items = list(process.pre.store.items())
        if items:
            process.pre.store.evict(self.rng.choice(items).id)


STEPS = ["edit"] * 6 + ["work"] * 6 + ["work_cut_short", "die", "reopen", "edit_under_way", "conflict", "evict"]
STEPS += ["damage"] * 3


async def play(seed, edits, shelf, steps=STEPS):
    rng = random.Random(seed)
    world = World(rng, shelf, shape_of(seed))
    for _ in range(2):
        await world.start()
    await world.edit(world.processes[0])
    while world.edits < edits:
        step = getattr(world, rng.choice(steps))
        await step(rng.choice(world.processes))
        await world.look()
    # In the end all is there, and all of it is right.
    process = await world.start()
    ref = await process.pre.add("book", world.pieces)
    await process.pre.work()
    prepared = process.pre.contexts["book"]
    assert not prepared.current.due
    assert len(prepared.current.items) == len(prepared.plan)
    now = expected(world.shape, prepared.context, process.model, process.version)
    current = {
        name.partition("::")[2]: (item.status, item.payload.text) for name, item in prepared.current.items.items()
    }
    assert current == now
    assert told(process.pre.ready(ref)) == {name: text for name, (status, text) in now.items() if status == "accepted"}
    return world


FAULT = pytest.mark.fault(
    "P6",
    injected="edits by two processes, entries damaged or lost, deaths and interrupted work in between",
    happens="nothing stale is offered, by a naive oracle that computes everything again; at the end all is up to date",
)


@FAULT
@pytest.mark.parametrize("seed", range(10))
def test_stale_items_are_never_offered(seed, record_property, log):
    world = anyio.run(play, seed, 40, MemoryShelf())
    record_property("tries", world.edits)
    assert world.offered > 50


@FAULT
@pytest.mark.parametrize("seed", range(100, 102))
def test_stale_items_are_never_offered_from_file(seed, tmp_path, record_property, log):
    shelf = SqliteShelf(tmp_path / "store.db")
    world = anyio.run(play, seed, 40, shelf)
    shelf.close()
    record_property("tries", world.edits)
    assert world.offered > 50


BUGS = {
    "what was read is not compared": ("interwhen.precompute._freshness._holds", lambda *_: True),
    "edits by others are not noticed": ("interwhen.precompute._precomputer.Precomputer._staleness", lambda *_: ""),
    "what was not accepted is offered": ("interwhen.precompute._items.Item.may_be_served", True),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_detected(bug, monkeypatch, log):
    monkeypatch.setattr(*BUGS[bug])

    def find():
        for seed in range(12):
            anyio.run(play, seed, 40, MemoryShelf())

    with pytest.raises((AssertionError, ExceptionGroup)):
        find()


OFTEN = [*STEPS, *["edit"] * 16]


@pytest.fixture
def remembered(monkeypatch):
    judge = Judge.judge

    async def judged(self, text, prompt="", *, forks=None):
        if text not in known:
            known[text] = await judge(self, text, prompt, forks=forks)
        return known[text]

    known = {}
    monkeypatch.setattr(Judge, "judge", judged)


@pytest.mark.nightly
@pytest.mark.slow
@FAULT
@pytest.mark.parametrize("seed", range(1000, 1020))
def test_stale_items_are_never_offered_over_many_edits(seed, record_property, remembered):
    world = anyio.run(play, seed, 500, MemoryShelf(), OFTEN)
    record_property("tries", world.edits)
    assert world.offered > 500
