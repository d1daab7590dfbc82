"""What holds now: a pure function from a plan, the pieces as they are, and the items there are.

Each item carries a *verifying trace*: what was read to make it, and the content of each thing read. It holds if each of
them has that very content now. Since a step that was read stands in the trace by its item's content, and not by the
item's name, an edit stops where its effect stops (*early cut-off*): a step that is made anew and comes to the same
content leaves everything behind it as it is. Both are from Mokhov, Mitchell, Peyton Jones: "Build systems à la carte"
(2018), sections 4.2.2 and 2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

import msgspec

from interwhen.errors import PluginError
from interwhen.precompute.items import Digest, Input, Item, ItemKey, Kind, digest
from interwhen.precompute.producer import SEPARATOR, Context, Planned, Producer, Step

NO_JUDGES = Digest("")


def full_name(producer: str, name: str) -> str:
    """Return the full name of a step that *producer* calls *name*."""
    return name if SEPARATOR in name else f"{producer}{SEPARATOR}{name}"


def planned(producers: Iterable[Producer], context: Context) -> tuple[Planned, ...]:
    """Return the steps of all *producers* for *context*, premises first, else in their order.

    Raises :class:`~interwhen.errors.PluginError` for a plan that cannot be followed.
    """
    found: dict[str, Planned] = {}
    pieces = {piece.name for piece in context.pieces}
    for producer in producers:
        for step in producer.plan(context):
            name = f"{producer.name}{SEPARATOR}{step.name}"
            if name in found:
                raise PluginError(producer.name, f"its plan has two steps named {step.name!r}")
            if not pieces.issuperset(step.reads):
                missing = sorted(set(step.reads) - pieces)
                raise PluginError(producer.name, f"step {step.name!r} reads {missing}, which the context does not have")
            premises = tuple(full_name(producer.name, each) for each in step.premises)
            found[name] = Planned(name, producer, step, premises)
    for each in found.values():
        if missing := [name for name in each.premises if name not in found]:
            raise PluginError(each.producer.name, f"step {each.step.name!r} rests on {missing}, which nobody plans")
    try:
        order = tuple(TopologicalSorter({each.name: each.premises for each in found.values()}).static_order())
    except CycleError as error:
        raise PluginError("plan", f"steps rest on each other in a circle: {error.args[1]}") from error
    return tuple(found[name] for name in order)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every key of one plan has in common."""

    model: str = ""
    tokenizer: str = ""
    judges: Digest = NO_JUDGES

    def key(self, planned_step: Planned, inputs: Sequence[Input] = ()) -> ItemKey:
        """Return the key of a step's item, made from *inputs*."""
        producer = planned_step.producer
        return ItemKey(
            kind=producer.kind,
            producer=producer.name,
            version=producer.version,
            model=self.model,
            tokenizer=self.tokenizer,
            judges=self.judges if is_judged(producer.kind) else NO_JUDGES,
            step=_digest(planned_step.step),
            inputs=tuple(sorted(set(inputs))),
        )


def is_judged(kind: Kind) -> bool:
    """Tell whether items of *kind* are judged by monitors, so that other monitors make them other items."""
    return kind in ("facts", "answers")


@dataclass(frozen=True, slots=True)
class Holding:
    """What holds now."""

    items: Mapping[str, Item] = field(default_factory=dict)
    """For each step that is settled, by its full name, the item that holds, whatever came of it."""
    due: tuple[Planned, ...] = ()
    """Steps without an item that holds, whose premises are all settled: most urgent first."""
    waiting: tuple[str, ...] = ()
    """Steps that wait for others to be settled."""

    @property
    def served(self) -> tuple[Item, ...]:
        """The items that may be served now, in the order of the plan."""
        return tuple(item for item in self.items.values() if item.may_be_served)


def holding(
    plan: Sequence[Planned],
    keys: Mapping[str, ItemKey],
    pieces: Mapping[str, Digest],
    candidates: Callable[[str], Iterable[Item]],
) -> Holding:
    """Return what of *plan* holds, while the context has *pieces*, by name.

    *keys* are those of the steps by full name, without inputs (:meth:`Surroundings.key`); *candidates* returns the
    items there are for a step.
    """
    settled: dict[str, Item] = {}
    contents: dict[str, Digest] = {}
    due: list[Planned] = []
    waiting: list[str] = []
    for each in plan:
        key = keys[each.name]
        item = next((found for found in candidates(each.name) if _holds(found, key, each, pieces, contents)), None)
        if item is not None:
            settled[each.name] = item
            contents[each.name] = item.content
        elif all(name in settled for name in each.premises):
            due.append(each)
        else:
            waiting.append(each.name)
    due.sort(key=lambda each: -each.step.urgency)  # stable: equal urgency keeps the plan's order
    return Holding(settled, tuple(due), tuple(waiting))


def _holds(
    item: Item, key: ItemKey, each: Planned, pieces: Mapping[str, Digest], contents: Mapping[str, Digest]
) -> bool:
    """Tell whether *item* is of this very step, and each thing that was read to make it is as it was."""
    if msgspec.structs.replace(item.key, inputs=()) != key:
        return False
    for read in item.key.inputs:
        may_be_read, now = (each.step.reads, pieces) if read.kind == "piece" else (each.premises, contents)
        if read.name not in may_be_read or now.get(read.name) != read.content:
            return False
    return True


def _digest(step: Step) -> Digest:
    return digest(step.name, str(len(step.reads)), *step.reads, *step.premises, b"\0", step.params)
