"""Chunks, ends, breaks and what the reader is shown, story by story."""

from __future__ import annotations

import pytest
from interwhen import Budgets, CodeBlocks, Delta, Feedback, Paragraphs, Span, Violation
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Close,
    Ended,
    Extracted,
    Open,
    Opened,
    OutOfTime,
    Resumed,
    Settled,
)
from interwhen.events import Remedied, StreamBroken, StreamStarted
from interwhen.models import Chunk, Usage
from interwhen.remedies import Stop
from interwhen.results import Judged
from interwhen.triggers import Markers
from tests.core.worlds import STRICT, call_chunk, drive, make_verifier, monitor

TAGS = ("<think>", "</think>")


def test_a_closed_streams_finish_reason_never_affects_another():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    driver.chunk("", tokens=0, finish="stop")
    driver.open()
    driver.feed("\n1+1=2\n")
    driver.tell(Ended())  # no reason given: truncated
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "truncated")


def test_a_late_chunk_cannot_turn_length_into_stop():
    driver = drive(monitor())
    driver.feed("1+1=2\n", finish="length")
    driver.tell(Ended())
    driver.chunk("", tokens=0, finish="stop")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")


def test_half_a_tag_is_regenerated_after_a_reconnect():
    driver = drive(monitor(), think_tags=TAGS, starts_in="reasoning")
    driver.feed("1+1=2</thi")
    driver.tell(Broken("reset", retryable=True))
    assert driver.orders[-1].pieces[-1].text == "1+1=2"
    driver.open()
    driver.feed("</think>2+2=4")
    driver.end()
    driver.settle()
    end = driver.summary
    assert (end.status, end.reasoning, end.answer) == ("verified", "1+1=2", "2+2=4")
    assert end.kept + end.discarded == driver.fed
    assert end.reconnects == 1


def test_half_a_tag_becomes_text_when_runs_end():
    driver = drive(monitor(), think_tags=TAGS, starts_in="reasoning")
    driver.feed("1+1=2</thi")
    driver.tell(Broken("refused", retryable=False))
    assert (driver.summary.status, driver.summary.text, driver.summary.reason) == ("failed", "1+1=2</thi", "refused")
    assert driver.summary.kept == driver.fed
    assert driver.of(StreamBroken)[0].action == "fail"


def test_half_a_tag_shows_before_reasoning_field_text():
    driver = drive(monitor(), think_tags=("<think>", "</think>"))
    driver.chunk("<thi")
    driver.chunk("so", phase="reasoning")
    driver.end()
    driver.settle()
    assert driver.shown == driver.summary.text == "<thiso"
    assert [(delta.text, delta.phase) for delta in driver.of(Delta)] == [("<thi", "answer"), ("so", "reasoning")]


def test_reconnects_have_a_budget():
    driver = drive(budgets=Budgets(reconnects=1))
    for _ in range(2):
        driver.tell(Broken("reset", retryable=True))
        driver.open()
    assert driver.summary.status == "failed"


def test_each_stream_is_announced():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    driver.open()
    assert [event.generation for event in driver.of(StreamStarted)] == [0, 1]


def test_a_stream_that_breaks_is_announced():
    driver = drive(monitor(), budgets=Budgets(reconnects=1))
    for happens in ("reconnect", "fail"):
        driver.tell(Broken("a reset", retryable=True))
        assert driver.of(StreamBroken)[-1].action == happens
        driver.open()


def test_the_last_way_to_resume_stays_known():
    driver = drive(monitor(), opened=False)
    driver.tell(Opened("prefix", "the server was probed"))
    driver.feed("2+2=5\n")
    driver.settle()
    driver.open()
    driver.feed("\n")
    driver.settle()
    driver.end()
    assert driver.summary.resume.mode == "prefix"
    assert [event.resume for event in driver.of(StreamStarted)] == ["prefix", None]


def test_a_break_after_the_finish_reason_ends_normally():
    driver = drive(monitor())
    driver.feed("1+1=2", finish="stop")
    driver.tell(Broken("reset", retryable=True))
    driver.settle()
    assert driver.summary.status == "verified"
    assert not driver.of(StreamBroken)


def test_a_previous_streams_end_is_ignored_while_reopening():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    driver.tell(Ended())
    assert driver.state == "opening"


