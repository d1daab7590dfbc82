"""Finds chains of equations in tokens, and the doubts about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from interwhen_verifiers._arithmetic.context import BESIDE, is_bullet, joins_left, right_of, surroundings
from interwhen_verifiers._arithmetic.judge import scales
from interwhen_verifiers._arithmetic.nodes import bare, exact, render, ungrouped
from interwhen_verifiers._arithmetic.parser import MAX_TOKENS, MAX_UNIT_WORDS, Parser, Side
from interwhen_verifiers._arithmetic.tokens import PLAIN_NUMBER, Token
from interwhen_verifiers._arithmetic.vocabulary import BEFORE_SIGN, NOT_UNITS

EQUALITIES = frozenset("=~")
UNJUDGED = frozenset("!≡")
"""Relations that are read, and never judged."""
_REFLEXIVE = frozenset("=~?≤≥")
_LETTERS = {"word": "w", "num": "n", "open": "(", "close": ")", "cur": "$", "rel": "=", "break": "."}
_BESIDE = re.compile(
    r"""w(?!\() | (?<=n)w                                   # a word, which is no function of what follows
    | [(\[](?=w) | (?<=w)\) | [(\[]x?\) | (?<=x)\) | \[n\)  # the brackets of a remark
    | (?:(?<![^w.])|(?<=w\))) (?:[(\[]n\)|[#*]+) (?=n)     # a number or mark of a list
    | -(?=w|[(\[]\)) | (?<!nw)(?<=w)-(?=n) | (?<=n) (?:\$(?![n(-])|[#*]++(?![n(x]))
    """,
    re.VERBOSE,
)
"""Matches words and remarks, in the letters of :func:`_letter`."""
_CELLS = re.compile(r"[0-9]++(?:[,;][0-9]++)++")
_CELL = re.compile(r"[0-9]++|[,;]")
MAX_SIDES = 64
"""A longer chain is cut after this many sides and one more: the next one begins with its last side."""


class Chain(NamedTuple):
    """A chain of neighbouring sides; ``links`` holds the relation between each side and the next one."""

    # A relation is `=`, `~` (about equal), `?` (either of the two), a comparison sign, or a sign that is not judged
    # (`!`, `≡`). `doubt` says why the text may not assert the chain; empty: no reason is known.

    sides: tuple[Side, ...]
    links: tuple[str, ...]
    doubt: str

    @property
    def is_trivial(self) -> bool:
        return is_identity(self.sides, self.links) and not (self.doubt or any(side.doubt for side in self.sides))


def is_identity(sides: tuple[Side, ...], links: tuple[str, ...]) -> bool:
    # If each side is only compared with itself, as in `4 = 4.0`, there is nothing to check.
    return _REFLEXIVE.issuperset(links) and all(_is_same(left, right) for left, right in pairwise(sides))


def _is_same(left: Side, right: Side) -> bool:
    number, other = bare(left.node), bare(right.node)
    if number is None or other is None:
        return render(ungrouped(left.node)) == render(ungrouped(right.node))
    # A conversion, such as 50% = 0.5 or 60 min = 60 minutes, can be wrong.
    named = left.units and right.units and left.units != right.units
    return not named and number.percent == other.percent and exact(left.node) == exact(right.node)


def find_chains(tokens: list[Token]) -> Iterator[Chain]:
    # A chain whose relations are all `!` or `≡` is left out.
    start = 0
    has_equality = False
    for index, (kind, text, _, _) in enumerate(tokens):
        if kind == "word":
            continue
        if kind in {"break", "math", "quote"}:
            if has_equality:
                yield from _Run(tokens, start, index).chains()
            start, has_equality = index + 1, False
        elif kind == "rel" and text not in UNJUDGED:
            has_equality = True
    if has_equality:
        yield from _Run(tokens, start, len(tokens)).chains()


def find_in_signs(tokens: list[Token]) -> Iterator[Chain]:
    tokens = list(_by_columns(tokens))
    signs = list(tokens)
    for match in _BESIDE.finditer("".join(map(_letter, [None, *tokens], tokens, [*tokens[1:], None]))):
        for at in range(*match.span()):
            signs[at] = signs[at]._replace(kind="break", text=";")
    for closed, opened in _matches(tokens, 0, len(tokens)).items():
        if any(token.kind == "rel" for token in tokens[opened:closed]):  # it is around an equation, not in one
            for at in (opened, closed):
                signs[at] = signs[at]._replace(kind="break", text=";")
    for chain in find_chains(signs):
        *before, last = chain.sides
        if last.doubt in BESIDE:
            last = last._replace(doubt="")
        yield chain._replace(sides=(*before, last), doubt="")


def _by_columns(tokens: list[Token]) -> Iterator[Token]:
    before: Token | None = None
    row = any(token.kind == "opaque" and _CELLS.fullmatch(token.text) for token in tokens)
    for at, token in enumerate(tokens):
        kind, text, start, _ = token
        gap = start - before.end if before is not None else 0
        if before is not None and (
            (kind == "opaque" and gap > 1 and not text[0].isalnum())
            or (before.kind == kind == "num" and gap and not _may_be_one(text, tokens[at + 1 : at + 2]))
        ):
            yield token._replace(kind="break", text=";", end=start)
            if kind == "opaque":
                continue
        if row and kind in ("opaque", "num") and _CELLS.fullmatch(text) and not PLAIN_NUMBER.fullmatch(text):
            for cell in _CELL.finditer(text):
                is_number = cell[0].isdigit()
                yield Token("num" if is_number else "break", cell[0], start + cell.start(), start + cell.end())
        else:
            yield token
        before = token


def _may_be_one(text: str, after: list[Token]) -> bool:
    return len(text) == 3 or not text.isascii() or bool(after and after[0].text == "/")


def _letter(before: Token | None, token: Token, after: Token | None) -> str:
    # Further letters: "[" an opening bracket after a gap, "x" a variable, "#" another opaque token, "*" a sign that may
    # also mark a list entry, "-" a minus sign between gaps, "?" anything else.
    kind, text, start, end = token
    if kind == "opaque":
        if text.isalpha():
            return "x" if len(text) == 1 and (text.isascii() or "\u03b1" <= text <= "\u03c9") else "w"
        if text[:1] == "\\":
            return "w" if "mod" in text else "?"
        return "w" if text == "'" else "#"
    follows_gap = before is not None and before.end < start
    if kind == "open" and follows_gap:
        return "["
    if kind == "op" and (text in "*/" or (text == "-" and follows_gap and after is not None and end < after.start)):
        return "-" if text == "-" else "*"
    return _LETTERS.get(kind, "?")


def _converts(sides: list[Side]) -> bool:
    return all(scales(side) is not None for side in sides)


class _Run:
    """A part of the tokens, from ``start`` to ``stop``. No chain crosses its two ends."""

    def __init__(self, tokens: list[Token], start: int, stop: int) -> None:
        self.tokens = tokens
        self.start = start
        self.stop = stop

    @cached_property
    def opening(self) -> dict[int, int]:
        return _matches(self.tokens, self.start, self.stop)

    def chains(self) -> Iterator[Chain]:
        here = self.tokens[self.start : self.stop]
        relations = [at for at, (kind, _, _, _) in enumerate(here, self.start) if kind == "rel"]
        sides: list[Side] = []
        links: list[str] = []
        first = self._suffix(self.start, relations[0])
        if first:
            sides.append(first)
        for number, at in enumerate(relations):
            stop = relations[number + 1] if number + 1 < len(relations) else self.stop
            link = self.tokens[at].text
            link = "=" if link == "==" else link
            middle = Parser(self.tokens, at + 1, stop).side(whole=True) if stop < self.stop else None
            if middle and link not in EQUALITIES and at > self.start:
                middle = middle._replace(doubt=middle.doubt or "another relation stands before it")
            if middle is None or len(sides) == MAX_SIDES:
                last = self._prefix(at + 1, stop)
                yield from self._close(sides, links, link, last)
                sides, links = [], []
                middle = middle or (self._suffix(at + 1, stop) if stop < self.stop else None)
                sides = [middle] if middle else []
            else:
                links += [link] if sides else []
                sides.append(middle)

    def _close(self, sides: list[Side], links: list[str], link: str, last: Side | None) -> Iterator[Chain]:
        if last is not None and sides:
            sides, links = [*sides, last], [*links, link]
        if (
            len(sides) < 2
            or UNJUDGED.issuperset(links)
            or (all(bare(side.node) for side in sides) and not _converts(sides))
        ):
            return
        around = surroundings(self.tokens, sides[0].first, sides[-1].last)
        if around.relation != "=":
            links = [around.relation if link == "=" else link for link in links]
        yield Chain(tuple(sides), tuple(links), around.doubt)

    def _prefix(self, start: int, stop: int) -> Side | None:
        # Read the last side of a chain, which begins at the token `start`, with what the text after it adds. Return
        # `None` if there is no expression before `stop`, or if the text after it belongs to its value.
        parser = Parser(self.tokens, start, stop)
        side = parser.side(whole=False)
        if side is None:
            return None
        after = right_of(self.tokens, parser.index)
        if after is None:
            return None
        units, doubt = after
        remark = side.remark or (parser.index < len(self.tokens) and self.tokens[parser.index].text == "(")
        if not (units or doubt or remark):
            return side
        return side._replace(units=side.units + units, remark=remark, doubt=side.doubt or doubt)

    def _suffix(self, start: int, stop: int) -> Side | None:
        # Read the first side of a chain: the longest expression that ends right before the token `stop`. It begins at
        # `start` or later. Return `None` if there is none, or if the text before it belongs to it.
        first = _Backwards(self, start, stop).first()
        if first is None:
            return None
        side = Parser(self.tokens, first, stop).side(whole=True)
        if side is None:
            return None
        doubt = joins_left(self.tokens, first, is_bare=bare(side.node) is not None)
        if doubt is None:
            return None
        bullet = self._bullet(first)
        return side._replace(doubt=side.doubt or doubt, bullet=bullet) if doubt or bullet else side

    def _bullet(self, first: int) -> str:
        if is_bullet(self.tokens, first):
            return self.tokens[0].text
        return "." if first == 0 and "." in self.tokens[0].text else ""


def _matches(tokens: list[Token], start: int, stop: int) -> dict[int, int]:
    opening: dict[int, int] = {}
    stack: list[int] = []
    for at, (kind, _, _, _) in enumerate(tokens[start:stop], start):
        if kind == "open":
            stack.append(at)
        elif kind == "close" and stack:
            opening[at] = stack.pop()
    return opening


class _Backwards:
    """Finds the start of an expression by walking back from its relation over operands and operators."""

    def __init__(self, run: _Run, start: int, stop: int) -> None:
        self.run = run
        self.tokens = run.tokens
        self.start = max(start, stop - MAX_TOKENS)
        self.stop = stop

    def first(self) -> int | None:
        at = self._operand(self.stop)
        while at is not None:
            before = at
            while before > self.start and self.tokens[before - 1].kind == "op":
                before -= 1
            operand = self._operand(before)
            if before < at:
                if operand is None:
                    return self._sign(before, at)
            elif operand is None or self.tokens[at - 1].kind not in {"num", "close"}:
                return at
            elif self.tokens[at].kind not in {"open", "frac"}:
                return None
            at = operand
        return None

    def _operand(self, end: int) -> int | None:
        at = self._skip_trailers(end) - 1
        if at < self.start:
            return None
        token = self.tokens[at]
        if token.kind == "close":
            opened = self.run.opening.get(at)
            if opened is None or opened < self.start:
                return None
            at = self._fraction(opened)
        elif token.kind != "num":
            return None
        elif len(token.text) == 3 and self._is_rest(at):
            while self._is_rest(at):
                at -= 1
        elif at > self.start and self.tokens[at - 1].kind == "num" and token.text in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞":
            at -= 1
        while at > self.start and self.tokens[at - 1].kind == "cur":
            at -= 1
        return at

    def _is_rest(self, at: int) -> bool:
        before, here = self.tokens[at - 1], self.tokens[at]
        return (
            at > self.start
            and before.kind == here.kind == "num"
            and before.end + 1 == here.start
            and len(here.text) == 3
            and len(before.text) <= 3
            and before.text.isdigit()
            and here.text.isdigit()
        )

    def _fraction(self, opened: int) -> int:
        r"""Return the start of the ``\frac`` whose last group opens at *opened*; *opened* itself if there is none."""
        if opened - 1 in self.run.opening:
            upper = self.run.opening[opened - 1]
            if upper > self.start and self.tokens[upper - 1].kind == "frac":
                return upper - 1
        return opened

    def _skip_trailers(self, end: int) -> int:
        at = end
        words = 0
        while at > self.start:
            token = self.tokens[at - 1]
            if token.kind == "word" and words < MAX_UNIT_WORDS and token.text not in NOT_UNITS:
                words += 1
            elif token.text == "of" and words and token.kind == "word":
                pass
            elif token.kind == "close" and (opened := self.run.opening.get(at - 1)) and self._is_remark(opened, at - 1):
                at = opened + 1
            elif token.kind not in {"pct", "cur", "sup"} and not (token.text == "/" and words):
                break
            at -= 1
        return at

    def _is_remark(self, opened: int, closed: int) -> bool:
        return (
            opened > self.start
            and closed - opened <= 12
            and all(token.kind == "word" for token in self.tokens[opened + 1 : closed])
        )

    def _sign(self, before: int, at: int) -> int | None:
        """Return the index of the first operand, *at*, or of its minus sign; ``None`` if the text before is not clear.

        *before* is the index of the first operator before the operand.
        """
        sign, operand = self.tokens[before], self.tokens[at]
        if at - before > 1 or sign.text != "-":
            return at if sign.text == "*" and is_bullet(self.tokens, at) else None
        if is_bullet(self.tokens, at):
            return at
        glued = sign.end == operand.start
        if before == 0:
            return before if glued else None
        previous = self.tokens[before - 1]
        if previous.kind == "cur":
            return before - 1 if previous.end == sign.start else None
        opens = previous.kind in {"open", "math"} or previous.text == ":"
        follows = (previous.kind == "break" and previous.text != "!") or (
            previous.kind == "word" and previous.text in BEFORE_SIGN
        )
        return before if opens or (glued and follows) else None
