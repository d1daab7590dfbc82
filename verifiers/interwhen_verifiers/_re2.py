"""Matches patterns in Python's syntax by RE2, in time that is linear in the length of the text.

:mod:`re` takes exponential time on some patterns. If RE2 cannot express a pattern, match it in a process that can be
killed.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from interwhen import UsageError

try:
    import re2
except ImportError:  # without it, every pattern is matched in a worker process, which is slower and as safe
    re2 = None

_LONGEST = 2_000
"""A longer pattern is not translated."""
_MEMORY = 1 << 20
"""The most bytes for one compiled pattern. This also limits the time of its compilation."""
_KEPT = 512
MOST_FROM_DATA = 16
"""The most patterns of a monitor that anybody's file names. Compiling one may take 40 ms."""
_SPACE = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_WORD = r"\p{L}\p{N}_"
_CLASSES = {"d": r"\p{Nd}", "w": _WORD, "s": _SPACE}
_SAME = frozenset("nrtfva")
"""Escapes of control characters that mean the same in Python and in RE2."""
_HEX = {"x": 2, "u": 4, "U": 8}
_FOLDED = str.maketrans("\u017f\u0130\u0131\u212a\u0345", "siik\u0301")
"""The characters outside ASCII that Python or RE2 reads as an ASCII letter or as a letter if case is ignored, and a
character with the same meaning for both."""


class Place(NamedTuple):
    """The range of the first match of a pattern."""

    start: int
    end: int


