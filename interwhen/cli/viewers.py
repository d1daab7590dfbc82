"""Who is told of a run's events: a live picture, an append-only log, or a machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table

from interwhen.cli.escape import as_json
from interwhen.cli.picture import Line, picture, tail_start
from interwhen.cli.plain_log import PlainLog
from interwhen.cli.signs import Signs, signs_for
from interwhen.cli.status_line import status_line
from interwhen.cli.summary import summary
from interwhen.cli.terminal import is_live
from interwhen.cli.view_state import ViewState, apply
from interwhen.events import Event, Finished

Clock = Callable[[], float]
_FRAMES_PER_SECOND = 12


class Viewer(Protocol):
    """Shows a run. Entered before it starts and left after its last event, or when it breaks off."""

    def __enter__(self) -> Self:
        """Take the terminal."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Give the terminal back as it was."""
        ...

    def show(self, event: Event) -> None:
        """Take in *event*."""
        ...


def viewer_for(console: Console, *, json: bool, plain: bool) -> Viewer:
    """Return the viewer that suits *console* and what the user asked for."""
    if json:
        return JsonViewer(console.file)  # type: ignore[arg-type]  # a console writes to a text stream
    if plain or not is_live(console):
        return PlainViewer(console)
    return LiveViewer(console)


class JsonViewer:
    """One JSON object for each event, the last one with the result. It never holds a control character."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stream.flush()

    def show(self, event: Event) -> None:
        """Write *event* at once: whoever reads the pipe may act on it."""
        self._stream.write(as_json(event) + "\n")
        self._stream.flush()


class PlainViewer:
    """Lines that are appended, and the summary."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._log = PlainLog(signs_for(console.encoding))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._console.file.flush()

    def show(self, event: Event) -> None:
        """Print what *event* adds."""
        self._log, lines = self._log.after(event)
        for line in lines:
            self._console.print(line, soft_wrap=True)
        if isinstance(event, Finished):
            self._console.print(summary(event.result, self._log.signs))


class LiveViewer:
    """The end of the trace, redrawn in place; all of it and the summary once the run is over."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._signs = signs_for(console.encoding)
        self._state = ViewState()
        # The thread that redraws sees one immutable state or the next one, so there is nothing to lock.
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
        """Take in *event*; the next frame shows it."""
        self._state = apply(self._state, event)

    def _frame(self) -> ConsoleRenderable:
        state, height = self._state, self._console.height - 3
        lines = picture(state, tail_start(state, height), signs=self._signs)
        seconds = self._clock() - self._began
        return Group(_Bottom(_grid(lines, self._signs), height), "", status_line(state, seconds, self._signs))


class _Bottom:
    """The last *height* rows of what *inner* takes when it is wrapped."""

    def __init__(self, inner: ConsoleRenderable, height: int) -> None:
        self._inner = inner
        self._height = max(1, height)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = console.render_lines(self._inner, options.update(height=None), pad=False)
        for row in rows[-self._height :]:
            yield from row
            yield Segment.line()


def _grid(lines: list[Line], signs: Signs) -> Table:
    """Set the gutter apart, so that long lines wrap beside it."""
    grid = Table.grid()
    grid.add_column(width=5, no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(line.gutter(signs), line.text)
    return grid


def stdout_console() -> Console:
    """Return the console on stdout."""
    from interwhen.cli.terminal import console_for

    return console_for(sys.stdout)
