"""Serves the page on this machine alone, below a path that begins with a secret word."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable, Sequence

import anyio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from interwhen.view._app import PageServer, loopback_only, not_found
from interwhen.view._runs import RunFolder

_END_SECONDS = 2
"""How long live answers may take to end after Ctrl-C."""


def local_app(
    folder: RunFolder, word: str, given: Sequence[str] = (), closing: Callable[[], bool] = lambda: False
) -> ASGIApp:
    """Return the application that serves the page only below ``/WORD/``; other paths have status 404.

    *word* is secret. Requests must also pass :func:`loopback_only`. *given* are the monitors that the user named.
    *closing* returns true when the server is stopping.
    """
    pages = PageServer(folder, loopback_only, verify=True, any_monitor=True, given=given, closing=closing).app()
    wanted = f"/{word}/".encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(path[: len(wanted)], wanted):
            await not_found()(scope, receive, send)
            return
        await pages({**scope, "path": scope["path"][len(word) + 1 :], "root_path": ""}, receive, send)

    return app


async def serve_pages(
    folder: RunFolder, listener: socket.socket, word: str, ready: Callable[[], None], given: Sequence[str] = ()
) -> None:
    """Serve the runs in *folder* on *listener* below ``/WORD/`` until a signal (Ctrl-C) ends it.

    *ready* is called when the server accepts connections.
    """
    server: uvicorn.Server
    app = local_app(folder, word, given, closing=lambda: server.should_exit)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="critical",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_END_SECONDS,
        )
    )
    async with anyio.create_task_group() as group:

        async def announce() -> None:
            while not server.started:  # noqa: ASYNC110  uvicorn sets a plain attribute
                await anyio.sleep(0.01)
            ready()

        group.start_soon(announce, name="ready")
        await server.serve([listener])
        group.cancel_scope.cancel()
