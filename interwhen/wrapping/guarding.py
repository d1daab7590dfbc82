"""Guarding a tool: the arguments of a call are checked before it runs, and its result after, without any stream."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast, overload

import msgspec

from interwhen.errors import InterwhenError, UsageError
from interwhen.models.base import Capabilities, Chunk, Completion, Message, Request
from interwhen.models.streams import GuardedStream
from interwhen.monitors import Monitor
from interwhen.registry import MonitorSpec, load_monitors
from interwhen.remedies import Stop
from interwhen.results import Result
from interwhen.running import run
from interwhen.tool_calls import ToolCall
from interwhen.wrapping.loop_thread import LoopThread

ToolT = TypeVar("ToolT", bound=Callable[..., Any])
Conversation: TypeAlias = Callable[[], Iterable[Message | Mapping[str, Any]]]
"""Returns the messages so far, as :func:`interwhen.run` takes them."""

_loop = LoopThread()
"""Where checks of plain functions run."""


class Refused(InterwhenError):
    """A guarded tool was not run, or its result is withheld. The text is fit to be given to the model."""

    def __init__(self, tool: str, result: Result, *, ran: bool) -> None:
        self.tool = tool
        self.result = result
        """Everything the checks said."""
        self.ran = ran
        """Whether the tool has run: then it is the result that was refused."""
        reasons = [record.why for record in result.violations if record.interrupted]
        reasons = reasons or [getattr(result, "reason", "") or "it could not be shown to be right"]
        what = f"The result of {tool} is withheld" if ran else f"The call of {tool} was not made"
        super().__init__(f"{what}: {'; '.join(reasons)}.")


@overload
def guard(tool: ToolT, /) -> ToolT: ...
@overload
def guard(
    *,
    calls: Iterable[MonitorSpec] = (),
    results: Iterable[MonitorSpec] = (),
    on_refused: Callable[[Refused], Any] | None = None,
    name: str | None = None,
    history: Conversation | None = None,
) -> Callable[[ToolT], ToolT]: ...
@overload
def guard(
    tool: ToolT,
    /,
    *,
    calls: Iterable[MonitorSpec] = (),
    results: Iterable[MonitorSpec] = (),
    on_refused: Callable[[Refused], Any] | None = None,
    name: str | None = None,
    history: Conversation | None = None,
) -> ToolT: ...
def guard(
    tool: Any = None,
    /,
    *,
    calls: Iterable[MonitorSpec] = (),
    results: Iterable[MonitorSpec] = (),
    on_refused: Callable[[Refused], Any] | None = None,
    name: str | None = None,
    history: Conversation | None = None,
) -> Any:
    """Return *tool*, a plain or async function, such that it runs only if *calls* find nothing wrong.

    *calls* are monitors (trigger ``ToolCalls``) that see the call as a structured one: its name (*name*, or the
    function's) and its arguments as JSON; arguments that are no JSON values, such as a context object, are left out.
    *results* see what the tool returned: a string as it is, anything else as JSON. Whatever their remedy says, a
    violation refuses; so does a check without a verdict where ``unproven="closed"``. *history* returns the conversation
    so far, for monitors that must know it; the prompt of *results* ends with the call.

    A refusal raises :class:`Refused`, or returns what *on_refused* makes of it: ``on_refused=str`` gives the model
    its reason as the tool's result. Works as a decorator, too: ``@guard(calls=[...])``.
    """
    if tool is None:
        return functools.partial(guard, calls=calls, results=results, on_refused=on_refused, name=name, history=history)
    if not callable(tool):
        raise UsageError(f"guard({tool!r:.200}): a function is needed; write @guard(calls=[...]) to give options")
    guarded = _Guarded(tool, _refusing(calls), _refusing(results), on_refused, name, history)
    return guarded.wrapped()


class _Guarded:
    """One tool and who watches it."""

    def __init__(
        self,
        tool: Callable[..., Any],
        calls: tuple[Monitor, ...],
        results: tuple[Monitor, ...],
        on_refused: Callable[[Refused], Any] | None,
        name: str | None,
        history: Conversation | None,
    ) -> None:
        self._tool = tool
        self._history = history
        self._calls = calls
        self._results = results
        self._on_refused = on_refused
        self._name = name or str(getattr(tool, "__name__", type(tool).__name__))
        self._signature = inspect.signature(tool)

    def wrapped(self) -> Callable[..., Any]:
        tool = self._tool
        if inspect.iscoroutinefunction(tool):

            @functools.wraps(tool)
            async def guarded(*args: Any, **options: Any) -> Any:
                try:
                    await self._check_call(args, options)
                    value = await tool(*args, **options)
                    await self._check_result(args, options, value)
                except Refused as refusal:
                    return self._refused(refusal)
                return value

            return guarded

        @functools.wraps(tool)
        def guarded_plain(*args: Any, **options: Any) -> Any:
            try:
                _loop.running().call(self._check_call, args, options)
                value = tool(*args, **options)
                _loop.running().call(self._check_result, args, options, value)
            except Refused as refusal:
                return self._refused(refusal)
            return value

        return guarded_plain

    def _refused(self, refusal: Refused) -> Any:
        if self._on_refused is None or refusal.tool != self._name:
            raise refusal
        return self._on_refused(refusal)

    async def _check_call(self, args: Sequence[Any], options: dict[str, Any]) -> None:
        if self._calls:
            call = self._call(args, options)
            await self._judge(Chunk(call.text, call=call), self._calls, self._said() or "", ran=False)

    async def _check_result(self, args: Sequence[Any], options: dict[str, Any], value: Any) -> None:
        if self._results:
            text = value if isinstance(value, str) else _json(value)
            made = Message("assistant", "", (self._call(args, options),))
            chunk = Chunk(str(value) if text is None else text)
            await self._judge(chunk, self._results, (*self._said(), made), ran=True)

    def _said(self) -> Sequence[Message | Mapping[str, Any]]:
        return () if self._history is None else tuple(self._history())

    def _call(self, args: Sequence[Any], options: dict[str, Any]) -> ToolCall:
        bound = self._signature.bind(*args, **options)
        arguments: dict[str, Any] = {}
        for parameter, value in bound.arguments.items():
            kind = self._signature.parameters[parameter].kind
            arguments |= value if kind is inspect.Parameter.VAR_KEYWORD else {parameter: value}
        texts = {key: text for key, value in arguments.items() if (text := _json(value)) is not None}
        spelled = ", ".join(f"{msgspec.json.encode(key).decode()}: {text}" for key, text in texts.items())
        return ToolCall("", self._name, f"{{{spelled}}}")

    async def _judge(
        self,
        chunk: Chunk,
        monitors: tuple[Monitor, ...],
        prompt: str | Sequence[Message | Mapping[str, Any]],
        *,
        ran: bool,
    ) -> None:
        async with run(_Given(chunk), prompt, monitors=monitors) as judged:
            result = await judged.drain()
        acted = any(record.interrupted for record in result.violations)
        if acted or result.status in ("abstained", "failed"):
            raise Refused(self._name, result, ran=ran)


class _Given:
    """A model that has said all that it will say."""

    name = "given"

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk

    async def capabilities(self) -> Capabilities:
        return Capabilities(resume="prefix", forks=False, think_tags=None)

    async def stream(self, request: Request) -> _Whole:
        return _Whole(self._chunk, request)

    async def complete(self, request: Request) -> Completion:
        raise UsageError(f"a guarded tool has no model that could be asked {request.side!r:.80}: use a parser")

    async def aclose(self) -> None:
        pass


class _Whole(GuardedStream):
    def __init__(self, chunk: Chunk, request: Request) -> None:
        super().__init__()
        done = Chunk("", tokens=0, finish_reason="stop")
        self._chunks: tuple[Chunk, ...] = (done,) if request.pieces else (chunk, done)

    async def fetch(self) -> Sequence[Chunk]:
        found, self._chunks = self._chunks, ()
        return found


def _refusing(specs: Iterable[MonitorSpec]) -> tuple[Monitor, ...]:
    """Return the monitors such that a violation ends the matter: nobody is there who could mend it."""
    return tuple(
        dataclasses.replace(
            monitor, remedy=Stop(), delivery="observe" if monitor.delivery == "observe" else "interrupt"
        )
        for monitor in load_monitors(cast("Any", specs))
    )


def _json(value: object) -> str | None:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        return None
