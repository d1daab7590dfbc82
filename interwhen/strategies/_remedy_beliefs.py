"""Learns in which order the remedies of ``Auto`` help, for each model and verifier, from the results of runs.

Why: docs/decisions/0043-the-ladder-of-remedies.md.
"""

from __future__ import annotations

import math
import os
import queue
import random
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self, get_args

import msgspec

from interwhen._log import log_warning
from interwhen._types.errors import DECODE_ERRORS, StoreError, UsageError
from interwhen._types.remedies import RUNGS, Rung
from interwhen._types.results import Abstained, Result, Verified, ViolationRecord

# What a result says about the remedies in it.


class RemedyUse(NamedTuple):
    """One use of a remedy in a run, and whether it worked."""

    verifier: str
    """The name of the verifier that had refuted the text."""
    rung: Rung
    """The remedy."""
    is_fresh: bool
    """Whether it was the first remedy of its monitor at its place. Later ones are where another remedy has failed."""
    worked: bool
    """Whether it worked, as :func:`uses_of` decides."""
    wasted: int = 0
    """If it failed: how many characters the model wrote after it until the next refutation or the end; else 0."""


def uses_of(result: Result) -> tuple[RemedyUse, ...]:
    """Return each use in *result* of a remedy that a ladder may have, with whether it worked.

    A remedy in the reasoning worked if the next one, at its place or later, is at a later place (or in the answer). A
    remedy in the answer failed if another one in the answer follows. If none of these decides, it worked if the result
    is verified; without a regular end of the run, it is left out.
    """
    acts = [act for act in result.violations if act.remedy is not None and act.place is not None]
    seen: set[tuple[str, int]] = set()
    found = []
    for number, act in enumerate(acts):
        is_fresh = (act.monitor, act.place or 0) not in seen
        seen.add((act.monitor, act.place or 0))
        worked = _worked(act, acts[number + 1 :], result)
        if worked is not None and act.remedy in get_args(Rung):
            wasted = 0 if worked else _written(act, acts[number + 1 :], result)
            found.append(RemedyUse(act.verifier, act.remedy, is_fresh, worked, wasted))  # type: ignore[arg-type]
    return tuple(found)


def _written(act: ViolationRecord, later: Sequence[ViolationRecord], result: Result) -> int:
    """Return how many characters the model wrote after the remedy *act*, up to the next violation or the end."""
    end = later[0].span.end if later else len(result.text)
    return max(end - (act.cut or 0) - len(act.inserted), 0)


def _worked(act: ViolationRecord, later: Sequence[ViolationRecord], result: Result) -> bool | None:
    for other in later:
        if other.phase == "answer" or act.phase == "answer":
            if other.phase == act.phase:
                return False  # the place of an answer changes with its reasoning
            if other.phase == "answer":
                return True
        elif (other.place or 0) >= (act.place or 0):
            return (other.place or 0) > (act.place or 0)
    if isinstance(result, Verified | Abstained) or result.finish_reason in ("stop", "tool_calls", "length"):
        return isinstance(result, Verified)
    return None


# Beta beliefs about the rungs, and the order that follows from them.

PRIOR: Mapping[Rung, float] = {"repair": 0.8, "resample": 0.5, "feedback": 0.4, "restart": 0.3}
"""The chance that a rung works, before anything is known."""
COST: Mapping[Rung, float] = {"repair": 1.0, "resample": 1.0, "feedback": 3.0, "restart": 3.0}
"""How much text the model wastes if a rung fails, compared with a new sample, before anything is known."""
WEIGHT = 6.0
"""The weight of the prior, in uses."""
MEMORY = 0.98
"""Each use of a rung multiplies the weight of its earlier uses by this number, so that a belief follows a change."""
RECENT = 16
"""How many of the last uses of a rung are compared with the belief about it."""
SURPRISE = 4.0
"""How many standard deviations the recent uses may differ from the belief, before the earlier ones are forgotten."""
FADED = 4.0
"""The largest weight, in uses, of the other beliefs after that."""


