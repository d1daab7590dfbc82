"""Promises of the release rule, the violations and the checks that one small change of the code would break."""

from __future__ import annotations

import pytest
from interwhen import (
    Answer,
    Auto,
    Budgets,
    Claim,
    CodeBlocks,
    Delta,
    Feedback,
    Lines,
    Paragraphs,
    Pass,
    Repair,
    Resample,
    Segment,
    Sentences,
    Span,
    ToolCalls,
    Tracker,
    Violation,
)
from interwhen._core.messages import (
    Broken,
    Check,
    Close,
    Drop,
    Extracted,
    Idle,
    Invalidate,
    Open,
    Opened,
    Resumed,
    Settled,
)
from interwhen._core.scanners import PollScanner
from interwhen._core.segmenter import Intake
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Candidate, Ref, Violations, step_starts
from interwhen.events import FrontierMoved, Remedied
from interwhen.remedies import Conclude
from interwhen.results import Cancelled, CheckRecord, Judged
from interwhen.toolkit import Mention
from tests.core.call_texts import OFFER
from tests.core.worlds import STRICT, call_chunk, drive, monitor, parse

LIVE_AND_GATED = pytest.mark.parametrize("delivery", ["interrupt", "gate"])


def said(driver):
    return driver.core.transcript.slice(0, driver.core.transcript.length)


def reasoned(*monitors, **options):
    driver = drive(*monitors, starts_in="reasoning", **options)
    driver.feed("1+1=2 3+2=9\n", phase="reasoning")
    driver.settle()
    driver.open()
    driver.feed("3+3=6\n")
    driver.settle()
    driver.end()
    driver.settle()
    return driver


# ------------------------------------------------------------------ what is shown and certified


@LIVE_AND_GATED
def test_refuted_reasoning_is_not_covered(delivery):
    who = monitor(delivery=delivery, remedy=Feedback("append"))
    made = reasoned(who).summary.certificate
    assert made.refuted == (Span(0, 11),)
    assert [len(span) for span in made.covered] == [5]
    assert reasoned(who, min_coverage=0.9 * made.coverage).summary.status == "verified"
    assert reasoned(who, min_coverage=1.1 * made.coverage).summary.status == "unverified"


def test_only_a_required_monitor_judges_the_answer():
    def scope(*, required):
        judge = monitor("judge", trigger=Answer(), scope="answer", required=required)
        driver = drive(judge, monitor("steps", verifier=STRICT))
        driver.feed("1+1=2\n")
        driver.end()
        driver.extract()
        for job, order in list(driver.pending.items()):
            driver.pending.pop(job)
            driver.tell(Settled(job, Judged(Pass(scope="answer" if order.monitor == 0 else "steps"))))
        return driver.summary.certificate.scope

    assert [scope(required=True), scope(required=False)] == ["answer", "steps"]


def test_a_refuted_line_holds_the_frontier():
    driver = drive(monitor(delivery="observe"))
    driver.feed("1+1=2\n3+2=9\n3+3=6\n")
    driver.settle()
    driver.end()
    assert driver.core.gates.frontier == 6


def test_gates_release_nothing_from_a_refuted_segment_onward():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2\n2+2=4\n")
    driver.settle()
    assert driver.core.gates.settled() > 6
    assert driver.core.gates.settled({0: 6}) == 6


def test_each_move_of_the_frontier_is_an_event():
    driver = drive(monitor())
    known = 0
    for line in ("1+1=2\n", "text\n", "2+2=5\n", "\n3+3=6\n"):
        if driver.state == "opening":
            driver.open()
        driver.feed(line)
        while driver.pending:
            driver.answer(min(driver.pending))
            if driver.core.gates.frontier > known:
                assert driver.of(FrontierMoved)[-1].to == driver.core.gates.frontier
            known = driver.core.gates.frontier
    assert known > 12


def test_a_pass_on_empty_text_shows_nothing():
    empty = monitor(extractor=lambda segment: [Claim(key="1+1=2", span=segment.at(0, 0))])
    driver = drive(empty)
    driver.feed("1+1=2\n")
    driver.settle()
    driver.end()
    assert driver.summary.status == "unverified"
    assert all(event.text for event in driver.of(Delta))


