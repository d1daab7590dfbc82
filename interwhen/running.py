"""The front door: start a supervised run, from async code or from plain code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self, get_args

import msgspec

from interwhen._engine.loop_thread import Running
from interwhen._engine.run import Run
from interwhen._engine.workers import Workers
from interwhen._protocols import fits
from interwhen._switch import is_off
from interwhen.allocation.allowance import Allocator
from interwhen.budgets import Budgets
from interwhen.contexts import Ready
from interwhen.errors import MissingExtraError, UsageError
from interwhen.events import Event
from interwhen.feedback import FeedbackTemplate
from interwhen.journal import Journal, ModelReference
from interwhen.models.base import Message, Model, Sampling
from interwhen.models.messages import as_message
from interwhen.monitors import Monitor
from interwhen.registry import MonitorSpec, load_model, load_monitors
from interwhen.results import Result
from interwhen.segments import Phase
from interwhen.verifier import Worker
from interwhen.worker_pool import WorkerPool

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
    workers: WorkerPool | None = None,
    threads: int = 8,
    processes: int = 2,
    journal: str | os.PathLike[str] | Journal | None = None,
    allocator: Allocator | None = None,
    context: Ready | None = None,
) -> Run:
    """Return a run of *model* on *prompt*, watched by *monitors*. Nothing happens until it is entered.

    *model* is an adapter, or the name of one (``"local"``), which the run then opens and closes. *prompt* is a
    text to be continued, or chat messages. *monitors* are monitors, names with options
    (``"arithmetic:level=explain"``), dicts, or factories. *sampling* goes to the model, *budgets* say when to
    give up, *feedback* words what is said to the model. ``starts_in="reasoning"`` is for models whose
    template has opened the reasoning already. With *min_coverage*, the checked claims must cover this share of the text
    (0 to 1), or the result is unverified. *workers* (:class:`~interwhen.Workers`) run the checks of many runs;
    without them, the run has *threads* and *processes* of its own. *journal* is where the run keeps its record, from
    which :func:`~interwhen.resume` can go on. *context* is a prepared one (``await precomputer.add(...)``): what
    of it is ready when the run is entered is put to use, and what is not is not waited for. *allocator*
    (:class:`~interwhen.allocation.AdaptiveAllocator`) makes the budgets as small as this prompt is worth, and learns
    from the result. With ``INTERWHEN_OFF=1`` in the environment no monitor watches, and no result is verified.

    Raises :class:`~interwhen.errors.UsageError` on anything that cannot work.
    """
    if isinstance(monitors, str | Mapping) or not isinstance(monitors, Iterable):
        raise UsageError(f"monitors={monitors!r:.200} is no list of monitors: if it is one monitor, put it in a list")
    specs = tuple(monitors)
    watchers = load_monitors(specs)
    _vet(watchers)
    if is_off():
        specs = watchers = ()
    _vet_type("sampling", sampling, Sampling)
    _vet_type("budgets", budgets, Budgets)
    _vet_type("feedback", feedback, FeedbackTemplate)
    if workers is not None and not fits(workers, WorkerPool):
        raise UsageError(f"workers={workers!r:.200} is no pool of workers: write workers=Workers(...)")
    if allocator is not None and not fits(allocator, Allocator):
        raise UsageError(f"allocator={allocator!r:.200} is no Allocator: it needs the methods allow() and learn()")
    if context is not None and not fits(context, Ready):
        raise UsageError(f"context={context!r:.200} is no prepared context: give what Precomputer.add() returns")
    if starts_in not in get_args(Phase):
        raise UsageError(f"starts_in={starts_in!r}, choose one of {', '.join(get_args(Phase))}")
    if not isinstance(min_coverage, int | float) or not 0.0 <= min_coverage <= 1.0:
        raise UsageError(f"min_coverage={min_coverage!r:.200} must be a share of the text, from 0 to 1")
    owned = isinstance(model, str)
    adapter = load_model(model)
    if not fits(adapter, Model):
        raise UsageError(f"model={model!r:.200} is no Model; give an adapter such as CompletionsModel(...), or a name")
    return Run(
        adapter,
        _prompt(prompt),
        monitors=watchers,
        sampling=sampling,
        budgets=budgets,
        feedback=feedback,
        starts_in=starts_in,
        min_coverage=min_coverage,
        workers=workers,
        threads=threads,
        processes=processes,
        owns_model=owned,
        journal=_journal(journal, model if isinstance(model, str) else None, specs),
        allocator=allocator,
        context=context,
    )


def _journal(journal: object, model: str | None, specs: tuple[MonitorSpec, ...]) -> Journal | None:
    if journal is None:
        return None
    if isinstance(journal, str | os.PathLike):
        journal = Journal(journal)
    if not isinstance(journal, Journal):
        raise UsageError(f"journal={journal!r:.200} is neither a path nor a Journal")
    if model is not None and journal.model is None:
        journal = replace(journal, model=ModelReference(model))
    return journal if journal.monitors else replace(journal, monitors=specs)


def _vet(watchers: Sequence[Monitor]) -> None:
    """Refuse what would go wrong only once a check is due."""
    for who in (monitor.verifier for monitor in watchers):
        if who.worker not in get_args(Worker):
            raise UsageError(
                f"verifier {who.name!r}: worker={who.worker!r}, choose one of {', '.join(get_args(Worker))}"
            )
        if not isinstance(who.deadline, int | float) or not who.deadline > 0:
            raise UsageError(f"verifier {who.name!r}: deadline must be positive seconds, got {who.deadline!r}")


def _vet_type(label: str, value: object, kind: type) -> None:
    if not isinstance(value, kind | None):
        raise UsageError(f"{label}={value!r:.200} is no {kind.__name__}: write {label}={kind.__name__}(...)")


def _prompt(prompt: str | Sequence[Message | Mapping[str, Any]]) -> str | tuple[Message, ...]:
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, bytes | Mapping) or not isinstance(prompt, Iterable):
        raise UsageError(f"prompt={prompt!r:.200} is neither a text nor a list of messages")
    messages = []
    for number, message in enumerate(prompt):
        if isinstance(message, Message):
            messages.append(message)
            continue
        try:
            messages.append(as_message(message))
        except msgspec.ValidationError as error:
            hint = "a message needs a 'role' and a text as 'content'"
            raise UsageError(f"message {number}: {error}, in {message!r:.200} ({hint})") from error
    if not messages:
        raise UsageError("prompt is an empty list of messages: give at least one")
    return tuple(messages)


class SyncRun:
    """A run for plain code: the same events and result, from an event loop in a thread of its own."""

    def __init__(self, inner: Run, *, uvloop: bool = False) -> None:
        self._inner = inner
        self._uvloop = uvloop
        self._stack = ExitStack()
        self._loop: Running | None = None

    def __enter__(self) -> Self:
        options = {"use_uvloop": True} if self._uvloop else {}
        if self._uvloop and find_spec("uvloop") is None:
            raise MissingExtraError("run_sync(uvloop=True)", "fast")
        # Ctrl-C may come at any line of this, also while it waits for the other thread. The loop is ended then, with
        # all that runs on it, and the wait for that is bounded: anyio's own portal waits for ever.
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
            raise UsageError("read events inside the block only: with interwhen.run_sync(...) as run")
        try:
            return self._loop.call(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    @property
    def result(self) -> Result:
        """How the run ended. Raises :class:`UsageError` before it has."""
        return self._inner.result

    def drain(self) -> Result:
        """Read all events, keep none, return the result."""
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
    """Return a run for plain code, with the options of :func:`run`: ``with interwhen.run_sync(...) as run``.

    Its event loop is asyncio's, in a thread of its own; *uvloop* takes uvloop instead (extra ``fast``).
    """
    return SyncRun(run(model, prompt, **options), uvloop=uvloop)
