"""Write what the suite proves about faults: ``pytest --reliability-report=docs/reliability.md``.

The ``=`` matters: behind a blank, pytest takes a file that exists for a test.

A test carries ``@pytest.mark.fault("W1", injected="...", happens="...")``, and ``record_property("tries", n)`` where
it tries many times. ``record_property("matrix", (title, first, second, column, cell))`` puts a cell into a table of its
own at the end. Every row of ``fault_rows.ROWS`` must have a passing test, or the report fails, unless it is in
``NOT_BUILT``: then it is in the table as such, and a test for it fails the report, so that the list stays true. Rows that
are not in ``fault_rows.ROWS`` stand below it, so that a new fault needs no edit there.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HEAD = """# What happens when things fail

Written by `make reliability` from the tests that prove it: each line was injected by a passing test, as often as the
last column says. Faults of the wire can be injected into your own tests by name: see [testing](testing.md).
"""
SECTIONS = {
    "W": "The wire: server and network",
    "V": "Verifiers",
    "P": "Readers, processes, storage, hostile text",
    "G": "Gates, limits, and what no monitor sees",
    "": "Others",
}


NOT_BUILT = ()
"""Rows of what is not built yet. Remove a row when its feature is built."""


@dataclass
class Line:
    """One way a fault is injected, and what happens then."""

    tests: int = 0
    tries: int = 0


@dataclass
class Tally:
    """What the marked tests of this session have shown."""

    lines: dict[tuple[str, str, str], Line] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    matrices: dict[str, dict[tuple[str, str], dict[str, str]]] = field(default_factory=dict)
    """Tables of what tests have shown, by title: by the words of a row, the text of each column."""

    def add(self, row, injected, happens, tries):
        line = self.lines.setdefault((row, injected, happens), Line())
        line.tests += 1
        line.tries += tries

    def place(self, title, first, second, column, cell):
        self.matrices.setdefault(title, {}).setdefault((first, second), {})[column] = cell

    @property
    def shown(self):
        return {row for row, _, _ in self.lines}

    def missing(self, rows, not_built=()):
        return [row for row in rows if row not in self.shown and row not in not_built]

    def built_after_all(self, not_built):
        return [row for row in not_built if row in self.shown]


def place(row):
    letter, number = re.fullmatch(r"(\D*)(\d*).*", row).groups()
    order = "WVPG".find(letter) if letter in {"W", "V", "P", "G"} else 4
    return order, letter, int(number or 0), row


def section_of(row):
    letter = row[:1]
    return letter if re.fullmatch(r"[WVPG]\d+", row) else ""


def render(tally, rows, not_built=()):
    parts = [HEAD]
    lines = {(row, "", "not built yet"): Line() for row in not_built if row in rows and row not in tally.shown}
    lines |= tally.lines
    ordered_keys = sorted(lines, key=lambda key: (place(key[0]), key[1:]))
    for letter, title in SECTIONS.items():
        keys = [key for key in ordered_keys if section_of(key[0]) == letter]
        if not keys:
            continue
        parts.append(f"## {title}\n")
        parts.append("| | fault | injected | what happens | tests | tries |")
        parts.append("|---|---|---|---|--:|--:|")
        last = None
        for key in keys:
            row, injected, happens = (cell.replace("|", "\\|") for cell in key)
            line = lines[key]
            name = "" if row == last else row
            fault = "" if row == last else rows.get(row, "")
            parts.append(f"| {name} | {fault} | {injected} | {happens} | {line.tests:,} | {line.tries:,} |")
            last = row
        parts.append("")
    for title, rows_of in sorted(tally.matrices.items()):
        columns = list(dict.fromkeys(column for cells in rows_of.values() for column in cells))
        parts.append(f"## {title}\n")
        parts.append(f"| | through | {' | '.join(f'`{column}`' for column in columns)} |")
        parts.append(f"|---|---|{'---|' * len(columns)}")
        last = None
        for (first, second), cells in rows_of.items():
            shown = " | ".join(cells.get(column, "") for column in columns)
            parts.append(f"| {'' if first == last else first} | {second} | {shown} |")
            last = first
        parts.append("")
    tests, tries = (sum(getattr(line, what) for line in tally.lines.values()) for what in ("tests", "tries"))
    parts.append(f"{tests:,} tests, {tries:,} tries, over {len(tally.shown)} rows.\n")
    return "\n".join(parts)


def _fault(row, injected, happens):
    return row, injected, happens


class Reporter:
    """Collects while the suite runs, and writes at its end."""

    def __init__(self, path, rows, not_built):
        self.path = Path(path)
        self.rows = rows
        self.not_built = not_built
        self.tally = Tally()
        self.missing = []
        self.built = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        marks = list(item.iter_markers("fault"))
        if marks and report.failed:
            self.tally.broken.add(item.nodeid)
        if marks and report.when == "call" and report.passed:
            tries = next((value for name, value in report.user_properties if name == "tries"), 1)
            for name, value in report.user_properties:
                if name == "matrix":
                    self.tally.place(*value)
            for mark in marks:
                self.tally.add(*_fault(*mark.args, **mark.kwargs), tries)
        return report

    def pytest_sessionfinish(self, session):
        self.missing = self.tally.missing(self.rows, self.not_built)
        self.built = self.tally.built_after_all(self.not_built)
        self.path.write_text(render(self.tally, self.rows, self.not_built), encoding="utf-8")
        if self.missing or self.built or self.tally.broken:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("faults")
        terminalreporter.line(f"wrote {self.path}: {len(self.tally.lines)} lines")
        if self.missing:
            terminalreporter.line(f"without a passing test: {', '.join(self.missing)}", red=True)
        if self.built:
            terminalreporter.line(f"built, so to be taken out of NOT_BUILT: {', '.join(self.built)}", red=True)
        for nodeid in sorted(self.tally.broken):
            terminalreporter.line(f"failed: {nodeid}", red=True)


def add_option(parser):
    parser.addoption("--reliability-report", metavar="FILE", help="write the table of faults to FILE; see this file")


def start(config, rows, not_built=NOT_BUILT):
    path = config.getoption("--reliability-report")
    if path is not None:
        config.pluginmanager.register(Reporter(path, rows, not_built), "reliability-report")