# ------------------------------------------------------------------ what is done about a violation


@pytest.mark.parametrize("remedy", [Feedback("append"), Auto(order=("feedback",), place="append")])
def test_feedback_leaves_no_refuted_call_in_the_answer(remedy):
    driver = drive(monitor(trigger=ToolCalls(), remedy=remedy))
    driver.feed("<tool_call>{3+2=9}</tool_call>")
    driver.settle()
    assert [event.violation.remedy for event in driver.of(Remedied)] == ["feedback"]
    assert "tool_call" not in said(driver)


@pytest.mark.parametrize("remedy", [Repair(), Auto()])
def test_no_repair_ends_inside_a_number(remedy):
    driver = drive(monitor(remedy=remedy))
    driver.feed("2+2=5.5\n")
    driver.settle()
    assert [event.violation.remedy == "repair" for event in driver.of(Remedied)] == [False]


def violations(*monitors):
    intake = Intake(monitors, tags=None, phase="answer")
    intake.feed("2+2=5\n2+2=5\n", 1, "answer")
    return Violations(monitors, intake, Budgets())


def candidate(number, start, violation):
    span = Span(start, start + 5)
    ref = Ref(number, Claim(key="2+2=5", span=span), Segment("2+2=5", span, "answer"))
    return Candidate(span, ref, violation, "no")


def test_a_monitor_giving_up_keeps_only_its_violations():
    collector = violations(monitor("a"), monitor("b"))
    for number, start, violation in ((0, 0, Violation("no")), (0, 6, None), (1, 0, Violation("no"))):
        collector.add(candidate(number, start, violation))
    collector.pass_over(0)
    assert collector.first().ref.monitor == 1
    assert [(each.monitor, each.interrupted) for each in collector.records()] == [("a", False), ("b", True)]


def test_what_ended_the_reasoning_is_not_noted_again():
    end = {"remedy": Conclude(), "phase": "reasoning", "required": False}
    collector = violations(monitor("a", **end), monitor("b", **end), monitor("c"))
    first, *others = [candidate(0, 0, Violation("no")), candidate(1, 0, Violation("no")), candidate(1, 6, None)]
    for each in (first, *others, candidate(2, 0, Violation("no"))):
        collector.add(each)
    collector.pass_over_conclusions(but=first)
    assert [(each.monitor, each.interrupted) for each in collector.records()] == [("b", False), ("c", True)]


def test_unproven_claims_are_never_recorded_as_violations():
    collector = violations(monitor("a"))
    collector.add(candidate(0, 0, None))
    collector.note_all()
    assert collector.records() == ()


@pytest.mark.parametrize("deliveries", [("interrupt", "interrupt"), ("gate", "interrupt"), ("gate", "gate")])
def test_one_refuted_line_gets_one_feedback(deliveries):
    both = [monitor("a", delivery=deliveries[0], remedy=Feedback("append"))]
    both.append(monitor("b", delivery=deliveries[1], remedy=Feedback("append"), verifier=STRICT))
    driver = drive(*both)
    driver.feed("3+2=9\n")
    driver.settle()
    assert said(driver).count("Wait") == 1


@pytest.mark.parametrize("pick", [min, max])
@LIVE_AND_GATED
def test_feedback_answers_each_violation_of_its_line(delivery, pick):
    driver = drive(monitor(delivery=delivery, remedy=Feedback("append")))
    driver.feed("3+2=9 1+3=8\n")
    driver.settle(pick)
    assert len(driver.of(Remedied)) == 1
    assert said(driver).startswith("3+2=9 1+3=8\nWait")


def test_gate_feedback_answers_later_refutations_of_its_line():
    driver = drive(monitor(delivery="gate", remedy=Feedback("append")))
    driver.feed("3+2=9 1+3=8\n")
    driver.extract()
    driver.answer(driver.job("3+2=9"))
    driver.settle()
    assert len(driver.of(Remedied)) == 1
    driver.open()
    driver.feed("1+1=2\n")
    driver.settle()
    assert "1+3=8\nWait" in driver.shown