class RungBelief(msgspec.Struct):
    """How often one remedy of the ladder (a rung) worked. Older uses have less weight than newer ones."""

    worked: float = 0.0
    """The weight of the uses that worked."""
    failed: float = 0.0
    """The weight of the uses that did not work."""
    recent: str = ""
    """The last uses, at most 16, the newest last: ``1`` worked, ``0`` did not."""
    wasted: float = 0.0
    """The wasted characters of the failed uses, with less weight for older ones."""

    @property
    def uses(self) -> float:
        """The number of uses, with less weight for older ones."""
        return self.worked + self.failed

    def saw(self, *, worked: bool, wasted: int = 0) -> bool:
        """Record a use of the remedy. Return whether the 16 uses before it contradict the earlier ones.

        *wasted* is :attr:`RemedyUse.wasted`.
        """
        surprised = self._is_surprised()
        self.worked = self.worked * MEMORY + worked
        self.failed = self.failed * MEMORY + (not worked)
        self.wasted = self.wasted * MEMORY + wasted
        self.recent = (self.recent + "01"[worked])[-RECENT:]
        return surprised

    def renew(self, weight: float) -> None:
        """Reduce the weight of all uses to at most *weight* in total. The success rate does not change."""
        if self.uses > weight:
            share = weight / self.uses
            self.worked, self.failed, self.wasted = self.worked * share, self.failed * share, self.wasted * share

    def restart(self) -> None:
        """Forget all uses but the last 16, because these contradict the earlier ones."""
        hits = float(self.recent.count("1"))
        self.wasted *= (len(self.recent) - hits) / self.failed if self.failed else 0.0
        self.worked, self.failed = hits, len(self.recent) - hits

    def chance(self, prior: float, weight: float = WEIGHT) -> float:
        """Return the estimated chance that the remedy works: the mean of the posterior.

        The Beta prior has the mean *prior* and the weight *weight*, in uses.
        """
        return (prior * weight + self.worked) / (weight + self.uses)

    def draw(self, rng: random.Random, prior: float) -> float:
        """Return a random chance, drawn from the posterior. *prior* is the mean of the Beta prior."""
        return rng.betavariate(prior * WEIGHT + self.worked, (1.0 - prior) * WEIGHT + self.failed)

    def _is_surprised(self) -> bool:
        if len(self.recent) < RECENT or self.uses < 1.5 * RECENT:
            return False
        # The belief before the recent uses, so that these are not compared with themselves.
        hits = self.recent.count("1")
        chance = (max(self.worked - hits, 0.0) + 1.0) / (max(self.uses - RECENT, 0.0) + 2.0)
        return abs(hits / RECENT - chance) > SURPRISE * math.sqrt(chance * (1.0 - chance) / RECENT)


