"""The stream helpers of the SDK (``chat.completions.stream``, ``responses.stream``), with facts on what they make."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from interwhen.events import Event
from interwhen.wrapping.facts import Facts, facts_of
from interwhen.wrapping.sdk_objects import attach
from interwhen.wrapping.sdk_streams import SupervisedAsyncStream, SupervisedStream

_FINAL = ("get_final_completion", "get_final_response")


def noting(manager: Any) -> Any:
    """Return *manager*, what a helper's ``with`` is given, such that what its stream makes has facts."""
    kind: Any = type(manager)
    made = object.__new__(_class(kind))
    made.__dict__.update(manager.__dict__)
    return made


@functools.cache
def _class(base: Any) -> Any:
    mixin: type = _AsyncNoting if hasattr(base, "__aenter__") else _Noting
    return type(base.__name__, (mixin, base), {"__module__": base.__module__, "__doc__": base.__doc__})


class _Noting:
    def __enter__(self) -> Any:
        return _noted(super().__enter__())  # type: ignore[misc]


class _AsyncNoting:
    async def __aenter__(self) -> Any:
        return _noted(await super().__aenter__())  # type: ignore[misc]


def _noted(stream: Any) -> Any:
    raw = stream._raw_stream  # noqa: SLF001
    if isinstance(raw, SupervisedStream | SupervisedAsyncStream):
        events: list[Event] = []
        raw.noted = events
        for name in _FINAL:
            method = getattr(stream, name, None)
            if method is not None:
                setattr(stream, name, _telling(method, raw, events))
        state = stream._state  # noqa: SLF001
        if hasattr(state, "handle_event"):
            state.handle_event = _passing_on(state.handle_event)
    return stream


def _passing_on(handle: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    """Return *handle* such that the events which it makes of one of the server's have the facts of that one."""

    def handled(event: Any) -> list[Any]:
        facts = facts_of(event)
        return [attach(made, facts) if facts is not None else made for made in handle(event)]

    return handled


def _telling(method: Callable[[], Any], raw: Any, events: list[Event]) -> Callable[[], Any]:
    def told(made: Any) -> Any:
        return attach(made, Facts(events=tuple(events), result=raw.result))

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def final() -> Any:
            return told(await method())
    else:

        @functools.wraps(method)
        def final() -> Any:
            return told(method())

    return final
