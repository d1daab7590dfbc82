"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from interwhen.gateway.places import Places
from interwhen.results import Result
from interwhen.verdicts import Judged

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WHOLE = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Meters:
    """The metrics of one gateway, in a registry of their own.

    No label is a client's to choose: neither models nor paths are labels.
    """

    def __init__(self, places: Places) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_PlacesCollector(places))
        self.calls = Counter(
            "interwhen_calls",
            "Calls by API and how they ended: answer verified, steps verified, unverified, abstained (a block), "
            "failed (the upstream), passed (not supervised), refused (by the gateway), left (by the client), slow (the "
            "client takes nothing), cut (at a shutdown), or error (of the gateway).",
            ("api", "outcome"),
            registry=registry,
        )
        self.refusals = Counter(
            "interwhen_refusals", "Requests that were refused, by code.", ("code",), registry=registry
        )
        self.unwatched = Counter(
            "interwhen_unwatched_answers",
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


class _PlacesCollector:
    def __init__(self, places: Places) -> None:
        self._places = places

    def collect(self) -> Iterator[Metric]:
        """Say how many calls are served and wait now."""
        yield GaugeMetricFamily("interwhen_calls_served", "Calls that are being served.", self._places.taken)
        yield GaugeMetricFamily("interwhen_calls_waiting", "Calls that wait for their turn.", self._places.waiting)
