"""The gateway: what all its requests share, from its configuration to the calls that are being served."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Self
from urllib.parse import unquote, urlsplit

import anyio
import anyio.abc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from interwhen._engine.run import is_off, switch
from interwhen._log import log_warning
from interwhen._types.errors import UsageError
from interwhen._types.results import Result
from interwhen._types.verdicts import Judged
from interwhen.gateway._config import Config, GatewayLimits, UpstreamConfig, load_keys
from interwhen.gateway._exchange import Bodies, Exchange
from interwhen.gateway._http_errors import HttpError, head_too_large, overloaded, shutting_down, too_many
from interwhen.gateway._monitor_choice import MonitorChooser
from interwhen.gateway._routes import mode_of
from interwhen.gateway._upstream import UpstreamServer
from interwhen.models._transport import Timeouts, Transport

# How many calls are served at once, and how many may wait for it.


class CallSlots:
    """A bounded number of places, and a bounded queue before them, served in order."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._free = anyio.Semaphore(limits.concurrent)
        self.waiting = 0
        """How many calls wait for a place."""

    @property
    def taken(self) -> int:
        """How many calls are being served."""
        return self._limits.concurrent - self._free.value

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises :class:`HttpError` where the queue is full, or the wait too long."""
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
            raise too_many(f"{limits.concurrent} calls are being served and {limits.waiting} wait already")
        self.waiting += 1
        try:
            with anyio.move_on_after(limits.wait_seconds):
                await self._free.acquire()
                return
        finally:
            self.waiting -= 1
        raise overloaded(limits.wait_seconds)


# What the gateway counts, for Prometheus.

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WHOLE = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """The metrics of one gateway, in a registry of their own.

    No label is a client's to choose: neither models nor paths are labels.
    """

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
            "interwhen_http_errors", "Requests that were refused, by code.", ("code",), registry=registry
        )
        self.unsupervised = Counter(
            "interwhen_unsupervised_answers",
            "Answers that no monitor has read: unmonitored (a call without monitors), off (the kill switch), or the "
            "kind of their route: stored (written earlier), generated, or unknown.",
            ("why",),
            registry=registry,
        )
        self.off = Gauge(
            "interwhen_supervision_off", "Whether the kill switch passes every call unsupervised.", registry=registry
        )
        self.demoted = Gauge(
            "interwhen_monitor_demoted",
            "Monitors that only observe, since they refuted too much.",
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
        """Count what *result* says."""
        for check in result.checks:
            outcome = check.outcome.verdict if isinstance(check.outcome, Judged) else check.outcome
            self.checks.labels(check.monitor, type(outcome).__name__.lower()).inc()
        for violation in result.violations:
            self.violations.labels(violation.monitor).inc()
        self.tokens.labels("kept").inc(result.ledger.kept)
        self.tokens.labels("discarded").inc(result.ledger.discarded)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _SlotsCollector:
    def __init__(self, slots: CallSlots) -> None:
        self._places = slots

    def collect(self) -> Iterator[Metric]:
        """Say how many calls are served and wait now."""
        yield GaugeMetricFamily("interwhen_calls_served", "Calls that are being served.", self._places.taken)
        yield GaugeMetricFamily("interwhen_calls_waiting", "Calls that wait for their turn.", self._places.waiting)


class Gateway:
    """Serves calls while it is entered. Raises :class:`UsageError` on a configuration that cannot work."""

    def __init__(self, config: Config) -> None:
        if not config.upstreams:
            raise UsageError("a gateway needs a server behind it: --upstream http://localhost:8000/v1")
        if config.locked and config.pass_unsupervised:
            raise UsageError(
                "locked and pass_unsupervised exclude each other: a locked gateway passes on nothing that is not seen"
            )
        self.config = config
        self.mode = mode_of(locked=config.locked, passing=config.pass_unsupervised)
        self.chooser = MonitorChooser(config)
        self.keys = load_keys(config)
        self.bodies = Bodies(config.limits)
        self.slots = CallSlots(config.limits)
        self.metrics = Metrics(self.slots)
        self.transport = _transport(config.transport)
        patience = config.patience
        self.timeouts = Timeouts(patience.connect, patience.first_token, patience.inter_token)
        self.upstreams = tuple(_upstream(entry, self.transport, self.timeouts) for entry in config.upstreams)
        self._off = config.off
        self.metrics.off.set(self.off)
        if self.chooser.demotion is not None:
            self.chooser.demotion.on_change = lambda name, demoted: self.metrics.demoted.labels(name).set(demoted)
        self.live: set[Exchange] = set()
        """The calls that are being served, or wait for it."""
        self.unready = False
        """Whether no more calls should be sent here."""
        self.closing = False
        """Whether no more calls are taken."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.transport.aclose)
            stack.push_async_callback(self.chooser.workers.aclose)
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            group.start_soon(self._end_what_stands_still, name="what stands still")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def admit(self, exchange: Exchange) -> None:
        """Raise :class:`HttpError` unless the request may be served."""
        if self.closing:
            raise shutting_down()
        limit = self.config.limits.head_bytes
        if exchange.head_size > limit:
            raise head_too_large(limit)
        origin = exchange.headers.get("origin")
        if origin is not None and not {origin, "*"} & set(self.config.origins):
            raise HttpError(
                403, "origin_not_allowed", f"web pages of {origin!r:.200} may not call this gateway (see origins)"
            )
        exchange.admitted_by = self.keys.admit(exchange.headers)

    def upstream_for(self, model: str) -> UpstreamServer:
        """Return the upstream of *model*. Raises :class:`HttpError` where there is none."""
        found = next((each for each in self.upstreams if any(fnmatchcase(model, p) for p in each.patterns)), None)
        if found is not None:
            return found
        patterns = ", ".join(pattern for upstream in self.upstreams for pattern in upstream.patterns)
        raise HttpError(
            404, "model_not_found", f"no upstream serves the model {model!r:.200}; there are: {patterns}", param="model"
        )

    def serves(self, upstream: UpstreamServer, model: str) -> bool:
        """Tell whether *model* goes to *upstream*."""
        try:
            return self.upstream_for(model) is upstream
        except HttpError:
            return False

    @property
    def off(self) -> bool:
        """Whether calls that begin now pass unsupervised: the kill switch."""
        return self._off or is_off()

    def switch(self, *, off: bool) -> None:
        """Set the kill switch of this gateway, and of the process.

        *off*: calls in flight stop checking at once, release what their gates hold, and stay unchecked to their end.
        Switching supervision on changes calls that begin later, and restores the monitors that were demoted.
        """
        if not off and self.chooser.demotion is not None:
            self.chooser.demotion.restore()
        self._off = off
        calls = switch(off)
        self.metrics.off.set(off)
        log_warning("gateway.switched", off=off, calls_in_flight=calls)

    def close(self) -> None:
        """Take no more calls, and none whose body has not come yet; those that are served go on."""
        self.closing = True
        self.bodies.end()

    def cut(self) -> None:
        """End all calls with an error."""
        for exchange in tuple(self.live):
            exchange.leave("cut")

    async def _end_what_stands_still(self) -> None:
        """End calls whose client takes nothing, and what passes through from an upstream that says nothing."""
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
    shown = config.url.rpartition("@")[2].partition("?")[0]  # what stands before and behind may be secret
    try:
        parts = urlsplit(config.url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f"upstream {shown!r} is no http:// or https:// URL; give it as http://host:port/v1")
    user, at, place = parts.netloc.rpartition("@")
    if config.key_env and not os.environ.get(config.key_env):
        raise UsageError(f"upstream {shown!r}: the environment has no {config.key_env!r} (key_env) with its key")
    if config.key_env and at:
        raise UsageError(f"upstream {shown!r} has a key (key_env) and a user in its URL; give one of them")
    authorization = f"Bearer {os.environ[config.key_env]}" if config.key_env else _basic(user) if at else ""
    return UpstreamServer(parts._replace(netloc=place).geturl(), config.models, authorization, transport, timeouts)


def _basic(user: str) -> str:
    """Return the header for *user*, which is ``NAME:PASSWORD`` as it stands in a URL (RFC 7617)."""
    name, _, password = user.partition(":")
    return "Basic " + b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()


def parse_upstream(text: str) -> UpstreamConfig:
    """Return the upstream that *text* describes: ``URL`` or ``PATTERN=URL``."""
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
