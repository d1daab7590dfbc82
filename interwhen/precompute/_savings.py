"""The books of the productivity gate: which item a query puts to the test, what it cost, and what became of it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from interwhen._run import run
from interwhen._types.errors import StoreConflict, StoreError, UsageError
from interwhen._types.extensions import Served, Task
from interwhen._types.models import Model, Prompt
from interwhen._types.results import Result
from interwhen.precompute._gate import (
    PLAIN,
    Arm,
    ConfidenceSequence,
    Gate,
    GateRecord,
    GateRule,
    Interval,
    Pair,
    Weights,
)
from interwhen.precompute._items import Digest, Item, ItemId, digest
from interwhen.precompute._precomputer import Precomputer
from interwhen.precompute._serving import ServeReady, ServingPolicy
from interwhen.precompute._store import Store

DOCUMENT = "gate"
"""The store's document that holds the records of all items."""
_TRIES = 32
_PENDING = 256
"""The most queries that wait for their result, or for their other half. Older ones are forgotten."""
_CHARACTERS = 4
"""Of a token, where the server does not count prompts."""


class Charge(msgspec.Struct, frozen=True, tag=True):
    """A reader's run."""

    arm: Arm
    used: bool


class ComparedPair(msgspec.Struct, frozen=True, tag="Compared"):
    """A pair that is whole."""

    pair: Pair


Entry: TypeAlias = Charge | ComparedPair


@dataclass(frozen=True, slots=True)
class _Query:
    """A query that puts the item *subject* to the test, as it was served, and as it would be the other way."""

    subject: ItemId
    offline: int
    used: bool
    pair: bool
    served: Served
    other: Served


@dataclass(frozen=True, slots=True)
class _HalfPair:
    query: _Query
    arm: Arm


class Savings:
    """A :class:`~interwhen.precompute.ServingPolicy` that uses what pays, and finds out what does.

    Of the items that *serving* would use for a query, one is put to the test: those on trial first. Where the gate
    holds it back, the run goes without it. What a run came to is told by :meth:`note`; the other half of a pair is run
    by :meth:`settle`, when nobody waits. *limit* is the most tokens that a run may generate (its budget).
    """

    def __init__(
        self,
        store: Store,
        *,
        limit: int,
        serving: ServingPolicy | None = None,
        rule: GateRule | None = None,
        is_sound: Callable[[Result], bool] | None = None,
        seed: int | None = None,
    ) -> None:
        if limit < 1:
            raise UsageError(f"limit={limit!r}: give the most tokens that a run may generate")
        self.rule = rule or GateRule()
        self._store = store
        self._limit = limit
        self._serving = serving or ServeReady()
        self._is_sound = is_sound or _came_to_an_end
        self._random = random.Random(seed)  # noqa: S311  (which queries are compared, no secret)
        self._gates: dict[ItemId, Gate] = {}
        self._news: list[tuple[ItemId, int, Entry]] = []
        self._running: deque[tuple[Digest, _Query]] = deque(maxlen=_PENDING)
        self._halves: deque[_HalfPair] = deque(maxlen=_PENDING)
        self.load()

    @property
    def records(self) -> Mapping[ItemId, GateRecord]:
        """What is known of each item that was ever put to the test."""
        return {id_: gate.record for id_, gate in self._gates.items()}

    @property
    def waiting(self) -> int:
        """How many pairs wait for their other half."""
        return len(self._halves)

    # ------------------------------------------------------------------ before a run

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        """Serve, and put one item to the test."""
        offered = [item for item in items if self._stage(item.id) != "evicted"]
        full = self._serving(offered, model, prompt)
        subject = self._subject(full, offered)
        if subject is None:
            return full
        allowed = [item for item in offered if self._stage(item.id) != "demoted" or item.id == subject.id]
        choice = self._gate(subject.id).choose(self._random.random())
        used = self._serving(allowed, model, prompt)
        without = self._serving([item for item in allowed if item.id != subject.id], model, prompt)
        served, other = (used, without) if choice.use else (without, used)
        query = _Query(subject.id, subject.cost.generated, choice.use, choice.pair, served, other)
        self._running.append((_digest(prompt), query))
        return served

    def _subject(self, served: Served, items: Sequence[Item]) -> Item | None:
        used = [item for item in items if item.id in served.items]
        on_trial = [item for item in used if self._stage(item.id) == "trial"]
        pool = on_trial or used
        return self._random.choice(pool) if pool else None

    # ------------------------------------------------------------------ after it

    def note(self, prompt: Prompt, result: Result) -> None:
        """Take in what came of a run on *prompt*. A run that nothing was ready for is no news."""
        key = _digest(prompt)
        found = next(
            (each for each in self._running if each[0] == key and each[1].served.items == result.precomputed), None
        )
        if found is None:
            return
        self._running.remove(found)
        query = found[1]
        if result.status == "failed":
            return  # the server's failure says nothing about the item
        arm = self._arm(query.served, result)
        self._enter(query, Charge(arm, query.used))
        if query.pair:
            self._halves.append(_HalfPair(query, arm))

    async def settle(self, precomputer: Precomputer, *, most: int = 1, **options: Any) -> int:
        """Run the other half of so many pairs, while nobody wants the model; return how many are whole now.

        *options* are those of the readers' runs (``sampling``). A half that is called off for a reader waits again.
        """
        done = 0
        while self._halves and done < most:
            await precomputer.foreground_gate.quiet()
            half = self._halves[0]
            result: Result | None = None
            with precomputer.foreground_gate.slice():
                other = half.query.other
                async with run(
                    other.model, other.prompt, **{"monitors": precomputer.monitors, **options}
                ) as supervised:
                    result = await supervised.drain()
            if result is None:
                break
            self._halves.popleft()
            if result.status != "failed":
                self._compare(half, result)
                done += 1
        return done

    def _compare(self, half: _HalfPair, result: Result) -> None:
        other = self._arm(half.query.other, result)
        used = half.query.used
        without, with_it = (other, half.arm) if used else (half.arm, other)
        pair = Pair(without, with_it, self._limit, "without" if used else "used")
        self._enter(half.query, ComparedPair(pair))

    def _arm(self, served: Served, result: Result) -> Arm:
        ledger = result.ledger
        generated = ledger.kept + ledger.discarded + ledger.fork_tokens
        # What is said from memory has not been read by any model.
        read = 0 if not ledger.prompt_tokens and not generated else ledger.prompt_tokens or _estimate(served.prompt)
        return Arm(generated, read, self._is_sound(result))

    # ------------------------------------------------------------------ books

    def load(self) -> None:
        """Take in what the store has, and what has been entered here since."""
        self._gates = {id_: Gate(record, self.rule) for id_, record in read_records(self._store).items()}
        for id_, offline, entry in self._news:
            _apply(self._gate(id_, offline), entry)

    def save(self) -> None:
        """Write down what was entered since the last time. Others may write meanwhile: nothing of either is lost."""
        for _ in range(_TRIES):
            there = self._store.document(DOCUMENT)
            self.load()
            data = msgspec.msgpack.encode(dict(self.records))
            try:
                self._store.commit(DOCUMENT, data, expect=there.generation)
            except StoreConflict:
                continue
            self._news.clear()
            return
        raise StoreError(self._store.place, "the books of the gate change faster than they can be written")

    def _enter(self, query: _Query, entry: Entry) -> None:
        self._news.append((query.subject, query.offline, entry))
        _apply(self._gate(query.subject, query.offline), entry)

    def _gate(self, id_: ItemId, offline: int = 0) -> Gate:
        gate = self._gates.setdefault(id_, Gate(rule=self.rule))
        gate.record.offline_tokens = gate.record.offline_tokens or offline
        return gate

    def _stage(self, id_: ItemId) -> str:
        gate = self._gates.get(id_)
        return "trial" if gate is None else gate.stage