class VerifierBeliefs(msgspec.Struct):
    """How well each remedy of the ladder works, for one model and one verifier."""

    fresh: dict[Rung, RungBelief] = msgspec.field(default_factory=dict)
    """Uses that were the first at their place."""
    later: dict[Rung, RungBelief] = msgspec.field(default_factory=dict)
    """Uses at places where another remedy had failed. Such places are harder, so these are counted apart."""
    runs: int = 0
    """The number of runs with a remedy."""
    explored: int = 0
    """The number of these runs that used another order than the best one, to learn about another rung."""
    resets: int = 0
    """How often recent uses contradicted the beliefs, so that the earlier uses were forgotten."""

    def saw(self, uses: Iterable[RemedyUse]) -> None:
        """Add the *uses* of one run.

        If recent uses of a remedy contradict its earlier ones, the earlier ones are forgotten, and the other remedies
        keep little weight.
        """
        for use in uses:
            beliefs = self.fresh if use.is_fresh else self.later
            belief = beliefs.setdefault(use.rung, RungBelief())
            if belief.saw(worked=use.worked, wasted=use.wasted):
                # Failures at one hard place look like a change, too. So the others keep their shares, with less weight.
                for other in (*self.fresh.values(), *self.later.values()):
                    other.renew(FADED)
                belief.restart()
                self.resets += 1

    def chance(self, rung: Rung, *, is_fresh: bool) -> float:
        """Return the estimated chance (0 to 1) that the remedy *rung* works.

        With *is_fresh*, it is the first remedy at its place. Without, another remedy has failed there.
        """
        prior = PRIOR[rung] if rung == "repair" else min(PRIOR[rung] * self._ease(), 0.9)
        later = self.later.get(rung, RungBelief()).chance(prior)
        # What is known about hard places is a prior for all places.
        return self.fresh.get(rung, RungBelief()).chance(max(later, prior / 2)) if is_fresh else later

    def _ease(self) -> float:
        """Return how often remedies work for this model and verifier, divided by how often the prior expects."""
        worked = expected = WEIGHT / 2
        for beliefs in (self.fresh, self.later):
            for rung, belief in beliefs.items():
                if rung != "repair":
                    worked += belief.worked
                    expected += PRIOR[rung] * belief.uses
        return worked / expected

    def cost(self, rung: Rung) -> float:
        """Return an estimate, above 0, of how many characters are wasted when *rung* fails.

        Before there are observations, it is in the unit of :data:`COST`.
        """
        uses = [(COST[name], belief) for beliefs in (self.fresh, self.later) for name, belief in beliefs.items()]
        failed = sum(cost * belief.failed for cost, belief in uses)
        # The size of one unit here. An observed use of any rung says something about the others.
        unit = (1.0 + sum(belief.wasted for _, belief in uses)) / (1.0 + failed)
        mine = [beliefs[rung] for beliefs in (self.fresh, self.later) if rung in beliefs]
        wasted = WEIGHT * COST[rung] * unit + sum(belief.wasted for belief in mine)
        return max(wasted / (WEIGHT + sum(belief.failed for belief in mine)), 1e-9)

    def value(self, rung: Rung, *, is_fresh: bool) -> float:
        """Return the value of trying *rung*: the odds that it works, divided by the characters wasted if it fails.

        For *is_fresh*, see :meth:`chance`. Trying remedies in the order of falling values wastes the least text on
        average, if they work independently.
        """
        chance = min(self.chance(rung, is_fresh=is_fresh), 1.0 - 1e-9)
        return chance / ((1.0 - chance) * self.cost(rung))

    def order(self, rungs: Sequence[Rung], lead: Rung | None = None) -> tuple[Rung, ...]:
        """Return the order in which a ladder should try *rungs*.

        First comes the best first remedy, or *lead*, if given. (A *lead* of ``restart`` comes directly after the best
        first remedy.) The others follow by their value after a failure. A repair precedes all of them if it is worth at
        least as much as the best. A restart is first only if *rungs* has no other remedy. ``resample``, if present,
        occurs twice or three times in a row.
        """
        rungs = tuple(dict.fromkeys(rungs))
        others: list[Rung] = [rung for rung in rungs if rung not in ("restart", "repair")]
        best = max((self.value(rung, is_fresh=True) for rung in others), default=0.0)
        repairs = [rung for rung in rungs if rung == "repair" and self.value(rung, is_fresh=True) >= best]
        firsts = [rung for rung in others if self.value(rung, is_fresh=True) == best][:1]
        if lead is not None:
            firsts = [*firsts, lead] if lead == "restart" else [lead]
        rest = [rung for rung in rungs if rung not in (*repairs, *firsts)]
        rest.sort(key=lambda rung: self.value(rung, is_fresh=False), reverse=True)
        order = (*repairs, *firsts, *rest)
        if "resample" not in order:
            return order
        at = order.index("resample")
        samples: list[Rung] = ["resample"] * self._patience(order[at + 1 :])
        return (*order[:at], *samples, *order[at + 1 :])

    def _patience(self, after: Sequence[Rung]) -> int:
        """Return how many times in a row to resample before the first of the remedies *after*: two or three."""
        tried = [rung for rung in after if self._uses(rung) >= WEIGHT / 2]
        if not tried:
            return 2
        return 3 if self.value("resample", is_fresh=False) > self.value(tried[0], is_fresh=False) else 2

    def _uses(self, rung: Rung) -> float:
        return sum(beliefs[rung].uses for beliefs in (self.fresh, self.later) if rung in beliefs)


class RemedyBelief(NamedTuple):
    """What was learned about one remedy of the ladder for one model and verifier, for display."""

    model: str
    verifier: str
    rung: Rung
    first: float
    """The chance that it works as the first remedy at a place."""
    first_uses: float
    """The number of its uses as the first remedy at a place, with less weight for older ones."""
    later: float
    """The chance that it works where another remedy has failed."""
    later_uses: float
    """The number of its uses where another remedy had failed, with less weight for older ones."""


class RunCounts(NamedTuple):
    """From how many runs the learner has learned, for one model and one verifier."""

    runs: int
    """Runs with a remedy."""
    explored: int
    """Runs that tried another order than the best one."""
    resets: int
    """How often recent uses contradicted the beliefs, so that the earlier uses were forgotten."""


# The learner: beliefs in memory, and in a file that several processes share.

_TABLE = (
    "CREATE TABLE IF NOT EXISTS beliefs (model TEXT, verifier TEXT, data BLOB NOT NULL, PRIMARY KEY (model, verifier))"
)
_SELECT = "SELECT data FROM beliefs WHERE model = ? AND verifier = ?"
_BUSY_SECONDS = 5.0
_MOST = 1024
"""How many pairs of model and verifier are known. Further ones are not learned."""

