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
        tape.grow(2 * number, float(number), start, 1)
    return transcript, tape


def test_each_text_is_an_entry_with_its_time_and_its_place():
    _, tape = written("one ", "two")
    assert list(tape.written()) == [
        TextWritten(0.0, 0, "one ", 4, "answer", "model", 1, number=0),
        TextWritten(1.0, 4, "two", 3, "answer", "model", 1, number=2),
    ]
    assert (tape.styles, tape.model_tokens) == ([(0, "answer", "model")], 2)


def test_a_cut_leaves_the_text_on_the_tape_and_gives_back_the_tokens_of_whole_entries():
    transcript, tape = written("one ", "two ", "three")
    transcript.cut(6)
    assert tape.cut(8, 9.0, 6, 7) == 1
    assert tape.cuts == [(3, 6, 9.0, -1, 7, 6, 8)]
    transcript.insert("2", "repair")
    tape.grow(8, 9.0, 6, 0)
    assert [one.text for one in tape.written()] == ["one ", "two ", "three", "2"]
    assert [one.origin for one in tape.written()] == ["model", "model", "model", "repair"]
    assert tape.credit(0, 4).remedy == tape.cuts[0].remedy == 4


def test_numbers_are_listed_where_they_do_not_follow():
    transcript, tape = written("one ")
    for number in (1, 2, 5):
        transcript.append("more ", 1)
        tape.grow(number, 0.0, transcript.length - 5, 1)
    assert tape.numbers == [(0, 0), (3, 5)]
    assert [one.number for one in tape.written()] == [0, 1, 2, 5]


def test_tokens_of_text_that_was_held_back_count_with_the_next_text():
    transcript = Transcript("answer")
    tape = Tape(transcript)
    tape.owe(2)
    transcript.append("<b", 1)
    tape.grow(1, 0.0, 0, 1)
    assert (tape.tokens, tape.model_tokens) == ([3], 3)


def test_offsets_in_utf16_count_wide_characters_that_stand_twice():
    transcript, tape = written("a\U0001f600", "b\U0001f600c")
    assert tape.is_wide
    assert [tape.u16(offset) for offset in range(6)] == [0, 1, 3, 4, 6, 7]
    transcript.cut(3)
    tape.cut(1, 1.0, 3, 2)
    assert tape.cuts[0].wide == 4
    assert tape.u16(5) == 6
    transcript.cut(0)
    tape.cut(2, 2.0, 0, 3)
    assert (tape.is_wide, tape.u16(5)) == (False, 5)
