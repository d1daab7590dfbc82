"""The ladder: a repetition of the same words moves it on, other words may have another sample, and it ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Auto, Span, UsageError
from interwhen._core.transcript import Transcript
from interwhen._core.violations import (
    FEEDBACKS,
    RESTARTS,
    Prices,
    Trouble,
    back,
    level_of,
    next_rung,
    premise_start,
    step_starts,
)

RUNGS = ("repair", "resample", "feedback", "restart")


def climb(auto, times, *, repairable=False, earlier=True):
    tried, at = [], 0
    for each in times:
        position = next_rung(auto, Trouble(each, tuple(tried), at, repairable, earlier))
        if position is None:
            break
        at = max(at, position)
        tried.append(auto.order[position])
    return tried


def test_the_same_words_climb_the_ladder():
    assert climb(Auto(), range(1, 10)) == ["resample", "resample", "feedback", "restart"]
    assert climb(Auto(), range(1, 10), repairable=True) == ["repair", "resample", "resample", "feedback", "restart"]
    assert climb(Auto(), range(1, 10), earlier=False) == ["resample", "resample", "feedback"]


def test_different_words_exhaust_each_rung_before_the_next():
    assert climb(Auto(samples=3), [1] * 20) == ["resample"] * 3 + ["feedback"] * FEEDBACKS + ["restart"] * RESTARTS


def test_only_consecutive_repetitions_climb_the_ladder():
    assert climb(Auto(), [1, 2, 1, 1, 1, 2]) == ["resample"] * 5 + ["feedback"]


@pytest.mark.parametrize(
    ("prices", "rung"),
    [
        (None, "resample"),
        (Prices(90, prompt=10, text=40, fresh=1.0), "resample"),  # the first remedy at a place
        (Prices(20, prompt=10, text=40, fresh=1.0, spent=30), "resample"),
        (Prices(20, prompt=10, text=40, fresh=1.0, spent=31), "restart"),
        (Prices(200, prompt=10, text=40, fresh=0.1, spent=210), "resample"),
        (Prices(200, prompt=10, text=40, fresh=0.1, spent=211), "restart"),
        (Prices(200, prompt=10, text=40, fresh=None, spent=999), "resample"),
    ],
)
def test_remedies_costlier_than_a_new_sample_cause_restarts(prices, rung):
    auto = Auto()
    assert auto.order[next_rung(auto, Trouble(1, ("resample",), 1, False, True, prices))] == rung
    assert auto.order[next_rung(auto, Trouble(1, ("resample",), 1, False, False, prices))] == "resample"
    assert auto.order[next_rung(auto, Trouble(1, (), 0, True, True, prices))] == "repair"


def test_other_words_have_a_repair_of_their_own():
    assert climb(Auto(), [1] * 3, repairable=True) == ["repair"] * 3
    assert climb(Auto(), [1, 2, 1], repairable=True) == ["repair", "resample", "repair"]


def test_a_repair_waits_for_rungs_ordered_before_it():
    auto = Auto(order=("feedback", "repair"))
    assert climb(auto, [1, 1, 1], repairable=True) == ["feedback", "feedback", "repair"]
    assert climb(auto, [1, 2], repairable=True) == ["feedback"]  # these words were not new


ORDERS = st.lists(st.sampled_from(RUNGS), min_size=1, max_size=6).map(
    lambda rungs: tuple(rung for at, rung in enumerate(rungs) if rung == "resample" or rung not in rungs[:at])
)


@given(
    order=ORDERS,
    samples=st.integers(1, 9),
    times=st.lists(st.integers(1, 5), max_size=60),
    repairable=st.booleans(),
    earlier=st.booleans(),
)
def test_any_ladder_uses_only_its_rungs_and_ends(order, samples, times, repairable, earlier):
    tried = climb(Auto(order=order, samples=samples), times, repairable=repairable, earlier=earlier)
    assert set(tried) <= set(order)
    assert tried.count("resample") <= samples
    assert tried.count("feedback") <= FEEDBACKS
    assert tried.count("restart") <= (RESTARTS if earlier else 0)
    assert repairable or "repair" not in tried


@given(order=ORDERS, repairable=st.booleans())
def test_repeated_words_use_rungs_no_more_than_listed(order, repairable):
    tried = climb(Auto(order=order), range(1, 30), repairable=repairable)
    assert all(tried.count(rung) <= order.count(rung) for rung in tried)


@pytest.mark.parametrize("order", [(), ("feedback", "feedback"), ("restart", "repair", "restart"), ("stop",)])
def test_another_order_is_refused(order):
    with pytest.raises(UsageError, match="each once but resample"):
        Auto(order=order)


@pytest.mark.parametrize(
    ("most", "witness", "levels"),
    [
        ("witness", True, ["explain", "witness", "witness"]),
        ("witness", False, ["locate", "explain", "explain"]),
        ("explain", True, ["locate", "explain", "explain"]),
        ("locate", True, ["flag", "locate", "locate"]),
        ("flag", True, ["flag", "flag", "flag"]),
    ],
)
def test_the_feedback_level_rises_to_the_monitors_level(most, witness, levels):
    assert [level_of(most, number, has_witness=witness) for number in range(3)] == levels


# ----------------------------------------------------------------------------------------------- earlier points


def trace(*parts, phase="answer"):
    transcript = Transcript(phase)
    for part in parts:
        if isinstance(part, tuple):
            transcript.insert(*part)
        else:
            transcript.append(part, 1)
    return transcript


def starts_of(transcript, floor=0, end=None):
    text = transcript.slice(0, transcript.length)
    starts = step_starts(transcript, floor, transcript.length if end is None else end)
    return [text[at:].split("\n")[0] for at in starts]


def test_the_steps_are_the_lines_of_the_model():
    transcript = trace("one", "\n\n  two\n", "\nthree")
    assert starts_of(transcript) == ["one", "  two", "three"]
    assert starts_of(transcript, floor=4) == ["  two", "three"]
    assert starts_of(transcript, end=6) == ["one"]


def test_steps_are_lines_with_repairs_but_without_feedback():
    transcript = trace("one\n2 + 2 = ", ("4", "repair"), " and so\n", ("Wait.\n", "feedback"), "three\n")
    assert starts_of(transcript) == ["one", "2 + 2 = 4 and so", "three"]


def test_tags_are_no_step():
    transcript = Transcript("answer")
    transcript.enter("reasoning")
    transcript.append_tag("<think>", 1)
    transcript.append("one\ntwo\n", 2)
    transcript.append_tag("</think>", 1)
    transcript.enter("answer")
    transcript.append("three", 1)
    assert starts_of(transcript) == ["one", "two", "three"]


def test_a_single_line_is_split_at_its_sentences():
    assert starts_of(trace("It is 2.5. Then it is 3! So")) == ["It is 2.5. Then it is 3! So", "Then it is 3! So", "So"]


@given(st.lists(st.sampled_from(["a", "\n", " ", ". ", ("b\n", "feedback"), ("c", "repair")]), max_size=20), st.data())
def test_steps_are_sorted_and_within_their_range(parts, data):
    transcript = trace(*parts)
    floor = data.draw(st.integers(0, transcript.length))
    end = data.draw(st.integers(floor, transcript.length))
    starts = step_starts(transcript, floor, end)
    assert starts == sorted(set(starts))
    assert all(floor <= at < end for at in starts)


def test_going_back_stops_at_the_first_step():
    assert back([], 1) is None
    assert [back([3, 5, 8], steps) for steps in (1, 2, 3, 4, 99)] == [8, 5, 3, 3, 3]


def test_premises_are_taken_from_the_last_one_on():
    premises = (Span(4, 5), Span(9, 10), Span(9, 12))
    assert [premise_start([3, 8], premises, number) for number in range(3)] == [8, 3, None]
    assert premise_start([6], premises, 1) is None
