"""Collects supervised calls, and calls the functions of the user (docs/decisions/records.md).

A call takes the listeners of its context when it begins, so that it is collected wherever its tasks and threads run.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from interwhen._engine.run_results import result_line
from interwhen._types.errors import UsageError
from interwhen._types.events import Delta, Event
from interwhen._types.log import log_warning
from interwhen._types.results import (
    CheckRecord,
    Result,
    ViolationRecord,
)
from interwhen._types.verifiers import is_async

CallSource: TypeAlias = Literal["run", "wrap", "gateway", "guard"]


class SupervisedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised call that has ended. ``str()`` formats it as one readable line."""

    call_id: str
    """The id of the call, as in its log event and in the audit file."""
    source: CallSource
    """What supervised the call."""
    api: str = ""
    """``chat``, ``completions`` or ``responses``; empty for a run and for a guarded function."""
    model: str
    """The name of the model; for ``guard``, the name of the function."""
    result: Result | None
    """The result; ``None`` if the call ended before its run began."""
    events: tuple[Event, ...] = ()
    """The events of the call, without those for text. Only calls inside :func:`interwhen.integrations.watching` have
    them."""

    @property
    def label(self) -> str:
        """The label of the result, such as ``steps verified``; ``failed`` if there is no result."""
        return "failed" if self.result is None else self.result.label

    @property
    def text(self) -> str:
        """The text of the result; empty if there is no result."""
        return "" if self.result is None else self.result.text

    @property
    def violations(self) -> tuple[ViolationRecord, ...]:
        """The ``violations`` of the result; empty if there is no result."""
        return () if self.result is None else self.result.violations

    @property
    def checks(self) -> tuple[CheckRecord, ...]:
        """The records of the checks on the text that was returned; empty if there is no result."""
        return () if self.result is None else self.result.checks

    def __str__(self) -> str:
        line = "failed" if self.result is None else result_line(self.result)
        return f"{self.source} {self.model[:80]!r}: {line} [{self.call_id}]"

    def __repr__(self) -> str:
        return f"SupervisedCall({self.label}, {len(self.violations)} violations, {self.call_id})"


class Listener(Protocol):
    """Receives the events of calls, and each call when it ends. Its methods must return at once and must not raise."""

    wants_events: bool
    """Whether :meth:`saw` is to be called."""

    def saw(self, call_id: str, events: Sequence[Event]) -> None:
        """Receive *events* of the running call *call_id*. Text events are left out."""
        ...

    def ended(self, call: SupervisedCall) -> None:
        """Receive *call*, which has ended. The field for its events is empty."""
        ...


LISTENERS: ContextVar[tuple[Listener, ...] | None] = ContextVar("interwhen_listeners", default=())
"""The listeners of this context. ``None``: a part of a larger call is being made."""
EVERYWHERE: list[Listener] = []
"""The listeners to the calls of all contexts."""
ENDED: deque[SupervisedCall] = deque(maxlen=1)


def last() -> SupervisedCall | None:
    """Return the supervised call of this process that ended most recently; ``None`` before the first one.

    Use this in notebooks, not in a server with many calls at one time. Calls of the gateway are not included.
    """
    return ENDED[-1] if ENDED else None


class WatchedCalls(Sequence[SupervisedCall]):
    """The supervised calls that began inside a :func:`watching` block and have ended, in the order of their ends."""

    wants_events = True

    def __init__(self) -> None:
        self._calls: list[SupervisedCall] = []
        self._events: dict[str, list[Event]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: Any) -> Any:
        return self._calls[index]

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def violations(self) -> tuple[ViolationRecord, ...]:
        return tuple(violation for call in tuple(self._calls) for violation in call.violations)

    def saw(self, call_id: str, events: Sequence[Event]) -> None:
        with self._lock:
            self._events.setdefault(call_id, []).extend(events)

    def ended(self, call: SupervisedCall) -> None:
        with self._lock:
            events = tuple(self._events.pop(call.call_id, ()))
            self._calls.append(msgspec.structs.replace(call, events=events) if events else call)

    def __str__(self) -> str:
        return "\n".join(map(str, self._calls)) or "no supervised calls"

    def __repr__(self) -> str:
        return f"WatchedCalls({len(self)} calls, {len(self.violations)} violations)"


@contextmanager
def watching(*, everywhere: bool = False) -> Iterator[WatchedCalls]:
    """Collect the supervised calls that begin inside the ``with`` block, whichever library makes them.

    The block gets a sequence of :class:`~interwhen.clients.SupervisedCall`. A call is added when it ends, even after
    the block. The sequence has the calls of the current context, and of tasks and threads that inherited a copy of it;
    a plain ``threading.Thread`` usually inherits none. With *everywhere*, it has the calls of the whole process.
    """
    seen = WatchedCalls()
    if everywhere:
        EVERYWHERE.append(seen)
        try:
            yield seen
        finally:
            EVERYWHERE.remove(seen)
        return
    token = LISTENERS.set((*(LISTENERS.get() or ()), seen))
    try:
        yield seen
    finally:
        LISTENERS.reset(token)


