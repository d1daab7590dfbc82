"""Answers one call with a strategy: several requests to the caller's server, and one text for the reader.

`CallSampler` sends the caller's request as often as the strategy asks for it, and records the answers. `StrategyRun`
takes the place of a `Run`: it replays the chosen answer in a supervised run of its own, which corrects it if it is
refuted. If a strategy answers with one run (`interrupt`, `greedy`), that run is shown while the model writes.

Why: docs/decisions/0044-strategies-behind-the-url.md.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import anyio.lowlevel
import msgspec

from interwhen._engine.callbacks import LISTENERS
from interwhen._engine.run import is_off
from interwhen._run import Run, as_part, run
from interwhen._types.errors import ModelError, OutOfTokens, StreamTimeout, UsageError
from interwhen._types.events import Delta, Event, Finished, Retracted, StreamStarted
from interwhen._types.extensions import Ready
from interwhen._types.ledger import Ledger
from interwhen._types.models import (
    WARM,
    Capabilities,
    Chunk,
    Completion,
    Message,
    Prompt,
    Request,
    ResumeMode,
    ResumeWay,
    Stream,
    Usage,
)
from interwhen._types.monitors import Monitor
from interwhen._types.results import Abstained, Failed, Insertion, Result
from interwhen._types.segments import Span
from interwhen._types.strategies import CallStrategy, LiveRun, StrategyChoice, StrategyTask
from interwhen.clients._calls import ApiCall, Settings
from interwhen.clients._chat_codec import ChunkTemplate, wire_reason
from interwhen.clients._chunk_buffer import ChunkBuffer, Field
from interwhen.clients._upstream import CallModel, CallTransport, Facts, ModelEndpoint, make_buffer
from interwhen.journal._settings import CallJournal
from interwhen.models._metered import MeteredModel
from interwhen.models._sse import END_MARK
from interwhen.models._token_servers import Place
from interwhen.models._transport import HttpResponse
from interwhen.models._wrapper import ModelWrapper

# Records answers as they came over the wire, so that the chosen one can be shown with all of its fields.

_SLICE = 1 << 16
"""How many bytes a replay passes on at a time, so that a long answer does not stop the event loop."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """The headers and the body of one response."""

    headers: Mapping[str, str]
    packed: bytes
    """The bytes of the body, compressed by ``zlib``."""
    has_ids: bool
    """Whether token ids were asked for, which the reader does not get unless the caller asked for them, too."""


class _TappedResponse:
    """An :class:`~interwhen.models.HttpResponse` that passes the bytes of *response* on and records them."""

    def __init__(self, response: HttpResponse, *, has_ids: bool) -> None:
        self.status = response.status
        self._has_ids = has_ids
        self.headers = response.headers
        self._response = response
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Return an optional attribute of the response, such as ``settle``."""
        return getattr(self._response, name)

    async def receive(self) -> bytes:
        data = await self._response.receive()
        if data:
            self._packed.append(self._packer.compress(data))
        return data

    async def aclose(self) -> None:
        await self._response.aclose()

    def recorded(self) -> RecordedAnswer:
        """Return the headers and the bytes received so far, compressed. Call this once, at the end."""
        packed = b"".join((*self._packed, self._packer.flush()))
        return RecordedAnswer(dict(self.headers), packed, self._has_ids)


