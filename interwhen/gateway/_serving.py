"""What becomes of a request below ``/v1``: who answers it, and what is counted and logged of it."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from interwhen._log import log_info, log_warning
from interwhen._types.errors import ModelError, UpstreamError
from interwhen.clients._calls import PATHS, Api
from interwhen.gateway._answers import answer
from interwhen.gateway._config import Config
from interwhen.gateway._exchange import ClientGone, Exchange
from interwhen.gateway._gateway import CONTENT_TYPE, Gateway
from interwhen.gateway._http_errors import Problem, problem_of, shutting_down, wrong_method
from interwhen.gateway._relay import Unwatched, list_models, relay
from interwhen.gateway._routes import DECISIONS, Found, Mode, route_of
from interwhen.gateway._upstream import Upstream
from interwhen.models._transport import Timeouts

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_UNCLEAN = re.compile(r"(^|/)\.{1,2}(/|$)|//|%2f|%2e|%5c|\\", re.IGNORECASE)
"""Paths that two servers may understand differently."""

Work = Callable[[], Awaitable[str]]
"""Answers a request, and returns how that ended."""


class Serving:
    """Serves all requests below ``/v1``, as an ASGI application."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
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
            found = _found(exchange)
            if found.api is not None:
                api = found.api
                work = await self._call(exchange, found.api, found.path)
            else:
                work = await self._other(exchange, found)
            outcome = await self._do(exchange, work)
        except ClientGone:
            outcome = "left"
        except Exception as error:  # noqa: BLE001  whatever it is, the client is told, and the gateway goes on
            outcome = await self._fail(exchange, error)
        self._note(exchange, api, outcome)

    async def _call(self, exchange: Exchange, api: Api, path: str) -> Work:
        """Return what answers a call to a model."""
        gateway = self._gateway
        body = await gateway.bodies.read(exchange)
        choice = gateway.chooser.choose(await gateway.bodies.fields(body), exchange.headers)
        upstream = gateway.upstream_for(choice.model)

        async def work() -> str:
            # Decided only now: the kill switch may have been thrown while the call waited for its place.
            off = gateway.off
            if choice.settings.monitors and not off:
                exchange.monitors = choice.names
                return await answer(gateway, exchange, api, path, choice)
            exchange.monitors = "none"
            sent = msgspec.json.encode(choice.body) if choice.changed else body
            why: Unwatched = "off" if off else "unmonitored"
            return await relay(gateway, exchange, upstream, path, sent, unwatched=why)

        return work

    async def _other(self, exchange: Exchange, found: Found) -> Work:
        """Return what answers anything else. Raises :class:`Problem` where that may be text which no monitor reads."""
        gateway, method = self._gateway, exchange.method
        if method not in _METHODS:
            raise wrong_method(method, ", ".join(_METHODS))
        decision = DECISIONS[found.kind][gateway.mode]
        if decision == "refuse":
            raise _refused(gateway.mode, method, found)
        path = found.path
        if method != "POST" and path == "models":
            return lambda: list_models(gateway, exchange)
        body = b""
        if method == "POST":
            body = await gateway.bodies.read(exchange)
        upstream = await self._upstream(path, body)
        unwatched: Unwatched | None = found.kind if decision == "pass unwatched" else None  # type: ignore[assignment]
        return lambda: relay(gateway, exchange, upstream, path, body, unwatched=unwatched)

    async def _upstream(self, path: str, body: bytes) -> Upstream:
        """Return where a request goes that is no call to a model: by its model, if it names one, or to the first."""
        gateway = self._gateway
        model: object = path.removeprefix("models/") if path.startswith("models/") else ""
        if len(gateway.upstreams) > 1 and body[:1] == b"{":
            model = (await gateway.bodies.fields(body)).get("model")
        return gateway.upstream_for(model) if isinstance(model, str) and model else gateway.upstreams[0]

    async def _do(self, exchange: Exchange, work: Work) -> str:
        """Do *work* in a place of its own, as long as the client is there."""
        gateway = self._gateway
        outcome = ""

        async def placed() -> None:
            nonlocal outcome
            async with gateway.places.place():
                outcome = await work()

        gateway.live.add(exchange)
        await exchange.during(placed)
        if not exchange.reason or exchange.ended:
            return outcome
        if exchange.reason == "cut":
            await exchange.fail(shutting_down())
        return exchange.reason

    async def _fail(self, exchange: Exchange, error: Exception) -> str:
        """Tell the client of *error*, and return how that counts."""
        problem = problem_of(error)
        if problem.status == 500 and not problem.of_upstream:
            log_warning("gateway.failed", error=type(error).__name__, at=_place(error))
            outcome = "error"
        else:
            outcome = "failed" if problem.of_upstream else "refused"
        if outcome == "refused":
            self._gateway.meters.refusals.labels(problem.code).inc()
        await exchange.fail(problem)
        return outcome

    def _note(self, exchange: Exchange, api: str, outcome: str) -> None:
        meters = self._gateway.meters
        seconds = time.monotonic() - exchange.began
        meters.calls.labels(api, outcome).inc()
        meters.whole.observe(seconds)
        log_info("call.ended", api=api, monitors=exchange.monitors, outcome=outcome, seconds=round(seconds, 4))


