"""Starts and resumes supervised runs, from async code and from synchronous code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import msgspec

from interwhen._engine.callbacks import (
    EVERYWHERE,
    LISTENERS,
    Callbacks,
    EventCallback,
    Listener,
    Observation,
    ResultCallback,
)
from interwhen._engine.run import ObservedRun, Run, RunOptions, is_off
from interwhen._engine.workers import Workers
from interwhen._run.consent import model_of, monitors_of
from interwhen._types.budgets import Budgets
from interwhen._types.errors import JournalError, MissingExtraError, UsageError
from interwhen._types.events import Event
from interwhen._types.extensions import Ready, WorkerPool
from interwhen._types.models import Capabilities, Chunk, Message, Model, Prompt, Sampling
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.results import Result, new_call_id, notebook_page
from interwhen._types.segments import Phase
from interwhen._types.vetting import fits, require_known
from interwhen.journal import Journal, ModelReference
from interwhen.journal._rebuilt_run import (
    Journaled,
    read_sealed,
    rebuild_to_go_on,
)
from interwhen.journal._records import (
    as_recorded,
    code_digest,
    recorded_monitors,
    refuse_others,
    with_recorded_remedies,
)
from interwhen.models._messages import as_message
from interwhen.registry import (
    MonitorSpec,
    PromptMonitorSpec,
    load_model,
    load_monitors,
    load_prompt_monitors,
    load_workers,
)

if TYPE_CHECKING:
    from interwhen._engine.loop_thread import Running

__all__ = ["Run", "SyncRun", "Workers", "run", "run_sync"]


class RunKeywords(TypedDict, total=False):
    """The options of :func:`run`. ``None`` stands for the default."""

    monitors: Iterable[MonitorSpec]
    sampling: Sampling | None
    budgets: Budgets | None
    feedback: FeedbackTemplate | None
    starts_in: Phase
    min_coverage: float
    workers: WorkerPool | str | None
    threads: int
    processes: int
    journal: str | os.PathLike[str] | Journal | None
    context: Ready | None
    prompt_monitors: Iterable[PromptMonitorSpec]
    on_result: ResultCallback | None
    on_event: EventCallback | None


def run(model: Model | str, prompt: str | Sequence[Message | Mapping[str, Any]], **options: Unpack[RunKeywords]) -> Run:
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
    run uses only items that are ready when it is entered.
    *prompt_monitors* (:class:`~interwhen.toolkit.PromptMonitor`, or names) read the prompt before the model is asked.

    *on_result* is called with the :class:`~interwhen.clients.SupervisedCall` at the end, and *on_event* with the events
    that are not text, and the id of the call. Both run in a thread, and their exceptions are only logged. With
    ``INTERWHEN_OFF=1`` in the environment no monitor runs, and no result is verified.

    Raises :class:`~interwhen.UsageError` on arguments that cannot work, and :class:`~interwhen.registry.PluginError`
    for a name that cannot be loaded. Entering the run raises :class:`~interwhen.clients.PromptRefused` if a prompt
    monitor refuses the prompt, or fails and is closed, and :class:`~interwhen.journal.JournalError` if the file for the
    journal is not empty or cannot be written.
    """
    require_known("the options of a run", options, tuple(RunKeywords.__annotations__))
    specs = several_specs(options.get("monitors", ()))
    watchers = load_monitors(specs)
    if is_off():
        specs = watchers = ()
    if fits(prompt, Model):
        raise UsageError(f"prompt must be a text or messages, got the model {prompt!r:.200}: write run(model, prompt)")
    workers = options.get("workers")
    loaded: dict[str, Any] = {
        "monitors": watchers,
        "workers": load_workers(workers),
        "journal": _journal(options.get("journal"), model if isinstance(model, str) else None, specs),
        "prompt_monitors": load_prompt_monitors(options.get("prompt_monitors", ())),
    }
    given = {name: value for name, value in options.items() if value is not None}
    return _made(
        _adapter(model),
        _prompt(prompt),
        RunOptions(**{**given, **loaded}),
        owns_workers=isinstance(workers, str),
        owns_model=isinstance(model, str),
    )


def _made(adapter: Model, prompt: Prompt, options: RunOptions, **inner: Any) -> Run:
    here = LISTENERS.get()
    if here is None:
        return Run(adapter, prompt, options, **inner)
    has_own = options.on_result is not None or options.on_event is not None
    own: tuple[Listener, ...] = (Callbacks(options.on_result, options.on_event),) if has_own else ()
    listeners = (*own, *here, *EVERYWHERE)
    made = (ObservedRun if listeners else Run)(adapter, prompt, options, **inner)
    made.observation = Observation(new_call_id(), "run", adapter.name, listeners)
    return made


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
    """A run for synchronous code. It wraps the run *inner*, which runs on an event loop in another thread."""

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
            from interwhen._engine.loop_thread import Running  # only synchronous code needs threads for loops

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
        return f"<SyncRun: {self}>"

    def __str__(self) -> str:
        return str(self._inner)

    def _repr_html_(self) -> str | None:
        return notebook_page(self)

    @property
    def result(self) -> Result:
        return self._inner.result

    def drain(self) -> Result:
        if self._loop is None:
            next(self)  # raises `UsageError`: the run was not entered
        assert self._loop is not None
        return self._loop.call(self._inner.drain)


