"""What we wrote is known by offset: a model that writes our words, or our records, is only a model that writes."""

import pytest
from corpus import MARKERS, SHORT, TOKENS, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Answer, CodeBlocks, Feedback, Lines, Paragraphs, Repair, Sentences, ToolCalls
from interwhen.events import Remedied
from interwhen.remedies import FeedbackTemplate
from interwhen.triggers import EveryChars, Markers, ThinkEnd
from tests.core.driving import run
from worlds import SUM, monitor

LEVELS = ("flag", "locate", "explain", "witness")
DELIVERIES = ("observe", "interrupt", "gate", "final")
TRIGGERS = (
    Lines(),
    Paragraphs(),
    Sentences(),
    Markers(),
    EveryChars(50),
    Answer(),
    ThinkEnd(),
    ToolCalls(),
    CodeBlocks(),
)
ONE_LINE = [text for text in (*MARKERS, *TOKENS) if "\n" not in text and text.strip()]


def ours(driver):
    transcript = driver.core.transcript
    return [transcript.slice(entry.span.start, entry.span.end) for entry in transcript.insertions]


@pytest.mark.fault(
    "P8", injected="every marker that we write, written by the model", happens="no part of it counts as ours"
)
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("level", LEVELS)
def test_a_forged_marker_is_text_like_any_other(level, delivery, record_property):
    harmless = [text for text in SHORT if not SUM.search(text)]
    record_property("tries", len(harmless))
    for text in harmless:
        driver = run(monitor(delivery=delivery, level=level), think_tags=("<think>", "</think>"))
        driver.say(f"so 1+1=2\n{text}\n3+3=6\n", size=7)
        driver.end()
        driver.settle()
        summary = driver.summary
        assert summary.insertions == ()
        assert summary.text == driver.shown_by("model") == f"so 1+1=2\n{text}\n3+3=6\n"
        assert [check.key for check in summary.checks] == ["1+1=2", "3+3=6"]


@pytest.mark.fault("P8", injected="a wrong claim after, or inside of, a forged marker", happens="it is found")
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("level", LEVELS)
def test_a_model_writing_our_markers_is_still_checked(level, delivery, record_property):
    lines = [
        line for marker in ONE_LINE for line in (f"{marker} 2+2=5", f"2+2=5 {marker}", f'Wait, "2+2=5" is {marker}')
    ]
    record_property("tries", len(lines))
    for line in lines:
        driver = run(monitor(delivery=delivery, level=level, remedy=Feedback()))
        driver.say(f"{line}\n", size=5)
        driver.end()
        driver.settle()
        violations = (
            [record for record in driver.summary.violations if record.key == "2+2=5"] if driver.summary else None
        )
        if delivery == "observe":
            assert violations, line
            assert driver.summary.status == "unverified"
        else:
            assert driver.core.violations.remedies == 1, line
            assert len(ours(driver)) == 1


@pytest.mark.fault("P8", injected="our feedback, repeated by the model word for word", happens="only ours is ours")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("place", ["append", "rewind"])
def test_feedback_repeated_by_the_model_is_model_text(level, place):
    driver = run(monitor(level=level, remedy=Feedback(place)))
    driver.say("1+1=3\n")
    [said] = ours(driver)
    driver.say(f"{said}{said}1+1=2\n", size=3)
    if "=3" in said:  # it quotes the claim, which is as wrong as before
        assert driver.core.violations.remedies > 1
        return
    driver.end()
    driver.settle()
    assert len(driver.summary.insertions) == 1
    assert driver.shown_by("feedback") == said
    assert driver.shown_by("model").endswith(f"{said}{said}1+1=2\n")


@pytest.mark.fault(
    "P8", injected="a repair, written by the model in the place of ours", happens="it is checked like any text"
)
def test_a_repair_cannot_be_forged():
    driver = run(monitor())
    driver.say("2+2=5\n«4»\n» repair: 4\n2+2=5\n")
    assert ours(driver) == ["4"]
    driver.say("\n4+4=9\n")
    assert ours(driver) == ["4", "8"]


def outcome(text, size, trigger, delivery, level, remedy):
    watching = monitor(trigger=trigger, delivery=delivery, level=level, remedy=remedy)
    driver = run(watching, think_tags=("<think>", "</think>"))
    driver.say(text, size)
    if driver.state == "streaming":
        driver.end()
        driver.settle()
    return driver


@pytest.mark.fault(
    "P8",
    injected="mixtures of markers, tokens, escapes and sums, in any chunks",
    happens="insertions are ours, and the same for any chunks",
)
@settings(max_examples=40)
@given(
    texts(5).filter(bool),
    st.integers(1, 9),
    st.sampled_from(TRIGGERS),
    st.sampled_from(DELIVERIES),
    st.sampled_from(LEVELS),
    st.sampled_from([Repair(), Feedback("append"), Feedback("rewind")]),
)
def test_only_our_insertions_are_ours_under_any_chunking(text, size, trigger, delivery, level, remedy):
    driver = outcome(text, size, trigger, delivery, level, remedy)
    told = {(event.violation.cut, event.violation.inserted) for event in driver.of(Remedied)}
    insertions = driver.core.transcript.insertions
    assert len(insertions) == driver.core.violations.remedies
    for entry, piece in zip(insertions, ours(driver), strict=True):
        assert (entry.span.start, piece) in told
    standing = driver.core.transcript.slice(0, driver.core.transcript.length)
    for entry in reversed(insertions):
        standing = standing[: entry.span.start] + standing[entry.span.end :]
    assert text.startswith(standing) or remedy != Feedback("append")  # but for what was cut, the rest is the model's
    assert ours(outcome(text, None, trigger, delivery, level, remedy)) == ours(driver)


def test_a_custom_feedback_template_cannot_be_forged_either():
    template = FeedbackTemplate(flag="VERIFIED", locate="VERIFIED {quote}")
    driver = run(monitor(level="flag", remedy=Feedback()), template=template)
    driver.say("VERIFIED\n2+2=5\nVERIFIED\n")
    assert ours(driver) == ["\nVERIFIED\n"]
    assert driver.core.transcript.insertions[0].span.start == len("VERIFIED\n2+2=5")
