"""From segments to verdicts, story by story."""

from __future__ import annotations

import re

import pytest
from interwhen import (
    Answer,
    Budgets,
    Claim,
    Feedback,
    Fork,
    Lines,
    Paragraphs,
    Pass,
    Resample,
    Sentences,
    Span,
    ToolCalls,
    UsageError,
    Violation,
    verifier,
)
from interwhen._core.machine import Core
from interwhen._core.messages import (
    Check,
    Close,
    Drop,
    Extract,
    Extracted,
    Finish,
    Opened,
    Settled,
)
from interwhen._core.release import merge
from interwhen.events import CheckSettled, CheckStarted, Remedied, StreamEnded, ViolationFound
from interwhen.models import Chunk
from interwhen.results import Cancelled, Errored, Judged, Skipped
from interwhen.triggers import Markers
from tests.core.worlds import STRICT, Driver, drive, monitor, parse, parse_ungrounded

TAGS = ("<think>", "</think>")


def test_skipped_forks_never_end_runs_before_other_checks():
    fork = Fork(prompt="?", parse=lambda _reply, segment: parse(segment))
    driver = drive(
        monitor("fork", extractor=fork, required=False), monitor("m", verifier=STRICT), budgets=Budgets(forks=0)
    )
    driver.feed("1+1=2\n")
    driver.settle()
    driver.feed("2+2=5")
    driver.end()
    driver.settle()
    assert driver.summary is None
    assert driver.of(StreamEnded)
    assert driver.core.transcript.insertions
    assert any(isinstance(event.check.outcome, Skipped) for event in driver.of(CheckSettled))


def test_ending_at_skipped_forks_cancels_no_unordered_fork():
    fork = Fork(prompt="?", parse=lambda _reply, segment: parse(segment))
    driver = drive(
        monitor("m0", extractor=fork, unproven="closed", trigger=Lines(every=2)),
        monitor("m1", extractor=fork, required=False),
        budgets=Budgets(forks=0),
    )
    driver.feed("1+1=2\n2+2=4")
    driver.end()
    driver.settle()
    assert driver.summary.status == "abstained"


def test_skipping_closed_monitors_forks_ends_the_run_immediately():
    fork = Fork(prompt="?", parse=lambda _reply, segment: parse(segment))
    driver = drive(
        monitor("fork", extractor=fork, unproven="closed"), monitor("m"), budgets=Budgets(forks=0), max_tokens=1
    )
    driver.chunk("1+1=2\n2+2=4\n3+3=6\n", tokens=99)
    driver.settle()
    assert driver.summary.status == "abstained"
    assert "budget of 0 forks" in driver.summary.reason
    assert isinstance(driver.orders[-1], Finish)


def test_forks_get_the_prefix_and_the_segment():
    fork = Fork(prompt="?", parse=lambda _reply, segment: parse(segment))
    driver = drive(monitor(extractor=fork, trigger=Paragraphs()), budgets=Budgets(forks=1))
    driver.feed("so\n1+1=2\n\n2+2=4\n\n")
    extract = driver.pending[1]
    assert (extract.segment.text, "".join(p.text for p in extract.pieces)) == ("so\n1+1=2", "so\n1+1=2")
    driver.settle()
    driver.end()
    assert driver.summary.forks == 1
    assert driver.summary.status == "unverified"
    assert "forks is spent" in driver.summary.unverified_reasons[0].why


def test_overlapping_segments_of_two_monitors_get_feedback_once():
    driver = drive(
        monitor("short", remedy=Feedback(), trigger=Sentences()),
        monitor("long", remedy=Feedback(), verifier=STRICT, trigger=Lines()),
    )
    driver.feed("a. 2+2=5 4+4=9\n")
    driver.settle(max)
    driver.open()
    driver.settle()
    assert driver.core.transcript.slice(0, 99).count("Wait") == 1
    assert driver.state == "streaming"


def test_who_only_observes_never_interrupts():
    driver = drive(monitor(delivery="observe", unproven="closed"))
    driver.feed("2+2=5\n5+5=10\n")
    driver.settle()
    driver.end()
    assert driver.summary.status == "unverified"
    assert Close() not in driver.orders
    assert not driver.of(ViolationFound)[0].violation.interrupted
    assert driver.summary.violations[0].remedy is None


def test_a_pass_on_an_empty_span_shows_nothing():
    driver = drive(monitor(extractor=lambda segment: (Claim(key="1+1=2", span=segment.at(0, 0)),)))
    driver.feed("nonsense\n", finish="stop")
    driver.settle()
    driver.end()
    assert driver.summary.status == "unverified"
    assert [doubt.why for doubt in driver.summary.unverified_reasons] == [
        "found nothing that it could show to be right"
    ]


