"""The parts of the table of checks by themselves: segments, breakers, pauses, and what the records prove."""

from __future__ import annotations

from itertools import pairwise

import pytest
from interwhen import Pass, Segment, Span, Unknown, Violation, verifier
from interwhen._core.checks import (
    FIRST_TRIAL,
    LAST_TRIAL,
    Breaker,
    OpenSegment,
    PendingRef,
    _MonitorSegments,
    _number_verifiers,
    pause_before_next,
)
from interwhen._core.messages import Settled
from interwhen._core.release import (
    CheckRecord,
    _share,
    certificate,
    coverage_reason,
    describe,
    judges_answer,
    merge,
    passed,
    unverified_reasons,
)
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Claim
from interwhen.remedies import Retry
from interwhen.results import Cancelled, Errored, Judged, Skipped, TimedOut
from tests.core.worlds import PLAIN, STRICT, drive, monitor


def segments_at(*spans, unclear=()):
    segments = _MonitorSegments()
    for span in spans:
        home = OpenSegment(span)
        segments.add(home)
        segments.record(record("m", span, Judged(Pass()), segment=span))
        if span is not spans[-1]:
            home.settle(passed=span not in unclear)
            segments.close(home)
    return segments


def record(name="m", span=None, outcome=None, segment=None):
    where = segment or span or Span(0, 9)
    return CheckRecord(name, "v", "1", f"k{span}", span, where, outcome or Judged(Pass()), 0.0, 1, "", "")


A, B, C, D = Span(0, 3), Span(4, 7), Span(8, 11), Span(12, 15)


@pytest.mark.parametrize("to", range(17))
def test_a_cut_removes_segments_that_end_after_it(to):
    segments = segments_at(A, B, C, D, unclear=(B, C))
    assert (segments.first_open(), segments.first_unclear()) == (12, 4)
    assert segments.cut(to) == [span for span in (D, C, B, A) if span.end > to]
    kept = [span for span in (A, B, C, D) if span.end <= to]
    assert [each.segment for each in segments.records()] == kept
    assert segments.first_open() == (12 if D in kept else None)
    assert segments.first_unclear() == (4 if B in kept else None)
    assert all(segments.has(span) is (span in kept[-1:]) for span in (A, B, C, D))
    assert segments.end_before(Span(16, 17))
    assert segments.end_before(Span(12, 13)) is (D not in kept)
    assert segments.end_before(Span(11, 12)) is (C not in kept)


@pytest.mark.parametrize(
    ("span", "first"), [(Span(4, 7), 8), (Span(4, 11), None), (Span(5, 11), 4), (Span(0, 15), None), (Span(8, 11), 4)]
)
def test_feedback_forgives_the_segments_that_it_covers(span, first):
    segments = segments_at(A, B, C, D, unclear=(B, C))
    [home] = segments.open.values()
    home.settle(passed=False)
    segments.forgive(span)
    assert segments.first_unclear() == first
    assert home.clear is span.covers(D)
    segments.close(home)
    assert segments.first_open() is None
    assert (12 in [each.start for each in segments._unclear]) is not home.clear


def test_any_segment_can_be_removed_with_its_records():
    segments = segments_at(A, B, C, D, unclear=(A, B, C))
    for span, first in ((B, 0), (A, 8), (D, 8), (C, None)):
        segments.remove(span)
        assert segments.first_unclear() == first
        assert span not in [each.segment for each in segments.records()]
    assert (segments.records(), segments.first_open()) == ([], None)
    segments.close(OpenSegment(A))
    assert segments.first_unclear() is None


@pytest.mark.parametrize(("start", "end", "is_torn"), [(0, 6, False), (0, 7, True), (8, 10, True), (0, 11, False)])
def test_claims_ending_in_a_torn_line_are_torn(start, end, is_torn):
    home = OpenSegment(Span(0, 20), tears=(Span(6, 10),))
    assert home.is_torn_at(Span(start, end)) is is_torn
    assert OpenSegment(Span(0, 20), torn=6).is_torn_at(Span(start, end)) is (end > 6)


def slow_breaker(limit, outcomes):
    # Return for each outcome whether the check ran, counted plainly. An outcome is true if it is a verdict.
    failures, skipped, wait, ran = 0, 0, 8, []
    for good in outcomes:
        is_open = limit is not None and failures >= limit
        if is_open and skipped < wait:
            skipped += 1
            ran.append(False)
            continue
        if is_open:
            skipped, wait = 0, min(2 * wait, 128)
        ran.append(True)
        failures = 0 if good else failures + 1
        if good:
            skipped, wait = 0, 8
    return ran


