"""What ``interwhen bench gateway`` found, and what of it had to be how good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from interwhen.bench.crowd import Crowd, Tally
from interwhen.bench.stats import Estimate

GENERATOR_LATE_MS = 2.0
"""From which lateness of its own on (99 % of its chunks) the load generator limits what can be measured.

It waits in whole milliseconds, as epoll does, so that one of them is always there, at the floor as well."""
UNWATCHED = "interwhen.run, no monitor"
"""The name of what reading costs, without the work of whatever watches."""
_LATE_MS = 3.0


class Bar(msgspec.Struct, frozen=True):
    """One number, and how good it has to be."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    """``None``: the number is for comparison."""
    is_least: bool = False
    """Whether the bar is what it has to be at least; otherwise it is the most."""
    met: bool | None = None


class Added(msgspec.Struct, frozen=True):
    """What is slower through the gateway than without it, at one stream, in milliseconds."""

    first_direct_p50_ms: float
    first_p50_ms: float
    """Of the differences of time to first token, within pairs."""
    first_p99_ms: float
    relay_p50_ms: float
    """The same of a bare relay, which passes bytes on and does nothing else: what a process between costs at least."""
    relay_p99_ms: float
    gap_direct_p99_ms: float
    """99 % of the gaps between chunks are no longer than this, less the gap that is meant to be."""
    gap_p99_ms: float
    """What the gateway adds to that."""


class Carried(msgspec.Struct, frozen=True):
    """A crowd read in one way, and just before it by a bare protocol that only notes when bytes come: the floor."""

    rate: float
    direct: Crowd
    """The floor."""
    crowd: Crowd
    generator: Tally
    """What the generator says of itself while the crowd was read."""
    cpu_microseconds: float | None = None
    """CPU that each chunk took: in the gateway, or in this process for reading it."""
    direct_cpu_microseconds: float | None = None
    """CPU that each chunk took the bare protocol, where it was read in the process that was measured."""
    memory_kb: float | None = None
    """Resident memory that each stream took, in the gateway."""

    @property
    def added_p99_ms(self) -> float:
        """How much later chunks come than at the floor, both against the generator's schedule."""
        return self.crowd.late_p99_ms - self.direct.late_p99_ms