def test_a_pass_leaves_an_equal_ungrounded_claim_refuted():
    def both(segment):
        return (Claim(key="1+1=2", span=None), Claim(key="1+1=2", span=segment.span))

    driver = drive(monitor(extractor=both))
    driver.feed("1+1=2\n", finish="stop")
    driver.answer(next(iter(driver.pending)))
    for job, order in list(driver.pending.items()):
        del driver.pending[job]
        driver.tell(Settled(job, Judged(Violation("not grounded") if order.claim.span is None else Pass())))
    driver.end()
    assert driver.summary.status == "unverified"
    assert [doubt.why for doubt in driver.summary.unverified_reasons] == ["violation: not grounded"]


def test_an_ungrounded_claim_never_interrupts_and_shows_nothing():
    driver = drive(monitor(extractor=parse_ungrounded))
    driver.feed("2+2=5\n")
    driver.settle()
    driver.end()
    assert (driver.summary.status, driver.summary.text) == ("unverified", "2+2=5\n")
    driver = drive(monitor(extractor=parse_ungrounded))
    driver.feed("2+2=4\n")
    driver.settle()
    driver.end()
    assert "found nothing" in driver.summary.unverified_reasons[0].why


def test_an_unproven_ungrounded_claim_ends_closed_runs_first():
    closed = monitor("closed", extractor=parse_ungrounded, unproven="closed", verifier=STRICT)
    driver = drive(closed, monitor("m"))
    driver.feed("4+5=10\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    while driver.pending and driver.summary is None:
        driver.answer(max(driver.pending))
    assert driver.summary.status == "abstained"
    assert driver.summary.text == ""


@pytest.mark.fault("V9", injected="equal claims", happens="each checked once")
def test_equal_claims_are_checked_once_and_refutations_remembered():
    driver = drive(monitor("a"), monitor("b", trigger=Sentences()))
    driver.feed("4+4=8\n4+4=8. 3+1=5\n")
    driver.extract()
    assert sorted(driver.checked) == [("plain", "3+1=5"), ("plain", "4+4=8")]
    assert len(driver.of(CheckStarted)) == 6
    driver.settle()
    driver.open()
    driver.feed("3+1=5\n")
    driver.extract()
    assert driver.state == "opening"  # known to be wrong: no verifier had to be asked
    assert driver.checked.count(("plain", "3+1=5")) == 1


def test_differently_worded_claims_sharing_keys_are_checked_separately():
    def parse(segment):
        return (Claim(key="the sum", span=segment.span),)

    driver = Driver(Core((monitor(extractor=parse, remedy=Resample()),)))
    driver.open()
    driver.feed("1+1=2\n1+1=3\n1+1=2\n")
    while jobs := [job for job, order in driver.pending.items() if isinstance(order, Extract)]:
        driver.tell(Extracted(jobs[0], parse(driver.pending.pop(jobs[0]).segment)))
    asked = [order for order in driver.orders if isinstance(order, Check)]
    assert [order.claim.span for order in asked] == [Span(0, 5), Span(6, 11)]
    first, second = [order.job for order in asked]
    driver.pending.pop(first)
    driver.tell(Settled(first, Judged(Pass())))
    assert driver.state == "streaming"
    driver.pending.pop(second)
    driver.tell(Settled(second, Judged(Violation("no"))))
    assert driver.state == "opening"
    assert driver.core.transcript.slice(0, 99) == "1+1=2\n"


def test_an_error_is_no_knowledge():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.extract()
    driver.tell(Settled(driver.job("1+1=2"), Errored("x")))
    driver.pending.clear()
    driver.feed("1+1=2\n")
    driver.extract()
    assert driver.checked == [("plain", "1+1=2")] * 2


def test_runs_end_despite_jobs_whose_claims_are_gone():
    driver = drive(
        monitor("obs", verifier=STRICT, delivery="observe", required=False),
        monitor("m", remedy=Resample(), trigger=Markers(words=("so",))),
    )
    driver.feed("1+1=2 so 2+2=5 so \n" + " " * 9)
    driver.extract()
    for job in [job for job, order in driver.pending.items() if order.monitor == 1]:
        driver.answer(job)
    driver.open()
    driver.feed("3")
    driver.end()
    driver.extract()
    driver.settle()
    assert driver.summary is not None


@pytest.mark.fault("V7", injected="verdicts for text that was cut", happens="dropped")
def test_verdicts_for_text_that_was_cut_are_dropped():
    driver = drive(monitor(remedy=Resample()))
    driver.feed("2+2=5\n4+4=8\n")
    driver.extract()
    slow = driver.job("4+4=8")
    driver.answer(driver.job("2+2=5"))
    assert Drop(slow) in driver.orders
    assert slow not in driver.pending
    before = len(driver.seen)
    driver.tell(Settled(slow, Judged(Violation("late"))))
    assert len(driver.seen) == before
    cancelled = [event.check for event in driver.of(CheckSettled) if isinstance(event.check.outcome, Cancelled)]
    assert [check.key for check in cancelled] == ["4+4=8"]


def test_after_cuts_a_longer_segment_replaces_the_shorter():
    driver = drive(
        monitor("mark", trigger=Markers(words=("so",)), verifier=STRICT),
        monitor("line", remedy=Resample()),
        starts_in="reasoning",
    )
    driver.feed("1+1=2 so\n2+2=5 so longer than the marker\n")
    driver.settle()
    driver.open()
    driver.feed("2+2=4")
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"
    spans = [check.segment for check in driver.summary.checks if check.monitor == "mark"]
    assert len(set(spans)) == len({span.start for span in spans})


@pytest.mark.parametrize("where", [Span(0, 99), Span(7, 9)])
def test_wrong_parts_outside_a_claim_refute_it_entirely(where):
    driver = drive(monitor())
    driver.feed("so 2+2=4 yes\n")
    driver.extract()
    driver.pending.pop(job := driver.job("2+2=4"))
    driver.tell(Settled(job, Judged(Violation("why", where=where, repair="x"))))
    record = driver.of(Remedied)[0].violation
    assert (record.span, record.remedy, record.inserted) == (Span(3, 8), "feedback", "\nWait, why.\n")


@pytest.mark.parametrize("span", [Span(0, 2), Span(5, 9)])
def test_a_claim_outside_its_segment_is_an_error(span):
    driver = drive(monitor(extractor=lambda _segment: [Claim(key="k", span=span)]))
    driver.feed("x\n1+1=2\nmore\n")
    driver.settle()
    driver.end()
    assert driver.summary.status == "unverified"
    assert "outside its segment" in driver.summary.unverified_reasons[0].why


def test_an_empty_span_is_a_place_too():
    driver = drive(monitor(extractor=lambda segment: [Claim(key="1+1=3", span=segment.at(2, 2))]))
    driver.feed("abcd\n")
    driver.extract()
    driver.tell(Settled(driver.job("1+1=3"), Judged(Violation("empty", repair="X"))))
    assert driver.core.transcript.slice(0, 9) == "abX"


def test_an_extraction_that_fails_is_no_pass():
    for fact in (Errored("x"), Judged(Pass())):
        driver = drive(monitor())
        driver.feed("1+1=2\n1+1=2\n")
        driver.pending.pop(1)
        driver.tell(Settled(1, fact))
        driver.settle()
        driver.end()
        assert driver.summary.status == "unverified"


def test_claims_for_a_check_are_no_pass():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.extract()
    driver.tell(Extracted(driver.job("1+1=2"), ()))
    driver.pending.clear()
    driver.end()
    assert driver.summary.status == "unverified"


def test_a_failed_extraction_of_a_closed_monitor_abstains():
    driver = drive(monitor(unproven="closed"))
    driver.feed("1+1=2\n")
    driver.pending.clear()
    driver.tell(Settled(1, Errored("x")))
    assert (driver.summary.status, driver.summary.reason) == ("abstained", "m: error: x")


def test_the_answer_is_looked_at_at_its_end():
    driver = drive(monitor(trigger=Answer()), monitor("tools", trigger=ToolCalls(), required=False), think_tags=TAGS)
    driver.feed("<think>2+2=5</think>1+1=2\n1+1=2", size=4)
    assert not driver.pending
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"
    assert driver.shown == driver.summary.text


def test_spans_are_merged():
    assert merge([Span(5, 9), Span(0, 2), Span(2, 3), Span(6, 7)]) == (Span(0, 3), Span(5, 9))
    assert merge([]) == ()


def test_an_impossible_trigger_is_refused_at_once():
    with pytest.raises(UsageError):
        Core([monitor(trigger=Lines(every=0))])


def test_extract_orders_carry_their_segments_text_and_span():
    driver = drive(monitor())
    driver.feed("a\nb\n")
    assert [(o.segment.text, o.segment.span, o.pieces) for o in driver.orders if isinstance(o, Extract)] == [
        ("a", Span(0, 1), None),
        ("b", Span(2, 3), None),
    ]


def test_a_verdict_is_not_reused_for_another_spelling():
    # The wrong part of "2 + 2=5" does not stand where that of "2+2=5" does.
    loose = re.compile(r"(\d) ?\+ ?(\d)=(\d)")

    def extract(segment):
        return [
            Claim(key=match[0].replace(" ", ""), span=segment.at(*match.span()))
            for match in loose.finditer(segment.text)
        ]

    asked = []

    @verifier(name="spelling", worker="inline")
    def check(claim):
        asked.append(len(claim.span))
        end = len(claim.span)
        return Violation(why="wrong", where=Span(end - 1, end), repair="4")

    core = Core([monitor(verifier=check, extractor=extract, delivery="observe")])
    core.begin()
    core.step(Opened(None))
    orders = core.step(Chunk("2+2=5\n2 + 2=5\n2+2=5\n"))
    while orders:
        following = []
        for order in orders:
            match order:
                case Extract(job, segment=segment):
                    following += core.step(Extracted(job, tuple(extract(segment))))
                case Check(job, claim=claim):
                    following += core.step(Settled(job, Judged(check.check(claim))))
        orders = following
    spans = [event.violation.span for event in core.events if isinstance(event, ViolationFound)]
    text = core.transcript.slice(0, core.transcript.length)
    assert [text[span.start : span.end] for span in spans] == ["5", "5", "5"]
    assert asked == [5, 7]
