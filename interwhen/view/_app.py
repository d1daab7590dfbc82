"""Serves the page, the list of runs and their timelines as an ASGI application."""

from __future__ import annotations

import hmac
import ipaddress
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from interwhen._run.consent import Chosen, monitors_given, monitors_named, monitors_of
from interwhen._types.errors import DECODE_ERRORS, InterwhenError, UsageError
from interwhen.journal._compact_form import to_json
from interwhen.journal._timeline import PartMark
from interwhen.registry import VERIFIERS, names_of
from interwhen.view._page import policy, render_page
from interwhen.view._recheck import recheck_form
from interwhen.view._runs import GrowingRun, RunFolder, state_of
from interwhen.view._verify import verify_claim

Guard: TypeAlias = Callable[[Request], Response | None]
"""Returns the answer that refuses a request; ``None`` if it may be served."""

S = TypeVar("S", bound=msgspec.Struct)
_JSON = "application/json"
_PAGE_ROWS = 200
_MOST_LIVE = 64
_LOOK_SECONDS = 0.2
"""Between two readings for one follower of a journal."""
_KEEP_ALIVE_SECONDS = 15.0
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class _Followed(StreamingResponse):
    media_type = "text/event-stream"

    def __init__(self, server: PageServer, parts: AsyncIterator[bytes]) -> None:
        super().__init__(parts, headers={**_HEADERS, "x-accel-buffering": "no"})
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The count is not left to the generator, which begins after the head was sent: requests that arrive together
        # would all pass the limit before.
        self._server.live += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._server.live -= 1


