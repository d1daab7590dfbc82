"""Clients of the `openai` package whose calls are supervised.

A wrapped client is an instance of a subclass of the client's own class, with the same state. The subclass supervises
calls in ``request``, which every call of the SDK goes through.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, cast

import anyio
import httpx2
from openai import AsyncOpenAI, OpenAI
from openai._base_client import _merge_mappings
from openai._models import FinalRequestOptions
from openai._streaming import extract_stream_chunk_type
from openai._utils import is_given

from interwhen._engine.loop_thread import LoopThread
from interwhen._engine.run import is_off
from interwhen._types.errors import ModelError
from interwhen._types.events import Event
from interwhen.clients._call_record import CallOrigin, trace_id_of
from interwhen.clients._calls import PATHS, ApiCall, Settings, Unsupported, read_call
from interwhen.clients._chat_codec import Part, SupervisionInfo, info_of_all, supervision_info
from interwhen.clients._openai_streams import (
    AsyncBody,
    SupervisedAsyncStream,
    SupervisedStream,
    SyncBody,
    attach,
    streamed,
    whole_response,
    with_info,
)
from interwhen.clients._openai_wire import SdkError, SdkTransport, Send, raise_sdk_error, sync_sender
from interwhen.clients._supervision import Supervised, supervise
from interwhen.clients._upstream import ModelEndpoint

# Supervised calls over an SDK client, with the SDK's errors, for sync and async code.


@dataclass(frozen=True, slots=True)
class SdkCall:
    """One supervised call of an SDK client."""

    client: Any
    """The client of the SDK, without supervision."""
    call: ApiCall
    settings: Settings
    options: FinalRequestOptions
    """The caller's request in the form of the SDK: path, body, headers and retries."""
    endpoint: ModelEndpoint
    send: Send
    list_models: Callable[[], Awaitable[bytes]]
    """Returns the body of the answer to ``GET /models``."""

    async def begin(self) -> tuple[Supervised, httpx2.Response]:
        # Raises the exceptions of the SDK, `UsageError` for a call that cannot be supervised, and `PromptRefused`.
        transport = SdkTransport(
            self.options,
            self.send,
            self.list_models,
            is_cancellable=isinstance(self.client, AsyncOpenAI),
            retries=self.options.get_max_retries(self.client.max_retries),
        )
        try:
            origin = CallOrigin(trace_id=_trace_id(self.options))
            supervised = await supervise(self.call, self.settings, transport, self.endpoint, origin)
        except ModelError as error:
            raise_sdk_error(error, transport.response.request if transport.response is not None else None)
        if transport.response is not None:
            return supervised, transport.response
        # A stored answer, for which no request was sent.
        request = self.client._build_request(self.options)  # noqa: SLF001
        return supervised, httpx2.Response(200, request=request)

    async def whole(self) -> tuple[list[Part], httpx2.Response]:
        # If the connection breaks or times out within the body, repeat the call, as the SDK does without streaming.
        tries = self.options.get_max_retries(self.client.max_retries)
        for left in range(tries, -1, -1):
            supervised, response = await self.begin()
            parts: list[Part] = []
            try:
                while more := await supervised.parts():
                    parts += more
            except ModelError as error:
                if not (isinstance(error, SdkError) and error.in_body and left):
                    raise_sdk_error(error, response.request)
            else:
                return parts, response
            finally:
                await supervised.aclose()
            await anyio.sleep(self.client._calculate_retry_timeout(left, self.options))  # noqa: SLF001
        raise AssertionError

    def parsed_whole(
        self, parts: list[Part], head: httpx2.Response, cast_to: Any
    ) -> tuple[dict[str, Any], SupervisionInfo]:
        response, info = whole_response(head, self.call, parts, self.options), info_of_all(parts)
        options = with_info(self.options, info)
        cast_to = self.client._maybe_override_cast_to(cast_to, options)  # noqa: SLF001
        asked = {"cast_to": cast_to, "options": options, "response": response}
        return {**asked, "stream": False, "stream_cls": None}, info

    def parsed_stream(self, supervised: Supervised, head: httpx2.Response, body: Any, kind: Any) -> dict[str, Any]:
        response = streamed(head, supervised, body, self.options)
        return {"cast_to": kind, "options": self.options, "response": response, "stream": True, "stream_cls": kind}


def _trace_id(options: FinalRequestOptions) -> str:
    headers = options.headers
    for name, value in headers.items() if is_given(headers) and headers else ():
        if name.lower() == "traceparent" and isinstance(value, str):
            return trace_id_of(value)
    return ""


# Adds supervision info to the events of the SDK's stream helpers (``chat.completions.stream``, ``responses.stream``).

_FINAL = ("get_final_completion", "get_final_response")


