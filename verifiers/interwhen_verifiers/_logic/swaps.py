"""Things that people hold and swap: the problem of a prompt, and who holds what after each swap."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from interwhen_verifiers._logic.wording import MAX_PROMPT
from interwhen_verifiers._puzzles.answers import read_options

NAME: Final = r"(?-i:[A-Z][a-z]{1,14})"
VERB: Final = (
    r"(?:(?:is|are) (?:now )?(?:holding|playing|dancing with|assigned(?: to)?|sitting in)|(?:now |then )?(?:has|have"
    r"|gets?|holds?|buys?|owns?|starts? with|ends? up with|plays?|receives?))"
)
TRADE: Final = r"(?:swap|switch|trade|exchange)(?:s|ped|ed|d|es)?"
_GIVEN = re.compile(
    rf"(?<![\w'])(?P<name>{NAME}) {VERB} (?P<thing>[^\s.,;:][^.,;:\n]{{0,60}}?)"
    rf"(?=[,;] (?:and )?{NAME} {VERB}|, and\b|[.;\n]|$)"
)
SWAP: Final = re.compile(
    rf"(?<![\w'])(?P<one>{NAME}) (?:and (?P<other>{NAME}) {TRADE}\b"
    rf"|{TRADE}(?: \w{{1,12}}){{0,2}} with (?P<with>{NAME}))"
)
_START = re.compile(r"\bat the (?:start|beginning) of\b[^:\n]{0,120}:|\binitially\b[,:]", re.IGNORECASE)
_ASKED = re.compile(
    rf"\bat the end\b[^,\n]{{0,40}}, (?P<name>{NAME}) {VERB}(?: the| a)?\s{{0,3}}:?(?=\n|$)", re.IGNORECASE
)
_ARTICLE = re.compile(r"^(?:an?|the|his|her|their) ")
"""In small letters: the article of a title belongs to it."""
_MOST = 60
"""More swaps than that are not followed."""


@dataclass(frozen=True, slots=True)
class Swaps:
    """The people, what they hold in turn, and what is asked."""

    names: tuple[str, ...]
    states: tuple[tuple[str, ...], ...]
    """What each holds: at the start, and after each swap."""
    pairs: tuple[frozenset[int], ...]
    asked: int | None
    options: tuple[tuple[str, str], ...]
    """The letter and the text of each option."""

    def find(self, name: str) -> int | None:
        """Return the person of that name, or of that initial if nobody else has it."""
        low = name.casefold()
        known = [at for at, each in enumerate(self.names) if low in (each.casefold(), each[0].casefold())]
        return known[0] if len(known) == 1 else None

    def thing(self, said: str) -> str | None:
        """Return the one thing that *said* can mean, all of whose words are in its name; ``None``: it is not one."""
        wanted = words(said)
        if not wanted:
            return None
        things = self.states[0]
        exact = [thing for thing in things if words(thing) == wanted]
        known = exact or [thing for thing in things if set(wanted) <= set(words(thing))]
        return known[0] if len(known) == 1 else None

    def said(self, thing: str, like: str) -> str:
        """Return *thing* as the text says things, *like* being one: with an article or without, and in full.

        Only the noun that all things have ("ball") is left out where *like* leaves it out.
        """
        article, other = _ARTICLE.match(like), self.thing(like)
        named = _ARTICLE.sub("", thing)
        nouns = {words(each)[-1] for each in self.states[0]}
        if other is not None and len(nouns) == 1 and len(words(like)) == len(words(other)) - 1 > 0:
            brief = named.rsplit(" ", 1)[0]
            named = brief if words(like)[-1] not in nouns and self.thing(brief) == thing else named
        if article is None:
            return named
        return f"{_indefinite(named) if article[0].lower() in {'a ', 'an '} else article[0]}{named}"


def _indefinite(named: str) -> str:
    return "an " if named[:1].lower() in "aeiou" else "a "


def words(text: str) -> tuple[str, ...]:
    """Return the words of *text* without articles, in small letters."""
    return tuple(word for word in re.findall(r"[\w'-]+", text.casefold()) if word not in {"a", "an", "the"})


def read_swaps(prompt: str) -> Swaps | None:
    """Return the problem of *prompt*; ``None``: it tells of no swaps, or not all is understood."""
    if len(prompt) > MAX_PROMPT:
        return None
    starts = list(_START.finditer(prompt))
    if not starts:
        return None
    story = prompt[starts[-1].end() :]
    end = re.search(r"\bat the end\b|\boptions:", story, re.IGNORECASE)
    told = story[: end.start()] if end else story
    swaps = list(SWAP.finditer(told))
    if not swaps or len(swaps) > _MOST:
        return None
    given = [(found["name"], found["thing"].strip()) for found in _GIVEN.finditer(told, 0, swaps[0].start())]
    names = tuple(name for name, _ in given)
    held = tuple(thing for _, thing in given)
    if len(names) < 2 or len(set(names)) < len(names) or len({words(each) for each in held}) < len(held):
        return None
    pairs = [_pair(found, names) for found in swaps]
    # A trade that is not read would make everything behind it wrong.
    if None in pairs or len(re.findall(rf"\b{TRADE}\b", told[swaps[0].start() :])) != len(swaps):
        return None
    asked = _ASKED.search(story)
    return Swaps(
        names,
        _played(held, [pair for pair in pairs if pair]),
        tuple(frozenset(pair) for pair in pairs if pair),
        names.index(asked["name"]) if asked and asked["name"] in names else None,
        tuple(read_options(prompt).items()),
    )


def _pair(found: re.Match[str], names: tuple[str, ...]) -> tuple[int, int] | None:
    one, other = found["one"], found["other"] or found["with"]
    return (names.index(one), names.index(other)) if one in names and other in names and one != other else None


def _played(held: tuple[str, ...], pairs: list[tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    states = [held]
    for one, other in pairs:
        now = list(states[-1])
        now[one], now[other] = now[other], now[one]
        states.append(tuple(now))
    return tuple(states)
