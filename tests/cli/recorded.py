"""Recorded runs: lists of events as the engine sends them."""

import hashlib

from interwhen import (
    Abstained,
    Delta,
    Failed,
    Pass,
    Result,
    Retracted,
    Span,
    Unknown,
    Unverified,
    Verified,
    Violation,
)
from interwhen._types.verdicts import Outcome
from interwhen.events import (
    CheckSettled,
    CheckStarted,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen.results import (
    Certificate,
    CheckRecord,
    Errored,
    Judged,
    Ledger,
    TimedOut,
    Timing,
    UnverifiedReason,
    ViolationRecord,
)

MONITOR = "sums"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record(span: Span, outcome: Outcome, key: str = "k") -> CheckRecord:
    return CheckRecord(MONITOR, "adds", "1", key, span, span, outcome)


def checked(span: Span, outcome: Outcome, key: str = "k") -> list[Event]:
    return [CheckStarted(MONITOR, key, span), CheckSettled(record(span, outcome, key))]


def violation(span: Span, quote: str, inserted: str = "", cut: int | None = None) -> ViolationRecord:
    return ViolationRecord(
        monitor=MONITOR,
        verifier="adds",
        key="k",
        span=span,
        quote=quote,
        why="the sum is wrong",
        witness="5 + 6 is 11",
        interrupted=cut is not None,
        remedy=None if cut is None else "repair" if inserted.isdigit() else "feedback",
        cut=cut,
        inserted=inserted,
    )


def common(text: str) -> dict[str, object]:
    return {
        "text": text,
        "reasoning": "",
        "answer": text,
        "finish_reason": "stop",
        "ledger": Ledger(kept=20, discarded=3),
        "timing": Timing(total=1.5, first_token=0.2, close_latency=(0.003,)),
    }


def verified(text: str) -> Verified:
    checks = (record(Span(0, 3), Judged(Pass())),)
    certificate = Certificate(_sha256(text), _sha256("p"), "m", checks, (Span(0, 3),), 0.5)
    return Verified(**common(text), checks=checks, certificate=certificate)


def unverified(text: str) -> Unverified:
    return Unverified(
        **common(text),
        unverified_reasons=(UnverifiedReason(MONITOR, Span(0, 3), "it timed out"), UnverifiedReason("", None, "why")),
    )


RESULTS: list[Result] = [
    verified("ab"),
    unverified("ab"),
    Abstained(**common("ab"), reason="not converging"),
    Failed(**common("ab"), error="it broke"),
]

# 0123456789012345678901
# 1 + 2 = 3\n5 + 6 = 12\n
REPAIRED = "1 + 2 = 3\n5 + 6 = 11\ndone"
REPAIR: list[Event] = [
    StreamStarted(0, None),
    Delta("1 + 2 = 3\n", 0),
    *checked(Span(0, 9), Judged(Pass()), "a"),
    FrontierMoved(10),
    Delta("5 + 6 = 12\nthen", 10),
    CheckStarted(MONITOR, "b", Span(10, 20)),
    CheckSettled(record(Span(10, 20), Judged(Violation(why="w")), "b")),
    ViolationFound(violation(Span(18, 20), "12")),
    Retracted(18),
    Remedied(violation(Span(18, 20), "12", "11", 18), 1),
    Delta("11", 18, "answer", "repair"),
    StreamStarted(1, "prefix"),
    Delta("\n", 20),
    *checked(Span(10, 20), Judged(Pass()), "c"),
    FrontierMoved(21),
    Delta("done", 21),
    StreamEnded("stop"),
    FrontierMoved(25),
    Finished(verified(REPAIRED)),
]

FEEDBACK: list[Event] = [
    StreamStarted(0, None),
    Delta("5 + 6 = 12", 0, "reasoning"),
    Delta("\nso", 10, "reasoning"),
    ViolationFound(violation(Span(8, 10), "12")),
    Retracted(10),
    Remedied(violation(Span(8, 10), "12", "\nWait, no.\n", 10), 1),
    Delta("\nWait, no.\n", 10, "reasoning", "feedback"),
    StreamStarted(1, "prefix"),
    Delta("11", 21),
]

# Behind a gate the reader sees text late: what is found out about it comes first.
GATE: list[Event] = [
    StreamStarted(0, None),
    *checked(Span(0, 9), Judged(Pass()), "a"),
    FrontierMoved(10),
    Delta("1 + 2 = 3\n", 0),
    *checked(Span(10, 20), Judged(Violation(why="w")), "b"),
    ViolationFound(violation(Span(18, 20), "12")),
    Remedied(violation(Span(18, 20), "12", "11", 18), 1),
    StreamStarted(1, "prefix"),
    *checked(Span(10, 20), Judged(Pass()), "c"),
    FrontierMoved(21),
    Delta("5 + 6 = ", 10),
    Delta("11", 18, "answer", "repair"),
    Delta("\n", 20),
    StreamEnded("stop"),
    Finished(verified("1 + 2 = 3\n5 + 6 = 11\n")),
]

OPEN: list[Event] = [
    StreamStarted(0, None),
    Delta("aaa\nbbb\nccc\nddd\n", 0),
    CheckStarted(MONITOR, "a", Span(0, 3)),
    *checked(Span(4, 7), TimedOut(2.0), "b"),
    *checked(Span(8, 11), Errored("boom"), "c"),
    *checked(Span(12, 15), Judged(Unknown("unclear")), "d"),
    StreamBroken("reset by peer", "reconnect"),
]
