"""Makes a world that breaks an invariant as small as it gets while it still breaks the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from interwhen.simulation.world import Chunking, Death, Judge, Limits, Reader, Said, Sum, Watch, World

T = TypeVar("T")


def shrink(world: World, still_fails: Callable[[World], bool], *, plays: int = 1500) -> World:
    """Return the smallest world that is found with at most *plays* calls of *still_fails*.

    Greedy: the first simpler world that still fails is taken, until none does. What the world lacks cannot be the
    reason, and what it has is needed, each by itself.
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
    """Yield worlds that are simpler than *world* by one step, the largest steps first."""
    change = msgspec.structs.replace
    for name, plain in (
        ("deaths", ()),
        ("wires", ()),
        ("reader", Reader()),
        ("limits", Limits()),
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
    yield from (change(world, limits=put) for put in _toward(world.limits, Limits()))
    yield from (change(world, reader=put) for put in _lower(world.reader, "at"))
    yield from (change(world, deaths=put) for put in _each(world.deaths, _simpler_deaths))
    yield from (
        change(world, wires=put) for put in _each(world.wires, lambda w: (*_lower(w, "at"), *_lower(w, "request")))
    )


def _without(values: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Yield *values* without a half, then without each one."""
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


def _fewer_judges(world: World) -> Iterator[tuple[Judge, ...]]:
    used = max((watch.judge for watch in world.watches), default=0)
    if used + 1 < len(world.judges):
        yield world.judges[: used + 1]


def _toward(value: T, plain: T, *, skip: tuple[str, ...] = ()) -> Iterator[T]:
    """Yield *value* with one field as in *plain*."""
    for name in value.__struct_fields__:  # type: ignore[attr-defined]
        if name not in skip and getattr(value, name) != getattr(plain, name):
            yield msgspec.structs.replace(value, **{name: getattr(plain, name)})  # type: ignore[type-var]


def _lower(value: T, name: str) -> Iterator[T]:
    number = getattr(value, name)
    for lower in (0, number // 2, number - 1):
        if 0 <= lower < number:
            yield msgspec.structs.replace(value, **{name: lower})  # type: ignore[type-var]


def _simpler_watches(watch: Watch) -> Iterator[Watch]:
    yield from _toward(watch, Watch(watch.name), skip=("name",))


def _simpler_judges(judge: Judge) -> Iterator[Judge]:
    yield from _toward(judge, Judge())
    for mishaps in _without(judge.mishaps):
        yield msgspec.structs.replace(judge, mishaps=mishaps)


def _simpler_items(item: object) -> Iterator[Said | Sum]:
    if isinstance(item, Sum):
        plain = Sum(item.left, item.op, item.right)
        yield from _toward(item, plain, skip=("left", "op", "right"))
        if len(item.off) > 1:
            yield msgspec.structs.replace(item, off=item.off[1:])
            yield msgspec.structs.replace(item, off=item.off[:-1])
    elif isinstance(item, Said) and len(item.text) > 1:
        yield Said(item.text[: len(item.text) // 2])


def _simpler_deaths(death: Death) -> Iterator[Death]:
    yield from _toward(death, Death(death.turn))
    yield from _lower(death, "torn")
    yield from _lower(death, "turn")
    yield from (msgspec.structs.replace(death, reader=reader) for reader in _lower(death.reader, "at"))
