"""The ASGI application: routes each request, answers it, and counts and logs how it ended."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from interwhen._types.errors import ModelError, UpstreamError
from interwhen._types.log import log_warning, logs_info
from interwhen._types.models import Timeouts
from interwhen._types.prompts import PromptRefused
from interwhen.clients._call_record import log_call, record_call
from interwhen.clients._calls import PATHS, Api
from interwhen.gateway._answers import answer
from interwhen.gateway._config import Config
from interwhen.gateway._exchange import ClientGone, Exchange
from interwhen.gateway._gateway import CONTENT_TYPE, Gateway
from interwhen.gateway._http_errors import HttpError, http_error_of, shutting_down, wrong_method
from interwhen.gateway._relay import Unsupervised, list_models, lists_model, relay
from interwhen.gateway._routes import DECISIONS, Mode, RouteMatch, route_of
from interwhen.gateway._upstream import UpstreamServer

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_UNCLEAN = re.compile(r"(^|/)\.{1,2}(/|$)|//|%2f|%2e|%5c|\\", re.IGNORECASE)
"""Matches paths that two servers may interpret differently, such as ``//`` or ``%2f``."""

Work = Callable[[], Awaitable[str]]
"""Answers a request, and returns the outcome for the metrics."""


class ApiApp:
    """An ASGI application that serves the requests below ``/v1``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._serve(exchange)
        finally:
            self._gateway.live.discard(exchange)
            self._gateway.bodies.release(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        api: Api | Literal["other"] = "other"
        try:
            self._gateway.admit(exchange)
            route = _found(exchange)
            if route.api is not None:
                api = route.api
                work = await self._call(exchange, route.api, route.path)
            else:
                work = await self._other(exchange, route)
            outcome = await self._do(exchange, work)
        except ClientGone:
            outcome = "left"
        except Exception as error:  # noqa: BLE001  the client gets an error, and the gateway continues
            outcome = await self._fail(exchange, error)
        self._note(exchange, api, outcome)

    async def _call(self, exchange: Exchange, api: Api, path: str) -> Work:
        gateway = self._gateway
        body = await gateway.bodies.read(exchange)
        key = gateway.keys.key_in(exchange.headers, exchange.admitted_by)
        fields = await gateway.bodies.fields(body)
        model: Any = fields.get("model")
        has_model = gateway.chooser.names_near_strategy(model) and await lists_model(gateway, exchange, model)
        choice = gateway.chooser.choose(fields, exchange.headers, key=key, api=api, has_model=has_model)
        exchange.model = choice.model
        upstream = gateway.upstream_for(choice.model)

        async def work() -> str:
            # Decided only here, because supervision may have been switched off while the call waited for its slot.
            off = gateway.off
            if choice.settings.is_active and not off:
                exchange.monitors, exchange.strategy = choice.names, choice.strategy
                return await answer(gateway, exchange, api, path, choice)
            exchange.monitors = "none"
            sent = msgspec.json.encode(choice.body) if choice.changed else body
            why: Unsupervised = "off" if off else "unmonitored"
            return await relay(gateway, exchange, upstream, path, sent, unsupervised=why)

        return work

    async def _other(self, exchange: Exchange, route: RouteMatch) -> Work:
        gateway, method = self._gateway, exchange.method
        if method not in _METHODS:
            raise wrong_method(method, ", ".join(_METHODS))
        decision = DECISIONS[route.kind][gateway.mode]
        if decision == "refuse":
            raise _refused(gateway.mode, method, route)
        path = route.path
        if method != "POST" and path == "models":
            return lambda: list_models(gateway, exchange)
        body = b""
        if method == "POST":
            body = await gateway.bodies.read(exchange)
        upstream = await self._upstream(path, body)
        unsupervised: Unsupervised | None = route.kind if decision == "pass unsupervised" else None  # type: ignore[assignment]
        return lambda: relay(gateway, exchange, upstream, path, body, unsupervised=unsupervised)

    async def _upstream(self, path: str, body: bytes) -> UpstreamServer:
        # Return the upstream for a request that is not a call to a model. This is the upstream of the model that `path`
        # or, with several upstreams, the JSON object `body` names; without such a name, the first upstream.
        gateway = self._gateway
        model: object = path.removeprefix("models/") if path.startswith("models/") else ""
        if len(gateway.upstreams) > 1 and body[:1] == b"{":
            model = (await gateway.bodies.fields(body)).get("model")
        return gateway.upstream_for(model) if isinstance(model, str) and model else gateway.upstreams[0]

    async def _do(self, exchange: Exchange, work: Work) -> str:
        """Wait for a slot, run *work* in it, and return the outcome.

        *work* is cancelled if the client disconnects or reads nothing, or at a shutdown. Unless the answer was
        complete, the outcome is then ``left``, ``slow`` or ``cut``.
        """
        gateway = self._gateway
        outcome = ""

        async def in_slot() -> None:
            nonlocal outcome
            async with gateway.slots.slot():
                outcome = await work()

        gateway.live.add(exchange)
        await exchange.during(in_slot)
        if not exchange.reason or exchange.ended:
            return outcome
        if exchange.reason == "cut":
            await exchange.fail(shutting_down())
        return exchange.reason

    async def _fail(self, exchange: Exchange, error: Exception) -> str:
        http_error = http_error_of(error)
        if isinstance(error, PromptRefused):
            exchange.refusal = error.result
        if http_error.status == 500 and not http_error.of_upstream:
            log_warning("gateway.failed", error=type(error).__name__, at=_place(error))
            outcome = "error"
        else:
            outcome = "failed" if http_error.of_upstream else "refused"
        if outcome == "refused":
            self._gateway.metrics.http_errors.labels(http_error.code).inc()
        await exchange.fail(http_error)
        return outcome

    def _note(self, exchange: Exchange, api: str, outcome: str) -> None:
        metrics = self._gateway.metrics
        seconds = time.monotonic() - exchange.began
        metrics.calls.labels(api, outcome).inc()
        metrics.whole.observe(seconds)
        audit = self._gateway.audit if api != "other" else None
        supervised = exchange.supervised
        has_journal = supervised is not None and supervised.ending.journal is not None
        if audit is None and not has_journal and not logs_info():
            return
        if supervised is None:
            record = record_call(
                exchange.origin,
                api=api,
                model=exchange.model,
                strategy=exchange.strategy,
                outcome=outcome,
                result=exchange.refusal,
            )
        else:
            record = supervised.ending.record(supervised.result, outcome)
            supervised.ending.keep(record)
        log_call(record, watching=exchange.monitors)
        if audit is not None:
            audit.write(record)


def _found(exchange: Exchange) -> RouteMatch:
    path = exchange.path
    if not path.startswith("/v1/") or _UNCLEAN.search(path):
        raise HttpError(
            404,
            "not_found",
            f"the path must begin with /v1/ and be in its plain form, got {path!r:.200}: correct the base URL",
        )
    return route_of(exchange.method, path.removeprefix("/v1/"), exchange.decoded_path.removeprefix("/v1/"))


_SUPERVISED = ", ".join(f"/v1/{path}" for path in PATHS)
"""The supervised routes, for error messages."""


def _refused(mode: Mode, method: str, route_match: RouteMatch) -> HttpError:
    route = f"{method} /v1/{route_match.path:.200}"
    if mode == "locked":
        return HttpError(
            403,
            "locked",
            f"a request to this locked gateway must go to a route that its monitors read, got {route}: use "
            f"{_SUPERVISED}",
        )
    what = {
        "stored": "answers with text that a model wrote earlier, and no monitor reads it",
        "generated": "answers with what a model writes, and no monitor reads it",
    }.get(route_match.kind, "is not known to this gateway, and may answer with text that no monitor reads")
    return HttpError(
        403, "unsupervised", f"{route} {what}: use {_SUPERVISED}, or start the gateway with --pass-unsupervised"
    )


def _place(error: BaseException) -> str:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "" if at is None else f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"


# Readiness: the gateway takes calls, and at least one upstream that gets calls answers.

_KEPT_SECONDS = 2.0
"""How long the result of a probe is reused, so that frequent probes do not load the upstreams."""
_PATIENCE = Timeouts(connect=2.0, first_token=2.0, inter_token=None, total=2.0)


class ReadinessProbe:
    """Asks the upstreams whether they answer, at most once in ``_KEPT_SECONDS``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asked = float("-inf")
        self._reached: dict[str, bool] = {}
        self._lock = anyio.Lock()

    async def state(self) -> tuple[int, bytes]:
        # The status is 200 if an upstream to which calls go answers (with a status below 500), and 503 if none does or
        # the gateway shuts down. The result of asking the upstreams is reused for two seconds.
        gateway = self._gateway
        if gateway.unready or gateway.closing:
            return 503, msgspec.json.encode({"status": "shutting down"})
        async with self._lock:
            if time.monotonic() - self._asked > _KEPT_SECONDS:
                await self._ask_all()
                self._asked = time.monotonic()
        ready = any(self._reached.values())
        states = {host: "reached" if reached else "not reached" for host, reached in self._reached.items()}
        status = "ready" if ready else "no upstream can be reached"
        return 200 if ready else 503, msgspec.json.encode({"status": status, "upstreams": states})

    async def _ask_all(self) -> None:
        async with anyio.create_task_group() as group:
            for upstream in filter(self._gateway.gets_calls, self._gateway.upstreams):
                group.start_soon(self._ask, upstream, name="probe")

    async def _ask(self, upstream: UpstreamServer) -> None:
        try:
            await upstream.ask(upstream.request("GET", "models", {"accept": "application/json"}), _PATIENCE)
            reached = True
        except UpstreamError as error:
            reached = error.status is not None and error.status < 500  # it answers, for example that it wants a key
        except ModelError:
            reached = False
        self._reached[upstream.host] = reached


