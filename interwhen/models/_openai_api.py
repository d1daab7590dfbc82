"""Adapters to the OpenAI-compatible APIs: ``CompletionsModel`` and ``ChatModel``."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from interwhen._types.errors import (
    DECODE_ERRORS,
    ContextOverflow,
    MissingExtraError,
    ModelError,
    StreamProtocolError,
    StreamTimeout,
    UpstreamError,
    UsageError,
    without_user,
)
from interwhen._types.log import log_warning
from interwhen._types.models import (
    Capabilities,
    Chunk,
    Completion,
    Message,
    Request,
    ResumeMode,
    ResumeWay,
    Retries,
    Sampling,
    ScoredToken,
    Timeouts,
)
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.vetting import Positive, require
from interwhen.models._chunks import (
    Decode,
    Decoded,
    ModelCard,
    card_of,
    chat_completion_of,
    chat_decoder,
    completion_decoder,
    completion_of,
    decode_chat,
    decode_completion,
    models_decoder,
    noting_question,
    reading_calls,
    reasoning_field,
    scores_of,
)
from interwhen.models._endpoint_support import (
    AFTER_CALLS,
    BY_IDS,
    LLAMACPP,
    NO_IDS,
    NOT_RAW,
    PREFILL_REFUSED,
    EndpointProof,
    ProofWire,
    ResumeProbe,
    choose_prefill,
    continues_raw,
    why_turn,
    why_unproven,
    with_tags,
)
from interwhen.models._messages import extra_turns, needs_turns, prefill_turns, prompt_turns
from interwhen.models._orphans import AbortCall, OrphanedStreams
from interwhen.models._raw_calls import raw_calls
from interwhen.models._token_resume import KnownTags, TokenPrompt, TokenPrompts, TokenTrail, shows_tags
from interwhen.models._token_servers import Place, TokenServer, sends_ids, token_server
from interwhen.models._token_stream import SlotRelease, StreamNotes, TokenStream, collect, lenient
from interwhen.models._transport import (
    FORK_OPTIONS,
    FieldSupport,
    HttpRequest,
    HttpResponse,
    SamplingSupport,
    Transport,
    exchange,
    open_stream,
    retrying,
    send_with,
    until_stop,
)

T = TypeVar("T")


Malformed = Literal["strict", "skip"]
"""What to do with an event that cannot be decoded. ``strict``: break the stream. ``skip``: skip and count it."""


class OpenAICompatible:
    """What both adapters have in common. :class:`~interwhen.models.ChatModel` explains the parameters."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        transport: Transport | str | None = None,
        timeouts: Timeouts | None = None,
        sampling: Sampling | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        malformed: Malformed = "strict",
        abort: AbortCall | None = None,
        max_orphans: int | None = None,
    ) -> None:
        require("malformed", malformed, Malformed)
        parts = _parse_base_url(base_url)
        self.timeouts = timeouts or Timeouts()
        """The timeouts. For a stream, this model enforces ``connect``, and ``first_token`` until the head of the
        response has arrived. The reader of the stream enforces the rest."""
        self.feedback: FeedbackTemplate | None = None
        """The wording of feedback to this model; ``None`` for the default. A run can replace it."""
        self.model = model
        self._base_url = base_url.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2]
        self._owns_transport = transport is None or isinstance(transport, str)
        self._transport = _transport(transport)
        self._sampling = sampling or Sampling()
        self.retries = retries or Retries()
        """When to retry a request. A run also uses these waits between its reconnects."""
        self._malformed = malformed
        self._abort = abort
        self.orphans = None if max_orphans is None else OrphanedStreams(max_orphans)
        """The generations that may continue after their stream was closed; ``None`` if they are not counted."""
        self._headers = _headers(os.environ.get("OPENAI_API_KEY") if api_key is None else api_key, headers or {})
        self._stream_options = FieldSupport("stream_options", self.name)
        self._slots = SlotRelease()
        self._card: ModelCard | None = None
        self._has_card = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._host!r}, {self.model!r})"

    @property
    def name(self) -> str:
        """The model and its server: ``model@host:port``, or ``model@host`` if ``base_url`` has no port."""
        return f"{self.model}@{self._host}"

    async def aclose(self) -> None:
        """Close the connections, unless a transport object was passed in."""
        if self._owns_transport:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _body(self, request: Request) -> dict[str, Any]:
        own, default = request.sampling, self._sampling
        body: dict[str, Any] = {"model": self.model}
        for key in ("max_tokens", "temperature", "top_p", "seed"):
            value = getattr(own, key)
            value = getattr(default, key) if value is None else value
            if value is not None:
                body[key] = value
        if stop := own.stop or default.stop:
            body["stop"] = list(stop)
        body |= {**default.extra, **own.extra}
        if body.get("n") not in (None, 1):
            raise UsageError(
                f"the request option n must be 1, got {body['n']!r:.60}: send several requests for several "
                "continuations"
            )
        return body

    def _wants_logprobs(self, request: Request) -> bool:
        return request.sampling.logprobs or self._sampling.logprobs

    def _top_logprobs(self, request: Request) -> int | None:
        own = request.sampling.top_logprobs
        return self._sampling.top_logprobs if own is None else own

    async def _known_card(self) -> ModelCard | None:
        if not self._has_card:
            try:
                self._card = card_of(self.model, (await self._get("models", models_decoder)).data)
            except ModelError as exc:
                log_warning("model.card_unknown", model=self.name, error=type(exc).__name__)
                self._has_card = not exc.retryable or isinstance(exc, StreamTimeout)
            else:
                self._has_card = True
        return self._card

    async def _prepare_resume(self, body: dict[str, Any]) -> dict[str, Any]:
        # For llama.cpp, first wait a short time for the slots of closed streams.
        card = await self._known_card()
        if card is None or card.owned_by != LLAMACPP:
            return body
        await self._slots.wait(self._get_slots)
        # The counts at the end do not arrive if the stream is cut again.
        return {"return_progress": True, **body}

    async def _get_slots(self) -> bytes:
        return await self.ask_beside("GET", "slots")

    async def ask_beside(self, method: Literal["GET", "POST"], path: str, body: object = None) -> bytes:
        """Send *body* by *method* to *path* and return the answer.

        *path* is relative to the base URL without its ``/v1``. Raises :class:`~interwhen.models.ModelError` if the
        request fails.
        """
        url = f"{self._base_url.removesuffix('/v1')}/{path}"
        headers = {**self._headers, "content-type": "application/json", "accept": "application/json"}
        data = b"" if body is None else write_json(body)
        return await exchange(self._transport, HttpRequest(method, url, headers, data), self.timeouts)

    async def _open(
        self,
        path: str,
        body: dict[str, Any],
        decode: Decode,
        *,
        trail: TokenTrail | None = None,
        translate: Callable[[HttpResponse], HttpResponse] | None = None,
    ) -> TokenStream:
        # Each attempt may wait until `max_orphans` allows a further stream. A server that refuses `stream_options` is
        # asked again without it. `translate` converts the response to events for `decode`.
        async def attempt() -> TokenStream:
            if self.orphans is not None:
                await self.orphans.wait_for_room()
            sent: dict[str, Any] = {**body, "stream": True}
            stop = None if self._abort is None else self._stopper(self._abort, self._abort.mark(sent))
            # Only the OpenAI-compatible APIs have this option.
            has_option = "stream_options" not in sent and not path.startswith("/")
            response = await send_with(
                {self._stream_options: {"include_usage": True}} if has_option else {},
                sent,
                lambda asked: open_stream(self._transport, self._post(path, asked), self.timeouts),
            )
            notes = StreamNotes()
            read = decode if self._malformed == "strict" else lenient(decode, notes)
            if translate is not None:
                response = translate(response)
            stream = TokenStream(
                response, read, notes=notes, stop=stop, orphans=self.orphans, limit=sent.get("max_tokens")
            )
            stream.trail = trail
            self._slots.add(stream)
            return stream

        return await retrying(attempt, self.retries)

    def _stopper(self, abort: AbortCall, name: str) -> Callable[[], Awaitable[None]]:
        async def stop() -> None:
            await abort.send(self._transport, self._base_url, self._headers, name)

        return stop

    async def _ask(self, path: str, body: dict[str, Any], decoder: msgspec.json.Decoder[T]) -> tuple[T, bytes]:
        async def attempt() -> bytes:
            return await exchange(self._transport, self._post(path, {**body, "stream": False}), self.timeouts)

        with self._slots.asking():
            data = await retrying(attempt, self.retries)
        return read_json(data, decoder), data

    async def _get(self, path: str, decoder: msgspec.json.Decoder[T]) -> T:
        headers = {**self._headers, "accept": "application/json"}
        request = HttpRequest("GET", f"{self._base_url}/{path}", headers)
        return read_json(await exchange(self._transport, request, self.timeouts), decoder)

    def _post(self, path: str, body: dict[str, Any]) -> HttpRequest:
        """*path* is relative to the base URL or, if it starts with a slash, to the base URL without its ``/v1``."""
        root = self._base_url.removesuffix("/v1") if path.startswith("/") else f"{self._base_url}/"
        accept = "text/event-stream" if body["stream"] else "application/json"
        headers = {**self._headers, "content-type": "application/json", "accept": accept}
        return HttpRequest("POST", f"{root}{path}", headers, write_json(body))