def with_collected_info(manager: Any) -> Any:
    kind: Any = type(manager)
    mixin = _AsyncInfoManager if hasattr(kind, "__aenter__") else _InfoManager
    made: Any = object.__new__(_class(mixin, kind))
    made.__dict__.update(manager.__dict__)
    return made


class _InfoManager:
    def __enter__(self) -> Any:
        return _collecting(super().__enter__())  # type: ignore[misc]


class _AsyncInfoManager:
    async def __aenter__(self) -> Any:
        return _collecting(await super().__aenter__())  # type: ignore[misc]


def _collecting(stream: Any) -> Any:
    raw = stream._raw_stream  # noqa: SLF001
    if isinstance(raw, SupervisedStream | SupervisedAsyncStream):
        events: list[Event] = []
        raw.collected = events
        for name in _FINAL:
            method = getattr(stream, name, None)
            if method is not None:
                setattr(stream, name, _with_result(method, raw, events))
        state = stream._state  # noqa: SLF001
        if hasattr(state, "handle_event"):
            state.handle_event = _with_event_info(state.handle_event)
    return stream


def _with_event_info(handle: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    # Wrap `handle`, which converts an event of the server to SDK events, so that these get its supervision info.
    def handled(event: Any) -> list[Any]:
        info = supervision_info(event)
        return [attach(made, info) if info is not None else made for made in handle(event)]

    return handled


def _with_result(method: Callable[[], Any], raw: Any, events: list[Event]) -> Callable[[], Any]:
    def attached(made: Any) -> Any:
        result = raw.result
        call_id = "" if result is None else raw.call_id
        return attach(made, SupervisionInfo(events=tuple(events), result=result, call_id=call_id))

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def final() -> Any:
            return attached(await method())
    else:

        @functools.wraps(method)
        def final() -> Any:
            return attached(method())

    return final


_FIELD = "interwhen"
_KNOWN_MODELS = 256
_METHODS = ("create", "stream", "parse")


ModelEndpoints: TypeAlias = Callable[[str, str], ModelEndpoint]
"""Takes a base URL and a model."""


def wrapped(client: Any, settings: Settings, endpoints: ModelEndpoints | None = None) -> Any:
    # Return `None` for what is no client of the SDK. If `client` is already wrapped, `settings` replace its settings.
    bare = getattr(client, "_interwhen_bare", client)
    mixin = AsyncSupervising if isinstance(bare, AsyncOpenAI) else SyncSupervising if isinstance(bare, OpenAI) else None
    if mixin is None:
        return None
    kind: Any = type(bare)
    made: Any = object.__new__(_class(mixin, kind))
    ours = {"bare": bare, "settings": settings, "endpoints": endpoints or _endpoints()}
    made.__dict__.update(_state(bare), **{f"_interwhen_{name}": value for name, value in ours.items()})
    return made


def _endpoints() -> ModelEndpoints:
    def endpoint(url: str, model: str) -> ModelEndpoint:
        return ModelEndpoint(model=model, host=httpx2.URL(url).netloc.decode("ascii", "replace"))

    return functools.lru_cache(maxsize=_KNOWN_MODELS)(endpoint)


@functools.cache
def _class(mixin: Any, base: Any) -> type:
    return type(base.__name__, (mixin, base), {"__module__": base.__module__, "__doc__": base.__doc__})


def _state(client: Any) -> dict[str, Any]:
    # The cached resources are left out, because they refer to `client` itself.
    kept = {}
    for name, value in client.__dict__.items():
        kind = inspect.getattr_static(type(client), name, None)
        if not isinstance(kind, cached_property):
            kept[name] = value
    return kept


class _Supervising:
    """The common base class of the mixins for sync and async clients."""

    _interwhen_bare: Any
    _interwhen_settings: Settings
    _interwhen_endpoints: ModelEndpoints

    @cached_property
    def chat(self) -> Any:
        chat = super().chat  # type: ignore[misc]
        _accept(chat.completions)
        return chat

    @cached_property
    def completions(self) -> Any:
        return _accept(super().completions)  # type: ignore[misc]

    @cached_property
    def responses(self) -> Any:
        return _accept(super().responses)  # type: ignore[misc]

    @cached_property
    def beta(self) -> Any:
        beta = super().beta  # type: ignore[misc]
        # Not every version of the SDK has both.
        _accept(getattr(beta, "responses", None))
        _accept(getattr(getattr(beta, "chat", None), "completions", None))
        return beta

    def copy(self, **options: Any) -> Any:
        # The copy shares what was learned about models, unless another HTTP client may reach another server at the same
        # URL.
        known = None if options.get("http_client") is not None else self._interwhen_endpoints
        return wrapped(self._interwhen_bare.copy(**options), self._interwhen_settings, known)

    with_options = copy

    def _interwhen_endpoint(self, call: ApiCall) -> ModelEndpoint:
        return self._interwhen_endpoints(str(self._interwhen_bare.base_url), str(call.body.get("model")))

    def _interwhen_call(self, options: FinalRequestOptions) -> tuple[FinalRequestOptions, ApiCall | None, Settings]:
        # Raises `UsageError` for an invalid argument `interwhen`, or a call that cannot be supervised.
        extra = options.extra_json
        override: object = None
        if extra is not None and _FIELD in extra:
            options = options.model_copy()
            left = {name: value for name, value in extra.items() if name != _FIELD}
            override, options.extra_json = extra[_FIELD], left or None
        path = options.url.partition("?")[0].removeprefix(str(self._interwhen_bare.base_url))
        api = PATHS.get(path.strip("/")) if options.method.lower() == "post" else None
        if api is None:
            return options, None, self._interwhen_settings
        settings = self._interwhen_settings.changed(override)
        if not settings.is_active or is_off():
            return options, None, settings
        if not isinstance(options.json_data, dict):
            raise Unsupported(
                "the body of a supervised call must be a dict, got another one: give it as the argument body, or use "
                "the client that was not wrapped"
            )
        body = _merge_mappings(options.json_data, options.extra_json) if options.extra_json else options.json_data
        return options, read_call(api, cast("dict[str, Any]", body)), settings


class AsyncSupervising(_Supervising):
    async def request(
        self, cast_to: Any, options: FinalRequestOptions, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        options, call, settings = self._interwhen_call(options)
        bare: Any = self._interwhen_bare
        if call is None:
            return await bare.request(cast_to, options, stream=stream, stream_cls=stream_cls)

        async def send(changed: FinalRequestOptions) -> httpx2.Response:
            return cast("httpx2.Response", await bare.request(httpx2.Response, changed, stream=True))

        async def list_models() -> bytes:
            asked = FinalRequestOptions.construct(method="get", url="/models")
            return cast("bytes", (await bare.request(httpx2.Response, asked)).content)

        made = SdkCall(bare, call, settings, options, self._interwhen_endpoint(call), send, list_models)
        process = bare._process_response  # noqa: SLF001  the SDK's own parsing
        if not call.streams:
            whole, info = made.parsed_whole(*await made.whole(), cast_to)
            return attach(await process(**whole), info)
        supervised, head = await made.begin()
        body = AsyncBody(supervised, head.request)
        kind: Any = SupervisedAsyncStream
        return await process(**made.parsed_stream(supervised, head, body, kind[_chunk_type(stream_cls, cast_to)]))


class SyncSupervising(_Supervising):
    """Runs its calls on an event loop in a separate thread."""

    @cached_property
    def _interwhen_loop(self) -> LoopThread:
        return LoopThread.of(self._interwhen_bare)

    def request(
        self, cast_to: Any, options: FinalRequestOptions, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        options, call, settings = self._interwhen_call(options)
        bare: Any = self._interwhen_bare
        if call is None:
            return bare.request(cast_to, options, stream=stream, stream_cls=stream_cls)
        loop = self._interwhen_loop.running()
        send, list_models = sync_sender(bare, loop)
        made = SdkCall(bare, call, settings, options, self._interwhen_endpoint(call), send, list_models)
        process = bare._process_response  # noqa: SLF001  the SDK's own parsing
        if not call.streams:
            whole, info = made.parsed_whole(*loop.call(made.whole), cast_to)
            return attach(process(**whole), info)
        supervised, head = loop.call(made.begin)
        body = SyncBody(supervised, head.request, loop)
        kind: Any = SupervisedStream
        return process(**made.parsed_stream(supervised, head, body, kind[_chunk_type(stream_cls, cast_to)]))

    def close(self) -> None:
        self._interwhen_loop.close()
        self._interwhen_bare.close()


def _chunk_type(stream_cls: Any, cast_to: Any) -> Any:
    return extract_stream_chunk_type(stream_cls) if stream_cls else cast_to


def _accept(resource: Any) -> Any:
    # The methods move the argument `interwhen` into the extra body; the client's method `request` takes it out again.
    for name in _METHODS:
        method = getattr(resource, name, None)
        if method is not None:
            setattr(resource, name, _accepting(method))
    return resource


def _accepting(method: Callable[..., Any]) -> Callable[..., Any]:
    def moved(options: dict[str, Any]) -> dict[str, Any]:
        override = options.pop(_FIELD, None)
        if override is not None:
            options["extra_body"] = {**(options.get("extra_body") or {}), _FIELD: override}
        return options

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def call(*args: Any, **options: Any) -> Any:
            return await method(*args, **moved(options))
    else:

        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            made = method(*args, **moved(options))
            return with_collected_info(made) if method.__name__ == "stream" else made

    signature = inspect.signature(method)
    ours = inspect.Parameter(_FIELD, inspect.Parameter.KEYWORD_ONLY, default=None)
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), ours])  # type: ignore[attr-defined]
    return call
