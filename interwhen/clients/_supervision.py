"""Supervises one call: a separate task keeps its run open, and the reader gets chunks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from interwhen._engine.callbacks import Callbacks, Observation
from interwhen._engine.run import Run, is_off
from interwhen._types.errors import ModelError
from interwhen._types.events import Event, Finished, StreamStarted
from interwhen._types.ledger import ContextUse
from interwhen._types.log import log_warning, logs_info
from interwhen._types.monitors import GATING, HOLDING, Monitor
from interwhen._types.prompts import PromptRefused
from interwhen._types.remedies import Feedback
from interwhen._types.results import PromptRecord, Result
from interwhen._types.segments import Claim, Segment, ToolCall
from interwhen._types.triggers import ToolCalls
from interwhen._types.verdicts import Pass, Verdict, Violation
from interwhen._types.verifiers import FunctionVerifier
from interwhen.clients._call_context import ContextServed, answer_body, serve_context
from interwhen.clients._call_record import CallOrigin, CallRecord, log_call, record_call
from interwhen.clients._calls import Api, ApiCall, Settings, Unsupported, run_of_call
from interwhen.clients._chat_codec import BLOCKED, Composer, Part
from interwhen.clients._responses_codec import ResponsesComposer, whole_of
from interwhen.clients._strategy_run import StrategyRun
from interwhen.clients._upstream import CallModel, CallTransport, KnownResponse, ModelEndpoint, make_buffer
from interwhen.journal._settings import CallHead, CallJournal

if TYPE_CHECKING:
    import asyncio


_CLOSE_SECONDS = 10.0

_tasks: set[asyncio.Task[None]] = set()
"""The running tasks: a reference keeps them from being garbage-collected."""


class CallEnding:
    """Passes the events of a call to its listeners, and makes the record of the call when it ends.

    *judged* converts a result to the result that the caller gets.
    """

    def __init__(
        self,
        origin: CallOrigin,
        call: ApiCall,
        settings: Settings,
        monitors: tuple[Monitor, ...],
        judged: Callable[[Result], Result],
        journal: CallJournal | None = None,
    ) -> None:
        self.journal = journal
        self.origin = origin
        self._call = call
        self._settings = settings
        self._monitors = monitors
        self._judged = judged
        listeners = origin.listeners
        if settings.on_result is not None or settings.on_event is not None:
            listeners = (Callbacks(settings.on_result, settings.on_event), *listeners)
        self.observation = Observation(origin.call_id, origin.source, call.model, listeners, call.api)
        self.are_watching = any(listener.wants_events for listener in listeners)

    def publish(self, result: Result | None) -> None:
        # For a call of a gateway, this only tells the listeners. `result` is `None` if the call raised an exception.
        # Errors are only logged.
        is_ours = self.origin.source != "gateway"
        try:
            if is_ours or self.observation.listeners:
                self.observation.end(None if result is None else self._judged(result))
            if not is_ours or not (self.journal is not None or self._settings.audit is not None or logs_info()):
                return
            record = self.record(result)
            log_call(record)
            self.keep(record)
            if self._settings.audit is not None:
                self._settings.audit.write(record)
        except Exception as error:  # noqa: BLE001  no call fails because of its record
            log_warning("call.unrecorded", error=type(error).__name__)

    def keep(self, record: CallRecord) -> None:
        if self.journal is not None:
            self.journal.slot.called(record.for_journal(self.journal.keyed), has_problem=record.has_problem)

    def record(self, result: Result | None, outcome: str = "") -> CallRecord:
        # `outcome`, if given, replaces the result's outcome. The record has texts only if the audit settings ask for
        # them, and not if a monitor refused the prompt or failed to check it.
        settings, call = self._settings, self._call
        return record_call(
            self.origin,
            api=call.api,
            model=call.model,
            strategy="" if settings.strategy is None else settings.strategy.name,
            monitors=self._monitors,
            prompt=call.prompt,
            result=None if result is None else self._judged(result),
            outcome=outcome,
            content=settings.audit is not None and settings.audit.settings.content and not _was_refused(result),
            journal=self.journal,
        )


def _was_refused(result: Result | None) -> bool:
    return result is not None and any(one.outcome in ("refused", "failed") for one in result.prompt_findings)


def _start_task(main: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[Callable[[], object]], object]:
    # Start `main` in a task that belongs to no task group, so that it may outlive its caller. Return a function for any
    # thread that calls code on the loop of the task.
    import asyncio  # much of the cost of importing interwhen

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(main, name="interwhen call")
        return trio.lowlevel.current_trio_token().run_sync_soon
    task = loop.create_task(main(), name="interwhen call")
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return loop.call_soon_threadsafe


# The first check of every tool call: the arguments must be valid JSON, and the request must offer the tool.

NAME = "tool-format"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatClaim(Claim):
    """The claim that *call* names an offered tool and has valid arguments."""

    call: ToolCall
    required: tuple[str, ...] | None
    """The required arguments of the tool; ``None`` if no such tool is offered. Also empty without any tools."""
    offered: tuple[str, ...]
    problem: str = ""
    """Why the call, which the model wrote as text, cannot be read; empty if it was read."""


def check(claim: FormatClaim) -> Verdict:
    # Without required names, the arguments may be empty. The arguments of custom tools and of code are not checked.
    call, required = claim.call, claim.required
    if claim.problem:
        return Violation(why=f"the tool call cannot be read: {claim.problem}")
    if required is None:
        return Violation(why=f"there is no tool {call.name!r}; there are {', '.join(claim.offered)}")
    if call.kind in ("custom", "code"):
        return Pass()
    if not call.arguments.strip() and not required:
        return Pass("a call without arguments")
    try:
        values = call.values()
    except ValueError as error:
        return Violation(why=str(error))
    missing = [name for name in required if name not in values]
    if missing:
        return Violation(why=f"the call of {call.name!r} lacks {', '.join(map(repr, missing))}")
    return Pass("valid JSON with all required arguments")


_VERIFIER = FunctionVerifier(NAME, "1", 1.0, "inline", check)


def tool_format(tools: Sequence[Mapping[str, Any]]) -> Monitor:
    # If `tools` is empty, it only checks that the arguments are JSON. A call that the model wrote as text and that
    # cannot be read is a violation, too.
    return _tool_format(tuple((tool["name"], _required(tool)) for tool in tools))


@lru_cache(maxsize=256)  # the calls of one agent offer the same tools; they share the monitor, which has no state
def _tool_format(tools: tuple[tuple[str, tuple[str, ...]], ...]) -> Monitor:
    required_of = dict(tools)
    offered = tuple(required_of)

    def extract(segment: Segment) -> Iterator[FormatClaim]:
        written = segment.written
        if written is not None and written.problem:
            unread = ToolCall("", "", "")
            yield FormatClaim(
                key=written.problem, span=segment.span, call=unread, required=(), offered=(), problem=written.problem
            )
        for call in segment.calls:
            # `None`: there is no such tool. If no tools are offered at all, only the JSON is checked.
            needs = required_of.get(call.name) if required_of else ()
            key = msgspec.json.encode((call.kind, call.name, call.arguments, needs, offered)).decode()
            yield FormatClaim(key=key, span=segment.span, call=call, required=needs, offered=offered)

    return Monitor(
        name=NAME,
        trigger=ToolCalls(unreadable="extract"),
        extractor=extract,
        verifier=_VERIFIER,
        delivery="interrupt",  # the composer holds all tool calls until the end anyway
        remedy=Feedback(),
        level="explain",
        unproven="closed",
        required=False,
    )


def _required(tool: Mapping[str, Any]) -> tuple[str, ...]:
    schema = tool.get("parameters")
    names = schema.get("required") if isinstance(schema, Mapping) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else ()


class Supervised:
    """The answer to one call, chunk by chunk."""

    # Call `parts` until it returns an empty list, or call `aclose`.

    # A stream of an SDK begins in one function and ends in another, perhaps in another task or at garbage collection.
    # But the task that entered a task group must also leave it. So a separate task enters and leaves each run.

    def __init__(
        self,
        inner: Run | StrategyRun,
        model: CallModel,
        composer: Composer,
        settings: Settings,
        ending: CallEnding,
        context_use: ContextUse | None,
    ) -> None:
        self.ending = ending
        self.context_use = context_use
        """``None`` if the call has no prepared context, or if its use is not reported."""
        self.call_id = ending.origin.call_id
        self._settings = settings
        self._run = inner
        self._model = model
        self._composer = composer
        self._entered, self._leaving, self._left = anyio.Event(), anyio.Event(), anyio.Event()
        self._error: BaseException | None = None
        """What entering or leaving the run has raised."""
        self._soon: Callable[[Callable[[], object]], object] | None = None
        self._waiting: list[Event] = []
        self._over = False
        self._raised = False
        """Whether the error that ended the run was raised."""

    async def start(self, *, ahead: bool) -> None:
        # With `ahead`, the request is sent at once, and the run is entered meanwhile; this waits for the response at
        # most as long as the time budget of the call.
        try:
            self._soon = _start_task(self._hold)
            if ahead:
                await self._model.send_ahead(self._settings.budgets.seconds)
            await self._entered.wait()
            if self._error is not None:
                raise self._error  # noqa: TRY301  the run must be left, too
            while not any(isinstance(event, StreamStarted | Finished) for event in self._waiting):
                batch = await self._run.batch()
                if not batch:
                    break
                self._waiting += batch
        except BaseException:
            self.leave()
            raise
        finally:
            await self._model.forget()
        failed = next((e.result for e in self._waiting if isinstance(e, Finished)), None)
        if failed is not None and failed.status == "failed":
            await self.aclose()
            self._raise()

    async def parts(self) -> list[Part]:
        # At the end, return an empty list. If a `ModelError` ended the stream, it is raised once, after the chunks
        # before it.
        while not self._over:
            events, self._waiting = self._waiting, []
            if not events:
                try:
                    events = await self._run.batch()
                except BaseException:
                    self.leave()
                    raise
            parts = self._composer.take(events)
            if self.ending.are_watching:
                self.ending.observation.saw(events)
            if not events or isinstance(events[-1], Finished):
                self._over = True
                await self.aclose()
                if events and isinstance(events[-1], Finished) and self._settings.demotion is not None:
                    self._settings.demotion.saw(self._settings.monitors, events[-1].result)
            if parts:
                # The last chunk has the result; so has the one before it, if the last has only token counts.
                for part in [part for part in parts[-2:] if part.info.result is not None]:
                    part.info = msgspec.structs.replace(part.info, call_id=self.call_id)
                return parts
        if not self._raised:
            self._raise()
        return []

    @property
    def result(self) -> Result | None:
        result = self._ended_with
        return None if result is None else self._composer.judged(result)

    @property
    def _ended_with(self) -> Result | None:
        return self._run.result if self._left.is_set() and self._error is None else None

    @property
    def refusal(self) -> ModelError | None:
        result = self._ended_with
        return self._run.error if result is not None and result.status == "abstained" else None

    @property
    def is_switched_off(self) -> bool:
        # Whether supervision was turned off during the call, so that the rest of the answer was not checked.
        return self._run.is_switched_off

    @property
    def is_cut(self) -> bool:
        # False before the end of the run.
        result = self._ended_with
        return result is not None and result.status == "unverified" and result.finish_reason == "truncated"

    def leave(self) -> None:
        # Any thread may call this, even after the loop has ended.
        if self._soon is not None and not self._left.is_set():
            try:
                self._soon(self._leaving.set)
            except RuntimeError:  # the loop is closed, and everything with it
                self._soon = None

    async def aclose(self) -> None:
        # End the call, even before the end of its answer. This waits for at most 10 seconds, even if cancelled.
        if self._soon is None:
            return
        self._leaving.set()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._left.wait()

    def _raise(self) -> None:
        result = self._ended_with
        if result is not None and result.status == "failed" and self._run.error is not None:
            self._raised = True
            raise self._run.error

    async def _hold(self) -> None:
        # At the end, report and record the call.
        try:
            async with self._run:
                self._entered.set()
                await self._leaving.wait()
        except Exception as error:  # noqa: BLE001  (this task has no parent: its starter or reader raises the error)
            if self._entered.is_set():
                log_warning("run.failed", error=type(error).__name__)
            self._error = error
        finally:
            try:
                # Before the reader continues, so that it finds its call in `watching()` and `last()`.
                self.ending.publish(None if self._error is not None else self._run.result)
            finally:
                self._left.set()
                self._entered.set()


async def supervise(
    call: ApiCall,
    settings: Settings,
    transport: CallTransport,
    endpoint: ModelEndpoint,
    origin: CallOrigin | None = None,
) -> Supervised:
    """Send *call* over *transport*, supervised with *settings*. Return when the server has accepted it.

    Raises :class:`~interwhen.models.ModelError` if the server refuses the call or cannot be reached,
    :class:`PromptRefused` if a prompt monitor refuses it, :class:`Unsupported` if it cannot be supervised, and
    :class:`~interwhen.UsageError` if its prepared context does not exist.
    """
    monitors = settings.deliveries(structured=call.is_structured)
    origin = origin or CallOrigin()
    findings: tuple[PromptRecord, ...] = ()
    if settings.prompt_monitors and not is_off():
        call, findings = await _checked(call, settings, monitors, origin)
    served = ContextServed(call, None)
    if settings.context is not None:
        asking = CallModel(call, transport, endpoint, make_buffer(call), resume=settings.resume)
        served = await serve_context(call, settings.context, asking, takes_answer=settings.strategy is None)
        call = served.call
    has_held_text = any(monitor.delivery in HOLDING for monitor in monitors)
    buffer = make_buffer(call, holds=has_held_text)  # holds back text of unknown fields, too
    if settings.tools and call.api != "completions" and call.tools:
        monitors = (*monitors, tool_format(call.tools))
    model = CallModel(call, transport, endpoint, buffer, resume=settings.resume, probe=settings.probe)
    strategy = settings.strategy
    if strategy is not None and call.api == "responses":
        raise Unsupported(
            f"a call with the strategy {strategy.name!r:.80} must go to /chat/completions or /completions, "
            "got /responses: use one of these, or choose no strategy for this call"
        )
    journal = _journal(origin, call, settings)
    inner: Run | StrategyRun
    if strategy is not None:
        inner = StrategyRun(
            strategy,
            call,
            settings,
            monitors,
            transport,
            endpoint,
            buffer,
            journal,
            is_final=has_held_text and call.streams,
            context=served.ready,
        )
        shown = inner.monitors
    else:
        if served.answer:
            body = msgspec.json.encode(answer_body(call, served.answer, origin.call_id))
            model.answer_first(KnownResponse(body, "application/json"))
        inner = run_of_call(
            model,
            call,
            settings,
            monitors,
            journal,
            served.ready,
            sampling=call.sampling,
            budgets=settings.budgets,
        )
        shown = monitors

    def let_through() -> None:  # also text of unknown fields, which gates hold back
        buffer.field_filter.holds = False

    inner.when_switched_off = let_through
    make = ResponsesComposer if call.api == "responses" else Composer
    composer = make(buffer, lambda: inner.text, call, settings, splits=any(one.delivery in GATING for one in shown))
    composer.prompt_findings = findings
    ending = CallEnding(origin, call, settings, monitors, composer.judged, journal)
    supervised = Supervised(inner, model, composer, settings, ending, served.use)
    # A run that holds text back opens its stream at once by itself, so the request must not be sent ahead.
    await supervised.start(ahead=strategy is None and not has_held_text and not served.answer)
    return supervised


async def _checked(
    call: ApiCall, settings: Settings, monitors: tuple[Monitor, ...], origin: CallOrigin
) -> tuple[ApiCall, tuple[PromptRecord, ...]]:
    # Run the prompt monitors of `settings` on `call`. Return the call with the prompt that they allow, and the records.
    from interwhen.clients._prompt_texts import checked_call

    try:
        return await checked_call(call, settings.prompt_monitors)
    except PromptRefused as refused:
        CallEnding(origin, call, settings, monitors, lambda result: result).publish(refused.result)
        raise


def _journal(origin: CallOrigin, call: ApiCall, settings: Settings) -> CallJournal | None:
    if settings.journal is None:
        return None
    head = CallHead(
        call_id=origin.call_id,
        source=origin.source,
        api=call.api,
        model=call.model[:200],
        trace_id=origin.trace_id,
        streams=call.streams,
        strategy="" if settings.strategy is None else settings.strategy.name,
    )
    # A client of the gateway must not learn the directories of its host.
    return settings.journal.begin(head, shows_path=origin.source != "gateway")


Body = dict[str, Any]


def whole(api: Api, parts: Iterable[Part]) -> Body:
    if api == "responses":
        return whole_of(list(parts))
    body: Body = {}
    choice: Body = {"index": 0}
    text = ""
    message: Body = {"role": "assistant", "content": None}
    for part in parts:
        chunk = part.chunk()
        for name, value in chunk.items():
            if name not in ("choices", "object") and (value is not None or name not in body):
                body[name] = value
        for chunk_choice in chunk.get("choices") or ():
            text += chunk_choice.get("text") or ""
            _merge_choice(choice, chunk_choice)
            _merge(message, chunk_choice.get("delta") or {})
    calls = message.get("tool_calls")
    if calls is not None:
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
    choice.setdefault("finish_reason", None)
    if (calls or choice["finish_reason"] == BLOCKED) and not (message["content"] or "").strip():
        message["content"] = None  # a stream may have white space before a call, which a whole answer has not
    said = {"message": message} if api == "chat" else {"text": text}
    choice = {"index": 0, **said, **choice}
    body["object"] = "chat.completion" if api == "chat" else "text_completion"
    body["choices"] = [choice]
    if body.get("usage", 0) is None:
        del body["usage"]
    return body


def _merge_choice(choice: Body, chunk_choice: Body) -> None:
    for name, value in chunk_choice.items():
        if name in ("delta", "text", "index"):
            continue
        if name == "token_ids" and isinstance(value, list) and isinstance(choice.get(name), list):
            choice[name] = choice[name] + value
        elif name == "logprobs" and isinstance(value, dict) and isinstance(choice.get(name), dict):
            _merge(choice[name], value)
        elif value is not None or name not in choice:
            choice[name] = value


def _merge(into: Body, more: Body) -> None:
    # Strings and lists are joined, objects are merged, and tool calls are matched by their index and id. Other values
    # are replaced, but not by `None`.
    for name, value in more.items():
        known = into.get(name)
        if name in ("role", "type", "id", "index"):
            into[name] = value if value is not None else known
        elif known is None:
            into[name] = value if name != "tool_calls" else _calls([], value or [])
        elif name == "tool_calls":
            into[name] = _calls(known, value or [])
        elif isinstance(known, str | list):
            into[name] = known + value if type(value) is type(known) else known  # type: ignore[operator]
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif value is not None:
            into[name] = value


def _calls(known: list[Body], more: list[Body]) -> list[Body]:
    for piece in more:
        index, name_of_call = piece.get("index") or 0, piece.get("id")
        same = [
            c
            for c in known
            if (c.get("index") or 0) == index and not (name_of_call and c.get("id") not in (None, name_of_call))
        ]
        if same:
            _merge(same[-1], piece)
        else:
            fresh: Body = {}
            _merge(fresh, piece)
            known = [*known, fresh]
    return known
