"""OpenAI Agents: adds the facts of a supervised call to the trace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

from interwhen._engine.callbacks import WatchedCalls, watching
from interwhen.integrations._facts import KEY, facts_of, supervised_copy, supervised_stream, wrapped
from interwhen.registry import MonitorSpec

__all__ = ["supervise"]

ModelT = TypeVar("ModelT")
_CLIENT = "_client"


def supervise(model: ModelT, monitors: Iterable[MonitorSpec] = (), **options: Any) -> ModelT:
    """Return a copy of *model* whose calls *monitors* supervise.

    *model* is an ``OpenAIChatCompletionsModel`` or ``OpenAIResponsesModel``. A supervised call adds a span named
    ``interwhen`` with its facts to the trace of the agent; if the library repeated the call, the facts are those of the
    last attempt. *options* are those of :func:`interwhen.wrap`. Without *monitors* and *options*, the client of *model*
    must be wrapped already.
    """
    made: Any = supervised_copy(model, _SupervisedAgentModel, client=_CLIENT)
    setattr(made, _CLIENT, wrapped(getattr(made, _CLIENT), monitors, options))
    return made  # type: ignore[no-any-return]


class _SupervisedAgentModel:
    """A mixin for models. It adds a span with the facts after each answer."""

    async def get_response(self, *args: Any, **options: Any) -> Any:
        with watching() as seen:
            try:
                return await super().get_response(*args, **options)  # type: ignore[misc]
            finally:
                _add_span(seen)

    def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        return supervised_stream(super().stream_response(*args, **options), _add_span)  # type: ignore[misc]


def _add_span(seen: WatchedCalls | None) -> None:
    from agents import custom_span

    if seen:
        with custom_span(KEY, data=facts_of(seen[-1])):
            pass
