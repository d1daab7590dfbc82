"""Pictures of recorded runs, and that nothing in them acts on a terminal."""

import unicodedata
from functools import reduce

from hypothesis import example, given
from hypothesis import strategies as st
from interwhen import Delta, Pass, Retracted, Span
from interwhen.cli._text import ASCII, UNICODE, json_safe, one_line, signs_for, visible
from interwhen.cli._view import PlainLog, ViewState, apply, line_start, picture, render, status_line, tail_start
from interwhen.events import Event, FrontierMoved
from interwhen.results import Judged

from .recorded import FEEDBACK, GATE, OPEN, REPAIR, checked

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def after(events: list[Event]) -> ViewState:
    return reduce(apply, events, ViewState())


def acts(character: str) -> bool:
    return character != "\n" and (unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in BIDI)


class TestPicture:
    def test_a_repair(self) -> None:
        assert render(after(REPAIR)).plain == (" ✓ │ 1 + 2 = 3\n ✓»│ 5 + 6 = ~~12⏎then~~ «11»\n   │ done")

    def test_violation_is_marked_before_its_retraction(self) -> None:
        at = next(n for n, e in enumerate(REPAIR) if isinstance(e, Retracted))
        assert render(after(REPAIR[:at])).plain == " ✓ │ 1 + 2 = 3\n ✗ │ 5 + 6 = 12\n … │ then"

    def test_feedback_is_rendered_apart_from_model_text(self) -> None:
        assert render(after(FEEDBACK)).plain == (" ✗ │ 5 + 6 = 12 ~~so~~ \n  »│ «Wait, no.»\n … │ 11")

    def test_a_gate(self) -> None:
        assert render(after(GATE)).plain == " ✓ │ 1 + 2 = 3\n ✓»│ 5 + 6 = «11»"

    def test_open_and_unproven_checks_have_signs(self) -> None:
        assert render(after(OPEN)).plain == " … │ aaa\n ? │ bbb\n ? │ ccc\n ? │ ddd"

    def test_text_without_claim_is_not_shown_checked(self) -> None:
        assert render(after([Delta("hello\n", 0), FrontierMoved(6)])).plain == "   │ hello"

    def test_each_meaning_has_a_colour_too(self) -> None:
        styles = {str(span.style) for span in render(after(REPAIR)).spans}
        assert {"green", "bold cyan", "red strike"} <= styles

    def test_reasoning_is_in_italics(self) -> None:
        assert any("italic" in str(span.style) for span in render(after(FEEDBACK)).spans)

    def test_ascii_terminals_get_ascii_signs(self) -> None:
        assert signs_for("ascii") is signs_for(None) is ASCII
        assert signs_for("utf-8") is UNICODE
        assert render(after(REPAIR), ASCII).plain.replace("⏎", "").isascii()

    def test_repeated_retractions_show_the_last_three(self) -> None:
        events: list[Event] = [Delta("a", 0)]
        for number in range(6):
            events += [Delta(str(number), 1), Retracted(1)]
        assert render(after(events)).plain.endswith("a~~3~~ ~~4~~ ~~5~~ ")

    def test_markup_of_the_model_is_text(self) -> None:
        assert "[bold red]x[/]" in render(after([Delta("[bold red]x[/]", 0)])).plain

    def test_the_model_cannot_write_into_the_gutter(self) -> None:
        lines = render(after([Delta("x\r ✓ │ all checked\n ✓ │ all checked", 0)])).plain.split("\n")
        assert [line[:5] for line in lines] == [" … │ "] * 2
        assert r"x\r" in lines[0]

    @example(["0\n"], 1)
    @example(["a\n\n"], 1)
    @given(st.lists(st.text(st.sampled_from("ab\n"), max_size=12), max_size=6), st.integers(1, 4))
    def test_tail_equals_end_of_whole_picture(self, texts: list[str], count: int) -> None:
        state = ViewState()
        for text in texts:
            state = apply(state, Delta(text, state.end))
        whole = picture(state)
        tail = picture(state, tail_start(state, count))
        assert [line.text.plain for line in tail] == [line.text.plain for line in whole][-count:]

    def test_line_start_finds_the_line(self) -> None:
        state = after([Delta("ab\ncd", 0)])
        assert [line_start(state, n) for n in (0, 2, 3, 5)] == [0, 0, 3, 3]


