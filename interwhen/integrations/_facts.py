"""What is known about a supervised call (its "facts") as JSON values, and the client that an adapter uses."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import anyio

from interwhen._engine.callbacks import WatchedCalls, watching
from interwhen._types.errors import UsageError, name_value
from interwhen.clients import SupervisedCall
from interwhen.clients._wrap import wrap
from interwhen.registry import MonitorSpec

_CLOSE_SECONDS = 10.0

KEY = "interwhen"
"""The key under which libraries keep the facts."""

T = TypeVar("T")


def facts_of(call: SupervisedCall) -> dict[str, Any]:
    """Return the facts of *call* as JSON values: id, label, model, violations, reasons and counts.

    ``reasons`` says why the result is not verified. ``checks`` is the number of checks on the returned text, and
    ``tokens`` that of generated tokens; both are 0 without a result.
    """
    result = call.result
    unverified = getattr(result, "unverified_reasons", ())
    ended = [why for name in ("reason", "error") if (why := getattr(result, name, ""))]
    return {
        "call_id": call.call_id,
        "label": call.label,
        "model": call.model,
        "violations": [
            {
                "monitor": one.monitor,
                "verifier": one.verifier,
                "why": one.why,
                "quote": one.quote,
                "remedy": one.remedy,
            }
            for one in call.violations
        ],
        "reasons": [*ended, *(reason.why for reason in unverified)],
        "checks": len(call.checks),
        "tokens": 0 if result is None else result.ledger.total_tokens,
    }


@functools.cache
def supervised_class(base: Any, mixin: type) -> Any:
    # If `base` is such a class already, return it unchanged.
    if issubclass(base, mixin):
        return base
    return type(base.__name__, (mixin, base), {"__module__": base.__module__, "__doc__": base.__doc__})


def supervised_copy(model: Any, mixin: type, *, client: str) -> Any:
    if not hasattr(model, client):
        raise UsageError(
            f"supervise() must get a model with a client of openai, got {name_value(model)}: give one of the models "
            "that its documentation names"
        )
    kind: Any = type(model)
    made: Any = object.__new__(supervised_class(kind, mixin))
    made.__dict__.update(model.__dict__)
    return made


def with_facts(metadata: Mapping[str, Any] | None, calls: Sequence[SupervisedCall]) -> dict[str, Any]:
    # Without calls, nothing is added.
    # Earlier calls are attempts that the library repeated.
    return {**(metadata or {}), KEY: facts_of(calls[-1])} if calls else dict(metadata or {})


def wrapped(client: T, monitors: Iterable[MonitorSpec], options: Mapping[str, Any]) -> T:
    one = isinstance(monitors, str | Mapping) or not isinstance(monitors, Iterable)
    specs: tuple[Any, ...] = (monitors,) if one else tuple(monitors)
    return wrap(client, specs, **options) if specs or options else client


class WatchedStreams(NamedTuple):
    """The supervised calls and the streams of the client that began in the block of :func:`watching_streams`.

    A library may leave a stream open whose reader stops early. Close it, so that its run ends.
    """

    calls: WatchedCalls
    streams: list[Any]

    def close(self, chunks: Any) -> None:
        chunks.close()
        for stream in self.streams:
            stream.close()

    async def aclose(self, chunks: Any) -> None:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await chunks.aclose()
        for stream in self.streams:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await stream.close()


@contextmanager
def watching_streams() -> Iterator[WatchedStreams]:
    from interwhen.clients._openai_streams import OPENED

    streams: list[Any] = []
    token = OPENED.set((*OPENED.get(), streams))
    try:
        with watching() as seen:
            yield WatchedStreams(seen, streams)
    finally:
        OPENED.reset(token)


async def supervised_stream(
    chunks: AsyncGenerator[T, None], ended: Callable[[WatchedCalls], object]
) -> AsyncIterator[T]:
    # Yield `chunks` of the library, and end the call if the reader stops early. Then call `ended` with the calls.
    seen: WatchedStreams | None = None
    try:
        # The call begins with the first chunk. Between chunks the caller's own code runs in this context.
        with watching_streams() as seen:
            first = await anext(chunks, None)
        if first is not None:
            yield first
            async for chunk in chunks:
                yield chunk
    finally:
        if seen is not None:
            await seen.aclose(chunks)
            ended(seen.calls)
