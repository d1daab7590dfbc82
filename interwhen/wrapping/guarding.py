"""Guarding a tool: the arguments of a call are checked before it runs, and its result after, without any stream."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast, overload

from interwhen._engine.loop_thread import LoopThread
from interwhen._log import log_warning
from interwhen.claims import Claim
from interwhen.errors import InterwhenError, UsageError
from interwhen.models.base import Capabilities, Chunk, Completion, Message, Request
from interwhen.models.streams import GuardedStream
from interwhen.monitors import Monitor
from interwhen.registry import MonitorSpec, load_monitors
from interwhen.remedies import Stop
from interwhen.results import Result
from interwhen.running import run
from interwhen.segments import Segment
from interwhen.tool_calls import ToolCall
from interwhen.triggers import ToolCalls
from interwhen.verdicts import Verdict, Violation
from interwhen.verifier import FunctionVerifier
from interwhen.wrapping.arguments import Signature, Unshowable, as_text

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
    context: Collection[str] = (),
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
    context: Collection[str] = (),
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
    context: Collection[str] = (),
) -> Any:
    """Return *tool*, a plain or async function, such that it runs only if *calls* find nothing wrong.

    *calls* are monitors (trigger ``ToolCalls``) that see the call as a structured one: its name (*name*, or the
    function's) and all its arguments as JSON, defaults too, but for the parameters that *context* names: what the
    program passes, and no model. *results* see what the tool returned: text as it is, anything else as JSON; what it
    returned to be awaited is awaited first. Whatever their remedy says, a violation refuses; so does a check that
    came to no verdict (it raised, was late or lost its worker, or its extractor or ``prepare`` failed), unless the
    monitor says ``on_error="open"``; so does ``Unknown`` where it says ``unproven="closed"``; and so does an argument
    or a result that JSON cannot say whole. *history* returns the conversation so far, for monitors that must know it;
    the prompt of *results* ends with the call.

    A refusal raises :class:`Refused`, or returns what *on_refused* makes of it: ``on_refused=str`` gives the model
    its reason as the tool's result. Works as a decorator, too: ``@guard(calls=[...])``. Raises
    :class:`~interwhen.errors.UsageError` where *results* are to watch a generator, which gives them piece by piece.
    """
    if tool is None:
        options = {"calls": calls, "results": results, "on_refused": on_refused, "name": name}
        return functools.partial(guard, **options, history=history, context=context)
    if not callable(tool):
        raise UsageError(f"guard({tool!r:.200}): a function is needed; write @guard(calls=[...]) to give options")
    if isinstance(context, str):
        raise UsageError(f"context={context!r}: give the names in a list, [{context!r}]")
    guarded = _Guarded(tool, _refusing(calls), _refusing(results), on_refused, name, history, context)
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
        context: Collection[str],
    ) -> None:
        self._tool = tool
        self._history = history
        self._calls = calls
        self._results = results
        self._on_refused = on_refused
        self._name = name or str(getattr(tool, "__name__", type(tool).__name__))
        self._signature = Signature(tool, self._name, context) if calls or results else None
        if results and (_is(inspect.isgeneratorfunction, tool) or _is(inspect.isasyncgenfunction, tool)):
            raise UsageError(
                f"guard({self._name}, results=...): what a generator gives is gone before it could be checked; "
                f"let the tool return it whole, or watch its calls only"
            )

    def wrapped(self) -> Callable[..., Any]:
        tool = self._tool
        if _is(inspect.iscoroutinefunction, tool):

            @functools.wraps(tool)
            async def guarded(*args: Any, **options: Any) -> Any:
                try:
                    call = await self._before(args, options)
                    value = await tool(*args, **options)
                    await self._after(call, value)
                except Refused as refusal:
                    return self._refused(refusal)
                return value

            return guarded

        @functools.wraps(tool)
        def guarded_plain(*args: Any, **options: Any) -> Any:
            try:
                call = _loop.running().call(self._before, args, options)
                value = tool(*args, **options)
                if self._results and inspect.isawaitable(value):
                    return self._later(call, value)
                _loop.running().call(self._after, call, value)
            except Refused as refusal:
                return self._refused(refusal)
            return value

        return guarded_plain

    async def _later(self, call: ToolCall | None, pending: Awaitable[Any]) -> Any:
        """Await what a plain function returned to be awaited; that is its result."""
        try:
            value = await pending
            await self._after(call, value)
        except Refused as refusal:
            return self._refused(refusal)
        return value

    def _refused(self, refusal: Refused) -> Any:
        if self._on_refused is None or refusal.tool != self._name:
            raise refusal
        return self._on_refused(refusal)

    async def _before(self, args: Sequence[Any], options: Mapping[str, Any]) -> ToolCall | None:
        """Check the call and return it as it was checked; ``None`` where nobody watches, or only those who observe."""
        if self._signature is None:
            return None
        try:
            call = self._signature.call(args, options)
        except Unshowable as error:
            await self._unshowable(str(error), (*self._calls, *self._results), ran=False)
            return None
        if self._calls:
            await self._judge(Chunk(call.text, call=call), self._calls, self._said() or "", ran=False)
        return call

    async def _after(self, call: ToolCall | None, value: Any) -> None:
        if not self._results:
            return
        try:
            text = as_text(value)
        except Unshowable as error:
            await self._unshowable(f"it cannot be checked: {error}", self._results, ran=True)
            return
        made = () if call is None else (Message("assistant", "", (call,)),)
        await self._judge(Chunk(text), self._results, (*self._said(), *made), ran=True)

    async def _unshowable(self, why: str, monitors: tuple[Monitor, ...], *, ran: bool) -> None:
        """Refuse what *monitors* cannot be shown, unless all of them only observe."""
        log_warning("guard.unshowable", tool=self._name, why=why)
        if any(monitor.delivery != "observe" for monitor in monitors):
            call = ToolCall("", self._name, "{}")
            await self._judge(Chunk(call.text, call=call), (_refuted(why),), "", ran=ran)

    def _said(self) -> Sequence[Message | Mapping[str, Any]]:
        return () if self._history is None else tuple(self._history())

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
    """Return the monitors as gates of which a violation ends the matter: there is nobody who could mend it."""
    return tuple(
        dataclasses.replace(monitor, remedy=Stop(), delivery="observe" if monitor.delivery == "observe" else "gate")
        for monitor in load_monitors(cast("Any", specs))
    )


def _refuted(why: str) -> Monitor:
    """Return the monitor that refuses any call because of *why*."""

    def extract(segment: Segment) -> Iterator[Claim]:
        yield Claim(key=segment.text, span=segment.span)

    def check(_claim: Claim) -> Verdict:
        return Violation(why=why)

    return Monitor(
        name="guard",
        trigger=ToolCalls(),
        extractor=extract,
        verifier=FunctionVerifier("guard", "1", 1.0, "inline", check),
        delivery="gate",
        remedy=Stop(),
        unproven="closed",
    )


def _is(kind: Callable[[Any], bool], tool: Callable[..., Any]) -> bool:
    """Tell whether *tool* is of *kind*: a function of it, or an object that is called as one."""
    return kind(tool) or kind(getattr(type(tool), "__call__", None))  # noqa: B004  how it is called, not whether
