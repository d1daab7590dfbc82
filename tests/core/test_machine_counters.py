"""A run that has just begun, the counters of tokens and requests, and the events of a remedy."""

from __future__ import annotations

import pytest
from interwhen import Answer, Auto, Budgets, Feedback, Repair, Resample, Retracted, Span
from interwhen._core.machine import BYTES_A_TOKEN, FREE, Core, PromptCounts, RemedyPace, Window
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Chunk,
    Close,
    Ended,
    Idle,
    Open,
    Opened,
    Resumed,
    SwitchedOff,
    ToolOffer,
)
from interwhen._core.release import UnverifiedReason, unverified_reasons
from interwhen._core.written_calls import expects_text
from interwhen.events import Remedied
from interwhen.models import Usage
from interwhen.remedies import Stop
from tests.core.worlds import STRICT, drive, monitor


def test_a_new_run_has_counted_nothing():
    core = Core((monitor(),), think_tags=("<a>", "</a>"), starts_in="reasoning", resume="prefix", min_coverage=0.5)
    assert core.begin() == [Open((), 0, 0)]
    assert (core.state, core.released, core.gates.frontier, core.checks.forks) == ("opening", 0, 0, 0)
    counts = core.counts
    assert (counts.tokens(), counts.late, counts.requests, counts.reconnects) == (0, 0, 0, 0)
    assert not counts.hid_reasoning
    assert (counts.prompts.total(), counts.prompts.estimated()) == (0, 0)
    assert counts.prompts.next(0, BYTES_A_TOKEN - 1) == 0
    assert (core.violations.remedies, core.violations.resamples) == (0, 0)
    assert (core.violations.unproven, core.violations.concluded) == ([], [])
    assert (core.intake.owed, core.intake.discarded) == (0, 0)
    transcript = core.transcript
    assert (transcript.length, transcript.kept_tokens, transcript.kept_until, transcript.inserted_bytes) == (0,) * 4
    assert (core.think_tags, core.starts_in, core.resume, core.min_coverage) == (
        *(("<a>", "</a>"), "reasoning", "prefix"),
        0.5,
    )
    assert core.checks.changed


def test_the_summary_of_a_run_that_said_nothing():
    driver = drive(monitor())
    driver.tell(Ended())
    summary = driver.summary
    assert (summary.status, summary.finish_reason, summary.text) == ("unverified", "truncated", "")
    assert (summary.kept, summary.discarded, summary.late, summary.remedies, summary.reconnects, summary.forks) == (
        0,
    ) * 6
    assert summary.estimated_prompt_tokens == 0
    assert not summary.hidden_reasoning
    assert summary.certificate is None


def test_facts_have_plain_defaults():
    assert (Idle(1.0).dead, Resumed().void) == (False, False)
    assert (Open((), 0, 0).after, Open((), 0, 0).room, Open((), 0, 0).resamples) == (0.0, None, 0)
    assert not expects_text(ToolOffer())


@pytest.mark.parametrize("tool", [{"tools": {"f": {}}}, {"react": True}, {"code": (("a", "b"),)}])
def test_any_tool_offer_expects_calls_in_the_text(tool):
    assert expects_text(ToolOffer(**tool))


