"""Starts, resumes, replays and rechecks supervised runs, from async code and from synchronous code."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, ParamSpec, Self, TypeAlias, TypeVar, get_args

import anyio
import anyio.lowlevel
import msgspec

from interwhen._core.messages import Resumed
from interwhen._core.release import describe
from interwhen._engine.callbacks import (
    EVERYWHERE,
    LISTENERS,
    Callbacks,
    EventCallback,
    Listener,
    Observation,
    ResultCallback,
    vet_callback,
)
from interwhen._engine.resumed_runs import result_of
from interwhen._engine.run import ObservedRun, Run, is_off, switched_off
from interwhen._engine.workers import Workers
from interwhen._types.budgets import Budgets
from interwhen._types.errors import DECODE_ERRORS, JournalError, MissingExtraError, UsageError
from interwhen._types.events import CheckSettled, CheckStarted, Delta, Event, Finished, Remedied, StreamBroken
from interwhen._types.extensions import Allocator, OnProgress, Ready, RemedyLearner, Unprepared, WorkerPool, fits
from interwhen._types.models import Capabilities, Chunk, Message, Model, Prompt, Sampling
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.results import CheckRecord, Result, Verified, new_call_id, notebook_page, prompt_sha256
from interwhen._types.segments import Phase, Span
from interwhen._types.verdicts import Judged, Outcome, Pass, Scope, Violation
from interwhen._types.verifiers import Worker, is_seconds
from interwhen.journal import Journal, ModelReference
from interwhen.journal._evidence import flaws
from interwhen.journal._files import MAGIC
from interwhen.journal._rebuilt_run import (
    Journaled,
    RebuiltRun,
    core_of,
    facts_of,
    read_journal,
    rebuild,
    rebuild_to_go_on,
    refuse_redacted,
    standing,
)
from interwhen.journal._records import (
    Header,
    VerifierRecord,
    as_recorded,
    recorded_monitors,
    refuse_others,
    with_current_names,
    with_recorded_remedies,
)
from interwhen.journal._reports import Recheck, RecheckFinding, Replay
from interwhen.models._messages import as_message
from interwhen.registry import (
    Api,
    MonitorSpec,
    PromptMonitorSpec,
    load_model,
    load_monitors,
    load_prompt_monitors,
    load_workers,
)

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from anyio.from_thread import BlockingPortal


# Replay: gives the recorded facts to a new core.

_APART = ("timing", "journal", "prompt_findings")
"""The fields of a result that a replay does not compare."""


def replay(journal: str | os.PathLike[str] | Journal) -> Replay:
    """Rebuild the recorded run from *journal* (a path or a :class:`Journal`), and compute its result again.

    No model, verifier or extractor runs. The replay of a run that has not ended has no result. Raises
    :class:`~interwhen.JournalError` if the journal cannot be read, is redacted or contradicts itself, or if this
    version builds another trace from its facts.
    """
    found = read_journal(journal)
    past = rebuild(found, recorded_monitors(found.header, found.path))
    result = result_of(past)
    events = tuple(past.core.events)
    transcript = past.core.transcript
    text = transcript.slice(0, transcript.length)
    differences: tuple[str, ...] = ()
    if result is not None:
        if found.result is not None:
            differences = _differences(result, found.result)
        events = (*events, Finished(result))
    return Replay(found, events, text, result, differences)


def _differences(ours: Result, theirs: Result) -> tuple[str, ...]:
    if type(ours) is not type(theirs):
        return ("status",)
    names = [name for name in ours.__struct_fields__ if name not in _APART]
    return tuple(name for name in names if getattr(ours, name) != getattr(theirs, name))


# Checking the recorded text of a model with other monitors.


async def recheck(
    path: str | os.PathLike[str], monitors: Iterable[MonitorSpec], *, on_progress: OnProgress | None = None
) -> Recheck:
    """Check the recorded text of the journal at *path* with *monitors*, one request after the other.

    The monitors only observe, and no model runs, so a fork finds only what its local parser finds. Violations that
    overlap text that a remedy inserted are left out. *on_progress* gets an estimate of the number of checked
    characters, and the number of all characters. Raises :class:`~interwhen.JournalError` as :func:`replay` does, and
    :class:`~interwhen.UsageError` if a monitor cannot be loaded, or if supervision is switched off while there are
    monitors.
    """
    watchers = load_monitors(_several(monitors))
    acting = {monitor.name for monitor in watchers if monitor.delivery != "observe"}
    observers = tuple(replace(monitor, delivery="observe") for monitor in watchers)
    found = read_journal(path)
    refuse_redacted(found)
    findings: list[RecheckFinding] = []
    seen: set[tuple[str, str, str]] = set()
    texts: list[str] = []
    unproven: tuple[CheckRecord, ...] = ()
    traces = _recorded_traces(found)
    progress = _CheckedCharacters(sum(trace.length() for trace in traces), on_progress)
    for number, recorded in enumerate(traces, start=1):
        text = "".join(chunk.text for chunk in recorded.chunks)
        texts.append(text)
        result = await observe_recorded(found, recorded.chunks, observers, on_event=progress.note)
        for violation in result.violations:
            span = violation.span
            # If the text up to the end of the violation is the same, this is the same finding in a longer trace.
            key = (violation.monitor, violation.key, text[: span.end])
            if key in seen or recorded.is_ours(span.start, span.end):
                continue
            seen.add(key)
            findings.append(RecheckFinding(number, violation, violation.monitor in acting))
        unproven = tuple(check for check in result.checks if _is_open(check))
    return Recheck(found, tuple(texts), tuple(findings), unproven)


# ---------------------------------------------------------------------- the recorded checks


class RepeatedCheck(msgspec.Struct, frozen=True):
    """The result of repeating one recorded check that had passed: whether it passes again."""

    check: CheckRecord
    """The recorded check."""
    passes: bool
    """Whether the check passes again."""
    why: str = ""
    """Why the check does not pass; empty if it passes."""
    changed: str = ""
    """What is known to have changed in its verifier since the record: the version or the code; otherwise empty."""


async def check_again(
    path: str | os.PathLike[str],
    monitors: Iterable[MonitorSpec] | None = None,
    *,
    prompt: Prompt | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Result, tuple[RepeatedCheck, ...]]:
    """Repeat the passed checks of a recorded result, with the installed verifiers and without a model.

    *path* is a journal, or a file with a result as JSON. For a journal, *monitors* defaults to the monitors that the
    journal names, and *prompt* is ignored. For a result, *monitors* is required, and so is *prompt* if the monitors
    read the problem in it. *on_progress* gets the number of checks that have ended, and an estimate of their total.

    Returns the recorded result, and a :class:`RepeatedCheck` for each check that had passed. A claim that only a fork
    finds does not pass again. Raises :class:`~interwhen.JournalError` or :class:`UsageError` if the record or the
    monitors cannot be used, or if supervision is switched off while there are monitors, and :class:`OSError` if the
    file cannot be opened.
    """
    result, chunks, asked, begins = _recorded(path, prompt)
    header = begins[2]
    if monitors is None and header is None:
        raise UsageError(
            f"the monitors must be given to check the result in {os.fspath(path)!r}, which does not say how "
            "to make them: give monitors=[...]"
        )
    absent: dict[str, str] = {}
    if monitors is None and header is not None:
        monitors, absent = _specs_and_absent(header)
    watchers = tuple(replace(monitor, delivery="observe") for monitor in load_monitors(monitors or ()))
    model = _recorded_model(chunks, think_tags=begins[0])
    settled, total = 0, len(result.checks)
    async with Run(model, asked, monitors=watchers, starts_in=begins[1]) as run:
        async for event in run:
            if isinstance(event, CheckSettled):
                settled += 1
                if on_progress is not None:
                    on_progress(settled, max(settled, total))
        vet_was_on(run)
        again = run.result
    found = {(check.monitor, check.key, check.span): check for check in again.checks}
    passed = [check for check in result.checks if isinstance(check.outcome, Judged) and _is_pass(check)]
    return result, tuple(
        RepeatedCheck(check, passes=False, why=absent[check.monitor])
        if check.monitor in absent
        else _repeated(check, found.get((check.monitor, check.key, check.span)), is_answer=result.answer_verified)
        for check in passed
    )


def _specs_and_absent(header: Header) -> tuple[list[str | dict[str, Any]], dict[str, str]]:
    """Return the different specifications of the monitors in *header*, and, by name, why a monitor has none."""
    specs: list[str | dict[str, Any]] = []
    absent: dict[str, str] = {}
    for record in header.monitors:
        if record.spec is None:
            name = str(record.fields["name"])
            absent[name] = (
                f"the journal must say how to make the monitor {name!r:.80}, and does not, because it was given as an "
                "object or a function, has a secret option, or was made from the request: give it with --monitor or "
                "monitors=[...]"
            )
        elif record.spec not in specs:
            specs.append(record.spec)
    return specs, absent


class ClaimAgain(NamedTuple):
    """The outcome of repeating the check of one recorded claim, and what changed in its verifier since then."""

    outcome: Outcome
    changed: str
    """As :attr:`RepeatedCheck.changed`."""


async def check_claim_again(path: str | os.PathLike[str], monitor: str, key: str, span: Span | None) -> ClaimAgain:
    """Check one recorded claim again with the installed verifiers, and return the outcome. No model runs.

    *path* is the journal, *monitor* the name of the monitor that found the claim, and *key* and *span* identify the
    claim. *span* has the offsets of the trace at that time, so the text may have been cut later. Raises
    :class:`UsageError` if the monitor cannot be made from the journal, if the claim is not found again, or if
    supervision is switched off. Raises :class:`~interwhen.JournalError` as :func:`replay` does.
    """
    found = read_journal(path)
    refuse_redacted(found)
    header = found.header
    recorded = next((one for one in header.monitors if one.fields["name"] == monitor), None)
    if recorded is None or recorded.spec is None:
        raise UsageError(
            f"the journal must say how to make the monitor {monitor!r:.80}, and does not, because it was given as an "
            "object or has a secret: run interwhen recheck with --monitor"
        )
    watchers = tuple(replace(one, delivery="observe") for one in load_monitors([recorded.spec]))
    for trace in _recorded_traces(found):
        result = await observe_recorded(found, trace.chunks, watchers)
        again = next((one for one in result.checks if (one.monitor, one.key, one.span) == (monitor, key, span)), None)
        if again is not None:
            return ClaimAgain(again.outcome, _changes(header.verifiers[recorded.verifier], again))
    raise UsageError(
        f"the claim {key!r:.80} must be found again in the recorded text, and is not: a fork found it, or the monitor "
        "reads other claims now"
    )


def _changes(then: VerifierRecord | CheckRecord, now: CheckRecord) -> str:
    """Return how the verifier *now* is known to differ from the verifier *then*; empty without a known difference."""
    if now.version != then.version:
        return f"version {then.version!r} then, {now.version!r} now"
    return "its code changed" if then.code_sha256 and now.code_sha256 != then.code_sha256 else ""


def _recorded(
    path: str | os.PathLike[str], prompt: Prompt | None
) -> tuple[Result, Sequence[Chunk], Prompt, tuple[tuple[str, str] | None, Phase, Header | None]]:
    with open(path, "rb") as file:  # noqa: PTH123  (the first bytes decide how it is read)
        data = file.read()
    if data.startswith(MAGIC):
        journaled = read_journal(path)
        refuse_redacted(journaled)
        if journaled.result is None:
            raise UsageError(f"the run in {os.fspath(path)!r} must be over, and is not: resume it to its end first")
        header = journaled.header
        begins = (header.think_tags, header.starts_in, header)
        return journaled.result, _recorded_traces(journaled)[-1].chunks, header.prompt, begins
    try:
        result: Result = msgspec.convert(with_current_names(msgspec.json.decode(data)), Result)
    except DECODE_ERRORS as error:
        raise UsageError(
            f"{os.fspath(path)!r} must be a journal, or a result as JSON, got something else ({error}): "
            "correct the path"
        ) from error
    wrong = list(flaws(result))
    asked = None if prompt is None else prompt_sha256(prompt)
    if isinstance(result, Verified) and asked not in (None, result.certificate.prompt_sha256):
        wrong.append("its certificate is for another prompt")
    if wrong:
        raise UsageError(
            f"the result in {os.fspath(path)!r} must agree with itself, and does not, so it was changed: "
            f"{wrong[0]}; restore it from a copy"
        )
    border = len(result.text) - len(result.answer) if result.text.endswith(result.answer) else 0
    chunks = [Chunk(result.text[:border], "reasoning"), Chunk(result.text[border:], "answer")]
    return result, [chunk for chunk in chunks if chunk.text], prompt or "", (None, "answer", None)


def _is_pass(check: CheckRecord) -> bool:
    return isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)


def _repeated(check: CheckRecord, now: CheckRecord | None, *, is_answer: bool) -> RepeatedCheck:
    if now is None:
        return RepeatedCheck(check, passes=False, why="its claim is not found again")
    why = "" if _is_pass(now) else describe(now.outcome)
    if is_answer and not why and _scope_of(check) == "answer" != _scope_of(now):
        why = "it passes only as a step now, and passed as the answer"
    return RepeatedCheck(check, passes=not why, why=why, changed=_changes(check, now))


def _scope_of(check: CheckRecord) -> Scope | None:
    """Return the scope of the pass in *check*; ``None`` if it did not pass."""
    outcome = check.outcome
    return outcome.verdict.scope if isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass) else None


# ---------------------------------------------------------------------- the recorded text


class _RecordedTrace(msgspec.Struct):
    """The chunks of one trace. *ours* lists the ranges ``[start, end)`` of its text that remedies inserted."""

    chunks: list[Chunk] = msgspec.field(default_factory=list)
    ours: list[tuple[int, int]] = msgspec.field(default_factory=list)

    def is_ours(self, start: int, end: int) -> bool:
        return any(low < end and start < high for low, high in self.ours)

    def length(self) -> int:
        return sum(len(chunk.text) for chunk in self.chunks)

    def cut(self, to: int) -> None:
        over = self.length() - to
        while over > 0:
            last = self.chunks.pop()
            over -= len(last.text)
            if over < 0:
                self.chunks.append(Chunk(last.text[:-over], last.phase))
        self.ours = [(low, min(high, to)) for low, high in self.ours if low < to]


def _recorded_traces(found: Journaled) -> list[_RecordedTrace]:
    """Return the traces of a recorded run: its text before each remedy or break, and at its end. At least one."""
    past = RebuiltRun(found, core_of(found.header, recorded_monitors(found.header, found.path)))
    past.take(past.core.begin())
    traces: list[_RecordedTrace] = []
    recorded = _RecordedTrace()
    grown = False
    for record in standing(found.records):
        for at, fact in facts_of(record):
            if isinstance(fact, Chunk) and fact.text and past.core.state == "streaming":
                recorded.chunks.append(Chunk(fact.text, fact.phase, call=fact.call))
                grown = True
            past.tell(at, fact)
            for event in past.core.events:
                if isinstance(event, Remedied | StreamBroken):
                    if grown:
                        traces.append(_RecordedTrace(list(recorded.chunks), list(recorded.ours)))
                    grown = False
                    _follow(recorded, event, past)
            past.core.events.clear()
            if isinstance(fact, Resumed):
                recorded.cut(past.core.transcript.length)
    if grown or not traces:
        traces.append(recorded)
    return traces


def _follow(recorded: _RecordedTrace, event: Remedied | StreamBroken, past: RebuiltRun) -> None:
    """Apply the cut and the insertion of *event*, which happened in the run *past*, to the trace *recorded*."""
    if isinstance(event, StreamBroken):
        recorded.cut(past.core.transcript.length)
        return
    violation = event.violation
    if violation.cut is None:
        return
    recorded.cut(violation.cut)
    if violation.inserted:
        phase = recorded.chunks[-1].phase if recorded.chunks else "answer"
        recorded.chunks.append(Chunk(violation.inserted, phase))
        recorded.ours.append((violation.cut, violation.cut + len(violation.inserted)))


def recorded_chunks(found: Journaled) -> dict[str, Sequence[Chunk]]:
    """Return the chunks of the recorded traces in *found*, by the text of the trace. Equal texts have one entry."""
    return {"".join(chunk.text for chunk in one.chunks): one.chunks for one in _recorded_traces(found)}


async def observe_recorded(
    found: Journaled,
    chunks: Sequence[Chunk],
    observers: Sequence[Monitor],
    *,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Result:
    """Run *observers* over the recorded *chunks*, and return the result. No model is asked.

    The prompt, the think tags and the first phase are those of the run in *found*. *on_event* gets each event. Raises
    :class:`UsageError` if supervision is switched off while there are *observers*.
    """
    header = found.header
    model = _recorded_model(chunks, think_tags=header.think_tags)
    async with Run(model, header.prompt, monitors=observers, starts_in=header.starts_in) as run:
        async for event in run:
            on_event(event)
        vet_was_on(run)
        return run.result


def vet_was_on(run: Run) -> None:
    """Raise :class:`UsageError` if supervision was switched off before or during *run*."""
    if run.is_switched_off:
        raise switched_off("check recorded text")


class _CheckedCharacters:
    """Estimates how many characters of recorded text :func:`recheck` has checked, and reports this to *on_progress*.

    *on_progress* gets the estimate and *total*, the number of all characters, at each event. The estimate never
    decreases.
    """

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self._read = self._started = self._settled = self._estimate = 0

    def note(self, event: Event) -> None:
        self._read += len(event.text) if isinstance(event, Delta) else 0
        self._started += isinstance(event, CheckStarted)
        self._settled += isinstance(event, CheckSettled)
        if self._on_progress is not None:
            # Text is read faster than slow checks end, so it counts by the share of its checks that have ended.
            # Skipped checks end without a start.
            share = min(1.0, self._settled / self._started) if self._started else 1.0
            self._estimate = max(self._estimate, min(int(self._read * share), self._total))
            self._on_progress(self._estimate, self._total)


def _is_open(check: CheckRecord) -> bool:
    return not (isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass | Violation))


def _recorded_model(
    chunks: Sequence[Chunk], *, think_tags: tuple[str, str] | None = None, name: str = "recorded"
) -> Model:
    from interwhen.models._replay import Recording, ReplayModel  # only runs of recorded text need it

    able = Capabilities(resume="prefix", forks=False, think_tags=think_tags)
    return ReplayModel([Recording.untimed(chunks)], capabilities=able, name=name)


# Event loops for synchronous code, each in its own thread: one for a run, or one for all users of a client.

T = TypeVar("T")
P = ParamSpec("P")
Started: TypeAlias = "Future[tuple[BlockingPortal, asyncio.AbstractEventLoop, anyio.Event]]"
"""Resolves, once a loop runs, to its portal, the loop, and the event that ends it; or to the error of its start."""

_END_SECONDS = 5.0
"""The longest wait in seconds of :meth:`Running.end`."""


class Running:
    """An event loop in a separate thread. It runs until :meth:`end` is called or the process ends.

    *options* are the ``backend_options`` of :func:`anyio.run`. Raises the error if the loop cannot start.
    """

    # Not ``anyio.from_thread.start_blocking_portal``: it waits for its thread without a limit. Its suspended generator
    # also raises if the garbage collector finalizes it in its own thread, or at the end of the interpreter.

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        from concurrent.futures import Future

        ready: Started = Future()
        self.clients: dict[str, Any] = {}
        """HTTP clients that belong to this loop, which closes them when it ends, as far as its time allows."""
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=_run, args=(ready, self.clients, dict(options or {})), name="interwhen loop", daemon=True
        )
        try:
            self._thread.start()
            self._portal, self._loop, self._ending = ready.result()
            atexit.register(self.end)
        except BaseException:
            ready.add_done_callback(_end_unused)
            raise

    @property
    def is_here(self) -> bool:
        """Whether this process started the loop. A forked process has no threads of its parent."""
        return self._process == os.getpid()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await ``function(*args)`` on the loop and return its result. This blocks the calling thread.

        Raises :class:`RuntimeError` if the loop has ended, :class:`concurrent.futures.CancelledError` if it ends
        meanwhile, and the exceptions of *function*.
        """
        return self._portal.call(function, *args)

    def during(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Return a synchronous context manager that enters and leaves *manager* on the loop, both in the same task."""
        return self._portal.wrap_async_context_manager(manager)

    def start(self, function: Callable[[], Awaitable[object]]) -> None:
        """Start *function* on the loop without waiting for it. Raises :class:`RuntimeError` if the loop has ended."""
        self._portal.start_task_soon(function)

    def soon(self, function: Callable[[], object]) -> None:
        """Call *function* on the loop without waiting for it. Does nothing after the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def end(self) -> None:
        """Ask the loop to close the clients, cancel its tasks and end, and wait for this at most 5 seconds.

        In the loop's own thread, this does not wait. In a forked process, it does nothing.
        """
        atexit.unregister(self.end)
        if self.is_here:
            self.soon(self._ending.set)
            if threading.current_thread() is not self._thread:  # the garbage collector may call this in any thread
                self._thread.join(_END_SECONDS)


class LoopThread:
    """The event loop of one client. It starts when it is first used, and ends with :meth:`close` or with the client.

    After :meth:`close`, the next use starts another one.
    """

    _known: ClassVar[weakref.WeakKeyDictionary[Any, LoopThread]] = weakref.WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._now: Running | None = None
        self._own_lock = threading.Lock()

    @classmethod
    def of(cls, client: Any) -> LoopThread:
        """Return the loop thread of *client*. Each call with the same client returns the same object."""
        with cls._lock:
            found = cls._known.get(client)
            if found is None:
                found = cls._known[client] = cls()
                weakref.finalize(client, found.close)
            return found

    def running(self) -> Running:
        """Return the loop. Start one if this process has started none, or none since :meth:`close`."""
        with self._own_lock:
            if self._now is None or not self._now.is_here:
                self._now = Running()
            return self._now

    def close(self) -> None:
        """End the loop as :meth:`Running.end` does, if there is one."""
        with self._own_lock:
            now, self._now = self._now, None
        if now is not None:
            now.end()


def _end_unused(ready: Started) -> None:
    """End the loop of *ready* as soon as it runs, because the thread that started it was interrupted."""
    if ready.exception() is None:
        _, loop, ending = ready.result()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ending.set)


