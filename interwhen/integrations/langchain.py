"""LangChain: adds the facts of a supervised call to its message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar

from interwhen._engine.callbacks import WatchedCalls, watching
from interwhen.integrations._facts import supervised_class, supervised_stream, watching_streams, with_facts, wrapped
from interwhen.registry import MonitorSpec

__all__ = ["supervise"]

ModelT = TypeVar("ModelT")


def supervise(model: ModelT, monitors: Iterable[MonitorSpec] = (), **options: Any) -> ModelT:
    """Return a copy of *model*, a ``ChatOpenAI`` or ``AzureChatOpenAI``, whose calls *monitors* supervise.

    The message of a supervised call has the facts in ``response_metadata["interwhen"]``; a stream has them in its last
    chunk. *options* are those of :func:`interwhen.wrap`. Without *monitors* and *options*, the clients of *model* must
    be wrapped already.
    """
    made: Any = model.model_copy()  # type: ignore[attr-defined]
    for client, root in (("client", "root_client"), ("async_client", "root_async_client")):
        bare = getattr(made, root, None)
        if bare is not None:
            supervised = wrapped(bare, monitors, options)
            setattr(made, root, supervised)
            setattr(made, client, supervised.chat.completions)
    kind: Any = type(model)
    object.__setattr__(made, "__class__", supervised_class(kind, _SupervisedChat))
    return made  # type: ignore[no-any-return]


class _SupervisedChat:
    """A mixin for chat models that attaches the facts to the answers."""

    def astream(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        return supervised_stream(super().astream(*args, **options), lambda _calls: None)  # type: ignore[misc]

    def _generate(self, *args: Any, **options: Any) -> Any:
        with watching() as seen:
            result = super()._generate(*args, **options)  # type: ignore[misc]
        return _attached(result, seen)

    async def _agenerate(self, *args: Any, **options: Any) -> Any:
        with watching() as seen:
            result = await super()._agenerate(*args, **options)  # type: ignore[misc]
        return _attached(result, seen)

    def _stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        chunks = super()._stream(*args, **options)  # type: ignore[misc]
        # The call begins with the first chunk. Between chunks the caller's own code runs in this context.
        with watching_streams() as seen:
            first = next(chunks, None)
        try:
            if first is not None:
                yield first
                yield from chunks
        finally:
            seen.close(chunks)  # the reader may stop early
        yield from _last_chunk(seen.calls)

    async def _astream(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        chunks = super()._astream(*args, **options)  # type: ignore[misc]
        with watching() as seen:
            first = await anext(chunks, None)
        if first is not None:
            yield first
            async for chunk in chunks:
                yield chunk
        for chunk in _last_chunk(seen):
            yield chunk


def _attached(result: Any, seen: WatchedCalls) -> Any:
    for generation in result.generations:
        generation.message.response_metadata = with_facts(generation.message.response_metadata, seen)
    return result


def _last_chunk(seen: WatchedCalls) -> Iterator[Any]:
    # LangChain merges it into the metadata of the whole message.
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    if seen:
        yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=with_facts(None, seen)))