class Worth(msgspec.Struct, frozen=True):
    """What an item has been worth so far, in offline tokens a query, with an interval that holds at all times."""

    saving: Interval
    plain: Interval
    """The same where every token weighs 1."""
    break_even: float | None
    """After so many queries it has paid for itself; ``None``: it never does, as far as is known."""


def worth(record: GateRecord, rule: GateRule) -> Worth:
    """Return what the item of *record* is worth, over all its pairs."""
    saving = _interval(record, rule.weights, rule.alpha)
    paid_off = record.offline_tokens / saving.mean if record.pairs and saving.mean > 0 else None
    return Worth(saving, _interval(record, PLAIN, rule.alpha), paid_off)


def read_records(store: Store) -> dict[ItemId, GateRecord]:
    """Return the records in *store*; empty where there are none, or none that can be read."""
    data = store.document(DOCUMENT).data
    return {} if data is None else msgspec.msgpack.decode(data, type=dict[ItemId, GateRecord])


def _interval(record: GateRecord, weights: Weights, alpha: float) -> Interval:
    sequence = ConfidenceSequence(alpha)
    for pair in record.pairs:
        sequence.observe(pair.share(weights))
    scale = weights.test * max((pair.limit for pair in record.pairs), default=0)
    return Interval(*(scale * each for each in sequence.interval()))


def _apply(gate: Gate, entry: Entry) -> None:
    match entry:
        case Charge(arm, used):
            gate.charge(arm, used=used)
        case ComparedPair(pair):
            gate.observe(pair)


def _came_to_an_end(result: Result) -> bool:
    return result.status in ("verified", "unverified")


def _digest(prompt: Prompt) -> Digest:
    return digest(prompt if isinstance(prompt, str) else msgspec.json.encode(prompt))


def _estimate(prompt: Prompt) -> int:
    return len(Task(prompt).text) // _CHARACTERS