@LIVE_AND_GATED
def test_feedback_makes_no_refuted_answer_right(delivery):
    driver = drive(monitor(delivery=delivery, remedy=Feedback("append")))
    driver.feed("3+2=9\n")
    driver.settle()
    driver.open()
    driver.feed("3+2=5\n")
    driver.settle()
    driver.end()
    driver.settle()
    assert (driver.core.gates.frontier, driver.summary.status) == (0, "unverified")


@pytest.mark.parametrize(("delivery", "holds"), [("interrupt", False), ("gate", True)])
def test_feedback_excuses_no_unproven_claim_under_a_gate(delivery, holds):
    driver = drive(monitor(delivery=delivery, unproven="closed", remedy=Feedback("append")))
    driver.feed("3+2=9 5+5=20\n")
    driver.settle()
    assert (driver.state == "done") is holds


def test_feedback_on_answers_keeps_the_frontier_before_them():
    said = monitor("said", required=False, remedy=Feedback("append"))
    driver = drive(said, monitor("late", delivery="observe", verifier=STRICT))
    driver.feed("3+2=9\n")
    driver.extract()
    driver.answer(min(driver.pending))
    driver.settle()
    driver.open()
    driver.feed("1+1=2\n")
    driver.settle()
    driver.end()
    assert driver.core.gates.frontier == 0


# ------------------------------------------------------------------ checks


def test_a_gate_awaits_open_checks_beside_unread_text():
    driver = drive(monitor(delivery="gate"))
    driver.feed("1+1=2 and 2~2\n")
    job = min(driver.pending)
    order = driver.pending.pop(job)
    driver.tell(Extracted(job, parse(order.segment), unread=(Span(10, 13),)))
    assert (driver.shown, driver.core.checks.first_open(0)) == ("", 0)
    driver.settle()
    assert driver.shown == "1+1=2 and 2~2\n"


def test_shared_checks_survive_cutting_one_of_their_claims():
    driver = drive(monitor(delivery="observe"))
    driver.feed("1+1=2\ntext\n1+1=2\n")
    driver.extract()
    orders = driver.core.checks.cut(11)
    assert not any(isinstance(order, Drop) for order in orders)
    assert [[ref.span.start for ref in job.refs] for job in driver.core.checks.jobs.values()] == [[0]]


# ------------------------------------------------------------------ segments, cuts and counts


@pytest.mark.parametrize(
    ("trigger", "texts", "again"),
    [
        (Lines(), ("1+1=2", "3\n"), ["3"]),
        (Lines(joins=("so",)), ("1+1=2\n2+2=4", "3\nx"), ["3"]),
        (CodeBlocks(), ("```\nx\n```", "\n```\ny\n```\n"), ["```\ny\n```"]),
        (CodeBlocks(), ("```\nx\n```", "x\n```\n"), []),
    ],
    ids=["lines", "joined lines", "code blocks", "a fence that continues"],
)
def test_text_following_an_end_stays_separate_after_cuts(trigger, texts, again):
    intake = Intake((monitor(trigger=trigger),), tags=None, phase="answer")
    list(intake.feed(texts[0], 1, "answer"))
    list(intake.end())
    list(intake.feed(texts[1], 1, "answer"))
    intake.cut(len(texts[0]) + 1)
    dues = [*intake.feed(texts[1][1:], 1, "answer")]
    assert [due.segment.text for due in dues][:1] == again


def test_two_lines_are_two_steps():
    transcript = Transcript("answer")
    transcript.append("One. Two.\nThree. Four.", 1)
    assert step_starts(transcript, 0, transcript.length) == [0, 10]
    transcript.cut(9)
    assert step_starts(transcript, 0, transcript.length) == [0, 5]


def test_cutting_an_opening_tag_restores_the_first_phase():
    intake = Intake((monitor(),), tags=("<think>", "</think>"), phase="answer")
    list(intake.feed("<think>so</think>4", 1, "answer"))
    intake.cut(0)
    assert intake.transcript.phases == [(0, "answer")]