# The whole application: the pages of the gateway itself, and the API.

_JSON = "application/json"


def make_app(config: Config | Gateway) -> ASGIApp:
    """Return an ASGI application for *config*, or for an existing gateway. It runs on asyncio servers such as uvicorn.

    Its ASGI lifespan enters and leaves the gateway. Raises :class:`~interwhen.UsageError` if the configuration is
    invalid.
    """
    gateway = config if isinstance(config, Gateway) else Gateway(config)
    router = _pages(gateway)
    paths = frozenset(route.path for route in router.routes if isinstance(route, Route))
    pages, serving = _open_to_browsers(router, gateway), _open_to_browsers(ApiApp(gateway), gateway)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Calls bypass the router and its middleware, which cost time for each call and each chunk.
        is_call = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in paths
        await (serving if is_call else pages)(scope, receive, send)

    trace_pages = gateway.pages
    if trace_pages is None:
        return app

    async def app_with_pages(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        await (trace_pages if path == "/ui" or path.startswith("/ui/") else app)(scope, receive, send)

    return app_with_pages


def _pages(gateway: Gateway) -> Starlette:
    probe = ReadinessProbe(gateway)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway:
            yield

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=_JSON)

    async def readyz(_: Request) -> Response:
        status, body = await probe.state()
        return Response(body, status, media_type=_JSON)

    async def metrics(_: Request) -> Response:
        return Response(gateway.metrics.text(), media_type=CONTENT_TYPE)

    async def refuse(request: Request, _: Exception) -> Response:
        http_error = wrong_method(request.method, "GET, HEAD")
        return Response(
            http_error.body, http_error.status, headers={k.decode(): v.decode() for k, v in http_error.headers}
        )

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={405: refuse})


def _open_to_browsers(app: ASGIApp, gateway: Gateway) -> ASGIApp:
    # Return `app`, wrapped so that its answers have CORS headers for the configured origins, if there are any.
    origins = gateway.config.origins
    if not origins:
        return app
    return CORSMiddleware(app, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