@pytest.mark.parametrize("limit", [None, 0, 1, 3])
@pytest.mark.parametrize("good", [(), (4,), (30,), (9, 12, 40), range(0, 700, 90)])
def test_failing_verifiers_trial_gaps_double_from_eight_checks(limit, good):
    assert (FIRST_TRIAL, LAST_TRIAL) == (8, 128)
    outcomes = [number in good for number in range(700)]
    breaker, ran = Breaker(limit), []
    for is_good in outcomes:
        admitted = breaker.admits()
        ran.append(admitted)
        if admitted:
            was = breaker.is_open
            changed = breaker.takes(Judged(Pass()) if is_good else Errored("x"))
            assert changed is (was is not breaker.is_open)
    # With the limit 0, the first failure opens the breaker, because nothing has failed before it.
    assert ran == slow_breaker(max(limit, 1) if limit is not None else None, outcomes)


def test_only_errors_and_timeouts_are_failures():
    breaker = Breaker(2)
    for outcome, failures in ((Errored("x"), 1), (Cancelled("x"), 1), (Skipped("x"), 1), (TimedOut(1.0), 2)):
        assert breaker.takes(outcome) is (failures == 2)
        assert breaker.failures == failures
    assert breaker.is_open
    assert breaker.takes(Judged(Unknown("?")))
    assert (breaker.failures, breaker.is_open) == (0, False)


@pytest.mark.parametrize(
    ("policies", "pauses"),
    [
        ((None, "open"), [None]),
        ((Retry(0),), [None]),
        ((Retry(2, pause=1.0),), [1.0, 2.0, None]),
        ((Retry(1, pause=2.0), Retry(2, pause=0.5), None), [0.5, 1.0, None]),
        ((Retry(1, pause=1.0), Retry(1, pause=1.5)), [1.5, None]),
    ],
)
def test_the_most_patient_monitor_decides_about_another_try(policies, pauses):
    monitors = [monitor(f"m{number}", on_error=policy) for number, policy in enumerate(policies)]
    segment = Segment("1+1=2", Span(0, 5), "answer")
    refs = [
        PendingRef(number, Claim(key="x", span=None), segment, OpenSegment(segment.span))
        for number in range(len(monitors))
    ]
    assert [pause_before_next(refs, monitors, tries + 1) for tries in range(len(pauses))] == pauses


def test_a_checks_record_includes_all_its_tries():
    driver = drive(monitor(on_error=Retry(2)))
    driver.feed("1+1=2\n")
    driver.extract()
    job = driver.job("1+1=2")
    for outcome in (Errored("x"), TimedOut(1.0), Judged(Pass())):
        driver.pending.pop(job)
        driver.tell(Settled(job, outcome, 0.25))
    [check] = driver.core.checks.records()
    assert (check.tries, check.seconds, check.outcome) == (3, 0.75, Judged(Pass()))
    assert driver.pending == {}


def test_monitors_share_only_the_same_verifier_and_preparation():
    @verifier(name="plain", worker="inline")
    def other(claim):
        return Pass()

    def prepare(context):
        return context

    who = [
        *(monitor("a"), monitor("b"), monitor("c", verifier=STRICT), monitor("d", verifier=other)),
        *(monitor("e", prepare=prepare), monitor("f", prepare=prepare), monitor("g", verifier=STRICT, prepare=prepare)),
    ]
    assert _number_verifiers(who) == [0, 0, 1, 2, 3, 3, 4]
    assert _number_verifiers([monitor("a", verifier=PLAIN)]) == [0]


# ------------------------------------------------------------------------------------- what the records prove


def test_spans_are_merged_as_sets_of_offsets():
    spans = [Span(start, end) for start in range(5) for end in range(start, 6)]
    for one in spans:
        for other in spans[::3]:
            for third in (Span(0, 1), Span(3, 4), Span(2, 5)):
                merged = merge((one, other, third))
                covered = {at for span in (one, other, third) for at in range(span.start, span.end)}
                assert {at for span in merged for at in range(span.start, span.end)} == covered
                assert all(low.end < high.start for low, high in pairwise(merged))
    assert merge(()) == ()


def whys(*records, monitors=None, refuted=(), finish="stop"):
    return [
        (reason.monitor, reason.why.split(":")[0])
        for reason in unverified_reasons(records, monitors or (monitor("m"),), refuted, finish)
    ]


NOTHING = "found nothing that it could show to be right"


