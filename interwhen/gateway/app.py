"""The routes of a gateway, as a Starlette application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interwhen.gateway.config import Config
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.meters import CONTENT_TYPE
from interwhen.gateway.probing import Prober
from interwhen.gateway.serving import Serving

_JSON = "application/json"


def make_app(config: Config | Gateway) -> Starlette:
    """Return the ASGI application for *config*. Raises :class:`~interwhen.errors.UsageError` where it cannot work."""
    gateway = config if isinstance(config, Gateway) else Gateway(config)
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

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/{path:path}", Serving(gateway)),
    ]
    origins = gateway.config.origins
    cors = Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    return Starlette(routes=routes, lifespan=lifespan, middleware=[cors] if origins else [])
