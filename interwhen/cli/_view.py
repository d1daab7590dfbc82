"""The viewers of a run: a live picture, an append-only log, or JSON for programs."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal, Self, TextIO, TypeAlias, assert_never

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from interwhen import Delta, Pass, Result, Retracted, Span, Violation
from interwhen._types.events import (
    CheckSettled,
    CheckStarted,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen._types.models import Origin
from interwhen._types.results import CheckRecord, ViolationRecord
from interwhen._types.segments import Phase
from interwhen._types.verdicts import Cancelled, Judged, Outcome
from interwhen.cli._summary import summary
from interwhen.cli._text import (
    AHEAD,
    FEEDBACK,
    REPAIR,
    RETRACTED,
    STYLES,
    UNICODE,
    LineKind,
    Signs,
    as_json,
    is_live,
    one_line,
    signs_for,
    visible,
)
from interwhen.journal._compact_form import outcome_words

# The state of a view, as a value: each event makes a new state of the one before.

Mood = Literal["starting", "streaming", "remedying", "reconnecting", "settling", "finished"]
Kind = Literal["passed", "unproven", "violated"]
CheckKey: TypeAlias = tuple[str, str, Span | None]
"""Monitor, key and span of a check."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the trace with one author and one phase."""

    text: str
    start: int
    origin: Origin
    phase: Phase

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class RetractedText:
    """Text that was shown at offset ``at``, and then retracted."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    span: Span
    kind: Kind


@dataclass(frozen=True, slots=True)
class ViewState:
    """What a view needs to draw a run, except the time."""

    mood: Mood = "starting"
    stretches: tuple[Stretch, ...] = ()
    retracted: tuple[RetractedText, ...] = ()
    """Those whose place is still in the trace."""
    marks: tuple[Mark, ...] = ()
    """Results of the checks on the trace whose place is known, in the order in which they came."""
    checking: tuple[CheckKey, ...] = ()
    """Those that have not ended, without those of text that was cut."""
    frontier: int = 0
    """The offset up to which every due check has passed."""
    tokens: int = 0
    """The parts in which model text arrived. Without a gate, a part is often one token."""
    passed: int = 0
    """Checks that passed, also of text that was cut later."""
    unproven: int = 0
    """Checks that ended as ``Unknown``, error, timeout or skipped, also of text that was cut later."""
    violations: tuple[ViolationRecord, ...] = ()
    remedies: int = 0
    result: Result | None = None
    """``None``: the run has not ended."""

    @property
    def text(self) -> str:
        return "".join(s.text for s in self.stretches)

    @property
    def end(self) -> int:
        return self.stretches[-1].end if self.stretches else 0


def apply(state: ViewState, event: Event) -> ViewState:  # noqa: C901 (one case for each member of the union)
    match event:
        case Delta():
            return _extended(state, event)
        case Retracted(to=to):
            return _cut(state, to)
        case CheckStarted(monitor=monitor, key=key, span=span):
            return replace(state, checking=(*state.checking, (monitor, key, span)))
        case CheckSettled(check=check):
            return _settled(state, check)
        case ViolationFound(violation=violation):
            return _marked(replace(state, violations=(*state.violations, violation)), violation.span, "violated")
        case Remedied(violation=violation):
            # Text behind a gate is cut without a retraction, because it was not shown; its marks go with it.
            marks = tuple(mark for mark in state.marks if violation.cut is None or mark.span.end <= violation.cut)
            return replace(state, marks=marks, remedies=state.remedies + 1, mood="remedying")
        case FrontierMoved(to=to):
            return replace(state, frontier=to)
        case StreamStarted():
            return replace(state, mood="streaming")
        case StreamBroken(action=action):
            return replace(state, mood="reconnecting" if action == "reconnect" else "settling")
        case StreamEnded():
            return replace(state, mood="settling")
        case Finished(result=result):
            return replace(state, mood="finished", checking=(), result=result)
        case _:
            assert_never(event)


def _extended(state: ViewState, delta: Delta) -> ViewState:
    if not delta.text:
        return state
    tokens = state.tokens + (delta.origin == "model")
    new = Stretch(delta.text, delta.start, delta.origin, delta.phase)
    *before, last = state.stretches or (new,)
    if state.stretches and (last.origin, last.phase, last.end) == (new.origin, new.phase, new.start):
        new = replace(last, text=last.text + new.text)
    else:
        before = list(state.stretches)
    return replace(state, stretches=(*before, new), tokens=tokens)


def _cut(state: ViewState, to: int) -> ViewState:
    lost = state.text[to:] if to < state.end else ""
    kept = tuple(replace(s, text=s.text[: to - s.start]) for s in state.stretches if s.start < to)
    retracted = tuple(each for each in state.retracted if each.at <= to)
    return replace(
        state,
        stretches=kept,
        retracted=(*retracted, RetractedText(to, lost)) if lost else retracted,
        marks=tuple(m for m in state.marks if m.span.end <= to),
        checking=tuple(c for c in state.checking if c[2] is None or c[2].end <= to),
        frontier=min(state.frontier, to),
    )


def _settled(state: ViewState, check: CheckRecord) -> ViewState:
    checking = list(state.checking)
    key = (check.monitor, check.key, check.span)
    if key in checking:
        checking.remove(key)
    state = replace(state, checking=tuple(checking))
    match _kind_of(check.outcome):
        case "passed":
            return _marked(replace(state, passed=state.passed + 1), check.span, "passed")
        case "unproven":
            return _marked(replace(state, unproven=state.unproven + 1), check.span or check.segment, "unproven")
        case _:
            return state


def _kind_of(outcome: Outcome) -> Kind | None:
    # A violation has an event of its own.
    match outcome:
        case Judged(verdict=Pass()):
            return "passed"
        case Judged(verdict=Violation()) | Cancelled():
            return None
        case _:
            return "unproven"


def _marked(state: ViewState, span: Span | None, kind: Kind) -> ViewState:
    return state if span is None else replace(state, marks=(*state.marks, Mark(span, kind)))


# The picture of a state: lines of styled text with a gutter. Text that we did not write is escaped here.

_ORDER: tuple[LineKind, ...] = ("plain", "passed", "open", "unproven", "violated")
"""From the best to the worst."""
_RETRACTED = 3
"""How many retracted texts are shown at one place, the latest ones."""
_RETRACTED_CHARS = 120


@dataclass(frozen=True, slots=True)
class Line:
    kind: LineKind
    """The worst kind of its parts."""
    wrote: bool
    """Whether interwhen wrote a part of it."""
    text: Text
    """With its styles; control characters are escaped."""

    def gutter(self, signs: Signs) -> Text:
        # Only interwhen writes to the gutter, so the model cannot imitate these signs.
        text = Text.assemble((f" {signs.of(self.kind)}", STYLES[self.kind]))
        text.append(signs.wrote if self.wrote else " ", style=REPAIR)
        return text.append(f"{signs.bar} ", style="dim")


def render(state: ViewState, signs: Signs = UNICODE) -> Text:
    return Text("\n").join(line.gutter(signs).append_text(line.text) for line in picture(state, signs=signs))


def picture(state: ViewState, start: int = 0, end: int | None = None, *, signs: Signs = UNICODE) -> list[Line]:
    stop = state.end if end is None else end
    known = _known(state, start, stop)
    retracted = [each for each in state.retracted if start <= each.at <= stop]
    cuts = {each.at for each in retracted} | {edge for span, _ in known for edge in (span.start, span.end)}
    is_proven = state.result is not None and state.result.status == "verified"
    builder = _LineBuilder(known, signs, ahead=None if is_proven else state.frontier)
    for stretch in state.stretches:
        # Our own text is one part, even if a check covers only some of it.
        inner = cuts | {state.frontier} if stretch.origin == "model" else set()
        first, last = max(stretch.start, start), min(stretch.end, stop)
        edges = [first, *sorted(c for c in inner if first < c < last), last] if first < last else []
        for a, b in itertools.pairwise(edges):
            retracted = builder.add_retracted(retracted, a)
            builder.add(stretch.text[a - stretch.start : b - stretch.start], a, stretch)
    builder.add_retracted(retracted, stop)
    return builder.lines()


def line_start(state: ViewState, offset: int) -> int:
    return state.text.rfind("\n", 0, offset) + 1


def tail_start(state: ViewState, lines: int) -> int:
    text = state.text
    at = state.end - text.endswith("\n")  # a line end at the very end starts no line
    for _ in range(lines):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1


def _known(state: ViewState, start: int, end: int) -> list[tuple[Span, LineKind]]:
    marks: list[tuple[Span, LineKind]] = [(mark.span, mark.kind) for mark in state.marks]
    marks += [(span, "open") for _, _, span in state.checking if span is not None]
    return [(span, kind) for span, kind in marks if span.start < end and span.end > start]


@dataclass(slots=True)
class _LineBuilder:
    known: list[tuple[Span, LineKind]]
    """The spans with a result or an open check."""
    signs: Signs
    ahead: int | None
    """The offset from which text of the model without a mark is shown as open. ``None``: no text is shown so."""
    done: list[Line] = field(default_factory=list)
    kind: LineKind = "plain"
    """The worst kind in the current line."""
    wrote: bool = False
    text: Text = field(default_factory=Text)
    """The current line."""

    def add(self, text: str, at: int, stretch: Stretch) -> None:
        for number, piece in enumerate(text.split("\n")):
            if number:
                self._end_line()
            if piece:
                self._append(piece, at, stretch)
            at += len(piece) + 1

    def add_retracted(self, retracted: list[RetractedText], at: int) -> list[RetractedText]:
        here = [each for each in retracted if each.at <= at]
        left, right = self.signs.retracted
        for each in here[-_RETRACTED:]:
            self.text.append(" " if each.text[0].isspace() else "")
            shown = one_line(each.text.strip(), _RETRACTED_CHARS)
            self.text.append(f"{left}{shown}{right}", style=RETRACTED).append(" ")
        return retracted[len(here) :]

    def lines(self) -> list[Line]:
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
        self.text.append(visible(before))  # white space can act on a terminal, too
        if inside:
            self.text.append(f"{left}{visible(inside)}{right}", style=style)
        self.text.append(visible(after))

    def _end_line(self) -> None:
        self.done.append(Line(self.kind, self.wrote, self.text))
        self.kind, self.wrote, self.text = "plain", False, Text()


# A log that only appends: for pipes, files and terminals that cannot move a cursor.


class PlainLog:
    # Text is printed in whole lines; the rest of the last line follows when the stream ends.

    def __init__(self, signs: Signs) -> None:
        self.signs = signs
        self.state = ViewState()
        self._logged = 0
        """The offset up to which the text was logged."""

    def lines(self, event: Event) -> list[Text]:
        before, self.state = self.state, apply(self.state, event)
        match event:
            case Delta(text=text):
                return self._text(self.state.text.rfind("\n") + 1) if "\n" in text else []
            case Retracted(to=to):
                self._logged = min(self._logged, line_start(self.state, to))
                gone = one_line(before.text[to:].strip())
                if not gone:
                    return []  # only a line end was cut
                left, right = self.signs.retracted
                return [Text.assemble(f" {self.signs.cut} retracted: ", (f"{left}{gone}{right}", RETRACTED))]
            case StreamEnded() | Finished():
                return self._text(self.state.end)
            case _:
                return _facts(event, self)

    def _text(self, end: int) -> list[Text]:
        start, self._logged = self._logged, max(self._logged, end)
        if end <= start:
            return []
        # Checks and retractions have lines of their own.
        lines = picture(replace(self.state, retracted=()), start, end, signs=self.signs)
        bar = Text(f"  {self.signs.bar} ", style="dim")
        wrote = Text(f" {self.signs.wrote}{self.signs.bar} ", style=REPAIR)
        return [(wrote if line.wrote else bar).copy().append(line.text.plain) for line in lines]


def _facts(event: Event, log: PlainLog) -> list[Text]:
    signs = log.signs
    match event:
        case ViolationFound(violation=violation):
            said = one_line(violation.witness or violation.why)
            return [
                Text.assemble(
                    (f" {signs.violated} {visible_name(violation.monitor)}: ", STYLES["violated"]),
                    f"{one_line(violation.quote)}  ({said})",
                )
            ]
        case CheckSettled(check=check):
            return _settled_line(check, log)
        case Remedied(violation=violation):
            return [Text(f" {signs.wrote} {violation.remedy}: {one_line(violation.inserted.strip())}", style=REPAIR)]
        case StreamBroken(error=error, action=action):
            return [Text(f" ! the stream broke ({one_line(error)}): {action}", style=STYLES["unproven"])]
        case Delta() | Retracted() | CheckStarted() | FrontierMoved() | StreamStarted() | StreamEnded() | Finished():
            return []
        case _:
            assert_never(event)


def _settled_line(check: CheckRecord, log: PlainLog) -> list[Text]:
    signs, span = log.signs, check.span or check.segment
    # The key of a claim is for programs; its words are in the text, unless a gate holds them.
    shown = log.state.text[span.start : span.end].strip() if span.end <= log.state.end else ""
    words = shown or re.split(r"[\x00-\x1f]", check.key, maxsplit=1)[0]
    name = f"{visible_name(check.monitor)}: {one_line(words)}"
    match _kind_of(check.outcome):
        case "passed":
            return [Text(f" {signs.passed} {name}", style=STYLES["passed"])]
        case "unproven":
            why = one_line(outcome_words(check.outcome).why)
            return [Text(f" {signs.unproven} {name} ({why})", style=STYLES["unproven"])]
        case _:
            return []


def visible_name(name: str) -> str:
    return one_line(name, 60)


_MOODS: dict[Mood, str] = {
    "starting": "starting the model",
    "streaming": "streaming",
    "remedying": "remedying",
    "reconnecting": "reconnecting",
    "settling": "waiting for checks",
    "finished": "finished",
}


def status_line(state: ViewState, seconds: float, signs: Signs) -> Text:
    rate = state.tokens / seconds if seconds > 0 else 0.0
    line = Text.assemble(
        (f" {_MOODS[state.mood]}", "bold"),
        f"  {state.tokens} tokens  {rate:.0f}/s  {seconds:.1f} s",
        (f"  {signs.bar}  ", "dim"),
        (f"{signs.open} {len(state.checking)} open", STYLES["open"] if state.checking else "dim"),
        "  ",
        (f"{signs.passed} {state.passed} passed", STYLES["passed"] if state.passed else "dim"),
    )
    for sign, count, word, style in (
        (signs.unproven, state.unproven, "unproven", STYLES["unproven"]),
        (signs.violated, len(state.violations), "violations", STYLES["violated"]),
        (signs.wrote, state.remedies, "remedied", REPAIR),
    ):
        if count:
            line.append("  ").append(f"{sign} {count} {word}", style=style)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


Clock = Callable[[], float]
_FRAMES_PER_SECOND = 12


class Viewer:
    """Shows the events of a run. Enter it before the run starts, and leave it when the run has ended or failed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Stop the view, and restore the terminal."""

    def show(self, event: Event) -> None:
        raise NotImplementedError


def viewer_for(console: Console, *, json: bool, plain: bool) -> Viewer:
    if json:
        return JsonViewer(console.file)  # type: ignore[arg-type]  # a console writes to a text stream
    if plain or not is_live(console):
        return PlainViewer(console)
    return LiveViewer(console)


class JsonViewer(Viewer):
    """Prints one JSON object for each event; the last one has the result."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: Event) -> None:
        self._stream.write(as_json(event) + "\n")
        self._stream.flush()


