"""Answers one call with a strategy: several requests to the caller's server, and one text for the reader.

The chosen answer is replayed in a supervised run, which corrects it if it is refuted. If a strategy answers with one
run (`interrupt`, `greedy`), that run is shown while the model writes. Why: docs/decisions/strategies.md.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio
import msgspec
from anyio.abc import TaskStatus
from msgspec.structs import replace as replaced

from interwhen._engine.callbacks import LISTENERS
from interwhen._engine.run import Run, is_off
from interwhen._types.errors import ModelError, OutOfTokens, StreamTimeout, UsageError
from interwhen._types.events import Delta, Event, Finished, Retracted, StreamStarted
from interwhen._types.extensions import Ready
from interwhen._types.ledger import Ledger
from interwhen._types.models import WARM, Chunk, Completion, Request, ResumeWay, Stream, Timeouts, Usage
from interwhen._types.monitors import Monitor
from interwhen._types.results import Abstained, Failed, Insertion, Result
from interwhen._types.segments import Span
from interwhen._types.strategies import CallStrategy, LiveRun, StrategyChoice, StrategyTask
from interwhen.clients._calls import ApiCall, Settings, run_of_call
from interwhen.clients._chat_codec import ChunkTemplate, wire_reason
from interwhen.clients._chunk_buffer import ChunkBuffer, Field
from interwhen.clients._upstream import CallModel, CallTransport, Facts, KnownResponse, ModelEndpoint, make_buffer
from interwhen.journal._settings import CallJournal
from interwhen.models._metered import MeteredModel
from interwhen.models._sse import END_MARK
from interwhen.models._token_servers import Place
from interwhen.models._transport import HttpResponse
from interwhen.models._wrapper import ModelWrapper, StreamWrapper


class RecordedAnswer(NamedTuple):
    """One response as it came over the wire, to be shown with all of its fields."""

    content_type: str
    packed: bytes
    """The body, compressed by ``zlib``."""


class RecordingTransport:
    """A :class:`~interwhen.clients._upstream.CallTransport` for one sample. It records what *inner* receives."""

    # It is also the response to its last streamed request, as an `HttpResponse`.

    def __init__(self, inner: CallTransport) -> None:
        self._inner = inner

    @property
    def host(self) -> str:
        return self._inner.host

    async def open(self, body: dict[str, Any], place: Place = "call") -> HttpResponse:
        self._response = response = await self._inner.open(body, place)
        self.status, self.headers = response.status, response.headers
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []
        return self

    async def ask(self, body: dict[str, Any], place: Place = "call") -> bytes:
        return await self._inner.ask(body, place)

    async def get(self, facts: Facts) -> bytes:
        return await self._inner.get(facts)

    async def receive(self) -> bytes:
        data = await self._response.receive()
        if data:  # closing a stream reads the end of the body again
            self._packed.append(self._packer.compress(data))
        return data

    async def aclose(self) -> None:
        await self._response.aclose()

    def recorded(self) -> RecordedAnswer:
        # Call this once, at the end: the flush ends the compressor.
        packed = b"".join((*self._packed, self._packer.flush()))
        return RecordedAnswer(self.headers.get("content-type", ""), packed)


class _SampleStream(StreamWrapper):
    """The stream of one sample, with the timeouts ``first_token`` and ``inter_token``."""

    # The chunks in `buffer` are dropped. `known` gets the first one, and the field with the reasoning.

    def __init__(
        self, stream: Stream, buffer: ChunkBuffer, known: ChunkBuffer, transport: RecordingTransport, timeouts: Timeouts
    ) -> None:
        super().__init__(stream)
        self._buffer = buffer
        self._known = known
        self._transport = transport
        self._timeouts = timeouts
        self._has_text = False
        self._is_whole = False

    @property
    def recording(self) -> RecordedAnswer | None:
        # Read this once, because `recorded` can be called only once.
        return self._transport.recorded() if self._is_whole else None

    async def receive(self) -> Sequence[Chunk]:
        seconds = self._timeouts.inter_token if self._has_text else self._timeouts.first_token
        chunks: Sequence[Chunk] = ()
        with anyio.move_on_after(seconds) as scope:
            chunks = await super().receive()
        if scope.cancelled_caught:
            raise StreamTimeout("inter_token" if self._has_text else "first_token", seconds or 0.0)
        self._has_text = self._has_text or bool(chunks)
        self._is_whole = not chunks
        buffer, known = self._buffer, self._known
        known.first, known.reasoning = known.first or buffer.first, known.reasoning or buffer.reasoning
        buffer.queue.clear()
        return chunks


class CallSampler(ModelWrapper):
    """A :class:`~interwhen.models.Model` that sends the request of *call*, with the temperature of each sample."""

    # If the caller gave a seed, the request has the seed of the sample. After `show`, streams put their chunks into the
    # buffer that the reader sees; before, the chunks are dropped.

    needs_proof = False
    """A run that is a part of a call does not probe the endpoint."""

    def __init__(self, call: ApiCall, settings: Settings, transport: CallTransport, endpoint: ModelEndpoint) -> None:
        self._call = call
        self._settings = settings
        self._transport = transport
        self._endpoint = endpoint
        self.known = make_buffer(call)
        """Has the first chunk of the server, the template of chunks that interwhen makes, and the field with the
        reasoning."""
        super().__init__(self._made(call, transport, self.known))
        self._is_shown = False
        self.feedback = settings.feedback
        self.accepted = 0
        """How many requests for streams the server has accepted."""
        self.resume: ResumeWay | None = None
        """How the last request that continued kept text did so; ``None`` if there was none."""
        self.opened = anyio.Event()
        """Set once the server has accepted a request, or the strategy has ended."""

    def show(self, buffer: ChunkBuffer, *, greedy: bool, seed: int) -> CallModel:
        # `seed` is added to the caller's seed. Return the model that sends the requests.
        body = dict(self._call.body)
        if greedy:
            body["temperature"] = 0
        elif body.get("temperature") == 0:
            body["temperature"] = WARM
        if body.get("seed") is not None:
            body["seed"] += seed
        shown = self._made(replace(self._call, body=body), self._transport, buffer)
        self._model, self._is_shown = shown, True
        return shown

    async def stream(self, request: Request) -> Stream:
        # Raises `ModelError` if the request fails, and `UsageError` if the strategy adds messages to ones with more
        # than text.
        stream = await (super().stream(request) if self._is_shown else self._sampled(request))
        self.accepted += 1
        self.resume = getattr(stream, "way", None) or self.resume
        self.opened.set()
        return stream

    async def _sampled(self, request: Request) -> Stream:
        buffer = make_buffer(self._call)
        buffer.reasoning = self.known.reasoning
        transport = RecordingTransport(self._transport)
        model = self._made(self._asked(request), transport, buffer)
        stream = await model.stream(replace(request, sampling=replace(request.sampling, seed=None, temperature=None)))
        return _SampleStream(stream, buffer, self.known, transport, self._endpoint.timeouts)

    def _made(self, call: ApiCall, transport: CallTransport, buffer: ChunkBuffer) -> CallModel:
        return CallModel(call, transport, self._endpoint, buffer, resume=self._settings.resume)

    def _asked(self, request: Request) -> ApiCall:
        body = {name: value for name, value in self._call.body.items() if name != "stream_options"}
        sampling, prompt, known = request.sampling, request.prompt, self._call.prompt
        if sampling.temperature is not None:
            body["temperature"] = sampling.temperature
        # Without a seed of the caller, samples differ by themselves, and some servers take no seed.
        if sampling.seed is not None and body.get("seed") is not None:
            body["seed"] = sampling.seed
        if prompt == known:
            pass
        elif isinstance(prompt, str) and self._call.api == "completions":
            body["prompt"] = prompt
        elif isinstance(prompt, tuple) and isinstance(known, tuple) and prompt[: len(known)] == known:
            added = ({"role": one.role, "content": one.content} for one in prompt[len(known) :])
            body["messages"] = [*body["messages"], *added]
        else:
            raise UsageError(
                "the messages must hold only text for a strategy that adds messages, got messages with more "
                "than text: choose a strategy that takes whole answers, such as until-verified"
            )
        return replace(self._call, body=body)


class CallMeter(MeteredModel):
    """Counts the tokens and samples of one call, and limits them to *tokens* and *samples*."""

    # A sample is a stream that begins a text. Requests raise `OutOfTokens` when the tokens are used up, and samples
    # also when their number is. Equal forks with a `side` get the same answer, without another request.

    def __init__(self, model: CallSampler, tokens: int, samples: int) -> None:
        super().__init__(model, tokens)
        self._known = model.known
        self._samples_left = samples
        self._answered: dict[tuple[object, ...], Completion] = {}
        self.answered_tokens = 0
        """Tokens of the answered forks, as far as the server counted them."""
        self.reasoning_tokens = 0
        """Tokens of reasoning in the samples, as far as the server counted them."""
        self.hides_reasoning = False
        """Whether the server did not send all of the reasoning of a sample."""
        self.chosen: CallModel | None = None
        """Streams the chosen answer, which was counted as a sample; ``None`` if it is not chosen yet, or was shown."""
        self.chosen_hides = False
        """Whether the chosen answer does not say by itself that reasoning was hidden."""

    @property
    def left(self) -> int:
        # The tokens that samples may still generate. After the kill switch nothing rates samples, so the answer is
        # chosen among those that there are.
        return super().left if self._samples_left and not is_off() else 0

    async def stream(self, request: Request) -> Stream:
        # The first stream after the choice shows the chosen answer.
        chosen, self.chosen = self.chosen, None
        if chosen is not None:
            shown = await chosen.stream(request)
            return _HidingStream(shown) if self.chosen_hides else shown
        if not request.pieces:
            if not self._samples_left:
                raise OutOfTokens(self.budget)
            self._samples_left -= 1
        return await super().stream(request)

    async def complete(self, request: Request) -> Completion:
        asked = request.sampling
        key = (request.prefix, request.side, asked.max_tokens, asked.stop, asked.logprobs, asked.top_logprobs)
        known = None if request.side is None else self._answered.get(key)
        if known is not None:
            return replace(known, usage=Usage(0, 0, 0))
        answer = self._answered[key] = await super().complete(request)
        self.answered_tokens += answer.usage.completion_tokens or 0
        return answer

    def billed(self, chunk: Chunk) -> Chunk:
        self.hides_reasoning = self.hides_reasoning or (chunk.usage is not None and chunk.usage.hides_reasoning)
        return super().billed(chunk)

    def settle(self, usage: Usage | None, size: int = 0, *, came: int = 0, finished: bool = False) -> None:
        super().settle(usage, size, came=came, finished=finished)
        if usage is not None and usage.reasoning_tokens:
            self.reasoning_tokens += usage.reasoning_tokens
            self.hides_reasoning = self.hides_reasoning or self._known.reasoning is None

    @property
    def streamed(self) -> int:
        return self.generated + self.unseen + self.wasted


class _HidingStream(StreamWrapper):
    """Says in the token counts at the end of a stream that reasoning was hidden."""

    async def receive(self) -> Sequence[Chunk]:
        return [
            replaced(chunk, usage=replaced(chunk.usage or Usage(), hides_reasoning=True))
            if chunk.finish_reason is not None
            else chunk
            for chunk in await super().receive()
        ]


class StrategyRun:
    """Answers *call* with *strategy*. It has those methods of a :class:`~interwhen.Run` that a supervised call uses."""

    # The answer fills `buffer`. With `is_final`, text that the reader has seen cannot be retracted. `context` reports
    # what the call has used of its prepared context.

    def __init__(
        self,
        strategy: CallStrategy,
        call: ApiCall,
        settings: Settings,
        monitors: tuple[Monitor, ...],
        transport: CallTransport,
        endpoint: ModelEndpoint,
        buffer: ChunkBuffer,
        journal: CallJournal | None = None,
        *,
        is_final: bool,
        context: Ready | None = None,
    ) -> None:
        self._context = context
        self._strategy = strategy
        self._journal = journal
        """Gets the first run that the reader sees; ``None`` from then on, and without a journal."""
        self._call = call
        self._settings = settings
        self._monitors = monitors
        self._buffer = buffer
        self._is_final = is_final
        self._sampler = CallSampler(call, settings, transport, endpoint)
        self._meter = CallMeter(self._sampler, settings.strategy_tokens, settings.strategy_samples)
        self._live = strategy.live(0, monitors)
        self._number = 0
        self._longest = 0
        self._shown = 0
        """How many characters of the run in progress were passed to the reader."""
        self._spent: list[Ledger] = []
        """The ledgers of runs that were given up."""
        self._inner: Run | None = None
        self._began_off = False
        """Whether supervision was off when the shown run began, so that its monitors do not run."""
        self._has_begun = False
        self._is_over = False
        self._solved = anyio.Event()
        self._choice: StrategyChoice | None = None
        self._crash: Exception | None = None
        self._result: Result | None = None
        self._began = self._chosen_at = 0.0
        self.error: ModelError | None = None
        """The exception that caused a failed result."""
        self.when_switched_off: Callable[[], object] | None = None

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        return self._monitors if self._live is None else self._live.monitors

    @property
    def is_switched_off(self) -> bool:
        return self._began_off or (self._inner is not None and self._inner.is_switched_off)

    @property
    def text(self) -> str:
        return "" if self._inner is None else self._inner.text

    @property
    def result(self) -> Result:
        if self._result is None:
            raise UsageError(
                "the result must be read after the end of the call, got a read before it: read its events "
                "to the end, or leave its `async with` block"
            )
        return self._result

    async def __aenter__(self) -> Self:
        self._began = anyio.current_time()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        if self._live is None:
            self._group.start_soon(self._solve, name="strategy")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        try:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                return await self._group.__aexit__(kind, error, traceback)
            await self._group.__aexit__(None, None, None)
            return None
        finally:
            if self._result is None:
                self._result = self._abstained("the caller left before the end")

    async def batch(self) -> list[Event]:
        # If another run follows, the text of the run before it is retracted. Raises the error of a strategy, unless it
        # is a `ModelError`, which becomes a failed result.
        while not self._is_over:
            if self._live is None and not self._has_begun:
                await self._sampler.opened.wait()
                self._has_begun = True
                if self._sampler.accepted and self._crash is None:
                    return [StreamStarted(0, None)]
            if self._inner is None and (ended := await self._begin()) is not None:
                return self._end(ended)
            assert self._inner is not None
            events = await self._inner.batch()
            if not events or isinstance(events[-1], Finished):
                self.error = self._inner.error
                self._leaving.set()
                await self._left.wait()
                outgoing = await self._finish(events)
            else:
                outgoing = self._passed(events)
            if outgoing:
                return outgoing
        return []

    async def _solve(self) -> None:
        LISTENERS.set(None)  # in the context of this task: its runs are parts of the call
        settings, call = self._settings, self._call
        seed = call.body.get("seed")
        temperature = call.body.get("temperature")
        task = StrategyTask(
            model=self._meter,
            prompt=self._call.prompt,
            monitors=self._monitors,
            sampling=replace(call.sampling, seed=None, temperature=temperature),
            seed=seed if isinstance(seed, int) else int.from_bytes(os.urandom(4)) >> 2,
            starts_in=settings.starts_in,
            workers=settings.workers,
            is_structured=call.is_structured,
        )
        try:
            with anyio.move_on_after(settings.budgets.seconds) as scope:
                self._choice = await self._strategy.choose(task)
            if scope.cancelled_caught:
                self._choice = StrategyChoice(gave_up=f"the time budget of {settings.budgets.seconds:g} s is spent")
        except ModelError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  raised where the reader reads
            self._crash = error
        finally:
            self._chosen_at = anyio.current_time()
            self._solved.set()
            self._sampler.opened.set()

    async def _begin(self) -> Result | None:
        # If there is nothing to show, return the result of the call.
        if self._live is not None:
            self._sampler.show(self._buffer, greedy=self._live.greedy, seed=self._live.seed)
            await self._enter(self._run(self._live.monitors))
            return None
        await self._solved.wait()
        if self._crash is not None:
            raise self._crash
        if self.error is not None:
            return self._failed(self.error)
        assert self._choice is not None
        if self._choice.gave_up:
            self._buffer.first = self._buffer.first or self._sampler.known.first
            return self._abstained(self._choice.gave_up)
        await self._enter(await self._make_shown(self._choice))
        return None

    async def _make_shown(self, choice: StrategyChoice) -> Run:
        # The chosen answer is replayed under the monitors. If they refute it, requests to the server correct it.
        recording, meter = choice.recording, self._meter
        if isinstance(recording, RecordedAnswer):
            answer = KnownResponse(zlib.decompress(recording.packed), recording.content_type)
        else:
            answer = KnownResponse(self._composed(choice))
            meter.chosen_hides = meter.hides_reasoning
        meter.chosen = self._sampler.show(self._buffer, greedy=False, seed=0)
        meter.chosen.answer_first(answer)
        return self._run(self._monitors)

    def _composed(self, choice: StrategyChoice) -> bytes:
        is_chat = self._call.api == "chat"
        template = ChunkTemplate(self._sampler.known.first, chat=is_chat)
        said: Field = "content" if is_chat else "text"
        reasoned: Field = (self._sampler.known.reasoning or "reasoning_content") if is_chat else "text"
        bodies = [
            template.text(reasoned if chunk.phase == "reasoning" else said, chunk.text)
            for chunk in choice.chunks
            if chunk.text
        ]
        if bodies:
            template.begin(bodies[0])
        reason = wire_reason(choice.finish_reason)
        if reason is not None:
            bodies.append(template.finish(reason))
        tokens = sum(chunk.tokens for chunk in choice.chunks)
        prompt = self._meter.prompt_tokens
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        bodies.append(template.usage(usage))
        end = b"" if choice.finish_reason == "truncated" else END_MARK
        return b"".join(b"data: " + msgspec.json.encode(body) + b"\n\n" for body in bodies) + end

    def _run(self, monitors: tuple[Monitor, ...]) -> Run:
        settings, call, live = self._settings, self._call, self._live
        budgets, sampling = settings.budgets, call.sampling
        if budgets.seconds is not None:
            spent = anyio.current_time() - self._began
            budgets = replaced(budgets, seconds=max(budgets.seconds - spent, 0.0))
        if live is not None:
            seed = None if sampling.seed is None else sampling.seed + live.seed
            sampling = replace(sampling, seed=seed, temperature=0.0 if live.greedy else None)
        journal, self._journal = self._journal, None
        made = run_of_call(
            self._meter, call, settings, monitors, journal, self._context, sampling=sampling, budgets=budgets
        )
        self._began_off = bool(monitors) and is_off()
        if self._began_off and self.when_switched_off is not None:
            self.when_switched_off()
        made.when_switched_off = self.when_switched_off
        return made

    async def _enter(self, made: Run) -> None:
        # A separate task enters and leaves the run, because the reader may leave it in another task.
        self._leaving, self._left = anyio.Event(), anyio.Event()
        await self._group.start(self._hold, made, name="shown run")
        self._inner = made
        self._shown = 0

    async def _hold(self, made: Run, *, task_status: TaskStatus[None]) -> None:
        try:
            async with made:
                task_status.started()
                await self._leaving.wait()
        finally:
            self._left.set()

    def _passed(self, events: list[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, Delta):
                self._shown = event.start + len(event.text)
            elif isinstance(event, Retracted):
                self._shown = min(self._shown, event.to)
        if self._live is None:
            return [event for event in events if not isinstance(event, StreamStarted)]
        return events

    async def _finish(self, events: list[Event]) -> list[Event]:
        # End the call, or prepare the next run of the strategy; then the shown text is retracted.
        assert self._inner is not None
        result = self._inner.result
        if result.status == "failed" and isinstance(self.error, OutOfTokens):
            # The server did not fail: the answer was refuted, and there is no budget to correct it.
            fields = {name: getattr(result, name) for name in Failed.__struct_fields__ if name != "error"}
            result, self.error = Abstained(**fields, reason=str(self.error)), None
        passed = self._passed([event for event in events if not isinstance(event, Finished)])
        if self._live is None:
            return [*passed, *self._end(self._of_chosen(result))]
        self._longest = max(self._longest, result.ledger.kept)
        following = self._following(result)
        if following is None:
            return [
                *passed,
                *self._end(replaced(result, resume=self._sampler.resume, ledger=self._summed(result.ledger))),
            ]
        if self._shown:
            passed.append(Retracted(0))
        self._spent.append(result.ledger)
        self._number += 1
        self._live, self._inner, self.error = following, None, None
        return passed

    def _following(self, result: Result) -> LiveRun | None:
        if result.status == "failed" or (result.status != "abstained" and result.text.strip()):
            return None
        is_out_of_time = self._settings.budgets.seconds is not None and (
            anyio.current_time() - self._began >= self._settings.budgets.seconds
        )
        if is_out_of_time or (self._is_final and self._shown) or self._meter.left < max(self._longest, 1):
            return None
        return self._strategy.live(self._number + 1, self._monitors)

    def _end(self, result: Result) -> list[Event]:
        self._result = result
        self._is_over = True
        return [Finished(result)]

    def _of_chosen(self, result: Result) -> Result:
        choice, timing = self._choice, result.timing
        assert choice is not None
        waited = self._chosen_at - self._began
        first = None if timing.first_token is None else timing.first_token + waited
        return replaced(
            result,
            insertions=(*_written(choice, result.text), *result.insertions),
            resume=self._sampler.resume,
            ledger=self._ledger(result.ledger),
            timing=replaced(timing, total=timing.total + waited, first_token=first),
        )

    def _failed(self, error: ModelError) -> Result:
        return Failed(**self._without_text(), error=f"{type(error).__name__}: {error}")

    def _abstained(self, reason: str) -> Result:
        return Abstained(**self._without_text(), reason=reason)

    def _without_text(self) -> dict[str, Any]:
        empty = {"text": "", "reasoning": "", "answer": "", "finish_reason": None}
        return {**empty, "resume": self._sampler.resume, "ledger": self._ledger()}

    def _summed(self, last: Ledger) -> Ledger:
        # `last` is the ledger of the run whose text the caller keeps. The text of the runs before was retracted, so
        # what they kept counts as discarded.
        every = (*self._spent, last)
        fields: dict[str, Any] = {
            name: sum(getattr(each, name) for each in every) for name in Ledger.__struct_fields__ if name != "resumes"
        }
        thrown = sum(each.kept for each in self._spent)
        fields |= {"kept": last.kept, "discarded": fields["discarded"] + thrown, "inserted_chars": last.inserted_chars}
        if self._meter.wasted:
            # The meter ended a stream at the budget of the call, and no run has seen the tokens beyond it.
            fields["wasted_tokens"] += max(self._meter.streamed - fields["kept"] - fields["discarded"], 0)
        return Ledger(**fields, resumes=tuple(cost for each in every for cost in each.resumes))

    def _ledger(self, shown: Ledger | None = None) -> Ledger:
        """Return the ledger of a call that does not end with the result of a live run.

        *shown* is that of the run that showed the chosen answer, if one did.
        """
        if self._live is not None:
            return self._summed(Ledger())
        meter, choice, shown = self._meter, self._choice, shown or Ledger()
        total = meter.generated + meter.unseen
        written = () if choice is None else choice.chunks
        inserted = sum(len(chunk.text) for chunk in written if not chunk.tokens and chunk.call is None)
        return replaced(
            meter.ledger(0, remedies=shown.remedies + (0 if choice is None else choice.remedies)),
            kept=min(shown.kept, total),
            discarded=max(total - shown.kept, 0),
            fork_tokens=meter.answered_tokens,
            reasoning_tokens=self._meter.reasoning_tokens,
            requests=self._sampler.accepted,
            inserted_chars=shown.inserted_chars + inserted,
            resumes=tuple(
                replaced(cost, request=cost.request + self._sampler.accepted - shown.requests) for cost in shown.resumes
            ),
        )


def _written(choice: StrategyChoice, text: str) -> tuple[Insertion, ...]:
    chosen = "".join(chunk.text for chunk in choice.chunks)
    length = len(os.path.commonprefix([text, chosen]))  # noqa: RUF071  (any texts, not only paths)
    insertions: list[Insertion] = []
    at = 0
    for chunk in choice.chunks:
        end = at + len(chunk.text)
        if chunk.text and not chunk.tokens and chunk.call is None and end <= length:
            insertions.append(Insertion(Span(at, end), "feedback"))
        at = end
    return tuple(insertions)