def test_tokens_without_text_count_when_the_reader_leaves():
    intake = Intake((monitor(),), tags=None, phase="answer")
    list(intake.feed("1", 1, "answer"))
    list(intake.feed("", 2, "answer"))
    intake.keep_held()
    assert (intake.owed, intake.transcript.kept_tokens) == (0, 3)


@pytest.mark.parametrize("trigger", [Lines(joins=("so",)), Lines()])
def test_complete_lines_are_checked_even_in_unfinished_text(trigger):
    intake = Intake((monitor(trigger=trigger),), tags=None, phase="answer")
    dues = [*intake.feed("1+1=2\n", 1, "answer"), *intake.end(finished=False)]
    assert [due.segment.text for due in dues] == ["1+1=2"]


def test_the_summary_counts_numbers_that_no_check_covered():
    driver = drive(monitor())
    driver.feed("1+1=2 and 7\n")
    job = min(driver.pending)
    order = driver.pending.pop(job)
    driver.tell(Extracted(job, parse(order.segment), mentions=(Mention(Span(10, 11), ("7",)),)))
    driver.settle()
    driver.end()
    [count] = driver.summary.numbers
    assert (count.total, [span.start for span in count.unchecked]) == (1, [10])


def test_the_last_check_of_a_claim_counts():
    segments = drive(monitor()).core.checks._segments[0]
    records = [
        CheckRecord(
            monitor="m", verifier="v", version="1", key=key, span=Span(0, 5), segment=Span(0, 6), outcome=outcome
        )
        for key, outcome in (("1+1=2", Cancelled("late")), ("1+1=2", Judged(Pass())))
    ]
    for record in records:
        segments.record(record)
    assert segments.records() == records[1:]


def test_a_cut_forgets_all_conclusions_after_it():
    end = {"remedy": Conclude(), "phase": "reasoning", "required": False}
    collector = violations(monitor("a", **end))
    collector.concluded += [candidate(0, 0, Violation("no")), candidate(0, 6, Violation("no"))]
    collector.cut(6)
    assert len(collector.concluded) == 1
    collector.concluded.append(candidate(0, 6, Violation("no")))
    collector.cut(0)
    assert collector.concluded == []


def test_another_gates_feedback_answers_an_equally_ending_segment():
    collector = violations(monitor("a", delivery="gate"), monitor("b", delivery="gate"), monitor("c"))
    collector._answered += [(Span(2, 5), 0), (Span(4, 5), 2)]
    assert collector._is_answered_by_another(Span(0, 5), 1)
    assert not collector._is_answered_by_another(Span(0, 5), 0)


def test_a_failed_extraction_ends_its_segment():
    driver = drive(monitor(delivery="gate", on_error="open"))
    driver.feed("1+1=2\n")
    job = min(driver.pending)
    driver.pending.pop(job)
    driver.tell(Extracted(job, (Claim(key="1+1=2", span=Span(50, 55)),)))
    assert (driver.shown, driver.core.checks.first_open(0)) == ("1+1=2\n", None)


@pytest.mark.parametrize("most", [5, 8])
def test_a_repair_may_reuse_the_tokens_it_replaces(most):
    driver = drive(monitor(), max_tokens=most, counts_own_text=True)
    for token in ("2", "+", "2", "=", "5", "\n"):
        driver.feed(token)
    driver.settle()
    assert [event.violation.remedy for event in driver.of(Remedied)] == ["repair"]


@pytest.mark.parametrize(("own", "goes_on"), [(False, True), (True, False)])
def test_inserted_text_uses_tokens_only_if_server_counted(own, goes_on):
    driver = drive(monitor(), max_tokens=5, counts_own_text=own)
    for token in ("2", "+", "2", "=", "5", "\n"):
        driver.feed(token)
    driver.settle()
    assert (driver.state == "opening") is goes_on


@pytest.mark.parametrize(
    ("trigger", "text", "line_end"),
    [(Lines(), "3+3=5\n", ""), (Lines(), "1+1=2\n3+3=5\n", None), (Sentences(), "It is so. 3+3=5. ", None)],
)
def test_only_samples_from_the_start_need_no_newline(trigger, text, line_end):
    driver = drive(monitor(trigger=trigger, remedy=Resample()))
    driver.feed(text)
    driver.settle()
    assert driver.state == "opening"
    assert driver.core.transcript.line_end == line_end


