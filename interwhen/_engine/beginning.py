"""What a run is made of before its first request."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from interwhen._code import code_digest
from interwhen._core.core import Core
from interwhen.budgets import Budgets
from interwhen.contexts import Ready
from interwhen.errors import ModelError, UsageError
from interwhen.feedback import FeedbackTemplate
from interwhen.journal.rebuilding import Past
from interwhen.ledger import Offline
from interwhen.models.base import Capabilities, Model, Prompt, Sampling
from interwhen.monitors import Monitor
from interwhen.results import prompt_sha256
from interwhen.segments import Phase


def core_for(
    past: Past | None,
    able: Capabilities | ModelError | float,
    prompt: Prompt,
    sampling: Sampling,
    monitors: Sequence[Monitor],
    budgets: Budgets,
    template: FeedbackTemplate | None,
    starts_in: Phase,
    *,
    min_coverage: float = 0.0,
) -> Core:
    """Return the core of *past*, or a new one for a model that is *able* to do what it says, or cannot say."""
    if past is not None:
        return past.core
    known = able if isinstance(able, Capabilities) else None
    return Core(
        monitors,
        budgets=budgets,
        template=template,
        think_tags=known.think_tags if known is not None else None,
        starts_in=starts_in,
        max_tokens=sampling.max_tokens,
        context_tokens=known.context_tokens if known is not None else None,
        prompt_sha256=prompt_sha256(prompt),
        codes=[code_digest(monitor.verifier) for monitor in monitors],
        min_coverage=min_coverage,
    )


def own_template(model: Model) -> FeedbackTemplate | None:
    """Return the words that *model* brings for itself, if it does."""
    template = getattr(model, "feedback", None)
    return template if isinstance(template, FeedbackTemplate) else None


def served_by(context: Ready, model: Model, prompt: Prompt) -> tuple[Model, Prompt, Offline]:
    """Return whom to ask, what to ask, and what of *context* is used for that."""
    served = context.serve(model, prompt)
    return served.model, served.prompt, Offline(served.items, served.offline_tokens, served.offline_share)


def refuse_import() -> None:
    """Raise :class:`UsageError` where a worker process imports the user's script, which would run all of it again."""
    module = sys.modules.get("multiprocessing.process")
    if module is not None and getattr(module.current_process(), "_inheriting", False):
        raise UsageError(
            "a worker process imports this script to find its verifiers, and that would start the run again: "
            "put what the script does under  if __name__ == '__main__':"
        )
