"""Reads the words around an equation: doubts, units, and whether it is asserted at all."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

from typing import Literal, NamedTuple

from interwhen_verifiers._arithmetic.parser import doubt_of_unit
from interwhen_verifiers._arithmetic.tokens import Token
from interwhen_verifiers._arithmetic.vocabulary import (
    ADVERBS,
    ANSWERING,
    CASTING_DOUBT,
    COMING,
    CONDITIONAL,
    EACH,
    FAMILY,
    FOREIGN,
    INEXACT,
    JOINING,
    LABELS,
    LEADS,
    NEGATING,
    NOT_UNITS,
    OPERATING,
    OTHERS,
    REFERRING,
    REJECTED,
    RELATING,
    REPORTING,
    RETRACTING,
    ROUNDING,
    TOTALS,
    VERBS,
    WANTING,
    stem,
)

REACH = 60
"""In tokens. Words farther away say little, and a limit keeps time linear."""


_CAST = "the sentence around it casts doubt on it"
_DENIED = "it may be denied"
_TAKEN_BACK = "it may be taken back in what follows"
BESIDE = frozenset(("a mark after it may be a unit", "a bracket follows", "it may be a factorial"))
"""Doubts about a chain's last side that come from a sign after it."""
DENIALS = frozenset((_CAST, _DENIED, _TAKEN_BACK))
"""Doubts by which the text may deny an equation that holds."""


class Surroundings(NamedTuple):
    doubt: str
    """Why the text may not assert the chain. Empty: no reason is known."""
    relation: Literal["=", "~", "?"]
    """What an equality sign means in the chain: equal, about equal, or either of the two."""


_NEUTRAL = Surroundings("", "=")
_BEFORE_NO = frozenset((",", "—", "-", ":", "|", ";", "("))
_QUOTES = frozenset('"“”„«»‘`')
_TELLING = (
    CASTING_DOUBT
    | NEGATING
    | REPORTING
    | RETRACTING
    | REJECTED
    | FOREIGN
    | ROUNDING
    | ADVERBS
    | INEXACT
    | _QUOTES
    | CONDITIONAL
    | ANSWERING
    | {"should", "no", "?", "expected", "that", "say", "require", "requires", "must", "but"}
)


def surroundings(tokens: list[Token], first: int, last: int) -> Surroundings:
    # Return the reason to doubt the chain `tokens[first:last]`, and the meaning of `=` in it. They are read in the
    # sentence around the chain and in the text after it, within about `REACH` tokens.
    if _TELLING.isdisjoint([text for _, text, _, _ in tokens[max(0, first - REACH) : last + REACH]]):
        return _NEUTRAL
    clause_start, sentence_start = _back(tokens, first)
    clause_end, sentence_end = _ahead(tokens, last)
    sentence = _words(tokens, sentence_start, sentence_end)
    clause = _words(tokens, clause_start, clause_end)
    relation = _relation(tokens, first, last, sentence)
    reach = _Reach(clause, sentence, clause_end, sentence_start, sentence_end)
    return Surroundings(_doubt(tokens, first, last, reach), relation)


class _Reach(NamedTuple):
    """The words of the clause and the sentence around a chain. The starts and ends are indices of tokens."""

    clause: set[str]
    sentence: set[str]
    clause_end: int
    sentence_start: int
    sentence_end: int


def _relation(tokens: list[Token], first: int, last: int, sentence: set[str]) -> Literal["=", "~", "?"]:
    beside = {token.text for token in (*tokens[max(0, first - 1) : first], *tokens[last : last + 1])}
    if not ROUNDING.isdisjoint(sentence) or not ADVERBS.isdisjoint(beside):
        return "~"
    return "=" if INEXACT.isdisjoint(sentence) else "?"


def _doubt(tokens: list[Token], first: int, last: int, reach: _Reach) -> str:
    sentence, end = reach.sentence, reach.sentence_end
    ahead = tokens[last : last + REACH]
    following = {token.text for token in ahead}
    if end < len(tokens) and tokens[end].text == "?":
        return "it is part of a question"
    if casts := CASTING_DOUBT & sentence:
        return "it may be a condition in a program" if casts == {"=="} else _CAST
    after = _words(tokens, last, _end_of_comment(tokens, end))
    if not NEGATING.isdisjoint(reach.clause | after) or (
        "no" in sentence and sentence & {"solution", "solutions", "way"}
    ):
        return _DENIED
    if "expected" in sentence and "got" in sentence:
        return "it may be what was found in place of what was expected"
    is_unmet = not CONDITIONAL.isdisjoint(_words(tokens, reach.sentence_start, reach.sentence_start + 1))
    if is_unmet or _is_wanted(tokens, first, last):
        return "it may be a condition that is not met"
    if _is_reported(reach.clause) or "should" in _words(tokens, last, max(last + 2, reach.clause_end)):
        return "it may not be asserted"
    marked = len(ahead) > 1 and ahead[0].text in _BEFORE_NO and ahead[1].text == "no"
    corrected = marked or _is_corrected(ahead) or "no" in {token.text for token in tokens[last - 1 : last + 1]}
    if corrected or not RETRACTING.isdisjoint(following) or not REJECTED.isdisjoint(following):
        return _TAKEN_BACK
    if not _QUOTES.isdisjoint(_words(tokens, max(0, first - REACH), first)) and not _QUOTES.isdisjoint(following):
        return "it is quoted"
    return "" if FOREIGN.isdisjoint(sentence) else "the words around it are not English"