def test_each_line_of_a_group_counts_once():
    intake = Intake((monitor(trigger=Lines(every=2)),), tags=None, phase="answer")
    assert list(intake.feed("a\n", 1, "answer")) == []
    assert [due.segment.text for due in intake.feed("b\n", 1, "answer")] == ["a\nb"]


def test_cutting_into_a_line_forgets_its_stored_ending():
    transcript = Transcript("answer")
    transcript.append("1+1=2", 1)
    transcript.end_line("\n")
    transcript.cut(5)
    assert transcript.line_end == "\n"
    transcript.cut(4)
    transcript.append("3", 1)
    assert transcript.line_end is None


def test_tokens_without_text_count_beside_think_tags():
    intake = Intake((monitor(),), tags=("<think>", "</think>"), phase="answer")
    list(intake.feed("1", 1, "answer"))
    list(intake.feed("", 2, "answer"))
    intake.keep_held()
    assert (intake.owed, intake.transcript.kept_tokens) == (0, 3)


def test_cutting_after_an_initial_line_end_tears_nothing():
    intake = Intake((monitor(),), tags=None, phase="answer")
    list(intake.feed("\n1+1", 1, "answer"))
    assert not intake.tears(1)


@pytest.mark.parametrize(("length", "count"), [(200, 1), (201, 0)])
def test_a_fence_has_at_most_two_hundred_characters(length, count):
    intake = Intake((monitor(trigger=CodeBlocks()),), tags=None, phase="answer")
    assert len(list(intake.feed(f"{'```':x<{length}}\nx\n```\n", 1, "answer"))) == count


def test_a_cut_makes_later_parts_rechoose_their_length():
    chosen = []
    scanner, transcript = PollScanner(lambda start, _: chosen.append(start) or 2), Transcript("answer")
    transcript.append("abcdef", 1)
    assert len(list(scanner.feed(transcript))) == 3
    assert chosen == [0, 2, 4, 6]
    transcript.cut(1)
    scanner.rewind(transcript)
    transcript.append("bcdef", 1)
    assert len(list(scanner.feed(transcript))) == 3
    assert chosen == [0, 2, 4, 6, 2, 4, 6]


# ------------------------------------------------------------------ replaced text, records and events


def test_a_continued_line_is_judged_as_a_whole():
    calls = monitor("calls", trigger=ToolCalls(), delivery="gate_tools", remedy=Resample(), required=False)
    driver = drive(monitor(delivery="observe"), calls)
    driver.feed("4+9=1")
    driver.tell(call_chunk("call", "2+2=5"))
    driver.extract()
    driver.answer(driver.job("2+2=5"))
    driver.open()
    driver.feed("3\n")
    driver.settle()
    driver.end()
    assert (said(driver), driver.summary.status) == ("4+9=13\n", "verified")
    assert [each.key for each in driver.summary.violations] == ["2+2=5"]


def test_each_record_names_the_code_that_judged_it():
    driver = drive(monitor(), codes=["old"])
    driver.feed("1+1=2\n")
    driver.settle()
    driver.tell(Resumed(codes=("new",)))
    driver.open()
    driver.feed("1+1=2\n2+2=4\n")
    driver.settle()
    driver.end()
    assert [(each.key, each.code_sha256) for each in driver.summary.checks] == [
        ("1+1=2", "old"),
        ("1+1=2", "old"),
        ("2+2=4", "new"),
    ]


def chain_after(*lines):
    driver = drive(monitor(remedy=Resample()))
    for line in lines:
        driver.feed(line)
        driver.settle()
        if driver.state == "opening":
            driver.open()
    driver.end()
    assert driver.summary.text == "1+1=2\n2+2=4\n"
    return driver.summary.certificate.chain_sha256


