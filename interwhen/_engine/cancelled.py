"""Telling a cancellation of our task from the stray exception of something that it waited for."""

from __future__ import annotations


def is_called_off() -> bool:
    """Tell whether somebody cancelled the current task, rather than something that it awaits.

    On asyncio, waiting for a cancelled future raises the same exception. Left alone in a task of ours, it would
    end the whole task group without a word.
    """
    import asyncio

    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio, where a cancellation can come from a scope only
        return True
    return task is None or task.cancelling() > 0
