"""Normalizes text for parsers, and maps offsets in the normal form back to the original text."""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from functools import lru_cache

from interwhen._types.segments import Span

__all__ = ["Normalized", "normalize"]

_PLAIN = re.compile(r"[\t\n\r -~]*\Z").match
"""Matches text that is already in normal form."""
_RUN = re.compile(r"[\t\n\r -~]+")
_LONGEST = 32
"""The most characters that are composed into one: the Stream-Safe Text Format of UAX 15 allows 30 marks."""
_SPACES = "\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029"
"""Separators that NFKC keeps. They become spaces."""
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""``Default_Ignorable_Code_Point`` of the Unicode Character Database (DerivedCoreProperties.txt, Unicode 15)."""
_DROPPED = re.compile(f"[{_IGNORABLE}]|(?![{_SPACES}\t\n\r])[\x00-\x1f\x7f-\x9f]")
_KEPT_TAGS = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")
"""Tags of characters that keep their form, because NFKC would change their meaning: 2⁵ is not 25, 1½ is not 11/2."""


class Normalized:
    """A text in normal form. Parsers read ``text``; :meth:`original` maps a range of it to the original text."""

    __slots__ = ("_ends", "_starts", "source", "text")

    def __init__(self, source: str, text: str, starts: array[int] | None, ends: array[int] | None) -> None:
        self.source = source
        """The original text."""
        self.text = text
        """The normal form."""
        self._starts = starts
        self._ends = ends

    @property
    def changed(self) -> bool:
        """Whether the normal form differs from the original text."""
        return self._starts is not None

    def original(self, start: int, end: int) -> Span:
        """Return the span of the original text from which ``text[start:end]`` was made.

        Characters that were dropped at the two ends are not included. Raises :class:`ValueError` if the range is not
        inside ``text``.
        """
        if not 0 <= start <= end <= len(self.text):
            msg = (
                f"a range must be inside a text of {len(self.text)} characters, got [{start!r}, {end!r}); "
                "give offsets in this text"
            )
            raise ValueError(msg)
        if self._starts is None or self._ends is None:
            return Span(start, end)
        if start == end:
            at = self._starts[start] if start < len(self._starts) else len(self.source)
            return Span(at, at)
        return Span(self._starts[start], self._ends[end - 1])

    def normal(self, start: int, end: int) -> Span:
        """Return the span of the normal form ``text`` that was made from the range ``source[start:end]``.

        ``source`` is the original text. Characters that were made from text that is only partly in the range are
        included. Raises :class:`ValueError` if the range is not inside ``source``.
        """
        if not 0 <= start <= end <= len(self.source):
            msg = (
                f"a range must be inside a text of {len(self.source)} characters, got [{start!r}, "
                f"{end!r}); give offsets in the source"
            )
            raise ValueError(msg)
        if self._starts is None or self._ends is None:
            return Span(start, end)
        low = bisect_left(self._ends, start + 1)
        return Span(low, max(low, bisect_left(self._starts, end)))


def normalize(text: str) -> Normalized:
    """Return the normal form of *text*, which verifiers should parse. Takes linear time.

    Compatibility forms become ordinary characters (NFKC): full-width digits and signs, ligatures, mathematical letters.
    Superscripts, subscripts, fractions, circled and squared signs keep their form, because it has a meaning.
    Default-ignorable characters of Unicode, such as zero-width spaces, and control characters are dropped or become
    spaces; tabs and line ends are kept.
    """
    if _PLAIN(text):
        return Normalized(text, text, None, None)
    pieces: list[str] = []
    starts, ends = array("q"), array("q")
    at, size = 0, len(text)
    while at < size:
        plain = _RUN.match(text, at)
        # The last plain character may be the base of a mark that follows.
        stop = at if plain is None else plain.end() if plain.end() == size else plain.end() - 1
        if stop > at:
            pieces.append(text[at:stop])
            starts.extend(range(at, stop))
            ends.extend(range(at + 1, stop + 1))
            at = stop
            continue
        end, made = _group(text, at)
        pieces.append(made)
        starts.extend([at] * len(made))
        ends.extend([end] * len(made))
        at = end
    joined = "".join(pieces)
    if joined == text:
        return Normalized(text, text, None, None)
    return Normalized(text, joined, starts, ends)


def _group(text: str, start: int) -> tuple[int, str]:
    made = _alone(text[start])
    raw = "" if not made else text[start]
    end = start + 1
    if not made or _stands_alone(text[start]):
        return end, made
    while end < len(text) and end - start < _LONGEST:
        after = text[end]
        single = _alone(after)
        if not single:
            # A mark may follow a character that is dropped, and then still belongs to the one before it.
            end += 1
            continue
        if _stands_alone(after):
            break
        together = unicodedata.normalize("NFKC", raw + after)
        # A mark that does not compose may be followed by one that does: cedilla and acute on one letter.
        if together == made + single and not unicodedata.combining(after):
            break
        raw, made, end = raw + after, together, end + 1
    # Dropped characters at the end do not belong to the group, unless a character was joined after them.
    while end > start + 1 and not _alone(text[end - 1]):
        end -= 1
    return end, made


@lru_cache(maxsize=4096)
def _alone(character: str) -> str:
    if _DROPPED.match(character):
        return ""
    if character in _SPACES:
        return " "
    return character if _stands_alone(character) else unicodedata.normalize("NFKC", character)


@lru_cache(maxsize=4096)
def _stands_alone(character: str) -> bool:
    return character in _SPACES or unicodedata.decomposition(character).startswith(_KEPT_TAGS)