def write_json(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, OverflowError, *DECODE_ERRORS) as exc:
        raise UsageError(
            f"a request must be JSON in UTF-8, got a value that is not ({exc}): correct the prompt or the options"
        ) from exc


def read_json(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(data)
    except DECODE_ERRORS as exc:
        raise StreamProtocolError(
            f"the answer must be JSON of the OpenAI API, got something else ({exc})",
            offset=0,
            sample=data,
            hint="check base_url",
        ) from exc


def _parse_base_url(base_url: str) -> SplitResult:
    try:
        parts = urlsplit(base_url)
        is_base = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # an invalid host or port
        is_base = False
    if not is_base or _NOT_IN_A_BASE.search(base_url):
        # A query may hold a key.
        raise UsageError(
            "base_url must be a URL such as 'http://host:port/v1', got "
            f"{without_user(base_url).partition('?')[0]!r:.200}: remove spaces, a query and a fragment"
        )
    if "@" in parts.netloc:
        raise UsageError(
            f"base_url must not have a user, got one for {without_user(base_url)!r:.200}: give it in "
            "headers={'authorization': ...}"
        )
    return parts


_NOT_IN_A_BASE = re.compile(r"[\s?#]")


def _headers(api_key: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    # No compression: a compressor delays tokens until it has enough data.
    built = {
        "user-agent": "interwhen",
        "accept-encoding": "identity",
        **{name.lower(): value for name, value in headers.items()},
    }
    if api_key:
        built.setdefault("authorization", f"Bearer {api_key}")
    return built


def _transport(transport: Transport | str | None) -> Transport:
    if transport is None or transport == "httpx2":
        # Imported here because it would be most of the cost of `import interwhen`.
        from interwhen.models._httpx2_transport import Httpx2Transport

        return Httpx2Transport()
    if not isinstance(transport, str):
        return transport
    if transport != "fast":
        raise UsageError(f"transport must be 'httpx2', 'fast' or a Transport, got {transport!r:.60}")
    try:
        from interwhen.models._fast_transport import FastTransport
    except ModuleNotFoundError as exc:
        raise MissingExtraError("the fast transport", "fast") from exc
    return FastTransport()


# The adapter to ``/v1/completions``. To resume, it sends the text so far as part of the prompt.

Template = Callable[[tuple[Message, ...]], str]
"""A function that renders the messages of a chat as the text after which the assistant's answer begins."""


class CompletionsModel(OpenAICompatible):
    """A model that continues raw text by ``/v1/completions``. It resumes by raw prefix, at any character.

    *template* renders a chat prompt as text; without it, a chat prompt raises :class:`~interwhen.UsageError`.
    *context_tokens* is the length of the context window in tokens; ``None`` if it is not known. With ``"ask"``, it is
    taken from ``GET /models``. The other parameters and errors are those of :class:`~interwhen.models.ChatModel`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        transport: Transport | str | None = None,
        timeouts: Timeouts | None = None,
        sampling: Sampling | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        malformed: Malformed = "strict",
        abort: AbortCall | None = None,
        max_orphans: int | None = None,
        template: Template | None = None,
        context_tokens: int | Literal["ask"] | None = None,
    ) -> None:
        super().__init__(
            base_url,
            model,
            api_key=api_key,
            transport=transport,
            timeouts=timeouts,
            sampling=sampling,
            retries=retries,
            headers=headers,
            malformed=malformed,
            abort=abort,
            max_orphans=max_orphans,
        )
        require("context_tokens", context_tokens, Positive | Literal["ask"] | None, "give the size of the window")
        self._template = template
        self._context_tokens = context_tokens

    async def capabilities(self) -> Capabilities:
        """Return the capabilities. With ``context_tokens="ask"``, the first call may ask the server for it."""
        tokens = self._context_tokens
        if tokens == "ask":
            card = await self._known_card()
            tokens = card.max_model_len if card else None
        return Capabilities(resume="prefix", logprobs=True, context_tokens=tokens)

    async def stream(self, request: Request) -> TokenStream:
        """Send *request*, and return the open stream when the server has accepted the request.

        Raises :class:`~interwhen.models.ModelError` if the server refuses it or cannot be reached, and
        :class:`~interwhen.UsageError` if it cannot be sent, such as a chat prompt without a template.
        """
        if not request.prefix:
            return await self._open("completions", self._payload(request), decode_completion)
        body = await self._prepare_resume(self._payload(request))
        stream = await self._open("completions", body, decode_completion)
        stream.way = ResumeWay("prefix", "the completions API continues any text")
        return stream

    async def complete(self, request: Request) -> Completion:
        """Send *request* without streaming, and return its answer. Raises the same errors as :meth:`stream`."""
        return completion_of(*await self._ask("completions", self._payload(request), completion_decoder))

    def _payload(self, request: Request) -> dict[str, Any]:
        body = self._body(request)
        body["prompt"] = self._prompt(request) + request.prefix + (request.side or "")
        if self._wants_logprobs(request):
            top = self._top_logprobs(request)
            body.setdefault("logprobs", 1 if top is None else top)
        return body

    def _prompt(self, request: Request) -> str:
        if isinstance(request.prompt, str):
            return request.prompt
        if self._template is None:
            raise UsageError(
                f"the prompt of {self!r} must be text, got a chat of {len(request.prompt)} messages: "
                "use ChatModel, or give template= to turn chats into text"
            )
        return self._template(request.prompt)


# The adapter to ``/v1/chat/completions``.

ChatResume = Literal["auto", "tokens", "prefill", "turn"]
"""How to continue kept text; see :class:`ChatModel`."""

ChatMode = Literal["tokens", "prefill", "turn"]

_MODES: Mapping[str | None, ChatMode] = {"vllm": "tokens", LLAMACPP: "prefill", "sglang": "prefill"}


_CALL_EXTRAS = 256
"""About how many tool calls a model keeps the field ``extra_content`` of."""


def mode_of(card: ModelCard | None) -> ChatMode:
    return _MODES.get(card.owned_by if card else None, "turn")


def refuses_prefill(error: UpstreamError) -> bool:
    return error.status in (400, 422) and not isinstance(error, ContextOverflow)


class ChatModel(OpenAICompatible):
    """A model that answers chats by ``/v1/chat/completions``.

    *resume* is how the model continues kept text. With ``tokens``, the text is sent as token ids. With ``prefill``, it
    is an unfinished assistant turn that the server continues. With ``turn``, it is a finished assistant turn, followed
    by a user turn. ``auto`` chooses by the name of the server in ``GET /models``, and by what a probe has shown; an
    unknown server gets ``turn``, unless *probe* is ``"always"``. Where the chosen way is not possible, another one is
    used.

    *probe* says whether the endpoint may be asked how it continues kept text, if *resume* is ``auto``. With ``"auto"``,
    requests for this that generate tokens are sent only to a server whose model list names vLLM, SGLang or llama.cpp.
    With ``"always"``, they may be sent to any server. With ``"never"``, no endpoint is asked.

    *base_url* includes the version (``http://localhost:8000/v1``). *api_key* defaults to the environment variable
    ``OPENAI_API_KEY``; with an empty string, no key is sent. *headers* are sent with each request, and an
    ``authorization`` in them replaces the key. *sampling* has the defaults for requests. *transport* is ``"httpx2"``
    (the default), ``"fast"``, or a transport object, which :meth:`aclose` does not close. *malformed* says what happens
    with an event that cannot be decoded: ``"strict"`` breaks the stream, ``"skip"`` leaves the event out, or replaces
    its invalid UTF-8. *abort* is the API call that stops a generation on servers that do not notice a closed
    connection. *max_orphans* is how many generations such a server may continue, by an estimate, before a new stream
    waits; ``None``: any number.

    Raises :class:`~interwhen.UsageError` for an invalid option or *base_url*, and ``MissingExtraError`` if ``"fast"``
    needs an extra that is not installed.
    """

    _optional: ClassVar[tuple[str, ...]] = ()
    """The sampling options that a request leaves out if the server refuses them. For forks: ``FORK_OPTIONS``."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        transport: Transport | str | None = None,
        timeouts: Timeouts | None = None,
        sampling: Sampling | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        malformed: Malformed = "strict",
        abort: AbortCall | None = None,
        max_orphans: int | None = None,
        resume: ChatResume = "auto",
        probe: ResumeProbe = "auto",
    ) -> None:
        super().__init__(
            base_url,
            model,
            api_key=api_key,
            transport=transport,
            timeouts=timeouts,
            sampling=sampling,
            retries=retries,
            headers=headers,
            malformed=malformed,
            abort=abort,
            max_orphans=max_orphans,
        )
        require("resume", resume, ChatResume)
        require("probe", probe, ResumeProbe)
        self._resume: ChatMode | None = None if resume == "auto" else resume
        self._option: ChatResume = resume
        self._probe = probe
        self._proof = EndpointProof(f"{model}@{self._base_url}")
        self._why_turn = ""
        self._known_tags = KnownTags()
        self._token_ids = FieldSupport("return_token_ids", self.name)
        self._options = SamplingSupport(self.name)
        self._context_tokens: int | None = None
        self._reasoning_field: str | None = None  # once a stream has shown one
        self._call_extras: dict[str, Any] = {}
        """The field ``extra_content`` of the last tool calls, by their ids. Gemini needs it back with the calls."""

    async def capabilities(self) -> Capabilities:
        """Return the capabilities. If *resume* is ``auto``, the first call may ask the server for its model list."""
        resume: ResumeMode = await self._resume_mode()
        if resume == "prefill" and self._proof.known is None:
            resume = "unproven_prefill"
        tags = ("<think>", "</think>") if self._reasoning_field is None else None
        return Capabilities(resume=resume, logprobs=True, think_tags=tags, context_tokens=self._context_tokens)

    async def stream(self, request: Request) -> TokenStream:
        """Send *request*, and return the open stream when the server has accepted the request.

        If there is kept text, ``stream.way`` says how it is continued. This may need other requests first. Raises
        :class:`~interwhen.models.ModelError` if the server refuses a request or cannot be reached, and
        :class:`~interwhen.UsageError` if the option ``n`` is not 1.
        """
        extra = self._extra(request)
        decode = self._reading(extra, decode_chat if self._reasoning_field else self._decode_and_learn)
        decode = noting_question(decode, extra)
        if not request.prefix and not request.side:
            # A first request does not wait for another one. If the resume mode is not known yet, the server is asked
            # for token ids later.
            if self._resume == "tokens" and continues_raw(extra):
                return await self._open_with_ids(request, decode)
            return await self._open_chat(self._payload(request, None), decode)
        way = await self._way(request)
        if way.mode == "tokens":
            if (continued := await self._open_by_ids(request, way)) is not None:
                return continued
            way = await self._way(request, by_ids=False)

        async def send(payload: dict[str, Any]) -> TokenStream:
            if "continue_final_message" in payload:
                payload = await self._prepare_resume(payload)
            return await self._open_chat(payload, decode)

        stream, stream_way = await self._continued(request, way, send)
        stream.way = stream_way
        return stream

    @property
    def needs_proof(self) -> bool:
        """Whether :meth:`prove` should be called, because it is not known how the endpoint continues kept text.

        It is false if *resume* is not ``"auto"`` or *probe* is ``"never"``.
        """
        return (
            self._option == "auto" and self._resume == "prefill" and self._probe != "never" and not self._proof.is_known
        )

    async def prove(self) -> int:
        """Find out how the endpoint continues kept text. Return how many tokens this took, as far as they are known."""
        return await self._proof.learn(self._wire, self.model, await self._known_card(), self._probe)

    @property
    def _wire(self) -> ProofWire:
        return ProofWire(
            partial(self.ask_beside, "GET"),
            partial(self.ask_beside, "POST"),
            lambda body: self._open("chat/completions", body, decode_chat),
        )

    async def _way(self, request: Request, *, by_ids: bool = True) -> ResumeWay:
        # `by_ids` is false if the server has just refused to tokenize the text. May send requests and wait for a probe.
        if needs_turns(request.pieces):
            return AFTER_CALLS
        mode = await self._resume_mode()
        is_raw = continues_raw(self._extra(request))
        refused = NO_IDS if not by_ids else "" if is_raw else NOT_RAW
        if not refused and mode == "tokens":
            return BY_IDS if self._option == "auto" else ResumeWay("tokens", "the option resume='tokens'")
        if self._option != "auto":
            # Servers that continue token ids have chat templates that drop or close reasoning in a separate field.
            is_turn = mode == "turn" or (mode == "tokens" and self._reasoning_field is not None)
            why = refused if self._option == "tokens" else ""
            return ResumeWay("turn" if is_turn else "unproven_prefill", why or f"the option resume={self._option!r}")
        card = await self._known_card()
        if mode == "turn":
            return ResumeWay("turn", self._why_turn or why_turn(card))
        has_template = card is not None and card.owned_by == LLAMACPP
        if has_template:
            # Takes no token. After the first stream of a run, it is known.
            await self._proof.learn(self._wire, self.model, card, self._probe, generates=False)
        await self._proof.wait()
        return choose_prefill(
            self._proof.known,
            request.pieces,
            has_field=self._reasoning_field is not None,
            documented=mode_of(card) != "turn",
            by_ids=not refused and has_template,
            why_unproven=(f"{refused}, and " if refused else "") + why_unproven(card, self._probe),
        )

    async def _open_chat(self, payload: dict[str, Any], decode: Decode) -> TokenStream:
        return await self._options.send(
            payload, self._optional, lambda body: self._open("chat/completions", body, decode)
        )

    async def _continued(
        self, request: Request, way: ResumeWay | None, send: Callable[[dict[str, Any]], Awaitable[T]]
    ) -> tuple[T, ResumeWay | None]:
        # If the server refuses a prefill, the request is repeated with an extra turn.
        payload = self._payload(request, way)
        try:
            return await send(payload), way
        except UpstreamError as error:
            if "continue_final_message" not in payload or not refuses_prefill(error):
                raise
            refused = error
        answer = await send({**self._sampled(request), "messages": extra_turns(request, self._call_extras)})
        log_warning("model.prefill_refused", model=self.name, error=str(refused), taken="turn")
        self._resume, self._why_turn = "turn", PREFILL_REFUSED
        return answer, ResumeWay("turn", PREFILL_REFUSED)

    async def _open_with_ids(self, request: Request, decode: Decode) -> TokenStream:
        trail = TokenTrail()
        read = trail.reading(decode)

        async def send(body: dict[str, Any]) -> TokenStream:
            if self._token_ids.field in body:
                return await self._open("chat/completions", body, read, trail=trail)
            return await self._open("chat/completions", body, decode)

        wanted = {self._token_ids: True} if sends_ids(self._card) else {}
        return await send_with(wanted, self._payload(request, None), send)

    async def _open_by_ids(self, request: Request, way: ResumeWay) -> TokenStream | None:
        # The result is `None` if the server refuses to tokenize the text.
        server = await self._token_server()
        prompt = await self._token_prompt(request, server)
        if prompt is None:
            return None
        field = self._reasoning_field or "reasoning"
        chat = self._chat(request)
        stream = await self._open(
            server.place,
            await self._prepare_resume(server.body({**chat, "stream": True}, prompt, with_ids=True)),
            prompt.trail.reading(self._reading(chat, decode_chat)),
            trail=prompt.trail,
            translate=lambda response: server.events(response, prompt, field, raw_calls(chat)),
        )
        stream.way = way
        return stream

    async def _token_server(self) -> TokenServer:
        card = await self._known_card()
        return token_server(card.owned_by if card else None, self.model, self._ask_place)

    async def _token_prompt(self, request: Request, server: TokenServer) -> TokenPrompt | None:
        trail = request.trail if isinstance(request.trail, TokenTrail) else None
        try:
            return await TokenPrompts(server, self._known_tags).prompt(
                self._chat(request),
                request.pieces,
                side=request.side or "",
                trail=trail,
                tags_in_text=self._reasoning_field is None and shows_tags(request.pieces),
            )
        except (UpstreamError, StreamProtocolError) as error:
            if error.retryable:
                raise
            # The server has no /tokenize, and will not have it later. Prefill can continue an answer, not a reasoning.
            self._resume = "turn" if self._reasoning_field and self._option != "auto" else "prefill"
            log_warning("model.tokens_unknown", model=self.name, error=str(error), taken=self._resume)
            return None

    def _extra(self, request: Request) -> dict[str, Any]:
        return {**self._sampling.extra, **request.sampling.extra}

    def _reading(self, chat: Mapping[str, Any], decode: Decode) -> Decode:
        # With tools, the returned function also yields complete calls, as chunks.
        if not (chat.get("tools") or chat.get("functions")):
            return decode
        for old in list(self._call_extras)[:-_CALL_EXTRAS]:
            del self._call_extras[old]
        return reading_calls(decode, self._call_extras)

    def _chat(self, request: Request) -> dict[str, Any]:
        return {**self._sampled(request), "messages": prompt_turns(request)}

    async def _ask_place(self, body: dict[str, Any], place: Place) -> bytes:
        path = "chat/completions" if place == "call" else place
        return await exchange(self._transport, self._post(path, {"stream": False, **body}), self.timeouts)

    async def complete(self, request: Request) -> Completion:
        """Send *request* and return its answer. Reasoning in a separate field is left out.

        If the kept text is continued by token ids, the answer is the raw text of the model; if not, it ends before the
        first stop sequence of *request*. Raises :class:`~interwhen.models.ModelError` if the server refuses the request
        or cannot be reached, and :class:`~interwhen.UsageError` if the option ``n`` is not 1.
        """
        way = await self._way(request) if request.prefix or request.side else None
        if way is not None and way.mode == "tokens":
            server = await self._token_server()
            prompt = await self._token_prompt(request, server)
            if prompt is not None:
                body = server.body(self._chat(request), prompt, with_ids=False)
                return server.completion(await retrying(lambda: self._ask_place(body, server.place), self.retries))
            way = await self._way(request, by_ids=False)
        optional = FORK_OPTIONS if request.side is not None else self._optional
        completion, _ = await self._continued(
            request,
            way,
            lambda payload: self._options.send(payload, optional, lambda body: self._whole(request, body)),
        )
        return replace(completion, text=until_stop(completion.text, request.sampling.stop))

    async def _whole(self, request: Request, payload: dict[str, Any]) -> Completion:
        if "continue_final_message" in payload:
            # Without streaming, llama.cpp repeats the prefilled text in the answer. So the answer is streamed.
            tokens: list[ScoredToken] = []

            def decode(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
                tokens.extend(scores_of(data))
                return decode_chat(data, offset, first)

            read = decode if self._wants_logprobs(request) else decode_chat
            completion = await collect(await self._open("chat/completions", payload, read))
            return replace(completion, tokens=tuple(tokens))
        return chat_completion_of(*await self._ask("chat/completions", payload, chat_decoder))

    def _sampled(self, request: Request) -> dict[str, Any]:
        body = self._body(request)
        if self._wants_logprobs(request):
            body["logprobs"] = True
            if top := self._top_logprobs(request):
                body.setdefault("top_logprobs", top)
        return body

    def _payload(self, request: Request, way: ResumeWay | None) -> dict[str, Any]:
        # `way` is how it continues the kept text; `None` if there is none.
        body = self._sampled(request)
        if way is not None and way.mode == "turn":
            body["messages"] = extra_turns(request, self._call_extras)
            return body
        if way is not None and way.reasoning == "tags":
            body["messages"] = prefill_turns(replace(request, pieces=with_tags(request.pieces)), None)
        else:
            body["messages"] = prefill_turns(request, self._reasoning_field)
        if way is not None:
            # vLLM and SGLang need these two fields; llama.cpp continues any last assistant turn.
            body["continue_final_message"] = True
            body["add_generation_prompt"] = False
        return body

    async def _resume_mode(self) -> ChatMode:
        if self._resume is None:
            card = await self._known_card()
            self._context_tokens = card.max_model_len if card else None
            # With the option "always", any server may be shown to continue an assistant message.
            mode = "prefill" if mode_of(card) == "turn" and self._probe == "always" else mode_of(card)
            if not self._has_card:
                return mode  # the server is asked again
            self._resume = mode
        return self._resume

    def _decode_and_learn(self, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        decoded = decode_chat(data, offset, first)
        if self._reasoning_field is None and _brings_reasoning(decoded):
            # Later streams use decode_chat directly, because the field is known.
            self._reasoning_field = reasoning_field(data)
        return decoded


def _brings_reasoning(decoded: Decoded) -> bool:
    part = decoded[0] if isinstance(decoded, tuple) else decoded
    return isinstance(part, Chunk) and part.phase == "reasoning"
