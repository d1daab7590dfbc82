"""Reads the words to sort from a prompt, and judges statements about their order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import ClassVar, Final, NamedTuple, TypeAlias

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.wording import MAX_PROMPT, ORDINAL, is_doubtful, ordinal, spelled
from interwhen_verifiers.puzzles._statements import FinalAnswer, Spanned

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
    """A sorting problem: the given words, and the order in which they must be sorted."""

    given: tuple[str, ...]
    is_descending: bool = False
    is_by_code: bool = False
    """Whether words are sorted by character codes, as in ASCII: capitals before all small letters."""

    def status(self, one: str, other: str) -> int:
        keys = [(key(one), key(other)) for key in (_KEYS[:1] if self.is_by_code else _KEYS)]
        signs = {(left > right) - (left < right) for left, right in keys}
        sign = signs.pop() if len(signs) == 1 else 0
        return -sign if self.is_descending else sign

    def misplaced(self, listed: Iterable[str]) -> tuple[str, str] | None:
        return next((pair for pair in pairwise(listed) if self.status(*pair) > 0), None)

    def difference(self, listed: Iterable[str]) -> str:
        given, listed_counts = Counter(self.given), Counter(listed)
        for word in listed_counts:
            if word not in given:
                return f"{word!r} is not one of the words to sort"
            if listed_counts[word] > given[word]:
                return f"{word!r} is listed more than once"
        return next((f"{word!r} is missing" for word in given if word not in listed_counts), "")

    start: ClassVar[int] = 0
    """Before the first line, the text compares no letter."""
    lost: ClassVar[int] = 0
    """The state after a line that is too long to read."""

    def read(self, rank: int, line: str) -> tuple[int, list[Sorted]]:
        # The state is the position (1 for the first) of the letter by which the text compares words; 0 if it is not
        # known.
        statements: list[Sorted] = [
            Subpart(*match.span(), tuple(_QUOTED.findall(match["words"])), ordinal(match["rank"]))
            for match in _SUBPART.finditer(line)
        ]
        statements += [
            Letter(*match.span("letter"), match["word"], ordinal(match["rank"]), match["letter"])
            for match in _LETTER_OF.finditer(line)
        ]
        ranks = [(match.end(), ordinal(match["rank"])) for match in _RANK.finditer(line)]
        after = ranks[-1][1] if ranks else rank
        return after, [*statements, *_letters(line, rank, ranks), *_chains(line, after), *_bare(line)]

    def judge(self, said: Sorted) -> Verdict:
        match said:
            case Letter():
                return _judge_letter(said)
            case Subpart():
                return _judge_subpart(said)
            case WordChain():
                return _judge_chain(self, said)
            case FinalAnswer():
                return _judge_answer(self, said.text)


def letters(word: str) -> str:
    return "".join(sign for sign in word.casefold() if sign.isalpha())


_KEYS: Final = (str, str.casefold, letters)
"""The usual sort keys: by character code, without regard to case, and by letters alone."""


def _and_less(listed: str) -> str:
    return _AND.sub(r"\1", listed.rstrip(" .")) if "," in listed else listed


def read_words(prompt: str) -> Words | None:
    # A prompt that consists only of four or more words in small letters is a list to sort, too.
    if len(prompt) <= MAX_PROMPT and _PLAIN.fullmatch(prompt):
        return Words(tuple(prompt.split()))
    orders = list(_ORDER.finditer(prompt)) if len(prompt) <= MAX_PROMPT else []
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


# Statements of a line on words that are sorted: letters, words that are alike so far, chains, lists.

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
"""Finds more quoted words in the same sentence: the list continues in a form that is not read."""
_BARE = re.compile(
    rf"\b(?:hence|thus|so|therefore),? we have:?\s{{1,3}}(?P<words>(?:{WORD} {{1,3}}){{2,200}}{WORD})", re.IGNORECASE
)
_PAIR = re.compile(
    rf"{_QUOTE}(?P<one>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE} (?:comes|goes|is|stands) (?P<way>before|after) "
    rf"{_QUOTE}(?P<other>[^\"\u201c\u201d\n]{{1,40}}){_QUOTE}",
    re.IGNORECASE,
)
_MOST: Final = 400


@dataclass(frozen=True, slots=True)
class Letter(Spanned):
    """States that the letter at position ``rank`` of ``word``, counted from 1, is ``letter``."""

    # `number` is the stated position of the letter in the alphabet, from 1; 0 if none is stated.

    word: str
    rank: int
    letter: str
    number: int = 0
    said: str = ""
    """The text from the quotation mark before the letter to the end of the statement; empty for a statement of another
    form.
    """


@dataclass(frozen=True, slots=True)
class Subpart(Spanned):
    """States that comparing the letters at position ``rank``, from 1, is enough to sort ``words``."""

    words: tuple[str, ...]
    rank: int


class WordGroup(NamedTuple):
    """Words that the text treats as equal so far."""

    # `number` is the stated position in the alphabet, from 1, of the compared letter; 0 if none is stated.

    number: int
    words: tuple[str, ...]
    start: int
    """An offset in the line, as is ``end``."""
    end: int
    is_loose: bool = False
    """Whether the group has words without brackets, so that its start is not certain."""


@dataclass(frozen=True, slots=True)
class WordChain(Spanned):
    """States that each word of a group comes before each word of the next group."""

    groups: tuple[WordGroup, ...]
    rank: int = 0
    """The position, from 1, of the letter that the numbers of the groups refer to; 0 if it is not known."""
    is_whole: bool = False
    """Whether the chain claims to have all given words."""
    settled: tuple[str, ...] = ()
    """The words whose order the same line has just given, in that order."""


Sorted: TypeAlias = Letter | Subpart | WordChain | FinalAnswer


def _letters(line: str, rank: int, ranks: list[tuple[int, int]]) -> Iterator[Letter]:
    at = 0
    for match in _LETTER.finditer(line):
        while at < len(ranks) and ranks[at][0] <= match.start():
            rank, at = ranks[at][1], at + 1
        if rank:
            start, end = match.start("letter") - 1, match.end()
            yield Letter(start, end, match["word"], rank, match["letter"], int(match["number"] or 0), line[start:end])


def _chains(line: str, rank: int) -> Iterator[WordChain]:
    # A chain is written such as `"a" < ["b" ? "c"]`. A line that states letters, such as `"fig": "f" (6)`, has none.
    if _LETTER.search(line):
        return
    settled: tuple[str, ...] = ()
    for groups in _linked(line):
        start, end = groups[0].start, groups[-1].end
        before = line[max(0, start - 40) : start]
        is_now, is_part = bool(_NOW.search(before)), bool(_PART.match(line, end))
        if len(groups) < 2 and not (is_now and groups[0].number):
            continue
        is_whole = bool(_WHOLE.search(before)) and not is_part and not _NEXT.search(line, end, end + 200)
        yield WordChain(start, end, tuple(groups), rank if is_now else 0, is_whole, settled if is_whole else ())
        settled = tuple(group.words[0] for group in groups if len(group.words) == 1) if is_part else ()
    for match in _PAIR.finditer(line):
        names = ("one", "other") if match["way"].lower() == "before" else ("other", "one")
        yield WordChain(*match.span(), tuple(WordGroup(0, (match[name],), *match.span(name)) for name in names))


def _linked(line: str) -> Iterator[list[WordGroup]]:
    groups: list[WordGroup] = []
    end = 0
    for match in _ITEM.finditer(line):
        grouped = match["group"] or ""
        words = tuple(_QUOTED.findall(grouped) or re.findall(WORD, grouped)) or (match["quoted"] or match["plain"],)
        link = _BETWEEN.match(line[end : match.start()]) if groups and match.start() - end < 9 else None
        new = WordGroup(int(match["number"] or 0), words, *match.span())
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


def _bare(line: str) -> Iterator[WordChain]:
    for match in _BARE.finditer(line):
        start = match.start("words")
        words = list(re.finditer(WORD, match["words"]))
        # After a word such as "and" or "which", the sentence may continue in prose.
        prose = next((at for at, word in enumerate(words) if word[0].lower() in PROSE), len(words))
        groups = tuple(
            WordGroup(0, (word[0].rstrip("."),), start + word.start(), start + word.end()) for word in words[:prose]
        )
        if len(groups) > 1:
            yield WordChain(start, groups[-1].end, groups, is_whole=prose == len(words))


_LONGEST_AND = 4
"""The largest number of letters of a word for "and", in any language."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def _at(word: str, rank: int) -> set[str]:
    # A letter may be counted with or without signs such as hyphens. An empty text stands for a word that is too short.
    return {text[rank - 1] if rank <= len(text) else "" for text in (word.casefold(), letters(word))}


