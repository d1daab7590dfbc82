"""Run a model under a viewer's eyes, and say with which code to exit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from interwhen.budgets import Budgets
from interwhen.cli import exits
from interwhen.cli.viewers import Viewer
from interwhen.journal import Journal
from interwhen.models.base import Model, Prompt, Sampling
from interwhen.monitors import Monitor
from interwhen.results import Result
from interwhen.running import Run
from interwhen.running import run as start
from interwhen.segments import Phase

_CLOSE_SECONDS = 5.0


async def supervise(
    model: Model,
    prompt: Prompt,
    viewer: Viewer,
    *,
    monitors: Sequence[Monitor] = (),
    sampling: Sampling | None = None,
    budgets: Budgets | None = None,
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    journal: Journal | None = None,
) -> int:
    """Run *model* on *prompt*, show every event to *viewer*, close the model, and return the exit code."""
    async with closing(model):
        result = await watch(
            model,
            prompt,
            viewer,
            monitors=monitors,
            sampling=sampling,
            budgets=budgets,
            starts_in=starts_in,
            min_coverage=min_coverage,
            journal=journal,
        )
    return exits.BY_STATUS[result.status]


async def watch(
    model: Model,
    prompt: Prompt,
    viewer: Viewer,
    *,
    monitors: Sequence[Monitor] = (),
    sampling: Sampling | None = None,
    budgets: Budgets | None = None,
    starts_in: Phase = "answer",
    min_coverage: float = 0.0,
    journal: Journal | None = None,
) -> Result:
    """Run *model* on *prompt*, show every event to *viewer*, and return the result."""
    run = start(
        model,
        prompt,
        monitors=monitors,
        sampling=sampling,
        budgets=budgets,
        starts_in=starts_in,
        min_coverage=min_coverage,
        journal=journal,
    )
    return await look_on(run, viewer)


async def look_on(run: Run, viewer: Viewer) -> Result:
    """Show every event of *run* to *viewer*, and return the result."""
    with viewer:
        async with run:
            async for event in run:
                viewer.show(event)
        return run.result


@asynccontextmanager
async def closing(model: Model) -> AsyncIterator[None]:
    """Close *model* at the end of the block, whatever ends it."""
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await model.aclose()
