"""Generates a world from a seed, and shrinks a failing world.

Swarm testing (Groce et al., 2012): the generator first draws which kinds of faults a world has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar, get_args

import msgspec
from interwhen._types.monitors import Delivery
from interwhen._types.verifiers import Worker
from tests.simulation.worlds import (
    AT_OPENING,
    Chunking,
    ForkFault,
    Item,
    Keys,
    MonitorSetup,
    Operator,
    Preparing,
    ProcessDeath,
    ReaderKind,
    RemedyKind,
    RunLimits,
    SimulatedReader,
    SumItem,
    TextItem,
    ThinkEndItem,
    Thinking,
    TriggerKind,
    VerifierFault,
    VerifierFaultKind,
    VerifierSetup,
    WireFault,
    WireFaultKind,
    World,
    left_side,
)

ChoiceT = TypeVar("ChoiceT")

_BETWEEN = ("\n", "\n", "\n", ".\n", ". ", ", ", "\n\n", " and ", "; ")
_PROSE = ("so ", "Wait, ", "Hmm. ", "then ", "\n", "well", "\u2028", "<think>", "</", "Let me see.\n")
_GAPS = ((0.0,), (0.0,), (0.1,), (0.0, 0.0, 0.3), (0.05, 1.0, 0.0), (2.0,), (0.0, 5.0))
_SECONDS = ((0.0,), (0.1,), (0.5,), (0.0, 0.7), (2.0, 0.1, 0.9), (3.0,), (0.3, 9.0))
_REMEDIES: tuple[RemedyKind, ...] = ("auto", "auto", "repair", *get_args(RemedyKind))
_TRIGGERS: tuple[TriggerKind, ...] = ("lines", "lines", "lines", *get_args(TriggerKind))
_DELIVERIES: tuple[Delivery, ...] = ("interrupt", "interrupt", "interrupt", "gate", "gate", "observe", "final")


_DEADLY = 0.15
"""The share of seeds whose worlds have deaths of processes, in the long run."""


@dataclass(frozen=True, slots=True)
class _Swarm:
    """The kinds of faults and variations that may occur in one world. Each world allows a random selection."""

    wrong: bool
    """Wrong claims."""
    mishaps: bool
    """Faults of verifiers and extractors."""
    wires: bool
    """Faults of the network and the server."""
    forks: bool
    """Monitors that ask forks."""
    budgets: bool
    """Small budgets and limits."""
    readers: bool
    """Readers that are slow, leave, raise or are cancelled."""
    chunks: bool
    """Text that is cut into many chunks."""
    slow: bool
    """Durations of chunks, checks and forks."""
    odd_monitors: bool
    """Rare triggers, remedies and workers."""


def generate(seed: int) -> World:
    dice = Random(seed)
    swarm = _Swarm(
        wrong=dice.random() < 0.8,
        mishaps=dice.random() < 0.35,
        wires=dice.random() < 0.35,
        forks=dice.random() < 0.25,
        budgets=dice.random() < 0.25,
        readers=dice.random() < 0.4,
        chunks=dice.random() < 0.8,
        slow=dice.random() < 0.6,
        odd_monitors=dice.random() < 0.6,
    )
    thinking: Thinking = dice.choice(("no", "no", "tags", "opened", "field"))
    items = _items(dice, swarm, thinking)
    judges = tuple(_judge(dice, swarm, items) for _ in range(dice.choice((1, 1, 2, 3))))
    watches = tuple(_watch(dice, swarm, f"m{number}", len(judges), items) for number in range(_count(dice)))
    fault: ForkFault = dice.choice(get_args(ForkFault)) if swarm.forks and dice.random() < 0.4 else "none"
    world = World(
        items=items,
        watches=watches,
        judges=judges,
        wires=_wires(dice) if swarm.wires else (),
        chunking=_chunking(dice, swarm),
        reader=_reader(dice) if swarm.readers else SimulatedReader(),
        limits=_limits(dice) if swarm.budgets else RunLimits(),
        thinking=thinking,
        fork_seconds=dice.choice((0.0, 0.2, 1.5)) if swarm.forks and swarm.slow else 0.0,
        fork_fault=fault,
        fork_fault_about=_about(dice, items) if fault != "none" else "",
        seed=seed,
    )
    # Draw later features of the generator last, so that the worlds of older seeds stay the same.
    world = _deadly(dice, world) if dice.random() < _DEADLY else world
    return _enriched(dice, world)


def _enriched(dice: Random, world: World) -> World:
    """Return *world* with more kinds of monitors added at random, and perhaps a server that counts prompt tokens.

    *dice* makes the random choices.
    """
    has = {name: dice.random() < share for name, share in (("keys", 0.3), ("prepares", 0.25), ("tracks", 0.3))}
    watches = [_enriched_watch(dice, watch, has) for watch in world.watches]
    if world.thinking != "no" and dice.random() < 0.15:
        watches.append(_concluding(dice, f"m{len(watches)}", len(world.judges)))
    world = msgspec.structs.replace(world, watches=tuple(watches), counts=dice.random() < 0.4)
    world = _with_words(dice, world) if dice.random() < 0.3 else world
    world = _with_scopes(dice, world) if dice.random() < 0.4 else world
    return _with_a_stubborn_mistake(dice, world) if dice.random() < 0.1 else world


def _with_a_stubborn_mistake(dice: Random, world: World) -> World:
    # Without a sum or a monitor, `world` is returned unchanged.
    sums = [at for at, item in enumerate(world.items) if isinstance(item, SumItem) and not item.call]
    if not sums or not world.watches:
        return world
    items = [msgspec.structs.replace(item, off=(0,)) if isinstance(item, SumItem) else item for item in world.items]
    off = dice.choice(((1, 1, 1, 2, 2, 2, 0), (1, 1, 1, 2, 2, 2, 3, 3)))
    items[sums[-1]] = msgspec.structs.replace(items[sums[-1]], off=off, after="\n")
    climbing = msgspec.structs.replace(world.watches[0], remedy="auto", trigger="lines", delivery="interrupt")
    return msgspec.structs.replace(
        world,
        items=tuple(items),
        watches=(climbing, *world.watches[1:]),
        limits=msgspec.structs.replace(world.limits, remedies=dice.choice((2, 3, 16, 16))),
        judges=tuple(msgspec.structs.replace(judge, repairs=False) for judge in world.judges),
    )


def _with_words(dice: Random, world: World) -> World:
    """Return *world*, perhaps with added sums in words, such as "3 plus 4 is 7", and monitors that recognize them.

    *dice* makes the random choices.
    """
    items = list(world.items)
    calls = sum(isinstance(item, SumItem) and item.call for item in items)
    for _ in range(dice.choice((0, 1, 1, 2))):
        op, after = dice.choice(("plus", "minus", "times")), dice.choice(_BETWEEN)
        words = TextItem(f"{dice.randint(1, 9)} {op} {dice.randint(1, 9)} is {dice.randint(1, 99)}{after}")
        items.insert(dice.randint(0, len(items) - calls), words)
    watches = (msgspec.structs.replace(watch, recognizes=dice.random() < 0.7) for watch in world.watches)
    return msgspec.structs.replace(world, items=tuple(items), watches=tuple(watches))


def _with_scopes(dice: Random, world: World) -> World:
    """Return *world* with verifiers whose passes have the scope ``answer``, and monitors that allow this scope.

    *dice* chooses which of them have it.
    """
    judges = (msgspec.structs.replace(judge, answers=dice.random() < 0.7) for judge in world.judges)
    watches = (
        msgspec.structs.replace(watch, scope="answer" if dice.random() < 0.7 else "steps") for watch in world.watches
    )
    return msgspec.structs.replace(world, judges=tuple(judges), watches=tuple(watches))


def _enriched_watch(dice: Random, watch: MonitorSetup, has: dict[str, bool]) -> MonitorSetup:
    prepares: Preparing = dice.choice(("value", "value", "value", "aside", "raises", "hangs"))
    key: Keys = dice.choice(("kind", "kind", "text"))
    return msgspec.structs.replace(
        watch,
        key=key if has["keys"] else "text",
        prepares=prepares if has["prepares"] and dice.random() < 0.6 else "no",
        prepare_seconds=dice.choice((0.0, 0.0, 0.2, 2.0)) if has["prepares"] else 0.0,
        tracks=has["tracks"] and dice.random() < 0.7,
    )


def _concluding(dice: Random, name: str, judges: int) -> MonitorSetup:
    trigger: TriggerKind = dice.choice(("lines", "sentences", "pairs"))
    return MonitorSetup(
        name, dice.randrange(judges), trigger=trigger, remedy="conclude", phase="reasoning", required=False
    )


def _count(dice: Random) -> int:
    return dice.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4)) if dice.random() < 0.95 else 0


def _items(dice: Random, swarm: _Swarm, thinking: Thinking) -> tuple[Item, ...]:
    items: list[Item] = []
    for _ in range(dice.choice((1, 2, 3, 4, 5, 6, 8))):
        if dice.random() < 0.25:
            items.append(TextItem(dice.choice(_PROSE)))
        items.append(_sum(dice, swarm))
    if thinking != "no" and dice.random() < 0.9:
        items.insert(dice.randint(0, len(items)), ThinkEndItem())
    if dice.random() < 0.12:
        # Calls come at the end of a text; there may be two of them.
        calls = [_sum(dice, swarm, call=True) for _ in range(dice.choice((1, 1, 2)))]
        if thinking in ("tags", "opened") and ThinkEndItem() not in items:
            items.append(ThinkEndItem())
        items += calls
    return tuple(items)


def _sum(dice: Random, swarm: _Swarm, *, call: bool = False) -> SumItem:
    op: Operator = dice.choice(("+", "+", "-", "*"))
    left, right = dice.randint(1, 9), dice.randint(1, 9)
    if op == "-":
        left += 9
    off: tuple[int, ...] = (0,)
    if swarm.wrong and dice.random() < 0.4:
        off = dice.choice(((1, 0), (1, 0), (1, 1, 0), (1,), (1, 2, 3, 0), (10, 0), (1, 2), (0, 1, 0)))
    before, after = "", dice.choice(_BETWEEN)
    if dice.random() < 0.08:
        before, after = "<call>", "</call>\n"
    return SumItem(left, op, right, off, before, after, call)


def _about(dice: Random, items: tuple[Item, ...]) -> str:
    return left_side(dice.choice([item for item in items if isinstance(item, SumItem)]))


def _judge(dice: Random, swarm: _Swarm, items: tuple[Item, ...]) -> VerifierSetup:
    worker: Worker = dice.choice(get_args(Worker)) if swarm.odd_monitors else dice.choice(("inline", "thread"))
    mishaps: list[VerifierFault] = []
    if swarm.mishaps:
        for _ in range(dice.choice((0, 1, 1, 2))):
            kind: VerifierFaultKind = dice.choice(get_args(VerifierFaultKind))
            mishaps.append(VerifierFault(_about(dice, items), kind))
    return VerifierSetup(
        worker=worker,
        deadline=dice.choice((4.0, 4.0, 1.75, 25.0)),
        seconds=dice.choice(_SECONDS) if swarm.slow else (0.0,),
        repairs=dice.random() < 0.8,
        mishaps=tuple(mishaps),
    )


def _watch(dice: Random, swarm: _Swarm, name: str, judges: int, items: tuple[Item, ...]) -> MonitorSetup:
    trigger: TriggerKind = dice.choice(_TRIGGERS) if swarm.odd_monitors else dice.choice(("lines", "sentences"))
    if any(isinstance(item, SumItem) and item.call for item in items) and dice.random() < 0.4:
        trigger = "calls"
    delivery: Delivery = dice.choice(_DELIVERIES)
    if trigger == "calls" and dice.random() < 0.5:
        delivery = "gate_tools"
    remedy: RemedyKind = (
        dice.choice(_REMEDIES)
        if swarm.odd_monitors
        else dice.choice(("auto", "repair", "append", "rewind", "resample"))
    )
    if remedy == "conclude" and delivery not in ("interrupt", "observe"):
        delivery = "interrupt"
    reads: tuple[Operator, ...] = dice.choice((("+", "-", "*"), ("+", "-", "*"), ("+",), ("-", "*")))
    return MonitorSetup(
        name=name,
        judge=dice.randrange(judges),
        reads=reads,
        trigger=trigger,
        delivery=delivery,
        remedy=remedy,
        level=dice.choice(("witness", "witness", "explain", "locate", "flag")),
        phase="reasoning" if remedy == "conclude" else dice.choice(("both", "both", "both", "reasoning", "answer")),
        unproven="closed" if dice.random() < 0.15 else "open",
        on_error=dice.choice(("", "", "", "", "open", "open", "closed", "retry", "retry_open")),
        required=dice.random() < 0.8 and remedy != "conclude",
        grounded=dice.random() < 0.92,
        fork=swarm.forks and dice.random() < 0.6,
        extractor_fails_on=_about(dice, items) if swarm.mishaps and dice.random() < 0.1 else "",
    )


def _wires(dice: Random) -> tuple[WireFault, ...]:
    return tuple(_wire(dice, dice.choice(get_args(WireFaultKind))) for _ in range(dice.choice((1, 1, 1, 2, 3, 5))))


def _wire(dice: Random, kind: WireFaultKind) -> WireFault:
    at = 0 if kind in AT_OPENING or kind == "deaf" else dice.randint(0, 40)
    return WireFault(dice.choice((0, 0, 0, 1, 1, 2, 3)), kind, at)


def _chunking(dice: Random, swarm: _Swarm) -> Chunking:
    if not swarm.chunks:
        return Chunking()
    return Chunking(
        sizes=dice.choice(((1,), (2,), (3,), (4,), (7,), (1, 9), (5, 2, 13), (30,), (1000,))),
        gaps=dice.choice(_GAPS) if swarm.slow else (0.0,),
        tokens=dice.choice(((1,), (1,), (2, 1), (3,))),
        together=dice.choice((1, 1, 1, 2, 5)),
    )


def _reader(dice: Random) -> SimulatedReader:
    kind: ReaderKind = dice.choice(get_args(ReaderKind))
    match kind:
        case "slow":
            return SimulatedReader(kind, seconds=dice.choice((0.01, 0.4, 3.0)))
        case "leaves" | "raises":
            return SimulatedReader(kind, at=dice.randint(0, 20), seconds=dice.choice((0.0, 0.0, 0.2)))
        case "cancelled":
            return SimulatedReader(kind, at=dice.randint(0, 90))
        case "late_cancelled":
            return SimulatedReader(kind, at=dice.randint(0, 60))
        case _:
            return SimulatedReader(kind)


def _limits(dice: Random) -> RunLimits:
    def maybe(value: ChoiceT, default: ChoiceT) -> ChoiceT:
        return value if dice.random() < 0.3 else default

    return RunLimits(
        remedies=maybe(dice.choice((0, 1, 2)), 16),
        repeats=maybe(dice.choice((1, 2)), 3),
        discarded=maybe(dice.choice((0, 3, 12)), 8192),
        forks=maybe(dice.choice((0, 1, 2)), 256),
        reconnects=maybe(dice.choice((0, 1)), 3),
        failures=maybe(dice.choice((1, 2, 5)), None),
        seconds=maybe(dice.choice((0.3, 1.0, 3.0, 15.0)), None),
        max_tokens=maybe(dice.choice((1, 5, 20)), None),
        total=maybe(dice.choice((0.5, 4.0)), None),
        threads=maybe(1, 64),
        processes=maybe(1, 64),
    )


def _deadly(dice: Random, world: World) -> World:
    deaths = tuple(_death(dice, number) for number in range(dice.choice((1, 1, 1, 2, 2, 3))))
    return msgspec.structs.replace(world, deaths=deaths, disk_seconds=dice.choice((0.0, 0.0, 0.0, 0.02, 0.3)))


def _death(dice: Random, number: int) -> ProcessDeath:
    # Most runs end after 10 to 60 iterations; a later death finds a finished run. A resume takes a few iterations.
    turns = [(2, 16), (2, 16), (4, 40), (10, 150), (1000, 1000), (0, 4) if number else (0, 10)]
    turn = dice.randint(*dice.choice(turns))
    torn = dice.choice((0, 0, dice.randint(1, 40), dice.randint(1, 600), 100_000))
    return ProcessDeath(turn, torn, _reader(dice) if dice.random() < 0.25 else SimulatedReader())


# Shrinks a world that breaks an invariant. Each smaller world still breaks the same invariant.

T = TypeVar("T")


def shrink(world: World, still_fails: Callable[[World], bool], *, plays: int = 1500) -> World:
    """Make *world* simpler while *still_fails* returns true for it, and return the simplest world that was found.

    *still_fails* is called at most *plays* times. The search is greedy.
    """
    improved = True
    while improved:
        improved = False
        for simpler in simpler_worlds(world):
            if plays <= 0:
                return world
            plays -= 1
            if still_fails(simpler):
                world, improved = simpler, True
                break
    return world


def simpler_worlds(world: World) -> Iterator[World]:
    change = msgspec.structs.replace
    for name, plain in (
        ("deaths", ()),
        ("wires", ()),
        ("reader", SimulatedReader()),
        ("limits", RunLimits()),
        ("chunking", Chunking()),
        ("disk_seconds", 0.0),
        ("counts", False),
    ):
        if getattr(world, name) != plain:
            yield change(world, **{name: plain})
    for name in ("deaths", "watches", "items", "wires"):
        for fewer in _without(getattr(world, name)):
            if fewer or name != "items":
                yield change(world, **{name: fewer})
    if world.thinking != "no":
        yield change(world, thinking="no")
    if world.fork_fault != "none":
        yield change(world, fork_fault="none", fork_fault_about="")
    if world.fork_seconds:
        yield change(world, fork_seconds=0.0)
    yield from (change(world, judges=judges) for judges in _fewer_judges(world))
    yield from (change(world, watches=put) for put in _each(world.watches, _simpler_watches))
    yield from (change(world, judges=put) for put in _each(world.judges, _simpler_judges))
    yield from (change(world, items=put) for put in _each(world.items, _simpler_items))
    yield from (change(world, chunking=put) for put in _toward(world.chunking, Chunking()))
    yield from (change(world, limits=put) for put in _toward(world.limits, RunLimits()))
    yield from (change(world, reader=put) for put in _lower(world.reader, "at"))
    yield from (change(world, deaths=put) for put in _each(world.deaths, _simpler_deaths))
    yield from (
        change(world, wires=put) for put in _each(world.wires, lambda w: (*_lower(w, "at"), *_lower(w, "request")))
    )


def _without(values: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    half = len(values) // 2
    if half > 1:
        yield values[half:]
        yield values[:half]
    for at in range(len(values)):
        yield values[:at] + values[at + 1 :]


def _each(values: tuple[T, ...], simpler: Callable[[T], Sequence[T] | Iterator[T]]) -> Iterator[tuple[T, ...]]:
    for at, value in enumerate(values):
        for other in simpler(value):
            yield (*values[:at], other, *values[at + 1 :])


def _fewer_judges(world: World) -> Iterator[tuple[VerifierSetup, ...]]:
    used = max((watch.judge for watch in world.watches), default=0)
    if used + 1 < len(world.judges):
        yield world.judges[: used + 1]


def _toward(value: T, plain: T, *, skip: tuple[str, ...] = ()) -> Iterator[T]:
    # The fields in `skip` never change.
    for name in value.__struct_fields__:  # type: ignore[attr-defined]
        if name not in skip and getattr(value, name) != getattr(plain, name):
            yield msgspec.structs.replace(value, **{name: getattr(plain, name)})  # type: ignore[type-var]


def _lower(value: T, name: str) -> Iterator[T]:
    number = getattr(value, name)
    for lower in (0, number // 2, number - 1):
        if 0 <= lower < number:
            yield msgspec.structs.replace(value, **{name: lower})  # type: ignore[type-var]


def _simpler_watches(watch: MonitorSetup) -> Iterator[MonitorSetup]:
    for simpler in _toward(watch, MonitorSetup(watch.name), skip=("name",)):
        # A monitor refuses this delivery with any other trigger.
        if simpler.delivery != "gate_tools" or simpler.trigger == "calls":
            yield simpler


def _simpler_judges(judge: VerifierSetup) -> Iterator[VerifierSetup]:
    yield from _toward(judge, VerifierSetup())
    for mishaps in _without(judge.mishaps):
        yield msgspec.structs.replace(judge, mishaps=mishaps)


def _simpler_items(item: object) -> Iterator[TextItem | SumItem]:
    if isinstance(item, SumItem):
        plain = SumItem(item.left, item.op, item.right)
        yield from _toward(item, plain, skip=("left", "op", "right"))
        if len(item.off) > 1:
            yield msgspec.structs.replace(item, off=item.off[1:])
            yield msgspec.structs.replace(item, off=item.off[:-1])
    elif isinstance(item, TextItem) and len(item.text) > 1:
        yield TextItem(item.text[: len(item.text) // 2])


def _simpler_deaths(death: ProcessDeath) -> Iterator[ProcessDeath]:
    yield from _toward(death, ProcessDeath(death.turn))
    yield from _lower(death, "torn")
    yield from _lower(death, "turn")
    yield from (msgspec.structs.replace(death, reader=reader) for reader in _lower(death.reader, "at"))
