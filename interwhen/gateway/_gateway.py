"""The state that all requests of a gateway share: configuration, upstreams, slots, metrics and running calls."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import anyio
import anyio.abc
import anyio.to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp

from interwhen._engine.run import RunOptions, is_off, switch
from interwhen._engine.workers import hanging_threads
from interwhen._types.errors import UsageError
from interwhen._types.log import log_warning
from interwhen._types.models import Retries, Timeouts
from interwhen._types.monitors import Monitor
from interwhen._types.results import Result
from interwhen._types.triggers import Lines
from interwhen._types.verdicts import Judged
from interwhen._types.vetting import prepare
from interwhen.clients._audit import open_audit
from interwhen.clients._calls import Settings
from interwhen.gateway._config import SHORTEST_KEY, Config, GatewayLimits, UpstreamConfig, load_keys
from interwhen.gateway._exchange import Bodies, Exchange
from interwhen.gateway._http_errors import HttpError, head_too_large, overloaded, shutting_down, too_many
from interwhen.gateway._monitor_choice import MonitorChooser
from interwhen.gateway._routes import mode_of
from interwhen.gateway._upstream import UpstreamServer
from interwhen.journal._directory import JournalDirectory, open_journals
from interwhen.journal._settings import CallJournal, Journal
from interwhen.models._transport import Transport
from interwhen.registry import PAGES, load

# Limits the number of calls that run and wait at the same time.


class CallSlots:
    """Limits how many calls run at the same time. Other calls wait for a slot in a FIFO queue of limited length."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._free = anyio.Semaphore(limits.concurrent)
        self.waiting = 0

    @property
    def taken(self) -> int:
        return self._limits.concurrent - self._free.value

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        await self._take()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        if not self.waiting:
            try:
                self._free.acquire_nowait()
            except anyio.WouldBlock:
                pass
            else:
                return
        limits = self._limits
        if self.waiting >= limits.waiting:
            raise too_many(
                f"at most {limits.concurrent} calls may be served and {limits.waiting} wait at one time, got one "
                "more; try again later"
            )
        self.waiting += 1
        try:
            with anyio.move_on_after(limits.wait_seconds):
                await self._free.acquire()
                return
        finally:
            self.waiting -= 1
        raise overloaded(limits.wait_seconds)


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WHOLE = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    # Models and paths are not used as labels, because clients choose them.

    def __init__(self, slots: CallSlots) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_SlotsCollector(slots))
        self.calls = Counter(
            "interwhen_calls",
            "Calls by API and how they ended: answer verified, steps verified, unverified, abstained (a block), "
            "failed (the upstream), passed (not supervised), refused (by the gateway), left (by the client), slow (the "
            "client takes nothing), cut (at a shutdown), or error (of the gateway).",
            ("api", "outcome"),
            registry=registry,
        )
        self.http_errors = Counter(
            "interwhen_http_errors",
            "Requests that the gateway answered with an error of its own, by code.",
            ("code",),
            registry=registry,
        )
        self.unsupervised = Counter(
            "interwhen_unsupervised_answers",
            "Answers that no monitor has read to their end: unmonitored (a call without monitors), off (the kill "
            "switch), or the kind of their route: stored, generated, or unknown.",
            ("why",),
            registry=registry,
        )
        self.dropped = Gauge(
            "interwhen_audit_dropped", "Records of calls that the audit file could not take.", registry=registry
        )
        self.journals = Gauge(
            "interwhen_journals",
            "Journals of calls: kept, passed over (because of the setting keep), dropped (the disk did not take them), "
            "or deleted (because of max_bytes or max_days).",
            ("what",),
            registry=registry,
        )
        self.journal_bytes = Gauge("interwhen_journal_bytes", "The bytes of all journals.", registry=registry)
        self.off = Gauge("interwhen_supervision_off", "Whether supervision is switched off.", registry=registry)
        hanging = Gauge(
            "interwhen_hanging_threads",
            "Threads that run a check after its deadline and cannot be ended.",
            registry=registry,
        )
        hanging.set_function(hanging_threads)
        self.demoted = Gauge(
            "interwhen_monitor_demoted",
            "Monitors that only observe, because they refuted too much.",
            ("monitor",),
            registry=registry,
        )
        self.upstream_errors = Counter(
            "interwhen_upstream_errors", "Errors of upstreams, by code.", ("upstream", "code"), registry=registry
        )
        self.checks = Counter(
            "interwhen_checks", "Checks on returned text, by outcome.", ("monitor", "outcome"), registry=registry
        )
        self.violations = Counter("interwhen_violations", "Violations found.", ("monitor",), registry=registry)
        self.tokens = Counter("interwhen_tokens", "Generated tokens: kept or discarded.", ("kind",), registry=registry)
        self.first = Histogram(
            "interwhen_first_chunk_seconds", "From a request to its first chunk.", registry=registry, buckets=_FIRST
        )
        self.whole = Histogram(
            "interwhen_call_seconds", "From a request to the end of its answer.", registry=registry, buckets=_WHOLE
        )

    def ended(self, result: Result) -> None:
        for check in result.checks:
            outcome = check.outcome.verdict if isinstance(check.outcome, Judged) else check.outcome
            self.checks.labels(check.monitor, type(outcome).__name__.lower()).inc()
        for violation in result.violations:
            self.violations.labels(violation.monitor).inc()
        self.tokens.labels("kept").inc(result.ledger.kept)
        self.tokens.labels("discarded").inc(result.ledger.discarded)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _SlotsCollector:
    def __init__(self, slots: CallSlots) -> None:
        self._places = slots

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("interwhen_calls_served", "Calls that are being served.", self._places.taken)
        yield GaugeMetricFamily("interwhen_calls_waiting", "Calls that wait for their turn.", self._places.waiting)


