"""External checkers: their commands, and the meaning of their output and exit codes."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from interwhen import UsageError

from interwhen_verifiers._re2 import problems_of

LINES = re.compile(
    r"^(?P<file>[^\s:]{1,80}):(?P<line>\d{1,7}):(?:(?P<column>\d{1,7}):)? (?P<severity>fatal error|error)"
    r"(?:\([^)\n]{1,80}\))?: (?P<message>[^\n]{1,500})",
    re.MULTILINE,
)
"""Matches the diagnostics of gcc, clang, mypy, Lean and many others."""
_COQ = re.compile(
    r'^File "(?P<file>[^"\n]{1,80})", line (?P<line>\d{1,7}), characters (?P<column>\d{1,7})-\d{1,7}:\n'
    r"(?P<severity>Error|Syntax error):?(?P<message>(?:[^\n]{0,300}\n?){1,3})",
    re.MULTILINE,
)
MOST = 100
"""The most diagnostics that are read from one run."""


class Diagnostic(NamedTuple):
    """One error that a checker reports."""

    line: int
    """The line, from 1; 0: the checker names no line."""
    column: int
    """The column, from 1; 0: the checker names no column."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """An external program that judges a file."""

    name: str
    """Used in messages and in the name of the monitor."""
    steps: tuple[tuple[str, ...], ...]
    """The commands. Each one runs if the one before succeeded, without a shell. ``{file}`` stands for the file."""
    languages: frozenset[str]
    """The languages of the code blocks that it judges, as the fences name them. Empty: it judges whole answers."""
    file: str = "main.txt"
    """The file that the judged text is written to."""
    pattern: re.Pattern[str] = LINES
    """Finds diagnostics, with the groups ``line``, ``message`` and perhaps ``column`` (and ``file``)."""
    own_pattern: str = ""
    """A pattern of the user, used instead of ``pattern`` and matched in a separate process; empty: none."""
    column_from: int = 1
    """The number of the first column."""
    refutes: frozenset[int] = frozenset((1,))
    """The exit codes which may mean that the file is wrong. 0 means that it is right. Any other code proves nothing,
    except a crash with ``crash_refutes``.
    """
    needs_diagnostic: bool = True
    """Whether a code in ``refutes`` is a violation only with a diagnostic that names a line of the file."""
    crash_refutes: bool = False
    """Whether it is a violation if the last command, which runs the program, ends with a signal."""
    unclear: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """Matches messages about the machine, such as a missing library, which prove nothing about the file."""
    hint: str = ""
    """How to install it."""
    environment: tuple[tuple[str, str], ...] = ()
    readable: tuple[str, ...] = ()
    """The paths that it reads besides the system's programs and libraries."""
    site: bool = False
    """Whether it is a Python package, which the sandbox must be able to import."""

    def diagnostics(self, output: str) -> Iterator[Diagnostic]:
        matches = itertools.islice(self.pattern.finditer(output), MOST)
        return self.read({**one.groupdict(), "": one[0]} for one in matches)

    def read(self, matches: Iterable[Mapping[str, str | None]]) -> Iterator[Diagnostic]:
        # The group `""` is the whole match, for a pattern without a group `message`.
        for groups in matches:
            named = groups.get("file")
            if named is not None and named.rpartition("/")[2] != self.file:
                continue
            column = groups.get("column")
            message = " ".join((groups.get("message") or groups[""] or "").split())[:300]
            yield Diagnostic(
                _number(groups.get("line")), 0 if column is None else _number(column) + 1 - self.column_from, message
            )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else 0


_GCC = ("gcc", "-std=gnu17", "-fdiagnostics-plain-output", "-fsyntax-only", "-x", "c", "{file}")
_INSTALL = {
    "gcc": "install it, for example with: apt-get install gcc libc6-dev",
    "coq": "install it, for example with: apt-get install coq",
    "lean": "install Lean by elan (https://lean-lang.org/install), and give the folder of a Lake project as directory=",
    "mypy": "install it beside interwhen, with: pip install mypy",
}

PRESETS: dict[str, Checker] = {
    "gcc": Checker(
        name="gcc",
        steps=(_GCC,),
        languages=frozenset(("c",)),
        file="main.c",
        unclear=re.compile(r"No such file or directory|Permission denied|undefined reference|compilation terminated"),
        hint=_INSTALL["gcc"],
    ),
    "gcc-run": Checker(
        name="gcc-run",
        steps=(
            ("gcc", "-std=gnu17", "-fdiagnostics-plain-output", "-O1", "-x", "c", "{file}", "-o", "main", "-lm"),
            ("./main",),
        ),
        languages=frozenset(("c",)),
        file="main.c",
        crash_refutes=True,
        unclear=re.compile(r"No such file or directory|Permission denied|undefined reference|compilation terminated"),
        hint=_INSTALL["gcc"],
    ),
    "coq": Checker(
        name="coq",
        steps=(("coqc", "-q", "{file}"),),
        languages=frozenset(("coq", "v", "rocq")),
        file="main.v",
        pattern=_COQ,
        column_from=0,
        unclear=re.compile(r"Cannot find a physical path|Unable to locate library|Can't find file|Compiled library"),
        hint=_INSTALL["coq"],
        # OCaml reserves address space for 128 domains, more than a sandbox allows; coqc uses one domain.
        environment=(("OCAMLRUNPARAM", "d=1"),),
        readable=("/etc/ocamlfind.conf", "/etc/ocamlfind.conf.d"),
    ),
    "lean": Checker(
        name="lean",
        steps=(("lake", "env", "lean", "{file}"),),
        languages=frozenset(("lean", "lean4")),
        file="Main.lean",
        column_from=0,
        unclear=re.compile(r"unknown (?:module|package)|object file .* does not exist|unknown module prefix"),
        hint=_INSTALL["lean"],
    ),
    "mypy": Checker(
        name="mypy",
        steps=(
            (
                *(sys.executable, "-m", "mypy", "--cache-dir=/dev/null", "--no-error-summary", "--show-column-numbers"),
                *("--no-color-output", "--no-site-packages", "--config-file=", "{file}"),
            ),
        ),
        languages=frozenset(("python", "py", "python3", "py3")),
        file="main.py",
        unclear=re.compile(
            r"import-(?:not-found|untyped)|Cannot find implementation|requires Python \d+\.\d+ or newer"
        ),
        hint=_INSTALL["mypy"],
        site=True,
    ),
    "script": Checker(
        name="script",
        steps=(),
        languages=frozenset(),
        needs_diagnostic=False,
    ),
}


def need_pattern(pattern: str) -> None:
    for problem in problems_of([pattern]).values():
        raise UsageError(f"command: pattern must be a regular expression, got {pattern!r}: {problem}; correct it")
    if "(?P<message>" not in pattern:
        raise UsageError(
            f"command: pattern must have a group named message, got {pattern!r}; add one, and best also one named line"
        )