def _run(ready: Started, clients: dict[str, Any], options: dict[str, Any]) -> None:
    """Run an event loop until its end event is set, then close *clients*, for at most 2.5 seconds.

    *ready* receives the objects through which other threads use the loop, or the error if the loop cannot start.
    """
    import asyncio  # a large part of the time to import interwhen

    from anyio.from_thread import BlockingPortal

    async def main() -> None:
        async with BlockingPortal() as portal:
            ending = anyio.Event()
            ready.set_result((portal, asyncio.get_running_loop(), ending))
            await ending.wait()
            with anyio.move_on_after(_END_SECONDS / 2):
                for client in clients.values():
                    await client.aclose()
            await portal.stop(cancel_remaining=True)

    try:
        anyio.run(main, backend_options=options)
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)


__all__ = ["Run", "SyncRun", "Workers", "run", "run_sync"]


def run(
    model: Model | str,
    prompt: str | Sequence[Message | Mapping[str, Any]],
    *,
    monitors: Iterable[MonitorSpec] = (),
    sampling: Sampling | None = None,
    budgets: Budgets | None = None,
    feedback: FeedbackTemplate | None = None,
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    workers: WorkerPool | str | None = None,
    threads: int = 8,
    processes: int = 2,
    journal: str | os.PathLike[str] | Journal | None = None,
    allocator: Allocator | None = None,
    learner: RemedyLearner | None = None,
    context: Ready | None = None,
    prompt_monitors: Iterable[PromptMonitorSpec] = (),
    on_result: ResultCallback | None = None,
    on_event: EventCallback | None = None,
) -> Run:
    """Return a run of *model* on *prompt*, supervised by *monitors*. It starts when it is entered (``async with``).

    *model* is an adapter, or the name of a model (``"local"``), which the run then opens and closes. *prompt* is a text
    to continue, or chat messages. *monitors* are monitors, names with options (``"arithmetic:level=explain"``), dicts,
    or factories. *sampling* goes to the model, *budgets* limit the run, *feedback* is the wording of feedback to the
    model. ``starts_in="reasoning"`` is for models whose chat template has already opened the reasoning. With
    *min_coverage* (0 to 1), the result is not verified if the passed claims cover a smaller share of the text.

    *workers* (:class:`~interwhen.Workers`) is a pool that several runs share for their checks; without it, the run has
    its own pool with *threads* and *processes*. ``workers="ray"`` gives the run a pool of its own on a cluster
    (:class:`~interwhen.integrations.ray.RayWorkers`). *journal* is the file for the journal, from which
    :func:`~interwhen.resume` continues the run. *context* is a prepared context (``await precomputer.add(...)``); the
    run uses only items that are ready when it is entered. *allocator*
    (:class:`~interwhen.strategies.AdaptiveAllocator`) may lower the budgets, and *learner*
    (:class:`~interwhen.strategies.RemedyBeliefs`) sets the order in which the remedies of a ladder are tried.
    *prompt_monitors* (:class:`~interwhen.toolkit.PromptMonitor`, or names) read the prompt before the model is asked.

    *on_result* is called with the :class:`~interwhen.clients.SupervisedCall` at the end, and *on_event* with the events
    that are not text, and the id of the call. Both run in a thread, and their exceptions are only logged. With
    ``INTERWHEN_OFF=1`` in the environment no monitor runs, and no result is verified.

    Raises :class:`~interwhen.UsageError` on arguments that cannot work, and :class:`~interwhen.PluginError` for a name
    that cannot be loaded. Entering the run raises :class:`~interwhen.toolkit.PromptRefused` if a prompt monitor refuses
    the prompt, or fails and is closed, and :class:`~interwhen.JournalError` if the file for the journal is not empty or
    cannot be written.
    """
    specs = _several(monitors)
    watchers = load_monitors(specs)
    _vet(watchers)
    if is_off():
        specs = watchers = ()
    _vet_type("sampling", sampling, Sampling)
    _vet_type("budgets", budgets, Budgets)
    _vet_type("feedback", feedback, FeedbackTemplate)
    pool = load_workers(workers)
    for label, given, protocol, must, todo in (
        ("allocator", allocator, Allocator, "have the methods allow() and learn()", "give an Allocator"),
        ("learner", learner, RemedyLearner, "have the methods order() and learn()", "give a RemedyLearner"),
        ("context", context, Ready, "be a prepared context", "give what Precomputer.add() returns"),
    ):
        if given is not None and not fits(given, protocol):
            raise UsageError(f"{label} must {must}, got {given!r:.200}: {todo}")
    if starts_in not in get_args(Phase):
        raise UsageError(f"starts_in must be one of {', '.join(get_args(Phase))}, got {starts_in!r:.80}")
    if not isinstance(min_coverage, int | float) or not 0.0 <= min_coverage <= 1.0:
        raise UsageError(f"min_coverage must be a share of the text, from 0 to 1, got {min_coverage!r:.200}")
    if fits(prompt, Model):
        raise UsageError(f"prompt must be a text or messages, got the model {prompt!r:.200}: write run(model, prompt)")
    owned = isinstance(model, str)
    listeners = _listeners(on_result, on_event)
    adapter = _adapter(model)
    kind = ObservedRun if listeners else Run
    made = kind(
        adapter,
        _prompt(prompt),
        monitors=watchers,
        sampling=sampling,
        budgets=budgets,
        feedback=feedback,
        starts_in=starts_in,
        min_coverage=min_coverage,
        workers=pool,
        owns_workers=isinstance(workers, str),
        threads=threads,
        processes=processes,
        owns_model=owned,
        journal=_journal(journal, model if isinstance(model, str) else None, specs),
        allocator=allocator,
        learner=learner,
        context=context,
        prompt_monitors=load_prompt_monitors(prompt_monitors),
    )
    if listeners is not None:
        made.observation = Observation(new_call_id(), "run", adapter.name, listeners)
    return made


