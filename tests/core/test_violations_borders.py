"""Places, floors, and budgets, exactly at their borders."""

from __future__ import annotations

import pytest
from interwhen import (
    Auto,
    Budgets,
    Claim,
    Feedback,
    Repair,
    Resample,
    Segment,
    Span,
    ToolCall,
    ToolCalls,
    Violation,
)
from interwhen._core import violations
from interwhen._core.messages import Open
from interwhen._core.segmenter import Intake
from interwhen._core.transcript import Transcript
from interwhen._core.violations import (
    DEFAULT_TEMPLATE,
    FEW,
    Candidate,
    Ref,
    RefutationCounts,
    RemedyPlan,
    Violations,
    _visible,
    cuts_short,
    earliest,
    plan,
    refutation,
)
from interwhen.models import Chunk
from interwhen.remedies import Conclude
from interwhen.triggers import EveryChars
from tests.core.worlds import STRICT, call_chunk, drive, monitor, parse


def refuted(start, words="1+1=3", monitor=0, phase="answer", **options):
    span = Span(start, start + len(words))
    ref = Ref(monitor, Claim(key=words, span=span), Segment(words, span, phase))
    return refutation(ref, Violation("wrong", **options))


def slow_place(text, start, feedback, answered):
    left_out = {at for span in (*feedback, *(each for each in answered if each.end <= start)) for at in span.positions}
    return sum(not char.isspace() for at, char in enumerate(text[:start]) if at not in left_out)


class Range(Span):
    """A span that lists its positions."""

    @property
    def positions(self):
        return range(self.start, self.end)


@pytest.mark.parametrize("order", [(0, 5, 9, 14, 20, 25), (25, 20, 14, 9, 5, 0), (9, 25, 0, 14, 5, 20)])
def test_places_are_those_of_a_slow_count(order):
    transcript = Transcript("answer")
    transcript.append("aa b cccc", 1)
    transcript.insert("\nNo.\n", "feedback")
    transcript.append("dd eee ffff", 1)
    text = transcript.slice(0, transcript.length)
    counts = RefutationCounts(transcript)
    answered = [Range(5, 9), Range(17, 20)]
    for each in answered:
        counts.answered(Span(each.start, each.end))
    for start in order:
        assert counts.met(refuted(start))[1] == slow_place(text, start, [Range(9, 14)], answered), start


def test_positions_are_recounted_after_earlier_text_is_cut():
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("a b c    ", 1)
    assert counts.met(refuted(9)) == (1, 3)
    transcript.cut(5)
    counts.cut(5)
    transcript.append("dd    ", 1)
    assert counts.met(refuted(11)) == (1, 5)  # five visible characters are before it, not three
    transcript.cut(5)
    counts.cut(5)
    transcript.append("         ", 1)
    assert counts.met(refuted(14)) == (2, 3)


def test_only_later_positions_leave_out_an_answered_segment():
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("aaaa bbbb cccc dddd ", 1)
    counts.answered(Span(10, 14))
    assert counts.met(refuted(15))[1] == 8
    assert counts.met(refuted(5))[1] == 4
    assert counts.met(refuted(12))[1] == 10


@pytest.mark.parametrize("place", [5, 13])
def test_refutations_elsewhere_do_not_move_a_position(place):
    transcript = Transcript("answer")
    counts = RefutationCounts(transcript)
    transcript.append("aaaa bbbb cccc dddd ", 1)
    assert counts.met(refuted(place))[0] == 1
    for later in (10, 15):
        counts.met(refuted(later, "2+2=5"))
    assert counts.met(refuted(place))[0] == 2


def test_answers_with_the_same_words_are_one_repetition():
    transcript = Transcript("answer")
    transcript.append("aaaa bbbb cccc", 1)
    counts = RefutationCounts(transcript)
    assert [counts.met_at(refuted(at), -1) for at in (0, 5, 9)] == [1, 2, 3]
    assert counts.met_at(refuted(5, "2+2=5"), -1) == 1
    assert counts.met_at(refuted(5, monitor=1), -1) == 1
    assert counts.met(refuted(5))[0] == 1
    assert _visible(" a b\n\tc ") == 3