def _number(letter: str) -> int:
    return _ALPHABET.find(letter) + 1 if letter else 0


def _judge_letter(said: Letter) -> Verdict:
    right, low = _at(said.word, said.rank), said.letter.casefold()
    is_letter = low in right
    if is_letter and said.number in (0, _number(low)):
        return Pass(f"that is the {spelled(said.rank)} letter")
    wanted = "letter of the alphabet" if is_letter else f"letter of {said.word!r}"
    named = f"{spelled(said.number if is_letter else said.rank)} {wanted}"
    why = f"{said.letter!r} is not the {named}"
    sound = low if is_letter else right.pop() if len(right) == 1 else ""
    if not sound.isalpha():
        return Violation(why=why)
    shown = f'"{sound}" ({_number(sound)})' if said.number else f'"{sound}"'
    witness = f"the {spelled(said.rank)} letter of {said.word!r} is {shown}"
    repair = shown if said.said else sound
    return Violation(why=why, witness=witness, where=Span(0, said.end - said.start), repair=repair)


def _judge_subpart(said: Subpart) -> Verdict:
    for one, other in pairwise(said.words):
        rank = said.rank - 1
        if letters(one)[:rank] != letters(other)[:rank] and one[:rank].casefold() != other[:rank].casefold():
            return Violation(why=f"{one!r} and {other!r} differ before their {spelled(said.rank)} letters")
    return Pass("they are alike up to there")


