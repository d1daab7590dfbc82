"""What looks like a claim and was not read is Unknown, at its place; and which scope a certificate has."""

from __future__ import annotations

import itertools
import re

import pytest
from interwhen import Lines, Monitor, Pass, Segment, Span, Unknown, Violation, verifier
from interwhen._core.checks import TORN, UNREAD
from interwhen._core.machine import Core
from interwhen._core.messages import Ended, Extracted, Settled
from interwhen._core.segmenter import Due
from interwhen.models import Chunk
from interwhen.results import Errored, Judged
from tests.core.worlds import Driver, drive, monitor, parse

NUMBERS = re.compile(r"\d\S*\d")


def reading(driver, job):
    order = driver.pending.pop(job)
    claims = parse(order.segment)
    covered = [claim.span for claim in claims]
    spans = [order.segment.at(*match.span()) for match in NUMBERS.finditer(order.segment.text)]
    unread = tuple(span for span in spans if not any(other.covers(span) for other in covered))
    driver.tell(Extracted(job, claims, unread=unread))


@pytest.mark.parametrize("delivery", ["interrupt", "gate", "final", "observe"])
def test_unreadable_claims_give_located_doubts_without_blocking_text(delivery):
    driver = drive(monitor(delivery=delivery))
    driver.feed("1+1=2\nand 2~2=5 too\n")
    while driver.pending:
        job = min(driver.pending)
        if hasattr(driver.pending[job], "claim"):
            driver.answer(job)
        else:
            reading(driver, job)
    driver.end()
    summary = driver.summary
    assert summary.status == "unverified"
    assert [(doubt.monitor, doubt.span) for doubt in summary.unverified_reasons] == [("m", Span(10, 15))]
    assert "could not be read" in summary.unverified_reasons[0].why
    assert summary.violations == ()
    assert driver.shown == summary.text


def test_closed_ends_the_run_there():
    driver = drive(monitor(unproven="closed"))
    driver.feed("1+1=2\nand 2~2=5 too\n")
    for _ in range(2):
        reading(driver, min(driver.pending))
    driver.settle()
    assert driver.summary.status == "abstained"
    assert driver.summary.text == "1+1=2\n"


def test_the_frontier_stops_before_what_was_not_read():
    driver = drive(monitor())
    driver.feed("1+1=2\n2~2=5\n3+3=6\n")
    for _ in range(3):
        reading(driver, min(number for number, order in driver.pending.items() if not hasattr(order, "claim")))
    driver.settle()
    driver.end()
    assert driver.core.gates.frontier == 6


def test_spans_outside_their_segment_are_extraction_errors():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    job = min(driver.pending)
    driver.pending.pop(job)
    driver.tell(Extracted(job, (), unread=(Span(3, 7),)))
    driver.end()
    [record] = driver.summary.checks
    assert isinstance(record.outcome, Errored)
    assert "lies outside its segment" in record.outcome.error


def test_a_cut_forgets_unreadable_claims_after_it():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n3~3=6\n")
    for _ in range(3):
        reading(driver, min(number for number, order in driver.pending.items() if not hasattr(order, "claim")))
    driver.settle()
    assert driver.state == "opening"
    driver.open()
    driver.feed("\n")
    driver.extract()
    driver.settle()
    driver.end()
    assert driver.summary.text == "1+1=2\n2+2=4\n"
    assert driver.summary.status == "verified"


def test_unread_text_in_torn_lines_counts_as_torn():
    checks = drive(monitor()).core.checks
    segment = Segment("1+1\n2+2\n3", Span(0, 9), "answer")
    [order], _ = checks.open([Due(segment, (0,), tears=(Span(0, 3),))])
    checks.extracted(Extracted(order.job, (), unread=(Span(0, 9), Span(4, 7), Span(0, 3))))
    assert {record.span: record.outcome for record in checks.records()} == {
        Span(0, 9): TORN,
        Span(4, 7): UNREAD,
        Span(0, 3): TORN,
    }


# ---------------------------------------------------------------------- scope


def ends_with(verdict, *, phase="answer", **options):
    driver = drive(monitor(**options))
    driver.feed("1+1=2\n", phase=phase)
    driver.extract()
    for job in list(driver.pending):
        driver.pending.pop(job)
        driver.tell(Settled(job, Judged(verdict)))
    driver.feed("done", phase="answer")
    driver.end()
    driver.settle()
    return driver.summary