def test_a_restart_keeps_feedback_on_a_refused_call():
    calls = monitor("c", trigger=ToolCalls(), remedy=Feedback(), level="flag")
    driver = drive(calls, monitor(remedy=Auto(order=("restart",)), verifier=STRICT), resume="tokens")
    driver.feed("1+1=2\n")
    call = ToolCall(id="x", name="x", arguments="2+2=5")
    driver.tell(Chunk(call.text, call=call))
    driver.settle()
    driver.open()
    end = driver.core.transcript.length
    assert driver.core.transcript.refusals[-1][0].end == end
    driver.feed("3+2=7\n")
    driver.settle()
    assert driver.summary.status == "abstained"
    assert driver.summary.text == driver.core.transcript.slice(0, end)


@pytest.mark.parametrize(("discarded", "ends"), [(3, False), (2, True)])
def test_discarded_tokens_may_fill_their_budget_exactly(discarded, ends):
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(discarded_tokens=discarded))
    driver.chunk("1+1=2\n", tokens=5)
    driver.chunk("2+2=5\n", tokens=3)
    driver.settle()
    assert (driver.summary is not None) is ends
    if ends:
        assert driver.summary.reason == "the budget of 2 discarded tokens is spent"


@pytest.mark.parametrize("repeats", [1, 2])
def test_repeats_of_refuted_words_are_limited_by_budget(repeats):
    driver = drive(monitor(remedy=Feedback("rewind")), budgets=Budgets(repeats=repeats))
    for _ in range(repeats + 1):
        assert driver.summary is None
        if driver.state == "opening":
            driver.open()
        driver.feed("2+2=5\n")
        driver.settle()
    # Feedback is no part of the place, so the words are at the same place each time.
    times = repeats + 1
    assert driver.summary.reason == f"not converging: the same words were refuted at the same place {times} times"


@pytest.mark.parametrize("remedies", [0, 1, 2])
def test_remedies_may_fill_their_budget_exactly(remedies):
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(remedies=remedies))
    for _ in range(remedies):
        driver.feed(f"2+2={len(driver.orders) % 3 + 5}\n")
        driver.settle()
        driver.open()
    driver.feed("4+4=9\n")
    driver.settle()
    assert driver.summary.reason == f"the budget of {remedies} remedies is spent"
    assert driver.summary.remedies == remedies
    assert len([order for order in driver.orders if isinstance(order, Open)]) == remedies + 1


def test_without_remedies_a_refused_turn_keeps_no_calls():
    # No call of a turn stays if one of them is refused, so that none is made twice.
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback()), budgets=Budgets(remedies=0))
    driver.feed("so: ")
    driver.tell(call_chunk("first", "1+1=2"))
    driver.tell(call_chunk("second", "2+2=5"))
    driver.settle()
    assert driver.summary.status == "abstained"
    assert driver.summary.text == "so: "


def test_candidates_sort_by_place_and_name_not_time():
    who = (monitor("b"), monitor("a"))
    text = Segment("1+1=3 2+2=5", Span(0, 11), "answer")

    def at(start, end, number=0, key="x", *, violation=True):
        ref = Ref(number, Claim(key=key, span=Span(start, end)), text)
        return Candidate(ref.span, ref, Violation("w") if violation else None, "w")

    ordered = [
        *(at(0, 3), at(0, 5, 1, "w"), at(0, 5, 1), at(0, 5, 0), at(0, 5, 0, violation=False), at(6, 11)),
    ]
    for number in range(len(ordered)):
        assert earliest(reversed(ordered[number:]), who) is ordered[number]
        assert earliest(ordered[number:], who) is ordered[number]