def _found(exchange: Exchange) -> Found:
    """Return the route of the request. Raises :class:`Problem` on a path that is not ours, or not clear."""
    path = exchange.path
    if not path.startswith("/v1/") or _UNCLEAN.search(path):
        raise Problem(404, "not_found", f"there is nothing at {path!r:.200}; the API is below /v1")
    return route_of(exchange.method, path.removeprefix("/v1/"), exchange.decoded_path.removeprefix("/v1/"))


def _refused(mode: Mode, method: str, found: Found) -> Problem:
    """Return what a client is told whose request would be answered with text that no monitor reads."""
    route = f"{method} /v1/{found.path:.200}"
    if mode == "locked":
        return Problem(
            403, "locked", f"this gateway is locked and passes on nothing that its monitors do not see: {route}"
        )
    what = {
        "stored": "answers with text that a model wrote earlier, and no monitor reads it",
        "generated": "answers with what a model writes, and no monitor reads it",
    }.get(found.kind, "is not known to this gateway, and may answer with text that no monitor reads")
    supervised = ", ".join(f"/v1/{path}" for path in PATHS)
    return Problem(
        403, "unsupervised", f"{route} {what}; supervised are {supervised}; --pass-unsupervised passes everything on"
    )


def _place(error: BaseException) -> str:
    """Return where *error* was raised: the values of its variables may be anybody's, its line is ours."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "" if at is None else f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"


# Whether the gateway is ready: taking calls, with a server behind it that answers.

_KEPT_SECONDS = 2.0
"""How long an answer holds: a probe must not be a load on the upstreams."""
_PATIENCE = Timeouts(connect=2.0, first_token=2.0, inter_token=None, total=2.0)


class Prober:
    """Asks the upstreams, at most every other second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asked = float("-inf")
        self._reached: dict[str, bool] = {}
        self._lock = anyio.Lock()

    async def state(self) -> tuple[int, bytes]:
        """Return the status and the body of ``/readyz``."""
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
            for upstream in self._gateway.upstreams:
                group.start_soon(self._ask, upstream, name="probe")

    async def _ask(self, upstream: Upstream) -> None:
        try:
            await upstream.ask(upstream.request("GET", "models", {"accept": "application/json"}), _PATIENCE)
            reached = True
        except UpstreamError as error:
            reached = error.status is not None and error.status < 500  # it is there, and wants a key, for example
        except ModelError:
            reached = False
        self._reached[upstream.host] = reached


# What answers a request to a gateway: a page about it, or :class:`~interwhen.gateway._serving.Serving`.

_JSON = "application/json"


def make_app(config: Config | Gateway) -> ASGIApp:
    """Return the ASGI application for *config*, for servers on asyncio such as uvicorn.

    Raises :class:`~interwhen.UsageError` where it cannot work.
    """
    gateway = config if isinstance(config, Gateway) else Gateway(config)
    router = _pages(gateway)
    paths = frozenset(route.path for route in router.routes if isinstance(route, Route))
    pages, serving = _open_to_browsers(router, gateway), _open_to_browsers(Serving(gateway), gateway)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Calls go around the router and its middleware, which a call, and each chunk of it, would pay for.
        is_call = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in paths
        await (serving if is_call else pages)(scope, receive, send)

    return app


def _pages(gateway: Gateway) -> Starlette:
    """Return what tells of the gateway itself, and begins and ends it."""
    prober = Prober(gateway)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway:
            yield

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=_JSON)

    async def readyz(_: Request) -> Response:
        status, body = await prober.state()
        return Response(body, status, media_type=_JSON)

    async def metrics(_: Request) -> Response:
        return Response(gateway.meters.text(), media_type=CONTENT_TYPE)

    async def refuse(request: Request, _: Exception) -> Response:
        problem = wrong_method(request.method, "GET, HEAD")
        return Response(problem.body, problem.status, headers={k.decode(): v.decode() for k, v in problem.headers})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={405: refuse})


def _open_to_browsers(app: ASGIApp, gateway: Gateway) -> ASGIApp:
    """Return *app* as web pages of the configured origins may call it."""
    origins = gateway.config.origins
    if not origins:
        return app
    return CORSMiddleware(app, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
