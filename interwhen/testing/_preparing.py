"""A monitor for one problem, without a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio

from interwhen._engine.watchers import Bound
from interwhen.models.base import Prompt
from interwhen.monitors import Extractor, Fork, Monitor
from interwhen.tasks import Task
from interwhen.trackers import Tracker


def prepared_for(monitor: Monitor, prompt: Prompt) -> Monitor | None:
    """Return *monitor* as it is in a run on *prompt*, prepared already; ``None`` if it stands aside there."""
    if monitor.prepare is None:
        return monitor
    task = Task(prompt)
    prepare: Callable[[Task], Any] = monitor.prepare
    prepared = anyio.run(prepare, task) if inspect.iscoroutinefunction(prepare) else prepare(task)
    if prepared is None:
        return None
    return replace(
        monitor,
        prepare=None,
        verifier=Bound(monitor.verifier, prepared),
        extractor=_extractor(monitor.extractor, prepared),
        recognizer=None if monitor.recognizer is None else _with(monitor.recognizer, prepared),
    )


def _extractor(extractor: Extractor, prepared: Any) -> Extractor:
    match extractor:
        case Tracker():
            return _tracker(extractor, prepared)
        case Fork(parse=parse):
            known: Any = parse
            bound: Any = _tracker(known, prepared) if isinstance(known, Tracker) else _with(known, prepared)
            return replace(extractor, parse=bound)
        case parser:
            return _with(parser, prepared)


def _tracker(tracker: Tracker[Any], prepared: Any) -> Tracker[Any]:
    return Tracker(lambda _: tracker.start(prepared), tracker.step)


def _with(function: Callable[..., Any], prepared: Any) -> Callable[..., Any]:
    return lambda *given: function(*given, prepared)