@pytest.mark.parametrize(
    ("where", "span", "repair"),
    [(None, (4, 9), "4"), (Span(2, 3), (6, 7), "4"), (Span(0, 5), (4, 9), "4"), (Span(2, 6), (4, 9), None)],
)
def test_errors_outside_their_claim_cover_it_without_repair(where, span, repair):
    candidate = refuted(4, where=where, repair="4")
    assert (candidate.span.start, candidate.span.end) == span
    assert candidate.violation.repair == repair
    ref = Ref(0, Claim(key="x", span=None), Segment("1+1=3", Span(4, 9), "answer"))
    assert refutation(ref, Violation("w", where=Span(0, 1))).span == Span(4, 9)
    assert ref.text == ""


@pytest.mark.parametrize(
    ("text", "end", "cut"),
    [
        *(("12", 1, True), ("1,2", 1, True), ("1, 2", 1, False), ("1 234", 1, True), ("1 2345", 1, False)),
        *(("1 23", 1, False), ("1.5", 1, True), ("1.", 1, False), ("1a", 1, False), ("1{,}5", 1, True)),
        *(("ab", 1, True), ("a1", 1, True), ("a_", 1, True), ("a-b", 1, True), ("a-1", 1, False), ("a-", 1, False)),
        *(("a b", 1, False), (")b", 1, False), ("a", 1, False), ("1", 1, False)),
    ],
)
def test_a_repair_never_leaves_partial_numbers_or_words(text, end, cut):
    assert cuts_short(text, Span(0, end)) is cut
    assert not cuts_short(text, Span(end, end))


@pytest.mark.parametrize(
    ("remedy", "again", "cut", "insert", "name"),
    [
        (Repair(), False, 4, "2", "repair"),
        (Repair(), True, 5, "\nWait, it is 2.\n", "feedback"),
        (Repair(Resample()), True, 0, "", "resample"),
        (Feedback(), False, 5, "\nWait, it is 2.\n", "feedback"),
        (Feedback("rewind"), False, 0, "Wait, it is 2.\n", "feedback"),
        (Resample(), True, 0, "", "resample"),
    ],
)
def test_what_each_remedy_cuts_and_writes(remedy, again, cut, insert, name):
    candidate = refuted(0, where=Span(4, 5), repair="2", witness="it is 2")
    todo = plan(candidate, monitor(remedy=remedy), DEFAULT_TEMPLATE, "3", 0, again=again)
    assert (todo.remedy, todo.cut, todo.insert) == (name, cut, insert)
    assert todo.answers_segment is (cut == 5)
    assert todo.goes_on
    assert (todo.ask, todo.torn, todo.heat) == ("", False, None)


def test_feedback_inside_a_line_tears_that_line():
    watching = (monitor(trigger=EveryChars(8), remedy=Feedback(place="append")),)
    intake = Intake(watching, tags=None, phase="answer")
    [due] = intake.feed("so 2+2=5", 1, "answer")
    ref = Ref(0, parse(due.segment)[0], due.segment)
    todo, spent = Violations(watching, intake, Budgets()).plan(refutation(ref, Violation("it is 4")))
    assert (todo.cut, todo.torn, spent) == (8, True, None)


def test_a_conclusion_is_dropped_with_its_text():
    intake = Intake((monitor(),), tags=None, phase="reasoning")
    intake.feed("1+1=3\n", 1, "reasoning")
    for to, left in ((6, 1), (5, 0), (4, 0)):
        kept = Violations((monitor(remedy=Conclude(), phase="reasoning", required=False),), intake, Budgets())
        kept.conclude(refuted(0, phase="reasoning"), 5)
        [reason] = kept.concluded
        assert reason.span == Span(5, 5)
        kept.cut(to)
        assert len(kept.concluded) == left


def test_noted_violations_are_forgotten_by_monitor_and_segment():
    intake = Intake((monitor("a"), monitor("b")), tags=None, phase="answer")
    intake.feed("1+1=3\n2+2=5\n", 1, "answer")
    kept = Violations((monitor("a"), monitor("b")), intake, Budgets())
    for number in (0, 1):
        for start in (0, 6):
            kept.note(kept.record(refuted(start, monitor=number), interrupted=False))
    assert len(kept.records()) == 4
    kept.forget("a", Span(0, 6))
    assert [(record.monitor, record.span.start) for record in kept.records()] == [("b", 0), ("a", 6), ("b", 6)]
    kept.drop()
    assert not kept
    assert len(kept.records()) == 3


