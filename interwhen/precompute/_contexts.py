"""Reads and writes contexts in the store, and keeps one in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from interwhen._types.errors import StoreConflict, UnknownContext, UsageError
from interwhen.precompute._documents import pieces_of
from interwhen.precompute._freshness import CurrentItems, KeySettings, PlanInputs, extend_current, find_current, planned
from interwhen.precompute._items import Cost, Digest, Input, Item, ItemId, Kind, Status
from interwhen.precompute._producer import Context, ContextPiece, PlannedStep, Producer, is_text
from interwhen.precompute._retrieval import PassageIndex
from interwhen.precompute._store import Store
from interwhen.precompute._usage import seen_questions

NOTHING = Digest("")


class ContextRecord(msgspec.Struct, frozen=True):
    """A context as it is written to the store."""

    pieces: tuple[tuple[str, str], ...]
    """The name and the text of each piece, in order."""
    kinds: tuple[Kind, ...]
    """The kinds of items to prepare."""
    leads: dict[str, str] = {}
    """The lead of each piece of a long document (see :attr:`ContextPiece.lead`), by its name."""

    @classmethod
    def of(cls, pieces: Iterable[ContextPiece], kinds: Iterable[Kind]) -> ContextRecord:
        all_pieces = tuple(pieces)
        leads = {piece.name: piece.lead for piece in all_pieces if piece.lead}
        return cls(tuple((piece.name, piece.text) for piece in all_pieces), tuple(sorted(set(kinds))), leads)


class ContextSpending(msgspec.Struct, frozen=True):
    """What a context has cost in all its generations, including work that made no item."""

    # A `slice` is one piece of background work, in which at most one item is made.

    cost: Cost = Cost()
    discarded: int = 0
    """The generated tokens that are in no item."""
    slices: int = 0


def context_document(name: str) -> str:
    return f"context:{name}"


def spending_document(name: str) -> str:
    return f"spending:{name}"


def write_context(store: Store, name: str, record: ContextRecord, *, expect: int | None = None) -> int:
    # An equal record is not written again: a new generation makes other processes read the context again.
    for each in (name, *(piece for piece, _ in record.pieces)):
        if not is_text(each) or not each:
            raise UsageError(
                f"the name of a context or piece must be a text that is not empty, got {each!r:.80}; choose another"
            )
    data = msgspec.msgpack.encode(record)

    def change(old: bytes | None) -> bytes | None:
        return None if old == data else data

    if expect is None:
        return store.update(context_document(name), change).generation
    there = store.document(context_document(name))
    if there.generation != expect:
        raise StoreConflict(store.place, name, expect)
    return expect if there.data == data else store.commit(context_document(name), data, expect=expect)


def read_context(store: Store, name: str) -> tuple[int, ContextRecord | None]:
    # The record is `None` if it is missing or damaged. Raises `msgspec.DecodeError` if undamaged data has another form,
    # and `StoreError` for a store of another version of interwhen.
    there = store.document(context_document(name))
    return there.generation, None if there.data is None else msgspec.msgpack.decode(there.data, type=ContextRecord)


def spending(store: Store, name: str) -> ContextSpending:
    return store.decoded(spending_document(name), ContextSpending) or ContextSpending()


def spend(store: Store, name: str, cost: Cost, *, discarded: int) -> ContextSpending:
    """Add the *cost* of one slice of work to the stored costs of the context *name*, and return the sum.

    *discarded* counts the generated tokens that are in no item. It is negative if the slice made an item from drafts of
    earlier slices, whose tokens were added as discarded then.
    """
    # The cost is written before the item. If the process is killed between the two writes, the sum is too high, but
    # never too low.
    now = ContextSpending()

    def change(old: bytes | None) -> bytes:
        nonlocal now
        past = ContextSpending() if old is None else msgspec.msgpack.decode(old, type=ContextSpending)
        now = ContextSpending(past.cost + cost, past.discarded + discarded, past.slices + 1)
        return msgspec.msgpack.encode(now)

    store.update(spending_document(name), change)
    return now


@dataclass(slots=True)
class PreparedContext:
    """One version of a context, in memory. The idle worker updates this object; runs only read it."""

    name: str
    generation: int = 0
    context: Context | None = None
    """``None`` if the context is missing in the store or cannot be read. Then no item is served."""
    digest: Digest = NOTHING
    """The digest of the names, texts and leads (see :class:`ContextPiece`) of the pieces."""
    kinds: tuple[Kind, ...] = ()
    plan_inputs: PlanInputs = field(default_factory=PlanInputs)
    current: CurrentItems = field(default_factory=CurrentItems)
    spending: ContextSpending = field(default_factory=ContextSpending)
    """The costs as far as this process knows them."""
    seen_at: float = 0.0
    """When the generation was last read from the store, in seconds on the clock ``now`` of the precomputer."""
    _items: dict[str, tuple[Item, ...]] = field(default_factory=dict)
    _index: PassageIndex | None = None

    @property
    def index(self) -> PassageIndex:
        # The first use may take a second: call it in a thread.
        if self._index is None:
            self._index = PassageIndex(() if self.context is None else self.context.pieces)
        return self._index

    @property
    def plan(self) -> tuple[PlannedStep, ...]:
        # Each step comes after the steps whose items it needs (its premises).
        return self.plan_inputs.plan

    @property
    def served(self) -> tuple[Item, ...]:
        return self.current.served

    def load(
        self,
        store: Store,
        producers: Sequence[Producer],
        key_settings: KeySettings,
        before: PreparedContext | None = None,
    ) -> None:
        # Items that `before`, the previous state of this context, has in memory are not read again. Raises
        # `PluginError` for a plan that does not fit the context, and `StoreError` if the store fails; exceptions of
        # producers are passed on.
        known = {} if before is None else before.known()
        self.context, self.digest, self.kinds = None, NOTHING, ()
        self.plan_inputs, self.current = PlanInputs(), CurrentItems()
        self.generation, record = read_context(store, self.name)
        self.spending = spending(store, self.name)
        if record is None:
            return
        self.kinds = record.kinds
        pieces = tuple(ContextPiece(name, text, record.leads.get(name, "")) for name, text in record.pieces)
        asked = tuple(seen_questions(store, self.name))
        model, tokenizer = key_settings.model, key_settings.tokenizer
        self.context = context = Context(self.name, pieces, model, tokenizer, asked)
        self.digest = context.digest
        plan = planned((each for each in producers if each.kind in record.kinds), context)
        self.plan_inputs = PlanInputs.of(plan, {piece.name: piece.sha256 for piece in pieces}, key_settings)
        self._items = {name: store.candidates(key.slot, known) for name, key in self.plan_inputs.keys.items()}
        self.current = find_current(self.plan_inputs, self._candidates)

    def look_again(self, store: Store, step: PlannedStep) -> None:
        self._items[step.name] = store.candidates(self.plan_inputs.keys[step.name].slot)
        self.current = extend_current(self.plan_inputs, self._candidates, self.current, step)

    def take(self, step: PlannedStep, item: Item) -> None:
        # Add `item`, which was just stored, to the items of `step` in memory. It may become the current one.
        self._items[step.name] = (*(each for each in self._items[step.name] if each.id != item.id), item)
        self.current = extend_current(self.plan_inputs, self._candidates, self.current, step)

    def _candidates(self, name: str) -> Iterable[Item]:
        # Newest first: the store deletes the oldest items, so the newest one stays longest.
        return reversed(self._items[name])

    def known(self) -> dict[ItemId, Item]:
        return {item.id: item for each in self._items.values() for item in each}

    def newest(self, step: str) -> Item | None:
        return next(reversed(self._items.get(step, ())), None)

    def now(self, read: Input) -> Digest | None:
        if read.kind == "piece":
            return self.plan_inputs.pieces.get(read.name)
        item = self.current.items.get(read.name)
        return None if item is None else item.content

    def ancestry(self, items: Sequence[Item]) -> dict[ItemId, Item]:
        known = self.known()
        ancestors: dict[ItemId, Item] = {}
        stack = list(items)
        while stack:
            item = stack.pop()
            if item.id not in ancestors:
                ancestors[item.id] = item
                stack.extend(known[each] for each in item.premises if each in known)
        return ancestors


def as_pieces(given: object) -> tuple[ContextPiece, ...]:
    if is_text(given):
        return pieces_of(given)
    pairs = given.items() if hasattr(given, "items") else None
    if pairs is None:
        raise UsageError(f"context must be a text or a mapping of names to texts, got {given!r:.100}; give one of them")
    pieces = []
    for name, text in pairs:
        if not is_text(name) or not is_text(text) or not name:
            raise UsageError(
                "each piece of a context must be a text under a name that is not empty, got "
                f"{name!r:.60}: {text!r:.60}; correct this piece"
            )
        pieces.append(ContextPiece(name, text))
    return tuple(pieces)


# Reports on a context: the state of each step, and the reason for it.

State = Status | Literal["due", "waiting"]


class WorkerSettings(msgspec.Struct, frozen=True):
    """The settings of the last recorded worker on a context. They decide which items are current."""

    model: str
    tokenizer: str
    judges: Digest
    """The digest of the monitors that judge the items."""
    producers: tuple[str, ...]
    options: dict[str, dict[str, Any]] = {}
    """The options of each producer, by its name."""

    @property
    def specs(self) -> tuple[dict[str, Any], ...]:
        return tuple({"name": name, **self.options.get(name, {})} for name in self.producers)

    @property
    def key_settings(self) -> KeySettings:
        return KeySettings(self.model, self.tokenizer, self.judges)


def note_worker(store: Store, name: str, worker: WorkerSettings) -> None:
    # If another process records a worker at the same time, one of them may be lost.
    data = msgspec.msgpack.encode(worker)
    there = store.document(f"worker:{name}")
    if there.data != data:
        with suppress(StoreConflict):
            store.commit(f"worker:{name}", data, expect=there.generation)


def last_worker(store: Store, name: str) -> WorkerSettings | None:
    return store.decoded(f"worker:{name}", WorkerSettings)


def contexts_in(store: Store) -> tuple[str, ...]:
    # Damaged ones are left out.
    start = context_document("")
    return tuple(name.removeprefix(start) for name in store.documents(start))


@dataclass(frozen=True, slots=True)
class StepState:
    """The state of one step: the status of its current item; without one, ``due`` or ``waiting`` (for its premises)."""

    step: str
    """The full name of the step."""
    state: State
    item: Item | None = None
    """The current item; from :func:`explain`, the newest old item if there is no current one."""


def states(prepared: PreparedContext) -> tuple[StepState, ...]:
    due = {each.name for each in prepared.current.due}
    step_states = []
    for each in prepared.plan:
        item = prepared.current.items.get(each.name)
        state: State = item.status if item is not None else "due" if each.name in due else "waiting"
        step_states.append(StepState(each.name, state, item))
    return tuple(step_states)


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of one context."""

    name: str
    generation: int
    pieces: int
    """The number of pieces; 0 also if the context was not loaded from the store."""
    counts: Mapping[State, int]
    """The number of steps in each state."""
    served: int
    """The number of items that runs may use."""
    spending: ContextSpending
    holding_cost: Cost
    """The cost of the current items."""


