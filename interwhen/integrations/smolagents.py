"""smolagents: puts a supervised call into the attribute ``interwhen`` of its message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from interwhen._engine.callbacks import watching
from interwhen.clients import SupervisedCall
from interwhen.integrations._facts import KEY, facts_of, supervised_copy, wrapped
from interwhen.registry import MonitorSpec

__all__ = ["facts_in", "supervise"]

ModelT = TypeVar("ModelT")


def supervise(model: ModelT, monitors: Iterable[MonitorSpec] = (), **options: Any) -> ModelT:
    """Return a copy of *model*, an ``OpenAIModel`` or ``AzureOpenAIModel``, whose calls *monitors* supervise.

    :func:`facts_in` reads the facts. *options* are those of :func:`interwhen.wrap`. Without *monitors* and *options*,
    the client of *model* must be wrapped already.
    """
    made: Any = supervised_copy(model, _SupervisedGeneration, client="client")
    made.client = wrapped(made.client, monitors, options)
    return made  # type: ignore[no-any-return]


class _SupervisedGeneration:
    """A mixin for models. It adds the supervised call to the message of an answer that is not streamed."""

    def generate(self, *args: Any, **options: Any) -> Any:
        with watching() as seen:
            message = super().generate(*args, **options)  # type: ignore[misc]
        if seen:
            # A message has no place for metadata, and the agent keeps the message of each step.
            setattr(message, KEY, seen[-1])
        return message


def facts_in(agent: Any) -> list[dict[str, Any]]:
    """Return the facts of the supervised calls in the memory of *agent*, at most one for each step, in order.

    Streamed answers, and all but the last call of a step, are left out.
    """
    steps = getattr(agent.memory, "steps", ())
    calls = (getattr(getattr(step, "model_output_message", None), KEY, None) for step in steps)
    return [facts_of(call) for call in calls if isinstance(call, SupervisedCall)]