def test_pauses_grow_while_remedies_make_no_progress():
    pace = RemedyPace()
    assert [pace.after(cut) for cut in (0, 0, 0, 0, 0, 0, 0, 0, 0)] == [0, 0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert [pace.after(cut) for cut in (1, 1, 0, 1, 2, 2, 2)] == [0, 0, 0.1, 0.2, 0, 0, 0.1]
    assert FREE == 1


def test_a_count_before_any_request_is_stored():
    counts = PromptCounts(0)
    counts.counted(Usage(prompt_tokens=5))
    assert (counts.total(), counts.estimated(), counts.next(0, 0)) == (5, 0, 5)
    counts.counted(Usage(prompt_tokens=7))
    assert (counts.total(), counts.next(1, 0)) == (7, 8)


def test_estimates_are_never_negative():
    counts = PromptCounts(400)
    counts.opened(0, 0)
    counts.counted(Usage(prompt_tokens=1))
    counts.opened(0, 0)
    assert counts.estimated() == 1
    counts.opened(0, 0)
    counts.counted(Usage(prompt_tokens=0))
    assert (counts.estimated(), counts.total(), counts.next(0, 0)) == (0, 1, 0)


def test_a_token_count_of_a_server_is_bounded():
    counts = PromptCounts(0)
    counts.opened(0, 0)
    counts.counted(Usage(prompt_tokens=1 << 50))
    assert counts.total() == 1 << 40
    driver = drive(monitor())
    assert driver.core.counts.reported(Usage(completion_tokens=1 << 50)) == 1 << 40
    assert driver.core.counts.reported(Usage(completion_tokens=None)) == 0


def test_all_tokens_that_arrived_are_counted():
    driver = drive(monitor())
    driver.chunk("1+1=2\n", tokens=3)
    driver.chunk("", tokens=2)
    assert driver.core.intake.owed == 2
    assert driver.core.counts.tokens() == 5
    driver.chunk("2+2=5\n", tokens=7)
    assert driver.core.counts.tokens() == 12
    driver.settle()
    assert driver.core.intake.discarded > 0
    driver.chunk("late", tokens=11)
    assert (driver.core.counts.late, driver.core.counts.tokens()) == (11, 23)
    driver.open()
    driver.settle()
    driver.end()
    driver.settle()
    assert driver.summary.kept + driver.summary.discarded == 23
    assert driver.summary.late == 11
    assert driver.summary.discarded >= 11


def test_cut_tokens_have_arrived():
    driver = drive(monitor(), prompt_bytes=400)
    driver.feed("1+1=2\n2+2=5\n", size=2)
    driver.settle()
    assert driver.core.counts.tokens() == driver.fed == 6
    driver.open()
    driver.feed("\n")
    driver.end()
    driver.settle()
    assert driver.summary.estimated_prompt_tokens > 0


def test_late_chunks_add_tokens_only_the_server_counted():
    driver = drive(monitor())
    driver.feed("2+2=5\n")
    driver.settle()
    for counted, late in ((1, 2), (6, 5)):
        driver.tell(Chunk("so", tokens=2 if late == 2 else 0, usage=Usage(completion_tokens=counted)))
        assert driver.core.counts.late == late


@pytest.mark.parametrize("counted", [1, 2, 9])
def test_early_server_token_counts_may_exceed_chunk_counts(counted):
    driver = drive(monitor())
    driver.tell(Chunk("1+1=2", usage=Usage(completion_tokens=counted)))
    assert driver.core.counts.tokens() == counted


def test_a_request_counts_what_came_before_it():
    driver = drive(monitor(), budgets=Budgets(reconnects=2))
    driver.chunk("1+1=2\n", tokens=3)
    driver.tell(Broken("reset", retryable=True))
    driver.open()
    assert driver.core.counts.requests == 2
    assert driver.core.counts.reported(Usage(completion_tokens=4)) == 7
    driver.tell(Chunk("so", tokens=1, usage=Usage(completion_tokens=4)))
    assert driver.core.counts.tokens() == 7
    assert driver.core.counts.reconnects == 1


@pytest.mark.parametrize(
    ("usage", "phase", "hidden"),
    [
        (Usage(reasoning_tokens=3), "answer", True),
        (Usage(reasoning_tokens=3), "reasoning", False),
        (Usage(reasoning_tokens=0, asked_to_reason=True), "answer", False),
        (Usage(asked_to_reason=True), "answer", True),
        (Usage(), "answer", False),
        (Usage(hides_reasoning=True), "reasoning", True),
    ],
)
def test_unsent_reasoning_is_reported_at_the_end(usage, phase, hidden):
    driver = drive(monitor())
    driver.chunk("1+1=2\n", phase=phase)
    driver.chunk("2+2=4\n")
    assert not driver.core.counts.hid_reasoning
    driver.tell(Chunk("", tokens=0, usage=usage, finish_reason="stop"))
    driver.end()
    driver.settle()
    assert driver.summary.hidden_reasoning is hidden
    whys = [each.why for each in driver.summary.unverified_reasons]
    assert ("the model's reasoning was not sent, so no check has seen it" in whys) is hidden


def test_only_the_first_request_sets_the_prompt_length():
    window = Window(None, 100)
    window.learn(Usage(prompt_tokens=30), 2)
    assert window.room(0, 0) == 100
    window.learn(Usage(), 1)
    assert window.room(0, 0) == 100
    window.learn(Usage(prompt_tokens=30), 1)
    assert window.room(5, 7) == 58
    assert window.room(0, 99) == 0
    assert [Window(7, None).is_full(kept) for kept in (6, 7, 8)] == [False, True, True]
    assert not Window(None, None).is_full(99)


@pytest.mark.parametrize("remedy", [Repair(), Feedback(), Feedback("rewind"), Resample(), Stop(), Auto()])
def test_each_remedy_is_announced_once(remedy):
    driver = drive(monitor(remedy=remedy))
    driver.feed("1+1=2\n2+2=5\n")
    driver.settle()
    [event] = driver.of(Remedied)
    assert event.violation.key == "2+2=5"
    assert event.violation.remedy is not None
    assert event.generation == driver.core.violations.remedies == (0 if isinstance(remedy, Stop) else 1)
    assert [order for order in driver.orders if isinstance(order, Close)] == [Close()]
    if event.violation.cut < 12:
        assert [each.to for each in driver.of(Retracted)] == [event.violation.cut]


def test_consecutive_resamples_are_counted_but_not_stream_breaks():
    driver = drive(monitor(remedy=Resample()), monitor("f", remedy=Feedback(), verifier=STRICT), budgets=Budgets())
    driver.tell(Broken("reset", retryable=True))
    assert [order.resamples for order in driver.orders if isinstance(order, Open)] == [0, 0]
    driver = drive(monitor(remedy=Resample()), monitor("f", remedy=Feedback(), verifier=STRICT))
    for text in ("2+2=5\n", "2+2=6\n", "7+1=8\n"):
        if driver.state == "opening":
            driver.open()
        driver.feed(text)
        driver.settle()
    assert [order.resamples for order in driver.orders if isinstance(order, Open)] == [0, 1, 2, 0]


def test_half_a_tag_survives_at_the_token_limit():
    for options in ({"max_tokens": 1}, {"context_tokens": 1}, {}):
        ladder = Auto(order=("feedback",), end="unverified")
        driver = drive(
            monitor(remedy=ladder),
            think_tags=("<t>", "</t>"),
            starts_in="reasoning",
            budgets=Budgets(remedies=0),
            **options,
        )
        driver.chunk("2+2=5\n", tokens=1)
        driver.chunk("</", tokens=1)
        driver.settle()
        if options:
            assert (driver.summary.text, driver.summary.finish_reason) == ("2+2=5\n</", "length")
        else:
            assert driver.state == "opening"
            assert driver.core.transcript.length == 6


def test_extra_server_counted_tokens_go_to_held_text():
    driver = drive(think_tags=("<think>", "</think>"), starts_in="reasoning")
    driver.chunk("so it is", tokens=2)
    driver.chunk("</thi", tokens=1)
    driver.tell(Chunk("", "reasoning", 0, usage=Usage(None, None, 7)))
    driver.tell(Broken("reset", retryable=True))
    driver.open()
    driver.chunk("</think>done", tokens=3)
    driver.end()
    assert driver.summary is not None
    assert driver.summary.text == "so it is</think>done"
    assert (driver.summary.kept, driver.summary.discarded) == (5, 5)


def test_half_tag_tokens_count_once_when_readers_leave():
    driver = drive(monitor(), think_tags=("<think>", "</think>"))
    driver.chunk("<thi", tokens=2)
    driver.tell(Abandoned())
    assert (driver.summary.text, driver.summary.kept, driver.shown) == ("<thi", 2, "")


@pytest.mark.parametrize(
    ("finish", "words"),
    [(None, "the run ended before the model did"), ("length", "finish reason 'length'"), ("stop", None)],
)
def test_ends_the_model_did_not_choose_are_explained(finish, words):
    reasons = unverified_reasons((), (monitor(required=False),), (), finish)
    why = [each.why for each in reasons if each.why.startswith("the text did not end by itself: ")]
    assert why == ([] if words is None else [f"the text did not end by itself: {words}"])
    assert UnverifiedReason("", None, "no required monitor watched this run") in reasons


def test_a_second_switch_changes_nothing():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n2+2=5\n")
    driver.tell(SwitchedOff())
    assert driver.shown == "1+1=2\n2+2=5\n"
    assert driver.pending == {}
    count = len(driver.orders)
    driver.tell(SwitchedOff())
    assert len(driver.orders) == count
    driver.chunk("3+3=7\n")
    assert driver.shown == "1+1=2\n2+2=5\n3+3=7\n"
    driver.end()
    assert driver.summary.unverified_reasons[0].span == Span(0, 18)


def test_a_stream_that_opens_twice_is_counted_once():
    driver = drive(monitor())
    driver.tell(Opened("prefix"))
    assert driver.core.counts.requests == 1
    assert driver.state == "streaming"


def test_each_request_says_whether_its_reasoning_was_sent():
    driver = drive(monitor(), budgets=Budgets(reconnects=1))
    driver.chunk("1+1=2\n", phase="reasoning")
    driver.tell(Broken("reset", retryable=True))
    driver.open()
    driver.tell(Chunk("2+2=4\n", tokens=1, usage=Usage(reasoning_tokens=3), finish_reason="stop"))
    assert driver.core.counts.hid_reasoning


def test_a_phase_knows_its_torn_lines():
    intake = drive(monitor(trigger=Answer())).core.intake
    list(intake.feed("1+1=2\n2+2", 1, "answer"))
    list(intake.insert("\nWait.\n", "feedback", torn=True))
    [due] = intake.end()
    assert due.tears == (Span(6, 9),)


def test_exhausted_remedies_let_the_model_finish_its_text():
    ladder = Auto(order=("feedback",), end="unverified")
    driver = drive(monitor(remedy=ladder), budgets=Budgets(remedies=0))
    driver.feed("1+1=2\n2+2=5\n")
    driver.end()
    driver.settle()
    assert (driver.summary.status, driver.summary.text) == ("unverified", "1+1=2\n2+2=5\n")
    assert [record.interrupted for record in driver.summary.violations] == [False]


@pytest.mark.parametrize(("budget", "ends"), [(199, True), (200, False)])
def test_the_prompt_token_budget_is_usable_in_full(budget, ends):
    size = 100 * BYTES_A_TOKEN
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(prompt_tokens=budget), prompt_bytes=size)
    driver.feed("2+2=5\n")
    driver.settle()
    assert (driver.summary is not None) is ends


@pytest.mark.parametrize("monitors", [(), (monitor(),)])
def test_only_runs_with_monitors_can_be_switched_off(monitors):
    driver = drive(*monitors)
    driver.chunk("1+1=2\n")
    driver.tell(SwitchedOff())
    driver.end()
    driver.settle()
    whys = [each.why for each in driver.summary.unverified_reasons]
    assert ("supervision was switched off, so this was not checked" in whys) is bool(monitors)
