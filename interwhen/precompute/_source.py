"""Keeps prepared contexts of a store open for calls: a lookup usually costs a reader well below a millisecond.

Other threads read the contexts again. A call gets nothing from a context that is known to have changed, or that cannot
be read.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from interwhen._types.errors import PluginError, StoreError, UsageError
from interwhen._types.extensions import Served, Task
from interwhen._types.ledger import ContextUse
from interwhen._types.log import log_warning
from interwhen._types.models import Model, Prompt, Request
from interwhen.models._replay import Recording, ReplayModel
from interwhen.precompute._access import PLACE, bare_model, is_same_model, open_place
from interwhen.precompute._contexts import WorkerSettings, contexts_in, last_worker
from interwhen.precompute._precomputer import ContextRef, Precomputer
from interwhen.precompute._store import Store

REREAD_SECONDS = 5.0
"""After this time, a call makes a thread read the context again."""
_RETRY_SECONDS = 1.0
"""The same time for a context that could not be used."""
_CLOSE_SECONDS = 5.0
_HEAD = 64
"""The number of characters that must be equal before whole texts are compared."""


def _refuse(request: Request) -> Recording:
    raise UsageError(f"a context that is only read must not ask its model, got a request {request!r:.80}: use a worker")


@dataclass(frozen=True, slots=True)
class _State:
    """The content of a context when it was last read, or the reason *why* it cannot be used."""

    ref: ContextRef | None
    """``None`` if the context cannot be used."""
    worker: WorkerSettings | None
    """The settings of the last worker on the context; ``None`` if there was none."""
    text: str
    """The whole text, with single spaces."""
    read_at: float
    """When it was read, in seconds on the monotonic clock."""
    why: str = ""


class StoredContext:
    """One context of the store *source*, for a process that only reads it."""

    # Runs may use the items that were current when the context was last read.

    def __init__(self, name: str, source: StoredContexts) -> None:
        self.name = name
        self._source = source
        self._lock = threading.Lock()
        self._state = _State(None, None, "", float("-inf"), "it was not read yet")
        self._is_reading = False

    def begin(self) -> None:
        """Do nothing: this process does no background work that a run would stop."""

    def end(self) -> None:
        """Do nothing when a run ends."""

    @property
    def text(self) -> str:
        return self._state.text

    def serve(self, model: Model, prompt: Prompt) -> Served:
        # If the context cannot be used, the run gets `model` and `prompt` unchanged, and `use` of the result says why.
        state = self._state
        served = self._serve(state, model, prompt)
        is_well = served.use is not None and served.use.used != "unavailable"
        self.reread(after=REREAD_SECONDS if is_well else _RETRY_SECONDS)
        return served

    def _serve(self, state: _State, model: Model, prompt: Prompt) -> Served:
        def without(why: str) -> Served:
            return Served(model, prompt, use=ContextUse(self.name, "unavailable", why))

        if state.ref is None:
            return without(state.why)
        if state.worker is None and not self._source.passages:
            return without("no worker has prepared it; run: interwhen precompute run")
        if state.worker is not None and not is_same_model(state.worker.model, model.name):
            return without(f"it was prepared for the model {bare_model(state.worker.model)!r:.80}")
        try:
            return state.ref.serve(model, prompt)
        except Exception as error:  # noqa: BLE001  (no call fails because of its context)
            log_warning("context.failed", context=self.name, why=f"{type(error).__name__}: {error}")
            return without(f"{type(error).__name__} while it was read")

    def reread(self, *, after: float = 0.0) -> None:
        # Does not wait.
        if self._is_reading or time.monotonic() - self._state.read_at < after:
            return
        self._is_reading = True
        self._source.in_thread(self._reread)

    def _reread(self) -> None:
        try:
            self.read()
        except UsageError as error:  # it was deleted
            self._state = replace(
                self._state, ref=None, read_at=time.monotonic(), why="it is not in the store any more"
            )
            log_warning("context.unreadable", context=self.name, why=str(error))
        finally:
            self._is_reading = False

    def read(self) -> None:
        # It may block. Raises `UsageError` if there is no such context or store file.
        with self._lock:
            try:
                self._state = self._read()
            except (StoreError, PluginError) as error:
                log_warning("context.unreadable", context=self.name, why=str(error))
                # Clients of a gateway see the reason, but not the place of the store.
                why = f"its store cannot be read: {error.reason}"
                self._state = replace(self._state, ref=None, read_at=time.monotonic(), why=why)

    def _read(self) -> _State:
        store = self._source.opened_store()
        worker, old = last_worker(store, self.name), self._state
        if old.ref is not None and old.worker == worker:
            pre = old.ref.precomputer
        else:
            model = ReplayModel(_refuse, name="" if worker is None else worker.model)
            specs = () if worker is None else worker.specs
            pre = Precomputer(store, model, producers=specs, debounce=0.0, passages=self._source.passages)
            # Not the clock of an event loop: threads without a loop read the context, and calls may run on several
            # loops.
            pre.now = time.monotonic
            if worker is not None:
                pre.key_settings = worker.key_settings
        ref = pre.read(self.name)
        context = pre.contexts[self.name].context
        assert context is not None
        return _State(ref, worker, " ".join(context.text.split()), time.monotonic())


class StoredContexts:
    """The contexts in the store at *place*; a ``ContextSource``. The key of the store is in the file *key_file*.

    The store is opened when it is first needed. If the prompt of a call lacks the text of its context, passages that
    fit the question are added, with at most *passages* characters (0: none).
    """

    def __init__(self, place: str | None = None, key_file: Path | None = None, passages: int = 0) -> None:
        self.passages = passages
        self._place = place or PLACE
        self._key_file = key_file
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._closing: weakref.finalize[[], StoredContexts] | None = None
        self._contexts: dict[str, StoredContext] = {}
        self._threads: set[threading.Thread] = set()
        self._is_closed = False
        self._listed_at = float("-inf")
        self._is_listing = False
        self._heads: dict[str, tuple[StoredContext, ...]] = {}

    def find(self, name: str) -> StoredContext | None:
        return self._contexts.get(name)

    def open(self, name: str) -> StoredContext:
        # It may block. Raises `UsageError` if there is no such context or store file.
        context = self._contexts.get(name)
        if context is None:
            context = StoredContext(name, self)
            context.read()
            context = self._contexts.setdefault(name, context)
        return context

    def opened_store(self) -> Store:
        # Raises `UsageError` if there is no store file, or if the key file cannot be read or its key is too short, and
        # `StoreError` if the store cannot be opened or was closed.
        with self._lock:
            if self._is_closed:
                raise StoreError(self._place, "a store must be open to be used, and this one was closed; open it again")
            if self._store is None:
                self._store = open_place(self._place, self._key_file)
                # The clients that share this object need not close it.
                self._closing = weakref.finalize(self, self._store.close)
            return self._store

    def recognize(self, prompt: Prompt, names: Sequence[str], *, least: int = 0) -> str:
        # Never waits. Apart from white space, the text of the context must be a whole system or user message, or the
        # beginning of a user message. `least` is the fewest characters of the text.
        if time.monotonic() - self._listed_at > REREAD_SECONDS and not self._is_listing:
            self._is_listing = True
            self.in_thread(lambda: self._relist(names))
        for message in Task(prompt).messages:
            if message.role not in ("system", "user"):
                continue
            head = _head(message.content)
            for context in self._heads.get(head, ()):
                text = context.text
                if len(text) < max(least, _HEAD) or not any(fnmatchcase(context.name, name) for name in names):
                    continue
                given = " ".join(message.content.split())
                if given == text or (message.role == "user" and given.startswith(f"{text} ")):
                    return context.name
        return ""

    def load(self, names: Sequence[str]) -> None:
        # Open all contexts whose names match one of the patterns `names`, for `recognize`. It may block. Raises the
        # errors of `opened_store` and `open`, and `StoreError` if the store fails.
        store = self.opened_store()
        for name in contexts_in(store):
            if any(fnmatchcase(name, pattern) for pattern in names):
                self.open(name)
        heads: dict[str, tuple[StoredContext, ...]] = {}
        # The longest first: a text may begin with the text of another context.
        for context in sorted(self._contexts.values(), key=lambda each: -len(each.text)):
            head = _head(context.text)
            heads[head] = (*heads.get(head, ()), context)
        self._heads, self._listed_at = heads, time.monotonic()

    def _relist(self, names: Sequence[str]) -> None:
        try:
            self.load(names)
        except (StoreError, UsageError) as error:
            log_warning("contexts.unreadable", place=self._place, why=str(error))
            self._listed_at = time.monotonic()
        finally:
            self._is_listing = False

    def in_thread(self, work: Callable[[], object]) -> None:
        def main() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  (a thread has no caller)
                log_warning("context.failed", place=self._place, why=f"{type(error).__name__}: {error}")
            finally:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=main, name="interwhen contexts", daemon=True)
        self._threads.add(thread)
        thread.start()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            closing = self._closing
        for thread in tuple(self._threads):
            thread.join(_CLOSE_SECONDS)
        if closing is not None:
            closing()


def _head(text: str) -> str:
    return " ".join(text[: 4 * _HEAD].split())[:_HEAD]