_Key = tuple[str, str]


class _Orders(NamedTuple):
    """The orders for one model, verifier and rungs, with the counts of runs from which they were computed."""

    best: tuple[Rung, ...]
    other: tuple[Rung, ...] | None
    """An order that tries another rung first, for the runs that learn about it; ``None``: no run should."""
    runs: int
    explored: int


class RemedyBeliefs:
    """Learns in which order the ladder of :class:`~interwhen.Auto` should try its remedies.

    Several runs may share one object. With *path*, the learned counts are in a SQLite file that several processes
    share; without it, they are in memory. At most about the share *explore* of the runs uses another order than the
    best one, to learn about other remedies. No text of a run is stored.

    A thread writes the file. :meth:`flush` waits for it; leaving the ``with`` block, or :meth:`close`, ends it. Raises
    :class:`~interwhen.UsageError` for an *explore* that is not from 0 to 0.5, and ``StoreError`` if the file cannot be
    read or created.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, explore: float = 0.1, seed: int = 0) -> None:
        if not isinstance(explore, int | float) or not 0.0 <= explore <= 0.5:
            raise UsageError(f"RemedyBeliefs: explore must be a share from 0 to 0.5, got {explore!r}")
        self.explore = explore
        self.seed = seed
        self._known: dict[_Key, VerifierBeliefs] = {}
        self._orders: dict[tuple[str, str, tuple[Rung, ...]], _Orders] = {}
        """Orders that were computed from the present beliefs."""
        self._trying: dict[_Key, list[tuple[Rung, ...]]] = {}
        """The orders with another rung first that runs have got, and that have not come back to :meth:`learn`."""
        self._lock = threading.Lock()
        self._path = None if path is None else os.fspath(path)
        self._work: queue.SimpleQueue[tuple[_Key, tuple[RemedyUse, ...], bool] | threading.Event | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        if self._path is not None:
            try:
                with _opened(self._path) as connection:
                    self._known = _all(connection)
            except (sqlite3.Error, ValueError, *DECODE_ERRORS) as error:  # ValueError: a NUL in the path
                raise _unreadable(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def order(self, model: str, verifier: str, rungs: tuple[Rung, ...]) -> tuple[Rung, ...]:
        """Return the order in which a run of *model* should try the remedies *rungs* if *verifier* refutes text.

        For some runs, the order tries another remedy earlier than the best order does, to learn about it. Runs that
        are open at one time count, too, so that they do not try more often together than the share allows.
        """
        key = model, verifier, rungs
        with self._lock:
            orders = self._orders.get(key)
            if orders is None:
                if len(self._orders) >= _MOST:
                    self._orders.clear()
                orders = self._orders[key] = self._order(*key)
            if orders.other is None:
                return orders.best
            trying = self._trying.setdefault((model, verifier), [])
            if orders.explored + len(trying) >= self.explore * orders.runs + 1:
                return orders.best
            trying.append(orders.other)
            return orders.other

    def _order(self, model: str, verifier: str, rungs: tuple[Rung, ...]) -> _Orders:
        known = self._known.get((model, verifier), VerifierBeliefs())
        best = known.order(rungs)
        firsts = [rung for rung in dict.fromkeys(best) if rung != "repair"]
        others, other = firsts[1:], None
        rng = random.Random(f"{self.seed} {model} {verifier} {known.runs}")  # noqa: S311  (no secret)
        if others and rng.random() < self.explore:
            lead = max(others, key=lambda rung: known.fresh.get(rung, RungBelief()).draw(rng, PRIOR[rung]))
            other = known.order(rungs, lead)
        return _Orders(best, other, known.runs, known.explored)

    def learn(self, model: str, orders: Mapping[str, tuple[Rung, ...]], result: Result) -> None:
        """Learn from the *result* of a run of *model*. *orders* maps each verifier to the order that the run used.

        Remedies of other verifiers are ignored. A thread writes the file later. At most 1,024 pairs of a model and a
        verifier are learned.
        """
        uses = uses_of(result)
        for verifier, order in orders.items():
            mine = tuple(use for use in uses if use.verifier == verifier)
            with self._lock:
                known = self._known.get((model, verifier))
                if known is None:
                    if len(self._known) >= _MOST:
                        continue
                    known = self._known[model, verifier] = VerifierBeliefs()
                trying = self._trying.get((model, verifier), [])
                is_other = order in trying
                if is_other:
                    trying.remove(order)
                explored = bool(mine) and (is_other or order != known.order(order))
                if mine:
                    self._orders.clear()
                _count(known, mine, explored=explored)
            if self._path is not None and mine:
                self._write(((model, verifier), mine, explored))

    def beliefs(self) -> tuple[RemedyBelief, ...]:
        """Return what was learned about each remedy, by model and verifier, in the order of the ladder."""
        with self._lock:
            return tuple(
                RemedyBelief(
                    model,
                    verifier,
                    rung,
                    known.chance(rung, is_fresh=True),
                    known.fresh.get(rung, RungBelief()).uses,
                    known.chance(rung, is_fresh=False),
                    known.later.get(rung, RungBelief()).uses,
                )
                for (model, verifier), known in sorted(self._known.items())
                for rung in dict.fromkeys(known.order(RUNGS))
            )

    def counts(self) -> dict[tuple[str, str], RunCounts]:
        """Return the counts of runs for each model and verifier."""
        with self._lock:
            return {key: RunCounts(known.runs, known.explored, known.resets) for key, known in self._known.items()}

    def flush(self) -> None:
        """Wait until everything that was learned is in the file, if there is one. A failed write is only logged."""
        if self._thread is not None:
            done = threading.Event()
            self._work.put(done)
            done.wait()

    def close(self) -> None:
        """Wait until everything that was learned is written, and end the thread. A failed write is only logged."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None

    # ------------------------------------------------------------------ the file

    def _write(self, job: tuple[_Key, tuple[RemedyUse, ...], bool]) -> None:
        with self._lock:  # two threads would share the end mark of close(), which then waits for ever
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="interwhen remedies", daemon=True)
                self._thread.start()
        self._work.put(job)

    def _write_all(self) -> None:
        assert self._path is not None
        while (job := self._work.get()) is not None:
            if isinstance(job, threading.Event):
                job.set()
                continue
            try:
                with _opened(self._path) as connection:
                    _add(connection, *job)
                    fresh = _all(connection)
            except (sqlite3.Error, *DECODE_ERRORS) as error:
                log_warning("remedies.not_written", error=type(error).__name__)
                continue
            with self._lock:
                if self._work.empty():  # otherwise memory is ahead of the file
                    self._known |= fresh
                    self._orders.clear()


