"""The judge of the simulator is itself compared: with a second reference, and by hand."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interwhen import Lines, Paragraphs, Sentences
from interwhen.triggers import Markers
from tests.core.references import reference, trimmed
from tests.simulation.truth import (
    SimulatedTrace,
    claims_in,
    mishap_of,
    passes,
    read_by,
    refutes,
    segments_of,
)
from tests.simulation.worlds import MonitorSetup, VerifierFault, VerifierSetup

TRIGGERS = {
    "lines": Lines(),
    "pairs": Lines(every=2),
    "paragraphs": Paragraphs(),
    "sentences": Sentences(),
    "markers": Markers(words=("Wait", "Hmm")),
}
PIECES = st.sampled_from(["3+4=7", "3+4=8", "12-3=9", "\n", "\n\n", " ", ". ", "Wait", "Hmm ", "so ", "! ", "7"])


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(sorted(TRIGGERS)))
@example("7 . 3+4=7", "sentences")
@example("7! 3+4=7", "sentences")
def test_segments_are_those_of_another_reference(text, name):
    trace = SimulatedTrace("no", text, ended=True)
    segments = segments_of(trace, MonitorSetup("m", trigger=name))
    assert [part for start, end, _ in segments for part in trimmed(text, start, end)] == reference(TRIGGERS[name], text)
    assert all(complete for _, _, complete in segments)


def test_a_segment_is_complete_when_something_follows_it():
    trace = SimulatedTrace("no", "1+1=2\n3+4")
    assert segments_of(trace, MonitorSetup("m")) == [(0, 6, True), (6, 9, False)]
    trace.ended = True
    assert segments_of(trace, MonitorSetup("m"))[-1] == (6, 9, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3+4=7", [("3+4=7", True)]),
        ("3+4=8, 2*3=6", [("3+4=8", False), ("2*3=6", True)]),
        ("13-4=9 and 1+2+3=6 and 3+4=", [("13-4=9", True)]),
        ("3+4=71", [("3+4=71", False)]),
    ],
)
def test_claims_and_whether_they_are_right(text, found):
    assert [(claim.text, claim.is_right) for claim in claims_in(text)] == found


def test_what_we_said_is_nobodys_claim():
    trace = SimulatedTrace("no", "3+4=8")
    trace.insert("\nWait, 3+4=8 is wrong.\n", "feedback")
    trace.add("1+1=2\n", "answer", call=False)
    assert [claim.text for claim, _ in read_by(trace, MonitorSetup("m"))] == ["3+4=8", "1+1=2"]
    assert [claim.text for claim, _ in read_by(trace, MonitorSetup("m", trigger="answer"))] == ["3+4=8", "1+1=2"]


def test_reading_claims_possibly_cut_by_feedback_is_optional():
    trace = SimulatedTrace("no", "3+4=8\n1+1=2", tears=True)
    trace.insert("\nWait.\n", "feedback")
    watch = MonitorSetup("m", trigger="answer")
    assert [claim.text for claim, _ in read_by(trace, watch)] == ["3+4=8"]
    assert [claim.text for claim, _ in read_by(trace, watch, torn=True)] == ["3+4=8", "1+1=2"]


@pytest.mark.parametrize(
    ("thinking", "text", "reasoning", "answer"),
    [
        ("tags", "<think>1+1=2\n</think>3+4=7", ["1+1=2"], ["3+4=7"]),
        ("opened", "1+1=2\n</think>3+4=7", ["1+1=2"], ["3+4=7"]),
        ("opened", "1+1=2\n", ["1+1=2"], []),
        ("tags", "1+1=2", [], ["1+1=2"]),
        ("no", "1+1=2</think>3+4=7", [], ["1+1=2", "3+4=7"]),
    ],
)
def test_phases(thinking, text, reasoning, answer):
    trace = SimulatedTrace(thinking, text, ended=True)
    for phase, expected in (("reasoning", reasoning), ("answer", answer)):
        assert [claim.text for claim, _ in read_by(trace, MonitorSetup("m", phase=phase))] == expected


def test_a_judge_is_honest_but_for_its_mishaps():
    [right], [wrong] = claims_in("3+4=7"), claims_in("3+4=8")
    assert passes(VerifierSetup(), right)
    assert refutes(VerifierSetup(), wrong)
    assert not passes(VerifierSetup(), wrong)
    for kind in ("raises", "unknown", "true"):
        fails = VerifierSetup(mishaps=(VerifierFault("3+4", kind),))
        assert not passes(fails, right)
        assert not refutes(fails, wrong)
    assert refutes(VerifierSetup(mishaps=(VerifierFault("3+4", "long_repair"),)), wrong)
    assert mishap_of(VerifierSetup("thread", deadline=1.0, seconds=(2.0,)), right) == "hangs"
    assert mishap_of(VerifierSetup("inline", deadline=1.0, seconds=(2.0,)), right) == ""