def test_the_chain_tells_of_checks_on_removed_text():
    chains = [
        chain_after("1+1=2\n", "2+2=4\n"),
        chain_after("1+1=2\n", "2+2=5\n", "2+2=4\n"),
        chain_after("1+1=2\n", "2+2=6\n", "2+2=4\n"),
    ]
    assert len({*chains}) == 3
    assert chain_after("1+1=2\n", "2+2=4\n") == chains[0]


def test_a_late_violation_moves_the_frontier_back():
    driver = drive(monitor("early"), monitor("late", verifier=STRICT, required=False, remedy=Resample()))
    driver.feed("7+1=8\n")
    driver.extract()
    driver.answer(driver.job("7+1=8"))
    driver.feed("\n")
    assert driver.core.gates.frontier == 6
    driver.settle()
    assert (driver.state, said(driver), driver.core.gates.frontier) == ("opening", "", 0)


def tracked(**options):
    return monitor(extractor=Tracker(lambda _: 0, lambda state, segment: (state, parse(segment))), **options)


def test_trackers_forget_the_torn_line_before_a_turn():
    driver = drive(tracked())
    driver.feed("1+1=2\n2+")
    driver.tell(Broken("reset", retryable=True))
    driver.tell(Opened("turn"))
    assert said(driver) == "1+1=2\n"
    assert [(order.start, order.end) for order in driver.orders if isinstance(order, Invalidate)] == [(6, 0)]


def test_a_known_mistake_closes_the_stream_first():
    driver = drive(monitor(remedy=Feedback("append")))
    driver.feed("3+2=9\n")
    driver.settle()
    driver.open()
    driver.orders.clear()
    driver.feed("1+1=2 3+2=9\n")
    driver.extract()
    kinds = [type(order) for order in driver.orders]
    assert kinds.index(Close) < kinds.index(Check)


def test_feedback_spends_no_tokens_unless_servers_count_it():
    driver = drive(monitor(remedy=Feedback("append")), max_tokens=10)
    for token in ("3", "+", "2", "=", "9", "\n"):
        driver.feed(token)
    driver.settle()
    assert (driver.state, said(driver)) == ("opening", "3+2=9\nWait, it is 5.\n")
    [*_, request] = [order for order in driver.orders if isinstance(order, Open)]
    assert request.spent == 5


def test_a_sample_after_a_call_keeps_the_line():
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Resample()), starts_in="reasoning")
    driver.feed("1+1=2\n4", phase="reasoning")
    driver.tell(call_chunk("call", "2+2=5"))
    driver.settle()
    assert (driver.state, said(driver), driver.core.transcript.line_end) == ("opening", "1+1=2\n4", "")
    driver.tell(Opened("turn"))
    assert (said(driver), driver.core.transcript.insertions) == ("1+1=2\n4", [])


def test_plain_text_moves_no_frontier_between_checks():
    driver = drive(monitor(trigger=CodeBlocks()))
    driver.feed("```\n1+1=2\n```\n")
    driver.settle()
    for _ in range(3):
        driver.feed("text\n")
    assert [event.to for event in driver.of(FrontierMoved)] == [14]
    driver.end()
    assert [event.to for event in driver.of(FrontierMoved)] == [14, 29]


@pytest.mark.parametrize("trigger", [Lines(), Lines(joins=("so",)), Lines(every=2), Paragraphs(), Sentences()])
def test_a_silent_model_gets_its_unfinished_segment_checked(trigger):
    driver = drive(monitor(trigger=trigger))
    driver.feed("we have 3+2=9 and then more")
    driver.tell(Idle(1.0))
    driver.settle()
    assert [event.violation.key for event in driver.of(Remedied)] == ["3+2=9"]


def test_the_last_word_may_join_its_line():
    intake = Intake((monitor(trigger=Lines(joins=("so",))),), tags=None, phase="answer")
    dues = [*intake.feed("1+1=2\nso", 1, "answer"), *intake.end()]
    assert [due.segment.text for due in dues] == ["1+1=2\nso"]


def test_plain_text_shows_at_once_after_a_mistake():
    driver = drive(monitor(trigger=CodeBlocks(), remedy=Feedback("append")))
    driver.feed("```\n3+2=9\n```\n")
    driver.settle()
    driver.open()
    driver.feed("so ")
    driver.feed("it is")
    assert driver.shown == said(driver)
    assert driver.shown.endswith("so it is")