def _listeners(
    on_result: ResultCallback | None = None, on_event: EventCallback | None = None
) -> tuple[Listener, ...] | None:
    """Return the listeners for a run that is created now; ``None`` if the run is a part of a larger call.

    They include the functions *on_result* and *on_event*. Raises :class:`UsageError` if one of these cannot be called
    from a thread.
    """
    for label, function in (("on_result", on_result), ("on_event", on_event)):
        if function is not None:
            vet_callback(label, function)
    here = LISTENERS.get()
    if here is None:
        return None
    has_own = on_result is not None or on_event is not None
    own: tuple[Listener, ...] = (Callbacks(on_result, on_event),) if has_own else ()
    return (*own, *here, *EVERYWHERE)


def as_part(make: Callable[P, T]) -> Callable[P, T]:
    """Wrap *make*, a function such as :func:`run`, so that listeners do not observe the runs that it makes.

    They are parts of a larger call, which is observed as a whole.
    """

    def made(*args: P.args, **options: P.kwargs) -> T:
        token = LISTENERS.set(None)
        try:
            return make(*args, **options)
        finally:
            LISTENERS.reset(token)

    return made


def _several(monitors: Iterable[MonitorSpec]) -> tuple[MonitorSpec, ...]:
    if isinstance(monitors, str | Mapping) or not isinstance(monitors, Iterable):
        raise UsageError(f"monitors must be a list of monitors, got {monitors!r:.200}: put a single monitor in a list")
    return tuple(monitors)


