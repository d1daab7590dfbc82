"""What a line says of words that are sorted: letters, words that are alike so far, chains, lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final as Constant
from typing import NamedTuple, TypeAlias

from interwhen_verifiers._logic.answers import Final, read_final
from interwhen_verifiers._logic.wording import MAX_LINE, ORDINAL, ordinal
from interwhen_verifiers._logic.words import PROSE, WORD

_QUOTE = '["\u201c\u201d]'
_QUOTED = re.compile(rf"{_QUOTE}([^\"\u201c\u201d\n]{{1,40}}){_QUOTE}")
_RANK = re.compile(rf"\b(?P<rank>{ORDINAL}) letters?\b", re.IGNORECASE)
_LETTER = re.compile(
    rf"{_QUOTE}(?P<word>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE}: {_QUOTE}(?P<letter>[a-zA-Z]){_QUOTE}"
    r"(?: \((?P<number>\d{1,2})\))?"
)
_LETTER_OF = re.compile(
    rf"\b(?P<rank>{ORDINAL}) letter (?:of|in) {_QUOTE}(?P<word>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE} is "
    rf"{_QUOTE}(?P<letter>[a-zA-Z]){_QUOTE}",
    re.IGNORECASE,
)
_SUBPART = re.compile(
    rf"\bsort (?:this|the) subpart \[(?P<words>[^\[\]\n]{{1,800}})\] by (?:looking at )?their "
    rf"(?P<rank>{ORDINAL}) letters",
    re.IGNORECASE,
)
_ITEM = re.compile(
    rf"(?:\((?P<number>\d{{1,2}})\) )?(?:{_QUOTE}(?P<quoted>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE}"
    rf"|\[(?P<group>[^\[\]\n]{{1,800}})\]|(?P<plain>{WORD}))"
)
_BETWEEN = re.compile(r"\s{0,3}([<=?])\s{0,3}$")
_WHOLE = re.compile(
    r"\b(?:hence|so|thus|therefore|now),? we (?:now )?have:?\s{0,3}$|\bwe now have:\s{0,3}$", re.IGNORECASE
)
_NOW = re.compile(r"\bwe now have:\s{0,3}$", re.IGNORECASE)
_PART = re.compile(r"\s{0,3}for the subpart", re.IGNORECASE)
_NEXT = re.compile(rf"[^.;\n]{{0,160}}?{_QUOTE}")
"""More words in the sentence: the list goes on in a way that is not read."""
_BARE = re.compile(
    rf"\b(?:hence|thus|so|therefore),? we have:?\s{{1,3}}(?P<words>(?:{WORD} {{1,3}}){{2,200}}{WORD})", re.IGNORECASE
)
_PAIR = re.compile(
    rf"{_QUOTE}(?P<one>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE} (?:comes|goes|is|stands) (?P<way>before|after) "
    rf"{_QUOTE}(?P<other>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE}",
    re.IGNORECASE,
)
_MOST: Constant = 400


class Letter(NamedTuple):
    """That letter of the word is this one, with that number in the alphabet (0: it is not said)."""

    word: str
    rank: int
    letter: str
    number: int
    said: str
    start: int
    end: int


class Subpart(NamedTuple):
    """These words can be sorted by that letter."""

    words: tuple[str, ...]
    rank: int
    start: int
    end: int


class Group(NamedTuple):
    """Words that are alike as far as they were compared, with the number of the letter (0: it is not said)."""

    number: int
    words: tuple[str, ...]
    start: int
    end: int
    is_loose: bool = False
    """Whether words stand in it without brackets around them, so that it is not sure where it begins."""


class Chain(NamedTuple):
    """Each word of a group stands before each of the next."""

    groups: tuple[Group, ...]
    rank: int
    """The letter that the numbers are of. 0: that is not known."""
    is_whole: bool
    """Whether these are all the words."""
    settled: tuple[str, ...]
    """The words whose order the line has just given, in this order."""
    start: int
    end: int


Sorted: TypeAlias = Letter | Subpart | Chain | Final


def read_sorting(rank: int, line: str) -> tuple[int, tuple[Sorted, ...]]:
    """Return which letter is looked at behind *line* (0: none yet), and what it says. Linear in its length."""
    if len(line) > MAX_LINE:
        return 0, ()
    final = read_final(line)
    cut = final.start if final else len(line)
    found: list[Sorted] = []
    found += [
        Subpart(tuple(_QUOTED.findall(match["words"])), ordinal(match["rank"]), *match.span())
        for match in _SUBPART.finditer(line, 0, cut)
    ]
    found += [
        Letter(match["word"], ordinal(match["rank"]), match["letter"], 0, "", *match.span("letter"))
        for match in _LETTER_OF.finditer(line, 0, cut)
    ]
    ranks = [(match.end(), ordinal(match["rank"])) for match in _RANK.finditer(line, 0, cut)]
    found += _letters(line, cut, rank, ranks)
    found += _chains(line, cut, ranks[-1][1] if ranks else rank)
    found += _bare(line, cut)
    if final:
        found.append(final)
    return ranks[-1][1] if ranks else rank, tuple(found)


def _letters(line: str, cut: int, rank: int, ranks: list[tuple[int, int]]) -> Iterator[Letter]:
    at = 0
    for match in _LETTER.finditer(line, 0, cut):
        while at < len(ranks) and ranks[at][0] <= match.start():
            rank, at = ranks[at][1], at + 1
        if rank:
            start = match.start("letter") - 1
            number = int(match["number"] or 0)
            yield Letter(match["word"], rank, match["letter"], number, line[start : match.end()], start, match.end())


def _chains(line: str, cut: int, rank: int) -> Iterator[Chain]:
    """Yield the chains of a line: ``(1) "a" < (2) ["b" ? "c"]``, in the order of the line."""
    if _LETTER.search(line, 0, cut):
        return
    settled: tuple[str, ...] = ()
    for groups in _linked(line, cut):
        start, end = groups[0].start, groups[-1].end
        before = line[max(0, start - 40) : start]
        is_now, is_part = bool(_NOW.search(before)), bool(_PART.match(line, end))
        if len(groups) < 2 and not (is_now and groups[0].number):
            continue
        is_whole = bool(_WHOLE.search(before)) and not is_part and not _NEXT.search(line, end, min(end + 200, cut))
        yield Chain(tuple(groups), rank if is_now else 0, is_whole, settled if is_whole else (), start, end)
        settled = tuple(group.words[0] for group in groups if len(group.words) == 1) if is_part else ()
    for match in _PAIR.finditer(line, 0, cut):
        one, other = Group(0, (match["one"],), *match.span("one")), Group(0, (match["other"],), *match.span("other"))
        groups = [one, other] if match["way"].lower() == "before" else [other, one]
        yield Chain(tuple(groups), 0, False, (), *match.span())


def _linked(line: str, cut: int) -> Iterator[list[Group]]:
    groups: list[Group] = []
    end = 0
    for match in _ITEM.finditer(line, 0, cut):
        words = (
            tuple(_QUOTED.findall(match["group"]) or re.findall(WORD, match["group"]))
            if match["group"]
            else (match["quoted"] or match["plain"],)
        )
        link = _BETWEEN.match(line[end : match.start()]) if groups and match.start() - end < 9 else None
        new = Group(int(match["number"] or 0), words, *match.span())
        if link is None or len(groups) >= _MOST:
            if groups:
                yield groups
            groups = [new]
        elif link[1] != "<":
            is_loose = groups[-1].is_loose or link[1] == "?"
            groups[-1] = groups[-1]._replace(words=groups[-1].words + words, end=match.end(), is_loose=is_loose)
        else:
            groups.append(new)
        end = match.end()
    if groups:
        yield groups


def _bare(line: str, cut: int) -> Iterator[Chain]:
    for match in _BARE.finditer(line, 0, cut):
        start = match.start("words")
        words = list(re.finditer(WORD, match["words"]))
        # Behind a word such as "and" or "which", the sentence may go on in prose.
        prose = next((at for at, word in enumerate(words) if word[0].lower() in PROSE), len(words))
        groups = tuple(
            Group(0, (word[0].rstrip("."),), start + word.start(), start + word.end()) for word in words[:prose]
        )
        if len(groups) > 1:
            yield Chain(groups, 0, prose == len(words), (), start, groups[-1].end)
