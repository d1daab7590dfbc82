"""Parses tokens to expression trees, by recursive descent with a limit on depth."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from interwhen_verifiers._arithmetic.nodes import Binary, Group, Negative, Node, Number, Operator, Value
from interwhen_verifiers._arithmetic.tokens import SEPARATORS, Token
from interwhen_verifiers._arithmetic.vocabulary import FAMILY, NOT_UNITS, SCALES, UNIT_LETTERS, UNIT_SUFFIXES, stem

MAX_DEPTH = 40
"""Brackets and powers nested this deep are not read."""
MAX_TOKENS = 300
"""A side is not read if more tokens than this are between its start and the last place where it may end."""
MAX_UNIT_WORDS = 5
MAX_POWER_DIGITS = 8
"""The most characters of a superscript; a longer one is not read."""

_VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
}
_SEPARATOR = re.compile(SEPARATORS)
_STRICT = re.compile(rf"[0-9]{{1,3}}(?:{SEPARATORS}[0-9]{{3}})++(?:\.[0-9]++)?|[0-9]*+\.[0-9]++")
_OPENING = {")": "(", "]": "[", "}": "{"}
_VARIABLES = frozenset(letter.lower() for letter in UNIT_LETTERS)


class Side(NamedTuple):
    """One side of an equation."""

    node: Node
    start: int
    """The offset of its start in the parsed text; ``end`` likewise."""
    end: int
    first: int
    """The index of its first token; ``last`` is the index of the token after it."""
    last: int
    units: tuple[str, ...]
    """The stems of the words of its units."""
    currency: bool
    """Whether a ``$`` or another currency sign stands before one of its operands."""
    remark: bool
    """Whether it holds words in brackets, or a bracket follows it."""
    doubt: str
    """Why the text may mean something else; empty: no reason is known."""
    bullet: str = ""
    """``-`` or ``*`` at the start of the text that may be a list marker, or ``.`` if ``1.5`` there may be item 1; else
    empty.
    """

    def marks(self) -> str:
        if not (self.units or self.doubt or self.remark or self.bullet):
            return ""
        return f",{self.units},{self.remark},{self.doubt},{self.bullet}"


class Refused(Exception):
    """Raised if the parser does not read the tokens as an expression."""


class Parser:
    """Reads one expression from ``tokens[index:stop]``; afterwards ``index`` is the first token not read."""

    def __init__(self, tokens: list[Token], index: int, stop: int) -> None:
        self.tokens = tokens
        self.index = index
        self.stop = stop
        self.units: list[str] = []
        self.currency = False
        self.remark = False
        self.doubt = ""
        self.depth = 0

    def side(self, *, whole: bool) -> Side | None:
        # With `whole`, the expression must end at `stop`.
        first = self.index
        if self.stop - first > MAX_TOKENS:
            return None
        try:
            node = self._sum()
        except Refused:
            return None
        if whole and self.index != self.stop:
            return None
        last = self.tokens[self.index - 1]
        return Side(
            node=node,
            start=self.tokens[first].start,
            end=last.end,
            first=first,
            last=self.index,
            units=tuple(self.units),
            currency=self.currency,
            remark=self.remark,
            doubt=self.doubt,
        )

    # -- tokens ------------------------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self.index + ahead
        return self.tokens[at] if at < self.stop else None

    def _is_op(self, signs: str) -> Token | None:
        token = self._peek()
        return token if token is not None and token.kind == "op" and token.text in signs else None

    def _starts_operand(self, at: int) -> bool:
        while at < self.stop:
            token = self.tokens[at]
            if token.kind in {"num", "open", "frac"}:
                return True
            if token.kind != "cur" and not (token.kind == "op" and token.text in "+-"):
                return False
            at += 1
        return False

    # -- grammar -----------------------------------------------------------------------------------------------

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Refused
        left = self._product()
        while (token := self._is_op("+-")) and self._starts_operand(self.index + 1):
            self.index += 1
            left = Binary("+" if token.text == "+" else "-", token.text, left, self._product())
        self.depth -= 1
        return left

    def _product(self) -> Node:
        left = self._signed()
        while True:
            token = self._peek()
            if token is None:
                return left
            if token.kind == "op" and token.text in {"*", "/", "of"} and self._starts_operand(self.index + 1):
                self.index += 1
                operator: Operator = "/" if token.text == "/" else "*"
                left = Binary(operator, token.text, left, self._signed())
            elif token.kind in {"open", "frac"} and self._multiplies_unsaid(token):
                left = Binary("*", "", left, self._signed())
            else:
                return left

    def _multiplies_unsaid(self, token: Token) -> bool:
        # A possible other meaning is recorded in `doubt`.
        before = self.tokens[self.index - 1]
        if before.kind not in {"num", "close", "cur"}:
            return False
        if token.kind == "open" and not self._starts_operand(self.index + 1):
            return False
        if token.kind == "frac" and before.kind == "num":
            self.doubt = self.doubt or "a number before a fraction may be a mixed number"
        if before.kind == "num" and before.end == token.start and "." in before.text:
            self.doubt = self.doubt or "digits in brackets may be repeated without end"
        if token.kind == "open" and token.text != "(":
            self.doubt = self.doubt or "such a bracket may be a note"
        if before.end != token.start:
            self.doubt = self.doubt or "a bracket after a space may be a remark"
        return True

    def _signed(self) -> Node:
        plain = self._plain_number()
        if plain is not None:
            return plain
        signs: list[Token] = []
        while token := self._is_op("+-"):
            if len(signs) >= 2:
                raise Refused
            signs.append(token)
            self.index += 1
        node = self._powered()
        for token in reversed(signs):
            if token.text == "-":
                if isinstance(node, Binary) and node.operator == "^":
                    self.doubt = self.doubt or "a sign before a power can be read in two ways"
                node = Negative(node, token.start)
        return node

    def _plain_number(self) -> Node | None:
        tokens, index, stop = self.tokens, self.index, self.stop
        if index >= stop or tokens[index].kind != "num":
            return None
        if index + 1 < stop:
            kind, text, _, _ = tokens[index + 1]
            if kind != "op" or text == "^" or (text == "/" and index + 2 < stop and tokens[index + 2].kind == "word"):
                return None
        self.index = index + 1
        number = read_number(tokens[index])
        if number.loose:
            self.doubt = self.doubt or "the number is written as in other languages"
        return number

    def _powered(self) -> Node:
        base = self._operand()
        token = self._peek()
        if token is not None and token.kind == "sup":
            if len(token.text) > MAX_POWER_DIGITS:
                raise Refused
            self.index += 1
            number = Number(int(token.text), token.text, 0, percent=False, start=token.start, end=token.end)
            return Binary("^", "^", base, number)
        if self._is_op("^"):
            self.index += 1
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise Refused
            exponent = self._signed()
            self.depth -= 1
            if isinstance(exponent, Binary):
                self.doubt = self.doubt or "a power of a power can be read in two ways"
            return Binary("^", "^", base, exponent)
        return base

    def _operand(self) -> Node:
        token = self._peek()
        if token is not None and token.kind == "cur":
            token = self._skip_currency()
            self.currency = True
            if token is not None and token.kind == "op" and token.text == "-":
                self.index += 1
                return Negative(self._operand(), token.start)
        if token is None:
            raise Refused
        if token.kind == "num":
            node: Node = self._number(token)
        elif token.kind == "open":
            node = self._group(token)
        elif token.kind == "frac":
            node = self._fraction()
        else:
            raise Refused
        return self._postfix(node)

    def _skip_currency(self) -> Token | None:
        while (token := self._peek()) is not None and token.kind == "cur":
            self.index += 1
        return token

    def _number(self, token: Token) -> Number:
        self.index += 1
        number = read_number(token)
        if number.loose:
            self.doubt = self.doubt or "the number is written as in other languages"
        following = self._peek()
        if following is not None and following.kind == "num":
            number = self._mixed(number, following)
        return number

    def _mixed(self, whole: Number, token: Token | None) -> Number:
        assert token is not None
        if _is_rest(whole, token):
            self.doubt = self.doubt or "a space may stand inside a number"
            while token is not None and _is_rest(whole, token):
                self.index += 1
                value = int(whole.value) * 1000 + int(token.text)
                whole = whole._replace(value=value, text=whole.text + " " + token.text, end=token.end)
                token = self._peek()
            if token is not None and token.kind == "num":
                raise Refused
            return whole
        if token.text in _VULGAR:
            self.index += 1
            part: Value = read_number(token).value
        else:
            slash, below = self._peek(1), self._peek(2)
            if not (slash and below and slash.text == "/" and below.kind == "num" and token.end == slash.start):
                raise Refused
            upper, lower = read_number(token), read_number(below)
            if upper.places or lower.places or whole.places or not 0 < upper.value < lower.value:
                raise Refused
            self.index += 3
            token = below
            part = Fraction(upper.value) / lower.value
        self.doubt = self.doubt or "a mixed number can be read in two ways"
        return whole._replace(value=whole.value + part, text=f"{whole.text} {part}", end=token.end)

    def _group(self, token: Token) -> Node:
        self.index += 1
        inner = self._sum()
        closing = self._peek()
        if closing is None or closing.kind != "close" or _OPENING[closing.text] != token.text:
            raise Refused
        self.index += 1
        return Group(inner, token.text)

    def _fraction(self) -> Node:
        self.index += 1
        parts: list[Node] = []
        for _ in range(2):
            token = self._peek()
            if token is None or token.kind != "open" or token.text != "{":
                raise Refused
            part = self._group(token)
            assert isinstance(part, Group)
            parts.append(part if not isinstance(part.inner, Number) else part.inner)
        return Group(Binary("/", "/", parts[0], parts[1]))

    # -- what follows an operand -------------------------------------------------------------------------------

    def _postfix(self, node: Node) -> Node:
        token = self._peek()
        if token is None or (token.kind == "op" and token.text != "/"):
            return node
        if token.kind == "pct":
            self.index += 1
            node = self._percent(node)
        token = self._peek()
        if token is not None and token.kind == "cur" and not self._starts_operand(self.index + 1):
            # The end of a formula between dollars, or a currency sign after its number.
            self._skip_currency()
        self._remark()
        self._unit()
        self._remark()
        return node

    def _percent(self, node: Node) -> Node:
        following = self._peek()
        if following is not None and following.kind in {"num", "open"}:
            raise Refused
        if isinstance(node, Number):
            return node._replace(percent=True)
        hundred = Number(100, "100", 0, percent=False, start=self.tokens[self.index - 1].start, end=0)
        return Group(Binary("/", "/", node, hundred))

    def _remark(self) -> None:
        # Nothing is skipped if the expression can neither continue nor end there.
        token = self._peek()
        if token is None or token.kind != "open" or token.text != "(" or token.start == self.tokens[self.index - 1].end:
            return
        at = self.index + 1
        while at < self.stop and self.tokens[at].kind in {"word", "break"}:
            at += 1
        if at > self.index + 1 and at < self.stop and self.tokens[at].text == ")" and self._joins(at + 1):
            self.remark = True
            self.index = at + 1

    def _unit(self) -> None:
        at = end_of_unit(self.tokens, self.index, self.stop)
        if at == self.index or not (self._joins(at) or self._is_remark(at)):
            return
        words = [token.text for token in self.tokens[self.index : at] if token.kind == "word"]
        self.units.extend(stem(word) for word in words)
        self.doubt = self.doubt or doubt_of_unit(self.tokens, self.index, unread=at < self.stop)
        self.index = at

    def _is_remark(self, at: int) -> bool:
        return at < self.stop and self.tokens[at].text == "("

    def _joins(self, at: int) -> bool:
        if at >= self.stop:
            return True
        token = self.tokens[at]
        if token.kind == "close":
            return True
        if token.kind == "op":
            return self._starts_operand(at + 1)
        return token.kind == "open" and token.text == "("


_number = tuple.__new__


def read_number(token: Token) -> Number:
    text = token.text
    if text.isdigit():
        return _number(Number, (int(text), text, 0, False, token.start, token.end, False))
    if text in _VULGAR:
        return Number(Fraction(*_VULGAR[text]), text, 0, percent=False, start=token.start, end=token.end)
    if "/" in text:
        above, _, below = text.partition("/")
        return Number(Fraction(int(above), int(below)), text, 0, percent=False, start=token.start, end=token.end)
    loose = not _STRICT.fullmatch(text)
    plain = _SEPARATOR.sub(",", text)
    if loose:
        before, _, after = plain.rpartition(",")
        if before and after.isdigit() and len(after) != 3:
            plain = f"{before.replace(',', '').replace('.', '')}.{after}"
        elif plain.count(".") > 1:
            plain = plain.replace(".", "")
    whole, _, decimals = plain.replace(",", "").partition(".")
    digits = int(whole + decimals or "0")
    value: Value = Fraction(digits, 10 ** len(decimals)) if decimals.strip("0") else int(whole or "0")
    return Number(value, text, len(decimals), percent=False, start=token.start, end=token.end, loose=loose)


def _is_rest(whole: Number, token: Token) -> bool:
    return whole.end + 1 == token.start and len(token.text) == 3 and token.text.isdigit() and not whole.places


def end_of_unit(tokens: list[Token], at: int, stop: int) -> int:
    # Return the index after the unit that begins at `at`, such as `cups of flour` or `km / h`; `at` if there is none.
    words = 0
    while at < stop and words < MAX_UNIT_WORDS:
        token = tokens[at]
        if token.kind == "word" and token.text not in NOT_UNITS:
            words += 1
            at += 1
        elif (token.text == "of" and words and _goes_on(tokens, at + 1, stop)) or (
            token.text == "/" and token.kind == "op" and at + 1 < stop and tokens[at + 1].kind == "word"
        ):
            at += 1
        else:
            return at
    return at


def _goes_on(tokens: list[Token], at: int, stop: int) -> bool:
    return at < stop and tokens[at].kind == "word" and tokens[at].text not in NOT_UNITS


def doubt_of_unit(tokens: list[Token], at: int, *, unread: bool = False) -> str:
    """Return why the word at *at*, which follows a value, may change it; empty if no reason is known.

    *unread*: the expression continues after the word. Then a word glued to the number may be a variable: ``3fawn + 1``.
    """
    token = tokens[at]
    if token.kind != "word":
        return ""
    if token.text in SCALES or FAMILY.get(stem(token.text)) == "count":
        return "a word scales the number"
    glued = at > 0 and tokens[at - 1].end == token.start
    is_unit = token.text in UNIT_SUFFIXES or (len(token.text) >= 4 and not unread)
    if (glued and not is_unit) or token.text in _VARIABLES:
        return "a letter may be a variable"
    return ""