def run_sync(
    model: Model | str,
    prompt: str | Sequence[Message | Mapping[str, Any]],
    *,
    uvloop: bool = False,
    **options: Unpack[RunKeywords],
) -> SyncRun:
    """Return a run for synchronous code: ``with interwhen.run_sync(...) as run``.

    *options* and errors are the same as for :func:`run`. The run uses an asyncio event loop in another thread. With
    *uvloop* (extra ``fast``), entering the block raises :class:`~interwhen.toolkit.MissingExtraError` if it is not
    installed.
    """
    return SyncRun(run(model, prompt, **options), uvloop=uvloop)


def resume(
    journal: str | os.PathLike[str] | Journal,
    *,
    model: Model | str | None = None,
    monitors: Iterable[MonitorSpec] | None = None,
    trust: bool = False,
    workers: WorkerPool | str | None = None,
    threads: int = 8,
    processes: int = 2,
) -> Run:
    """Return a run that continues the run of *journal*. It starts when it is entered (``async with``).

    Prompt, sampling and budgets come from the journal. The budgets include what the run had spent before. The model
    continues the recorded text, unfinished checks run again, and the new records follow in the same file. The reader
    gets the events of the run from the first one on. A finished run returns its result without a request. A run whose
    reader left, or that ended as ``failed``, is not finished and continues.

    Give *model*; whether it is that of the run is not checked. Without *monitors*, those that the journal names are
    made, if they are safe for anybody's file (:func:`~interwhen.toolkit.safe_from_data`). With *trust*, all that it
    names is opened, also its model, and gets no key; so trust only your own files. *workers*, *threads* and *processes*
    are the same as for :func:`~interwhen.run`.

    Raises :class:`~interwhen.journal.JournalError` as :func:`replay` does, if *monitors* are not those of the run, or
    if they or *model* are missing, and :class:`~interwhen.UsageError` if an argument cannot be loaded. Entering the run
    raises :class:`~interwhen.journal.JournalError` if the file cannot be continued.
    """
    settings = journal if isinstance(journal, Journal) else Journal(journal)
    journaled = read_sealed(settings)
    watchers = recorded_monitors(journaled.header, journaled.path)
    if monitors is not None or rebuild_to_go_on(journaled, watchers).summary is None:
        watchers = _monitors_to_resume(journaled, monitors, trust=trust)
    past = rebuild_to_go_on(journaled, watchers)
    header = journaled.header
    codes = tuple(code_digest(monitor.verifier) for monitor in watchers)
    if codes != past.core.checks.codes:
        past.mark = msgspec.structs.replace(past.mark, codes=codes)
    # A finished run sends no request: it needs a model only for its name.
    if past.summary is not None:
        adapter = recorded_model((), name=header.model)
    else:
        adapter = model_of(header, journaled.path, trust=trust) if model is None else _adapter(model)
    return _made(
        adapter,
        header.prompt,
        RunOptions(
            monitors=watchers,
            sampling=header.sampling,
            budgets=header.budgets,
            feedback=header.template,
            starts_in=header.starts_in,
            min_coverage=header.min_coverage,
            workers=load_workers(workers),
            threads=threads,
            processes=processes,
            journal=settings,
        ),
        owns_workers=isinstance(workers, str),
        owns_model=not isinstance(model, Model),
        past=past,
    )


def _monitors_to_resume(
    journaled: Journaled, monitors: Iterable[MonitorSpec] | None, *, trust: bool
) -> tuple[Monitor, ...]:
    if monitors is None:
        chosen = monitors_of(journaled.header.monitors, trust=trust)
        for name, why in chosen.left_out.items():
            raise JournalError(journaled.path, f"its run needs the monitor {name!r:.80}, and {why}")
        watchers = as_recorded(journaled.header, chosen.monitors)
    else:
        watchers = with_recorded_remedies(journaled.header, load_monitors(several_specs(monitors)))
    refuse_others(journaled.path, journaled.header, watchers)
    return watchers


def several_specs(monitors: Iterable[MonitorSpec]) -> tuple[MonitorSpec, ...]:
    if isinstance(monitors, str | Mapping) or not isinstance(monitors, Iterable):
        raise UsageError(f"monitors must be a list of monitors, got {monitors!r:.200}: put a single monitor in a list")
    return tuple(monitors)


def recorded_model(
    chunks: Sequence[Chunk], *, think_tags: tuple[str, str] | None = None, name: str = "recorded"
) -> Model:
    from interwhen.models._replay import Recording, ReplayModel  # only runs of recorded text need it

    able = Capabilities(resume="prefix", forks=False, think_tags=think_tags)
    return ReplayModel([Recording.untimed(chunks)], capabilities=able, name=name)