class Linear:
    """A pattern that RE2 has compiled. It finds the match that ``re.search`` finds."""

    # Where `$` matches, the end of the match may differ by a line end at the end of the text.

    __slots__ = ("_compiled", "_ends", "_folds")

    def __init__(self, compiled: Any, *, ends: bool, folds: bool) -> None:
        self._compiled = compiled
        self._ends = ends
        self._folds = folds

    def search(self, text: str) -> Place | None:
        if self._folds and not text.isascii():
            text = text.translate(_FOLDED)
        place = self._search(text)
        if self._ends and text.endswith("\n"):
            # In Python, "$" also matches before a line end that ends the text; in RE2, only at the end of the text.
            before = self._search(text[:-1])
            if before is not None and (place is None or before.start <= place.start):
                return before
        return place

    def _search(self, text: str) -> Place | None:
        try:
            match = self._compiled.search(text)
        except UnicodeEncodeError:
            # UTF-8 cannot encode half of a surrogate pair.
            match = self._compiled.search(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        return None if match is None else Place(*match.span())


@functools.lru_cache(maxsize=_KEPT)
def linear(pattern: str, *, without_borders: bool = False) -> Linear | None:
    r"""Compile *pattern*, in Python's syntax; ``None`` if RE2 is not installed or cannot match it as Python does.

    *without_borders*: leave out each ``\b`` and ``\B``, which RE2 knows only for ASCII. The result then finds a match
    in each text in which Python finds one, and in some others.
    """
    if re2 is None or len(pattern) > _LONGEST:
        return None
    try:
        translation = _Translation(pattern, without_borders=without_borders)
        body = translation.run()
        options = re2.Options()
        options.max_mem = _MEMORY
        options.log_errors = False
        return Linear(re2.compile(body, options), ends=translation.ends, folds=translation.folds)
    except (_InexpressibleError, re2.error, UnicodeError):
        return None


class _InexpressibleError(Exception):
    """RE2 cannot express a part of the pattern, or gives it another meaning."""


@dataclass(slots=True)
class _Tail:
    """Whether a group of the pattern ends with a ``$`` that means the end of the text."""

    is_ended: bool = False
    """Whether the current alternative does so."""
    has_end: bool = False
    """Whether any alternative so far does so."""


class _Translation:
    """Translates a pattern from Python's syntax to RE2's, with Python's meaning of digits, letters and spaces."""

    def __init__(self, pattern: str, *, without_borders: bool) -> None:
        self._pattern = pattern
        self._without_borders = without_borders
        self._at = 0
        self._written: list[str] = []
        self._names: set[str] = set()
        self._multiline = False
        self.ends = False
        """Whether the pattern has a ``$`` that means the end of the text."""
        self.folds = False
        """Whether case is ignored. Then the pattern has only ASCII characters."""
        self._flags_end = 0
        self._is_place = False
        """Whether the last part matches a place and no character, such as ``^``."""
        self._is_whole = False
        """Whether the pattern has a ``\\Z``, which never matches before a line end."""
        self._tails: list[_Tail] = [_Tail()]
        """The groups around this place, outermost first: the whole pattern, then each open bracket."""

    def run(self) -> str:
        pattern = self._pattern
        while self._at < len(pattern):
            char = pattern[self._at]
            self._at += 1
            self._vet(char)
            match char:
                case "\\":
                    self._escape(inside=False)
                case "[":
                    self._set()
                case "(":
                    self._group()
                case ")" | "|":
                    self._close(char)
                case "{":
                    self._braces()
                case "$":
                    self._end()
                case _:
                    self._written.append(char)
        if self.ends and self._is_whole:
            raise _InexpressibleError
        return "".join(self._written)

    def _vet(self, char: str) -> None:
        if self._tails[-1].is_ended and char not in ")|":
            raise _InexpressibleError  # in Python, "a$\n" matches "a\n"; in RE2, nothing follows an end
        if self._is_place and char in "*+?{":
            raise _InexpressibleError  # RE2 repeats a place such as "^", and Python refuses to
        self._is_place = char in "^$" or (char == "\\" and self._pattern[self._at : self._at + 1] in tuple("AZbB"))

    def _escape(self, *, inside: bool) -> None:
        # `inside`: the backslash stands in a set (`[...]`).
        char = self._take()
        kind = _CLASSES.get(char.lower())
        if kind is not None:
            self._class(char, kind, inside=inside)
        elif char in _HEX:
            self._character(_HEX[char])
        elif char in _SAME or (char.isascii() and not char.isalnum()):
            self._written.append(f"\\{char}")
        elif not char.isascii():
            self._written.append(char)
        elif char == "A" and not inside:
            self._written.append(r"\A")
        elif char == "Z" and not inside:
            self._written.append(r"\z")
            self._is_whole = True
        elif char in "bB" and not inside and self._without_borders:
            pass
        else:
            # Back-references, octal numbers, names of characters, and word boundaries, which RE2 knows only for ASCII.
            raise _InexpressibleError

    def _class(self, char: str, kind: str, *, inside: bool) -> None:
        if char == "D":
            self._written.append(r"\P{Nd}")
        elif inside and char.isupper():
            raise _InexpressibleError
        elif inside:
            self._written.append(kind)
        else:
            self._written.append(f"[{'^' if char.isupper() else ''}{kind}]")

    def _character(self, digits: int) -> None:
        text = self._pattern[self._at : self._at + digits]
        if len(text) < digits or not all(digit in "0123456789abcdefABCDEF" for digit in text):
            raise _InexpressibleError
        if 0xD800 <= int(text, 16) <= 0xDFFF or (self.folds and int(text, 16) > 0x7F):
            raise _InexpressibleError
        self._at += digits
        self._written.append(rf"\x{{{text}}}")

    def _set(self) -> None:
        self._written.append("[")
        if self._next("^"):
            self._written.append("^")
        if self._next("]"):
            self._written.append(r"\]")
        while (char := self._take()) != "]":
            if char == "\\":
                self._escape(inside=True)
            elif char == "[" and self._pattern[self._at : self._at + 1] in (":", ".", "="):
                raise _InexpressibleError  # RE2 reads the name of a class there
            elif char == "-" and self._pattern[self._at : self._at + 1] == "-":
                raise _InexpressibleError
            else:
                self._written.append(r"\[" if char == "[" else char)
        self._written.append("]")

    def _close(self, char: str) -> None:
        self._written.append(char)
        tail = self._tails[-1]
        if char == ")" and len(self._tails) > 1:
            self._tails.pop()
            if tail.has_end:
                self._tails[-1].is_ended = self._tails[-1].has_end = True
        else:
            tail.is_ended = False

    def _group(self) -> None:
        self._written.append("(")
        self._tails.append(_Tail())
        if not self._next("?"):
            return
        if self._next(":"):
            self._written.append("?:")
        elif self._pattern.startswith("P<", self._at):
            name = self._pattern[self._at + 2 :].partition(">")[0]
            if name in self._names or not name.isidentifier():
                raise _InexpressibleError
            self._names.add(name)
            self._at += 2
            self._written.append("?P<")
        elif self._at == self._flags_end + 2 and (flags := self._flags()):
            self._flags_end = self._at
            self._multiline = self._multiline or "m" in flags
            self.folds = self.folds or "i" in flags
            if self.folds and not self._pattern.isascii():
                raise _InexpressibleError
            self._written.append(f"?{flags})")
            self._tails.pop()
        else:
            raise _InexpressibleError

    def _flags(self) -> str:
        end = self._pattern.find(")", self._at)
        flags = self._pattern[self._at : end] if end >= 0 else ""
        if not flags or not all(flag in "ims" for flag in flags):
            return ""
        self._at = end + 1
        return flags

    def _braces(self) -> None:
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at : end].partition(",") if end >= 0 else ("", "", "")
        numbers = all(not text or (text.isascii() and text.isdigit()) for text in (low, high))
        if not numbers or not (low or comma):
            self._written.append(r"\{")
            return
        self._at = end + 1
        self._written.append(f"{{{low or 0}{comma}{high}}}")

    def _end(self) -> None:
        if self._multiline:
            self._written.append("$")
            return
        self._tails[-1].is_ended = self._tails[-1].has_end = self.ends = True
        self._written.append(r"\z")

    def _take(self) -> str:
        if self._at == len(self._pattern):
            raise _InexpressibleError
        self._at += 1
        return self._pattern[self._at - 1]

    def _next(self, char: str) -> bool:
        is_next = self._pattern.startswith(char, self._at)
        self._at += is_next
        return is_next


_COMPILING = """
import json, re, sys
told = {}
for pattern in json.load(sys.stdin):
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        told[pattern] = str(error)
json.dump(told, sys.stdout)
"""
_SECONDS = 2.5
"""The time limit for compiling all patterns. Those of a file must not keep its reader waiting."""


def problems_of(patterns: Iterable[str]) -> dict[str, str]:
    # Python alone can judge what RE2 cannot express. A process with a time limit does so, as compiling may take long.
    other = sorted(pattern for pattern in set(patterns) if linear(pattern) is None)
    if not other:
        return {}
    try:
        ran = subprocess.run(  # noqa: S603  (our own program)
            [sys.executable, "-I", "-S", "-c", _COMPILING],
            input=json.dumps(other).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"the patterns {other!r:.200} must compile in a process of their own, got {error}; check "
            "whether Python can be started here"
        ) from error
    problems: dict[str, str] = json.loads(ran.stdout)
    return problems
