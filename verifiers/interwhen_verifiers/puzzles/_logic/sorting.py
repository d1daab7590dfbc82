"""Words to sort: the problem of a prompt, and what is certain of their order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias
from typing import Final as Constant

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.answers import FinalAnswer, read_final
from interwhen_verifiers.puzzles._logic.wording import MAX_LINE, MAX_PROMPT, ORDINAL, ordinal, spelled

WORD: Final = r"[^\W_][\w'.\-]{0,40}"
_ORDER = re.compile(
    r"\b(?:sort|alphabetize|arrange|order|put)\b[^\n]{0,200}?\b(?:alphabetical\w{0,2}|words?)\b",
    re.IGNORECASE,
)
_DESCENDING = re.compile(r"\b(?:descending|reverse)\b[^\n:]{0,60}:?", re.IGNORECASE)
_ASCENDING = re.compile(r"\bascending\b", re.IGNORECASE)
_LIST = re.compile(r"^[\s\[\"']*+(?:[\w'.\-\"]{1,44}(?:[\s,\"'\]]{1,6}|$)){2,200}$")
_PLAIN = re.compile(r"\s{0,4}(?:[a-z][a-z'.\-]{0,40}(?:\s{1,3}|$)){4,200}$")
_LEAST = 2
_AND = re.compile(r"(,?\s)and\s(?=[^\s,]+$)", re.IGNORECASE)
_PROSE = """
a all alphabetical alphabetically an and are as ascending at because but by descending following from given hence
in is it list now of or order sequence since so sorted that the then there therefore therefrom these they this thus
to was we when where which while with words
"""
PROSE: Final = frozenset(_PROSE.split())
"""Words of a sentence around a list. One of the words to sort may be among them."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words, and whether the last comes first."""

    given: tuple[str, ...]
    is_descending: bool = False
    is_by_code: bool = False
    """Whether capitals come before all small letters, as their codes do; if not, that is left open."""

    def status(self, one: str, other: str) -> int:
        """Return -1 if *one* must stand before *other*, 1 if behind it, 0 if they are alike or it is left open."""
        found = {_sign(key(one), key(other)) for key in (_KEYS[:1] if self.is_by_code else _KEYS)}
        sign = found.pop() if len(found) == 1 else 0
        return -sign if self.is_descending else sign

    def misplaced(self, listed: Iterable[str]) -> tuple[str, str] | None:
        """Return the first two neighbours in *listed* of which the first must stand behind the second."""
        return next((pair for pair in pairwise(listed) if self.status(*pair) > 0), None)

    def difference(self, listed: Iterable[str]) -> str:
        """Say how *listed* differs from a rearrangement of the words; empty: it does not."""
        given, found = Counter(self.given), Counter(listed)
        for word in found:
            if word not in given:
                return f"{word!r} is not one of the words to sort"
            if found[word] > given[word]:
                return f"{word!r} is listed more than once"
        return next((f"{word!r} is missing" for word in given if word not in found), "")

    def knows(self, word: str) -> bool:
        """Tell whether *word* is one of those to sort."""
        return word in self.given


def _raw(word: str) -> str:
    return word


def _folded(word: str) -> str:
    return word.casefold()


def letters(word: str) -> str:
    """Return the letters of *word* alone, in small."""
    return "".join(sign for sign in word.casefold() if sign.isalpha())


_KEYS: Final = (_raw, _folded, letters)
"""Ways in which words are ordered: by code, and without regard for capitals, or for signs in the word."""


def _sign(one: str, other: str) -> int:
    return (one > other) - (one < other)


def _and_less(listed: str) -> str:
    """Return *listed* without the "and" before its last word, if commas part the words."""
    return _AND.sub(r"\1", listed.rstrip(" .")) if "," in listed else listed


def read_words(prompt: str) -> Words | None:
    """Return the words that *prompt* gives to sort; ``None``: it gives none."""
    if len(prompt) > MAX_PROMPT:
        return None
    if _PLAIN.fullmatch(prompt):
        return Words(tuple(prompt.split()))
    orders = list(_ORDER.finditer(prompt))
    if not orders:
        return None
    told = prompt[orders[-1].start() :]
    for line in told.rsplit("\n"):
        listed = _and_less(line[line.rfind(":") + 1 :])
        if ":" in line and _LIST.fullmatch(listed):
            is_quoted = re.search(r"(?<!\w)'", listed) is not None
            words = tuple(word.rstrip("'") if is_quoted else word for word in re.findall(WORD, listed))
            if len(words) >= _LEAST and "_" not in listed and len(words) == len(listed.replace(",", " ").split()):
                is_descending = bool(_DESCENDING.search(told)) and not _ASCENDING.search(told)
                return Words(words, is_descending, "ASCII" in told)
    return None


# What a line says of words that are sorted: letters, words that are alike so far, chains, lists.

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


Sorted: TypeAlias = Letter | Subpart | Chain | FinalAnswer


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


# Whether the words bear out what is said of their letters and order.