def test_a_stopped_run_keeps_no_incomplete_gated_segment():
    driver = drive(
        monitor("gate", delivery="gate", trigger=Paragraphs()),
        monitor("m", verifier=STRICT, remedy=Stop()),
        max_tokens=1,
    )
    driver.chunk("1+1=2\n\n3+3=6\nso\n7+1=8\n", tokens=70)
    driver.settle()
    assert driver.shown == driver.summary.text == "1+1=2\n\n"


def test_stopped_runs_keep_only_text_released_by_gates():
    driver = drive(monitor("gate", delivery="gate", trigger=Paragraphs()), monitor("m", verifier=STRICT, remedy=Stop()))
    driver.feed("1+1=2\n\n3+3=7\n2+2=5\n")
    driver.settle(max)
    assert driver.summary.status == "unverified"
    assert driver.shown == driver.summary.text == "1+1=2\n\n"


def test_a_stop_cuts_until_no_gate_holds_anything():
    lines = monitor("lines", delivery="gate", verifier=make_verifier("slow"))
    markers = monitor("markers", delivery="gate", trigger=Markers(("so",)), verifier=make_verifier("quick"))
    driver = drive(lines, markers, monitor("stops", verifier=STRICT, remedy=Stop()))
    driver.feed("1+1=2 so on\n7+1=8\nmore")
    driver.extract()
    checks = {(driver.core.monitors[o.monitor].name, o.claim.key): job for job, o in driver.pending.items()}
    for who in (("markers", "1+1=2"), ("stops", "7+1=8"), ("stops", "1+1=2"), ("lines", "1+1=2"), ("lines", "7+1=8")):
        driver.answer(checks[who])  # the last one lets the violation be acted upon
    assert driver.summary is not None
    assert driver.summary.status == "unverified"
    assert driver.summary.text == driver.shown == ""


def test_a_gate_shows_lines_in_order_once_checked():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n2+2=4\n", size=2)
    assert driver.shown == ""
    driver.extract()
    driver.answer(driver.job("2+2=4"))
    assert driver.shown == ""
    driver.answer(driver.job("1+1=2"))
    assert driver.shown == "1+1=2\n2+2=4\n"


def test_completing_a_gated_segment_shows_text_before_it():
    driver = drive(monitor(trigger=CodeBlocks(), delivery="gate"))
    driver.chunk("so\n```\n1+1=2\n```\n")
    assert driver.shown == "so\n"


def test_text_before_an_open_block_is_shown():
    driver = drive(monitor(trigger=CodeBlocks(), delivery="gate"))
    for text, shown in (("so\n", "so\n"), ("and", "so\nand"), ("\n``", "so\nand\n"), ("`\n1+1", "so\nand\n")):
        driver.chunk(text)
        assert driver.shown == shown


def test_final_shows_reasoning_and_holds_the_answer():
    driver = drive(monitor(delivery="final"), think_tags=TAGS)
    driver.feed("<think>1+1=2</think>2+2=4", size=5)
    assert driver.shown == "<think>1+1=2</think>"
    driver.end()
    assert driver.shown == "<think>1+1=2</think>"
    driver.settle()
    assert driver.shown == driver.summary.text
    assert driver.summary.status == "verified"


@pytest.mark.fault("W22", injected="more tokens than `max_tokens`", happens="ended as `length`, not verified")
def test_an_endless_stream_is_ended():
    driver = drive(monitor(), max_tokens=10)
    for _ in range(200):
        driver.chunk("1+1=2\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")
    assert driver.summary.kept == 75
    assert Close() in driver.orders


@pytest.mark.fault("W22", injected="a resume without tokens left", happens="no request: ended as `length`")
@pytest.mark.parametrize("remedy", [None, Feedback()])
def test_a_run_out_of_tokens_is_not_resumed(remedy):
    options = {} if remedy is None else {"remedy": remedy}
    driver = drive(monitor(**options), max_tokens=2)
    driver.chunk("1+1=2\n2+2=5", tokens=2)
    driver.chunk("\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")
    assert sum(isinstance(order, Open) for order in driver.orders) == 1
    assert driver.shown == driver.summary.text


