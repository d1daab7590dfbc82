"""How a producer asks for something: as a chat, or as a text to be continued where the model takes nothing else."""

from __future__ import annotations

from interwhen.errors import UsageError
from interwhen.models.base import Completion, Message, Sampling
from interwhen.precompute.producer import Desk


async def ask(desk: Desk, task: str, text: str, sampling: Sampling) -> Completion:
    """Return what the model says to *task* on *text*."""
    try:
        return await desk.ask((Message("system", task), Message("user", text)), sampling)
    except UsageError:
        # An adapter that only continues texts refuses a chat before it sends anything.
        return await desk.ask(f"{task}\n\n{text}\n\n", sampling)