_LONGEST_AND = 4
"""The most letters of a word for "and"."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def judge_sorting(problem: Words, said: Sorted) -> Verdict:
    """Judge a statement on letters and order by the words themselves."""
    match said:
        case Letter():
            return _judge_letter(said)
        case Subpart():
            return _judge_subpart(said)
        case Chain():
            return _judge_chain(problem, said)
        case FinalAnswer():
            return _judge_answer(problem, said.text)


def _at(word: str, rank: int) -> set[str]:
    """Return what the letter of that rank may be: with signs in the word counted, or not."""
    return {text[rank - 1] if rank <= len(text) else "" for text in (word.casefold(), letters(word))}


def _number(letter: str) -> int:
    return _ALPHABET.find(letter) + 1 if letter else 0


def _judge_letter(said: Letter) -> Verdict:
    right, low = _at(said.word, said.rank), said.letter.casefold()
    is_letter = low in right
    if is_letter and said.number in (0, _number(low)):
        return Pass(f"that is the {spelled(said.rank)} letter")
    why = (
        f"{said.letter!r} is not the {said.number}th letter of the alphabet"
        if is_letter
        else f"{said.letter!r} is not the {spelled(said.rank)} letter of {said.word!r}"
    )
    sound = low if is_letter else right.pop() if len(right) == 1 else ""
    if not sound.isalpha():
        return Violation(why=why)
    shown = f'"{sound}" ({_number(sound)})' if said.number else f'"{sound}"'
    repair = shown if said.said else sound
    return Violation(
        why=why,
        witness=f"the {spelled(said.rank)} letter of {said.word!r} is {shown}",
        where=Span(0, len(said.said or said.letter)),
        repair=repair,
    )


def _judge_subpart(said: Subpart) -> Verdict:
    for one, other in pairwise(said.words):
        heads = {(letters(word)[: said.rank - 1], word[: said.rank - 1].casefold()) for word in (one, other)}
        if len({head[0] for head in heads}) > 1 and len({head[1] for head in heads}) > 1:
            return Violation(why=f"{one!r} and {other!r} differ before their {spelled(said.rank)} letters")
    return Pass("they are alike up to there")


def _judge_chain(problem: Words, said: Chain) -> Verdict:
    if problem.is_descending:
        return Unknown("whether that is meant in the order of the alphabet is not known")
    listed = [word for group in said.groups for word in group.words]
    strange = [word for word in listed if not problem.knows(word)]
    if len(strange) * 2 >= len(listed):
        return Unknown(f"{strange[0]!r} is not one of the words to sort")
    found = _misnumbered(said) or _misplaced(problem, said) or _misgrouped(said)
    if found is not None:
        return found
    if strange:
        # It may be misspelt on the way, and written well in the end.
        return Unknown(f"{strange[0]!r} is not one of the words to sort")
    if said.is_whole and (what := problem.difference(listed)):
        return Violation(why=f"{what} in the list")
    return Pass("the words stand so")


def _misnumbered(said: Chain) -> Violation | None:
    for group in said.groups:
        for word in group.words if said.rank and group.number else ():
            if group.number not in {_number(letter) for letter in _at(word, said.rank)}:
                return Violation(
                    why=f"{group.number} is not the number of the {spelled(said.rank)} letter of {word!r}",
                    where=_where(said, group, group),
                )
    return None


def _misplaced(problem: Words, said: Chain) -> Violation | None:
    for left, right in pairwise(said.groups):
        for one in left.words:
            for other in right.words:
                if one == other:
                    return Violation(why=f"{one!r} cannot stand before itself", where=_where(said, left, right))
                if problem.status(one, other) > 0:
                    return Violation(
                        why=f"{one!r} does not come before {other!r}",
                        witness=f"{other!r} comes before {one!r}",
                        where=_where(said, left, right),
                    )
    return None


def _misgrouped(said: Chain) -> Violation | None:
    for group in said.groups:
        settled = [word for word in group.words if word in said.settled]
        if len(settled) > 1:
            why = f"the order of {settled[0]!r} and {settled[1]!r} was just given, and is left open here"
            return Violation(why=why, where=_where(said, group, group))
        if group.is_loose:
            continue
        odd = next((word for word in group.words if word[:1].casefold() != group.words[0][:1].casefold()), None)
        if odd is not None:
            why = f"{group.words[0]!r} and {odd!r} differ in their first letters, and need no further comparing"
            return Violation(why=why, where=_where(said, group, group))
    return None


def _where(said: Chain, first: Group, last: Group) -> Span:
    low, high = min(first.start, last.start), max(first.end, last.end)
    return Span(low - said.start, high - said.start)


def _judge_answer(problem: Words, text: str) -> Verdict:
    listed = [word.rstrip(".'") for word in re.findall(WORD, text)]
    listed = [word for at, word in enumerate(listed) if not _joins(problem, listed, at)]
    prose = next((at for at, word in enumerate(listed) if word.casefold() in PROSE and not problem.knows(word)), None)
    if prose is not None and prose < len(problem.given):
        return Unknown("the answer is a sentence, and not only a list of the words")
    listed = listed[:prose]
    if sum(map(problem.knows, listed)) * 2 <= len(listed):
        return Unknown("the answer is no list of the words")
    if what := problem.difference(listed):
        return Violation(why=what)
    if pair := problem.misplaced(listed):
        return Violation(why=f"{pair[0]!r} does not come before {pair[1]!r}")
    return Pass("all the words, in their order")


def _joins(problem: Words, listed: list[str], at: int) -> bool:
    """Tell whether the word there only stands between two of a list: "a, b, and c", in any language."""
    word = listed[at].casefold()
    is_last = at == len(listed) - 2 == len(problem.given) - 1 and len(word) <= _LONGEST_AND
    return (
        (word in {"and", "then"} or is_last)
        and not problem.knows(listed[at])
        and 0 < at < len(listed) - 1
        and problem.knows(listed[at - 1])
        and listed[at + 1].casefold() not in PROSE
    )
