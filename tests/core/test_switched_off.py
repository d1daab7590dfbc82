"""Supervision that is switched off in the midst of a run: the rest passes unchecked, and nothing is verified."""

import pytest
from interwhen import Retracted
from interwhen._core.messages import Abandoned, Broken, Close, Ended, Open, OutOfTime, SwitchedOff
from interwhen.events import CheckSettled, StreamEnded
from tests.core.worlds import STRICT, drive, monitor

OFF = "supervision was switched off"


def is_off(summary):
    return summary.status == "unverified" and any(OFF in reason.why for reason in summary.unverified_reasons)


@pytest.mark.parametrize("delivery", ["observe", "interrupt", "gate", "final"])
def test_what_comes_later_is_not_checked(delivery):
    driver = drive(monitor(delivery=delivery))
    driver.feed("1+1=2\n")
    driver.settle()
    driver.tell(SwitchedOff())
    driver.feed("1+1=3\n")
    assert not driver.pending
    driver.end()
    assert driver.shown == driver.summary.text == "1+1=2\n1+1=3\n"
    assert not driver.summary.violations
    assert is_off(driver.summary)
    assert driver.summary.unverified_reasons[0].span.start == 6


@pytest.mark.parametrize("delivery", ["gate", "final"])
def test_switching_off_immediately_shows_text_held_by_gates(delivery):
    driver = drive(monitor(delivery=delivery))
    driver.feed("1+1=3\n")
    driver.extract()
    assert driver.shown == ""
    driver.tell(SwitchedOff())
    assert driver.shown == "1+1=3\n"
    assert not driver.pending
    driver.feed("more")
    assert driver.shown == "1+1=3\nmore"
    driver.end()
    assert is_off(driver.summary)


def test_open_checks_are_cancelled_and_say_why():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.extract()
    driver.tell(SwitchedOff())
    assert driver.of(CheckSettled)[-1].check.outcome.why == OFF
    driver.end()
    assert is_off(driver.summary)


def test_switching_off_drops_waiting_violations_and_resumes_generation():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=5\n")
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    assert driver.state == "deciding"
    assert any(isinstance(order, Close) for order in driver.orders)
    driver.tell(SwitchedOff())
    assert driver.state == "opening"
    assert isinstance(driver.orders[-1], Open)
    assert driver.orders[-1].pieces[0].text == "1+1=2\n2+2=5\n"
    driver.open()
    driver.feed("the rest")
    driver.end()
    assert driver.shown == driver.summary.text == "1+1=2\n2+2=5\nthe rest"
    assert not driver.of(Retracted)
    assert is_off(driver.summary)


def test_switching_off_drops_late_violations_and_ends_runs():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n2+2=5\n")
    driver.end()
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    assert driver.state == "deciding"
    driver.tell(SwitchedOff())
    assert driver.shown == driver.summary.text == "1+1=2\n2+2=5\n"
    assert driver.summary.finish_reason == "stop"
    assert is_off(driver.summary)


def test_switching_off_ends_the_final_wait_for_checks():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n")
    driver.end()
    assert driver.summary is None
    driver.tell(SwitchedOff())
    assert driver.shown == "1+1=2\n"
    assert is_off(driver.summary)
    assert len(driver.of(StreamEnded)) == 1


def test_a_correction_that_was_begun_stays():
    driver = drive(monitor(verifier=STRICT))
    driver.feed("2+2=5\n")
    driver.settle()
    assert driver.state == "opening"
    driver.tell(SwitchedOff())
    assert driver.state == "opening"
    driver.open()
    driver.feed("\n3+3=7\n")
    driver.end()
    assert driver.summary.text == driver.shown == "2+2=4\n3+3=7\n"
    assert driver.summary.remedies == 1
    assert is_off(driver.summary)


def test_switched_off_runs_still_reconnect_after_a_break():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=3")
    driver.tell(SwitchedOff())
    driver.tell(Broken("reset", retryable=True))
    driver.open()
    driver.feed(" and more")
    driver.end()
    assert driver.shown == driver.summary.text == "1+1=3 and more"
    assert is_off(driver.summary)


@pytest.mark.parametrize("end", [OutOfTime(1.0), Abandoned(), Broken("x", retryable=False)])
def test_no_end_is_verified_or_hides_text(end):
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n1+1=3")
    driver.tell(SwitchedOff())
    driver.tell(end)
    assert driver.summary.status != "verified"
    assert driver.summary.text == driver.shown == "1+1=2\n1+1=3"


def test_a_second_switch_changes_nothing():
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.tell(SwitchedOff())
    before = len(driver.seen), len(driver.orders)
    driver.tell(SwitchedOff())
    assert before == (len(driver.seen), len(driver.orders))
    driver.tell(Ended())
    assert [reason.monitor for reason in driver.summary.unverified_reasons if OFF in reason.why].count("") == 1