def summary(prepared: PreparedContext) -> Summary:
    cost = Cost()
    for item in prepared.current.items.values():
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
class InputReading:
    """One input that was read to make an item, and whether it is unchanged."""

    name: str
    """The name of the piece, or the full name of the other step."""
    kind: Literal["piece", "step"]
    is_same: bool
    """False also if the input is gone."""


def explain(prepared: PreparedContext, step: str) -> tuple[StepState, tuple[InputReading, ...]]:
    # `step` is the full name `producer::name`, or the part after `::`.
    names = [each.name for each in prepared.plan]
    full_names = [name for name in names if name == step] or [name for name in names if name.endswith(f"::{step}")]
    if len(full_names) != 1:
        some = ", ".join(names[:10]) or "none"
        raise UsageError(
            f"{step!r} must name one step of context {prepared.name!r}, got {len(full_names)} steps of "
            f"that name; choose one of {some}"
        )
    [state] = [each for each in states(prepared) if each.step == full_names[0]]
    item = state.item or prepared.newest(full_names[0])
    if item is None:
        return state, ()
    return StepState(state.step, state.state, item), tuple(
        InputReading(read.name, read.kind, prepared.now(read) == read.content) for read in item.key.inputs
    )


def evict(store: Store, name: str, ids: tuple[ItemId, ...]) -> int:
    # The new generation makes other processes read the context again.
    def change(old: bytes | None) -> bytes:
        if old is None:
            raise UnknownContext(name, store.place)
        return old

    if store.document(context_document(name)).data is None:
        raise UnknownContext(name, store.place)
    # The items are deleted before the generation changes: a process that reads the new generation finds none of them.
    for each in ids:
        store.evict(each)
    return store.update(context_document(name), change).generation
