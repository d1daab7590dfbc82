"""One supervised generation.

The task that iterates over the run also reads the model's stream; in a run with gates, a separate task reads it.
Checks, except inline ones, run in a task group. A remedy closes an open stream, which ends the current read.

Why: docs/decisions/reading-streams.md.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Annotated, Any, ClassVar, Self

import anyio
import anyio.to_thread
import msgspec
from msgspec import Meta

from interwhen._core.machine import Core
from interwhen._core.messages import Abandoned, Finish, Idle, OutOfTime, SwitchedOff
from interwhen._core.segmenter import offer_for
from interwhen._engine.callbacks import EventCallback, Observation, ResultCallback, vet_callback
from interwhen._engine.jobs import Performer
from interwhen._engine.loop_blocking import is_own_cancellation, loop_caller, loop_clock
from interwhen._engine.monitors import Watcher, check_prompt
from interwhen._engine.recorders import Recorder, open_recorder
from interwhen._engine.resumed_runs import (
    known_result,
    restore_meters,
    restore_watchers,
    unfinished,
)
from interwhen._engine.run_results import build_result, log_result
from interwhen._engine.stream import TWO_READERS, Meter, ask_capabilities, close_model
from interwhen._engine.timers import Alarm, Timers
from interwhen._engine.workers import Workers
from interwhen._types.budgets import Budgets
from interwhen._types.errors import ModelError, UsageError
from interwhen._types.events import Event, Finished
from interwhen._types.extensions import Ready, Task, WorkerPool
from interwhen._types.ledger import Offline
from interwhen._types.log import log_warning
from interwhen._types.models import Capabilities, Model, Prompt, Sampling, Timeouts
from interwhen._types.monitors import HOLDING, Monitor
from interwhen._types.prompts import PromptMonitor, PromptRefused
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.results import PromptRecord, Result, notebook_page, prompt_bytes, prompt_sha256
from interwhen._types.segments import Phase
from interwhen._types.vetting import Positive, Share, vet
from interwhen.journal._rebuilt_run import RebuiltRun
from interwhen.journal._records import code_digest, options_digest
from interwhen.journal._settings import Journal


class Wakeup:
    """Wakes one task. A signal without a waiting task is lost, so check the condition before `wait`."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        self._event = anyio.Event()
        await self._event.wait()


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run, with everything loaded. :func:`interwhen.run` documents them."""

    # Raises `UsageError` on wrong values.

    monitors: tuple[Monitor, ...] = ()
    sampling: Sampling = Sampling()
    budgets: Budgets = Budgets()
    feedback: FeedbackTemplate | None = None
    starts_in: Phase = "answer"
    min_coverage: Share = 0.0
    workers: Annotated[WorkerPool, Meta(description="a pool of workers")] | None = None
    threads: Positive = 8
    processes: Positive = 2
    journal: Journal | None = None
    context: Annotated[Ready, Meta(description="a prepared context, from Precomputer.add()")] | None = None
    prompt_monitors: tuple[PromptMonitor, ...] = ()
    on_result: ResultCallback | None = None
    on_event: EventCallback | None = None

    def __post_init__(self) -> None:
        vet(self, "")
        for label in ("on_result", "on_event"):
            if (function := getattr(self, label)) is not None:
                vet_callback(label, function)


_MANY_TOOLS = 100
"""With more tools than this, the core is made in a thread, so that the event loop continues."""


def core_for(
    past: RebuiltRun | None,
    able: Capabilities | ModelError | float,
    prompt: Prompt,
    options: RunOptions,
    template: FeedbackTemplate | None,
) -> Core:
    """Return a new core for a run with these options, or the core of *past* if that run is resumed.

    *able* is the answer of the model: its capabilities, an error, or the time budget in seconds, which ran out before.
    """
    if past is not None:
        return past.core
    known = able if isinstance(able, Capabilities) else None
    monitors, sampling = options.monitors, options.sampling
    return Core(
        monitors,
        budgets=options.budgets,
        template=template,
        think_tags=known.think_tags if known is not None else None,
        starts_in=options.starts_in,
        max_tokens=sampling.max_tokens,
        counts_own_text=sampling.counts_own_text,
        context_tokens=known.context_tokens if known is not None else None,
        prompt_sha256=prompt_sha256(prompt),
        prompt_bytes=prompt_bytes(prompt),
        resume=known.resume if known is not None else None,
        codes=[code_digest(monitor.verifier) for monitor in monitors],
        options=[options_digest(monitor) for monitor in monitors],
        min_coverage=options.min_coverage,
        offer=offer_for(monitors, prompt, sampling.extra),
    )


def own_template(model: Model) -> FeedbackTemplate | None:
    template = getattr(model, "feedback", None)
    return template if isinstance(template, FeedbackTemplate) else None


def refuse_import() -> None:
    module = sys.modules.get("multiprocessing.process")
    if module is not None and getattr(module.current_process(), "_inheriting", False):
        raise UsageError(
            "a script with worker processes must start no run when it is imported, and this one does; put what it "
            "does under  if __name__ == '__main__':"
        )


# The kill switch turns supervision off: then the text of the model passes through unchecked.
#
# ``INTERWHEN_OFF=1`` in the environment turns supervision off from the start. A program, or a gateway on a signal, can
# change the switch later. Runs that are active when it is turned off stop checking at once and release the text that
# their gates hold back. They stay unchecked to their end, even if supervision is turned on again. Runs that begin while
# it is off are not checked at all.
#
# Why: docs/decisions/failures.md.

VARIABLE = "INTERWHEN_OFF"
_ON = ("", "0", "false", "no", "off")
"""Values of the variable that leave supervision on. Every other value turns it off, since the switch is for
emergencies."""


class _Switch:
    """The state of the switch, and the active runs, which it stops."""

    said: bool | None = None
    """Whether the program turned supervision off; ``None``: the program did not set it, so the environment decides."""
    logged: bool | None = None
    running: ClassVar[weakref.WeakValueDictionary[int, Run]] = weakref.WeakValueDictionary()
    """By id. Weak references do not keep a run alive."""


def means_off(text: str) -> bool:
    return text.strip().lower() not in _ON


def is_off() -> bool:
    said = _Switch.said
    off = means_off(os.environ.get(VARIABLE, "")) if said is None else said
    if off is not bool(_Switch.logged):
        _Switch.logged = off
        log_warning("supervision.switched", off=off, by=VARIABLE if said is None else "the program")
    return off


def switched_off(purpose: str) -> UsageError:
    return UsageError(
        f"supervision must be on to {purpose}, and it was switched off: unset {VARIABLE}, or switch it on again"
    )


def require_on(purpose: str) -> None:
    if is_off():
        raise switched_off(purpose)


def switch(off: bool | None) -> int:  # noqa: FBT001  the state to switch to
    # With `None`, the environment variable `INTERWHEN_OFF` decides again. Returns the number of active runs, none of
    # which checks anything now, or 0 if supervision is on.
    _Switch.said = off
    if not is_off():
        return 0
    # valuerefs() makes a copy, because other threads may begin and end runs during the loop.
    runs = [run for ref in _Switch.running.valuerefs() if (run := ref()) is not None]
    for run in runs:
        run.switch_off()
    return len(runs)


_AHEAD = 512
"""When this number of events waits for the reader, a gated run stops reading the model."""


class Run:
    """One run. Enter it with ``async with``, iterate over its events, and then read ``result``.

    Leaving the ``async with`` block closes the stream, cancels all checks and ends all tasks. The task that iterates
    need not be the task that entered the run. Raises :class:`UsageError` if two tasks iterate at one time, or if the
    run is entered twice.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_begins_switched_off",
        "_clock",
        "_context",
        "_core",
        "_crash",
        "_do",
        "_drained",
        "_entered",
        "_events",
        "_group",
        "_is_awaited",
        "_jobs",
        "_meter",
        "_model",
        "_news",
        "_offline",
        "_open_for_readers",
        "_options",
        "_owned",
        "_owns_workers",
        "_past",
        "_prompt",
        "_prompt_findings",
        "_reads_ahead",
        "_reads_directly",
        "_recorder",
        "_release_performer",
        "_result",
        "_soon",
        "_step",
        "_tell",
        "_timeouts",
        "_unsealed",
        "_upstream",
        "_wake",
        "_workers",
        "delivers_at_end",
        "error",
        "is_switched_off",
        "observation",
        "when_switched_off",
    )

    def __init__(
        self,
        model: Model,
        prompt: Prompt,
        options: RunOptions,
        *,
        owns_workers: bool = False,
        owns_model: bool = False,
        past: RebuiltRun | None = None,
    ) -> None:
        refuse_import()
        self._model = model
        self._prompt = prompt
        self._options = options
        self._prompt_findings: tuple[PromptRecord, ...] = ()
        self._owns_workers = options.workers is None or owns_workers
        self._workers: WorkerPool = options.workers or Workers(threads=options.threads, processes=options.processes)
        self._owned = model if owns_model else None
        self._context = options.context
        self._past = past
        self._recorder: Recorder | None = None
        self._offline = Offline()
        self._unsealed: Result | None = None
        self._timeouts: Timeouts = getattr(model, "timeouts", None) or Timeouts()
        self._result: Result | None = None
        self._events: deque[Event] = deque()
        self._reads_directly = False
        self._entered = False
        self._open_for_readers = False
        self._is_awaited = False
        # Text that is held back may be released while the model is silent: by a verdict, or by the kill switch.
        self._reads_ahead = any(monitor.delivery in HOLDING for monitor in self._options.monitors)
        self._begins_switched_off = False
        self._soon: Callable[..., object] | None = None
        self._wake = Wakeup()
        self._news = Wakeup()
        self._drained = Wakeup()
        self._alarm: Alarm | None = None
        self._crash: Exception | None = None
        self.error: ModelError | None = None
        """The exception of the model that ended a run as ``failed`` or ``abstained``; ``None`` if there was none, or if
        a journal recorded it."""
        self.delivers_at_end = False
        """Whether the reader gets the text only at the end. A resume that the server refuses is then a failure."""
        self.is_switched_off = False
        """Whether supervision of this run was turned off before or during the run. False without monitors."""
        self.when_switched_off: Callable[[], object] | None = None
        """It is called on the event loop of the run."""
        self.observation: Observation | None = None
        """Gets the result; ``None`` if this run is a part of a call that is observed as a whole."""

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError(
                "a run must be entered only once, got a second time; make a new one with interwhen.run(...)"
            )
        self._entered = True
        past = self._past
        self._clock = loop_clock()
        self._meter = Meter(self._clock)
        if self._context is not None:
            self._context.begin()
        try:
            self._workers.bind()
            await self._check_prompt()
            able = await self._ask_capabilities(past)
            template = self._options.feedback or own_template(self._model)
            make = partial(core_for, past, able, self._prompt, self._options, template)
            # The patterns of thousands of tools take long to compile.
            tools = self._options.sampling.extra.get("tools")
            offers_many = isinstance(tools, list) and len(tools) > _MANY_TOOLS
            self._core = core = await anyio.to_thread.run_sync(make) if offers_many else make()
            if self._options.journal is not None:
                self._recorder = open_recorder(
                    self._options.journal,
                    past,
                    core,
                    self._model.name,
                    self._prompt,
                    self._options.sampling,
                    self._offline,
                    self._prompt_findings,
                )
            watchers = tuple(Watcher(monitor) for monitor in self._options.monitors)
            if past is not None and not is_off():
                await restore_watchers(past, Task(self._prompt), watchers)
            self._group = anyio.create_task_group()
            await self._group.__aenter__()
        except BaseException:
            if self._recorder is not None:
                self._recorder.leave()
            await self._give_back()
            if self._owns_workers:
                await self._workers.aclose()
            raise
        try:
            self._begin(past, core, able, watchers)
        except BaseException:
            await self._leave_unbegun()
            raise
        self._soon = loop_caller()
        _Switch.running[id(self)] = self
        if is_off() or self._begins_switched_off:
            self._stop_checking()
        return self

    async def _ask_capabilities(self, past: RebuiltRun | None) -> Capabilities | ModelError | float:
        # A finished run asks no model, so it gets a placeholder. In a resumed run, an error of the model is raised, so
        # that the run can be resumed later.
        if past is not None:
            self._offline = past.journaled.header.offline
            if past.summary is not None:
                return Capabilities(resume="prefix")
        elif self._context is not None:
            served = self._context.serve(self._model, self._prompt)
            self._model, self._prompt = served.model, served.prompt
            self._offline = Offline(served.items, served.offline_tokens, served.offline_share, served.use)
        able = await ask_capabilities(self._model, self._timeouts, self._options.budgets.seconds)
        if past is not None and isinstance(able, ModelError):
            raise able
        return able

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        _Switch.running.pop(id(self), None)
        if self._result is None and self._unsealed is None:
            self._tell(Abandoned())
        self._group.cancel_scope.cancel()
        try:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                return await self._group.__aexit__(kind, error, traceback)
            # The exception is not passed to the group, which would wrap it in an exception group.
            await self._group.__aexit__(None, None, None)
            return None
        finally:
            try:
                if self._unsealed is not None:
                    with anyio.CancelScope(shield=True):
                        await self._seal()
                await self._jobs.close()
            finally:
                self._release_performer()
                await self._give_back()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        events = self._events
        while not events:
            if self._reads_directly and (stream := self._upstream.stream) is not None:
                # ModelReader.receive, inlined, because this code runs for every token.
                meter = self._meter
                if meter.waiting:
                    raise UsageError(TWO_READERS)
                meter.since = self._clock()
                meter.waiting = True
                try:
                    chunks = await stream.receive()
                except ModelError as error:
                    self._upstream.failed(stream, error)
                    continue
                finally:
                    meter.waiting = False
                self._upstream.take(stream, chunks)
            elif self._result is not None:
                raise StopAsyncIteration
            else:
                await self._wait_for_events()
        if self._reads_ahead and len(events) < _AHEAD:
            self._drained.notify()
        return events.popleft()

    async def batch(self) -> list[Event]:
        """Wait for the next event. Return it together with all others that are ready; empty at the end of the run."""
        try:
            first = await self.__anext__()
        except StopAsyncIteration:
            return []
        waiting = self._events
        if not waiting:
            return [first]
        events = [first, *waiting]
        waiting.clear()
        if self._reads_ahead:
            self._drained.notify()
        return events

    async def _wait_for_events(self) -> None:
        if not self._open_for_readers:
            raise UsageError(
                "a run must be entered before it is read, got a read before; write  async with "
                "interwhen.run(...) as run"
            )
        if self._is_awaited:
            raise UsageError(TWO_READERS)
        self._is_awaited = True
        try:
            if self._unsealed is not None:
                await self._seal()
            elif not self._reads_ahead:
                await self._advance()
            elif self._crash is not None:
                raise self._crash
            else:
                await self._news.wait()
        finally:
            self._is_awaited = False

    @property
    def result(self) -> Result:
        """The result of the run. Raises :class:`UsageError` before the end of the run."""
        if self._result is None:
            raise UsageError(
                "the run must end before its result is read, and has no result yet: read its events to the "
                "end, or leave its `async with` block"
            )
        return self._result

    def __repr__(self) -> str:
        return f"<Run: {self}>"

    def __str__(self) -> str:
        if self._result is not None:
            return str(self._result)
        return f"running, {len(self.text):,} characters" if self._open_for_readers else "not started"

    def _repr_html_(self) -> str | None:
        return notebook_page(self)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended. Its result may become available later, when the journal is written."""
        return self._result is not None or self._unsealed is not None

    @property
    def text(self) -> str:
        """The trace so far. Raises :class:`UsageError` before the run is entered."""
        if not self._open_for_readers:
            raise UsageError("the run must be entered before its text is read, and is not: use `async with`")
        return self._core.transcript.slice(0, self._core.transcript.length)

    def __await__(self) -> Generator[Any, None, Result]:
        return self._whole().__await__()

    async def _whole(self) -> Result:
        async with self:
            return await self.drain()

    async def drain(self) -> Result:
        """Read the remaining events, and return the result."""
        if self._open_for_readers and not self._core.has_shown:
            self._upstream.delivers_at_end = True
        async for _ in self:
            pass
        return self.result

    def switch_off(self) -> None:
        """Stop checking this run, and release the text that gates hold back. May be called from any thread.

        A run that is not entered yet stops checking when it is entered.
        """
        # Set before `_soon` is read: the run sets `_soon` and then reads this, so one of the two sees the call.
        self._begins_switched_off = True
        if self._soon is not None:
            with suppress(RuntimeError):  # the event loop is closed, so the run is over
                self._soon(self._stop_checking)

    def _stop_checking(self) -> None:
        if self.is_over or self.is_switched_off or not self._options.monitors:
            return
        self.is_switched_off = True
        self._tell(SwitchedOff())
        if self.when_switched_off is not None:
            self.when_switched_off()

    def _begin(
        self,
        past: RebuiltRun | None,
        core: Core,
        able: Capabilities | ModelError | float,
        watchers: Sequence[Watcher],
    ) -> None:
        """Create the performer of the orders, and perform the first ones: of *core*, or the open ones of *past*."""
        recorder = self._recorder
        self._step = core.step if recorder is None else recorder.step
        self._events = core.events
        performer = Performer(
            self._model,
            self._prompt,
            self._options.sampling,
            able.resume if isinstance(able, Capabilities) else "prefix",
            core,
            self._group,
            self._meter,
            watchers,
            self._workers,
            owns_workers=self._owns_workers,
            step=self._step,
            clock=self._clock,
            on_told=self._awaken,
            on_finish=self._finish,
        )
        self._do, self._tell, self._release_performer = performer.do, performer.tell, performer.release
        self._jobs, self._upstream = performer.jobs, performer.upstream
        self._upstream.delivers_at_end = self.delivers_at_end
        self._open_for_readers = True
        self._reads_directly = not self._reads_ahead
        if past is not None:
            restore_meters(past, self._meter, self._jobs.forks, self._upstream)
        if recorder is not None:
            recorder.begin(self._clock, self._meter, self._jobs.forks, self._upstream)
        if past is not None:
            self._go_on(past)
        elif isinstance(able, Capabilities):
            self._jobs.prepare(Task(self._prompt))
            self._do(core.begin())
            self._start_tasks()
        elif isinstance(able, ModelError):
            self._upstream.lost(able, final=True)
        else:
            self._tell(OutOfTime(able))

    async def _leave_unbegun(self) -> None:
        self._group.cancel_scope.cancel()
        try:
            # On trio, a task group that is never left makes the whole program fail.
            await self._group.__aexit__(None, None, None)
            if self._open_for_readers:
                await self._jobs.close()
        finally:
            if self._open_for_readers:
                self._release_performer()
            if self._recorder is not None:
                self._recorder.leave()
            await self._give_back()

    def _start_tasks(self) -> None:
        meter, limits, upstream = self._meter, self._timeouts, self._upstream
        look = upstream.wire.keep_pace(meter, limits.min_rate, self._core.counts.tokens)
        idle = (lambda after, dead: self._tell(Idle(after, dead))) if self._options.monitors else None
        timers = Timers(
            meter,
            limits,
            self._options.budgets.seconds,
            on_stall=upstream.stalled,
            on_spent=lambda after: self._tell(OutOfTime(after)),
            look=look,
            on_idle=idle,
        )
        self._alarm = Alarm(self._group, self._clock, timers.check)
        self._alarm.start()
        upstream.start_probe()
        if self._reads_ahead:
            self._group.start_soon(self._read_ahead, name="reader")

    def _finish(self, order: Finish) -> None:
        if self._alarm is not None:
            self._alarm.stop()
        upstream = self._upstream
        now = self._clock()
        upstream.wire.finish(now)
        result = build_result(
            order.summary,
            model=self._model.name,
            requests=self._core.counts.requests,
            usages=upstream.usages,
            resumes=upstream.resumes,
            probe_tokens=upstream.probe_tokens,
            unread=upstream.unread,
            forks=self._jobs.forks,
            timing=self._meter.timing(now, upstream.ended_at, tuple(upstream.close_latency)),
            blocked_loop=self._jobs.loop_blocking.blocked,
            starved=self._jobs.loop_blocking.starved,
            wire=upstream.wire.report(),
            wasted=upstream.wire.wasted(now),
            offline=self._offline,
        )
        if away := self._jobs.cluster_away:
            timing = msgspec.structs.replace(result.timing, cluster_away=away)
            result = msgspec.structs.replace(result, timing=timing)
        if self._prompt_findings:
            result = msgspec.structs.replace(result, prompt_findings=self._prompt_findings)
        # The traceback of an error refers to the run. Drop the error if it is not needed, so that the run can be freed.
        self.error, upstream.error = upstream.error if result.status in ("failed", "abstained") else None, None
        if self._recorder is None:
            self._conclude(result)
        else:  # the result contains the size of the journal, so it must wait until the journal is written
            self._unsealed = self._recorder.end(result)

    async def _check_prompt(self) -> None:
        if not self._options.prompt_monitors or is_off():
            return
        try:
            self._prompt, self._prompt_findings = await check_prompt(self._prompt, self._options.prompt_monitors)
        except PromptRefused as refused:
            if self.observation is not None:
                self.observation.end(refused.result)
            raise

    def _conclude(self, result: Result) -> None:
        self._result = result
        log_result(result)
        if self.observation is not None:
            self.observation.end(result)
        self._events.append(Finished(result))

    async def _give_back(self) -> None:
        if self._context is not None:
            self._context.end()
        if self._owned is not None:
            await close_model(self._owned)

    def _go_on(self, past: RebuiltRun) -> None:
        self._prompt_findings = past.journaled.header.prompt_findings
        known = known_result(past)
        if known is not None:
            self._conclude(known)
            return
        if past.summary is None:
            past.take(self._step(past.mark))
        orders, facts = unfinished(past, self._jobs)
        self._do(orders)
        for fact in facts:
            self._tell(fact)
        if self._result is None and self._unsealed is None:
            self._start_tasks()

    async def _seal(self) -> None:
        if self._recorder is None or self._unsealed is None:
            return
        result = await self._recorder.seal(self._unsealed)
        if self._unsealed is not None:  # another task may have published it during the wait
            self._unsealed = None
            self._conclude(result)

    async def _advance(self) -> None:
        upstream = self._upstream
        if upstream.stream is not None:
            await upstream.receive(upstream.stream)
        elif upstream.wanted is not None:
            await upstream.open(upstream.wanted)
        else:
            await self._wake.wait()

    async def _read_ahead(self) -> None:
        # A task of its own, because gates may open while the model is silent, and the reader must get their text then.
        try:
            while self._result is None:
                await self._advance()
                self._news.notify()
                if len(self._events) >= _AHEAD:
                    await self._drained.wait()
        except Exception as error:  # noqa: BLE001  (from the model adapter: raised in __anext__)
            self._crash = error
        except anyio.get_cancelled_exc_class():
            if not is_own_cancellation():
                self._crash = ModelError("the model's stream was cancelled within the adapter")
        finally:
            self._news.notify()

    def _awaken(self) -> None:
        # A new fact may have produced events.
        self._wake.notify()
        self._news.notify()


class ObservedRun(Run):
    """A run that also passes its events to listeners."""

    __slots__ = ()

    def _conclude(self, result: Result) -> None:
        # The reader may leave without reading these events.
        self._observe((*self._events, Finished(result)))
        super()._conclude(result)

    def _observe(self, events: Iterable[Event]) -> None:
        if self.observation is not None:
            self.observation.saw(events)

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self._observe((event,))
        return event

    async def batch(self) -> list[Event]:
        events = await super().batch()
        self._observe(events[1:])
        return events