class PageServer:
    """Serves the page that shows the runs in *folder*."""

    def __init__(
        self,
        folder: RunFolder,
        guard: Guard,
        *,
        verify: bool = False,
        any_monitor: bool = False,
        given: Sequence[str] = (),
        closing: Callable[[], bool] = lambda: False,
    ) -> None:
        # A monitor for checking a run again must be one that a journal in `folder` records, or any installed one with
        # `any_monitor`. It must be `safe_from_data`, unless the user who started the server named it (`given`).
        self._folder = folder
        self._guard = guard
        self._verify = verify
        self._closing = closing
        self.live = 0
        self._any_monitor = any_monitor
        self._given = frozenset(given)
        self._rechecking = CapacityLimiter(1)
        config: dict[str, object] = {"mode": "served", "verify": verify}
        if any_monitor:
            config["monitors"] = names_of(VERIFIERS)
        self._page = render_page({}, config=config).encode()

    def app(self) -> ASGIApp:
        # Its paths are relative to the path where it is mounted.
        routes = [
            Route("/", self._show),
            Route("/runs", self._list),
            Route("/runs/{name}/timeline", self._timeline),
            Route("/runs/{name}/live", self._follow),
        ]
        if self._verify:
            routes.append(Route("/runs/{name}/verify", self._check, methods=["POST"]))
            routes.append(Route("/runs/{name}/recheck", self._recheck, methods=["POST"]))
        inner = Starlette(routes=routes)
        guard = self._guard

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            refused = guard(Request(scope))
            await (inner if refused is None else refused)(scope, receive, send)

        return app

    async def _show(self, _: Request) -> Response:
        csp = f"{policy(connect=True)}; frame-ancestors 'none'"
        return Response(self._page, media_type="text/html", headers={**_HEADERS, "content-security-policy": csp})

    async def _list(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        limit = request.query_params.get("limit", str(_PAGE_ROWS))
        if not re.fullmatch(r"[1-9]\d{0,3}", limit):
            return _error(400, f"limit must be a number from 1 to 9999, got {limit!r:.80}: correct it")
        body = await anyio.to_thread.run_sync(self._rows, after, int(limit))
        return Response(body, media_type=_JSON, headers=_HEADERS)

    def _rows(self, after: str, limit: int) -> bytes:
        paths = self._folder.paths()
        begin = next((at + 1 for at, path in enumerate(paths) if self._folder.row(path).id == after), 0) if after else 0
        rows = [self._folder.row(path) for path in paths[begin : begin + limit]]
        page: dict[str, object] = {"runs": rows}
        if begin + limit < len(paths):
            page["next"] = rows[-1].id
        return to_json(page)

    async def _timeline(self, request: Request) -> Response:
        path = self._path(request)
        if path is None:
            return _no_run()
        begin = request.query_params.get("from", "0")
        if not re.fullmatch(r"\d{1,15}", begin):
            return _error(400, f"from must be a record offset, got {begin!r:.80}: use the offset of the last part")
        try:
            state = await anyio.to_thread.run_sync(state_of, path)
            etag = f'"{state.size:x}-{state.changed:x}-{begin}"'
            headers = {**_HEADERS, "etag": etag, "cache-control": "private, no-cache"}
            if request.headers.get("if-none-match") == etag:
                return Response(status_code=304, headers=headers)
            body = await anyio.to_thread.run_sync(_part_from, self._folder.growing(path), int(begin))
        except (InterwhenError, OSError) as error:
            return _error(404, str(error))
        if body is None:
            return _error(416, f"from must be the end of a record, got {begin}: use the offset of the last part")
        return Response(body, media_type=_JSON, headers=headers)

    async def _follow(self, request: Request) -> Response:
        path = self._path(request)
        if path is None:
            return _no_run()
        given = request.headers.get("last-event-id") or request.query_params.get("from", "0")
        begin = int(given) if re.fullmatch(r"\d{1,15}", given) else 0
        if self.live >= _MOST_LIVE:
            return _error(503, f"at most {_MOST_LIVE} runs may be followed at one time: close another page")
        return _Followed(self, self._parts(path, begin))

    async def _parts(self, path: Path, begin: int) -> AsyncIterator[bytes]:
        # The id of a `part` event is the record offset after its part. If no record ends at `begin`, the whole run is
        # sent. The event `over` comes at the end of the run, or with an error.
        growing = self._folder.growing(path)
        mark: PartMark | None = None
        quiet = 0.0
        yield b"retry: 500\n\n"
        while not self._closing():
            try:
                if mark is None:
                    # If the file is another one than the page knows, the page gets all of it.
                    mark = await anyio.to_thread.run_sync(growing.mark, begin) or PartMark()
                part = await anyio.to_thread.run_sync(growing.part, mark)
            except (InterwhenError, OSError) as error:
                yield b"event: over\ndata: %b\n\n" % msgspec.json.encode(str(error))
                return
            if part is not None:
                quiet = 0.0
                yield b"id: %d\nevent: part\ndata: %b\n\n" % (mark.offset, part)
            elif growing.is_over(mark):
                yield b"event: over\ndata: {}\n\n"
                return
            elif quiet >= _KEEP_ALIVE_SECONDS:
                quiet = 0.0
                yield b": nothing new\n\n"
            await anyio.sleep(_LOOK_SECONDS)
            quiet += _LOOK_SECONDS

    async def _check(self, request: Request) -> Response:
        return await self._command(
            request, _Asked, '{"check": INDEX}', lambda path, asked: to_json(anyio.run(verify_claim, path, asked.check))
        )

    async def _recheck(self, request: Request) -> Response:
        return await self._command(
            request,
            _AskedMonitor,
            '{"monitor": NAME}',
            lambda path, asked: anyio.run(recheck_form, path, self._chosen(asked.monitor), asked.monitor),
        )

    async def _command(self, request: Request, kind: type[S], form: str, work: Callable[[Path, S], bytes]) -> Response:
        # A page of another origin cannot send this header without asking first, and is never allowed to.
        if request.headers.get("x-interwhen") != "page":
            return _error(403, "only the page itself may ask to verify, got a request without X-Interwhen: page")
        path = self._path(request)
        if path is None:
            return _no_run()
        try:
            asked = msgspec.json.decode(await request.body(), type=kind)
        except DECODE_ERRORS as error:
            return _error(400, f"the body must be {form}, got something else ({error}): correct it")
        try:
            # A long text keeps a loop busy for seconds, so this does not run on the loop of the server.
            body = await anyio.to_thread.run_sync(work, path, asked, limiter=self._rechecking)
        except (InterwhenError, OSError) as error:
            return _error(422, str(error))
        return Response(body, media_type=_JSON, headers=_HEADERS)

    def _chosen(self, monitor: str) -> Chosen:
        if monitor in self._given:
            return monitors_given(monitor)
        record = self._folder.monitor(monitor)
        if record is not None:
            chosen = monitors_of([record])
            for why in chosen.left_out.values():
                raise UsageError(why)
            return chosen
        if self._any_monitor:
            return monitors_named(monitor)
        raise UsageError(
            f"the monitor must be one that a journal of this page names, got {monitor!r:.200}: choose another one, or "
            "use interwhen view --recheck where the journal is"
        )

    def _path(self, request: Request) -> Path | None:
        return self._folder.path(request.path_params["name"])


class _Asked(msgspec.Struct):
    check: int


class _AskedMonitor(msgspec.Struct):
    monitor: str


def _part_from(growing: GrowingRun, begin: int) -> bytes | None:
    mark = growing.mark(begin)
    if mark is None:
        return None
    return growing.part(mark) or msgspec.json.encode({"from": begin, "offset": begin})


def _error(status: int, message: str) -> Response:
    body = to_json({"error": {"message": message}})
    return Response(body, status, media_type=_JSON, headers=_HEADERS)


def not_found() -> Response:
    return _error(404, "the path must be that of the page, got another: use the address that was printed")


def _no_run() -> Response:
    return _error(404, "the id must be that of a run in the list, got another: load the list again")


def loopback_only(request: Request) -> Response | None:
    # The host name is checked against DNS rebinding: a web page can let its own name point to this machine.
    peer = request.client.host if request.client is not None else ""
    if not _is_loopback(peer):
        return _error(403, "the page is for this machine alone, got a request from elsewhere: set a key for it")
    try:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:  # an unfinished IPv6 address
        name = ""
    if name != "localhost" and not _is_loopback(name):
        return _error(403, "the page must be asked for by a name of this machine, got another: use 127.0.0.1")
    return None


def with_key(key: str) -> Guard:
    # The key may be the password that a browser asks for, or a bearer token.
    wanted = key.encode()

    def guard(request: Request) -> Response | None:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        given = value.strip().encode()
        if kind.lower() == "basic":
            try:
                given = b64decode(given, validate=True).partition(b":")[2]
            except ValueError:
                given = b""
        elif kind.lower() != "bearer":
            given = b""
        if given and hmac.compare_digest(given, wanted):
            return None
        refused = _error(401, "the page has a key of its own, and the request has none that is right: send it")
        refused.headers["www-authenticate"] = 'Basic realm="interwhen view", charset="UTF-8"'
        return refused

    return guard


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def gateway_pages(places: Sequence[str], key: str, closing: Callable[[], bool]) -> ASGIApp:
    """Return the application that a gateway serves below ``/ui``, for the journals at *places*.

    With *key*, each request for a page must contain it; without, requests must be those that :func:`loopback_only`
    allows. *closing* returns true when the gateway is stopping. Raises :class:`~interwhen.UsageError` if a place does
    not exist.
    """
    guard = with_key(key) if key else loopback_only
    pages = PageServer(RunFolder(places), guard, verify=True, closing=closing).app()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        inside = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/ui")
        if not inside:
            await RedirectResponse("ui/")(scope, receive, send)
            return
        await pages({**scope, "path": inside, "root_path": ""}, receive, send)

    return app
