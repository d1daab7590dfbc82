"""smolagents: a supervised call in the attribute ``interwhen`` of its message, which the agent keeps in its memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from interwhen._engine.journaling import watching
from interwhen.clients import SupervisedCall
from interwhen.integrations._facts import KEY, facts_of, supervised_copy, wrapped
from interwhen.registry import MonitorSpec

__all__ = ["facts_in", "supervise"]

ModelT = TypeVar("ModelT")


def supervise(model: ModelT, monitors: Iterable[MonitorSpec] = (), **options: Any) -> ModelT:
    """Return a copy of *model*, an ``OpenAIModel`` or ``AzureOpenAIModel``, whose calls *monitors* supervise.

    *options* are the same as for :func:`interwhen.wrap`. Without *monitors* and *options*, the client of *model* must
    be wrapped already. :func:`facts_in` reads the facts of the steps of an agent.
    """
    made: Any = supervised_copy(model, _SupervisedGeneration, client="client")
    made.client = wrapped(made.client, monitors, options)
    return made  # type: ignore[no-any-return]


class _SupervisedGeneration:
    """A mixin for models. It adds the supervised call to the message of the method that agents call for an answer."""

    def generate(self, *args: Any, **options: Any) -> Any:
        with watching() as seen:
            message = super().generate(*args, **options)  # type: ignore[misc]
        if seen:
            # A message has no place for metadata, and the agent keeps the message of each step.
            setattr(message, KEY, seen[-1])
        return message


def facts_in(agent: Any) -> list[dict[str, Any]]:
    """Return the facts of the supervised calls in the memory of *agent*, one for each step, in order.

    If a step made several calls, its message has only the last one. Steps without a supervised call are left out.
    """
    steps = getattr(agent.memory, "steps", ())
    calls = (getattr(getattr(step, "model_output_message", None), KEY, None) for step in steps)
    return [facts_of(call) for call in calls if isinstance(call, SupervisedCall)]
