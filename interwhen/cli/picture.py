"""From a view's state to a picture: lines of styled text with a gutter. Pure; text of others is made visible here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from rich.style import Style
from rich.text import Text

from interwhen.cli.escape import one_line, visible
from interwhen.cli.signs import AHEAD, FEEDBACK, GHOST, REPAIR, STYLES, UNICODE, LineKind, Signs
from interwhen.cli.view_state import Ghost, Stretch, ViewState
from interwhen.spans import Span

_ORDER: tuple[LineKind, ...] = ("plain", "passed", "open", "unproven", "violated")
"""From the best to the worst: a line is as good as its worst part."""
_GHOSTS = 3
"""How many retracted texts are shown at one place, the latest ones."""
_GHOST_CHARS = 120


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the trace as it is shown."""

    kind: LineKind
    wrote: bool
    """Whether something in it was written by us."""
    text: Text

    def gutter(self, signs: Signs) -> Text:
        """Return the signs that stand before the line. The model cannot write there."""
        text = Text.assemble((f" {signs.of(self.kind)}", STYLES[self.kind]))
        text.append(signs.wrote if self.wrote else " ", style=REPAIR)
        return text.append(f"{signs.bar} ", style="dim")


def render(state: ViewState, signs: Signs = UNICODE) -> Text:
    """Return the whole trace of *state* with its gutter."""
    return Text("\n").join(line.gutter(signs).append_text(line.text) for line in picture(state, signs=signs))


def picture(state: ViewState, start: int = 0, end: int | None = None, *, signs: Signs = UNICODE) -> list[Line]:
    """Return the lines of the trace from offset *start* (the start of a line) to *end*."""
    stop = state.end if end is None else end
    known = _known(state, start, stop)
    ghosts = [g for g in state.ghosts if start <= g.at <= stop]
    cuts = {g.at for g in ghosts} | {edge for span, _ in known for edge in (span.start, span.end)}
    builder = _Builder(known, signs, ahead=state.frontier if _is_ahead_open(state) else None)
    for stretch in state.stretches:
        # What we wrote is one thing, however much of it a check covers.
        inner = cuts | {state.frontier} if stretch.origin == "model" else set()
        first, last = max(stretch.start, start), min(stretch.end, stop)
        edges = [first, *sorted(c for c in inner if first < c < last), last] if first < last else []
        for a, b in itertools.pairwise(edges):
            ghosts = builder.haunt(ghosts, a)
            builder.add(stretch.text[a - stretch.start : b - stretch.start], a, stretch)
    builder.haunt(ghosts, stop)
    return builder.lines()


def line_start(state: ViewState, offset: int) -> int:
    """Return where the line that holds *offset* starts."""
    return state.text.rfind("\n", 0, offset) + 1


def tail_start(state: ViewState, lines: int) -> int:
    """Return where the last *lines* lines of the trace start."""
    text = state.text
    at = state.end - text.endswith("\n")  # a line end at the very end begins no line
    for _ in range(lines):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1


def _known(state: ViewState, start: int, end: int) -> list[tuple[Span, LineKind]]:
    marks: list[tuple[Span, LineKind]] = [(mark.span, mark.kind) for mark in state.marks]
    marks += [(span, "open") for _, _, span in state.checking if span is not None]
    return [(span, kind) for span, kind in marks if span.start < end and span.end > start]


def _is_ahead_open(state: ViewState) -> bool:
    return state.result is None or state.result.status != "verified"


@dataclass(slots=True)
class _Builder:
    """Puts lines together, part by part."""

    known: list[tuple[Span, LineKind]]
    signs: Signs
    ahead: int | None
    done: list[Line] = field(default_factory=list)
    kind: LineKind = "plain"
    wrote: bool = False
    text: Text = field(default_factory=Text)

    def add(self, text: str, at: int, stretch: Stretch) -> None:
        """Add *text*, which starts at offset *at*."""
        for number, piece in enumerate(text.split("\n")):
            if number:
                self._end_line()
            if piece:
                self._append(piece, at, stretch)
            at += len(piece) + 1

    def haunt(self, ghosts: list[Ghost], at: int) -> list[Ghost]:
        """Add the *ghosts* up to offset *at*, and return the others."""
        here = [ghost for ghost in ghosts if ghost.at <= at]
        left, right = self.signs.ghost
        for ghost in here[-_GHOSTS:]:
            self.text.append(" " if ghost.text[0].isspace() else "")
            self.text.append(f"{left}{one_line(ghost.text.strip(), _GHOST_CHARS)}{right}", style=GHOST).append(" ")
        return ghosts[len(here) :]

    def lines(self) -> list[Line]:
        """Return the lines; the last one may be unfinished."""
        if self.text or not self.done:
            self._end_line()
        return self.done

    def _append(self, piece: str, at: int, stretch: Stretch) -> None:
        kinds = [kind for span, kind in self.known if span.start < at + len(piece) and span.end > at]
        kind: LineKind = max(kinds, key=_ORDER.index, default="plain")
        style = STYLES[kind]
        is_ours = stretch.origin != "model"
        if kind == "plain" and not is_ours and self.ahead is not None and at >= self.ahead and not piece.isspace():
            kind, style = "open", AHEAD
        self.kind = max(self.kind, kind, key=_ORDER.index)
        if not is_ours:
            style_of_phase = Style(italic=stretch.phase == "reasoning" or None)
            self.text.append(visible(piece), style=Style.parse(style) + style_of_phase)
        else:
            self._append_ours(piece, REPAIR if stretch.origin == "repair" else FEEDBACK)

    def _append_ours(self, piece: str, style: str) -> None:
        self.wrote = True
        left, right = self.signs.quotes
        inside = piece.strip()
        before, _, after = piece.partition(inside) if inside else (piece, "", "")
        self.text.append(visible(before))  # what counts as white space may act, too
        if inside:
            self.text.append(f"{left}{visible(inside)}{right}", style=style)
        self.text.append(visible(after))

    def _end_line(self) -> None:
        self.done.append(Line(self.kind, self.wrote, self.text))
        self.kind, self.wrote, self.text = "plain", False, Text()
