"""What becomes of a request below ``/v1``: who answers it, and what is counted and logged of it."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from starlette.types import Receive, Scope, Send

from interwhen._log import log_info, log_warning
from interwhen.gateway.answering import answer
from interwhen.gateway.bodies import ClientGone
from interwhen.gateway.exchanging import Exchange
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.listing import list_models
from interwhen.gateway.problems import Problem, problem_of, shutting_down, wrong_method
from interwhen.gateway.relaying import Unwatched, relay
from interwhen.gateway.routes import DECISIONS, Found, Mode, route_of
from interwhen.gateway.wire import Upstream
from interwhen.wrapping.calls import PATHS, Api

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
        monitors = ""
        try:
            self._gateway.admit(exchange)
            found = _found(exchange)
            if found.api is not None:
                api = found.api
                monitors, work = await self._call(exchange, found.api, found.path)
            else:
                work = await self._other(exchange, found)
            outcome = await self._do(exchange, work)
        except ClientGone:
            outcome = "left"
        except Exception as error:  # noqa: BLE001  whatever it is, the client is told, and the gateway goes on
            outcome = await self._fail(exchange, error)
        self._note(exchange, api, monitors, outcome)

    async def _call(self, exchange: Exchange, api: Api, path: str) -> tuple[str, Work]:
        """Return who watches a call to a model, and what answers it."""
        gateway = self._gateway
        body = await gateway.bodies.read(exchange)
        choice = gateway.chooser.choose(await gateway.bodies.fields(body), exchange.headers)
        off = gateway.off
        if choice.settings.monitors and not off:
            return choice.names, lambda: answer(gateway, exchange, api, path, choice)
        upstream = gateway.upstream_for(choice.model)
        sent = msgspec.json.encode(choice.body) if choice.changed else body
        why: Unwatched = "off" if off else "unmonitored"
        return "none", lambda: relay(gateway, exchange, upstream, path, sent, unwatched=why)

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

    def _note(self, exchange: Exchange, api: str, monitors: str, outcome: str) -> None:
        meters = self._gateway.meters
        seconds = time.monotonic() - exchange.began
        meters.calls.labels(api, outcome).inc()
        meters.whole.observe(seconds)
        log_info("call.ended", api=api, monitors=monitors, outcome=outcome, seconds=round(seconds, 4))


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
