"""Prepares contexts while no run needs the model, and lets runs use the items that are ready."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from msgspec.structs import replace as replaced

from interwhen._run.run import Run, run
from interwhen._types.errors import OutOfTokens, StoreError, UnknownContext, UsageError
from interwhen._types.extensions import Served, Task, WorkerPool
from interwhen._types.ledger import ContextPart, ContextUse
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import Model, Prompt
from interwhen._types.vetting import Amount, Count, Positive, Seconds, Share, require, vetted
from interwhen.models._metered import MeteredModel
from interwhen.precompute._contexts import (
    ContextRecord,
    PreparedContext,
    as_pieces,
    context_document,
    read_context,
    spend,
    write_context,
)
from interwhen.precompute._drafts import Drafts
from interwhen.precompute._freshness import KeySettings
from interwhen.precompute._items import Cost, Digest, Item, ItemId, Kind, Status
from interwhen.precompute._judge import Judge
from interwhen.precompute._producer import (
    Context,
    ContextPiece,
    PlannedStep,
    ProducerSpec,
    load_producers,
)
from interwhen.precompute._retrieval import BUDGET, MOST, characters_in, passage_of, within
from interwhen.precompute._served_items import PASSAGES, ServeReady, ServingPolicy, before_question, last_line
from interwhen.precompute._shelves import MemoryShelf
from interwhen.precompute._step import StepWork, make
from interwhen.precompute._store import Store, open_store
from interwhen.precompute._usage import QuestionLog
from interwhen.registry import MonitorSpec

_LOOK_AGAIN = 0.1
"""The interval, in seconds, at which the gate checks whether a run on another event loop has ended."""


class ForegroundGate:
    """Lets background work wait until no foreground run needs the model, and cancels it when one begins.

    A *slice* is one piece of background work. A run that begins cancels the present slice at once if both are on the
    same event loop, and otherwise usually when the slice next uses the model. *debounce* is the pause after a run, in
    seconds.
    """

    def __init__(self, debounce: float = 0.5) -> None:
        self._debounce = debounce
        self._lock = threading.Lock()
        self._wanting = 0
        self._changes = 1
        self._quiet_at = 0
        self._freed: anyio.Event | None = None
        self._slice: anyio.CancelScope | None = None
        self._thread = 0
        self.preempted = 0
        """Slices that were cancelled for a run."""

    def begin(self) -> None:
        """Register a run that needs the model."""
        with self._lock:
            self._wanting += 1
            self._changes += 1
        if threading.get_ident() == self._thread:
            self.yield_now()

    def end(self) -> None:
        with self._lock:
            self._wanting -= 1
            self._changes += 1
        if self._freed is not None and threading.get_ident() == self._thread:
            self._freed.set()

    def touch(self) -> None:
        """Restart the *debounce* time, as if a run had just ended."""
        with self._lock:
            self._changes += 1

    def yield_now(self) -> None:
        """Cancel the present slice if a run needs the model. Call it on the event loop of the slice."""
        if self._wanting and self._slice is not None and not self._slice.cancel_called:
            self.preempted += 1
            self._slice.cancel()

    async def quiet(self) -> None:
        """Wait until no run needs the model, and then until *debounce* seconds pass in which none begins.

        A later call does not wait if nothing has called :meth:`begin`, :meth:`end` or :meth:`touch` in between.
        """
        await anyio.lowlevel.checkpoint()
        while self._wanting or self._quiet_at != self._changes:
            if self._wanting:
                self._thread = threading.get_ident()
                self._freed = anyio.Event()
                with anyio.move_on_after(_LOOK_AGAIN):
                    await self._freed.wait()
                continue
            seen = self._changes
            await anyio.sleep(self._debounce)
            if seen == self._changes:
                self._quiet_at = seen

    @contextmanager
    def slice(self) -> Iterator[anyio.CancelScope]:
        """Run the ``with`` block as one slice of background work, which a run may cancel.

        This does not wait: call :meth:`quiet` before.
        """
        with anyio.CancelScope() as scope:
            self._thread = threading.get_ident()
            self._slice = scope
            try:
                self.yield_now()
                yield scope
            finally:
                self._slice = None


T = TypeVar("T")

FRESH_SECONDS = 5.0
"""For a store behind a network: how many seconds the last read generation of a context is taken for the latest one."""


class Precomputer:
    """Prepares items for contexts with *model*, lets *monitors* judge them, and offers the ready items to runs.

    *store* is a :class:`~interwhen.precompute.Store`, a path (one SQLite file) or a URL (extra ``precompute``).
    *producers* are names with options, or objects (default: all installed ones). *token_budget* limits the generated
    tokens for one context, in all its generations together. *step_tokens* is the token limit of a request for which its
    producer sets none. One slice of work may take *step_seconds*, and begins when no run has needed the model for
    *debounce* seconds. *serving* chooses the items that a run uses (default:
    `ServeReady`). If the prompt of a run lacks the text of the context, pieces that belong
    to its question are added, with at most *passages* characters (0: none). With *notes_questions*, the questions of
    runs are stored, for producers that prepare their answers. *least_coverage* and *workers* go to
    `Judge`. *tokenizer* is a name that becomes part of item keys. *fresh_seconds* is
    explained at :meth:`ready`. *clock* returns the time of creation of items, in seconds since 1970.

    Nothing starts automatically: work is done inside ``async with precomputer.idle()``, or by :meth:`work`. Raises
    :class:`UsageError` for an invalid argument and for a producer or monitor that cannot be loaded, and
    :class:`StoreError` if the store cannot be opened.
    """

    @vetted("")
    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        model: Model,
        monitors: Iterable[MonitorSpec] = (),
        *,
        producers: Sequence[ProducerSpec] | None = None,
        token_budget: Count = 100_000,
        step_tokens: Positive = 512,
        step_seconds: Seconds = 120.0,
        debounce: Amount = 0.5,
        tokenizer: str = "",
        serving: ServingPolicy | None = None,
        least_coverage: Share = 0.0,
        fresh_seconds: Amount = FRESH_SECONDS,
        passages: Count = 0,
        notes_questions: bool = False,
        workers: WorkerPool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        require("model", model, Model, "give an adapter, such as CompletionsModel(...)")
        self.store = store if isinstance(store, Store) else open_store(store)
        self.model = model
        self.monitors: tuple[MonitorSpec, ...] = tuple(monitors)
        self.producers = load_producers(producers)
        self.foreground_gate = ForegroundGate(debounce)
        self._serving: ServingPolicy = ServeReady() if serving is None else serving
        self._fresh_seconds = fresh_seconds
        self._passages = passages
        self.questions = QuestionLog(self.store) if notes_questions else None
        self.now: Callable[[], float] = anyio.current_time
        """The clock for *fresh_seconds*, in seconds. The default works only on an event loop."""
        self._prepared: dict[str, PreparedContext] = {}
        self._uses: Counter[ItemId] = Counter()
        judge = Judge(self.monitors, least_coverage=least_coverage, workers=workers)
        self.key_settings = KeySettings(model.name, tokenizer, judge.digest)
        self._worker = IdleWorker(
            self,
            judge,
            token_budget=token_budget,
            step_tokens=step_tokens,
            step_seconds=step_seconds,
            clock=clock,
        )

    async def add(
        self,
        name: str,
        pieces: str | Mapping[str, str],
        *,
        kinds: Iterable[Kind] | None = None,
        expect: int | None = None,
    ) -> ContextRef:
        """Store *pieces* as the context *name*, wake the idle worker, and return the reference for ``run(context=)``.

        If *pieces* is a text, it is cut by :func:`~interwhen.precompute.pieces_of`. A context of this name is replaced;
        items that do not depend on what changed stay current. *kinds* are the kinds of items to prepare (default: all
        that the producers make). Raises `StoreConflict` if *expect* is given and is not
        the latest generation in the store, :class:`UsageError` for an unknown kind or invalid pieces, and the errors of
        :meth:`refresh` after the context was stored.
        """
        wanted = tuple(sorted(set(kinds))) if kinds is not None else tuple(sorted({p.kind for p in self.producers}))
        require("kinds", wanted, tuple[Kind, ...])
        record = ContextRecord.of(as_pieces(pieces), wanted)
        await self.in_store(lambda: write_context(self.store, name, record, expect=expect))
        return await self._entered(name)

    async def edit(self, ref: ContextRef, changes: Mapping[str, str | None]) -> ContextRef:
        """Change the latest content of the context of *ref*, wake the idle worker, and return the new reference.

        *changes* maps the name of a piece to its new text, or to ``None`` to delete the piece; a new name adds a piece.
        A piece that *changes* names loses its lead. If the content changed, *ref* is outdated: use the new reference.
        Raises `StoreConflict` if another writer edits the context meanwhile,
        :class:`UsageError` if it does not exist or *changes* are invalid, and the errors of :meth:`refresh`.
        """
        generation, record = await self.in_store(lambda: read_context(self.store, ref.name))
        if record is None:
            raise UnknownContext(ref.name, self.store.place)
        pieces = dict(record.pieces)
        for name, text in changes.items():
            if text is None:
                pieces.pop(name, None)
            else:
                pieces[name] = text
        # A piece that stays keeps its lead, even if the text before it changed.
        leads = {name: lead for name, lead in record.leads.items() if name in pieces and name not in changes}
        named = tuple((piece.name, piece.text) for piece in as_pieces(pieces))
        changed = replaced(record, pieces=named, leads=leads)
        await self.in_store(lambda: write_context(self.store, ref.name, changed, expect=generation))
        return await self._entered(ref.name)

    async def open(self, name: str) -> ContextRef:
        """Load the context *name* from the store, wake the idle worker, and return the reference for ``run(context=)``.

        Raises :class:`UsageError` if there is no such context, and the errors of :meth:`refresh`.
        """
        await self._entered(name)
        return self._ref(self._prepared[name])

    async def refresh(self, name: str) -> PreparedContext:
        """Load the context *name*, as the store has it now, into :attr:`contexts`, and return it.

        The returned object is empty if the store has no such context. Raises the errors of
        :meth:`PreparedContext.load`.
        """
        prepared = await self.in_store(lambda: self._loaded(name))
        return self._enter(prepared)

    def read(self, name: str) -> ContextRef:
        """Load the context *name* as :meth:`open` does, without an event loop; it may block.

        The clock :attr:`now` must work without an event loop, as ``time.monotonic`` does. The idle worker is not woken.
        Raises the errors of :meth:`open`.
        """
        return self._ref(self._enter(self._loaded(name)))

    def _loaded(self, name: str) -> PreparedContext:
        prepared = PreparedContext(name)
        prepared.load(self.store, self.producers, self.key_settings, self._prepared.get(name))
        if self._passages:
            _ = prepared.index  # built now, and not while a reader waits
        return prepared

    def _enter(self, prepared: PreparedContext) -> PreparedContext:
        prepared.seen_at = self.now()
        self._prepared[prepared.name] = prepared
        return prepared

    def _ref(self, prepared: PreparedContext) -> ContextRef:
        if prepared.context is None:
            raise UnknownContext(prepared.name, self.store.place)
        return ContextRef(self, prepared.name, prepared.digest)

    async def _entered(self, name: str) -> ContextRef:
        prepared = await self.refresh(name)
        self.foreground_gate.touch()
        self._worker.wake()
        return ContextRef(self, name, prepared.digest)

    def ready(self, ref: ContextRef) -> tuple[Item, ...]:
        """Return the items that may be served now for the context of *ref*: accepted and current.

        This makes no network request, because a reader waits: of a store behind a network, the generation that was read
        within ``fresh_seconds`` counts as the latest. It returns no items if :meth:`lack_of` gives a reason.
        """
        return () if self.lack_of(ref) else self._prepared[ref.name].served

    def lack_of(self, ref: ContextRef) -> str:
        """Return the reason why :meth:`ready` returns no items for *ref* at present; an empty string if it may.

        For example, the context was changed after *ref* was made, or the content in memory may be outdated.
        """
        prepared = self._prepared.get(ref.name)
        if prepared is None or prepared.context is None or prepared.digest != ref.digest:
            return "the context was changed after this reference to it was made"
        return self._staleness(prepared)

    def _staleness(self, prepared: PreparedContext) -> str:
        if self.store.blocks:
            is_fresh = self.now() - prepared.seen_at <= self._fresh_seconds
            return "" if is_fresh else "the store was not read for too long"
        try:
            # A reader waits, so this does not wait for another process that has locked the file.
            latest = self.store.generation(context_document(prepared.name), waits=False)
        except StoreError as error:
            log_warning("store.unreadable", place=self.store.place, why=error.reason)
            return f"the store cannot be read: {error.reason}"
        return "" if latest == prepared.generation else "the context was changed, and its new content is not read yet"

    def serve(self, ref: ContextRef, model: Model, prompt: Prompt) -> Served:
        """Return the model and the prompt for a run on *prompt*, changed to use ready items of *ref* that fit.

        The policy ``serving`` chooses the items. With the option ``passages``, passages of the context that fit the
        question and are not in the prompt are added to it, unless an answer is served or the context is unavailable.
        """
        if self.questions is not None:
            self.questions.note(ref.name, last_line(Task(prompt).question))
        served = self._serve_items(ref, model, prompt)
        if not self._passages or served.answer or (served.use is not None and served.use.used == "unavailable"):
            return served
        task = Task(prompt)
        ranked = self._prepared[ref.name].index.ranked(last_line(task.question))
        # A prompt that has the text itself gets no part of it again.
        passages = within([piece for piece in ranked if piece.text not in task.text], budget=self._passages)
        if not passages:
            return served
        use = ContextUse(ref.name, "facts" if served.items else "passages")
        lines = "\n".join((PASSAGES, *map(passage_of, passages)))
        return replace(served, prompt=before_question(served.prompt, lines), use=use)

    async def passages(
        self, ref: ContextRef, question: str, *, most: int = MOST, budget: int = BUDGET
    ) -> tuple[ContextPiece, ...]:
        """Return those pieces of the context of *ref* that fit *question*, best first.

        At most *most* pieces are returned, with at most *budget* characters in all. They are ranked by words (BM25).
        Raises :class:`UsageError` if *ref* is not current or a limit is below 0.
        """
        require("most", most, Count)
        require("budget", budget, Amount)
        prepared = self._current(ref)
        index = await self.in_store(lambda: prepared.index)
        return within(index.ranked(question), most=most, budget=budget)

    async def text_for(self, ref: ContextRef, question: str, *, room: int | None = None) -> str:
        """Return the text of the context of *ref* for a prompt with *question*.

        Of a text that is longer than *room* characters (default: about half of the model's context window), only
        passages that fit *question* are returned, under a heading; or the beginning, if none fits. Raises
        :class:`UsageError` if *ref* is not current, and :class:`~interwhen.models.ModelError` if the model cannot be
        asked for its capabilities.
        """
        window = (await self.model.capabilities()).context_tokens
        context = self._current(ref).context
        text = "" if context is None else context.text
        if room is None:
            room = characters_in(window, text)
        require("room", room, Amount)
        if len(text) <= room:
            return text
        passages = await self.passages(ref, question, budget=min(BUDGET, room))
        if not passages:  # each piece is longer than the room, or none has a word of the question
            best = await self.passages(ref, question, most=1, budget=len(text) * 2)
            return "\n".join((PASSAGES, (passage_of(best[0]) if best else text)[:room]))
        return "\n".join((PASSAGES, *map(passage_of, passages)))

    def _current(self, ref: ContextRef) -> PreparedContext:
        if lack := self.lack_of(ref):
            raise UsageError(f"context {ref.name!r} must be current, got one that is not ({lack}); open it again")
        return self._prepared[ref.name]

    def _serve_items(self, ref: ContextRef, model: Model, prompt: Prompt) -> Served:

        def unused(why: str, part: ContextPart = "none") -> Served:
            return Served(model, prompt, use=ContextUse(ref.name, part, why))

        if lack := self.lack_of(ref):
            return unused(lack, "unavailable")
        if not (items := self._prepared[ref.name].served):
            return unused("nothing is prepared")
        try:
            served = self._serving(items, model, prompt)
        except Exception as error:  # noqa: BLE001  (a plug-in may raise anything, and must not break a run)
            log_warning("serving.failed", context=ref.name, error=f"{type(error).__name__}: {error}")
            return unused(f"the serving policy failed: {type(error).__name__}")
        offered = {item.id: item for item in items}
        if not served.items:
            return replace(served, use=served.use or ContextUse(ref.name, "none", "nothing fits the question"))
        if strangers := [each for each in served.items if each not in offered]:
            log_warning("serving.refused", context=ref.name, why=f"{strangers[0]!r} was not offered")
            return unused("the serving policy chose an item that may not be served")
        used = self._prepared[ref.name].ancestry([offered[ItemId(each)] for each in served.items])
        self._uses.update(list(used))
        return replace(
            served,
            use=ContextUse(ref.name, "answer" if served.answer else "facts"),
            offline_tokens=sum(item.cost.generated for item in used.values()),
            offline_share=sum(item.cost.generated / self._uses[item.id] for item in used.values()),
        )

    def run(self, prompt: Any, *, context: ContextRef | None = None, **options: Any) -> Run:
        """Return a run of the model on *prompt* with the monitors of this object; *options* go to ``interwhen.run``.

        The run may use the ready items of *context*, and stops background work until it ends.
        """
        return run(self.model, prompt, **{"monitors": self.monitors, "context": context or Foreground(self), **options})

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Stop background work while the block runs, for uses of the model that are not a run."""
        self.foreground_gate.begin()
        try:
            yield
        finally:
            self.foreground_gate.end()

    def idle(self) -> IdleWork:
        """Return an ``async with`` block in which a task does the due work whenever no run needs the model."""
        return IdleWork(self._worker)

    async def work(self, *, slices: int | None = None) -> tuple[Slice, ...]:
        """Do the due work of all contexts of this object, and return the outcome of each slice.

        The work ends when none is due in a context with tokens left in its budget, or after *slices* slices. Raises
        :class:`UsageError` if another task does the work already, and :class:`StoreError` if the store fails during a
        slice.
        """
        return await self._worker.work(slices)

    @property
    def contexts(self) -> Mapping[str, PreparedContext]:
        """The contexts that this object has loaded from the store, by name.

        The entry of a context that is not in the store is empty.
        """
        return self._prepared

    async def in_store(self, work: Callable[[], T]) -> T:
        """Run *work*, which uses the store, in a thread, because it may wait for a disk, a lock or a network.

        With a store in memory it is called directly.
        """
        if isinstance(self.store.shelf, MemoryShelf) and not self.store.blocks:
            return work()
        return await anyio.to_thread.run_sync(work)

    async def aclose(self) -> None:
        """Write the noted questions, and close the store. The caller closes the model.

        Raises :class:`StoreError` if the questions cannot be written.
        """
        try:
            if self.questions is not None:
                await self.in_store(self.questions.save)
        finally:
            with anyio.move_on_after(_STORE_SECONDS, shield=True):
                await self.in_store(self.store.close)


@dataclass(frozen=True, slots=True)
class Foreground:
    """Stands in place of a context for a run that uses no items, and stops background work during the run."""

    precomputer: Precomputer

    def serve(self, model: Model, prompt: Prompt) -> Served:
        return Served(model, prompt)

    def begin(self) -> None:
        self.precomputer.foreground_gate.begin()

    def end(self) -> None:
        self.precomputer.foreground_gate.end()


@dataclass(frozen=True, slots=True)
class ContextRef(Foreground):
    """Refers to one content of a context, for ``run(..., context=)``. It is outdated after an edit."""

    name: str
    digest: Digest
    """The digest of the names, texts and leads of its pieces."""

    def serve(self, model: Model, prompt: Prompt) -> Served:
        return self.precomputer.serve(self, model, prompt)


# Background work: one step of one context at a time. Its item is stored before the next step begins.

_LOOK_SECONDS = 5.0
"""The interval, in seconds, at which an idle worker looks for edits by other processes."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
"""The seconds until a failed step is tried again. The pause doubles with each failure, up to the second number."""
_STORE_SECONDS = 30.0

Ending = Literal["cancelled", "late", "failed", "out of tokens", "found"]
"""The outcome of a slice that made no item. ``cancelled``: a run needed the model. ``late``: the slice took more than
``step_seconds``. ``failed``: an exception was raised, usually by the producer. ``out of tokens``: the token budget
of the context was used up. ``found``: another worker had already made the item."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of background work."""

    context: str
    step: str
    """The full name of the step."""
    outcome: Status | Ending
    """The status of the item that was made, or how the slice ended without one."""
    cost: Cost = field(default_factory=Cost)
    why: str = ""
    """The reason why there is no accepted item; it may be empty. For ``found``, the status of the found item."""


@dataclass(slots=True)
class _Trouble:
    again_at: float
    pause: float


class IdleWorker:
    """Does the background work of the precomputer *host*, one slice at a time."""

    def __init__(
        self,
        host: Precomputer,
        judge: Judge,
        *,
        token_budget: int,
        step_tokens: int,
        step_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._judge = judge
        self._token_budget = token_budget
        self._step_tokens = step_tokens
        self._step_seconds = step_seconds
        self._clock = clock
        self._troubles: dict[tuple[str, str, int], _Trouble] = {}
        self._drafts: dict[str, Drafts] = {}
        self._turn = 0
        self._news: anyio.Event | None = None
        self._is_working = False

    def wake(self) -> None:
        # End the pause of the background task now, because there may be work.
        if self._news is not None:
            self._news.set()

    async def work(self, slices: int | None) -> tuple[Slice, ...]:
        done: list[Slice] = []
        while slices is None or len(done) < slices:
            next_slice = await self.slice()
            if next_slice is None:
                break
            done.append(next_slice)
        return tuple(done)

    async def sleep_and_work(self) -> None:
        # This never returns: the caller cancels it.
        while True:
            self._news = anyio.Event()
            try:
                done = await self.slice()
            except StoreError as error:
                log_warning("worker.stopped_short", why=error.reason)
                done = None
            if done is None:
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self._news.wait()

    async def slice(self) -> Slice | None:
        if self._is_working:
            raise UsageError(
                "only one task may work with a precomputer at a time, got a second one; wait for the "
                "first, or make another Precomputer"
            )
        self._is_working = True
        try:
            await self._host.foreground_gate.quiet()
            job = await self._next()
            if job is None:
                return None
            return await self._work_on(*job)
        finally:
            self._is_working = False

    async def _next(self) -> tuple[PreparedContext, Context, PlannedStep] | None:
        # Contexts take turns.
        if self._host.questions is not None:
            await self._host.in_store(self._host.questions.save)
        names = list(self._host.contexts)
        self._turn += 1
        for at in range(len(names)):
            name = names[(self._turn + at) % len(names)]
            try:
                prepared = await self._up_to_date(name)
            except Exception as error:  # noqa: BLE001  (the plan of a producer may raise anything; other contexts continue)
                log_warning("context.failed", context=name, why=f"{type(error).__name__}: {error}")
                continue
            if prepared.context is None or prepared.spending.cost.generated >= self._token_budget:
                continue
            due = [step for step in prepared.current.due if not self._is_in_trouble(prepared, step)]
            if due:
                return prepared, prepared.context, due[0]
        return None

    async def _up_to_date(self, name: str) -> PreparedContext:
        prepared = self._host.contexts[name]
        generation = await self._host.in_store(lambda: self._host.store.generation(context_document(name)))
        if generation != prepared.generation:
            return await self._host.refresh(name)
        prepared.seen_at = self._host.now()
        return prepared

    def _is_in_trouble(self, prepared: PreparedContext, step: PlannedStep) -> bool:
        trouble = self._troubles.get((prepared.name, step.name, prepared.generation))
        return trouble is not None and anyio.current_time() < trouble.again_at

    async def _work_on(self, prepared: PreparedContext, context: Context, step: PlannedStep) -> Slice:
        host = self._host
        await host.in_store(lambda: prepared.look_again(host.store, step))
        if (there := prepared.current.items.get(step.name)) is not None:
            return Slice(prepared.name, step.name, "found", why=there.status)
        budget = self._token_budget - prepared.spending.cost.generated
        work = StepWork(
            step,
            context,
            prepared.current.items,
            model=MeteredModel(host.model, budget, when_used=host.foreground_gate.yield_now),
            judge=self._judge,
            step_tokens=self._step_tokens,
            drafts=await self._drafts_of(prepared.name),
        )
        ended: Item | Slice | None = None
        try:
            with host.foreground_gate.slice(), anyio.move_on_after(self._step_seconds) as limit:
                ended = await self._made(prepared, step, work)
        finally:
            made_item = isinstance(ended, Item)
            await self._account(prepared, step, work.cost, -work.reused if made_item else work.cost.generated)
            # After a failure the same text would only fail again.
            await self._keep_drafts(prepared.name, work, drop=ended is not None and not _is_out_of_tokens(ended))
        if ended is None:
            ending: Ending = "late" if limit.cancelled_caught else "cancelled"
            ended = Slice(prepared.name, step.name, ending, work.cost)
            if ending == "late":
                self._failed(prepared, step, f"no item within {self._step_seconds:g} s")
        if isinstance(ended, Slice):
            return ended
        return await self._keep(prepared, step, ended, work.cost)

    async def _made(self, prepared: PreparedContext, step: PlannedStep, work: StepWork) -> Item | Slice:
        try:
            return await make(step, work, self._host.key_settings, self._clock)
        except OutOfTokens as error:
            return Slice(prepared.name, step.name, "out of tokens", work.cost, str(error))
        except Exception as error:  # noqa: BLE001  (a producer may raise anything; only its own step fails)
            why = f"{type(error).__name__}: {error}"
            self._failed(prepared, step, why)
            return Slice(prepared.name, step.name, "failed", work.cost, why)

    def _failed(self, prepared: PreparedContext, step: PlannedStep, why: str) -> None:
        key = (prepared.name, step.name, prepared.generation)
        last = self._troubles.get(key)
        pause = _FIRST_PAUSE if last is None else min(last.pause * 2, _LONGEST_PAUSE)
        self._troubles[key] = _Trouble(anyio.current_time() + pause, pause)
        log_warning("step.failed", context=prepared.name, step=step.name, why=why, again_in=pause)

    async def _drafts_of(self, name: str) -> Drafts:
        if name not in self._drafts:
            self._drafts[name] = await self._host.in_store(lambda: Drafts(self._host.store, name))
        return self._drafts[name]

    async def _keep_drafts(self, name: str, work: StepWork, *, drop: bool) -> None:
        # Store the text that a slice has generated, so that the next slice can continue it; with `drop`, delete it.
        if work.drafted is None:
            return
        if drop:
            self._drafts[name].drop(work.drafted.keys)
        with anyio.move_on_after(_STORE_SECONDS, shield=True):
            await self._host.in_store(self._drafts[name].save)

    async def _account(self, prepared: PreparedContext, step: PlannedStep, cost: Cost, discarded: int) -> None:
        # Also called for a cancelled slice: its tokens are spent.
        if cost == Cost() and not discarded:
            return
        host = self._host
        past = prepared.spending
        # The cost counts in memory even if it cannot be written to the store.
        prepared.spending = replaced(past, cost=past.cost + cost, slices=past.slices + 1)
        try:
            with anyio.move_on_after(_STORE_SECONDS, shield=True):
                prepared.spending = await host.in_store(
                    lambda: spend(host.store, prepared.name, cost, discarded=discarded)
                )
        except StoreError as error:
            self._failed(prepared, step, error.reason)
            raise

    async def _keep(self, prepared: PreparedContext, step: PlannedStep, made: Item, cost: Cost) -> Slice:
        host = self._host
        try:
            stored = await host.in_store(lambda: host.store.put(made))
        except StoreError as error:
            # Without a pause, the worker would spend the same tokens again at once, and fail again.
            self._failed(prepared, step, error.reason)
            raise
        prepared.take(step, stored)
        log_info("step.made", context=prepared.name, step=step.name, status=stored.status, tokens=made.cost.generated)
        return Slice(prepared.name, step.name, stored.status, cost, stored.why)


def _is_out_of_tokens(outcome: Item | Slice) -> bool:
    return isinstance(outcome, Slice) and outcome.outcome == "out of tokens"


class IdleWork:
    """``async with precomputer.idle():`` does background work while the block runs, and stops it at the end."""

    def __init__(self, worker: IdleWorker) -> None:
        self._worker = worker

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._worker.sleep_and_work, name="worker")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        if isinstance(error, anyio.get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, traceback)
        # Without this, the group would wrap an exception of the block in an exception group.
        await self._group.__aexit__(None, None, None)
        return None
