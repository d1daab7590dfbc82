"""Measures what precomputed items save."""

from __future__ import annotations

import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from interwhen._run.run import run
from interwhen._types.extensions import Served, Task
from interwhen._types.models import Model, Prompt
from interwhen._types.results import Result
from interwhen._types.vetting import Positive, require
from interwhen.precompute._gate import (
    EQUAL_PRICES,
    Arm,
    ConfidenceSequence,
    Gate,
    GateRecord,
    GateRule,
    Interval,
    Pair,
    TokenPrices,
)
from interwhen.precompute._items import Digest, Item, ItemId, digest
from interwhen.precompute._precomputer import Precomputer
from interwhen.precompute._served_items import ServeReady, ServingPolicy
from interwhen.precompute._store import Store

DOCUMENT = "gate"
"""The document in the store with the records of all items."""
_PENDING = 256
"""The most queries that wait for their result, and pairs that wait for their second run. Above it, the oldest are
dropped."""
_CHARACTERS = 4
"""Characters per token, if the server does not count prompt tokens."""


class Charge(msgspec.Struct, frozen=True, tag=True):
    """A measurement of an item by one reader's run."""

    arm: Arm
    used: bool


class ComparedPair(msgspec.Struct, frozen=True, tag="Compared"):
    """A measurement of an item by a pair of which both runs have ended."""

    pair: Pair


Entry: TypeAlias = Charge | ComparedPair


@dataclass(frozen=True, slots=True)
class _Query:
    """A run that tests the item *subject*, which cost *offline* tokens to make.

    *pair* tells whether a second run follows. *served* is for the reader's run, and *other* for the second one; one of
    the two runs uses the item.
    """

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
    """A `ServingPolicy` that measures which items save tokens, and stops using the others.

    Each query tests one of the items that *serving* would use, if there are any. Report the result of each run with
    :meth:`note`. :meth:`settle` does the second runs of pairs, and :meth:`save` writes the measurements to *store*.
    *rule* has the settings of the gate. *limit* is the largest number of tokens that a run may generate (its budget).
    *is_sound* tells whether a result is usable (default: it is verified or unverified). *seed* is for the random
    choices. Raises :class:`UsageError` if *limit* is below 1, and ``StoreError`` if the store fails.
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
        require("limit", limit, Positive, "give the largest number of tokens that a run may generate")
        self.rule = rule or GateRule()
        self._store = store
        self._limit = limit
        self._serving = serving or ServeReady()
        self._is_sound = is_sound or _came_to_an_end
        self._random = random.Random(seed)  # noqa: S311  (chooses queries, not a secret)
        self._gates: dict[ItemId, Gate] = {}
        self._news: list[tuple[ItemId, int, Entry]] = []
        self._running: deque[tuple[Digest, _Query]] = deque(maxlen=_PENDING)
        self._halves: deque[_HalfPair] = deque(maxlen=_PENDING)
        self.load()

    @property
    def records(self) -> Mapping[ItemId, GateRecord]:
        """The measurements of each item that was tested, as far as they were read or made here, by its id."""
        return {id_: gate.record for id_, gate in self._gates.items()}

    @property
    def waiting(self) -> int:
        """The number of pairs whose second run is still to be made."""
        return len(self._halves)

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        # Each run tests at most one item, a random one, if possible one on trial. Its gate decides if the run uses it.
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

    def note(self, prompt: Prompt, result: Result) -> None:
        """Record the *result* of a run on *prompt*. Failed runs, and runs that tested no item, are ignored."""
        key = _digest(prompt)
        running = next(
            (each for each in self._running if each[0] == key and each[1].served.items == result.precomputed), None
        )
        if running is None:
            return
        self._running.remove(running)
        query = running[1]
        if result.status == "failed":
            return  # a failure of the server is not evidence about the item
        arm = self._arm(query.served, result)
        self._enter(query, Charge(arm, query.used))
        if query.pair:
            self._halves.append(_HalfPair(query, arm))

    async def settle(self, precomputer: Precomputer, *, most: int = 1, **options: Any) -> int:
        """Let *precomputer* make the second run of at most *most* pairs, while no other run needs the model.

        Return how many pairs were completed. *options* go to these runs, and must be the same as for the readers' runs
        (such as ``sampling``). If a foreground run cancels a second run, the next call tries it again. A pair whose
        second run fails is dropped.
        """
        done = 0
        for _ in range(most):
            if not self._halves:
                break
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
            if self._halves and self._halves[0] is half:  # not if newer pairs have pushed it out meanwhile
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
        # No model has read the prompt of a stored answer.
        read = 0 if not ledger.prompt_tokens and not generated else ledger.prompt_tokens or _estimate(served.prompt)
        return Arm(generated, read, self._is_sound(result))

    def load(self) -> None:
        """Read the records from the store, and add the measurements that are not saved yet."""
        self._gates = {id_: Gate(record, self.rule) for id_, record in read_records(self._store).items()}
        for id_, offline, entry in self._news:
            _apply(self._gate(id_, offline), entry)

    def save(self) -> None:
        """Write the new measurements to the store, in addition to those that other processes have written.

        Raises ``StoreError`` if the store fails; the new measurements are kept for the next call then.
        """

        def change(_old: bytes | None) -> bytes:
            self.load()
            return msgspec.msgpack.encode(dict(self.records))

        self._store.update(DOCUMENT, change)
        self._news.clear()

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
    """What an item saves, and after how many queries it pays off."""

    share: Interval
    """The mean saving as a part of the dearer run of each pair."""
    plain: Interval
    """The same if a token costs the same whether a reader waits or not."""
    saving: float
    """The mean saving of its pairs in offline tokens."""
    break_even: float | None
    """The number of queries after which the item has saved what it cost to make; ``None`` if ``saving`` is not
    positive."""


def worth(record: GateRecord, rule: GateRule) -> Worth:
    saving = statistics.fmean(pair.saving(rule.prices) for pair in record.pairs) if record.pairs else 0.0
    paid_off = record.offline_tokens / saving if saving > 0 else None
    weighed = _interval(record, rule.prices, rule.alpha)
    return Worth(weighed, _interval(record, EQUAL_PRICES, rule.alpha), saving, paid_off)


def read_records(store: Store) -> dict[ItemId, GateRecord]:
    return store.decoded(DOCUMENT, dict[ItemId, GateRecord]) or {}


def _interval(record: GateRecord, prices: TokenPrices, alpha: float) -> Interval:
    sequence = ConfidenceSequence(alpha)
    for pair in record.pairs:
        sequence.observe(pair.share(prices))
    return sequence.interval()


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
