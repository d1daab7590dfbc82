"""Decides which items are current: a pure function of the plan, the present pieces and the items in the store.

An item is current if its step and the settings are the same, and each input has the content that was read. In the terms
of Mokhov, Mitchell and Peyton Jones, "Build systems à la carte" (2018), these are verifying traces with early cut-off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

import msgspec

from interwhen._types.errors import PluginError
from interwhen.precompute._items import BASES, Digest, Input, Item, ItemKey, Kind, digest
from interwhen.precompute._producer import SEPARATOR, Context, PlannedStep, Producer, Step

NO_JUDGES = Digest("")


def full_name(producer: str, name: str) -> str:
    return name if SEPARATOR in name else f"{producer}{SEPARATOR}{name}"


def planned(producers: Iterable[Producer], context: Context) -> tuple[PlannedStep, ...]:
    steps: dict[str, PlannedStep] = {}
    pieces = {piece.name for piece in context.pieces}
    for producer in producers:
        for step in producer.plan(context):
            name = f"{producer.name}{SEPARATOR}{step.name}"
            if name in steps:
                raise PluginError(
                    producer.name, f"each step of its plan must have its own name, got {step.name!r} twice; rename one"
                )
            if not pieces.issuperset(step.reads):
                missing = sorted(set(step.reads) - pieces)
                raise PluginError(
                    producer.name,
                    f"step {step.name!r} may read only pieces of the context, got {missing}; correct its reads",
                )
            premises = tuple(full_name(producer.name, each) for each in step.premises)
            steps[name] = PlannedStep(name, producer, step, premises)
    for each in steps.values():
        if missing := [name for name in each.premises if name not in steps]:
            raise PluginError(
                each.producer.name,
                (
                    f"the premises of step {each.step.name!r} must be steps that a producer plans, got "
                    f"{missing}; correct them, or load their producer"
                ),
            )
    try:
        order = tuple(TopologicalSorter({each.name: each.premises for each in steps.values()}).static_order())
    except CycleError as error:
        raise PluginError(
            "plan",
            (
                f"the premises of the steps must not form a cycle, got {' -> '.join(error.args[1])}; "
                "remove one of these premises"
            ),
        ) from error
    return tuple(steps[name] for name in order)


@dataclass(frozen=True, slots=True)
class KeySettings:
    """The part of an item key that is the same for all steps of a plan."""

    model: str = ""
    tokenizer: str = ""
    judges: Digest = NO_JUDGES

    def key(self, planned_step: PlannedStep, inputs: Sequence[Input] = ()) -> ItemKey:
        # Items that monitors do not judge stay current when the monitors change.
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
    # If so, the keys of these items depend on the monitors.
    return BASES[kind] == "judged"


@dataclass(frozen=True, slots=True)
class CurrentItems:
    # A current item was made with the present settings, and its inputs are unchanged. It may be accepted or not.

    items: Mapping[str, Item] = field(default_factory=dict)
    """The current items, by the full name of the step."""
    served: tuple[Item, ...] = ()
    """The items that may be served, in the order of the plan."""
    due: tuple[PlannedStep, ...] = ()
    """The steps without a current item whose premises all have one, by urgency (highest first), then in the order of
    the plan."""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """What decides which items are current. All steps are identified by their full names."""

    plan: tuple[PlannedStep, ...] = ()
    keys: Mapping[str, ItemKey] = field(default_factory=dict)
    """The key of each step without its inputs."""
    pieces: Mapping[str, Digest] = field(default_factory=dict)
    """The digests of the pieces, by name."""
    places: Mapping[str, int] = field(default_factory=dict)
    """The index of each step in the plan."""
    followers: Mapping[str, tuple[PlannedStep, ...]] = field(default_factory=dict)
    """For each step that is a premise, the steps that have it as one."""

    @classmethod
    def of(cls, plan: tuple[PlannedStep, ...], pieces: Mapping[str, Digest], key_settings: KeySettings) -> PlanInputs:
        followers: dict[str, list[PlannedStep]] = {}
        for each in plan:
            for name in each.premises:
                followers.setdefault(name, []).append(each)
        return cls(
            plan,
            {each.name: key_settings.key(each) for each in plan},
            pieces,
            {each.name: place for place, each in enumerate(plan)},
            {name: tuple(steps) for name, steps in followers.items()},
        )


Candidates: TypeAlias = Callable[[str], Iterable[Item]]
"""Maps the full name of a step to its items in the store, the preferred ones first."""


def find_current(plan_inputs: PlanInputs, candidates: Candidates) -> CurrentItems:
    return _settled(plan_inputs, candidates, CurrentItems(), plan_inputs.plan)


def extend_current(
    plan_inputs: PlanInputs, candidates: Candidates, known: CurrentItems, step: PlannedStep
) -> CurrentItems:
    # Only `step` and the steps that depend on it are examined: no other item may have changed.
    return known if step.name in known.items else _settled(plan_inputs, candidates, known, (step,))


def _settled(
    plan_inputs: PlanInputs, candidates: Candidates, known: CurrentItems, steps: Sequence[PlannedStep]
) -> CurrentItems:
    items = dict(known.items)
    served = list(known.served)
    new_due: dict[str, PlannedStep] = {}
    queue = deque(steps)
    while queue:
        each = queue.popleft()
        if each.name in items or not all(name in items for name in each.premises):
            continue
        fresh_item = next((item for item in candidates(each.name) if _holds(item, each, plan_inputs, items)), None)
        if fresh_item is None:
            new_due[each.name] = each
            continue
        items[each.name] = fresh_item
        if fresh_item.may_be_served:
            served.append(fresh_item)
        queue.extend(plan_inputs.followers.get(each.name, ()))
    due = [each for each in known.due if each.name not in items and each.name not in new_due]
    places = plan_inputs.places
    if len(served) != len(known.served):
        served.sort(key=lambda item: places[item.step])
    if new_due:
        due = sorted([*due, *new_due.values()], key=lambda each: (-each.step.urgency, places[each.name]))
    return CurrentItems(items, tuple(served), tuple(due))


def _holds(item: Item, each: PlannedStep, plan_inputs: PlanInputs, settled: Mapping[str, Item]) -> bool:
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
