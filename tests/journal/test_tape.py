"""The tape: text that a cut removes stays on it, and it knows which text is in the trace."""

from interwhen._core.transcript import Transcript
from interwhen.journal._tape import Tape
from interwhen.journal._timeline import TextWritten


def written(*texts, transcript=None):
    """Return a transcript and its tape after *texts*, each of one token, one second apart."""
    transcript = transcript or Transcript("answer")
    tape = Tape(transcript)
    for number, text in enumerate(texts):
        start = transcript.length
        transcript.append(text, 1)
        tape.grow(float(number), start, 1)
    return transcript, tape


def test_each_text_is_an_entry_with_its_time_and_its_place():
    _, tape = written("one ", "two")
    assert list(tape.written()) == [
        TextWritten(0.0, 0, "one ", 4, "answer", "model", 1),
        TextWritten(1.0, 4, "two", 3, "answer", "model", 1),
    ]
    assert (tape.styles, tape.model_tokens) == ([(0, "answer", "model")], 2)


def test_a_cut_leaves_the_text_on_the_tape_and_gives_back_the_tokens_of_whole_entries():
    transcript, tape = written("one ", "two ", "three")
    transcript.cut(6)
    assert tape.cut(9.0, 6, 7) == 1
    assert tape.cuts == [(3, 6, 9.0, -1, 7, 6)]
    transcript.insert("2", "repair")
    tape.grow(9.0, 6, 0)
    assert [one.text for one in tape.written()] == ["one ", "two ", "three", "2"]
    assert [one.origin for one in tape.written()] == ["model", "model", "model", "repair"]
    # The tape is "one two three2": the trace stands on its first six characters and on its last one.
    assert [tape.position(offset) for offset in range(7)] == [0, 1, 2, 3, 4, 5, 13]
    assert tape.position(99) is None
    assert tape.credit(0, 4).remedy == tape.cuts[0].remedy == 4


def test_an_empty_tape_has_no_position():
    assert written()[1].position(0) is None


def test_tokens_of_text_that_was_held_back_count_with_the_next_text():
    transcript = Transcript("answer")
    tape = Tape(transcript)
    tape.owe(2)
    transcript.append("<b", 1)
    tape.grow(0.0, 0, 1)
    assert (tape.tokens, tape.model_tokens) == ([3], 3)


def test_offsets_in_utf16_count_wide_characters_that_stand_twice():
    transcript, tape = written("a\U0001f600", "b\U0001f600c")
    assert tape.is_wide
    assert [tape.u16(offset) for offset in range(6)] == [0, 1, 3, 4, 6, 7]
    transcript.cut(3)
    tape.cut(1.0, 3, 2)
    assert tape.cuts[0].wide == 4
    assert tape.u16(5) == 6
    transcript.cut(0)
    tape.cut(2.0, 0, 3)
    assert (tape.is_wide, tape.u16(5)) == (False, 5)