def _is_reported(clause: set[str]) -> bool:
    return not REPORTING.isdisjoint(clause) or not (OTHERS.isdisjoint(clause) or ANSWERING.isdisjoint(clause))


def _is_wanted(tokens: list[Token], first: int, last: int) -> bool:
    # Tell whether the words beside `tokens[first:last]` demand or suppose it: `such that`, `… must hold`.
    before = [text for _, text, _, _ in tokens[max(0, first - 2) : first]]
    end = [text for _, text, _, _ in tokens[last - 2 : last + 1]]  # its last two words may be read as a unit
    return tuple(before) in WANTING or before[-1:] in (["require"], ["requires"]) or "must" in end


def _is_corrected(ahead: list[Token]) -> bool:
    words = [text for _, text, _, _ in ahead[:6]]
    if "but" not in words[:2]:
        return False
    at = words.index("but")
    return words[at + 1 : at + 2] in (["it"], ["it's"], ["that"], ["that's"], ["this"], ["we"]) and any(
        token.kind == "num" for token in ahead[at + 2 : at + 4]
    )


def _end_of_comment(tokens: list[Token], sentence_end: int) -> int:
    following = tokens[sentence_end + 1 : sentence_end + 2]
    return sentence_end + 8 if following and following[0].text in REFERRING else sentence_end


def _words(tokens: list[Token], start: int, stop: int) -> set[str]:
    return {token.text for token in tokens[start:stop]}


def _back(tokens: list[Token], first: int) -> tuple[int, int]:
    clause = None
    at = first
    while at > 0 and at > first - REACH:
        token = tokens[at - 1]
        if token.kind == "break":
            clause = at if clause is None else clause
            if token.text in ".?!;|。":
                break
        at -= 1
    return (at if clause is None else clause), at


def _ahead(tokens: list[Token], last: int) -> tuple[int, int]:
    clause = None
    at = last
    while at < len(tokens) and at < last + REACH:
        token = tokens[at]
        if token.kind == "break":
            clause = at if clause is None else clause
            if token.text in ".?!;|。":
                break
        at += 1
    return (at if clause is None else clause), at


def is_bullet(tokens: list[Token], at: int) -> bool:
    return at == 1 and tokens[0].kind == "op" and tokens[0].text in {"-", "*"} and tokens[0].end < tokens[1].start


def joins_left(tokens: list[Token], first: int, *, is_bare: bool) -> str | None:
    # Return the reason to doubt a side because of the text before it; `None` if that text belongs to the side.
    # `is_bare`: the side is a plain number.
    if first == 0 or is_bullet(tokens, first):
        return ""
    before = tokens[first - 1]
    match before.kind:
        case "math" | "rel" | "quote":
            return ""
        case "break":
            return _after_break(tokens, first, is_bare=is_bare)
        case "open":
            return _after_bracket(tokens, first)
        case "close":
            is_marker = first <= 3 and tokens[0].kind in {"num", "open"} and tokens[first - 2].kind == "num"
            return "" if is_marker and before.text == ")" and not is_bare else None
        case "word":
            return _after_lead(before) if is_bare else _after_words(tokens, first)
        case _:
            return None


def _after_lead(word: Token) -> str | None:
    return "" if word.text in LEADS else None


def _after_break(tokens: list[Token], first: int, *, is_bare: bool) -> str | None:
    before = tokens[first - 1]
    if (before.text == "," and is_bare) or _is_factorial(tokens, first - 1):
        return None
    if before.text == "," and _is_broken(tokens, first):
        return "a space may stand inside a number"
    if before.text == ":" and first > 1 and tokens[first - 2].kind == "num":
        spaced = (tokens[first - 2].end < before.start, before.end < tokens[first].start)
        return "" if spaced == (False, True) else None
    return ""


def _is_broken(tokens: list[Token], at: int) -> bool:
    number, comma = tokens[at - 2 : at - 1], tokens[at - 1]
    return (
        bool(number)
        and number[0].kind == "num"
        and number[0].end == comma.start
        and tokens[at].kind == "num"
        and len(tokens[at].text) == 3
    )


def _is_factorial(tokens: list[Token], at: int) -> bool:
    return tokens[at].text == "!" and at > 0 and tokens[at - 1].kind in {"num", "close", "opaque"}


