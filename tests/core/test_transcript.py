"""The transcript against a plain list of characters."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from interwhen import Span
from interwhen._core.transcript import Transcript
from interwhen._types.models import Piece
from interwhen.results import Insertion

TEXT = st.text("ab\n ", min_size=1, max_size=6)


class TranscriptMachine(RuleBasedStateMachine):
    """Each character of the model carries its origin, its phase and whether it is part of a tag."""

    def __init__(self):
        super().__init__()
        self.real = Transcript("answer")
        self.chars: list[tuple[str, str, str]] = []
        self.phase = "answer"
        self.starts: list[tuple[int, int]] = []

    @rule(text=TEXT, tokens=st.integers(0, 3))
    def append(self, text, tokens):
        self.starts.append((len(self.chars), tokens))
        self.real.append(text, tokens)
        self.chars += [(c, "model", self.phase) for c in text]

    @rule(text=TEXT, origin=st.sampled_from(["repair", "feedback"]))
    def insert(self, text, origin):
        self.real.insert(text, origin)
        self.chars += [(c, origin, self.phase) for c in text]

    @rule(phase=st.sampled_from(["reasoning", "answer"]))
    def enter(self, phase):
        self.real.enter(phase)
        self.phase = phase

    @rule(share=st.floats(0, 1))
    def cut(self, share):
        to = round(share * len(self.chars))
        gone = sum(tokens for start, tokens in self.starts if start >= to)
        assert self.real.tokens_from(to) == gone
        assert self.real.cut(to) == gone
        self.starts = [(start, tokens) for start, tokens in self.starts if start < to]
        del self.chars[to:]
        if self.chars:
            self.phase = self.chars[-1][2]
        else:
            self.phase = self.real.phase

    @rule(low=st.floats(0, 1), high=st.floats(0, 1))
    def read(self, low, high):
        start, end = sorted((round(low * len(self.chars)), round(high * len(self.chars))))
        assert self.real.slice(start, end) == "".join(c for c, _, _ in self.chars[start:end])
        runs = list(self.real.runs(start, end))
        flat = [(c, run.origin, run.phase) for run in runs for c in run.text]
        assert flat == self.chars[start:end]
        for run in runs:
            assert run.text == "".join(c for c, _, _ in self.chars[run.start : run.start + len(run.text)])

    @invariant()
    def is_the_same(self):
        assert self.real.length == len(self.chars)
        assert self.real.phase == self.phase
        assert self.real.kept_tokens == sum(tokens for _, tokens in self.starts)
        for at, (_, _, phase) in enumerate(self.chars):
            assert self.real.phase_at(at) == phase
        for phase in ("reasoning", "answer"):
            assert self.real.text_of(phase) == "".join(c for c, _, p in self.chars if p == phase)
        assert "".join(piece.text for piece in self.real.pieces()) == "".join(c for c, _, _ in self.chars)
        ours = {at for entry in self.real.insertions for at in range(entry.span.start, entry.span.end)}
        assert ours == {at for at, (_, origin, _) in enumerate(self.chars) if origin != "model"}


TranscriptMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTranscript = TranscriptMachine.TestCase


def thinking() -> Transcript:
    transcript = Transcript("answer")
    transcript.enter("reasoning")
    transcript.append_tag("<think>", 1)
    transcript.append("ab", 1)
    transcript.append_tag("</think>", 1)
    transcript.enter("answer")
    transcript.append("cd", 1)
    return transcript


def test_tags_belong_to_no_phase_s_text():
    transcript = thinking()
    assert transcript.text_of("reasoning") == "ab"
    assert transcript.text_of("answer") == "cd"
    assert transcript.pieces(9) == (Piece("<think>", "model", "reasoning"), Piece("ab", "model", "reasoning"))


@pytest.mark.parametrize(
    ("to", "phase", "tags"),
    [
        (19, "answer", 2),
        (17, "answer", 2),  # behind the closing tag the answer has begun, even while it is empty
        (16, "reasoning", 1),
        (9, "reasoning", 1),
        (7, "reasoning", 1),
        (0, "answer", 0),  # without the tag that opened it there is no reasoning
    ],
)
def test_after_a_cut_remaining_tags_decide_the_phase(to, phase, tags):
    transcript = thinking()
    transcript.cut(to)
    assert (transcript.phase, len(transcript.tags)) == (phase, tags)


def test_a_cut_inside_an_insertion_shortens_it():
    transcript = Transcript("answer")
    transcript.append("ab", 1)
    transcript.insert("cdef", "feedback")
    transcript.cut(4)
    assert transcript.insertions == [Insertion(Span(2, 4), "feedback")]


def test_a_token_cut_in_half_is_kept():
    transcript = Transcript("answer")
    transcript.append("abcd", 2)
    assert transcript.cut(2) == 0
    assert transcript.kept_tokens == 2


def test_cutting_an_untagged_answer_returns_to_the_reasoning():
    transcript = Transcript("answer")
    transcript.enter("reasoning")
    transcript.append("ab", 1)
    transcript.enter("answer")
    transcript.append("cd", 1)
    transcript.cut(2)  # no tag says that the reasoning is over
    assert transcript.phase == "reasoning"