class PlainViewer(Viewer):
    """Shows a run as lines that are appended, and then its summary."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._log = PlainLog(signs_for(console.encoding))

    def show(self, event: Event) -> None:
        for line in self._log.lines(event):
            self._console.print(line, soft_wrap=True)
        if isinstance(event, Finished):
            self._console.print(summary(event.result, self._log.signs))
            self._console.file.flush()


class LiveViewer(Viewer):
    """Redraws the end of the trace in place. At the end, it prints the whole trace and the summary."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._signs = signs_for(console.encoding)
        self._state = ViewState()
        # States are immutable: the thread that redraws sees one or the next, so no lock is needed.
        self._live = Live(
            get_renderable=self._frame,
            console=console,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._began = self._clock()
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)
        self._console.print(_grid(picture(self._state, signs=self._signs), self._signs))
        if self._state.result is not None:
            self._console.print(summary(self._state.result, self._signs))

    def show(self, event: Event) -> None:
        self._state = apply(self._state, event)

    def _frame(self) -> ConsoleRenderable:
        state, height = self._state, self._console.height - 3
        lines = picture(state, tail_start(state, height), signs=self._signs)
        seconds = self._clock() - self._began
        return Group(_Bottom(_grid(lines, self._signs), height), "", status_line(state, seconds, self._signs))