class _ChosenResponse:
    """An :class:`~interwhen.models.HttpResponse` with the chosen answer: *headers* and *body*, which are known."""

    status = 200

    def __init__(self, headers: Mapping[str, str], body: bytes) -> None:
        self.headers = headers
        self._body = body
        self._at = 0

    async def receive(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        start, self._at = self._at, self._at + _SLICE
        return self._body[start : self._at]

    async def aclose(self) -> None:
        pass


class _RecordingTransport:
    """A :class:`~interwhen.clients._upstream.CallTransport` that records the response to its last streamed request."""

    def __init__(self, inner: CallTransport) -> None:
        self._inner = inner
        self.response: _TappedResponse | None = None

    @property
    def host(self) -> str:
        return self._inner.host

    async def open(self, body: dict[str, Any], place: Place = "call") -> HttpResponse:
        opened = await self._inner.open(body, place)
        self.response = _TappedResponse(opened, has_ids=bool(body.get("return_token_ids")))
        return self.response

    async def ask(self, body: dict[str, Any], place: Place = "call") -> bytes:
        return await self._inner.ask(body, place)

    async def get(self, facts: Facts) -> bytes:
        return await self._inner.get(facts)


class _ReplayTransport:
    """A :class:`~interwhen.clients._upstream.CallTransport` whose streamed request gets *response*.

    Other requests raise :class:`UsageError`.
    """

    def __init__(self, host: str, response: HttpResponse) -> None:
        self.host = host
        self._response = response

    async def open(self, body: dict[str, Any], place: Place = "call") -> HttpResponse:
        del body, place  # there is one answer
        return self._response

    async def ask(self, body: dict[str, Any], place: Place = "call") -> bytes:
        raise UsageError(
            f"a replayed answer must be opened as it is, got a request to {place!r} with {len(body)} "
            "fields: ask the server"
        )

    async def get(self, facts: Facts) -> bytes:
        raise UsageError(
            f"a replayed answer must not be asked for facts of the server, got a question for {facts!r}: ask the server"
        )


class _SampleStream:
    """The stream of one sample. It enforces the timeouts ``first_token`` and ``inter_token``."""

    def __init__(self, stream: Stream, response: _TappedResponse | None, timeouts: Any) -> None:
        self._stream = stream
        self._response = response
        self._timeouts = timeouts
        self._has_text = False
        self._is_over = False

    def __getattr__(self, name: str) -> Any:
        """Return an optional attribute of the stream, such as ``way`` or ``notes``."""
        return getattr(self._stream, name)

    @property
    def recording(self) -> RecordedAnswer | None:
        """The whole answer as the server sent it; ``None`` if the stream was not read to its end. Read this once."""
        return self._response.recorded() if self._is_over and self._response is not None else None

    async def receive(self) -> Sequence[Chunk]:
        timeouts = self._timeouts
        seconds = timeouts.inter_token if self._has_text else timeouts.first_token
        chunks: Sequence[Chunk] = ()
        with anyio.move_on_after(seconds) as scope:
            chunks = await self._stream.receive()
        if scope.cancelled_caught:
            raise StreamTimeout("inter_token" if self._has_text else "first_token", seconds or 0.0)
        self._has_text = self._has_text or bool(chunks)
        self._is_over = not chunks
        return chunks

    async def aclose(self) -> None:
        await self._stream.aclose()


# The models of a strategy: one sends the caller's request, one counts and limits, one shows the chosen answer.


class CallSampler:
    """A :class:`~interwhen.Model` that sends the request of *call*, with the temperature of each sample.

    If the caller gave a seed, the request has the seed of the sample. After :meth:`show`, streams put their chunks into
    the buffer that the reader sees; before, the chunks are dropped.
    """

    def __init__(self, call: ApiCall, settings: Settings, transport: CallTransport, endpoint: ModelEndpoint) -> None:
        self._call = call
        self._settings = settings
        self._transport = transport
        self._endpoint = endpoint
        self._prompt = call.prompt
        self._shown: CallModel | None = None
        self.timeouts = endpoint.timeouts
        self.feedback = settings.feedback
        self.first: bytes = b""
        """The first chunk of the server: the template of chunks that interwhen makes."""
        self.reasoning: Field | None = None
        """The field in which the server sends reasoning; ``None`` if it has not sent any."""
        self.reasoning_tokens = 0
        """Tokens of reasoning in the samples that were read to their end, as far as the server counted them."""
        self.hides_reasoning = False
        """Whether the server did not send all of the reasoning of a sample: it said so, or it counted tokens of
        reasoning and has sent none."""
        self.accepted = 0
        """How many requests for streams the server has accepted."""
        self.resume: ResumeWay | None = None
        """How the last request that continued kept text did so, and why; ``None`` if no request did."""
        self.opened = anyio.Event()
        """Set once the server has accepted the request of a sample, or the strategy has ended."""

    @property
    def name(self) -> str:
        """The model and its server; see :attr:`CallModel.name`."""
        return f"{self._call.body.get('model', '')}@{self._transport.host}"

    async def capabilities(self) -> Capabilities:
        """Return the capabilities without sending a request; see :meth:`CallModel.capabilities`."""
        return await self._model(self._call, self._transport, make_buffer(self._call)).capabilities()

    async def resume_mode(self) -> ResumeMode:
        """Return how the server continues a text. For the chat API, this may send requests."""
        return await self._model(self._call, self._transport, make_buffer(self._call)).resume_mode()

    def show(self, buffer: ChunkBuffer, *, greedy: bool, seed: int) -> None:
        """Treat the next streams as those of one run that the reader sees, and put their chunks into *buffer*.

        With *greedy*, the temperature is 0; without it, a temperature of 0 becomes 0.7. *seed* is added to the caller's
        seed.
        """
        body = dict(self._call.body)
        if greedy:
            body["temperature"] = 0
        elif body.get("temperature") == 0:
            body["temperature"] = WARM
        if self._call.body.get("seed") is not None:
            body["seed"] = self._call.body["seed"] + seed
        self._shown = self._model(replace(self._call, body=body), self._transport, buffer)
        self._shown_buffer = buffer

    async def stream(self, request: Request) -> Stream:
        """Send *request*, and return the open stream once it is accepted.

        It is a sample or, after :meth:`show`, a request of the run that the reader sees. Raises
        :class:`~interwhen.ModelError` if the request fails, and :class:`UsageError` if the strategy adds messages to
        messages with more than text.
        """
        if self._shown is not None:
            shown = await self._shown.stream(request)
            self._took(shown)
            return _LearningStream(self, self._shown_buffer, shown, shows=True)
        buffer = make_buffer(self._call)
        buffer.reasoning = self.reasoning
        transport = _RecordingTransport(self._transport)
        model = self._model(self._asked(request), transport, buffer)
        stream = await model.stream(replace(request, sampling=replace(request.sampling, seed=None, temperature=None)))
        self._took(stream)
        self.opened.set()
        return _LearningStream(self, buffer, _SampleStream(stream, transport.response, self.timeouts), shows=False)

    def _took(self, stream: Stream) -> None:
        self.accepted += 1
        self.resume = getattr(stream, "way", None) or self.resume

    async def complete(self, request: Request) -> Completion:
        """Let the server answer the fork *request*, with the prompt of the call, and return its completion.

        Raises :class:`~interwhen.ModelError` if the request fails.
        """
        if self._shown is not None:
            return await self._shown.complete(request)
        buffer = make_buffer(self._call)
        buffer.reasoning = self.reasoning
        return await self._model(self._call, self._transport, buffer).complete(request)

    async def aclose(self) -> None:
        """Do nothing: the transport belongs to the caller."""

    def _model(self, call: ApiCall, transport: CallTransport, buffer: ChunkBuffer) -> CallModel:
        return CallModel(call, transport, self._endpoint, buffer, resume=self._settings.resume)

    def _asked(self, request: Request) -> ApiCall:
        """Return the call with the prompt and the temperature of *request*, and its seed if the caller gave one."""
        body = {name: value for name, value in self._call.body.items() if name != "stream_options"}
        sampling = request.sampling
        if sampling.temperature is not None:
            body["temperature"] = sampling.temperature
        # Without a seed of the caller, samples differ by themselves, and some servers take no seed.
        if sampling.seed is not None and body.get("seed") is not None:
            body["seed"] = sampling.seed
        if request.prompt != self._prompt:
            self._ask_again(body, request.prompt)
        return replace(self._call, body=body)

    def _ask_again(self, body: dict[str, Any], prompt: Prompt) -> None:
        """Replace the prompt in *body* by *prompt*: a text, or the caller's messages and more messages after them.

        Raises :class:`UsageError` for another prompt.
        """
        known = self._prompt
        if isinstance(prompt, str) and self._call.api == "completions":
            body["prompt"] = prompt
        elif isinstance(prompt, tuple) and isinstance(known, tuple) and prompt[: len(known)] == known:
            body["messages"] = [*body["messages"], *map(_turn, prompt[len(known) :])]
        else:
            raise UsageError(
                "the messages must hold only text for a strategy that adds messages, got messages with more "
                "than text: choose a strategy that takes whole answers, such as until-verified"
            )


def _turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content}