def test_only_a_judged_answer_is_certified_as_answer():
    assert ends_with(Pass(scope="answer"), scope="answer").certificate.scope == "answer"
    assert ends_with(Pass(), scope="answer").certificate.scope == "steps"


def test_a_monitor_certifies_only_the_scope_it_declares():
    assert ends_with(Pass(scope="answer")).certificate.scope == "steps"


def test_a_right_value_in_reasoning_certifies_no_answer():
    assert ends_with(Pass(scope="answer"), phase="reasoning", scope="answer").certificate.scope == "steps"


def test_an_optional_monitor_adds_no_certificate_scope():
    driver = drive(monitor("steps"), monitor("answer", scope="answer", required=False))
    driver.feed("1+1=2\n")
    driver.extract()
    for job, order in list(driver.pending.items()):
        driver.pending.pop(job)
        driver.tell(Settled(job, Judged(Pass(scope="answer" if order.monitor else "steps"))))
    driver.end()
    assert driver.summary.certificate.scope == "steps"


def test_one_unknown_beside_it_leaves_the_run_unverified():
    assert ends_with(Unknown("?"), scope="answer").status == "unverified"


# ---------------------------------------------------------------------- coverage


@pytest.mark.parametrize(("least", "status"), [(0.0, "verified"), (0.5, "verified"), (0.51, "unverified")])
def test_checked_claims_must_cover_the_required_text_share(least, status):
    driver = drive(monitor(), min_coverage=least)
    driver.feed("1+1=2\nmore\n"[:10])
    driver.extract()
    driver.settle()
    driver.end()
    driver.settle()
    assert driver.summary.status == status
    if status == "unverified":
        assert [doubt.why for doubt in driver.summary.unverified_reasons] == [
            "checked claims cover 50.0% of the text, and 51.0% is required"
        ]


# ---------------------------------------------------------------------- two violations at one offset


def refuting(name, repair):
    @verifier(name=name, worker="inline")
    def check(claim):
        raise AssertionError("the driver answers")

    return check, repair


def whole(segment):
    return parse(segment)


VERIFIERS = [refuting("zeta", "9+9=18"), refuting("alpha", "8+8=16"), refuting("mid", None)]


def watch(name, number, **options):
    return Monitor(name=name, verifier=VERIFIERS[number][0], extractor=whole, trigger=Lines(), **options)


def play(order, monitors, repairs, lengths):
    driver = Driver(Core(monitors))
    driver.open()
    driver.feed("2+2=5\n")
    for place in order:
        mine = [job for job, each in driver.pending.items() if each.monitor == place]
        for job in mine:
            if not hasattr(driver.pending[job], "claim"):
                driver.answer(job)
        for job in [job for job, each in driver.pending.items() if each.monitor == place]:
            driver.pending.pop(job)
            where = Span(0, lengths[place])
            driver.tell(Settled(job, Judged(Violation(why="wrong", where=where, repair=repairs[place]))))
    if driver.state == "opening":
        driver.open()
        driver.feed("\n")
        driver.tell(Chunk("", tokens=0, finish_reason="stop"))
        while driver.pending:
            for job, each in list(driver.pending.items()):
                if not hasattr(each, "claim"):
                    driver.answer(job)
                else:
                    driver.pending.pop(job)
                    driver.tell(Settled(job, Judged(Pass())))
        driver.tell(Ended())
    summary = driver.summary
    acted = [(each.monitor, each.span, each.remedy, each.inserted) for each in summary.violations if each.remedy]
    return summary.status, summary.text, acted


@pytest.mark.parametrize("lengths", [(5, 5, 5), (5, 3, 5), (1, 5, 3)])
@pytest.mark.parametrize("same_extraction", [True, False])
def test_choosing_among_violations_at_one_offset_ignores_timing(lengths, same_extraction):
    monitors = tuple(watch(f"m{number}", number) for number in range(3))
    repairs = tuple(repair for _, repair in VERIFIERS)
    endings = set()
    for order in itertools.permutations(range(3)):
        if same_extraction:
            endings.add(repr(play(order, monitors, repairs, lengths)))
        else:
            # The claims of one monitor are not even known while those of another are refuted.
            endings.add(repr(play(order, monitors[::-1], repairs[::-1], lengths[::-1])))
    assert len(endings) == 1, endings
