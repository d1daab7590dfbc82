"""The public values: they refuse what cannot be, and survive JSON."""

from __future__ import annotations

import interwhen
import msgspec
import pytest
from interwhen import (
    Abstained,
    Budgets,
    Cancelled,
    Certificate,
    CheckRecord,
    CheckSettled,
    CheckStarted,
    Claim,
    Delta,
    Errored,
    Event,
    Failed,
    Finished,
    Fork,
    FrontierMoved,
    Judged,
    Ledger,
    Monitor,
    Pass,
    Remedied,
    Result,
    Retracted,
    Segment,
    Skipped,
    Span,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    TimedOut,
    Timing,
    Unknown,
    Unverified,
    UnverifiedReason,
    UsageError,
    Verified,
    Verifier,
    Violation,
    ViolationFound,
    ViolationRecord,
)
from interwhen._types.results import sha256
from interwhen.journal import Insertion


def test_a_span_is_half_open_and_ordered():
    span = Span(2, 5)
    assert len(span) == 3
    assert span.shifted(2) == Span(4, 7)
    assert span.covers(Span(2, 5))
    assert span.covers(Span(5, 5))
    assert not span.covers(Span(1, 3))
    assert not span.covers(Span(4, 6))
    assert sorted([Span(2, 5), Span(1, 9), Span(2, 3)]) == [Span(1, 9), Span(2, 3), Span(2, 5)]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2)])
def test_a_span_that_cannot_be_is_refused(start, end):
    with pytest.raises(ValueError, match=f"start={start}, end={end}"):
        Span(start, end)


SEGMENT = Segment("one two one", Span(10, 21), "answer")


def test_a_segment_knows_where_its_text_stands():
    assert SEGMENT.at(4, 7) == Span(14, 17)
    assert SEGMENT.at(0, 11) == SEGMENT.span
    assert SEGMENT.at(11, 11) == Span(21, 21)


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 12)])
def test_a_place_outside_the_segment_is_refused(start, end):
    with pytest.raises(ValueError, match="not inside a segment of 11"):
        SEGMENT.at(start, end)


@pytest.mark.parametrize(
    ("quote", "span"), [("two", Span(14, 17)), ("one", None), ("three", None), ("", None), ("e t", Span(12, 15))]
)
def test_only_what_stands_once_is_grounded(quote, span):
    assert SEGMENT.ground(quote) == span


def test_overlapping_occurrences_are_more_than_one():
    assert Segment("aaa", Span(0, 3), "answer").ground("aa") is None


@interwhen.verifier(name="v", worker="inline")
def check(claim: Claim) -> Pass:
    return Pass(claim.key)


def nothing(_segment):
    return ()


@pytest.mark.parametrize(
    "options",
    [
        {"delivery": "later"},
        {"level": "all"},
        {"phase": "none"},
        {"unproven": "maybe"},
        {"extractor": 3},
        {"extractor": Fork(prompt="?", parse=None)},
        {"trigger": "Lines"},
        {"trigger": interwhen.Lines},
        {"remedy": "feedback"},
        {"remedy": interwhen.Feedback},
        {"verifier": len},
    ],
    ids=repr,
)
def test_a_monitor_that_cannot_work_is_refused(options):
    with pytest.raises(UsageError, match="monitor 'm'"):
        Monitor(**{"name": "m", "verifier": check, "extractor": nothing, **options})


def test_a_fork_is_an_extractor():
    assert Monitor(name="m", verifier=check, extractor=Fork(prompt="?", parse=lambda _reply, _segment: ())).required


async def waits(_claim):
    return Pass()


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (nothing, {"deadline": 0}, "deadline must be positive"),
        (nothing, {"deadline": float("nan")}, "deadline must be positive"),
        (nothing, {"worker": "async"}, "plain function"),
        (waits, {"worker": "thread"}, "async function"),
    ],
)
def test_a_verifier_that_cannot_work_is_refused(function, options, said):
    with pytest.raises(UsageError, match=said):
        interwhen.verifier(name="v", **options)(function)


def test_a_verifier_runs_where_it_does_no_harm():
    assert interwhen.verifier(name="v")(nothing).worker == "thread"
    assert interwhen.verifier(name="v")(waits).worker == "async"
    assert isinstance(check, Verifier)
    assert check(Claim(key="k", span=None)) == Pass("k")


@pytest.mark.parametrize("name", Budgets.__struct_fields__)
def test_a_negative_budget_is_refused(name):
    with pytest.raises(UsageError, match=name):
        Budgets(**{name: -1})
    Budgets(**{name: 0})


# ---------------------------------------------------------------- JSON

OUTCOMES = (
    Judged(Pass("evidence")),
    Judged(Violation("why", "witness", Span(0, 1), "repair"), cached=True),
    Judged(Unknown("why")),
    Errored("boom"),
    TimedOut(1.5),
    Cancelled("cut"),
    Skipped("budget"),
)
CHECKS = tuple(CheckRecord("m", "v", "1", "k", Span(0, 1), Span(0, 2), outcome, 0.5) for outcome in OUTCOMES)
VIOLATION = ViolationRecord("m", "v", "k", Span(0, 1), "q", "why", "witness", True, "repair", 0, "x")
COMMON = {
    "text": "é\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "reasoning": "",
    "answer": "x",
    "finish_reason": "stop",
    "checks": CHECKS,
    "violations": (VIOLATION,),
    "insertions": (Insertion(Span(0, 1), "repair"),),
    "resume": "prefix",
    "ledger": Ledger(kept=3, discarded=2, fork_tokens=4, offline_tokens=1),
    "timing": Timing(total=1.0, close_latency=(0.001,)),
}
CERTIFICATE = Certificate(sha256("x"), sha256("p"), "model", CHECKS[:1], (Span(0, 1),), 0.5, (Span(1, 2),), "0")
DOUBT = UnverifiedReason("m", Span(0, 1), "why")
RESULTS = (
    Verified(**COMMON, certificate=CERTIFICATE),
    Unverified(**COMMON, unverified_reasons=(DOUBT, UnverifiedReason("", None, "why"))),
    Abstained(**COMMON, reason="why", unverified_reasons=(DOUBT,)),
    Failed(**COMMON, error="why"),
)
EVENTS = (
    Delta("x", 3, "reasoning", "feedback"),
    Retracted(2),
    CheckStarted("m", "k", None),
    *map(CheckSettled, CHECKS),
    ViolationFound(VIOLATION),
    Remedied(VIOLATION, 1),
    FrontierMoved(4),
    StreamStarted(0, None),
    StreamStarted(1, "turn"),
    StreamBroken("reset", "reconnect"),
    StreamEnded("length"),
    *map(Finished, RESULTS),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_json(event):
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_every_kind_of_event_and_result_is_tested():
    assert {type(event) for event in EVENTS} == set(Event.__args__)
    assert {type(result) for result in RESULTS} == set(Result.__args__)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.status)
def test_a_result_survives_json(result):
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
    assert type(result).status == type(result).__name__.lower()


def test_a_certificate_is_for_one_text_only():
    assert CERTIFICATE.matches("x")
    assert not CERTIFICATE.matches("x ")
    assert sha256("\ud800") != sha256("?")


def test_the_ledger_counts_everything():
    assert COMMON["ledger"].total_tokens == 10