def _adapter(model: Model | str) -> Model:
    adapter = load_model(model)
    if not fits(adapter, Model):
        raise UsageError(
            f"model must be a Model or the name of one, got {model!r:.200}: give an adapter, such as "
            "CompletionsModel(...)"
        )
    return adapter


def _journal(journal: object, model: str | None, specs: tuple[MonitorSpec, ...]) -> Journal | None:
    if journal is None:
        return None
    if isinstance(journal, str | os.PathLike):
        journal = Journal(journal)
    if not isinstance(journal, Journal):
        raise UsageError(f"journal must be a path or a Journal, got {journal!r:.200}: give one of them")
    if model is not None and journal.model is None:
        journal = replace(journal, model=ModelReference(model))
    return journal if journal.monitors else replace(journal, monitors=specs)


def _vet(watchers: Sequence[Monitor]) -> None:
    """Raise :class:`UsageError` if a verifier has an invalid ``worker`` or ``deadline``."""
    for who in (monitor.verifier for monitor in watchers):
        if who.worker not in get_args(Worker):
            raise UsageError(
                f"the worker of verifier {who.name!r:.80} must be one of {', '.join(get_args(Worker))}, got "
                f"{who.worker!r:.80}"
            )
        if not is_seconds(who.deadline):
            raise UsageError(
                f"the deadline of verifier {who.name!r:.80} must be a positive number of seconds, got "
                f"{who.deadline!r:.80}"
            )


