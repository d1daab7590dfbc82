"""What a line says of a map: how one place lies as seen from another, how many lie there, an answer."""

# ruff: noqa: RUF001 (apostrophes of both kinds are read here)

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from interwhen_verifiers.puzzles._answers import find_answer, is_doubtful
from interwhen_verifiers.puzzles._spatialmap.order import Relation
from interwhen_verifiers.puzzles._spatialmap.problem import WAY, way_of

MAX_LINE = 4000
"""A longer line is not read."""
_ADVERBS = (
    r"(?:(?:also|thus|therefore|indeed|clearly|definitely|located|situated|positioned|further|directly|then)\s){0,2}+"
)
_SENTENCE = re.compile(r"[^;!?]*?(?:[.;!?](?=\s|$)|$)")
_BEFORE = re.compile(
    r"\b(?:of|from|to|than|by|near|between|or|beyond|with|and|both|that|if|is|are|as|not)\s*$", re.IGNORECASE
)
_AND = re.compile(
    r"[,;:]\s?(?:and|so|then|that)\s*$|^\s*(?:and|so|then|so that|that is|thus)\s*$|\bso\s*$", re.IGNORECASE
)
_AFTER = re.compile(r"\s?(?:'s\b|’s\b|or\b|\(?\?|if\b)", re.IGNORECASE)
_DENIED = re.compile(
    r"[\s*:(\-]{0,6}(?:false|no|incorrect|wrong|not)\b|[\s*:(\-]{0,6}[\u2717\u2718\u274c]", re.IGNORECASE
)
_ALIAS = r"(?-i:[A-Z][A-Za-z]{0,5})\b"


class Statement(NamedTuple):
    """Place *one* lies so, as seen from *other*."""

    one: str
    relation: Relation
    other: str
    start: int
    end: int


class Number(NamedTuple):
    """So many places lie there, as seen from *other*."""

    number: int
    relation: Relation
    other: str
    start: int
    end: int


class Final(NamedTuple):
    """The answer."""

    text: str
    start: int
    end: int


Said: TypeAlias = Statement | Number | Final


class Grammar(NamedTuple):
    """The patterns for the names of one map."""

    relation: re.Pattern[str]
    number: re.Pattern[str]
    alias: re.Pattern[str]


def make_grammar(names: tuple[str, ...]) -> Grammar:
    """Return the patterns for *names*."""
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    bold, aside = r"(?:\*\*|\")?", r"(?:\s\([A-Z][A-Za-z]{0,5}\))?"
    one, other = (rf"{bold}(?P<{group}>{listed}|{_ALIAS}){bold}{aside}" for group in ("one", "other"))
    way = rf"(?:to the |in the |on the |at the )?{bold}(?P<way>{WAY}){bold}(?: direction| corner| side)?"
    return Grammar(
        re.compile(
            rf"(?<![\w'’-]){one} (?:is|lies|sits) {_ADVERBS}{way} (?:of|from|relative to)\s{{1,3}}(?:the "
            rf"(?={listed}))?{other}(?![\w-])",
            re.IGNORECASE,
        ),
        re.compile(
            rf"(?<![\w.])(?P<number>\d{{1,3}}) (?:objects?|places?|locations?) (?:is |are |lies? )?(?:in the "
            rf"|to the |located to the )?"
            rf"(?P<way>{WAY}) of {other}(?![\w-])",
            re.IGNORECASE,
        ),
        re.compile(rf"(?<![\w'’-])(?P<name>{listed})\*{{0,2}} \(\*{{0,2}}(?P<alias>[A-Z][A-Za-z]{{0,5}})\*{{0,2}}\)"),
    )


def read_line(line: str, grammar: Grammar, aliases: Mapping[str, str]) -> tuple[Said, ...]:
    """Return what *line* says, with names for their aliases. Linear in its length."""
    if len(line) > MAX_LINE:
        return ()
    if (answer := find_answer(line)) is not None:
        return (Final(answer.text, answer.start, answer.end),)
    return tuple(_statements(line, grammar, aliases))


def read_aliases(line: str, grammar: Grammar) -> Iterator[tuple[str, str]]:
    """Yield each alias that *line* gives a place, with its name: ``Recycle Center (RC)``."""
    if len(line) <= MAX_LINE and "(" in line:
        for match in grammar.alias.finditer(line):
            yield match["alias"], match["name"]


def _statements(line: str, grammar: Grammar, aliases: Mapping[str, str]) -> Iterator[Said]:
    for sentence in _SENTENCE.finditer(line):
        start, end = sentence.span()
        if start == end or is_doubtful(sentence[0]) or _DENIED.match(line, end):
            continue
        for match in grammar.relation.finditer(line, start, end):
            one, other = (_named(match[group], aliases) for group in ("one", "other"))
            if one and other and one != other and _stands_alone(line, start, match):
                yield Statement(one, way_of(match["way"]), other, *match.span())
        for match in grammar.number.finditer(line, start, end):
            other = _named(match["other"], aliases)
            if other and not _AFTER.match(line, match.end()):
                yield Number(int(match["number"]), way_of(match["way"]), other, *match.span())


def _stands_alone(line: str, start: int, match: re.Match[str]) -> bool:
    """Tell whether the words around leave the relation as it is: "what lies west of A is north of B" does not."""
    before = line[max(start, match.start() - 40) : match.start()]
    if _BEFORE.search(before) and not _AND.search(before):
        return False
    return not _AFTER.match(line, match.end())


def _named(said: str, aliases: Mapping[str, str]) -> str | None:
    return aliases.get(said, said if len(said) > 6 or " " in said else None)
