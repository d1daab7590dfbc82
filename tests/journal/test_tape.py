"""The tape: text that a cut removes stays on it, and it knows which text is in the trace."""

from interwhen import Span
from interwhen._core.transcript import Transcript
from interwhen.journal._tape import Tape
from interwhen.journal._timeline import RunNotes, TextCut, TextWritten


def written(*texts, **options):
    transcript, notes = Transcript("answer"), RunNotes()
    tape = Tape(transcript, notes, **options)
    for number, text in enumerate(texts):
        start = transcript.length
        transcript.append(text, 1)
        tape.grow(2 * number, float(number), start, 1)
    return transcript, tape, notes


def test_each_text_has_time_and_offset():
    _, tape, notes = written("one ", "two")
    assert list(notes.written()) == [
        TextWritten(0.0, 0, "one ", 4, "answer", "model", 1, number=0),
        TextWritten(1.0, 4, "two", 3, "answer", "model", 1, number=2),
    ]
    assert (notes.styles, tape.model_tokens) == ([(0, "answer", "model")], 2)


def test_cut_keeps_text_and_refunds_whole_entries():
    transcript, tape, notes = written("one ", "two ", "three")
    transcript.cut(6)
    assert tape.cut(8, 9.0, 6, 7) == 1
    assert notes.cuts == [TextCut(9.0, 6, 7, None, number=8)]
    transcript.insert("2", "repair")
    tape.grow(8, 9.0, 6, 0)
    texts = list(notes.written())
    assert [one.text for one in texts] == ["one ", "two ", "three", "2"]
    assert [one.origin for one in texts] == ["model", "model", "model", "repair"]
    assert [one.start for one in texts] == [0, 4, 8, 6]
    assert tape.credit(0, 4).remedy == notes.cuts[0].remedy == 4


def test_only_gaps_in_numbering_are_listed():
    transcript, tape, notes = written("one ")
    for number in (1, 2, 5):
        transcript.append("more ", 1)
        tape.grow(number, 0.0, transcript.length - 5, 1)
    assert notes.numbers == [(0, 0), (3, 5)]
    assert [one.number for one in notes.written()] == [0, 1, 2, 5]


def test_withheld_tokens_count_with_the_next_text():
    transcript, tape, notes = written()
    tape.owe(2)
    transcript.append("<b", 1)
    tape.grow(1, 0.0, 0, 1)
    assert (notes.weights, tape.model_tokens) == ([(0, 3)], 3)


def test_utf16_offsets_count_wide_characters_twice():
    transcript, tape, notes = written("a\U0001f600", "b\U0001f600c")
    assert tape.was_wide
    assert notes.chars == [3, 4]
    assert [tape.units(offset) for offset in range(6)] == [0, 1, 3, 4, 6, 7]
    assert tape.span(Span(2, 5)) == Span(3, 7)
    transcript.cut(3)
    tape.cut(1, 1.0, 3, 2)
    assert notes.cuts[0].to == 4
    assert tape.units(5) == 6
    transcript.cut(0)
    tape.cut(2, 2.0, 0, 3)
    assert tape.units(5) == 5


def test_offsets_in_characters_stay_as_they_are():
    _, tape, notes = written("a\U0001f600", "b\U0001f600c", in_characters=True)
    assert notes.chars == [2, 3]
    assert (tape.units(5), tape.span(Span(2, 5))) == (5, Span(2, 5))


def test_a_redacted_tape_has_no_text():
    _, _, notes = written("a\U0001f600", "b", redacted=True)
    assert (notes.text, notes.chars) == ([], [3, 1])
    assert [one.text for one in notes.written()] == ["", ""]
