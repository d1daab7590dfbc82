"""What the adapters of both OpenAI-compatible APIs share: address, key, sampling, retries, opening a stream."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec

from interwhen.errors import MissingExtraError, StreamProtocolError, UpstreamError, UsageError
from interwhen.feedback import FeedbackTemplate
from interwhen.models.aborting import Abort
from interwhen.models.base import Request, Sampling
from interwhen.models.chunks import NOT_JSON, Decode
from interwhen.models.exchange import exchange, open_stream
from interwhen.models.field_support import FieldSupport, mentions, refuses
from interwhen.models.ghosts import Ghosts
from interwhen.models.notes import StreamNotes, lenient
from interwhen.models.retrying import Retries, retrying
from interwhen.models.token_stream import TokenStream
from interwhen.models.transport import HttpRequest, Timeouts, Transport

T = TypeVar("T")

Malformed = Literal["strict", "skip"]
"""What an event that is no chunk does: it breaks the stream, or it is left out and counted in the result."""


class OpenAICompatible:
    """The common half of :class:`~interwhen.models.completions.CompletionsModel` and ``ChatModel``.

    *base_url* includes the version (``http://localhost:8000/v1``). *api_key* falls back to ``OPENAI_API_KEY``; an
    empty string sends none. *sampling* fills in what a request leaves open. *transport* is shared by whoever passes
    it, and then not closed here; ``"httpx2"`` and ``"fast"`` make one that is.

    *malformed* says what an event that cannot be read does: with ``"strict"`` it breaks the stream, which a run takes
    up from the text so far; with ``"skip"`` it is left out and counted in ``result.wire``. *abort* names the call that
    stops a generation on servers that do not notice a closed connection, and *max_ghosts* how many of those such a
    server may be left with; ``None`` trusts it to stop.
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
        abort: Abort | None = None,
        max_ghosts: int | None = None,
    ) -> None:
        if malformed not in get_args(Malformed):
            raise UsageError(f"malformed={malformed!r}, choose one of {', '.join(get_args(Malformed))}")
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"base_url={base_url!r} is no http:// or https:// URL; give it as 'http://host:port/v1'")
        self.timeouts = timeouts or Timeouts()
        """The timers; the reader of a stream enforces all but ``connect``."""
        self.feedback: FeedbackTemplate | None = None
        """How feedback to this model is worded, unless a run says otherwise."""
        self.model = model
        self._base_url = base_url.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2]
        self._owns_transport = transport is None or isinstance(transport, str)
        self._transport = _transport(transport)
        self._sampling = sampling or Sampling()
        self.retries = retries or Retries()
        """How requests are tried again; a run spaces its reconnects by the same waits."""
        self._malformed = malformed
        self._abort = abort
        self.ghosts = None if max_ghosts is None else Ghosts(max_ghosts)
        """The generations that may still run behind closed connections; ``None``: the server is trusted to stop."""
        self._headers = _headers(os.environ.get("OPENAI_API_KEY") if api_key is None else api_key, headers or {})
        self._stream_options = FieldSupport("stream_options", self.name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._host!r}, {self.model!r})"

    @property
    def name(self) -> str:
        """The model and where it runs."""
        return f"{self.model}@{self._host}"

    async def aclose(self) -> None:
        """Close the connections, unless the transport was passed in."""
        if self._owns_transport:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _body(self, request: Request) -> dict[str, Any]:
        """Build the part of the request body that both APIs share."""
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
        if body.get("n", 1) != 1:
            raise UsageError(f"n={body['n']!r}: a stream is one continuation; ask several times for several")
        return body

    def _wants_logprobs(self, request: Request) -> bool:
        return request.sampling.logprobs or self._sampling.logprobs

    async def _open(self, path: str, body: dict[str, Any], decode: Decode) -> TokenStream:
        """Post *body* and return the stream, retrying what is worth it."""

        async def attempt() -> TokenStream:
            if self.ghosts is not None:
                await self.ghosts.room()
            sent: dict[str, Any] = {**body, "stream": True}
            stop = None if self._abort is None else self._stopper(self._abort, self._abort.mark(sent))
            asked = self._stream_options.is_likely and "stream_options" not in sent
            if asked:
                sent["stream_options"] = {"include_usage": True}
            try:
                response = await open_stream(self._transport, self._post(path, sent), self.timeouts)
            except UpstreamError as exc:
                if not asked or not (refuses(exc, "stream_options") or mentions(exc, "stream_options")):
                    raise
                del sent["stream_options"]
                response = await open_stream(self._transport, self._post(path, sent), self.timeouts)
                self._stream_options.learn(exc, body)
            notes = StreamNotes()
            read = decode if self._malformed == "strict" else lenient(decode, notes)
            return TokenStream(response, read, notes=notes, stop=stop, ghosts=self.ghosts, limit=sent.get("max_tokens"))

        return await retrying(attempt, self.retries)

    def _stopper(self, abort: Abort, name: str) -> Callable[[], Awaitable[None]]:
        async def stop() -> None:
            await abort.send(self._transport, self._base_url, self._headers, name)

        return stop

    async def _ask(self, path: str, body: dict[str, Any], decoder: msgspec.json.Decoder[T]) -> tuple[T, bytes]:
        """Post *body*, and return the whole answer, decoded and as it came."""

        async def attempt() -> bytes:
            return await exchange(self._transport, self._post(path, {**body, "stream": False}), self.timeouts)

        data = await retrying(attempt, self.retries)
        return read_json(data, decoder), data

    async def _get(self, path: str, decoder: msgspec.json.Decoder[T]) -> T:
        """Get *path* once, without retries."""
        headers = {**self._headers, "accept": "application/json"}
        request = HttpRequest("GET", f"{self._base_url}/{path}", headers)
        return read_json(await exchange(self._transport, request, self.timeouts), decoder)

    def _post(self, path: str, body: dict[str, Any]) -> HttpRequest:
        accept = "text/event-stream" if body["stream"] else "application/json"
        headers = {**self._headers, "content-type": "application/json", "accept": accept}
        return HttpRequest("POST", f"{self._base_url}/{path}", headers, msgspec.json.encode(body))


def read_json(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a whole answer, or raise :class:`~interwhen.errors.StreamProtocolError`."""
    try:
        return decoder.decode(data)
    except NOT_JSON as exc:
        raise StreamProtocolError(f"not the JSON that was expected ({exc})", offset=0, sample=data) from exc


def _headers(api_key: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    # A stream is read as it comes: a compressed one would wait in the compressor.
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
        # Imported here, as it is most of the cost of importing interwhen.
        from interwhen.models.httpx2_transport import Httpx2Transport

        return Httpx2Transport()
    if not isinstance(transport, str):
        return transport
    if transport != "fast":
        raise UsageError(f"transport={transport!r} is not known; use 'httpx2', 'fast' or a Transport")
    try:
        from interwhen.models.fast_transport import FastTransport
    except ModuleNotFoundError as exc:
        raise MissingExtraError("the fast transport", "fast") from exc
    return FastTransport()