def without_text(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if type(event) is not Delta]


class Observation:
    """Passes the events and the result of a run or call to the listeners of its context and the caller's functions."""

    __slots__ = ("_is_over", "api", "call_id", "listeners", "model", "source")

    def __init__(
        self, call_id: str, source: CallSource, model: str, listeners: tuple[Listener, ...], api: str = ""
    ) -> None:
        self.call_id = call_id
        self.source: CallSource = source
        self.model = model
        self.api = api
        self.listeners = listeners
        self._is_over = False

    def saw(self, events: Iterable[Event]) -> None:
        textless = without_text(events)
        if textless and not self._is_over:
            for listener in self.listeners:
                if listener.wants_events:
                    listener.saw(self.call_id, textless)

    def end(self, result: Result | None) -> None:
        self._is_over = True
        call = SupervisedCall(call_id=self.call_id, source=self.source, api=self.api, model=self.model, result=result)
        if self.source != "gateway":
            ENDED.append(call)
        for listener in self.listeners:
            listener.ended(call)


# The caller's functions run in a thread, because a function that waits would stop the event loop that reads streams.

ResultCallback: TypeAlias = Callable[[SupervisedCall], object]
EventCallback: TypeAlias = Callable[[Event, str], object]

_QUEUED = 10_000
"""The most jobs that wait for the functions of one caller. Further ones are dropped."""
_IDLE_SECONDS = 1.0
"""How long a thread waits for another job before it ends."""
_EXIT_SECONDS = 5.0
"""How long the exit of the process waits for the functions."""


def vet_callback(label: str, function: object) -> None:
    if not callable(function) or is_async(function):
        raise UsageError(
            f"{label} must be a function that is not async, got {function!r:.200}: it runs in a thread, so write "
            "def, and start async work with asyncio.run_coroutine_threadsafe"
        )


class Callbacks:
    """Calls *on_event* and *on_result* for one call, with the context in which the call began."""

    def __init__(self, on_result: ResultCallback | None, on_event: EventCallback | None) -> None:
        self._on_result = on_result
        self._on_event = on_event
        self.wants_events = on_event is not None
        self._context = copy_context()

    def saw(self, call_id: str, events: Sequence[Event]) -> None:
        if self._on_event is not None:
            for event in events:
                self._put(self._on_event, event, call_id)

    def ended(self, call: SupervisedCall) -> None:
        if self._on_result is not None:
            self._put(self._on_result, call)

    def _put(self, function: Callable[..., object], *arguments: object) -> None:
        key = (id(self._on_result), id(self._on_event))
        _CallbackThread.put(key, (self._context, function, arguments))


_Job: TypeAlias = tuple[Context, Callable[..., object], tuple[object, ...]]


class _CallbackThread:
    """Runs the queued calls of one caller's ``on_result`` and ``on_event`` in order, in a thread."""

    known: ClassVar[dict[tuple[int, int], _CallbackThread]] = {}
    changed: ClassVar[threading.Condition] = threading.Condition()
    """Guards the queues of all threads. It is notified when a job is queued, and when a queue becomes empty."""

    def __init__(self, key: tuple[int, int]) -> None:
        self._key = key
        self.jobs: deque[_Job] = deque()
        self.dropped = 0
        threading.Thread(target=self._run, name="interwhen callbacks", daemon=True).start()

    @classmethod
    def put(cls, key: tuple[int, int], job: _Job) -> None:
        with cls.changed:
            thread = cls.known.get(key)
            if thread is None:
                if not cls.known:
                    atexit.register(cls.finish)
                thread = cls.known[key] = cls(key)
            if len(thread.jobs) >= _QUEUED:
                thread.dropped += 1
                if thread.dropped == 1:
                    log_warning("callback.dropped", function=_name(job[1]), waiting=_QUEUED)
                return
            thread.jobs.append(job)
            cls.changed.notify_all()

    @classmethod
    def finish(cls) -> None:
        deadline = time.monotonic() + _EXIT_SECONDS
        with cls.changed:
            cls.changed.wait_for(lambda: not any(one.jobs for one in cls.known.values()), deadline - time.monotonic())

    @classmethod
    def forget(cls) -> None:
        # Drop the references to all threads, because a forked process has none of its parent's threads.
        cls.changed = threading.Condition()
        cls.known.clear()

    def _run(self) -> None:
        cls = type(self)
        while True:
            with cls.changed:
                if not cls.changed.wait_for(lambda: self.jobs, _IDLE_SECONDS):
                    cls.known.pop(self._key, None)
                    if not cls.known:
                        atexit.unregister(cls.finish)
                    return
                context, function, arguments = self.jobs[0]
            try:
                context.copy().run(function, *arguments)
            except BaseException as error:  # noqa: BLE001  a failed function costs its own call only
                log_warning("callback.failed", function=_name(function), error=type(error).__name__)
            with cls.changed:
                # Removed only now, so that the exit of the process also waits for the job that runs.
                self.jobs.popleft()
                if not self.jobs:
                    cls.changed.notify_all()


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CallbackThread.forget)