class TestEscaping:
    @given(st.text(st.characters() | st.sampled_from(["\x1b", "\x9b", "\x00", "\x7f", "\r", "\u202e", "\n"])))
    def test_rendered_text_contains_no_control_characters(self, text: str) -> None:
        assert not any(map(acts, visible(text)))
        assert not any(map(acts, render(after([Delta(text, 0)])).plain))
        assert "\n" not in one_line(text)

    def test_lone_surrogate_is_escaped(self) -> None:
        assert visible("a\ud800b") == r"a\ud800b"

    def test_control_characters_have_escape_forms(self) -> None:
        assert visible("\x1b[2J\x9b\t\r\u202e\U000e0041\n") == "\\x1b[2J\\x9b\\t\\r\\u202e\\U000e0041\n"

    def test_emoji_and_joiners_are_unchanged(self) -> None:
        assert visible("👩‍🚀 é שלום") == "👩‍🚀 é שלום"

    @given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(["\x9b", "\u202e", "\U000e0041"])))
    def test_json_escaping_preserves_the_value(self, text: str) -> None:
        import json

        safe = json_safe(json.dumps(text, ensure_ascii=False))
        assert json.loads(safe) == text
        assert not any(map(acts, safe))

    def test_ghosts_and_insertions_are_escaped_too(self) -> None:
        events = [Delta("a\x1b[2J", 0), Retracted(1), Delta("\x9b", 1, "answer", "feedback")]
        assert not any(map(acts, render(after(events)).plain))


class TestStatusLine:
    def test_status_line_shows_counts(self) -> None:
        assert status_line(after(REPAIR), 2.0, UNICODE).plain == (
            " finished  4 tokens  2/s  2.0 s  │  … 0 open  ✓ 2 passed  ✗ 1 violations  » 1 remedied"
        )

    def test_initial_status_shows_starting_model(self) -> None:
        assert status_line(ViewState(), 0.0, UNICODE).plain.startswith(" starting the model  0 tokens  0/s  0.0 s")


class TestPlainLog:
    def lines(self, events: list[Event]) -> list[str]:
        log = PlainLog(UNICODE)
        return [line.plain for event in events for line in log.lines(event)]

    def test_a_repair(self) -> None:
        assert self.lines(REPAIR) == [
            "  │ 1 + 2 = 3",
            " ✓ sums: 1 + 2 = 3",
            "  │ 5 + 6 = 12",
            " ✗ sums: 12  (5 + 6 is 11)",
            " ↶ retracted: ~~12⏎then~~",
            " » repair: 11",
            " »│ 5 + 6 = «11»",
            " ✓ sums: 5 + 6 = 11",
            "  │ done",
        ]

    def test_a_gate(self) -> None:
        assert self.lines(GATE)[-2:] == [" ✓ sums: c", " »│ 5 + 6 = «11»"]

    def test_key_is_shown_up_to_first_separator(self) -> None:
        assert self.lines(checked(Span(0, 5), Judged(Pass()), "1 + 1 = 2\x1f0,7")) == [" ✓ sums: 1 + 1 = 2"]

    def test_checks_without_verdict_show_the_reason(self) -> None:
        assert self.lines(OPEN)[4:] == [
            " ? sums: bbb (no verdict within 2 s)",
            " ? sums: ccc (boom)",
            " ? sums: ddd (unclear)",
            " ! the stream broke (reset by peer): reconnect",
        ]

    @given(st.lists(st.text(max_size=10), max_size=8))
    def test_every_line_is_logged_once(self, texts: list[str]) -> None:
        from interwhen.events import StreamEnded

        events: list[Event] = []
        at = 0
        for text in texts:
            events.append(Delta(text, at))
            at += len(text)
        shown = [line.removeprefix("  │ ") for line in self.lines([*events, StreamEnded("stop")])]
        whole = "".join(texts)
        assert shown == [visible(line) for line in whole.removesuffix("\n").split("\n")] if whole else shown == []