class _Bottom:
    """Shows only the last *height* rows of *inner*, after its lines are wrapped."""

    def __init__(self, inner: ConsoleRenderable, height: int) -> None:
        self._inner = inner
        self._height = max(1, height)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = console.render_lines(self._inner, options.update(height=None), pad=False)
        for row in rows[-self._height :]:
            yield from row
            yield Segment.line()


def _grid(lines: list[Line], signs: Signs) -> Table:
    # The signs have a separate column, so that long lines wrap beside them.
    grid = Table.grid()
    grid.add_column(width=5, no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(line.gutter(signs), line.text)
    return grid


def legend(signs: Signs) -> Text:
    left, right = signs.quotes
    rows = (
        (f" {signs.passed} ", STYLES["passed"], "a verifier checked the claims of this line, and they are right"),
        (f" {signs.open} ", AHEAD, "not checked yet, or being checked now"),
        (f" {signs.violated} ", STYLES["violated"], "a verifier found a mistake"),
        (f" {signs.unproven} ", STYLES["unproven"], "a check ended without a verdict"),
        (f"{signs.retracted[0]}25{signs.retracted[1]}", RETRACTED, "was written by the model, and retracted"),
        (f"{left}24{right}", REPAIR, "was written by interwhen in its place"),
        (f"{left}Wait{right}", FEEDBACK, "feedback of interwhen to the model"),
    )
    lines = (Text.assemble("  ", (f"{sign:<8}", style), meaning) for sign, style, meaning in rows)
    return Text("\n").join(lines)
