"""The report of a benchmark, for a terminal, JSON and Markdown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import rich.table
from rich.console import Console
from rich.markup import escape

from interwhen.bench._statistics import Estimate

Cell: TypeAlias = Estimate | str | int | float | None
Row: TypeAlias = dict[str, Cell]
_UNBOUNDED = 10_000


class Table(msgspec.Struct, frozen=True):
    """Each row has named cells, and the first cell is the label of the row."""

    title: str
    rows: tuple[Row, ...]
    caption: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        names = dict.fromkeys(name for row in self.rows for name in row)
        judged = any(_judged(row) for row in self.rows)
        return (*names, "bar", "met") if judged else tuple(names)

    def texts(self) -> list[list[str]]:
        cells = []
        for row in self.rows:
            bar = _judged(row)
            bars = {"bar": bar.bar, "met": "yes" if bar.met else "NO"} if bar else {}
            cells.append([text_of({**row, **bars}.get(name)) for name in self.columns])
        return cells


def lines(values: Mapping[str, Cell], column: str = "measured") -> list[Row]:
    return [{"what": label, column: value} for label, value in values.items()]


def _judged(row: Row) -> Estimate | None:
    return next((cell for cell in row.values() if isinstance(cell, Estimate) and cell.limit is not None), None)


def text_of(cell: Cell) -> str:
    if isinstance(cell, int | float):
        return str(Estimate(cell))
    return "" if cell is None else str(cell)


def machine_name() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


Point: TypeAlias = tuple[float, float]


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line, or one group of dots, in a chart."""

    label: str
    points: tuple[Point, ...]
    spread: tuple[Point, ...] = ()
    """The interval of each point, from its lower to its upper end."""
    color: int = 0
    """The index of its colour."""
    dashed: bool = False
    joined: bool = True
    """Whether a line joins the points; otherwise each point is a dot."""


class Chart(msgspec.Struct, frozen=True, omit_defaults=True):
    """A logarithmic axis shows only positive values."""

    title: str
    x: str
    """The label of the horizontal axis."""
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    zero: bool = False
    """Whether the vertical axis includes zero."""

    @property
    def is_whole(self) -> bool:
        # Then the ticks of the horizontal axis are whole numbers, too.
        return not self.log_x and all(x == round(x) for series in self.series for x, _ in series.points)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    benchmark: str
    subject: str = ""
    """Such as the name of the model; ``SIMULATION`` for a simulation."""
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()
    warnings: tuple[str, ...] = ()
    passed: bool = True
    """Whether the command exits with 0 or with 1. A bar in a table that is not met need not change this."""
    observations: tuple[dict[str, Any], ...] = ()
    """The single measurements, if the benchmark keeps them."""
    settings: dict[str, Any] = {}
    """The options of the command; empty before it has ended."""
    machine: str = msgspec.field(default_factory=machine_name)

    @property
    def heading(self) -> str:
        return " · ".join(filter(None, (f"interwhen bench {self.benchmark}", self.subject, self.machine)))

    def row(self, label: str) -> Row:
        for table in self.tables:
            for row in table.rows:
                if next(iter(row.values())) == label:
                    return row
        raise KeyError(label)

    def value(self, label: str, column: str = "measured") -> float:
        cell = self.row(label)[column]
        assert not isinstance(cell, str | None)
        return cell.value if isinstance(cell, Estimate) else cell


def show(report: Report) -> None:
    shown = []
    for table in report.tables:
        grid = rich.table.Table(title=escape(table.title), title_justify="left", caption_justify="left")
        grid.caption = escape(table.caption) or None
        for at, name in enumerate(table.columns):
            grid.add_column(escape(name), justify="right" if at else "left", no_wrap=not at)
        for row in table.texts():
            grid.add_row(*map(escape, row))
        shown.append(grid)
    console = Console()
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        # For a file or a pipe, rich assumes 80 columns and truncates numbers.
        wide = Console(width=_UNBOUNDED)
        console = Console(width=max([console.width, *(wide.measure(grid).maximum for grid in shown)]))
    console.print(escape(report.heading), highlight=False)
    for grid in shown:
        console.print(grid)
    for line in report.warnings:
        console.print(f"warning: {escape(line)}", highlight=False)


def markdown(report: Report) -> str:
    parts = [report.heading]
    for table in report.tables:
        marks = ["---", *["--:"] * (len(table.columns) - 1)]
        rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (table.columns, *table.texts())]
        lines = ["| " + " | ".join(line) + " |" for line in (rows[0], marks, *rows[1:])]
        parts += [table.title, "\n".join(lines), *filter(None, [table.caption])]
    return "\n\n".join([*parts, *report.warnings]) + "\n"
