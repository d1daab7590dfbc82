"""Whether the model knows its state: its answers to forks after right prefixes."""

from __future__ import annotations

import json
import random

from interwhen import Sampling
from interwhen._types.models import Piece
from interwhen.models import Model, Request
from tools.train_tiny.tasks import Worked

from .arms import ask

QUESTION = "State so far, in braces:"
_SHORT = Sampling(max_tokens=120, temperature=0.0)


async def knows(model: Model, worked: Worked, seed: int) -> bool:
    """Ask for the state after one of the lines of the solution; return whether the reply is right."""
    at = random.Random(seed).randint(1, len(worked.steps))
    trace = "<think>\n" + "".join(f"{step.text}\n" for step in worked.steps[:at])
    pieces = (Piece(trace, "model", "reasoning"),)
    reply = await model.complete(Request(ask(worked.problem), pieces, _SHORT, side=f"\n{QUESTION} "))
    try:
        return bool(json.loads(reply.text) == worked.steps[at - 1].state)
    except ValueError:
        return False