def _after_bracket(tokens: list[Token], first: int) -> str | None:
    if first == 1:
        return ""
    before, bracket = tokens[first - 2], tokens[first - 1]
    glued = before.end == bracket.start
    if before.kind in {"num", "close"} and not glued:
        return ""  # a remark, since it holds the relation: "Jean is 23 (21 + 2 = 23)"
    is_call = before.kind == "word" and glued
    return None if is_call or before.kind in {"op", "num", "opaque", "frac", "close", "open"} else ""


def _belongs(tokens: list[Token], first: int) -> bool:
    word, here = tokens[first - 1], tokens[first]
    if here.kind == "open" and (word.end == here.start or len(word.text) == 1 or here.text == "["):
        return True
    if word.text in LABELS and here.kind == "num" and not (first > 1 and tokens[first - 2].text in EACH):
        return True
    return first > 1 and tokens[first - 2].kind == "num" and FAMILY.get(stem(word.text)) is not None


def _after_words(tokens: list[Token], first: int) -> str | None:
    if _belongs(tokens, first):
        return None
    for at in range(first - 1, max(-1, first - 9), -1):
        token = tokens[at]
        if token.kind == "pct":
            return None  # 10% tax on 20 + 5
        if token.kind != "word":
            return None if tokens[first - 1].text in {"and", "or"} and not _ends_chain(tokens, at) else ""
        if at > 0 and tokens[at - 1].text in (TOTALS if token.text == "of" else COMING if token.text == "to" else ()):
            return None if at > 1 and tokens[at - 2].text == "absolute" else ""
        if token.text in OPERATING or (token.text in RELATING and _amount_before(tokens, at)):
            return None
        if token.text in VERBS and token.text != "and":
            return ""
    return ""


def _amount_before(tokens: list[Token], at: int) -> bool:
    for before in range(at - 1, max(-1, at - REACH), -1):
        if tokens[before].kind == "break":
            return False
        if tokens[before].kind not in {"word", "math", "quote"}:
            return True
    return False


def _ends_chain(tokens: list[Token], at: int) -> bool:
    if tokens[at].kind not in {"num", "close", "pct"}:
        return tokens[at].kind == "break"
    return any(token.kind == "rel" for token in tokens[max(0, at - 3) : at])


_NOTHING: tuple[tuple[str, ...], str] = ((), "")


def right_of(tokens: list[Token], at: int) -> tuple[tuple[str, ...], str] | None:
    # Return the units in the text after a value, and the reason to doubt the value because of that text; `None` if the
    # text belongs to the value.
    if at >= len(tokens):
        return _NOTHING
    token, before = tokens[at], tokens[at - 1]
    glued = token.start == before.end
    match token.kind:
        case "math" | "close" | "rel":
            return _NOTHING
        case "word":
            return _words_after(tokens, at)
        case "op" if token.text == "/" and at + 1 < len(tokens) and tokens[at + 1].kind == "word":
            return _words_after(tokens, at + 1)
        case "quote":
            return ((), "a mark after it may be a unit") if glued and token.text in {'"', "'", "`"} else _NOTHING
        case "break":
            return _break_after(tokens, at, glued=glued)
        case "open" if not glued:
            return _bracket_after(tokens, at)
        case _:
            return None


def _bracket_after(tokens: list[Token], at: int) -> tuple[tuple[str, ...], str]:
    holds_words = at + 1 < len(tokens) and tokens[at + 1].kind == "word"
    return _NOTHING if holds_words else ((), "a bracket follows")


def _break_after(tokens: list[Token], at: int, *, glued: bool) -> tuple[tuple[str, ...], str] | None:
    token = tokens[at]
    if token.text == ":" and at + 1 < len(tokens) and tokens[at + 1].kind == "num":
        return None
    if token.text == "!" and glued:
        return (), "it may be a factorial"
    return _NOTHING


def _words_after(tokens: list[Token], at: int) -> tuple[tuple[str, ...], str] | None:
    doubt = doubt_of_unit(tokens, at)
    units: list[str] = []
    is_unit = True
    for ahead in range(at, min(len(tokens), at + 5)):
        token = tokens[ahead]
        if token.kind != "word":
            if token.kind == "op" and tokens[ahead + 1 : ahead + 2] and tokens[ahead + 1].kind == "opaque":
                return None  # 459 blinks / x minutes
            doubt = doubt or (_amount_after(tokens, ahead) if ahead > at else "")
            break
        is_unit = is_unit and token.text not in NOT_UNITS
        if is_unit:
            units.append(stem(token.text))
        if token.text in {"remainder", "mod", "modulo", "percent", "o'clock"}:
            doubt = doubt or "what follows changes the value"
    return tuple(units), doubt


def _amount_after(tokens: list[Token], at: int) -> str:
    word, kind = tokens[at - 1].text, tokens[at].kind
    if kind == "cur":
        kind = tokens[at + 1].kind if at + 1 < len(tokens) else kind
    amounts = kind in {"num", "frac", "open"} and (word in JOINING or stem(word) in FAMILY)
    unknown = kind == "opaque" and word in JOINING and word != "and"
    return "another amount follows" if amounts or unknown else ""