class _LearningStream:
    """Passes on *stream*, and tells *sampler* what it shows about the server.

    If *shows* is false, it is the stream of a sample, whose chunks in *buffer* are dropped.
    """

    def __init__(self, sampler: CallSampler, buffer: ChunkBuffer, stream: Stream, *, shows: bool) -> None:
        self._shows = shows
        self._sampler = sampler
        self._buffer = buffer
        self._stream = stream
        self._usage: Usage | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Sequence[Chunk]:
        chunks = await self._stream.receive()
        buffer, sampler = self._buffer, self._sampler
        for chunk in chunks:
            if chunk.usage is not None:
                self._usage = chunk.usage
                sampler.hides_reasoning = sampler.hides_reasoning or chunk.usage.hides_reasoning
        if not chunks and self._usage is not None and self._usage.reasoning_tokens:
            sampler.reasoning_tokens += self._usage.reasoning_tokens
            sampler.hides_reasoning = sampler.hides_reasoning or sampler.reasoning is None
        sampler.first = sampler.first or buffer.first
        sampler.reasoning = sampler.reasoning or buffer.reasoning
        if not self._shows:
            buffer.queue.clear()  # nothing of a sample is shown from here
        return chunks

    async def aclose(self) -> None:
        await self._stream.aclose()


class CallMeter(MeteredModel):
    """Counts the tokens and samples of one call, and limits them to *tokens* and *samples*.

    A sample is a stream that begins a text. Requests raise :class:`~interwhen.models.OutOfTokens` when the tokens are
    used up, and samples also when their number is. Equal forks with a ``side`` get the same answer, without another
    request.
    """

    def __init__(self, model: CallSampler, tokens: int, samples: int) -> None:
        super().__init__(model, tokens)
        self._samples_left = samples
        self._answered: dict[tuple[object, ...], Completion] = {}
        self.answered_tokens = 0
        """Tokens of the forks that were answered, as far as the server counted them."""

    @property
    def left(self) -> int:
        """The number of tokens that samples may still generate.

        It is 0 if no further sample is allowed, or if supervision is switched off.
        """
        # After the kill switch nothing rates samples, so the answer is chosen among those that there are.
        return super().left if self._samples_left and not is_off() else 0

    async def stream(self, request: Request) -> Stream:
        """Open a stream for *request*, which begins a sample or continues a text.

        Raises :class:`~interwhen.models.OutOfTokens` if the tokens or the samples are used up.
        """
        if not request.pieces:
            if not self._samples_left:
                raise OutOfTokens(self.budget)
            self._samples_left -= 1
        return await super().stream(request)

    async def complete(self, request: Request) -> Completion:
        """Answer a fork. If it has a ``side``, the answer to an equal fork is used again, without tokens.

        Raises :class:`~interwhen.models.OutOfTokens` if no tokens are left for a new fork.
        """
        asked = request.sampling
        key = (request.prefix, request.side, asked.max_tokens, asked.stop, asked.logprobs, asked.top_logprobs)
        if request.side is None:
            return await self._complete(request)
        known = self._answered.get(key)
        if known is not None:
            return replace(known, usage=Usage(0, 0, 0))
        answer = self._answered[key] = await self._complete(request)
        return answer

    @property
    def streamed(self) -> int:
        """The number of tokens that servers generated in streams, including those beyond the budget."""
        return self.generated + self.unseen + self.wasted

    async def _complete(self, request: Request) -> Completion:
        reply = await super().complete(request)
        self.answered_tokens += reply.usage.completion_tokens or 0
        return reply