def test_the_numbers_of_the_ladder():
    assert (violations.FEEDBACKS, violations.RESTARTS, FEW) == (2, 2, 4)


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_conclusion_repeats_nothing(repeats):
    early = monitor(remedy=Conclude(), phase="reasoning", required=False)
    driver = drive(early, starts_in="reasoning", budgets=Budgets(repeats=repeats))
    driver.feed("2+2=5\n", phase="reasoning")
    driver.settle()
    assert bool(driver.core.transcript.conclusions) is (repeats == 1)


@pytest.mark.parametrize(("steps", "cut"), [(7, 3), (8, 4), (9, 4), (10, 5), (11, 5)])
def test_a_restart_drops_half_the_steps_rounded_up(steps, cut):
    driver = drive(monitor(remedy=Auto(order=("restart",))))
    driver.feed(
        "".join(f"{number % 10}+1={number % 10 + 1}\n" if number < 9 else "so 1\n\n" for number in range(steps))
    )
    driver.feed("3+2=7\n")
    driver.settle()
    assert driver.core.transcript.length == 6 * cut


@pytest.mark.parametrize(("end", "after"), [(5, 9), (14, 18), (7, 7)])
def test_feedback_on_a_segment_begins_at_its_end(end, after):
    intake = Intake((monitor(),), tags=None, phase="reasoning")
    for text in ("1+1=3", "2+2=5"):
        list(intake.feed(text, 1, "reasoning"))
        list(intake.insert("\nNo\n", "feedback"))
    kept = Violations((monitor(),), intake, Budgets())
    for start in (0, 9):
        todo = RemedyPlan("feedback", start + 5, answers_segment=True)
        assert kept.begin(refuted(start, phase="reasoning"), todo)
    assert kept._after_feedback(end) == after
    assert kept.remedies == 2
    assert kept.refuted() == [Span(0, 5), Span(9, 14)]


def _ref(span):
    segment = Segment("x" * len(span), span, "reasoning")
    return Ref(0, Claim(key="k", span=span), segment)


def test_cutting_where_feedback_begins_leaves_its_segment_unanswered():
    for to, stands in ((12, True), (11, False), (10, False)):
        intake = Intake((monitor(),), tags=None, phase="reasoning")
        intake.feed("1+1=2\n2+2=5\nmore", 3, "reasoning")
        violations = Violations((monitor(),), intake, Budgets())
        wrong = Candidate(Span(6, 11), _ref(Span(6, 11)), Violation(why="wrong"), "wrong")
        violations.begin(wrong, RemedyPlan("feedback", 11, answers_segment=True))
        violations.conclude(wrong, 11)
        violations.cut(to)
        assert bool(violations.concluded) is stands
        assert violations.is_answered(_ref(Span(6, 11))) is stands
        assert bool(violations.refuted()) is stands


def test_a_conclusion_passes_over_the_other_ones():
    early = monitor("early", remedy=Conclude(), phase="reasoning", required=False)
    intake = Intake((early, monitor()), tags=None, phase="reasoning")
    list(intake.feed("1+1=3\n2+2=5\n3+3=7\n4+4=9\n", 1, "reasoning"))
    kept = Violations((early, monitor()), intake, Budgets())
    first, second, third, other = (
        *(refuted(0, "1+1=3"), refuted(6, "2+2=5"), refuted(12, "3+3=7")),
        refuted(18, "4+4=9", monitor=1),
    )
    for candidate in (first, second, Candidate(third.span, third.ref, None, "unclear"), other):
        kept.add(candidate)
    kept.conclude(first, 5)
    assert [(record.key, record.interrupted) for record in kept.records()] == [("2+2=5", False), ("4+4=9", True)]
    assert kept.first() is other
