"""Going on with a run whose process is gone, from its journal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from interwhen._engine.run import Run
from interwhen.contexts import Unprepared
from interwhen.errors import JournalError, ModelError, UsageError
from interwhen.journal._describing import as_recorded, recorded_monitors, refuse_others
from interwhen.journal._records import Header
from interwhen.journal.reading import Journaled, read_journal
from interwhen.journal.rebuilding import rebuild_to_go_on
from interwhen.journal.settings import Journal
from interwhen.models.base import Capabilities, Completion, Model, Request, Stream
from interwhen.monitors import Monitor
from interwhen.registry import Api, MonitorSpec, load_model, load_monitors
from interwhen.running import SyncRun
from interwhen.worker_pool import WorkerPool

__all__ = ["resume", "resume_sync"]


def resume(
    journal: str | os.PathLike[str] | Journal,
    *,
    model: Model | str | None = None,
    monitors: Iterable[MonitorSpec] | None = None,
    workers: WorkerPool | None = None,
    threads: int = 8,
    processes: int = 2,
) -> Run:
    """Return the run of *journal*, to be gone on with where its process ended. Nothing happens until it is entered.

    Prompt, sampling and budgets are those of the journal, and what was spent stays spent. The model is asked to go on
    from the standing text, checks that were open are made again, and the record goes on in the same file. The reader
    sees all events of the run from the first one on. A run that is over gives its result at once, asking nobody; one
    that the reader left or that ended as ``failed`` is not over.

    *model* and *monitors* must be given unless the run had them by name. *workers*, *threads* and *processes* are as
    for :func:`~interwhen.run`. Raises
    :class:`~interwhen.errors.JournalError` on a file that is no journal, or on other monitors than it had.
    """
    settings = journal if isinstance(journal, Journal) else Journal(journal)
    found = read_journal(settings)
    if monitors is None and _is_over(found):
        watchers: tuple[Monitor, ...] = recorded_monitors(found.header)
    else:
        watchers = _watchers(found, monitors)
    past = rebuild_to_go_on(found, watchers)
    adapter: Model = _Nobody(found.header.model) if past.outline is not None else _model(found, model)
    header = found.header
    return Run(
        adapter,
        header.prompt,
        monitors=watchers,
        sampling=header.sampling,
        budgets=header.budgets,
        feedback=header.template,
        starts_in=header.starts_in,
        min_coverage=header.min_coverage,
        workers=workers,
        threads=threads,
        processes=processes,
        owns_model=not isinstance(model, Model),
        journal=settings,
        past=past,
        context=Unprepared(header.offline),
    )


def resume_sync(journal: str | os.PathLike[str] | Journal, *, uvloop: bool = False, **options: Any) -> SyncRun:
    """Return the run of *journal* for plain code, with the options of :func:`resume`."""
    return SyncRun(resume(journal, **options), uvloop=uvloop)


def _is_over(found: Journaled) -> bool:
    return rebuild_to_go_on(found, recorded_monitors(found.header)).outline is not None


def _watchers(found: Journaled, monitors: Iterable[MonitorSpec] | None) -> tuple[Monitor, ...]:
    if monitors is None:
        watchers = as_recorded(found.header, load_monitors(_specs(found.path, found.header)))
    elif isinstance(monitors, str | Mapping):
        raise UsageError(f"monitors={monitors!r:.200} is no list of monitors: if it is one monitor, put it in a list")
    else:
        watchers = load_monitors(monitors)
    refuse_others(found.path, found.header, watchers)
    return watchers


def _specs(path: str, header: Header) -> list[MonitorSpec]:
    specs: list[MonitorSpec] = []
    for record in header.monitors:
        if record.spec is None:
            name = record.fields["name"]
            raise JournalError(
                path, f"it does not say how monitor {name!r} is made: give monitors=[...] as for its run"
            )
        specs.append(record.spec)
    return specs


def _model(found: Journaled, model: Model | str | None) -> Model:
    reference = found.header.reference
    if model is None:
        if reference is None:
            raise JournalError(found.path, f"say which model goes on: it was {found.header.model!r}")
        api: Api = "chat" if reference.api == "chat" else "completions"
        return load_model(reference.spec, name=reference.name, api=api)
    adapter = load_model(model)
    if not isinstance(adapter, Model):
        raise UsageError(f"model={model!r:.200} is no Model; give an adapter such as CompletionsModel(...), or a name")
    return adapter


@dataclass(frozen=True, slots=True)
class _Nobody:
    """The model of a run that is over: it is never asked."""

    name: str

    async def capabilities(self) -> Capabilities:
        return Capabilities(resume="prefix")

    async def stream(self, _request: Request) -> Stream:
        raise ModelError("the run is over")

    async def complete(self, _request: Request) -> Completion:
        raise ModelError("the run is over")

    async def aclose(self) -> None:
        pass