class _ChosenModel(ModelWrapper):
    """Streams the chosen answer from *chosen* first. Every other request goes to *meter*, such as one that corrects it.

    With *hides_reasoning*, the first stream says that reasoning was hidden.
    """

    def __init__(self, chosen: CallModel, meter: CallMeter, *, hides_reasoning: bool) -> None:
        super().__init__(meter)
        self._chosen: CallModel | None = chosen
        self._hides_reasoning = hides_reasoning

    async def stream(self, request: Request) -> Stream:
        chosen, self._chosen = self._chosen, None
        if chosen is None:
            return await super().stream(request)
        stream = await chosen.stream(request)
        return _HidingStream(stream) if self._hides_reasoning else stream


class _HidingStream:
    """Adds to the finish reason of *stream* the information that reasoning was hidden."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Sequence[Chunk]:
        return [
            msgspec.structs.replace(chunk, usage=msgspec.structs.replace(chunk.usage or Usage(), hides_reasoning=True))
            if chunk.finish_reason is not None
            else chunk
            for chunk in await self._stream.receive()
        ]

    async def aclose(self) -> None:
        await self._stream.aclose()


class StrategyRun:
    """Answers *call* with *strategy*. It has those methods of a :class:`~interwhen.Run` that a supervised call uses.

    The answer fills *buffer*. With *is_final*, text that the reader has seen cannot be retracted. *context* reports
    what the call has used of its prepared context.
    """

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
        self._transport = transport
        self._endpoint = endpoint
        self._buffer = buffer
        self._is_final = is_final
        self._prompt = call.prompt
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
        self._left: anyio.Event | None = None
        self._leaving = anyio.Event()
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
        """The exception that caused the result, if the result is ``failed``."""
        self.when_switched_off: Callable[[], object] | None = None
        """A callback for the moment when supervision is switched off."""

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """The monitors of the run that the reader sees now, or will see first; their remedies may be the strategy's."""
        return self._monitors if self._live is None else self._live.monitors

    @property
    def is_switched_off(self) -> bool:
        """Whether the monitors of the run that shows the answer were off when it began, or turned off during it."""
        return self._began_off or (self._inner is not None and self._inner.is_switched_off)

    @property
    def text(self) -> str:
        """The trace so far of the run that the reader sees; empty before that run and between two of them."""
        return "" if self._inner is None else self._inner.text

    @property
    def result(self) -> Result:
        """The result of the call. Raises :class:`UsageError` before its end."""
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
        """Wait for events of the run that the reader sees, and return them; an empty list at the end.

        If another run follows, the text of the run before it is retracted. Raises the error of a strategy, unless it is
        a :class:`~interwhen.ModelError`, which becomes a failed result.
        """
        while not self._is_over:
            if self._live is None and not self._has_begun:
                return await self._opened()
            if self._inner is None and (ended := await self._begin()) is not None:
                return self._end(ended)
            assert self._inner is not None
            events = await self._inner.batch()
            if not events or isinstance(events[-1], Finished):
                self.error = self._inner.error
                await self._leave()
                found = await self._finish(events)
            else:
                found = self._passed(events)
            if found:
                return found
        return []

    # ------------------------------------------------------------------ the strategy chooses

    async def _solve(self) -> None:
        """Let the strategy choose an answer within the time budget of the call. Errors are stored for the reader."""
        LISTENERS.set(None)  # in the context of this task: its runs are parts of the call
        settings, call = self._settings, self._call
        seed = call.body.get("seed")
        temperature = call.body.get("temperature")
        task = StrategyTask(
            model=self._meter,
            prompt=self._prompt,
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

    async def _opened(self) -> list[Event]:
        """Wait until the server has accepted a request or the strategy has ended; return the event for a begun stream.

        If no request was accepted because of a :class:`~interwhen.ModelError`, return the failed result.
        """
        await self._sampler.opened.wait()
        self._has_begun = True
        if self._crash is not None:
            raise self._crash
        if self.error is not None and not self._sampler.accepted:
            return self._end(self._failed(self.error))
        return [StreamStarted(0, None)]

    async def _begin(self) -> Result | None:
        """Begin the run that the reader sees, once the strategy has chosen, and return ``None``.

        If there is nothing to show, return the result of the call.
        """
        if self._live is not None:
            await self._enter(self._make_live(self._live))
            return None
        await self._solved.wait()
        if self._crash is not None:
            raise self._crash
        if self.error is not None:
            return self._failed(self.error)
        assert self._choice is not None
        if self._choice.gave_up:
            self._buffer.first = self._buffer.first or self._sampler.first
            return self._abstained(self._choice.gave_up)
        await self._enter(await self._make_shown(self._choice))
        return None

    async def _make_shown(self, choice: StrategyChoice) -> Run:
        """Return the run that shows *choice*: it replays the recorded answer, or a stream made from its text.

        A refuted answer is corrected, by requests to the server, as the answer of any other run.
        """
        recording = choice.recording
        resume: Literal["tokens", "turn"] = "turn"
        if isinstance(recording, RecordedAnswer):
            resume = "tokens" if recording.has_ids else "turn"
            response = _ChosenResponse(recording.headers, zlib.decompress(recording.packed))
        else:
            response = _ChosenResponse({"content-type": "text/event-stream"}, self._composed(choice))
        transport = _ReplayTransport(self._transport.host, response)
        model = CallModel(self._call, transport, ModelEndpoint(), self._buffer, resume=resume)
        hides = not isinstance(recording, RecordedAnswer) and self._sampler.hides_reasoning
        self._sampler.show(self._buffer, greedy=False, seed=0)
        return self._run(_ChosenModel(model, self._meter, hides_reasoning=hides), self._monitors)

    def _composed(self, choice: StrategyChoice) -> bytes:
        """Return the bytes of the stream that a server would have sent if it had written the text of *choice*."""
        is_chat = self._call.api == "chat"
        template = ChunkTemplate(self._sampler.first, chat=is_chat)
        said: Field = "content" if is_chat else "text"
        reasoned: Field = (self._sampler.reasoning or "reasoning_content") if is_chat else "text"
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

    # ------------------------------------------------------------------ runs that the reader sees

    def _make_live(self, live: LiveRun) -> Run:
        self._sampler.show(self._buffer, greedy=live.greedy, seed=live.seed)
        return self._run(self._meter, live.monitors, live)

    def _run(self, model: Any, monitors: tuple[Monitor, ...], live: LiveRun | None = None) -> Run:
        settings, call = self._settings, self._call
        budgets, sampling = settings.budgets, call.sampling
        if budgets.seconds is not None:
            spent = anyio.current_time() - self._began
            budgets = msgspec.structs.replace(budgets, seconds=max(budgets.seconds - spent, 0.0))
        if live is not None:
            seed = None if sampling.seed is None else sampling.seed + live.seed
            sampling = replace(sampling, seed=seed, temperature=0.0 if live.greedy else None)
        journal, self._journal = self._journal, None
        made = as_part(run)(
            model,
            self._prompt,
            monitors=monitors,
            sampling=sampling,
            budgets=budgets,
            feedback=settings.feedback,
            starts_in=settings.starts_in,
            min_coverage=settings.min_coverage,
            workers=settings.workers,
            threads=settings.threads,
            processes=settings.processes,
            journal=journal,
            context=self._context,
        )
        self._began_off = bool(monitors) and is_off()
        if self._began_off and self.when_switched_off is not None:
            self.when_switched_off()
        made.when_switched_off = self.when_switched_off
        made.delivers_at_end = not call.streams
        return made

    async def _enter(self, made: Run) -> None:
        """Enter the run *made* in a separate task, because the reader may leave it in another task.

        Raises the exception of entering.
        """
        entered, self._leaving, self._left = anyio.Event(), anyio.Event(), anyio.Event()
        self._group.start_soon(self._hold, made, entered, self._leaving, self._left, name="shown run")
        await entered.wait()
        if self._crash is not None:
            raise self._crash
        self._inner = made
        self._shown = 0

    async def _hold(self, made: Run, entered: anyio.Event, leaving: anyio.Event, left: anyio.Event) -> None:
        try:
            async with made:
                entered.set()
                await leaving.wait()
        except Exception as error:  # noqa: BLE001  raised where the reader reads
            self._crash = error
        finally:
            entered.set()
            left.set()

    async def _leave(self) -> None:
        self._leaving.set()
        if self._left is not None:
            await self._left.wait()

    def _passed(self, events: list[Event]) -> list[Event]:
        """Return those of *events* that the reader gets, and record how much of the text they show."""
        for event in events:
            if isinstance(event, Delta):
                self._shown = event.start + len(event.text)
            elif isinstance(event, Retracted):
                self._shown = min(self._shown, event.to)
        if self._live is None:
            return [event for event in events if not isinstance(event, StreamStarted)]
        return events

    async def _finish(self, events: list[Event]) -> list[Event]:
        """Return the last *events* of a run with the result of the call, or choose the next run.

        In the second case, the shown text is retracted.
        """
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
            return [*passed, *self._end(self._of_live(result))]
        if self._shown:
            passed.append(Retracted(0))
        self._spent.append(result.ledger)
        self._number += 1
        self._live, self._inner, self.error = following, None, None
        return passed

    def _following(self, result: Result) -> LiveRun | None:
        """Return the run to make after one that ended with *result*; ``None`` if no other run follows.

        Another run follows only if there is no answer yet, and enough time and tokens are left.
        """
        if result.status == "failed" or (result.status != "abstained" and result.text.strip()):
            return None
        is_out_of_time = self._settings.budgets.seconds is not None and (
            anyio.current_time() - self._began >= self._settings.budgets.seconds
        )
        if is_out_of_time or (self._is_final and self._shown) or self._meter.left < max(self._longest, 1):
            return None
        return self._strategy.live(self._number + 1, self._monitors)

    # ------------------------------------------------------------------ the result

    def _end(self, result: Result) -> list[Event]:
        self._result = result
        self._is_over = True
        return [Finished(result)]

    def _of_live(self, result: Result) -> Result:
        """Return *result*, the result of the last run, with a ledger that has the cost of all runs of the call."""
        return msgspec.structs.replace(result, resume=self._sampler.resume, ledger=self._summed(result.ledger))

    def _of_chosen(self, result: Result) -> Result:
        """Return *result*, of the run that showed the chosen answer, with the costs and times of the whole call."""
        choice, timing = self._choice, result.timing
        assert choice is not None
        waited = self._chosen_at - self._began
        first = None if timing.first_token is None else timing.first_token + waited
        return msgspec.structs.replace(
            result,
            insertions=(*_written(choice, result.text), *result.insertions),
            resume=self._sampler.resume,
            ledger=self._ledger(result.ledger),
            timing=msgspec.structs.replace(timing, total=timing.total + waited, first_token=first),
        )

    def _failed(self, error: ModelError) -> Result:
        ledger = self._ledger()
        why = f"{type(error).__name__}: {error}"
        resume = self._sampler.resume
        return Failed(text="", reasoning="", answer="", finish_reason=None, resume=resume, ledger=ledger, error=why)

    def _abstained(self, reason: str) -> Result:
        ledger, resume = self._ledger(), self._sampler.resume
        return Abstained(
            text="", reasoning="", answer="", finish_reason=None, resume=resume, ledger=ledger, reason=reason
        )

    def _summed(self, last: Ledger) -> Ledger:
        """Return the sum of the ledgers of all runs. Only the text of the run *last* counts as kept."""
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

        *shown* is that of the run that showed the chosen answer; ``None`` if nothing was shown.
        """
        if self._live is not None:
            return self._summed(Ledger())
        meter, choice, shown = self._meter, self._choice, shown or Ledger()
        total = meter.generated + meter.unseen
        written = () if choice is None else choice.chunks
        inserted = sum(len(chunk.text) for chunk in written if not chunk.tokens and chunk.call is None)
        return msgspec.structs.replace(
            meter.ledger(0, remedies=shown.remedies + (0 if choice is None else choice.remedies)),
            kept=min(shown.kept, total),
            discarded=max(total - shown.kept, 0),
            fork_tokens=meter.answered_tokens,
            reasoning_tokens=self._sampler.reasoning_tokens,
            requests=self._sampler.accepted,
            inserted_chars=shown.inserted_chars + inserted,
            resumes=tuple(
                msgspec.structs.replace(cost, request=cost.request + self._sampler.accepted - shown.requests)
                for cost in shown.resumes
            ),
        )


def _written(choice: StrategyChoice, text: str) -> tuple[Insertion, ...]:
    """Return the parts of *text* that the strategy wrote itself: those of *choice* before any correction of it."""
    chosen = "".join(chunk.text for chunk in choice.chunks)
    length = len(os.path.commonprefix([text, chosen]))  # noqa: RUF071  (any texts, not only paths)
    found: list[Insertion] = []
    at = 0
    for chunk in choice.chunks:
        end = at + len(chunk.text)
        if chunk.text and not chunk.tokens and chunk.call is None and end <= length:
            found.append(Insertion(Span(at, end), "feedback"))
        at = end
    return tuple(found)