def test_lines_beside_feedback_count_once_if_repeated():
    driver = drive(monitor(remedy=Feedback("append")), starts_in="reasoning")
    driver.feed("so 1+1=2\n3+2=9\n", phase="reasoning")
    driver.settle()
    driver.tell(Opened("turn"))
    driver.feed("so 1+1=2\n3+3=6\n", phase="reasoning")
    driver.settle()
    assert said(driver).count("so 1+1=2") == 1
    assert said(driver).endswith("3+3=6\n")


@pytest.mark.parametrize("remedy", [Feedback("append"), Auto(order=("feedback",), place="append")])
def test_reasoning_is_right_after_feedback_about_it(remedy):
    assert reasoned(monitor(remedy=remedy)).summary.status == "verified"


def test_a_text_without_calls_is_passed_whole():
    driver = drive(monitor(trigger=ToolCalls()), monitor(required=False))
    driver.feed("1+1=2\n")
    driver.settle()
    driver.end()
    assert driver.core.gates.frontier == 6


def test_a_check_that_silence_began_hides_no_pass():
    driver = drive(monitor())
    driver.feed("1+1=2\n2+2=4\n")
    driver.extract()
    driver.feed("we have many words")
    driver.answer(driver.job("1+1=2"))
    driver.feed(" and")
    driver.tell(Idle(1.0))
    driver.answer(driver.job("2+2=4"))
    driver.feed(" more")
    assert [event.to for event in driver.of(FrontierMoved)] == [6, 12]


def test_the_frontier_passes_blank_text_replacing_a_mistake():
    late = monitor("late", verifier=STRICT, required=False, remedy=Resample())
    driver = drive(monitor("watch", trigger=Sentences(), delivery="observe"), late)
    driver.feed("3+2=9\n")
    driver.extract()
    driver.answer(driver.job("3+2=9"))
    driver.feed("\n")
    driver.settle()
    driver.open()
    driver.feed("     \n")
    driver.feed("we have many words")
    driver.tell(Idle(1.0))
    driver.feed(" more")
    assert (said(driver), driver.core.gates.frontier) == ("     \nwe have many words more", 6)


def test_a_blank_line_counts_for_no_group():
    intake = Intake((monitor(trigger=Lines(every=2)),), tags=None, phase="answer")
    dues = [due for text in ("\n", "a\n", "b\n") for due in intake.feed(text, 1, "answer")]
    assert [due.segment.text for due in dues] == ["a\nb"]


@pytest.mark.parametrize("text", ["{{", "[[", "<<tool_call>", '{{"name"', "{[{[", "<[{<"])
def test_signs_that_begin_no_call_are_read_once(text):
    intake = Intake((monitor(trigger=ToolCalls()),), tags=None, phase="answer", offer=OFFER)
    assert [*intake.feed(f"{text} so\n", 1, "answer"), *intake.end()] == []


def test_ending_the_reasoning_early_counts_as_no_mistake():
    driver = drive(monitor(remedy=Conclude(), phase="reasoning", required=False), starts_in="reasoning")
    driver.feed("3+2=9\n", phase="reasoning")
    driver.settle()
    assert [event.violation.place for event in driver.of(Remedied)] == [None]


def test_half_a_think_tag_before_calls_is_text():
    driver = drive(monitor(), think_tags=("<think>", "</think>"))
    driver.feed("<think>1+1=2\n</thi")
    driver.tell(call_chunk("call", "{}"))
    assert said(driver) == "<think>1+1=2\n</thicall({})"


def test_the_repeats_budget_limits_feedback_on_refused_calls():
    calls = monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback())
    driver = drive(calls, budgets=Budgets(repeats=2))
    for _ in range(3):
        driver.open()
        driver.tell(call_chunk("call", "2+2=5"))
        driver.settle()
    assert len([event for event in driver.of(Remedied) if event.violation.remedy == "feedback"]) == 2
    assert driver.summary.status == "abstained"
