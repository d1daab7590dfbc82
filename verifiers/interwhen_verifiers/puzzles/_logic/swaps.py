"""Reads who holds what and the swaps from a prompt, and judges statements about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from interwhen import Pass, Span, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.wording import MAX_PROMPT, is_doubtful, sentences, spelled
from interwhen_verifiers.puzzles._statements import FinalAnswer, Spanned, read_options

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
"""Matches only small letters, because a capital article may belong to a title."""
_MOST = 60
"""Problems with more swaps are not read."""


@dataclass(frozen=True, slots=True)
class Holding(Spanned):
    """States that the person with the index ``person`` holds ``thing``, which the text calls ``said``."""

    # `at` is a set: after how many swaps the statement may be meant.

    person: int
    thing: str
    said: str
    at: frozenset[int]


@dataclass(frozen=True, slots=True)
class SwapState:
    """How many swaps the text has described so far."""

    at: frozenset[int] = frozenset({0})
    """The possible numbers of swaps. Empty if the count was lost."""
    is_open: bool = False
    """Whether the text has described a swap without its result yet."""
    names_swaps: bool = False
    """Whether the text describes swaps, or may do so. If not, a list may show what each one has after the next swap."""
    is_fresh: bool = True
    """Whether no list has been read yet."""
    is_exact: bool = False
    """Whether the text has described the start or a swap. If not, a list may be about a later state."""
    known: frozenset[int] = frozenset()
    """The people whose things the text has given since the last swap."""


LOST: Final = SwapState(frozenset(), names_swaps=True)


@dataclass(frozen=True, slots=True)
class Swaps:
    """A swap problem: the people, what they hold after each swap, and the question."""

    names: tuple[str, ...]
    states: tuple[tuple[str, ...], ...]
    """For the start and after each swap: what each person holds."""
    pairs: tuple[frozenset[int], ...]
    """The two people of each swap, by their indices in ``names``."""
    asked: int | None
    """The index of the person whose thing at the end the question asks for; ``None`` if this is not understood."""
    options: tuple[tuple[str, str], ...]
    """The letter and the text of each option."""

    def find(self, name: str) -> int | None:
        low = name.casefold()
        known = [at for at, each in enumerate(self.names) if low in (each.casefold(), each[0].casefold())]
        return known[0] if len(known) == 1 else None

    def thing(self, said: str) -> str | None:
        wanted, things = words(said), self.states[0]
        exact = [thing for thing in things if words(thing) == wanted]
        known = exact or [thing for thing in things if set(wanted) <= set(words(thing))]
        return known[0] if wanted and len(known) == 1 else None

    def said(self, thing: str, like: str) -> str:
        # If `like` leaves out a noun that all things share ("ball"), the name may leave it out, too.
        article, other = _ARTICLE.match(like), self.thing(like)
        named = _ARTICLE.sub("", thing)
        nouns = {words(each)[-1] for each in self.states[0]}
        if other is not None and len(nouns) == 1 and len(words(like)) == len(words(other)) - 1 > 0:
            brief = named.rsplit(" ", 1)[0]
            named = brief if words(like)[-1] not in nouns and self.thing(brief) == thing else named
        if article is None:
            return named
        indefinite = "an " if named[:1].lower() in "aeiou" else "a "
        return f"{indefinite if article[0].lower() in {'a ', 'an '} else article[0]}{named}"

    start: ClassVar[SwapState] = SwapState()
    """The state before the first line."""
    lost: ClassVar[SwapState] = LOST
    """The state after a line that is too long to read."""

    def read(self, told: SwapState, line: str) -> tuple[SwapState, list[Holding]]:
        headed = _headed(self, told, line)
        if headed is not None:
            return headed
        if not told.names_swaps and not _HOLDING_START.search(line) and _is_list(line):
            return _listed(self, told, line)
        statements: list[Holding] = []
        for start, end in sentences(line):
            told, holdings = _sentence(self, told, line, start, end)
            statements += holdings
        return told, statements

    def judge(self, said: Holding | FinalAnswer) -> Verdict:
        # A statement passes if it is true after any of the numbers of swaps that may be meant.
        if isinstance(said, Holding):
            return _judge_holding(self, said)
        thing = self.thing(dict(self.options).get(said.letter, said.text))
        if self.asked is None or thing is None:
            return Unknown("the question or the answer was not understood")
        right = self.states[-1][self.asked]
        return Pass("so the swaps end") if thing == right else Violation(why="the swaps do not end so")


def words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.findall(r"[\w'-]+", text.casefold()) if word not in {"a", "an", "the"})


def read_swaps(prompt: str) -> Swaps | None:
    starts = list(_START.finditer(prompt)) if len(prompt) <= MAX_PROMPT else []
    if not starts:
        return None
    story = prompt[starts[-1].end() :]
    end = re.search(r"\bat the end\b|\boptions:", story, re.IGNORECASE)
    told = story[: end.start()] if end else story
    swaps = list(SWAP.finditer(told))
    if not swaps or len(swaps) > _MOST:
        return None
    given = list(_GIVEN.finditer(told, 0, swaps[0].start()))
    names, held = tuple(match["name"] for match in given), tuple(match["thing"].strip() for match in given)
    if len(names) < 2 or len(set(names)) < len(names) or len({words(each) for each in held}) < len(held):
        return None
    pairs = [_pair(swap, names) for swap in swaps]
    # A trade that is not read would make everything after it wrong.
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


def _pair(swap: re.Match[str], names: tuple[str, ...]) -> tuple[int, int] | None:
    one, other = swap["one"], swap["other"] or swap["with"]
    return (names.index(one), names.index(other)) if one in names and other in names and one != other else None


def _played(held: tuple[str, ...], pairs: list[tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    states = [held]
    for one, other in pairs:
        now = list(states[-1])
        now[one], now[other] = now[other], now[one]
        states.append(tuple(now))
    return tuple(states)


_SAYS = re.compile(
    rf"(?<![\w'])(?:(?P<name>{NAME}|(?-i:[A-Z]))\*{{0,2}}(?: ?[:=\u2192] ?| -> )|(?P<who>{NAME}) {VERB} )\*{{0,2}}"
    r"(?P<thing>[^,.;:|()=\n*]{1,60}?)"
    r"(?=\*{0,2}[,.;|)]|\*{0,2}\s*$|\s(?:and|while|so|So|but|now|from|at|after)\b)"
)
_LETTERS = re.compile(r"\b([A-H])\*{0,2} ?[:=\u2192]")
_HOLDING_START = re.compile(
    r"\bat the (?:start|beginning)\b|\binitial(?:ly)?\b|\bto (?:start|begin)\b|^\W*start(?:ing)?\b", re.IGNORECASE
)
_END = re.compile(r"\b(?:at|in) the (?:very )?end\b|\bafter all\b|\bfinal (?:state|positions?|result)\b", re.IGNORECASE)
_TRADES = re.compile(r"\b(?:swap|switch|trad|exchang)\w{0,5}\b", re.IGNORECASE)
_GIVES = re.compile(
    r"\b(?:go(?:es)? to|went to|giv(?:es?|ing)|gave|pass(?:es|ed)|receiv(?:es?|ed)|hand(?:s|ed)|mov(?:es?|ed) to)\b",
    re.IGNORECASE,
)
"""Words that may tell one half of a swap."""
_NOUN = re.compile(r"\b(?:the|this|that|each|all|these|those|after|every|of)(?: \w{1,10})? $|^\W*$", re.IGNORECASE)
_BEFORE = re.compile(r"\bbefore\b|\bhad\b|\bprevious|\boriginal", re.IGNORECASE)
_HEAD = re.compile(
    r"\W{0,4}(?:\d{1,2}[.):]\s)?(?P<one>[A-Z][a-z]{0,14})(?: and | & | ?/ ?| ?- ?| ?<-> ?| ?\u2194 ?| )"
    r"(?P<other>[A-Z][a-z]{0,14})\s?: (?=\S)"
)
_PAIR = re.compile(
    r"\s{0,3}(?:and )?(?P<name>[A-Z][a-z]{0,14})(?: ?[:=\u2192] ?| -> | )(?P<thing>[^,;:=]{1,60}?)\s?[,;.]?\s?"
)
_PART = re.compile(r"\s{0,4}(?:\d{1,2}[.)]\s)?[*\-\s]{0,4}[A-Z][a-z]{0,14}\*{0,2} ?(?:[:=\u2192]|->)[^:=()]{1,60}$")


def _is_list(text: str) -> bool:
    parts = re.split(r"[,;]", text.strip().rstrip(".,;"))
    return len(parts) > 1 and all(map(_PART.match, parts))


def _listed(problem: Swaps, told: SwapState, line: str) -> tuple[SwapState, list[Holding]]:
    # The list may describe the state after the next swap, or repeat an earlier one.
    last = len(problem.pairs)
    said = list(_said(problem, line, 0, len(line), frozenset(), initials=True))
    again = {at for at in told.at if told.is_fresh or (at == 0 and _agrees(problem, said, at))}
    now = {min(at + 1, last) for at in told.at} | again
    if not told.is_fresh and _may_be_options(problem, line, said):
        wide = frozenset(now | told.at)
        is_right = any(_agrees(problem, said, at) for at in wide)
        return replace(told, at=wide), [replace(each, at=wide) for each in said] if is_right else []
    holdings = [replace(each, at=frozenset(now)) for each in said]
    return replace(told, at=_narrowed(problem, holdings, frozenset(now)), is_fresh=False), holdings


def _may_be_options(problem: Swaps, line: str, said: list[Holding]) -> bool:
    # In a list such as `A: the red ball`, the letter may be an initial or that of an option.
    options, letters = dict(problem.options), _LETTERS.findall(line)
    pairs = zip(letters, said, strict=False)
    return len(letters) == len(said) and all(
        problem.thing(options.get(letter, "")) == each.thing for letter, each in pairs
    )


def _sentence(problem: Swaps, told: SwapState, line: str, start: int, end: int) -> tuple[SwapState, list[Holding]]:
    text = line[start:end]
    if is_doubtful(text) or _BEFORE.search(text):
        # A supposition or a look back may tell a swap that is not the next one.
        return LOST if _TRADES.search(text) else told, []
    if _END.search(text):
        return told, list(_said(problem, line, start, end, frozenset({len(problem.pairs)})))
    if _HOLDING_START.search(text):
        told = SwapState(names_swaps=told.names_swaps, is_exact=True)
    swaps = list(SWAP.finditer(line, start, end))
    is_half = not swaps and not told.is_open and _GIVES.search(text) is not None
    if is_half or _has_others(line, start, end, swaps, is_open=told.is_open):
        return LOST, []
    holdings: list[Holding] = []
    here, is_told = start, bool(swaps) or _HOLDING_START.search(text) is not None
    for swap in [*swaps, None]:
        until = swap.start() if swap else end
        told, some = _stated(problem, told, list(_said(problem, line, here, until, told.at, initials=is_told)))
        holdings += some
        if swap:
            told, here = _swapped(problem, told, swap), swap.end()
    return told, holdings


def _stated(problem: Swaps, told: SwapState, said: list[Holding]) -> tuple[SwapState, list[Holding]]:
    if not said:
        return told, []
    people = frozenset(each.person for each in said)
    at = told.at
    if at and (not told.is_exact or people & told.known):
        at = frozenset(range(min(at), len(problem.pairs) + 1))
    placed = [replace(each, at=at) for each in said]
    now = _narrowed(problem, placed, at)
    return replace(told, at=now, is_open=False, known=told.known | people), placed


def _headed(problem: Swaps, told: SwapState, line: str) -> tuple[SwapState, list[Holding]] | None:
    head = _HEAD.match(line)
    if head is None or problem.find(head["one"]) in {None, problem.find(head["other"])}:
        return None
    said: list[Holding] = []
    start = head.end()
    for part in re.split(r"(?<=[,;])", line[start:]):
        match = _PAIR.fullmatch(part)
        person, thing = (problem.find(match["name"]), problem.thing(match["thing"])) if match else (None, None)
        if match and person is not None and thing is not None:
            low = start + match.start("thing")
            said.append(Holding(low, start + match.end("thing"), person, thing, match["thing"], told.at))
        elif part.strip(" .,;"):
            return None
        start += len(part)
    return _stated(problem, _swapped(problem, told, head), said) if said else None


def _has_others(line: str, start: int, end: int, swaps: list[re.Match[str]], *, is_open: bool) -> bool:
    """Tell whether the sentence ``line[start:end]`` describes other swaps than *swaps*, in a form that is not read."""
    at = 0
    for word in _TRADES.finditer(line, start, end):
        while at < len(swaps) and swaps[at].end() <= word.start():
            at += 1
        if at < len(swaps) and swaps[at].start() <= word.start():
            continue
        if not ((swaps or is_open) and _NOUN.search(line[max(start, word.start() - 20) : word.start()])):
            return True
    return False


def _swapped(problem: Swaps, told: SwapState, swap: re.Match[str]) -> SwapState:
    one, other = problem.find(swap["one"]), problem.find(swap["other"] or swap.groupdict().get("with") or "")
    if told.is_open or one is None or other is None:
        # Two swaps, and no result of the first: they are listed, not made.
        return LOST
    pair = frozenset({one, other})
    now = {at + 1 for at in told.at if at < len(problem.pairs) and problem.pairs[at] == pair}
    return SwapState(frozenset(now), is_open=True, names_swaps=True, is_exact=True)


def _said(
    problem: Swaps, line: str, start: int, end: int, at: frozenset[int], *, initials: bool = False
) -> Iterator[Holding]:
    for match in _SAYS.finditer(line, start, end):
        if not initials and len(match["name"] or match["who"]) == 1:
            continue
        person, thing = problem.find(match["name"] or match["who"]), problem.thing(match["thing"])
        if person is not None and thing is not None:
            text = match["thing"].strip()
            low = line.index(text, match.start("thing"))
            yield Holding(low, low + len(text), person, thing, text, at)


def _agrees(problem: Swaps, said: list[Holding], at: int) -> bool:
    return all(problem.states[at][each.person] == each.thing for each in said)


def _narrowed(problem: Swaps, said: list[Holding], at: frozenset[int]) -> frozenset[int]:
    return frozenset(each for each in at if _agrees(problem, said, each)) or at


def _judge_holding(problem: Swaps, said: Holding) -> Verdict:
    if not said.at:
        return Unknown("it is not known how many of the swaps have been told")
    right = {problem.states[at][said.person] for at in said.at}
    name = problem.names[said.person]
    if said.thing in right:
        return Pass(f"so it is {_when(said.at)}")
    why = f"by the swaps so far, {name} does not have {said.thing!r} {_when(said.at)}"
    is_answer = said.person == problem.asked and len(problem.pairs) in said.at
    if is_answer or len(right) > 1 or (problem.asked is None and len(problem.pairs) in said.at):
        return Violation(why=why)
    sound = problem.said(right.pop(), said.said)
    return Violation(
        why=why, witness=f"{_when(said.at)}, {name} has {sound!r}", where=Span(0, len(said.said)), repair=sound
    )


def _when(at: frozenset[int]) -> str:
    if len(at) > 1:
        return "at any point that may be meant"
    (count,) = at
    return f"after the {spelled(count)} swap" if count else "at the start"