def _vet_type(label: str, value: object, kind: type) -> None:
    if not isinstance(value, kind | None):
        raise UsageError(f"{label} must be a {kind.__name__}, got {value!r:.200}: write {label}={kind.__name__}(...)")


def _prompt(prompt: str | Sequence[Message | Mapping[str, Any]]) -> str | tuple[Message, ...]:
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, bytes | Mapping) or not isinstance(prompt, Iterable):
        raise UsageError(f"prompt must be a text or a list of messages, got {prompt!r:.200}: give one of them")
    messages = []
    for number, message in enumerate(prompt):
        if isinstance(message, Message):
            messages.append(message)
            continue
        try:
            messages.append(as_message(message))
        except msgspec.ValidationError as error:
            raise UsageError(
                f"message {number} of the prompt must have a 'role' and a text as 'content', got "
                f"{message!r:.200} ({error}): correct this message"
            ) from error
    if not messages:
        raise UsageError("prompt must have at least one message, got an empty list: add a message")
    return tuple(messages)


class SyncRun:
    """A run for synchronous code. It wraps the run *inner*, which runs on an event loop in another thread.

    With *uvloop*, entering the block raises :class:`MissingExtraError` if uvloop is not installed.
    """

    def __init__(self, inner: Run, *, uvloop: bool = False) -> None:
        self._inner = inner
        self._uvloop = uvloop
        self._stack = ExitStack()
        self._loop: Running | None = None

    def __enter__(self) -> Self:
        options = {"use_uvloop": True} if self._uvloop else {}
        if self._uvloop and find_spec("uvloop") is None:
            raise MissingExtraError("run_sync(uvloop=True)", "fast")
        # Ctrl-C may interrupt any line here, also while this thread waits for the other one. The exit stack then ends
        # the loop and waits a limited time; anyio's own portal would wait forever.
        with ExitStack() as stack:
            loop = Running(options)
            stack.callback(loop.end)
            stack.enter_context(loop.during(self._inner))
            self._loop = loop
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._loop = None
        return self._stack.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._loop is None:
            raise UsageError(
                "the events of a run must be read inside its block, and this is outside: write with "
                "interwhen.run_sync(...) as run"
            )
        try:
            return self._loop.call(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def __repr__(self) -> str:
        """Return one short line: how the run ended, or how far it is."""
        return f"<SyncRun: {self}>"

    def __str__(self) -> str:
        """Return one line for a person: that of the result, or how far the run is."""
        return str(self._inner)

    def _repr_html_(self) -> str | None:
        """Return the trace page of this run for a notebook; ``None`` if the notebook should show plain text."""
        return notebook_page(self)

    @property
    def result(self) -> Result:
        """The result of the run. Raises :class:`UsageError` before the run has ended."""
        return self._inner.result

    def drain(self) -> Result:
        """Read all events without keeping them, and return the result.

        Raises :class:`UsageError` outside of the ``with`` block.
        """
        for _ in self:
            pass
        return self.result


def run_sync(
    model: Model | str,
    prompt: str | Sequence[Message | Mapping[str, Any]],
    *,
    uvloop: bool = False,
    **options: Any,
) -> SyncRun:
    """Return a run for synchronous code: ``with interwhen.run_sync(...) as run``.

    *options* and errors are the same as for :func:`run`. The run uses an asyncio event loop in another thread. With
    *uvloop* (extra ``fast``), entering the block raises :class:`~interwhen.toolkit.MissingExtraError` if it is not
    installed.
    """
    return SyncRun(run(model, prompt, **options), uvloop=uvloop)


# Resuming a run from its journal after its process ended.

__all__ = ["resume", "resume_sync"]


def resume(
    journal: str | os.PathLike[str] | Journal,
    *,
    model: Model | str | None = None,
    monitors: Iterable[MonitorSpec] | None = None,
    workers: WorkerPool | str | None = None,
    threads: int = 8,
    processes: int = 2,
) -> Run:
    """Return a run that continues the run of *journal*. It starts when it is entered (``async with``).

    Prompt, sampling and budgets come from the journal. The budgets include what the run had spent before. The model
    continues the recorded text, unfinished checks run again, and the new records follow in the same file. The reader
    gets the events of the run from the first one on. A finished run returns its result without a request. A run whose
    reader left, or that ended as ``failed``, is not finished and continues.

    Give *model* and *monitors* if the run did not get them by name; whether *model* is that of the run is not checked.
    *workers*, *threads* and *processes* are the same as for :func:`~interwhen.run`. Raises
    :class:`~interwhen.JournalError` as :func:`replay` does, if *monitors* are not those of the run, or if they or
    *model* are missing, and :class:`~interwhen.UsageError` if an argument cannot be loaded. Entering the run raises
    :class:`~interwhen.JournalError` if the file cannot be continued.
    """
    settings = journal if isinstance(journal, Journal) else Journal(journal)
    found = read_journal(settings)
    if monitors is None and _is_over(found):
        watchers: tuple[Monitor, ...] = recorded_monitors(found.header, found.path)
    else:
        watchers = _watchers(found, monitors)
    past = rebuild_to_go_on(found, watchers)
    header = found.header
    # A finished run sends no request: it needs a model only for its name.
    adapter = _model(found, model) if past.summary is None else _recorded_model((), name=header.model)
    listeners = _listeners()
    made = (ObservedRun if listeners else Run)(
        adapter,
        header.prompt,
        monitors=watchers,
        sampling=header.sampling,
        budgets=header.budgets,
        feedback=header.template,
        starts_in=header.starts_in,
        min_coverage=header.min_coverage,
        workers=load_workers(workers),
        owns_workers=isinstance(workers, str),
        threads=threads,
        processes=processes,
        owns_model=not isinstance(model, Model),
        journal=settings,
        past=past,
        context=Unprepared(header.offline),
    )
    if listeners is not None:
        made.observation = Observation(new_call_id(), "run", adapter.name, listeners)
    return made


def resume_sync(journal: str | os.PathLike[str] | Journal, *, uvloop: bool = False, **options: Any) -> SyncRun:
    """Return a run that continues the run of *journal*, for synchronous code.

    *options* and errors are the same as for :func:`resume`, and *uvloop* is the same as for :func:`run_sync`.
    """
    return SyncRun(resume(journal, **options), uvloop=uvloop)


def _is_over(found: Journaled) -> bool:
    return rebuild_to_go_on(found, recorded_monitors(found.header, found.path)).summary is not None


def _watchers(found: Journaled, monitors: Iterable[MonitorSpec] | None) -> tuple[Monitor, ...]:
    if monitors is None:
        watchers = as_recorded(found.header, load_monitors(_specs(found.path, found.header)))
    else:
        watchers = with_recorded_remedies(found.header, load_monitors(_several(monitors)))
    refuse_others(found.path, found.header, watchers)
    return watchers


def _specs(path: str, header: Header) -> Sequence[MonitorSpec]:
    specs, absent = _specs_and_absent(header)
    if absent:
        name = next(iter(absent))
        raise JournalError(
            path, f"it must say how to make the monitor {name!r:.80}, and does not: give monitors=[...] as for its run"
        )
    return specs


def _model(found: Journaled, model: Model | str | None) -> Model:
    reference = found.header.reference
    if model is None:
        if reference is None:
            raise JournalError(
                found.path,
                f"it must say how to open its model {found.header.model!r:.80}, and does not: give model=...",
            )
        api: Api = "chat" if reference.api == "chat" else "completions"
        return load_model(reference.spec, name=reference.name, api=api)
    return _adapter(model)
