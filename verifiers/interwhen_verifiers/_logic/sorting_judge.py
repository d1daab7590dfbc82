"""Whether the words bear out what is said of their letters and order."""

from __future__ import annotations

import re
from itertools import pairwise

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers._logic.answers import Final
from interwhen_verifiers._logic.sortings import Chain, Group, Letter, Sorted, Subpart
from interwhen_verifiers._logic.wording import spelled
from interwhen_verifiers._logic.words import PROSE, WORD, Words, letters

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
        case Final():
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
