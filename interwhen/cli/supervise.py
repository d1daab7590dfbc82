"""Run a model under a viewer's eyes, and say with which code to exit."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from interwhen.budgets import Budgets
from interwhen.cli import exits
from interwhen.cli.viewers import Viewer
from interwhen.models.base import Model, Prompt, Sampling
from interwhen.monitors import Monitor
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
) -> int:
    """Run *model* on *prompt*, show every event to *viewer*, close the model, and return the exit code."""
    try:
        with viewer:
            async with start(
                model, prompt, monitors=monitors, sampling=sampling, budgets=budgets, starts_in=starts_in
            ) as run:
                async for event in run:
                    viewer.show(event)
            return exits.BY_STATUS[run.result.status]
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await model.aclose()
