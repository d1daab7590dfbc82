"""Presents the server of one supervised call as a `Model` for the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import anyio
import anyio.lowlevel
import msgspec

from interwhen._core.turns import whole_lines
from interwhen._types.errors import (
    DECODE_ERRORS,
    ModelError,
    StreamProtocolError,
    UnexpectedForm,
    UpstreamError,
)
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import (
    Capabilities,
    Completion,
    Piece,
    Request,
    ResumeMode,
    ResumeWay,
    Sampling,
    Timeouts,
    Usage,
)
from interwhen.clients._calls import Api, ApiCall
from interwhen.clients._chunk_buffer import ChunkBuffer
from interwhen.clients._responses_codec import ResponsesChunkBuffer
from interwhen.models._chunks import (
    Decode,
    ModelCard,
    card_of,
    chat_completion_of,
    chat_decoder,
    completion_decoder,
    completion_of,
    count_of,
    decode_chat,
    decode_completion,
    models_decoder,
    noting_question,
    without_progress,
)
from interwhen.models._endpoint_support import (
    AFTER_CALLS,
    BY_IDS,
    LLAMACPP,
    NO_IDS,
    NOT_RAW,
    PREFILL_REFUSED,
    VLLM,
    EndpointProof,
    ProofWire,
    ResumeProbe,
    choose_prefill,
    continues_raw,
    why_turn,
    why_unproven,
    with_tags,
)
from interwhen.models._messages import Turn, in_turns, needs_turns, prefilled
from interwhen.models._openai_api import ChatMode, mode_of, read_json, refuses_prefill
from interwhen.models._raw_calls import raw_calls
from interwhen.models._sse import DEFAULT_LIMIT, END_MARK
from interwhen.models._token_resume import KnownTags, TokenPrompt, TokenPrompts, TokenTrail, shows_tags
from interwhen.models._token_servers import Place, TokenServer, sends_ids, token_server
from interwhen.models._token_stream import SlotRelease, TokenStream
from interwhen.models._transport import (
    FORK_OPTIONS,
    MAX_BODY,
    REMEMBERED_SECONDS,
    FieldSupport,
    HttpResponse,
    SamplingSupport,
    mentions,
    read_body,
    refuses,
    send_with,
    until_stop,
)

# Builds requests that continue the trace: the caller's messages, followed by the kept text.


def in_items(given: object, pieces: Sequence[Piece], side: str | None) -> list[Turn]:
    # Return the input for a request that continues a trace, as a list of items of the Responses API. It has the items
    # of `given`, the field `input` of the caller's request, then the trace `pieces`, then `side`, the side text of a
    # fork.
    items: list[Turn] = [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())  # type: ignore[call-overload]
    own = len(items)
    kinds: dict[str, str] = {}
    for turn in in_turns(items, pieces, side)[own:]:
        if turn["role"] == "tool":
            items.append(
                {
                    "type": _OUTPUTS[kinds[turn["tool_call_id"]]],
                    "call_id": turn["tool_call_id"],
                    "output": turn["content"],
                }
            )
            continue
        if turn.get("content"):
            # llama.cpp needs the type. vLLM takes parts instead of a text only with an id and annotations.
            items.append({"type": "message", "role": turn["role"], "content": turn["content"]})
        kinds = {call["id"]: call["type"] for call in turn.get("tool_calls") or ()}
        items += [_item(call) for call in turn.get("tool_calls") or ()]
    return items


_OUTPUTS = {"function": "function_call_output", "custom": "custom_tool_call_output"}


def _item(call: Turn) -> Turn:
    if call["type"] == "custom":
        return {"type": "custom_tool_call", "call_id": call["id"], **call["custom"]}
    return {"type": "function_call", "call_id": call["id"], **call["function"]}


# Converts whole answers of servers that do not stream to event streams.

Body = dict[str, Any]
_PIECE = 1 << 16


class KnownResponse:
    """An `HttpResponse` whose whole *body* is in memory."""

    status = 200

    def __init__(self, body: bytes, content_type: str = "text/event-stream") -> None:
        self.event_bytes = max(len(body), DEFAULT_LIMIT)
        """The most bytes of one event, which may hold the whole answer."""
        self.headers = {"content-type": content_type}
        self._body = body
        self._at = 0

    async def receive(self) -> bytes:
        # A long answer comes in pieces, so that it does not stop the event loop.
        await anyio.lowlevel.checkpoint()
        start, self._at = self._at, self._at + _PIECE
        return self._body[start : self._at]

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


async def streamed(api: Api, response: HttpResponse) -> HttpResponse:
    # If it says that its body is JSON, read the body and convert it to an event stream. Raises `StreamProtocolError` if
    # the answer is larger than 16 MiB, or cannot be converted.
    if not response.headers.get("content-type", "").startswith("application/json"):
        return response
    try:
        body = await read_body(response, MAX_BODY)
    finally:
        await response.aclose()
    if len(body) > MAX_BODY:
        raise StreamProtocolError(
            f"an answer must have at most {MAX_BODY} bytes, got more",
            offset=MAX_BODY,
            sample=body[:200],
            hint="ask for fewer tokens",
        )
    return KnownResponse(as_events(api, body))


def as_events(api: Api, data: bytes) -> bytes:
    # An error of the server, and data that is not a JSON object, become one event. Raises `StreamProtocolError` for an
    # object that cannot be converted.
    try:
        body = msgspec.json.decode(data)
    except DECODE_ERRORS:
        body = None
    if not isinstance(body, dict) or (body.get("error") and not body.get("choices")):
        return b"data: " + data.strip() + b"\n\n"  # an error: the decoder of the stream raises it
    try:
        events = _responses(body) if api == "responses" else _choices(body, api)
    except (AttributeError, TypeError) as error:  # a text or a number in place of an object or a list
        raise UnexpectedForm(
            "an answer must have the form of the API, got another",
            offset=0,
            sample=data,
            hint="check that base_url is that of an OpenAI-compatible API",
        ) from error
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events) + END_MARK


def _choices(body: Body, api: Api) -> list[Body]:
    usage = body.pop("usage", None)
    events = [body]
    if api == "chat":
        body["object"] = "chat.completion.chunk"
        for choice in body.get("choices") or ():
            message = choice.pop("message", None) or {}
            for number, call in enumerate(message.get("tool_calls") or ()):
                call.setdefault("index", number)
            choice["delta"] = message
    if usage is not None:
        events.append({**body, "choices": [], "usage": usage})
    return events


def _responses(body: Body) -> list[Body]:
    events: list[Body] = []
    for index, item in enumerate(body.get("output") or ()):
        place = {"output_index": index, "item_id": item.get("id", "")}
        # A stream announces an item without its texts.
        begun = {name: [] if name in ("content", "summary") and value else value for name, value in item.items()}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        summary = item.get("summary") or ()
        events += [
            {
                "type": "response.reasoning_summary_text.delta",
                **place,
                "summary_index": number,
                "delta": part.get("text") or "",
            }
            for number, part in enumerate(summary)
        ]
        for number, part in enumerate(item.get("content") or ()):
            place["content_index"] = number
            kind = "reasoning_text" if item.get("type") == "reasoning" else "output_text"
            if part.get("type") == "refusal":
                events.append({"type": "response.refusal.delta", **place, "delta": part.get("refusal") or ""})
            elif part.get("type") == kind:
                events.append({"type": f"response.{kind}.delta", **place, "delta": part.get("text") or ""})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    # Another status, such as "cancelled", is no end of the model's own either.
    status = "completed" if body.get("status") in (None, "completed") else "incomplete"
    return [*events, {"type": f"response.{status}", "response": body}]


Facts = Literal["models", "slots", "version", "props", "server_info"]
"""The path of a GET request for facts about the server. Only ``models`` is relative to the version (``/v1``)."""


class CallTransport(Protocol):
    """Sends the requests of one call. The transport determines address, keys, retries and timeouts.

    *place* names the path, by default that of the call. If a request fails, a method raises
    :class:`~interwhen.models.ModelError`, whose ``retryable`` says whether the run may try again.
    """

    @property
    def host(self) -> str:
        """Host and port of the server, for messages; may be empty before the first request."""
        ...

    async def open(self, body: dict[str, Any], place: Place = "call") -> HttpResponse:
        """Send *body* to the path *place*, and return the open response.

        Its body is usually an event stream, or a whole answer in JSON.
        """
        ...

    async def ask(self, body: dict[str, Any], place: Place = "call") -> bytes:
        """Send *body* to the path *place*, and return the whole body of the response."""
        ...

    async def get(self, facts: Facts) -> bytes:
        """Send a GET request for the path *facts*, and return the body of the response."""
        ...


class ModelEndpoint:
    """Remembers what calls have learned about one model of a server, such as the fields that it refuses."""

    def __init__(self, timeouts: Timeouts | None = None, *, model: str = "", host: str = "") -> None:
        self.timeouts = timeouts or Timeouts(connect=None, first_token=None, inter_token=None, min_rate=None)
        """By default none of them ends a stream, because the transport has timeouts."""
        self.place = place = f"{model:.100}@{host}"
        """The model and its server, for the log and the stored proof."""
        self.slots = SlotRelease()
        """Waits for the slots of closed streams, if the server is llama.cpp."""
        self.stream = FieldSupport("stream", place)
        self.stream_options = FieldSupport("stream_options", place)
        self.options = SamplingSupport(place)
        """The sampling options that the model refuses."""
        self.token_ids = FieldSupport("return_token_ids", place)
        self.tags = KnownTags()
        """The tags of reasoning, as far as they are known."""
        self.proof = EndpointProof(place)
        self.why_turn = ""
        """Why the server refused another way to continue a chat; empty if it is not known to have refused one."""
        self.card: ModelCard | None = None
        """The model's entry in ``GET /models``; ``None`` if none was learned."""
        self._mode: ChatMode | None = None
        self._until = self._card_until = 0.0

    @property
    def has_card(self) -> bool:
        return anyio.current_time() < self._card_until

    def learn_card(self, card: ModelCard | None) -> None:
        self.card, self._card_until = card, anyio.current_time() + REMEMBERED_SECONDS

    def is_on(self, server: str) -> bool:
        return self.has_card and self.card is not None and self.card.owned_by == server

    @property
    def known(self) -> ChatMode | None:
        return self._mode if anyio.current_time() < self._until else None

    def learn(self, mode: ChatMode, why_turn: str = "") -> ChatMode:
        """Remember *mode* as the way to continue a chat for ``REMEMBERED_SECONDS``, and return it."""
        self.why_turn = why_turn
        # Not for ever: another server may answer at the same address after an update.
        self.tags = KnownTags()
        self._mode, self._until = mode, anyio.current_time() + REMEMBERED_SECONDS
        log_info("endpoint.resume_learned", mode=mode, model=self.place, seconds=REMEMBERED_SECONDS)
        return mode


