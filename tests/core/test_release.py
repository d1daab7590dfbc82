"""The release rule: one table in the code, the same in the docs, and a core that keeps to it whatever happens."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from interwhen import (
    Answer,
    Budgets,
    Claim,
    Feedback,
    Fork,
    Paragraphs,
    Pass,
    Repair,
    Resample,
    ToolCalls,
    Unknown,
    Violation,
)
from interwhen._core.messages import Abandoned, Broken, OutOfTime, Settled
from interwhen._core.release import TABLE, fate_of, kind_of, way_of
from interwhen.events import FrontierMoved
from interwhen.remedies import Retry, Stop
from interwhen.results import Cancelled, Errored, Judged, Skipped, TimedOut
from interwhen.triggers import EveryChars
from tests.core.worlds import STRICT, drive, monitor, parse, parse_ungrounded

DOCS = Path(__file__).parents[2] / "docs" / "release.md"
FAILED = [Errored("x"), TimedOut(1.0), Cancelled("x"), Skipped("x")]
GATES = ["gate", "gate_tools", "final"]
DELIVERIES = ["observe", "interrupt", *GATES]
CALL = "<tool_call>{1+1=2}</tool_call>"


def gated(delivery, **options):
    return monitor(delivery=delivery, trigger=ToolCalls() if delivery == "gate_tools" else Answer(), **options)


def whole(segment):
    return [Claim(key=segment.text, span=segment.span)]


def play(*monitors, outcome, text=CALL, **options):
    driver = drive(*monitors, **options)
    driver.feed(text)
    driver.end()
    driver.extract()
    driver.pending.pop(job := min(driver.pending))
    driver.tell(Settled(job, outcome))
    driver.settle()
    return driver


# ------------------------------------------------------------------ the table


def test_the_docs_have_the_table_of_the_code():
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    written = {(kind, way): rest for kind, way, rest in rows if (kind, way) in TABLE}
    assert len(rows) == len(written), "a row twice, or one that the code does not have"
    assert written == {key: in_words(rule) for key, rule in TABLE.items()}


def in_words(rule):
    return rule.fate if rule.option is None else f'{rule.fate}; `{rule.option}="{rule.value}"`: {rule.otherwise}'


def test_the_table_is_complete_and_only_gates_hold():
    kinds, ways = {kind for kind, _ in TABLE}, {way for _, way in TABLE}
    assert set(TABLE) == set(product(kinds, ways))
    for (kind, way), rule in TABLE.items():
        fates = {rule.fate, rule.otherwise} - {None}
        assert fates <= {"gating": {"released", "held"}, "live": {"shown", "retracted"}, "observe": {"shown"}}[way]
        assert kind != "pass" or fates <= {"released", "shown"}
        assert kind != "violation" or way == "observe" or fates <= {"held", "retracted"}


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_every_outcome_has_a_fate(delivery):
    way = way_of(delivery)
    assert kind_of(Judged(Pass())) == "pass"
    assert kind_of(Judged(Unknown(""))) == "unknown"
    assert kind_of(Judged(Unknown("", excused=True))) == "excused"
    assert fate_of("excused", way) == ("held" if delivery in GATES else "shown")
    assert kind_of(Judged(Violation(""))) == "violation"
    assert {kind_of(outcome) for outcome in FAILED} == {kind_of(Judged("garbage"))} == {"failure"}
    assert fate_of("failure", way) == ("held" if delivery in GATES else "shown")
    assert fate_of("failure", way, on_error=Retry(2)) == fate_of("failure", way)
    assert fate_of("failure", way, on_error="open") == fate_of("pass", way)
    assert fate_of("failure", way, on_error=Retry(2, then="open")) == fate_of("pass", way)
    assert fate_of("failure", way, unproven="closed") == fate_of("unknown", way, unproven="closed")
    assert fate_of("failure", way, unproven="closed", on_error="open") == fate_of("pass", way)
    assert fate_of("unknown", way, on_error="closed") == fate_of("pass", way)


# ------------------------------------------------------------------ the core keeps to it

CASES = [*FAILED, Judged(Unknown("?")), Judged(Unknown("?", excused=True)), Judged("garbage")]


@pytest.mark.fault("G1", injected="each failure of a check, each delivery", happens="a gate holds; live text is shown")
@pytest.mark.parametrize("on_error", [None, "open", "closed", Retry(0), Retry(0, then="open")])
@pytest.mark.parametrize("unproven", ["open", "closed"])
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("outcome", CASES, ids=str)
@pytest.mark.parametrize("extraction", [False, True])
def test_checks_without_a_pass_follow_the_release_table(outcome, delivery, unproven, on_error, extraction):
    who = gated(delivery, unproven=unproven, on_error=on_error)
    if extraction:
        outcome = outcome if not isinstance(outcome, Judged) else Errored("x")
        driver = drive(who)
        driver.feed(CALL)
        driver.end()
        driver.pending.pop(job := min(driver.pending))
        driver.tell(Settled(job, outcome))
    else:
        driver = play(who, outcome=outcome)
    fate = fate_of(kind_of(outcome), way_of(delivery), unproven=unproven, on_error=on_error)
    shown = "" if fate in ("held", "retracted") else CALL
    assert (driver.shown, driver.summary.text) == (shown, shown)
    assert driver.summary.status == ("unverified" if shown else "abstained")
    if fate == "held":
        assert not any(event.text for event in driver.seen if hasattr(event, "text")), "it was shown for a moment"


def test_a_gate_holds_a_repeated_doubtful_violation():
    doubtful = Judged(Violation("no", sure=False))
    driver = drive(gated("gate", remedy=Resample()))
    for _ in range(2):
        driver.feed(CALL)
        driver.end()
        driver.extract()
        if driver.pending:  # the verdict on the second claim is known
            driver.pending.pop(job := min(driver.pending))
            driver.tell(Settled(job, doubtful))
            driver.open()
    assert (driver.summary.status, driver.shown) == ("abstained", "")


@pytest.mark.parametrize("delivery", GATES)
def test_a_gate_that_is_not_required_holds_too(delivery):
    assert play(gated(delivery, required=False), monitor("m"), outcome=Errored("x")).shown == ""


@pytest.mark.parametrize("delivery", GATES)
def test_a_fork_beyond_the_budget_counts_as_failure(delivery):
    fork = Fork(prompt="?", parse=lambda _reply, _segment: ())
    driver = drive(gated(delivery, extractor=fork), budgets=Budgets(forks=0))
    driver.feed(CALL)
    driver.end()
    assert (driver.shown, driver.summary.status) == ("", "abstained")


@pytest.mark.parametrize("delivery", ["gate", "final"])
@pytest.mark.parametrize("on_error", [None, "open"])
def test_an_unlocated_violation_keeps_its_gate_closed(delivery, on_error):
    who = monitor(delivery=delivery, extractor=parse_ungrounded, on_error=on_error)
    driver = drive(who)
    driver.feed("1+1=2\n2+2=5\n1+1=2\n")
    driver.end()
    driver.settle(max)
    assert driver.summary.status == "abstained"
    assert "2+2=5" not in driver.shown + driver.summary.text
    assert [record.key for record in driver.summary.violations] == ["2+2=5"]
    assert "it is 4" not in driver.summary.reason


@pytest.mark.parametrize("outcome", [Errored("x"), Judged(Violation("secret"))])
@pytest.mark.parametrize("order", [min, max])
def test_feedback_of_another_monitor_opens_no_gate(outcome, order):
    driver = drive(
        monitor("a", remedy=Feedback(), level="flag"), monitor("g", verifier=STRICT, delivery="gate", remedy=Resample())
    )
    driver.feed("2+2=5\n")
    driver.extract()
    jobs = {driver.pending[job].monitor: job for job in driver.pending}
    for who in sorted(jobs, key=lambda who: order(who, 1 - who)):
        if who == 0:
            driver.answer(jobs[0])
        else:
            driver.pending.pop(jobs[1])
            driver.tell(Settled(jobs[1], outcome))
    assert "2+2=5" not in driver.shown
    assert "2+2=5" not in driver.core.transcript.slice(0, driver.core.transcript.length)


@pytest.mark.parametrize("other", [Feedback(), Feedback("rewind"), Repair(), Resample()])
def test_lines_refuted_by_two_gates_are_never_shown(other):
    both = [monitor("a", delivery="gate", remedy=Feedback(), level="flag")]
    both.append(monitor("b", delivery="gate", remedy=other, level="flag", verifier=STRICT))
    for monitors in (both, both[::-1]):
        driver = drive(*monitors)
        driver.feed("2+2=5\n")
        driver.settle()
        while driver.state == "opening":
            driver.open()
            driver.feed("1+1=2\n", finish="stop")
        driver.end()
        driver.settle()
        assert "2+2=5" not in driver.shown
        assert driver.summary.text == driver.shown


def test_feedback_on_longer_segments_cannot_replace_gate_feedback():
    line = monitor("g", delivery="gate", remedy=Feedback("append"))
    first = monitor(
        "p", verifier=STRICT, extractor=lambda s: parse(s)[:1], trigger=Paragraphs(), remedy=Feedback("append")
    )
    driver = drive(line, first, starts_in="reasoning")
    driver.feed("7+1=8\n1+1=3\nx", phase="reasoning")
    while job := next((job for job, order in driver.pending.items() if order.monitor == 0), None):
        driver.answer(job)
    assert driver.shown == "7+1=8\n1+1=3\nWait, it is 2.\n"
    driver.settle()
    assert "1+1=3" not in driver.shown


# ------------------------------------------------------------------ runs that end before their time


@pytest.mark.parametrize("end", [Abandoned(), OutOfTime(1.0), Broken("reset", retryable=False)], ids=str)
@pytest.mark.parametrize(
    ("delivery", "kept"), [("gate", "1+1=2\n"), ("final", "why 1+1=2\n</think>"), ("interrupt", None)]
)
def test_runs_ended_early_exclude_text_held_by_gates(end, delivery, kept):
    whole = "1+1=2\n2+2=4\n</th" if delivery != "final" else "why 1+1=2\n</think>2+2=4\n"
    starts = "reasoning" if delivery == "final" else "answer"
    driver = drive(monitor(delivery=delivery), think_tags=("<think>", "</think>"), starts_in=starts)
    driver.feed(whole)
    driver.extract()
    driver.answer(driver.job("1+1=2"))
    driver.tell(end)
    assert driver.summary.text == (whole if kept is None else kept)
    assert driver.summary.text.startswith(driver.shown)
    assert driver.summary.kept + driver.summary.discarded == driver.fed


def feed_and_leave_one_check(driver):
    driver.feed("1+1=2\n2+2=4\n3+3=6\n4+4")
    driver.extract()
    late = next(job for job, order in driver.pending.items() if order.claim.span.start == 10)
    for job in [job for job in driver.pending if job != late]:
        driver.pending.pop(job)
        driver.tell(Settled(job, Judged(Pass())))
    driver.feed("=8")
    return late


@pytest.mark.parametrize("remedy", [Stop(), Feedback(), Resample()])
def test_no_run_keeps_part_of_a_gated_line(remedy):
    # What the cut of another monitor leaves of it, "2+2=", was never checked.
    other = monitor("m", trigger=EveryChars(10), remedy=remedy, on_error="closed", extractor=whole)
    driver = drive(monitor("g", delivery="gate"), other)
    late = feed_and_leave_one_check(driver)
    assert driver.shown == "1+1=2\n2+2=4\n3+3=6\n"
    driver.pending.pop(late)
    driver.tell(Settled(late, Errored("x") if isinstance(remedy, Feedback) else Judged(Violation("no"))))
    if isinstance(remedy, Resample):  # the run continues, and its time is over before the line is complete again
        driver.open()
        assert driver.shown == "1+1=2\n2+2="
        driver.tell(OutOfTime(1.0))
    assert driver.state == "done"
    assert driver.summary.text == driver.shown == "1+1=2\n"
    assert driver.summary.kept + driver.summary.discarded == driver.fed


def test_lines_completed_after_a_cut_are_not_torn():
    other = monitor("m", trigger=EveryChars(10), remedy=Resample(), extractor=whole)
    driver = drive(monitor("g", delivery="gate"), other)
    late = feed_and_leave_one_check(driver)
    driver.pending.pop(late)
    driver.tell(Settled(late, Judged(Violation("no"))))
    driver.open()
    driver.feed("4\n5")
    driver.extract()
    for job in list(driver.pending):
        driver.pending.pop(job)
        driver.tell(Settled(job, Judged(Pass())))
    driver.feed("+")
    driver.tell(OutOfTime(1.0))
    assert driver.summary.text == driver.shown == "1+1=2\n2+2=4\n"


def test_an_early_stop_releases_no_partly_checked_answer():
    held = monitor("final", delivery="final", trigger=Answer(), verifier=STRICT)
    driver = drive(held, monitor("m", remedy=Stop()))
    driver.feed("1+1=2\n2+2=5\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.text, driver.shown) == ("unverified", "", "")


def test_stopped_runs_keep_lines_their_final_monitor_passed():
    driver = drive(monitor("final", delivery="final", verifier=STRICT), monitor("m", remedy=Stop()))
    driver.feed("1+1=2\n2+2=5\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.text) == ("unverified", "1+1=2\n")


def test_ending_at_failed_lines_drops_their_held_paragraph():
    driver = drive(
        monitor("p", delivery="gate", trigger=Paragraphs()), monitor("m", on_error="closed", verifier=STRICT)
    )
    driver.feed("1+1=2\n\n3+1=4\n2+2=4\n")
    driver.extract()
    driver.pending.pop(job := driver.job("2+2=4"))
    driver.tell(Settled(job, Errored("x")))
    driver.settle()
    assert (driver.summary.status, driver.summary.text) == ("abstained", "1+1=2\n\n")


@pytest.mark.parametrize("delivery", ["gate", "final"])
def test_refuted_lines_awaiting_earlier_checks_are_not_kept(delivery):
    driver = drive(monitor(delivery=delivery), monitor("m", verifier=STRICT))
    driver.feed("1+1=2\n2+2=5\n3+3=6\n")
    driver.extract()
    mine = sorted(job for job, order in driver.pending.items() if order.monitor == 0)
    for job in mine:
        driver.answer(job)
    assert driver.state == "deciding"
    driver.tell(OutOfTime(1.0) if delivery == "gate" else Abandoned())
    assert "2+2=5" not in driver.summary.text
    assert [record.key for record in driver.summary.violations][:1] == ["2+2=5"]


def test_one_gate_suffices_to_show_only_checked_text():
    driver = drive(monitor(delivery="gate"), monitor("live", verifier=STRICT))
    assert driver.core.gates.shows_checked_text
    assert not drive(monitor(), monitor("final", delivery="final")).core.gates.shows_checked_text


def test_the_frontier_moves_with_the_check_that_passes():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n")
    driver.settle()
    assert [event.to for event in driver.of(FrontierMoved)] == [6]


def test_the_frontier_passes_refutations_that_arrive_after_feedback():
    driver = drive(monitor(remedy=Feedback()), starts_in="reasoning")
    driver.feed("2+2=5 and 4+4=9\n", phase="reasoning")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.open()
    driver.feed("3+3=6\n", phase="reasoning")
    driver.extract()
    driver.answer(driver.job("4+4=9"))  # refuted behind the feedback that answers its segment
    driver.answer(driver.job("3+3=6"))
    driver.end()
    driver.settle()
    assert driver.summary is not None
    assert driver.of(FrontierMoved)[-1].to == len(driver.summary.text)


@pytest.mark.parametrize("trigger", [None, ToolCalls()])
def test_the_frontier_passes_text_outside_a_monitors_segments(trigger):
    slow = monitor("slow", phase="reasoning") if trigger is None else monitor("slow", trigger=trigger)
    driver = drive(slow, monitor("quick", phase="answer", verifier=STRICT), starts_in="reasoning")
    driver.feed("1+1=2\n", phase="reasoning")
    driver.settle()
    driver.feed("\n", phase="reasoning")
    for line in ("1+1=2\n", "2+2=4\n"):
        driver.feed(line)
        driver.settle()
    driver.end()
    driver.settle()
    assert driver.summary is not None
    assert driver.of(FrontierMoved)[-1].to == driver.core.gates.frontier == len(driver.summary.text)


def test_a_cut_moves_the_frontier_back():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.settle()
    driver.feed("so")
    gates = driver.core.gates
    assert gates.frontier == 12
    for to, frontier in ((6, 6), (9, 6)):
        gates.cut(to)
        assert gates.frontier == frontier