class Gateway:
    """The state of one gateway. Enter it with ``async with`` before it serves calls.

    *transport* sends the requests to the upstreams, and is closed with the gateway; with ``None``, it is the one that
    *config* names. Raises :class:`UsageError` on an invalid configuration.
    """

    def __init__(self, config: Config, *, transport: Transport | None = None) -> None:
        if not config.upstreams:
            raise UsageError(
                "the gateway must have at least one upstream, got none: give one, such as --upstream "
                "http://localhost:8000/v1"
            )
        if config.locked and config.pass_unsupervised:
            raise UsageError(
                "locked and pass_unsupervised must not be used together, because a locked gateway refuses "
                "everything that no monitor reads: remove one of them"
            )
        self.config = config
        self.mode = mode_of(locked=config.locked, passing=config.pass_unsupervised)
        self.chooser = MonitorChooser(config)
        self.keys = load_keys(config)
        self.bodies = Bodies(config.limits)
        self.slots = CallSlots(config.limits)
        self.metrics = Metrics(self.slots)
        self.pages = self._pages(config)
        """The application below ``/ui``; ``None`` if it is off."""
        self.audit = open_audit(config.audit)
        if self.audit is not None:
            audit = self.audit
            self.metrics.dropped.set_function(lambda: audit.dropped)
        self.journals = open_journals(config.journal)
        if self.journals is not None:
            self._count_journals(self.journals)
        self.transport = transport or _transport(config.transport)
        patience = config.patience
        self.timeouts = Timeouts(patience.connect, patience.first_token, patience.inter_token)
        self.upstreams = tuple(_upstream(entry, self.transport, self.timeouts) for entry in config.upstreams)
        self._off = config.off
        self.metrics.off.set(self.off)
        if self.chooser.demotion is not None:
            self.chooser.demotion.on_change = lambda name, demoted: self.metrics.demoted.labels(name).set(demoted)
        self.live: set[Exchange] = set()
        """The calls that hold a slot or wait for one."""
        self.unready = False
        """Whether ``/readyz`` reports that the gateway is not ready, so that load balancers send no more calls."""
        self.closing = False
        """Whether new calls are refused."""
        self._stack = AsyncExitStack()

    def _pages(self, config: Config) -> ASGIApp | None:
        settings = config.ui
        if not settings.enabled and not settings.journals:
            if settings.key:
                raise UsageError(
                    "ui.key must guard a page, got a page that is off: add enabled = true, or remove the key"
                )
            return None
        folders = settings.journals
        if not folders:
            if not config.journal.path:
                raise UsageError(
                    "ui.enabled must have journals to show, got neither [journal] nor ui.journals: add [journal] with "
                    "a path, or name folders in ui.journals"
                )
            # The directory is made with the first journal, which may be later than the first look at the page.
            Path(config.journal.path).mkdir(mode=0o700, parents=True, exist_ok=True)
            folders = (config.journal.path,)
        if settings.key and len(settings.key) < SHORTEST_KEY:
            raise UsageError(
                f"ui.key must have at least {SHORTEST_KEY} characters, got {len(settings.key)}: write a longer one"
            )
        if settings.key and self.keys.holds(settings.key):
            raise UsageError(
                "ui.key must not be a key of clients, because the page shows the calls of all of them, got one of the "
                "keys: choose another"
            )
        make = load(PAGES, "ui")
        app: ASGIApp = make(folders, settings.key, lambda: self.closing or self.unready)
        return app

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self.audit is not None:
                stack.push_async_callback(anyio.to_thread.run_sync, self.audit.close)
            if self.journals is not None:
                stack.push_async_callback(anyio.to_thread.run_sync, self.journals.close)
            stack.push_async_callback(self.transport.aclose)
            stack.push_async_callback(self.chooser.workers.aclose)
            stack.push_async_callback(anyio.to_thread.run_sync, self.chooser.close)
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            group.start_soon(self._end_stalled, name="stalled calls")
            prepare(Monitor, Lines, Settings, RunOptions, Journal, CallJournal, Retries)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def _count_journals(self, journals: JournalDirectory) -> None:
        gauge = self.metrics.journals
        gauge.labels("kept").set_function(lambda: journals.kept)
        gauge.labels("passed over").set_function(lambda: journals.passed_over)
        gauge.labels("dropped").set_function(lambda: journals.dropped)
        gauge.labels("deleted").set_function(lambda: journals.deleted)
        self.metrics.journal_bytes.set_function(lambda: journals.bytes)

    def admit(self, exchange: Exchange) -> None:
        """Check the size of the head, the origin and the key of a request, and note which header had the key.

        Raises :class:`HttpError` if the gateway must not serve the request, or shuts down.
        """
        if self.closing:
            raise shutting_down()
        limit = self.config.limits.head_bytes
        if exchange.head_size > limit:
            raise head_too_large(limit)
        origin = exchange.headers.get("origin")
        if origin is not None and not {origin, "*"} & set(self.config.origins):
            raise HttpError(
                403,
                "origin_not_allowed",
                f"the origin must be one that this gateway allows, got {origin!r:.200}: add it to the setting origins",
            )
        exchange.admitted_by = self.keys.admit(exchange.headers)

    def upstream_for(self, model: str) -> UpstreamServer:
        server = self._route(model)
        if server is not None:
            return server
        patterns = ", ".join(pattern for upstream in self.upstreams for pattern in upstream.patterns)
        raise HttpError(
            404,
            "model_not_found",
            f"model must match a pattern of an upstream ({patterns}), got {model!r:.200}: correct the name, "
            "or add an upstream",
            param="model",
        )

    def serves(self, upstream: UpstreamServer, model: str) -> bool:
        return self._route(model) is upstream

    def gets_calls(self, upstream: UpstreamServer) -> bool:
        """Return whether calls to any model go to *upstream*: no earlier upstream has all of its patterns."""
        return any(self.serves(upstream, pattern) for pattern in upstream.patterns)

    def _route(self, name: str) -> UpstreamServer | None:
        return next(
            (each for each in self.upstreams if any(name == p or fnmatchcase(name, p) for p in each.patterns)), None
        )

    @property
    def off(self) -> bool:
        """Whether supervision is turned off, for this gateway or for the whole process."""
        return self._off or is_off()

    def switch(self, *, off: bool) -> None:
        """Turn supervision off (true) or on (false), for this gateway and its process, and log it.

        If it is turned off, running calls stop checking, release the text that their gates hold, and stay unchecked to
        their end. If it is turned on, only calls that do not run yet are affected, and demoted monitors are restored.
        """
        if not off and self.chooser.demotion is not None:
            self.chooser.demotion.restore()
        self._off = off
        calls = switch(off)
        self.metrics.off.set(off)
        log_warning("gateway.switched", off=off, calls_in_flight=calls)

    def close(self) -> None:
        """Refuse new calls, and calls whose body has not arrived completely. Other running calls continue."""
        self.closing = True
        self.bodies.end()

    def cut(self) -> None:
        """Cancel all calls that run or wait for a slot. Their clients get an error, if that is still possible."""
        for exchange in tuple(self.live):
            exchange.leave("cut")

    async def _end_stalled(self) -> None:
        takes, silent = self.config.limits.write_seconds, self.timeouts.inter_token
        while True:
            await anyio.sleep(min(1.0, takes / 4, (silent or takes) / 4))
            now = time.monotonic()
            for exchange in tuple(self.live):
                if exchange.blocked_since is not None and exchange.blocked_since < now - takes:
                    exchange.leave("slow")
                since, stall = exchange.silent_since, exchange.stall
                if silent is not None and since is not None and stall is not None and since < now - silent:
                    stall()


