"""Splits text into tokens, in time linear in the length of the text."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from interwhen_verifiers._arithmetic import vocabulary

Kind: TypeAlias = Literal[
    "num", "op", "open", "close", "rel", "cur", "pct", "word", "frac", "sup", "break", "math", "quote", "opaque"
]
"""An ``opaque`` token is text that the parser does not understand: no equation crosses it."""


class Token(NamedTuple):
    r"""One token; ``text`` is its normal form, such as ``*`` for ``\times``."""

    kind: Kind
    text: str
    start: int
    end: int


MAX_DIGITS = 40
"""The most characters of a number; a longer one becomes an ``opaque`` token."""

_PATTERN = re.compile(
    r"""
\s*+ (?:
  (?P<link>   https?://\S++ )
| (?P<plain>  (?<![0-9])[A-Za-z]{2,}+(?![\w'’-]) (?: \x20[A-Za-z]{2,}+(?![\w'’-]) )*+ )
| (?P<glued>  [0-9]++(?:;[0-9]++)++ )
| (?P<num>    [0-9]++(?: (?: [.,] | \{,\} | ,?\\[,!] | ['’](?=[0-9]{3}(?![0-9])) ) [0-9]++ )*+
              (?: \.\((?=[0-9]++\)) | \.?+\\(?:overline|bar|dot|ldots|dots|cdots)(?![A-Za-z]) )?+
            | (?<![\w.])\.[0-9]++(?:[.,][0-9]++)*+ )
| (?P<space>  & | \\[,;!:\x20] | (?<=[0-9])-(?=[^\W0-9_]{2}) )
| (?P<tag>    <(?:sup>\s?-?[0-9]{1,8}\s?</sup|/?[A-Za-z][A-Za-z0-9]{0,12}\s?/?)> )
| (?P<fact>   !(?=[0-9(])(?<![\w)\]}!]!) )
| (?P<half>   \\[dtc]?frac\s?[1-9][1-9](?![0-9]) )
| (?P<times>  (?<=[0-9)\]}%])[xX](?=\x20?[0-9($.]) | (?<=\s)[xX](?=\s{1,3}-?(?:\\?\$)?[0-9(.]) )
| (?P<sup>    ⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]++ )
| (?P<vulgar> [½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞] )
| (?P<word>   [^\W0-9_](?:[\w'’] | -(?=[^\W0-9_]))*+ )
| (?P<prose>  \\(?:text|textrm|textit|mathrm|mbox)\x20?\{[^{}\\$]*+\} )
| (?P<degree> \^\\circ | \^\{\\circ\} | ° )
| (?P<dots>   \.{2,}+ | … )
| (?P<open>   (?: \\(?:left|[bB]igg?l?)\s? )?+ [(\[{] )
| (?P<close>  (?: \\(?:right|[bB]igg?r?)\s? )?+ [)\]}] )
| (?P<latex>  \\[A-Za-z]++ | \\. )
| (?P<arrow>  ={3,}+ | ==> | <=> | => | <?-{1,3}> | [→⇒⟹⇔↔] )
| (?P<rel>    =/= | != | <= | >= | := | == | [=≈≅≃≠≤≥<>≡∝] )
| (?P<assign> [+*/-]= | // | \+-(?=\s) )
| (?P<star>   \*\*?+ )
| (?P<op>     [-+/^×÷·−–⋅∗∙∕⁄] )
| (?P<math>   \$\$ )
| (?P<cur>    [$€£¥₹] )
| (?P<pct>    % )
| (?P<quote>  ["“”„«»‘`] )
| (?P<break>  [.,;:?!—|•✓✔✅。、] )
| (?P<tilde>  ~ )
| (?P<other>  \S )
)
""",
    re.VERBOSE,
)
SEPARATORS = r"(?:\{,\}|,?\\[,!]|[,'’])"
"""The separators of thousands: a comma, an apostrophe, or the commas and thin spaces of LaTeX."""
PLAIN_NUMBER = re.compile(rf"[0-9]{{1,3}}(?:{SEPARATORS}[0-9]{{3}})++(?:\.[0-9]++)?|[0-9]*+\.[0-9]++")
_LOOSE_NUMBER = re.compile(
    r"(?P<comma>[0-9]++(?:,|\{,\})[0-9]++|[0-9]{1,3}(?:[.'’][0-9]{3})++(?:,|\{,\})[0-9]++)"
    r"|[0-9]{1,3}(?:\.[0-9]{3}){2,}+|[0-9]{1,2}(?:,[0-9]{2})++,[0-9]{3}(?:\.[0-9]++)?"
)
"""Matches numbers with a decimal comma, points between thousands, or Indian lakhs."""
_PROSE_WORD = re.compile(r"[^\W0-9_](?:[\w'’-])*+|\S")

_BASES = frozenset("xXbBoO")
_OPERATORS = {
    **dict.fromkeys("×·⋅∗∙", "*"),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("−–", "-"),
}
_RELATIONS = {
    "=": "=",
    "==": "==",
    "≈": "~",
    "≅": "~",
    "≃": "~",
    "<": "<",
    ">": ">",
    **dict.fromkeys(("≠", "!=", "=/="), "≠"),
    **dict.fromkeys(("≤", "<="), "≤"),
    **dict.fromkeys(("≥", ">="), "≥"),
    "≡": "≡",
    **dict.fromkeys((":=", "∝"), "!"),
}
"""The normal form of each relation sign. The verifier does not judge ``!`` and ``≡``."""
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_INLINE_TAGS = frozenset(("b", "i", "u", "em", "strong", "span", "code", "mark", "small", "big"))


_token = tuple.__new__
_VULGAR = frozenset("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞")
_SAME: dict[str, str] = {}
_PLAIN_GROUPS: dict[str, tuple[Kind, dict[str, str]]] = {
    "vulgar": ("num", _SAME),
    "degree": ("word", dict.fromkeys(("^\\circ", "^{\\circ}", "°"), "degrees")),
    **dict.fromkeys(("dots", "fact", "assign", "glued", "other"), ("opaque", _SAME)),
    **dict.fromkeys(("link", "arrow"), ("break", _SAME)),
    "rel": ("rel", _RELATIONS),
    "tilde": ("rel", _SAME),
    "op": ("op", _OPERATORS),
    "times": ("op", {"x": "*", "X": "*"}),
    "math": ("math", _SAME),
    "cur": ("cur", _SAME),
    "pct": ("pct", _SAME),
    "quote": ("quote", _SAME),
    "break": ("break", _SAME),
}
"""For groups of the pattern: the kind of the token, and its text where it is not the matched text."""
_BEFORE_NUMBER = frozenset(" \t\n(+-*/$=<>,[{:")
_AFTER_NOTE = frozenset(("", ".", ",", ";", ":"))
_UNSETTLED = frozenset(("of", "^"))
_SETTLED = frozenset(("num", "break", "cur", "open", "close", "pct", "math", "quote"))
"""Groups of the pattern whose tokens never make :func:`_settle` necessary."""


def tokenize(text: str) -> list[Token]:
    # Some characters, such as spaces, give no token.
    tokens: list[Token] = []
    functions = vocabulary.FUNCTIONS
    unsettled = -1  # the first token that its neighbours may change
    for match in _PATTERN.finditer(text, 0, len(text.rstrip())):
        group: Any = match.lastgroup
        start, end = match.span(group)
        piece = match[group]
        if group == "plain":  # a faster version of _word for plain words, which are most of a text
            words = piece.lower().split(" ")
            if unsettled < 0 and "of" in words:
                unsettled = len(tokens) + words.index("of")
            if tokens and tokens[-1].kind == "rel" and words[0] in vocabulary.ADVERBS:  # 10/3 = about 3
                end = start + len(words[0])
                tokens[-1] = tokens[-1]._replace(text="~" if tokens[-1].text in "=~" else "!", end=end)
                start = end + 1
                del words[0]
            for word in words:
                end = start + len(word)
                tokens.append(_token(Token, ("opaque" if word in functions else "word", word, start, end)))
                start = end + 1
            continue
        if group == "prose":
            unsettled = len(tokens) if unsettled < 0 else unsettled
            tokens.extend(_prose(piece, start))
            continue
        token = _single(group, piece, start, end, text)
        if token is None:
            continue
        if unsettled < 0 and group not in _SETTLED:
            kind, said, _, _ = token
            joins = kind == "rel" and tokens and tokens[-1].kind == "rel"
            if joins or kind == "sup" or said in _UNSETTLED:
                unsettled = len(tokens)
        tokens.append(token)
    return tokens if unsettled < 0 else _settle(tokens, unsettled)


def _single(group: str, piece: str, start: int, end: int, text: str) -> Token | None:
    if group in _PLAIN_GROUPS:
        kind, other = _PLAIN_GROUPS[group]
        return _token(Token, (kind, other.get(piece, piece), start, end))
    if group == "num" and piece[0] != "0" and piece.isdigit() and end - start <= MAX_DIGITS:
        if start == 0 or text[start - 1] in _BEFORE_NUMBER:
            return _token(Token, (group, piece, start, end))
    elif group in {"open", "close"}:
        return _token(Token, (group, piece[-1], start, end))
    return None if group == "space" else _READERS[group](piece, start, end, text)


def _number(text: str, start: int, end: int, source: str) -> Token:
    if not text[-1].isdigit():
        return _token(Token, ("opaque", text, start, end))  # 0.(3), 0.\overline{3}
    plain = text.isdigit() or PLAIN_NUMBER.fullmatch(text) or _is_loose(text, start, end, source)
    # A number directly after a letter is part of something else, such as a version ("v1.2") or an exponent.
    before = source[start - 1 : start]
    if before == "." and text[0] != ".":
        before = source[start - 2 : start - 1]
    glued = (before.isalnum() or before == "_") and before not in "xX"
    # A leading zero marks a time, a date or a label (0730), but not the last digits of 1 000.
    is_code = len(text) > 1 and text[0] == "0" and text[1].isdigit() and not _is_rest(text, start, source)
    is_prefix = text == "0" and source[end : end + 1] in _BASES and source[end + 1 : end + 2].isalnum()  # 0x10
    is_number = plain and not (glued or is_code or is_prefix) and end - start <= MAX_DIGITS
    return _token(Token, ("num" if is_number else "opaque", text, start, end))


def _is_rest(text: str, start: int, source: str) -> bool:
    return len(text) == 3 and source[max(0, start - 2) : start - 1].isdigit() and source[start - 1] == " "


def _is_loose(text: str, start: int, end: int, source: str) -> bool:
    # A decimal comma beside a bracket gives false: `(3,14)` may be two numbers.
    match = _LOOSE_NUMBER.fullmatch(text)
    if match is None:
        return False
    return match["comma"] is None or not (
        source[start - 1 : start] in {"(", "["} or source[end : end + 1] in {")", "]"}
    )


def _superscript(text: str, start: int, end: int, _source: str) -> Token:
    return _token(Token, ("sup", text.translate(_SUPERSCRIPTS), start, end))


def _half(text: str, start: int, end: int, _source: str) -> Token:
    return _token(Token, ("num", f"{text[-2]}/{text[-1]}", start, end))


def _tag(text: str, start: int, end: int, _source: str) -> Token | None:
    name = text.strip("</> ").lower()
    if name.startswith("sup>"):
        return _token(Token, ("sup", name[4:].partition("<")[0].strip(), start, end))
    if name in _INLINE_TAGS:
        return None
    return _token(Token, ("opaque" if name in {"sup", "sub"} else "break", text, start, end))


def _word(text: str, start: int, end: int, source: str) -> Token:
    lower = text.lower()
    if text.isalpha() and end - start > 1:
        # 3Fawn is a variable with its factor; 3PM and 3apples are counted.
        is_glued = start > 0 and source[start - 1].isdigit() and text.istitle()
        is_word = lower not in vocabulary.FUNCTIONS and not is_glued
    elif end - start > 1:
        lower = lower.replace("’", "'").rstrip("²³")
        is_word = lower.replace("'", "").replace("-", "").isalpha()
    else:
        before = source[start - 1 : start]
        counted = text in vocabulary.UNIT_LETTERS and source[max(0, start - 2) : max(0, start - 1)].isdigit()
        is_word = not (before.isalnum() or before in {")", "}", "]"}) and (text in "aI" or counted)
    if text[0].isdigit():
        return _token(Token, ("opaque", text, start, end))  # a number in other digits
    if not text.isascii() and max(text) >= vocabulary.OTHER_SCRIPT:
        lower = vocabulary.OTHER_SCRIPT
    return _token(Token, ("word" if is_word else "opaque", lower, start, end))


def _prose(text: str, start: int) -> Iterator[Token]:
    opening = text.index("{") + 1
    for match in _PROSE_WORD.finditer(text, opening, len(text) - 1):
        word = match.group().lower()
        kind: Kind = "word" if word[0].isalpha() else "break" if word in ".,;:?!" else "opaque"
        yield _token(Token, (kind, word, start + match.start(), start + match.end()))


def _latex(text: str, start: int, end: int, _source: str) -> Token | None:
    known = vocabulary.LATEX.get(text[1:])
    if known is None:
        return _token(Token, ("opaque", text, start, end))
    return _token(Token, (known[0], known[1], start, end)) if known[0] else None


def _star(text: str, start: int, end: int, source: str) -> Token | None:
    before, after = source[start - 1 : start], source[end : end + 1]
    if text == "*":
        # Emphasis around prose is not an operator, and neither is a footnote mark after a number.
        is_emphasis = after.isalpha() and not before.isdigit()
        is_footnote = before.isdigit() and after in _AFTER_NOTE and not source[end + 1 : end + 2].isdigit()
        return None if is_emphasis or is_footnote else _token(Token, ("op", "*", start, end))
    is_power = (before.isdigit() or before == ")") and (after.isdigit() or after in {"(", "-"})
    return _token(Token, ("op", "^", start, end)) if is_power or before == after == " " else None


_READERS: dict[str, Callable[[str, int, int, str], Token | None]] = {
    "num": _number,
    "half": _half,
    "tag": _tag,
    "latex": _latex,
    "word": _word,
    "sup": _superscript,
    "star": _star,
}


def _settle(tokens: list[Token], first: int) -> list[Token]:
    """Return *tokens*, with tokens such as ``of`` replaced or joined as their neighbours require.

    *first* is the index of the first token that may depend on a neighbour.
    """
    settled = tokens[:first]
    skip = 0
    for index in range(first, len(tokens)):
        token = tokens[index]
        if skip:
            skip -= 1
            continue
        if token.kind == "word" and token.text != "of":
            settled.append(token)
            continue
        before = settled[-1] if settled else None
        if token.text == "~" and token.kind == "rel" and before and before.kind == "rel":
            settled[-1] = before._replace(text="~" if before.text == "=" else "!", end=token.end)
        elif token.kind == "rel" and before and before.kind == "rel":
            settled[-1] = before._replace(text="!", end=token.end)
        elif token.text == "of" and token.kind == "word" and _takes_part(settled, tokens, index):
            settled.append(Token("op", "of", token.start, token.end))
        elif token.text == "^" and before and before.kind == "word":
            skip = _length_of_power(tokens, index + 1)
            settled[-1] = before._replace(end=tokens[index + skip].end)
        elif token.kind == "sup" and before and before.kind == "word":
            settled[-1] = before._replace(end=token.end)
        else:
            settled.append(token)
    return settled


def _takes_part(settled: list[Token], tokens: list[Token], index: int) -> bool:
    """Tell whether the ``of`` at *index* means multiplication: ``20% of 50``, ``1/2 of 8``.

    *settled* are the tokens before it, in their final form.
    """
    if not settled or index + 1 >= len(tokens) or tokens[index + 1].kind not in {"num", "cur", "open"}:
        return False
    if settled[-1].kind == "pct" or settled[-1].text in _VULGAR:
        return True
    if settled[-1].kind == "close":
        return settled[-1].text == "}"
    tail = settled[-3:]
    return len(tail) == 3 and [t.kind for t in tail] == ["num", "op", "num"] and tail[1].text == "/"


def _length_of_power(tokens: list[Token], index: int) -> int:
    kinds = [token.kind for token in tokens[index : index + 3]]
    if kinds[:1] == ["num"]:
        return 1
    return 3 if kinds == ["open", "num", "close"] else 0
