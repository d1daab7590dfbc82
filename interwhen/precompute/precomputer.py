"""The hook: prepare contexts while nobody waits, and let runs use what is ready."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

import anyio
import anyio.to_thread

from interwhen._log import log_warning
from interwhen.contexts import Served
from interwhen.errors import StoreError, UsageError
from interwhen.models.base import Model, Prompt
from interwhen.precompute.currency import Surroundings
from interwhen.precompute.installed import load_producers
from interwhen.precompute.items import Digest, Item, ItemId, Kind
from interwhen.precompute.judging import Judge
from interwhen.precompute.prepared import (
    ContextRecord,
    Prepared,
    as_pieces,
    context_document,
    read_context,
    write_context,
)
from interwhen.precompute.producer import Producer
from interwhen.precompute.serving import ServeReady
from interwhen.precompute.shelves import MemoryShelf
from interwhen.precompute.sleeping import Idle, Sleeper, Slice
from interwhen.precompute.store import Store, open_store
from interwhen.precompute.turnstile import Turnstile
from interwhen.precompute.using import Serving
from interwhen.registry import MonitorSpec
from interwhen.running import Run, run
from interwhen.worker_pool import WorkerPool

T = TypeVar("T")

FRESH_SECONDS = 5.0
"""How long a reader trusts that nobody else has edited a context, where asking the store takes a network."""


class Precomputer:
    """Prepares contexts in *store* with *model*, judged by *monitors*, and offers what is ready to runs.

    *store* is a :class:`~interwhen.precompute.Store`, a path (one SQLite file) or a URL (extra ``precompute``).
    *producers* are names or objects (default: all that are installed). *passes* bounds how often a consolidating
    producer goes over a context; *token_budget* bounds the tokens that are generated for one context, in all its
    generations together. One slice of work has *step_tokens* a request and *step_seconds* in all, and begins when no
    run has wanted the model for *debounce* seconds. *serving* chooses what a run uses of what is ready (default:
    :class:`~interwhen.precompute.serving.ServeReady`). *least_coverage* is that of
    :class:`~interwhen.precompute.judging.Judge`.

    Nothing is started by itself: work is done inside ``async with precomputer.idle()``, or by :meth:`work`.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        model: Model,
        monitors: Iterable[MonitorSpec] = (),
        *,
        producers: Sequence[Producer | str] | None = None,
        passes: int = 3,
        token_budget: int = 100_000,
        step_tokens: int = 512,
        step_seconds: float = 120.0,
        debounce: float = 0.5,
        tokenizer: str = "",
        serving: Serving | None = None,
        least_coverage: float = 0.0,
        fresh_seconds: float = FRESH_SECONDS,
        workers: WorkerPool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(model, Model):
            raise UsageError(f"model={model!r:.200} is no Model; give an adapter such as CompletionsModel(...)")
        for label, value in (("passes", passes), ("step_tokens", step_tokens)):
            if type(value) is not int or value < 1:
                raise UsageError(f"{label}={value!r}: a number of at least 1 is needed")
        if type(token_budget) is not int or token_budget < 0:
            raise UsageError(f"token_budget={token_budget!r}: a number of at least 0 is needed")
        self.store = store if isinstance(store, Store) else open_store(store)
        self.model = model
        self.monitors: tuple[MonitorSpec, ...] = tuple(monitors)
        self.producers = load_producers(producers)
        self.turnstile = Turnstile(debounce)
        self._passes = passes
        self._serving: Serving = ServeReady() if serving is None else serving
        self._fresh_seconds = fresh_seconds
        self._prepared: dict[str, Prepared] = {}
        self._uses: Counter[ItemId] = Counter()
        judge = Judge(self.monitors, least_coverage=least_coverage, workers=workers)
        self.surroundings = Surroundings(model.name, tokenizer, judge.digest)
        self._sleeper = Sleeper(
            self,
            judge,
            token_budget=token_budget,
            step_tokens=step_tokens,
            step_seconds=step_seconds,
            clock=clock,
        )

    # ------------------------------------------------------------------ contexts

    async def add(
        self,
        name: str,
        pieces: str | Mapping[str, str],
        *,
        kinds: Iterable[Kind] | None = None,
        expect: int | None = None,
    ) -> ContextRef:
        """Make *pieces* what there is under *name*, and return what runs take as ``context=``.

        A text is cut into paragraphs. The same content again changes nothing; other content is an edit, after which
        only what was made from the pieces that changed is made anew. *kinds* are what is prepared (default: all that
        the producers make). *expect* is the generation that this is an edit of; another one raises
        :class:`~interwhen.errors.StoreConflict`. Without it the last writer wins.
        """
        wanted = tuple(sorted(set(kinds))) if kinds is not None else tuple(sorted({p.kind for p in self.producers}))
        if unknown := set(wanted) - set(get_args(Kind)):
            raise UsageError(f"kinds={sorted(unknown)}: choose among {', '.join(get_args(Kind))}")
        record = ContextRecord(as_pieces(pieces), wanted, self._passes)
        await self.in_store(lambda: write_context(self.store, name, record, expect=expect))
        return await self._entered(name)

    async def edit(self, ref: ContextRef, changes: Mapping[str, str | None]) -> ContextRef:
        """Change pieces of the context that *ref* is, by name; ``None`` takes a piece away. Return the new one.

        Raises :class:`~interwhen.errors.StoreConflict` where it has been edited meanwhile.
        """
        generation, record = await self.in_store(lambda: read_context(self.store, ref.name))
        if record is None:
            raise UsageError(f"there is no context {ref.name!r} in {self.store.place!r}: add it")
        pieces = dict(record.pieces)
        for name, text in changes.items():
            if text is None:
                pieces.pop(name, None)
            else:
                pieces[name] = text
        changed = replace_record(record, as_pieces(pieces))
        await self.in_store(lambda: write_context(self.store, ref.name, changed, expect=generation))
        return await self._entered(ref.name)

    async def open(self, name: str) -> ContextRef:
        """Return the context *name* as the store has it. Raises :class:`UsageError` where it has none."""
        ref = await self._entered(name)
        if self._prepared[name].context is None:
            raise UsageError(f"there is no context {name!r} in {self.store.place!r}: add it")
        return ref

    async def refresh(self, name: str) -> Prepared:
        """Take in what the store has now under *name*, and return it."""
        prepared = Prepared(name)
        before = self._prepared.get(name)
        await self.in_store(lambda: prepared.load(self.store, self.producers, self.surroundings, before))
        prepared.seen_at = anyio.current_time()
        self._prepared[name] = prepared
        return prepared

    async def _entered(self, name: str) -> ContextRef:
        prepared = await self.refresh(name)
        self.turnstile.touch()
        self._sleeper.wake()
        return ContextRef(self, name, prepared.digest)

    # ------------------------------------------------------------------ use

    def ready(self, ref: ContextRef) -> tuple[Item, ...]:
        """Return the items that may be served now for the context that *ref* is: verified, current, whole.

        Looks at what is in memory, and asks the store for its generation where that is a matter of microseconds. Where
        it takes a network, what was seen ``fresh_seconds`` ago is trusted, and nothing after that until somebody looks
        again. After an edit, an old *ref* gets nothing.
        """
        prepared = self._prepared.get(ref.name)
        if prepared is None or prepared.context is None or prepared.digest != ref.digest:
            return ()
        return prepared.served if self._is_current(prepared) else ()

    def _is_current(self, prepared: Prepared) -> bool:
        if self.store.blocks:
            return anyio.current_time() - prepared.seen_at <= self._fresh_seconds
        try:
            return self.store.generation(context_document(prepared.name)) == prepared.generation
        except StoreError as error:
            log_warning("store.unreadable", place=self.store.place, why=error.reason)
            return False

    def serve(self, ref: ContextRef, model: Model, prompt: Prompt) -> Served:
        """Return what a run on *prompt* begins with; *model* and *prompt* themselves where nothing helps."""
        plain = Served(model, prompt)
        if not (items := self.ready(ref)):
            return plain
        try:
            served = self._serving(items, model, prompt)
        except Exception as error:  # noqa: BLE001  (a plug-in may raise anything, and a reader must not pay for it)
            log_warning("serving.failed", context=ref.name, error=f"{type(error).__name__}: {error}")
            return plain
        offered = {item.id: item for item in items}
        if not served.items:
            return served
        if strangers := [each for each in served.items if each not in offered]:
            log_warning("serving.refused", context=ref.name, why=f"{strangers[0]!r} was not offered")
            return plain
        used = self._prepared[ref.name].ancestry([offered[ItemId(each)] for each in served.items])
        self._uses.update(list(used))
        return replace(
            served,
            offline_tokens=sum(item.cost.generated for item in used.values()),
            offline_share=sum(item.cost.generated / self._uses[item.id] for item in used.values()),
        )

    def run(self, prompt: Any, *, context: ContextRef | None = None, **options: Any) -> Run:
        """Return a run of the model on *prompt* with *context* and the monitors; *options* are ``interwhen.run``'s."""
        return run(self.model, prompt, **{"monitors": self.monitors, "context": context or Foreground(self), **options})

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Keep work ahead of time off the model while the block runs, for uses of it that are no run."""
        self.turnstile.begin()
        try:
            yield
        finally:
            self.turnstile.end()

    # ------------------------------------------------------------------ work

    def idle(self) -> Idle:
        """Return an ``async with`` block during which work is done whenever no run wants the model."""
        return Idle(self._sleeper)

    async def work(self, *, slices: int | None = None) -> tuple[Slice, ...]:
        """Do what is due, until nothing is or the budget is spent, or *slices* are done; return what was done."""
        return await self._sleeper.work(slices)

    @property
    def contexts(self) -> Mapping[str, Prepared]:
        """The contexts that were added or opened here, as they are in memory."""
        return self._prepared

    async def in_store(self, work: Callable[[], T]) -> T:
        """Do *work* on the store, off the event loop: a file may have to be flushed, or be locked for a moment."""
        return work() if isinstance(self.store.shelf, MemoryShelf) and not self.store.blocks else await _in_thread(work)

    async def aclose(self) -> None:
        """Close the store. The model is its owner's to close."""
        await self.in_store(self.store.close)


@dataclass(frozen=True, slots=True)
class ContextRef:
    """A context with the content it had when it was added: what ``run(..., context=)`` takes."""

    precomputer: Precomputer
    name: str
    digest: Digest

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Return what a run begins with (see :class:`~interwhen.contexts.Ready`)."""
        return self.precomputer.serve(self, model, prompt)

    def begin(self) -> None:
        """Stop work ahead of time."""
        self.precomputer.turnstile.begin()

    def end(self) -> None:
        """Let it go on."""
        self.precomputer.turnstile.end()


@dataclass(frozen=True, slots=True)
class Foreground:
    """No context, for a run that only keeps work ahead of time off the model."""

    precomputer: Precomputer

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Change nothing."""
        return Served(model, prompt)

    def begin(self) -> None:
        """Stop work ahead of time."""
        self.precomputer.turnstile.begin()

    def end(self) -> None:
        """Let it go on."""
        self.precomputer.turnstile.end()


async def _in_thread(work: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(work)


def replace_record(record: ContextRecord, pieces: tuple[tuple[str, str], ...]) -> ContextRecord:
    """Return *record* with other pieces."""
    return ContextRecord(pieces, record.kinds, record.passes)