@pytest.mark.fault("V7", injected="verdicts and text after the end", happens="ignored")
def test_facts_after_the_end_are_ignored():
    driver = drive()
    driver.tell(Abandoned())
    summary, seen = driver.summary, len(driver.seen)
    for fact in (
        Chunk("x"),
        Opened(None),
        Ended(),
        Broken("x", retryable=True),
        OutOfTime(1.0),
        Abandoned(),
        Extracted(1, ()),
    ):
        assert driver.core.step(fact) == []
    assert (driver.summary, len(driver.seen)) == (summary, seen)
    assert driver.state == "done"


def test_messages_arriving_at_the_wrong_time_are_ignored():
    driver = drive(monitor(), opened=False)
    driver.tell(Ended())
    assert driver.state == "opening"
    driver.open()
    driver.open()
    assert driver.core.counts.requests == 1
    driver.feed("1+1=2")
    driver.end()
    driver.tell(Broken("reset", retryable=True))
    assert driver.state == "draining"


def test_each_delta_gives_its_start_author_and_phase():
    driver = drive(monitor(), starts_in="reasoning")
    driver.feed("2+2=5\n", phase="reasoning")
    driver.settle()
    driver.open()
    driver.feed(".\n", phase="answer")
    driver.settle()
    assert driver.of(Delta) == [
        Delta("2+2=5\n", 0, "reasoning"),
        Delta("4", 4, "reasoning", "repair"),
        Delta(".\n", 5, "answer"),
    ]


def test_a_call_is_shown_as_a_call():
    driver = drive(monitor())
    driver.chunk("so ")
    chunk = call_chunk("first", "1+1=2")
    driver.tell(chunk)
    assert [delta.call for delta in driver.of(Delta)] == [None, chunk.call]


def test_later_stops_never_replace_a_length_finish_reason():
    driver = drive(monitor())
    driver.feed("1+1=2\n", finish="length")
    driver.settle()
    driver.chunk("", tokens=0, finish="stop")
    driver.tell(Ended())
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")


def test_a_repair_with_template_tokens_becomes_feedback():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.extract()
    (job,) = driver.pending
    del driver.pending[job]
    driver.tell(Settled(job, Judged(Violation(why="wrong", where=Span(4, 5), repair="</think>4"))))
    (remedied,) = driver.of(Remedied)
    assert remedied.violation.remedy == "feedback"
    assert "</think>" not in remedied.violation.inserted


def test_another_process_continues_a_run_without_spending_reconnects():
    driver = drive(monitor(), budgets=Budgets(reconnects=0), think_tags=("<think>", "</think>"))
    driver.feed("<think>1+1=2\n2+</th")
    driver.settle()
    driver.tell(Resumed())
    assert driver.state == "opening"
    asked = driver.orders[-1]
    assert isinstance(asked, Open)
    assert "".join(piece.text for piece in asked.pieces) == "<think>1+1=2\n2+"
    assert driver.core.counts.reconnects == 0
    driver.tell(Resumed())
    assert driver.orders[-1] is asked


def test_another_process_accepts_an_already_announced_end():
    driver = drive(monitor())
    driver.feed("1+1=2\n", finish="stop")
    driver.tell(Resumed())
    driver.settle()
    assert (driver.summary.status, driver.summary.text) == ("verified", "1+1=2\n")


@pytest.mark.parametrize("retryable", [True, False])
def test_half_a_tag_stays_when_no_tokens_remain(retryable):
    driver = drive(think_tags=("<think>", "</think>"), max_tokens=1)
    driver.feed("<think>so</th")
    driver.tell(Broken("reset", retryable=retryable))
    assert driver.summary.text == driver.shown == "<think>so</th"
    assert (driver.summary.finish_reason, driver.summary.reconnects) == ("length", 0)
    assert driver.summary.kept == driver.fed == 1


@pytest.mark.parametrize("count", [(1 << 63) - 1, 1 << 63, 10**30])
def test_impossibly_large_server_token_counts_raise_no_exception(count):
    driver = drive(monitor())
    driver.feed("1+1=2\n")
    driver.tell(Chunk("", tokens=0, finish_reason="stop", usage=Usage(completion_tokens=count)))
    driver.tell(Ended())
    driver.settle()
    assert driver.summary is not None
