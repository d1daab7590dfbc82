"""Results and events survive JSON; a certificate is for one text only."""

from __future__ import annotations

import msgspec
import pytest
from interwhen import (
    Abstained,
    Delta,
    Failed,
    Message,
    Pass,
    Result,
    Retracted,
    Span,
    Unknown,
    Unverified,
    Verified,
    Violation,
)
from interwhen._types.models import ResumeWay
from interwhen._types.results import prompt_bytes
from interwhen._types.segments import sha256
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
    Cancelled,
    Certificate,
    CheckRecord,
    Errored,
    Insertion,
    Judged,
    Ledger,
    Skipped,
    TimedOut,
    Timing,
    UnverifiedReason,
    ViolationRecord,
)

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
    "resume": ResumeWay("prefix", "an option asks for it"),
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


def test_a_prompts_size_is_that_of_its_texts():
    assert prompt_bytes("né") == 3
    assert prompt_bytes((Message("system", "ab"), Message("user", "cd\ud800"))) == 5