def test_what_makes_a_text_unverified():
    good, bad = record(span=Span(0, 3)), record(span=Span(4, 7), outcome=Judged(Unknown("?")))
    optional = monitor("o", required=False)
    assert whys(good) == []
    assert whys() == [("m", NOTHING)]
    assert whys(good, bad) == [("m", "unknown")]
    assert whys(bad) == [("m", "unknown"), ("m", NOTHING)]
    assert whys(good, bad, refuted=(Span(4, 7),)) == []
    assert whys(good, bad, refuted=(Span(4, 6), Span(0, 9))) == [("m", NOTHING)]
    assert whys(good, bad, refuted=(Span(9, 12), Span(4, 7))) == []
    assert whys(record(span=None)) == [("m", NOTHING)]
    assert whys(record(span=Span(3, 3))) == [("m", NOTHING)]
    assert whys(record(span=Span(3, 4))) == []
    both = (optional, monitor("m"))
    assert whys(good, monitors=both) == []
    assert whys(good, record("o", Span(0, 3), Errored("x")), monitors=both) == []
    assert whys(record("o", Span(0, 3)), monitors=both) == [("m", NOTHING)]
    assert whys(good, monitors=(optional,)) == [("", "no required monitor watched this run")]
    assert whys(good, monitors=(monitor("m"), monitor("n"))) == [("n", NOTHING)]
    assert whys(good, finish="length") == [("", "the text did not end by itself")]
    assert whys(good, finish="tool_calls") == []


def test_the_certificate_lists_passes_outside_refuted_text():
    transcript = Transcript("reasoning")
    transcript.append("0123456789", 1)
    transcript.enter("answer")
    transcript.append("abcdefghij", 1)
    judged = monitor("m", scope="answer")
    steps = [record(span=Span(0, 3)), record(span=Span(2, 6)), record(span=None), record(span=Span(7, 9))]
    answer = record(span=Span(12, 14), outcome=Judged(Pass(scope="answer")))
    made = certificate(transcript, [*steps, answer], (judged,), (Span(7, 9),), "p")
    assert made.covered == (Span(0, 6), Span(12, 14))
    assert made.coverage == 8 / 20
    assert (made.scope, made.refuted, made.prompt_sha256, made.hidden_reasoning) == (
        "answer",
        (Span(7, 9),),
        "p",
        False,
    )
    assert made.checks == (*steps[:3], answer)
    made = certificate(transcript, steps, (judged,), (), "p", hid_reasoning=True)
    assert (made.scope, made.hidden_reasoning, made.coverage) == ("steps", True, 8 / 20)
    assert coverage_reason(transcript, steps, (), 0.4) == ()
    assert len(coverage_reason(transcript, steps, (), 0.41)) == 1
    assert (_share((), 0), _share((Span(0, 1),), 4)) == (0.0, 0.25)


@pytest.mark.parametrize(
    ("who", "span", "outcome", "judges"),
    [
        *(({}, Span(5, 6), Pass(scope="answer"), True), ({}, Span(4, 6), Pass(scope="answer"), False)),
        *(({}, Span(5, 6), Pass(), False), ({}, None, Pass(scope="answer"), False)),
        *(({}, Span(5, 5), Pass(scope="answer"), False), ({}, Span(5, 6), Violation("x"), False)),
        ({"required": False}, Span(5, 6), Pass(scope="answer"), False),
        ({"scope": "steps"}, Span(5, 6), Pass(scope="answer"), False),
    ],
)
def test_only_required_answer_monitors_judge_inside_the_answer(who, span, outcome, judges):
    transcript = Transcript("reasoning")
    transcript.append("think", 1)
    transcript.enter("answer")
    transcript.append("four", 1)
    monitors = (monitor("other", scope="answer"), monitor("m", **{"scope": "answer", **who}))
    records = [record(span=Span(0, 1)), record(span=span, outcome=Judged(outcome), segment=span or Span(5, 9))]
    assert judges_answer(transcript, records, (), monitors) is judges


def test_outcomes_are_described():
    for outcome, words in (
        (Judged(Unknown("?")), "unknown: ?"),
        (Judged(Violation("bad")), "violation: bad"),
        (Errored("x"), "error: x"),
        (TimedOut(2.5), "timed out: no verdict within 2.5 s"),
        (Cancelled("x"), "cancelled: x"),
        (Skipped("x"), "skipped: x"),
    ):
        assert describe(outcome) == describe(outcome, 1) == words
        assert describe(outcome, 2) == f"{words} (tried 2 times)"
        assert not passed(outcome)
    assert passed(Judged(Pass()))