def _judge_chain(problem: Words, said: WordChain) -> Verdict:
    if problem.is_descending:
        return Unknown("whether that is meant in the order of the alphabet is not known")
    listed = [word for group in said.groups for word in group.words]
    strange = [word for word in listed if word not in problem.given]
    if len(strange) * 2 >= len(listed):
        return Unknown(f"{strange[0]!r} is not one of the words to sort")
    violation = _misnumbered(said) or _misplaced(problem, said) or _misgrouped(said)
    if violation is not None:
        return violation
    if strange:
        # It may be misspelt on the way, and right in the end.
        return Unknown(f"{strange[0]!r} is not one of the words to sort")
    if said.is_whole and (what := problem.difference(listed)):
        return Violation(why=f"{what} in the list")
    return Pass("the words stand so")


def _misnumbered(said: WordChain) -> Violation | None:
    for group in said.groups:
        for word in group.words if said.rank and group.number else ():
            if group.number not in {_number(letter) for letter in _at(word, said.rank)}:
                return Violation(
                    why=f"{group.number} is not the number of the {spelled(said.rank)} letter of {word!r}",
                    where=_where(said, group, group),
                )
    return None


def _misplaced(problem: Words, said: WordChain) -> Violation | None:
    for left, right in pairwise(said.groups):
        where = _where(said, left, right)
        for one, other in product(left.words, right.words):
            if one == other:
                return Violation(why=f"{one!r} cannot stand before itself", where=where)
            if problem.status(one, other) > 0:
                why, witness = f"{one!r} does not come before {other!r}", f"{other!r} comes before {one!r}"
                return Violation(why=why, witness=witness, where=where)
    return None


def _misgrouped(said: WordChain) -> Violation | None:
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


def _where(said: WordChain, first: WordGroup, last: WordGroup) -> Span:
    low, high = min(first.start, last.start), max(first.end, last.end)
    return Span(low - said.start, high - said.start)


def _judge_answer(problem: Words, text: str) -> Verdict:
    others = " ".join(word for word in re.findall(WORD, text) if word.rstrip(".'") not in problem.given)
    if is_doubtful(others) or re.search(r"\bor\b", others):
        return Unknown("the answer has a denial or an alternative")
    plain = re.sub(r"(?<=\w)\.?\s?\([^()]*+\)", "", text)  # "fig pear (2 words)"
    listed = [word.rstrip(".'") for word in re.findall(WORD, plain)]
    listed = [word for at, word in enumerate(listed) if not _joins(problem, listed, at)]
    prose = next((at for at, word in enumerate(listed) if word.casefold() in PROSE and word not in problem.given), None)
    if prose is not None and prose < len(problem.given):
        return Unknown("the answer is a sentence, and not only a list of the words")
    listed = listed[:prose]
    if sum(word in problem.given for word in listed) * 2 <= len(listed):
        return Unknown("the answer is no list of the words")
    if what := problem.difference(listed):
        return Violation(why=what)
    if pair := problem.misplaced(listed):
        return Violation(why=f"{pair[0]!r} does not come before {pair[1]!r}")
    if len(listed) < len(problem.given):
        return Unknown("a word that is given several times is listed less often")
    return Pass("all the words, in their order")


def _joins(problem: Words, listed: list[str], at: int) -> bool:
    word = listed[at].casefold()
    is_last = at == len(listed) - 2 == len(problem.given) - 1 and len(word) <= _LONGEST_AND
    return (
        (word in {"and", "then"} or is_last)
        and listed[at] not in problem.given
        and 0 < at < len(listed) - 1
        and listed[at - 1] in problem.given
        and listed[at + 1].casefold() not in PROSE
    )