def middle_of(rounds: Sequence[Carried]) -> Carried:
    """Return the one of *rounds* with the median lateness, with the worst rate and the most losses of any."""
    middle = sorted(rounds, key=lambda each: each.added_p99_ms)[len(rounds) // 2]
    crowds = [each.crowd for each in rounds]
    lost, delivered = max(crowd.lost for crowd in crowds), min(crowd.delivered for crowd in crowds)
    return msgspec.structs.replace(middle, crowd=msgspec.structs.replace(middle.crowd, lost=lost, delivered=delivered))


class SdkCost(msgspec.Struct, frozen=True):
    """CPU per chunk of one paced stream, in microseconds, through a client of the SDK."""

    chunks: int
    rate: float
    bare: Estimate
    wrapped: Estimate
    added: Estimate
    """The differences, within pairs."""


class GatewayReport(msgspec.Struct, frozen=True):
    """The whole report."""

    machine: str
    monitors: str
    uvloop: bool
    pairs: int
    seconds: float
    run_rounds: int
    """Of so many rounds through interwhen.run, what is reported is the one with the median lateness."""
    added: Added
    gateway: Carried
    run: Carried
    beside: dict[str, Carried]
    """The same crowd through other clients."""
    sdk: SdkCost
    bars: list[Bar] = []
    warnings: list[str] = []


def judged(report: GatewayReport) -> GatewayReport:
    """Return *report* with its bars and warnings."""
    return msgspec.structs.replace(report, bars=list(_bars(report)), warnings=list(_warnings(report)))


def _bars(report: GatewayReport) -> Iterator[Bar]:
    added, sdk = report.added, report.sdk
    yield _for_comparison("1 stream: time to first token, direct, p50", added.first_direct_p50_ms, "ms")
    yield _at_most("1 stream: time to first token, added by the gateway, p50", added.first_p50_ms, "ms", 2.0)
    yield _at_most("1 stream: time to first token, added by the gateway, p99", added.first_p99_ms, "ms", 8.0)
    yield _for_comparison("1 stream: time to first token, added by a bare relay, p50", added.relay_p50_ms, "ms")
    yield _for_comparison("1 stream: time to first token, added by a bare relay, p99", added.relay_p99_ms, "ms")
    yield _for_comparison("1 stream: gap over the meant one, direct, p99", added.gap_direct_p99_ms, "ms")
    yield _at_most("1 stream: gap, added by the gateway, p99", added.gap_p99_ms, "ms", 5.0)
    yield from _crowd("gateway", report.gateway)
    if report.gateway.memory_kb is not None:
        yield _at_most("gateway: memory per stream", report.gateway.memory_kb, "KB", 300.0)
    yield from _crowd("interwhen.run", report.run, late=_LATE_MS)
    for name, part in report.beside.items():
        if name == UNWATCHED:
            yield from _crowd(name, part, late=_LATE_MS)
            continue
        yield _for_comparison(f"{name}: share of the offered rate", part.crowd.delivered * 100, "%")
        yield _for_comparison(f"{name}: lateness of chunks, p99", part.crowd.late_p99_ms, "ms")
        yield _for_comparison(f"{name}: added lateness, p99", part.added_p99_ms, "ms")
        yield _for_comparison(f"{name}: CPU per chunk", part.cpu_microseconds or 0.0, "µs")
    yield _for_comparison("SDK, bare: CPU per chunk", sdk.bare.median, "µs")
    yield _for_comparison("SDK, wrapped and watched: CPU per chunk", sdk.wrapped.median, "µs")
    yield _at_most("SDK: wrapping adds, within pairs", sdk.added.median, "µs", 0.0)


def _crowd(name: str, part: Carried, *, late: float | None = None) -> Iterator[Bar]:
    crowd = part.crowd
    load = f"{name}: {crowd.streams} streams at {part.rate:g}/s"
    share = crowd.delivered * 100
    yield Bar(f"{load}, share of the offered rate", share, "%", 99.0, is_least=True, met=share >= 99.0)
    yield _for_comparison(f"{name}: the same by a bare protocol, the floor", part.direct.delivered * 100, "%")
    yield _at_most(f"{name}: streams lost", crowd.lost, "", 0.0)
    yield _for_comparison(f"{name}: lateness of chunks, p50", crowd.late_p50_ms, "ms")
    yield _for_comparison(f"{name}: lateness of chunks, p50, at the floor", part.direct.late_p50_ms, "ms")
    yield _for_comparison(f"{name}: lateness of chunks, p99", crowd.late_p99_ms, "ms")
    yield _for_comparison(f"{name}: lateness of chunks, p99, at the floor", part.direct.late_p99_ms, "ms")
    if late is None:
        yield _for_comparison(f"{name}: added lateness, p99", part.added_p99_ms, "ms")
    else:
        yield _at_most(f"{name}: added lateness, p99", part.added_p99_ms, "ms", late)
    if part.cpu_microseconds is not None:
        yield _for_comparison(f"{name}: CPU per chunk", part.cpu_microseconds, "µs")
    if part.direct_cpu_microseconds is not None:
        yield _for_comparison(f"{name}: CPU per chunk at the floor", part.direct_cpu_microseconds, "µs")


def _at_most(what: str, value: float, unit: str, bar: float) -> Bar:
    return Bar(what, value, unit, bar, met=value <= bar)


def _for_comparison(what: str, value: float, unit: str) -> Bar:
    return Bar(what, value, unit)


def _warnings(report: GatewayReport) -> Iterator[str]:
    parts = {"gateway": report.gateway, "interwhen.run": report.run, **report.beside}
    for name, part in parts.items():
        generator = part.generator
        if generator.late_p99_ms > GENERATOR_LATE_MS:
            yield (
                f"{name}: the load generator itself was late (p99 {generator.late_p99_ms:.1f} ms, its core "
                f"{generator.busy:.0%} busy), so it limits what this part shows"
            )
        if part.direct.delivered < 0.99:
            yield f"{name}: even the bytes came at {part.direct.delivered:.1%} of the offered rate"