def stored_beliefs(path: str) -> RemedyBeliefs:
    """Return what the file at *path* knows. The file is only read. Raises ``StoreError`` if it has no beliefs."""
    found = RemedyBeliefs(explore=0.0)
    try:
        where = f"{Path(path).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, timeout=_BUSY_SECONDS, uri=True)) as connection:
            found._known = _all(connection)  # noqa: SLF001  (our own class)
    except (sqlite3.Error, *DECODE_ERRORS) as error:
        raise _unreadable(path, error) from error
    return found


def _unreadable(path: str, error: Exception) -> StoreError:
    return StoreError(path, f"the beliefs cannot be read: {error}; give another file")


def _count(known: VerifierBeliefs, uses: Sequence[RemedyUse], *, explored: bool) -> None:
    """Add the *uses* of one run, if any, to *known*; *explored* tells whether it tried another order."""
    if uses:
        known.runs += 1
        known.explored += explored
        known.saw(uses)


class _opened:  # noqa: N801  (a context manager, used like a function)
    """Opens the SQLite file at *path* for one transaction, which an exception in the block rolls back.

    A missing file or table is created.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_TABLE)
        except BaseException:
            self._connection.close()
            raise
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
        finally:
            self._connection.close()


def _add(connection: sqlite3.Connection, key: _Key, uses: Sequence[RemedyUse], explored: bool) -> None:  # noqa: FBT001
    row = connection.execute(_SELECT, key).fetchone()
    known = VerifierBeliefs() if row is None else msgspec.json.decode(row[0], type=VerifierBeliefs)
    _count(known, uses, explored=explored)
    connection.execute("INSERT OR REPLACE INTO beliefs VALUES (?, ?, ?)", (*key, msgspec.json.encode(known)))


def _all(connection: sqlite3.Connection) -> dict[_Key, VerifierBeliefs]:
    rows = connection.execute("SELECT model, verifier, data FROM beliefs").fetchall()
    return {(model, verifier): msgspec.json.decode(data, type=VerifierBeliefs) for model, verifier, data in rows}
