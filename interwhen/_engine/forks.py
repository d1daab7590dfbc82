"""Forks: short side inferences on the same prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from interwhen._core.messages import Extract
from interwhen._engine.cancelled import is_called_off
from interwhen._engine.naming import name_error
from interwhen.models.base import Model, Prompt, Reply, Request, Sampling
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
) -> str | Reply | Errored:
    """Ask *model* the fork's question on the prefix of *order*; return its reply."""
    asked = replace(sampling, max_tokens=fork.max_tokens, stop=fork.stop, temperature=0.0)
    if fork.scores is not None:
        asked = replace(asked, logprobs=True, top_logprobs=fork.scores)
    try:
        pieces = order.pieces or ()
        summary = None if fork.summary is None else fork.summary("".join(piece.text for piece in pieces))
        reply = await model.complete(Request(prompt, pieces, asked, side=fork.prompt, summary=summary))
    except Exception as error:  # noqa: BLE001  (a fork is a check: however it fails, the stream goes on)
        return Errored(f"fork: {name_error(error)}")
    except anyio.get_cancelled_exc_class():
        if is_called_off():
            raise
        return Errored("fork: it was cancelled from within the model")
    meter.tokens += reply.usage.completion_tokens or 0
    meter.prompt_tokens += reply.usage.prompt_tokens or 0
    meter.cached_tokens += reply.usage.cached_tokens or 0
    return Reply(reply.text, reply.tokens, reply.finish_reason) if fork.wants_reply else reply.text
