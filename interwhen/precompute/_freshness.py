"""Decides which items are current: a pure function of the plan, the present pieces and the items in the store.

Each item has a *verifying trace*: its inputs, each with the content that was read. The item is current if every input
still has that content. An input that is a step is recorded by the content of its item, not by its name. So an edit
stops where its effect stops (*early cut-off*): a step that is made again with the same content leaves later steps
current. Both terms are from Mokhov, Mitchell, Peyton Jones: "Build systems à la carte" (2018), sections 4.2.2 and 2.3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

import msgspec

from interwhen._types.errors import PluginError
from interwhen.precompute._items import Digest, Input, Item, ItemKey, Kind, digest
from interwhen.precompute._producer import SEPARATOR, Context, PlannedStep, Producer, Step

NO_JUDGES = Digest("")


def full_name(producer: str, name: str) -> str:
    """Return the full name of the step *name* of *producer*."""
    return name if SEPARATOR in name else f"{producer}{SEPARATOR}{name}"


def planned(producers: Iterable[Producer], context: Context) -> tuple[PlannedStep, ...]:
    """Return the steps of all *producers* for *context*: premises first, otherwise in their order.

    Raises :class:`~interwhen.PluginError` on a plan that cannot be executed.
    """
    found: dict[str, PlannedStep] = {}
    pieces = {piece.name for piece in context.pieces}
    for producer in producers:
        for step in producer.plan(context):
            name = f"{producer.name}{SEPARATOR}{step.name}"
            if name in found:
                raise PluginError(producer.name, f"its plan has two steps named {step.name!r}: give each its own name")
            if not pieces.issuperset(step.reads):
                missing = sorted(set(step.reads) - pieces)
                raise PluginError(producer.name, f"step {step.name!r} reads {missing}, which the context does not have")
            premises = tuple(full_name(producer.name, each) for each in step.premises)
            found[name] = PlannedStep(name, producer, step, premises)
    for each in found.values():
        if missing := [name for name in each.premises if name not in found]:
            raise PluginError(
                each.producer.name, f"step {each.step.name!r} has the premises {missing}, which no producer plans"
            )
    try:
        order = tuple(TopologicalSorter({each.name: each.premises for each in found.values()}).static_order())
    except CycleError as error:
        raise PluginError("plan", f"the premises of its steps form a cycle: {error.args[1]}") from error
    return tuple(found[name] for name in order)


@dataclass(frozen=True, slots=True)
class KeySettings:
    """The part of an item key that is the same for all steps of a plan."""

    model: str = ""
    tokenizer: str = ""
    judges: Digest = NO_JUDGES

    def key(self, planned_step: PlannedStep, inputs: Sequence[Input] = ()) -> ItemKey:
        """Return the key of the item of a step, made from *inputs*."""
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
    """Tell whether monitors judge items of *kind*. If so, other monitors give them other keys."""
    return kind in ("facts", "answers")


@dataclass(frozen=True, slots=True)
class CurrentItems:
    """The current items of a plan."""

    items: Mapping[str, Item] = field(default_factory=dict)
    """The current item of each settled step, whatever its status, by the full name of the step."""
    served: tuple[Item, ...] = ()
    """The items that may be served, in the order of the plan."""
    due: tuple[PlannedStep, ...] = ()
    """Steps without a current item whose premises are all settled: the most urgent first, otherwise in plan order."""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The inputs of the decision: the plan, the keys of its steps, and the present pieces."""

    plan: tuple[PlannedStep, ...] = ()
    keys: Mapping[str, ItemKey] = field(default_factory=dict)
    """By the full name of the step, without inputs."""
    pieces: Mapping[str, Digest] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    """The index of each step in the plan."""
    followers: Mapping[str, tuple[PlannedStep, ...]] = field(default_factory=dict)
    """For each step, the steps that may read it."""

    @classmethod
    def of(cls, plan: tuple[PlannedStep, ...], pieces: Mapping[str, Digest], key_settings: KeySettings) -> PlanInputs:
        """Return the ground of *plan* over *pieces*."""
        followers: dict[str, list[PlannedStep]] = {}
        for each in plan:
            for name in each.premises:
                followers.setdefault(name, []).append(each)
        return cls(
            plan,
            {each.name: key_settings.key(each) for each in plan},
            pieces,
            {each.name: place for place, each in enumerate(plan)},
            {name: tuple(found) for name, found in followers.items()},
        )


Candidates: TypeAlias = Callable[[str], Iterable[Item]]
"""From the full name of a step to its items in the store, the best first."""


def find_current(plan_inputs: PlanInputs, candidates: Candidates) -> CurrentItems:
    """Return the current items of the whole plan."""
    return _settled(plan_inputs, candidates, CurrentItems(), plan_inputs.plan)


def extend_current(
    plan_inputs: PlanInputs, candidates: Candidates, known: CurrentItems, step: PlannedStep
) -> CurrentItems:
    """Return the current items after a new item of *step*, if nothing else has changed since *known*.

    Looks only at that step and at steps that depend on it, because a run may be waiting for the event loop.
    """
    return known if step.name in known.items else _settled(plan_inputs, candidates, known, (step,))


def _settled(
    plan_inputs: PlanInputs, candidates: Candidates, known: CurrentItems, steps: Sequence[PlannedStep]
) -> CurrentItems:
    """Settle *steps*, and the steps that become due by that."""
    items = dict(known.items)
    served = list(known.served)
    new_due: dict[str, PlannedStep] = {}
    queue = deque(steps)
    while queue:
        each = queue.popleft()
        if each.name in items or not all(name in items for name in each.premises):
            continue
        found = next((item for item in candidates(each.name) if _holds(item, each, plan_inputs, items)), None)
        if found is None:
            new_due[each.name] = each
            continue
        items[each.name] = found
        if found.may_be_served:
            served.append(found)
        queue.extend(plan_inputs.followers.get(each.name, ()))
    due = [each for each in known.due if each.name not in items and each.name not in new_due]
    places = plan_inputs.places
    if len(served) != len(known.served):
        served.sort(key=lambda item: places[item.step])
    if new_due:
        due = sorted([*due, *new_due.values()], key=lambda each: (-each.step.urgency, places[each.name]))
    return CurrentItems(items, tuple(served), tuple(due))


def _holds(item: Item, each: PlannedStep, plan_inputs: PlanInputs, settled: Mapping[str, Item]) -> bool:
    """Tell whether *item* is of this step, and each of its inputs is unchanged."""
    if msgspec.structs.replace(item.key, inputs=()) != plan_inputs.keys[each.name]:
        return False
    for read in item.key.inputs:
        if read.kind == "piece":
            if read.name not in each.step.reads or plan_inputs.pieces.get(read.name) != read.content:
                return False
        elif read.name not in each.premises or settled[read.name].content != read.content:
            return False
    return True


def _digest(step: Step) -> Digest:
    return digest(step.name, str(len(step.reads)), *step.reads, *step.premises, b"\0", step.params)