def _upstream(entry: UpstreamConfig | str, transport: Transport, timeouts: Timeouts) -> UpstreamServer:
    config = entry if isinstance(entry, UpstreamConfig) else parse_upstream(entry)
    shown = config.url.rpartition("@")[2].partition("?")[0]  # a user name, a password or a query may be secret
    try:
        parts = urlsplit(config.url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(
            f"an upstream must be an http:// or https:// URL, got {shown!r:.200}: write it as http://host:port/v1"
        )
    user, at, place = parts.netloc.rpartition("@")
    if config.key_env and not os.environ.get(config.key_env):
        raise UsageError(
            f"the environment variable {config.key_env!r} must hold the key of the upstream {shown!r:.200}, "
            "and is not set: set it, or correct key_env"
        )
    if config.key_env and at:
        raise UsageError(
            f"an upstream must have a key (key_env) or a user in its URL, got both for {shown!r:.200}: "
            "remove one of them"
        )
    authorization = f"Bearer {os.environ[config.key_env]}" if config.key_env else _basic(user) if at else ""
    return UpstreamServer(parts._replace(netloc=place).geturl(), config.models, authorization, transport, timeouts)


def _basic(user: str) -> str:
    # Return the value of the `Authorization` header for `user`, the part `NAME:PASSWORD` of a URL (RFC 7617).
    name, _, password = user.partition(":")
    return "Basic " + b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()


def parse_upstream(text: str) -> UpstreamConfig:
    # The URL is not checked.
    patterns, equals, url = text.partition("=")
    if not equals or "://" in patterns:
        return UpstreamConfig(url=text)
    return UpstreamConfig(url=url, models=tuple(patterns.split(",")))


def _transport(name: str) -> Transport:
    if name == "fast" or (name == "auto" and find_spec("httptools") is not None):
        from interwhen.models._fast_transport import FastTransport

        return FastTransport()
    from interwhen.models._httpx2_transport import Httpx2Transport

    return Httpx2Transport()
