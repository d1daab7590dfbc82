"""What answers a request to a gateway: a page about it, or :class:`~interwhen.gateway.serving.Serving`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from interwhen.gateway.config import Config
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.meters import CONTENT_TYPE
from interwhen.gateway.probing import Prober
from interwhen.gateway.problems import wrong_method
from interwhen.gateway.serving import Serving

_JSON = "application/json"


def make_app(config: Config | Gateway) -> ASGIApp:
    """Return the ASGI application for *config*, for servers on asyncio such as uvicorn.

    Raises :class:`~interwhen.errors.UsageError` where it cannot work.
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
