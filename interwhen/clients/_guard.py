"""`guard` checks the arguments of a tool call before the tool runs, and the result afterwards."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import math
import numbers
import os
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias, TypeVar, cast, overload

import msgspec

from interwhen._engine.loop_thread import LoopThread
from interwhen._run.run import run
from interwhen._types.errors import InterwhenError, UsageError
from interwhen._types.log import log_warning
from interwhen._types.models import Capabilities, Chunk, Message
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import Stop
from interwhen._types.results import Result
from interwhen._types.segments import Claim, Segment, ToolCall
from interwhen._types.triggers import ThinkEnd, ToolCalls
from interwhen._types.verdicts import Verdict, Violation
from interwhen._types.verifiers import FunctionVerifier
from interwhen._types.vetting import require
from interwhen.models._replay import Recording, ReplayModel
from interwhen.registry import MonitorSpec, load_monitors

_SPELLED = (dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal)


class NotJson(ValueError):
    """Raised for a value that JSON cannot represent completely.

    The message does not quote the value, because a model may have written it.
    """


class Signature:
    """The parameters of one tool function, as the model sees them."""

    # The model does not see the parameters in `context`, nor the `self` or `cls` of a method.

    def __init__(self, tool: Callable[..., Any], name: str, context: Collection[str]) -> None:
        self._name = name
        try:
            self._signature = inspect.signature(tool)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"guard must get a function whose parameters can be read, got {tool!r:.200} ({error}): "
                "guard a function written with `def`"
            ) from error
        parameters = self._signature.parameters
        open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        for each in context:
            if each not in parameters and not open_ended:
                raise UsageError(
                    f"guard(context=...) must name parameters of {name}, which are "
                    f"{', '.join(parameters) or 'none'}, got {each!r:.80}: correct the name"
                )
        self._hidden = frozenset(context) | _own(tool, self._signature)
        for each, parameter in parameters.items():
            if each not in self._hidden and parameter.default is not inspect.Parameter.empty:
                try:
                    as_json(parameter.default)
                except NotJson as error:
                    raise UsageError(
                        "the default of a guarded parameter must have a JSON form, got "
                        f"{name}({each}={parameter.default!r:.80}) ({error}): "
                        f"if no check needs it, use guard(..., context=[{each!r}])"
                    ) from error

    def call(self, args: Sequence[Any], options: Mapping[str, Any]) -> ToolCall:
        # Raises `NotJson`, and `TypeError` if the arguments do not fit the function.
        bound = self._signature.bind(*args, **options)
        bound.apply_defaults()
        texts: dict[str, str] = {}
        for name, value in bound.arguments.items():
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                for more, each in value.items():
                    if more in bound.arguments and more != name:
                        raise NotJson(
                            f"each argument of a call must have its own name, got {more!r:.80} twice: rename one"
                        )
                    self._put(texts, more, each)
            elif kind is not inspect.Parameter.VAR_POSITIONAL or value:
                self._put(texts, name, value)
        spelled = ", ".join(f"{name}: {text}" for name, text in texts.items())
        return ToolCall("", self._name, f"{{{spelled}}}")

    def _put(self, texts: dict[str, str], name: str, value: object) -> None:
        if name not in self._hidden:
            try:
                texts[as_json(name)] = as_json(value)
            except NotJson as error:
                raise NotJson(f"the argument {name!r:.80} cannot be checked: {error}") from error


def as_text(value: object) -> str:
    if not isinstance(value, str | bytes | bytearray | memoryview):
        return as_json(value)
    try:
        return _text(value)
    except UnicodeError as error:
        raise NotJson("the value must be valid UTF-8, got bytes that are not: decode them before") from error


def as_json(value: object) -> str:
    try:
        return msgspec.json.encode(_plain(value)).decode()
    except UnicodeError as error:
        raise NotJson("text must be valid Unicode, got text that is not: replace the lone surrogates") from error
    except RecursionError as error:
        raise NotJson(
            "the value must be nested less deeply than Python's recursion limit, got a deeper one: make it flatter"
        ) from error
    except NotJson:
        raise
    except Exception as error:  # reading a value may run code of its class
        raise NotJson(
            f"the value must have a JSON form, got a {type(value).__name__}: convert it to plain values"
        ) from error


def _plain(value: Any) -> Any:
    # No field is masked or truncated, because the checks must read all of the value.
    match value:
        case enum.Enum():
            return _plain(value.value)
        case None | bool():
            return value
        case numbers.Integral() | float():
            return _number(value)
        case str() | bytes() | bytearray() | memoryview():
            return _text(value)
        case os.PathLike():
            return _plain(os.fspath(value))
        case Mapping():
            return _named(value.items())
        case Sequence() | AbstractSet():
            return [_plain(each) for each in value]
    if isinstance(value, _SPELLED):
        return msgspec.to_builtins(value)
    fields = ((name, getattr(value, name)) for name in _fields(value))
    return _named((name, each) for name, each in fields if each is not msgspec.UNSET)


def _number(value: Any) -> int | float:
    if isinstance(value, numbers.Integral):
        return int(value)
    if not math.isfinite(value):
        raise NotJson(f"a number must be finite to have a JSON form, got {float(value)!r}: give a finite one")
    return float(value)


def _text(value: str | bytes | bytearray | memoryview) -> str:
    return str.__str__(value) if isinstance(value, str) else bytes(value).decode()


def _fields(value: Any) -> Collection[str]:
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if callable(getattr(kind, "model_dump", None)):
        return [name for name, _ in value]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    raise NotJson(
        f"the value must have a JSON form, got a {kind.__name__}: if no check needs it, name its parameter "
        "in guard(context=[...])"
    )


def _named(pairs: Any) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        name = _plain(key)
        if type(name) is int:
            name = str(name)
        if not isinstance(name, str) or name in members:
            raise NotJson(f"the keys of a mapping must be distinct strings, got {name!r:.80}: rename this key")
        members[name] = _plain(value)
    return members


def _own(tool: Callable[..., Any], signature: inspect.Signature) -> frozenset[str]:
    outside = str(getattr(tool, "__qualname__", "")).rpartition(".")[0]
    first = next(iter(signature.parameters), "")
    in_class = bool(outside) and not outside.endswith("<locals>")
    return frozenset({first}) if in_class and first in ("self", "cls") else frozenset()


ToolT = TypeVar("ToolT", bound=Callable[..., Any])
Conversation: TypeAlias = Callable[[], Iterable[Message | Mapping[str, Any]]]
"""A function that returns the messages so far, in a form that :func:`interwhen.run` accepts."""

_loop = LoopThread()
"""The event loop for the checks of sync functions."""


class Refused(InterwhenError):
    """Raised if a guarded tool did not run, or if its result is withheld. The message may be shown to the model."""

    def __init__(self, tool: str, result: Result, *, ran: bool) -> None:
        self.tool = tool
        self.result = result
        """The result of the checks."""
        self.ran = ran
        """Whether the tool has run. Then its result was refused; otherwise its call was refused."""
        reasons = [record.why for record in result.violations if record.interrupted]
        reasons = reasons or [getattr(result, "reason", "") or "it could not be shown to be right"]
        what = f"The result of {tool} is withheld" if ran else f"The call of {tool} was not made"
        super().__init__(f"{what}: {'; '.join(reasons)}.")


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
    """Wrap *tool*, a sync or async function, so that monitors check each call of it and each result.

    *calls* are monitors (trigger ``ToolCalls``) that check the call before *tool* runs. They read the name of the tool
    and all arguments as JSON, including defaults. *name* is the name of the tool; by default it is the name of the
    function. The parameters in *context* are left out: the program passes them, and the model does not see them.
    *results* are monitors that check the returned value before the caller gets it. They read a string unchanged, bytes
    as UTF-8 and other values as JSON; an awaitable is awaited first. *history* is a function that returns the
    conversation so far, for monitors that need it.

    Without monitors, nothing is checked. The guard refuses on a violation, whatever the remedy of its monitor, and on a
    checked argument or result without a complete JSON form. It refuses on a check without a verdict (it raised, was
    late or lost its worker, or its extractor or ``prepare`` failed), unless the monitor has ``on_error="open"`` or a
    ``Retry(then="open")``. It refuses on ``Unknown`` if the monitor has ``unproven="closed"``. It does not refuse
    because of a monitor with the delivery ``observe``, and not while supervision is switched off. A refusal raises
    :class:`Refused`. If *on_refused* is given, the tool returns ``on_refused(refusal)`` instead: ``on_refused=str``
    gives the model the reason as the tool's result. The checks of a sync function run on an event loop in another
    thread, and block the caller. If such a function returns an awaitable, its result is checked where the caller awaits
    it.

    Also works as a decorator: ``@guard(calls=[...])``. Raises :class:`~interwhen.UsageError` for invalid options, for a
    monitor that would never read the call or the result, and if *results* are given for a generator.
    """
    if tool is None:
        options = {"calls": calls, "results": results, "on_refused": on_refused, "name": name}
        return functools.partial(guard, **options, history=history, context=context)
    require("what guard gets", tool, Callable[..., Any], "to give options, write @guard(calls=[...])")
    if isinstance(context, str):
        raise UsageError(f"guard(context=...) must be a list of names, got {context!r:.80}: write [{context!r:.80}]")
    for option, given in (("on_refused", on_refused), ("history", history)):
        if given is not None and (not callable(given) or _is(inspect.iscoroutinefunction, given)):
            raise UsageError(
                f"guard({option}=...) must be a function that is not async, got {given!r:.80}: write one with def"
            )
    of_calls, of_results = _refusing(calls), _refusing(results)
    for monitor in of_calls:
        if not isinstance(monitor.trigger, ToolCalls) or monitor.phase == "reasoning":
            raise _blind("calls", "ToolCalls(), and not only the reasoning", monitor)
    for monitor in of_results:
        if isinstance(monitor.trigger, ThinkEnd) or monitor.phase == "reasoning":
            raise _blind("results", "a trigger that reads the answer", monitor)
    return _Guarded(tool, of_calls, of_results, on_refused, name, history, context).wrapped()


class _Guarded:
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
                "guard(results=...) must get a function that returns its result whole, got the generator "
                f"{self._name}: return a list, or guard the calls only"
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
                    return self._own_refusal(refusal)
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
                return self._own_refusal(refusal)
            return value

        return guarded_plain

    async def _later(self, call: ToolCall | None, pending: Awaitable[Any]) -> Any:
        try:
            value = await pending
            await self._after(call, value)
        except Refused as refusal:
            return self._own_refusal(refusal)
        return value

    def _own_refusal(self, refusal: Refused) -> Any:
        # The refusal of another guarded tool, which this tool called, is raised again.
        if self._on_refused is None or refusal.tool != self._name:
            raise refusal
        return self._on_refused(refusal)

    async def _before(self, args: Sequence[Any], options: Mapping[str, Any]) -> ToolCall | None:
        # Return `None` also if JSON cannot represent the call but no monitor may refuse it.
        if self._signature is None:
            return None
        try:
            call = self._signature.call(args, options)
        except NotJson as error:
            await self._refuse_not_json(str(error), (*self._calls, *self._results), ran=False)
            return None
        if self._calls:
            await self._judge(Chunk(call.text, call=call), self._calls, self._said() or "", ran=False)
        return call

    async def _after(self, call: ToolCall | None, value: Any) -> None:
        if not self._results:
            return
        try:
            text = as_text(value)
        except NotJson as error:
            await self._refuse_not_json(f"the result cannot be checked: {error}", self._results, ran=True)
            return
        made = () if call is None else (Message("assistant", "", (call,)),)
        await self._judge(Chunk(text), self._results, (*self._said(), *made), ran=True)

    async def _refuse_not_json(self, why: str, monitors: tuple[Monitor, ...], *, ran: bool) -> None:
        # If all monitors only observe, nothing is refused, and the log alone reports the value.
        log_warning("guard.not_json", tool=self._name, why=why)
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
        said, over = Recording.untimed([chunk]), Recording.untimed([])
        model = ReplayModel(
            # After a remedy the run asks for more, and there is none.
            lambda request: over if request.pieces else said,
            capabilities=Capabilities(resume="prefix", forks=False, think_tags=None),
            name="given",
        )
        judging = run(model, prompt, monitors=monitors)
        if judging.observation is not None:
            judging.observation.source, judging.observation.model = "guard", self._name
        async with judging as judged:
            result = await judged.drain()
        acted = any(record.interrupted for record in result.violations)
        if acted or result.status in ("abstained", "failed"):
            raise Refused(self._name, result, ran=ran)


def _refusing(specs: Iterable[MonitorSpec]) -> tuple[Monitor, ...]:
    # A guard refuses whatever the remedy, because no model is there to write a correction.
    return tuple(
        dataclasses.replace(monitor, remedy=Stop(), delivery="observe" if monitor.delivery == "observe" else "gate")
        for monitor in load_monitors(cast("Any", specs))
    )


def _blind(option: str, reads: str, monitor: Monitor) -> UsageError:
    # `monitor` would never read what it has to check.
    return UsageError(
        f"guard({option}=...) must have monitors with {reads}, got the monitor {monitor.name!r:.80} with "
        f"{monitor.trigger!r:.80} and phase={monitor.phase!r}: choose another monitor, or change its trigger"
    )


def _refuted(why: str) -> Monitor:
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
    return kind(tool) or kind(getattr(type(tool), "__call__", None))  # noqa: B004  how it is called, not whether
