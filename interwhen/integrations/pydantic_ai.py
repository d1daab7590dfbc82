"""pydantic-ai: adds the facts of a supervised call to its response."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from interwhen._engine.callbacks import WatchedCalls, watching
from interwhen.integrations._facts import supervised_copy, with_facts, wrapped
from interwhen.registry import MonitorSpec

__all__ = ["supervise"]

ModelT = TypeVar("ModelT")


def supervise(model: ModelT, monitors: Iterable[MonitorSpec] = (), **options: Any) -> ModelT:
    """Return a copy of *model*, an ``OpenAIChatModel`` or ``OpenAIResponsesModel``, whose calls *monitors* supervise.

    The response of a supervised call has the facts in ``metadata["interwhen"]``; that of a stream has them after the
    call has ended. *options* are those of :func:`interwhen.wrap`. Without *monitors* and *options*, the client of
    *model* must be wrapped already.
    """
    from pydantic_ai.providers.openai import OpenAIProvider

    made: Any = supervised_copy(model, _SupervisedModel, client="client")
    client = wrapped(made.client, monitors, options)
    if client is not made.client:
        made._provider = OpenAIProvider(openai_client=client)  # noqa: SLF001  a model has no setter for its client
    return made  # type: ignore[no-any-return]


class _SupervisedModel:
    """A mixin for models that adds the facts to their responses."""

    async def request(self, *args: Any, **options: Any) -> Any:
        with watching() as seen:
            response = await super().request(*args, **options)  # type: ignore[misc]
        return _attached(response, seen)

    @asynccontextmanager
    async def request_stream(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        opening = super().request_stream(*args, **options)  # type: ignore[misc]
        with watching() as seen:
            stream = await opening.__aenter__()
        get = stream.get
        stream.get = lambda: _attached(get(), seen)
        try:
            yield stream
        except BaseException as error:
            if not await opening.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            await opening.__aexit__(None, None, None)


def _attached(response: Any, seen: WatchedCalls) -> Any:
    return dataclasses.replace(response, metadata=with_facts(response.metadata, seen)) if seen else response