class _Ahead(NamedTuple):
    """A request that was sent before the run asked for it, with its answer."""

    body: dict[str, Any]
    answer: HttpResponse | ModelError


class CallModel:
    """A :class:`~interwhen.models.Model` for one call. It sends the caller's request; to resume, it adds the kept text.

    *buffer* gets the chunks of its streams. *resume* is how a chat continues kept text, and *probe* whether the server
    may be probed for that.
    """

    def __init__(
        self,
        call: ApiCall,
        transport: CallTransport,
        endpoint: ModelEndpoint,
        buffer: ChunkBuffer,
        *,
        resume: Literal["auto", "tokens", "prefill", "turn"],
        probe: ResumeProbe = "auto",
    ) -> None:
        self._option = resume
        self._probe: ResumeProbe = probe
        self._call = call
        self.transport = transport
        self._endpoint = endpoint
        self._buffer = buffer
        self._resume: ChatMode | None = None if resume == "auto" else resume
        # The reader gets token ids and the progress of the prompt only if the caller asked for them.
        self._hides_ids = not call.body.get("return_token_ids")
        self._hides_progress = not call.body.get("return_progress")
        self.timeouts = endpoint.timeouts
        self._ahead: _Ahead | None = None
        self._stored: HttpResponse | None = None
        """The stored answer to the first request; ``None`` if the server must be asked."""

    @property
    def name(self) -> str:
        # Some transports learn host and port with their first request. Before it, the name ends with `@`.
        return f"{self._call.model}@{self.transport.host}"

    async def capabilities(self) -> Capabilities:
        # For the chat API, `resume` is the mode that the settings give, or `turn` if they give none.
        mode: ResumeMode = "prefix" if self._call.api == "completions" else self._resume or "turn"
        return Capabilities(resume=mode, logprobs=True)

    async def resume_mode(self) -> ResumeMode:
        # Return how the server continues kept text. This may send requests.
        if self._call.api == "chat":
            return await self._mode()
        return "prefix" if self._call.api == "completions" else "turn"

    def answer_first(self, response: KnownResponse) -> None:
        self._stored = response

    async def send_ahead(self, seconds: float | None) -> None:
        # If `stream` needs the same request, it uses the response or the error. After `seconds`, the request is
        # cancelled.
        body = self._first(self._call.sampling)
        with anyio.move_on_after(seconds):
            try:
                self._ahead = _Ahead(body, await self._opened(dict(body)))
            except ModelError as error:
                self._ahead = _Ahead(body, error)

    async def forget(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and not isinstance(ahead.answer, ModelError):
            with anyio.CancelScope(shield=True):
                await ahead.answer.aclose()

    async def stream(self, request: Request) -> TokenStream:
        # Send `request` and return the open stream, once the server has accepted it. Its chunks go to the buffer. If
        # the server refuses to continue an unfinished message, the request is sent again with an extra turn. Raises
        # `ModelError` if the server cannot be reached or refuses the request.
        way = await self._way(request) if request.pieces or request.side else None
        server, prompt, way = await self._by_ids(request, way)
        if request.pieces:
            await self._wait_for_slot()
        trail = counter = None
        if prompt is None or server is None:
            body, is_stored = self._body(request, way), self._stored is not None
            try:
                answer = await self._answer(body)
            except UpstreamError as error:
                if "continue_final_message" not in body or not refuses_prefill(error):
                    raise
                log_warning("model.prefill_refused", model=self.name, error=type(error).__name__, taken="turn")
                way = ResumeWay("turn", PREFILL_REFUSED)
                answer = await self._answer(self._body(request, way))
                self._take("turn", PREFILL_REFUSED)
            response = await streamed(self._call.api, answer)
            # A stored answer may be a response to a request that asked for token ids.
            if is_stored or self._asks_ids or (not self._hides_ids and _continues_raw(self._call)):
                counter = TokenTrail()
                trail = None if request.pieces else counter
        else:
            chat = {**self._first(request.sampling), "stream": True}
            if self._asks_progress:
                chat["return_progress"] = True
            asks = self._endpoint.token_ids.is_likely
            opened = await self._open(server.body(chat, prompt, with_ids=asks), server.place)
            response = server.events(opened, prompt, self._buffer.reasoning or "reasoning", raw_calls(self._call.body))
            trail = counter = prompt.trail
        by_turn = way is not None and way.mode == "turn"
        self._buffer.begin(whole_lines(request.pieces) if by_turn else request.pieces)
        event_bytes = response.event_bytes if isinstance(response, KnownResponse) else DEFAULT_LIMIT
        decode: Decode = self._buffer.decode
        if self._hides_progress and self._asks_progress:
            decode = without_progress(decode, keeps_first=self._call.api == "responses")
        if counter is not None:
            decode = counter.reading(decode, hides=self._hides_ids)
        decode = noting_question(decode, self._call.body)
        stream = TokenStream(response, decode, event_bytes=event_bytes)
        stream.way = way
        stream.trail = trail
        stream.splice = self._buffer.splice
        self._endpoint.slots.add(stream)
        return stream

    @property
    def _asks_ids(self) -> bool:
        known = self._endpoint
        if known.is_on(VLLM):
            return self._call.api != "responses"
        # Whether the server continues from token ids is known after the first correction.
        asks = (self._resume or known.known) == "tokens" and _continues_raw(self._call)
        return asks and sends_ids(known.card if known.has_card else None)

    @property
    def _asks_progress(self) -> bool:
        return self._endpoint.is_on(LLAMACPP)

    async def _wait_for_slot(self) -> None:
        if self._resume == "turn":
            return  # the caller's choice, for which no server has to be known
        try:
            card = await self._card()
        except ModelError:
            return
        if card is not None and card.owned_by == LLAMACPP and self._call.api != "responses":
            await self._endpoint.slots.wait(lambda: self.transport.get("slots"))

    async def complete(self, request: Request) -> Completion:
        # The tools and the response format of the call are left out. Raises `ModelError` if the request fails.
        server, prompt, way = await self._by_ids(request, await self._way(request))
        body = self._first(request.sampling, aside=True) if prompt is not None else self._body(request, way)
        for name in (
            "stream",
            "stream_options",
            "tools",
            "tool_choice",
            "functions",
            "function_call",
            "response_format",
            "parallel_tool_calls",
        ):
            body.pop(name, None)
        sampling, api = request.sampling, self._call.api
        body["temperature"] = 0
        if api == "responses":  # it has no stop sequences
            body.pop("text", None)
            body["stream"] = False
        elif sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.logprobs and api != "responses":
            body |= asked_scores(api, sampling)
        if prompt is not None and server is not None:
            body = server.body({**body, "stream": False}, prompt, with_ids=False)
            return server.completion(await self.transport.ask(body, server.place))
        answer = await self._endpoint.options.send(body, FORK_OPTIONS, self.transport.ask)
        completion = _WHOLE[api](answer)
        return replace(completion, text=until_stop(completion.text, sampling.stop))

    async def aclose(self) -> None:
        """Do nothing: the transport belongs to the caller."""

    async def _by_ids(
        self, request: Request, way: ResumeWay | None
    ) -> tuple[TokenServer | None, TokenPrompt | None, ResumeWay | None]:
        # Server and ids are `None` if token ids are not used.
        if way is None or way.mode != "tokens":
            return None, None, way
        try:
            card = await self._card()
        except ModelError:
            card = None
        server = token_server(card.owned_by if card else None, self._call.model, self.transport.ask)
        prompt = await self._token_prompt(request, server)
        if prompt is None:
            return None, None, await self._way(request, by_ids=False)
        return server, prompt, way

    @property
    def needs_proof(self) -> bool:
        # Whether `prove` may have to send requests to find out how the server continues kept text. It is false for a
        # transport whose requests cannot be cancelled.
        known = self._endpoint
        if self._call.api != "chat" or self._option != "auto" or self._probe == "never":
            return False
        # The end of a call would wait for a probe in a worker thread.
        if not getattr(self.transport, "is_cancellable", False):
            return False
        return (self._probe == "always" or known.known == "prefill") and not known.proof.is_known

    async def prove(self) -> int:
        # Test by requests how the server continues kept text, if this is not known yet and may be tested. Return the
        # tokens that this took. The result is remembered for later calls, for a limited time.
        if await self._mode() != "prefill":
            return 0
        known = self._endpoint
        return await known.proof.learn(self._wire, self._call.model, known.card, self._probe)

    @property
    def _wire(self) -> ProofWire:
        transport = self.transport

        async def chat(body: dict[str, Any]) -> TokenStream:
            asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
            stream = TokenStream(await transport.open(asked), decode_chat)
            self._endpoint.slots.add(stream)
            return stream

        return ProofWire(transport.get, lambda path, body: transport.ask(body, f"/{path}"), chat)  # type: ignore[arg-type]

    async def _way(self, request: Request, *, by_ids: bool = True) -> ResumeWay:
        # If `by_ids` is false, token ids are not used. This may send requests, and wait for a running probe.
        api = self._call.api
        if api == "completions":
            return ResumeWay("prefix", "the completions API continues any text")
        if api == "responses":
            return ResumeWay("turn", "the Responses API has no unfinished messages")
        if needs_turns(request.pieces):
            return AFTER_CALLS
        mode = await self._mode()
        known, has_field = self._endpoint, self._buffer.reasoning is not None
        # A fork (a side question to the model) may have no pieces. Then there is no kept text to continue by token ids.
        by_ids = by_ids and _continues_raw(self._call) and bool(request.pieces)
        if by_ids and mode == "tokens":
            return BY_IDS if self._option == "auto" else ResumeWay("tokens", "the option resume='tokens'")
        if self._option != "auto":
            why = known.why_turn or f"the option resume={self._option!r}"
            # Servers that continue token ids have chat templates that drop or close reasoning in a separate field.
            is_turn = mode == "turn" or (mode == "tokens" and has_field)
            return ResumeWay("turn" if is_turn else "unproven_prefill", why)
        if mode == "turn":
            return ResumeWay("turn", known.why_turn or why_turn(known.card))
        has_template = known.card is not None and known.card.owned_by == LLAMACPP
        if has_template:
            await known.proof.learn(self._wire, self._call.model, known.card, self._probe, generates=False)
        await known.proof.wait()
        why = why_unproven(known.card, self._probe)
        if not _continues_raw(self._call):
            why = f"{NOT_RAW}, and {why}"
        elif known.why_turn:
            why = f"{known.why_turn}, and {why}"
        return choose_prefill(
            known.proof.known,
            request.pieces,
            has_field=has_field,
            documented=mode_of(known.card) != "turn",
            by_ids=by_ids and has_template,
            why_unproven=why,
        )

    async def _token_prompt(self, request: Request, server: TokenServer) -> TokenPrompt | None:
        # Return the token ids of the prompt and the text of `request`, from which the model continues. Return `None` if
        # `server` cannot tokenize; another way is then used for a time.
        call, pieces = self._call, request.pieces
        tags_in_text = self._buffer.reasoning is None and shows_tags(pieces)
        trail = request.trail if isinstance(request.trail, TokenTrail) else None
        try:
            return await TokenPrompts(server, self._endpoint.tags).prompt(
                call.body, pieces, side=request.side or "", trail=trail, tags_in_text=tags_in_text
            )
        except (UpstreamError, StreamProtocolError) as error:
            if error.retryable:
                raise
            mode: ChatMode = "turn" if self._buffer.reasoning and self._option != "auto" else "prefill"
            log_warning("model.tokens_unknown", model=self.name, error=type(error).__name__, taken=mode)
            self._take(mode, NO_IDS)
            return None

    def _take(self, mode: ChatMode, why_turn: str) -> None:
        # Remember `mode` as the resume mode, because the server refused another one. `why_turn` is the reason.
        self._endpoint.learn(mode, why_turn)
        if self._resume is not None:
            self._resume = mode

    def _body(self, request: Request, way: ResumeWay | None) -> dict[str, Any]:
        # For a first request, `way` is `None`.
        call = self._call
        body = self._first(request.sampling, aside=request.side is not None)
        if way is None or not (request.pieces or request.side):
            return body
        if call.api == "completions":
            body["prompt"] = f"{call.prompt}{request.prefix}{request.side or ''}"
        elif call.api == "responses":
            body["input"] = in_items(body.get("input"), request.pieces, request.side)
        elif way.mode == "turn":
            body["messages"] = in_turns(body["messages"], request.pieces, request.side, self._buffer.call_extras)
        else:
            in_text = way.reasoning == "tags"
            pieces = with_tags(request.pieces) if in_text else request.pieces
            field = None if in_text else self._buffer.reasoning
            body["messages"] = prefilled(body["messages"], pieces, request.side, field)
            body["continue_final_message"] = True
            body["add_generation_prompt"] = False
        return body

    def _first(self, sampling: Sampling, *, aside: bool = False) -> dict[str, Any]:
        # Return the body of the caller's request, without kept text, with some options of `sampling`. These are the
        # token limit, the seed, and a temperature above 0. For a fork (`aside`), the token limit is sent even if the
        # caller gave none.
        call, body = self._call, dict(self._call.body)
        if sampling.max_tokens is not None and (call.limit is not None or aside):
            body[call.limit or _LIMIT[call.api]] = sampling.max_tokens
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.temperature:  # raised for a greedy call that is sampled again
            body["temperature"] = sampling.temperature
        return body

    async def _answer(self, body: dict[str, Any]) -> HttpResponse:
        ahead, stored = self._ahead, self._stored
        self._stored = None
        if stored is not None:
            return stored
        if ahead is None or ahead.body != body:
            return await self._opened(body)
        self._ahead = None
        if isinstance(ahead.answer, ModelError):
            raise ahead.answer
        return ahead.answer

    async def _mode(self) -> ChatMode:
        if self._resume is not None:
            return self._resume
        known = self._endpoint.known
        if known is not None:
            return known
        try:
            card = await self._card()
        except ModelError as error:
            log_warning("model.resume_unknown", model=self.name, error=type(error).__name__, taken="turn")
            return "turn"
        mode = mode_of(card)
        # With the option "always", any server may be shown to continue an assistant message.
        return self._endpoint.learn("prefill" if mode == "turn" and self._probe == "always" else mode)

    async def _card(self) -> ModelCard | None:
        known = self._endpoint
        if not known.has_card:
            cards = read_json(await self.transport.get("models"), models_decoder).data
            known.learn_card(card_of(self._call.model, cards))
        return known.card

    async def _opened(self, body: dict[str, Any]) -> HttpResponse:
        # If the server refuses this field, and the caller did not ask for a stream, send `body` with `false` and remove
        # `stream_options` from it.
        if self._call.streams:
            return await self._open({**body, "stream": True})
        stream = self._endpoint.stream
        refused: UpstreamError | None = None
        if stream.is_likely:
            try:
                return await self._open({**body, "stream": True})
            except UpstreamError as error:
                if not (refuses(error, "stream") or mentions(error, "stream", "streaming", "streamed")):
                    raise
                refused = error
        body.pop("stream_options", None)
        response = await self.transport.open({**body, "stream": False})
        if refused is not None:
            stream.learn(refused, body)
        return response

    async def _open(self, body: dict[str, Any], place: Place = "call") -> HttpResponse:
        # Send `body` to `place`, with fields that ask for token counts and ids where needed. Return the open response.
        # If the server refuses such a field, the request is sent again without it.
        wanted: dict[FieldSupport, Any] = {}
        if self._call.api != "responses" and "stream_options" not in body and not place.startswith("/"):
            wanted[self._endpoint.stream_options] = {"include_usage": True}
        if place == "call":
            if self._asks_ids and self._hides_ids:
                wanted[self._endpoint.token_ids] = True
            if self._asks_progress:
                body = {"return_progress": True, **body}
        return await send_with(wanted, body, lambda asked: self.transport.open(asked, place))


def _continues_raw(call: ApiCall) -> bool:
    return call.api == "chat" and continues_raw(call.body)


_LIMIT: Mapping[Api, str] = {
    "chat": "max_tokens",
    "completions": "max_tokens",
    "responses": "max_output_tokens",
}
"""The field that limits the tokens of an answer, by API."""


def make_buffer(call: ApiCall, *, holds: bool = False) -> ChunkBuffer:
    # With `holds`, it holds back text that no monitor reads.
    if call.api == "responses":
        return ResponsesChunkBuffer(holds=holds, request=call.body)
    if call.api == "completions":
        return ChunkBuffer(decode_completion, "text", holds=holds, request=call.body)
    return ChunkBuffer(decode_chat, "content", holds=holds, request=call.body)


def asked_scores(api: str, sampling: Sampling) -> dict[str, Any]:
    most = sampling.top_logprobs
    if api == "completions":
        return {"logprobs": 1 if most is None else most}
    return {"logprobs": True} | ({"top_logprobs": most} if most else {})


def _response(data: bytes) -> Completion:
    body = read_json(data, msgspec.json.Decoder(dict[str, Any]))
    items = [item for item in body.get("output") or () if item.get("type") == "message"]
    text = "".join(part.get("text") or "" for item in items for part in item.get("content") or ())
    usage = body.get("usage") or {}
    counts = Usage(count_of(usage.get("input_tokens")), None, count_of(usage.get("output_tokens")))
    return Completion(text, "stop" if body.get("status") == "completed" else "length", counts)


_WHOLE: Mapping[Api, Callable[[bytes], Completion]] = {
    "chat": lambda data: chat_completion_of(read_json(data, chat_decoder), data),
    "completions": lambda data: completion_of(read_json(data, completion_decoder), data),
    "responses": _response,
}
"""The decoders of answers without streaming, by API."""
