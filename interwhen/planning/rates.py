"""What a request costs, as a sum of five rates, and how they follow from three probes."""

from __future__ import annotations

from typing import NamedTuple

from interwhen.errors import UsageError
from interwhen.models.base import Route
from interwhen.planning.situations import Situation

LEAST = 1e-7
"""No rate is thought to be less than so many seconds."""
RESTORING = 0.05
"""What restoring a token is thought to cost before it was tried, as a part of reading it anew."""


class Rates(NamedTuple):
    """Seconds a request, a token and a restore take. Their order is that of :class:`Work`."""

    request: float
    prefill: float
    decode: float
    restore: float
    restored: float


class Work(NamedTuple):
    """How much of each there is to do: requests, tokens read, tokens written, restores, tokens restored."""

    requests: float
    prefilled: float
    decoded: float
    restores: float = 0.0
    restored: float = 0.0

    def seconds(self, rates: Rates) -> float:
        """Return what it takes at these *rates*."""
        return sum(amount * rate for amount, rate in zip(self, rates, strict=True))


class Probe(NamedTuple):
    """One request that was made to learn the rates: what the server read and wrote, and how long it took."""

    prefilled: int
    decoded: int
    seconds: float


def work_of(route: Route, situation: Situation, hit: float) -> Work:
    """Return the work of a fork that takes *route*. *hit* is the part of what was held that is still there."""
    behind = situation.side
    match route:
        case "live":
            return Work(1.0, max(situation.prefix - hit * situation.held, 0.0) + behind, situation.reply)
        case "restored":
            anew = max(situation.prefix - situation.stored, 0)
            return Work(1.0, anew + behind, situation.reply, 1.0, situation.stored)
        case "summary":
            return Work(1.0, situation.summary + behind, situation.reply)
        case "prefill":
            return Work(1.0, situation.prefix + behind, situation.reply)
        case "parser":
            return Work(0.0, 0.0, 0.0)


def calibrate(short: Probe, long: Probe, warm: Probe) -> Rates:
    """Return the rates that three probes show.

    *short* and *long* are read anew and write equally much; *warm* repeats *long*, so that little is read, and writes
    more. What restoring costs is not probed: it is guessed, and tried early.
    """
    if long.prefilled <= short.prefilled or warm.decoded <= long.decoded:
        raise UsageError("calibrate: the second probe must read more than the first, the third one write more than it")
    prefill = max((long.seconds - short.seconds) / (long.prefilled - short.prefilled), LEAST)
    written = warm.decoded - long.decoded
    read_less = prefill * (long.prefilled - warm.prefilled)
    decode = max((warm.seconds - (long.seconds - read_less)) / written, LEAST)
    request = max(short.seconds - prefill * short.prefilled - decode * short.decoded, LEAST)
    return Rates(request, prefill, decode, request, prefill * RESTORING)
