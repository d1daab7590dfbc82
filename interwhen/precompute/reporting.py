"""What there is to say of a context: the state of each step, and why it is what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec

from interwhen.errors import StoreConflict, UsageError
from interwhen.precompute.currency import Surroundings
from interwhen.precompute.items import Cost, Digest, Item, ItemId, Status
from interwhen.precompute.prepared import Prepared, Spending, context_document
from interwhen.precompute.store import Store

State = Status | Literal["due", "waiting"]


class Worker(msgspec.Struct, frozen=True):
    """With what a context was worked on last, so that others can tell what of it holds."""

    model: str
    tokenizer: str
    judges: Digest
    producers: tuple[str, ...]

    @property
    def surroundings(self) -> Surroundings:
        """What its keys have in common."""
        return Surroundings(self.model, self.tokenizer, self.judges)


def note_worker(store: Store, name: str, worker: Worker) -> None:
    """Write down who works on context *name*; of two who begin at once, one of them."""
    data = msgspec.msgpack.encode(worker)
    there = store.document(f"worker:{name}")
    if there.data != data:
        with suppress(StoreConflict):
            store.commit(f"worker:{name}", data, expect=there.generation)


def last_worker(store: Store, name: str) -> Worker | None:
    """Return who worked on context *name* last; ``None``: nobody has."""
    data = store.document(f"worker:{name}").data
    return None if data is None else msgspec.msgpack.decode(data, type=Worker)


def contexts_in(store: Store) -> tuple[str, ...]:
    """Return the names of the contexts in *store*."""
    start = context_document("")
    return tuple(name.removeprefix(start) for name in store.documents(start))


@dataclass(frozen=True, slots=True)
class StepState:
    """How it stands with one step."""

    step: str
    state: State
    item: Item | None = None


def states(prepared: Prepared) -> tuple[StepState, ...]:
    """Return the state of each step of the plan, in its order."""
    due = {each.name for each in prepared.holding.due}
    found = []
    for each in prepared.plan:
        item = prepared.holding.items.get(each.name)
        state: State = item.status if item is not None else "due" if each.name in due else "waiting"
        found.append(StepState(each.name, state, item))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Summary:
    """A context in numbers."""

    name: str
    generation: int
    pieces: int
    counts: Mapping[State, int]
    served: int
    spending: Spending
    holding_cost: Cost
    """What the items cost that hold now."""


def summary(prepared: Prepared) -> Summary:
    """Return *prepared* in numbers."""
    cost = Cost()
    for item in prepared.holding.items.values():
        cost += item.cost
    return Summary(
        name=prepared.name,
        generation=prepared.generation,
        pieces=0 if prepared.context is None else len(prepared.context.pieces),
        counts=Counter(each.state for each in states(prepared)),
        served=len(prepared.served),
        spending=prepared.spending,
        holding_cost=cost,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that an item was made from, and whether it is as it was."""

    name: str
    kind: Literal["piece", "step"]
    is_same: bool


def explain(prepared: Prepared, step: str) -> tuple[StepState, tuple[Reading, ...]]:
    """Return the state of *step* (a full name, or the end of one), and what its item, or its newest old one, has read.

    Raises :class:`~interwhen.errors.UsageError` where no step, or several, are meant.
    """
    names = [each.name for each in prepared.plan]
    found = [name for name in names if name == step] or [name for name in names if name.endswith(f"::{step}")]
    if len(found) != 1:
        some = ", ".join(names[:10]) or "none"
        raise UsageError(f"{step!r} names {len(found) or 'no'} steps of {prepared.name!r}; there are: {some}")
    [state] = [each for each in states(prepared) if each.step == found[0]]
    item = state.item or prepared.newest(found[0])
    if item is None:
        return state, ()
    return StepState(state.step, state.state, item), tuple(
        Reading(read.name, read.kind, prepared.now(read) == read.content) for read in item.key.inputs
    )


def evict(store: Store, name: str, ids: tuple[ItemId, ...]) -> int:
    """Take items away; return the context's new generation, by which every reader notices that they are gone."""
    for each in ids:
        store.evict(each)
    while True:
        there = store.document(context_document(name))
        if there.data is None:
            raise UsageError(f"there is no context {name!r} in {store.place!r}")
        try:
            return store.commit(context_document(name), there.data, expect=there.generation)
        except StoreConflict:
            continue
