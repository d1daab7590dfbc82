"""Forks: short side inferences on the same prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace

from interwhen._core.messages import Extract
from interwhen._engine.checks import name_error
from interwhen.errors import ModelError
from interwhen.models.base import Model, Prompt, Request, Sampling
from interwhen.monitors import Fork
from interwhen.verdicts import Errored


@dataclass(slots=True)
class ForkMeter:
    """What forks have cost, by the server's own count where it gives one."""

    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0


async def infer(
    model: Model, prompt: Prompt, order: Extract, fork: Fork, sampling: Sampling, meter: ForkMeter
) -> str | Errored:
    """Ask *model* the fork's question on the prefix of *order*; return its reply."""
    asked = replace(sampling, max_tokens=fork.max_tokens, stop=fork.stop, temperature=0.0)
    try:
        reply = await model.complete(Request(prompt, order.pieces or (), asked, side=fork.prompt))
    except ModelError as error:
        return Errored(f"fork: {name_error(error)}")
    meter.tokens += reply.usage.completion_tokens or 0
    meter.prompt_tokens += reply.usage.prompt_tokens or 0
    meter.cached_tokens += reply.usage.cached_tokens or 0
    return reply.text
