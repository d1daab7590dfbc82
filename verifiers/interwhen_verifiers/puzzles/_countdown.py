"""Reads puzzles that make a target from numbers, and the statements of a text about them."""

# ruff: noqa: RUF001 (signs that look alike are read here)

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import Literal, NamedTuple, TypeAlias

from interwhen_verifiers.puzzles._statements import MAX_LINE, Spanned, find_answer

# The puzzle of a prompt: the numbers, the target, and whether all numbers must be used.

Use = Literal["all", "some", "unclear"]
"""Whether each number must be used (``all``), may be left out (``some``), or the text does not say (``unclear``)."""

MAX_PROMPT = 20_000
"""Only so many characters at the end of a prompt are read."""
_MOST_NUMBERS = 8
_N = r"-?[0-9]{1,6}"
_LIST = rf"{_N}(?:(?:\s?[,;]\s?(?:and\s)?|\sand\s|\s){_N}){{1,11}}"
_GIVEN = re.compile(
    rf"(?:\b(?:input|numbers|digits|using|use|combine|with|from|are|these|given"
    rf"|of)\b[ \t]*[:=]?\s{{0,2}})[\[({{]?({_LIST})(?![\w/%])",
    re.IGNORECASE,
)
_INPUT = re.compile(rf"^[ \t>*]{{0,8}}input[ \t]*:[ \t]*({_LIST})[ \t]*$", re.IGNORECASE | re.MULTILINE)
_TARGET = re.compile(
    rf"(?:\b(?:make|makes|obtain|obtains|reach|reaches|get|gets|equals?|equal to|evaluates? to|results? in|total of"
    rf"|calculate|value(?: of)?|goal(?: is)?|target(?: number| value)?(?: is| of)?)"
    rf"\b[ \t]{{0,4}}:?[ \t]{{0,4}}(?:exactly |precisely )?"
    rf"(?:the (?:target )?(?:number |value |target )?(?:of )?)?)({_N})(?![\w%]|\.[0-9]|[ \t]*,[ \t]*[0-9])",
    re.IGNORECASE,
)
_GAME = re.compile(r"\bgame of 24\b|\b24[ -](?:point )?game\b|\bsolve 24\b", re.IGNORECASE)
_HINT = re.compile(
    r"\bonce\b|\btarget\b|\bcountdown\b|\bsome or all of\b|\ball of these numbers\b"
    r"|\b(?:use|using|combine|combining)\b[^.\n]{0,40}\bnumbers\b"
    r"|^\W{0,8}use [0-9 ,and]{3,60} to (?:make|get|obtain|reach) [0-9]+\W*$"
    r"|\ban? (?:arithmetic |mathematical |math )?(?:expression|equation) (?:that|which|with|whose)\b"
    r"|\bcombine\b[^.\n]{0,60}\bto (?:make|get|reach|obtain)\b|\bgoal\b ?:"
    r"|\b(?:make|get|obtain|reach|calculate) [0-9]+ (?:using|from|with)\b",
    re.IGNORECASE | re.MULTILINE,
)
_OPERATION_WORDS = re.compile(r"\+|arithmetic|operation", re.IGNORECASE)
_SOME = re.compile(
    r"some or all|(?:some|any) of (?:the|these) (?:\w+ )?numbers|not (?:all|every|necessar)"
    r"|need not|(?:do|does)(?: not|n't) (?:have|need) to use (?:all|every|each)",
    re.IGNORECASE,
)
_AT_MOST = re.compile(r"at most once|no more than once", re.IGNORECASE)
_ALL = re.compile(
    r"\b(?:each|every|all)\b[^.\n]{0,40}\bexactly once|\bexactly once\b|\b(?:all|every one) (?:of )?(?:the "
    r"|these |your )?"
    r"(?:\w+ )?numbers?\b|\bevery number\b|each (?:number )?(?:used )?once\b|uses? each (?:\w+ )?(?:number )?once\b"
    r"|two of the remaining numbers",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NumberPuzzle:
    """The numbers, the target, and whether all numbers must be used."""

    numbers: tuple[Fraction, ...]
    target: Fraction
    use: Use

    @property
    def listed(self) -> str:
        return " ".join(map(str, self.numbers))


def read_puzzle(prompt: str, target: int | None = None) -> NumberPuzzle | None:
    # `target` is used if the prompt names no target.
    text = prompt[-MAX_PROMPT:]
    numbers = _listed_numbers(text)
    wanted = _target(text, target)
    if numbers is None or wanted is None or not _is_puzzle(text):
        return None
    return NumberPuzzle(numbers, Fraction(wanted), _use(text))


def _is_puzzle(text: str) -> bool:
    if _INPUT.search(text) and _OPERATION_WORDS.search(text):
        return True
    return (_HINT.search(text) or _GAME.search(text)) is not None


def _listed_numbers(text: str) -> tuple[Fraction, ...] | None:
    inputs = _INPUT.findall(text)
    lists = {tuple(map(int, re.findall(_N, listed))) for listed in (inputs[-1:] or _GIVEN.findall(text))}
    if len(lists) != 1:
        return None
    numbers = tuple(map(Fraction, lists.pop()))
    return numbers if len(numbers) <= _MOST_NUMBERS else None


def _target(text: str, meant: int | None) -> int | None:
    named = set(map(int, _TARGET.findall(text)))
    if not named and _GAME.search(text):
        named = {24}
    if not named and meant is not None:
        named = {meant}
    return named.pop() if len(named) == 1 else None


def _use(text: str) -> Use:
    if _SOME.search(text):
        return "some"
    if _ALL.search(text) or _GAME.search(text):
        return "all"
    return "some" if _AT_MOST.search(text) else "unclear"


# Expressions of numbers, and equations between them, with the position of each part.

MAX_NUMBERS = 32
"""An expression with more numbers is not read."""
MAX_DIGITS = 12
"""A number with more characters is not read."""

MAX_DEPTH = 100
"""An expression with more nested brackets and signs is not read."""

_TOKEN = re.compile(
    r"""
  (?P<frac>   \\[dt]?frac )
| (?P<skip>   \\(?:left|right|[,;!\ ]) | [$*`]{2,} | [$`] )
| (?P<num>    [0-9]++(?:\.[0-9]++)?+(?![A-Wa-wYyZz_]|[xX](?![0-9(])) )
| (?P<op>     \\(?:times|cdot|div)(?![A-Za-z]) | [-+*/×÷·−–⋅∗] | (?<=[0-9)\s])[xX](?=[\s0-9(]) )
| (?P<open>   [(\[{] )
| (?P<close>  [)\]}] )
| (?P<equals> == | = )
| (?P<other>  \w++ | \S )
""",
    re.VERBOSE,
)
_SIGNS = {"×": "*", "·": "*", "⋅": "*", "∗": "*", "\\times": "*", "\\cdot": "*", "x": "*", "X": "*"} | {
    "÷": "/",
    "\\div": "/",
    "−": "-",
    "–": "-",
}
_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {"+": add, "-": sub, "*": mul, "/": truediv}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}


class ExpressionToken(NamedTuple):
    """One token of a line. ``text`` is its normal form: each multiplication sign is ``*``, for example."""

    # `kind` is the name of a group of `_TOKEN`, but never `skip`.

    kind: str
    text: str
    start: int
    end: int


class WrittenNumber(NamedTuple):
    """A number in the text, with its start and end."""

    value: Fraction
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression with its value and its numbers. ``value`` is ``None`` if the expression divides by zero."""

    value: Fraction | None
    numbers: tuple[WrittenNumber, ...]
    start: int
    end: int

    @property
    def is_bare(self) -> bool:
        # A single number may have a sign and brackets.
        return len(self.numbers) == 1


class NumberEquation(NamedTuple):
    """An equation such as ``a = b = c``: its sides, from left to right."""

    sides: tuple[Expression, ...]

    @property
    def start(self) -> int:
        return self.sides[0].start

    @property
    def end(self) -> int:
        return self.sides[-1].end


def tokenize(text: str, start: int = 0, end: int | None = None) -> list[ExpressionToken]:
    # White space and some marks of Markdown and LaTeX are skipped. A fraction of LaTeX becomes a division in brackets.
    tokens = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        kind = match.lastgroup or "other"
        said = match[0]
        if kind == "num" and len(said) > MAX_DIGITS:
            kind = "other"
        if kind != "skip":
            tokens.append(ExpressionToken(kind, _SIGNS.get(said, said) if kind == "op" else said, *match.span()))
    return _spread(tokens) if any(token.kind == "frac" for token in tokens) else tokens


def _spread(tokens: list[ExpressionToken]) -> list[ExpressionToken]:
    r"""Replace each ``\frac{a}{b}`` by ``({a}/{b})``."""
    expanded: list[ExpressionToken] = []
    parts: list[int] = []
    """One entry per open bracket: 2 or 1 if the first or second part of a fraction is inside it, and 0 otherwise."""
    for at, token in enumerate(tokens):
        if token.kind == "frac":
            expanded.append(token._replace(kind="open", text="("))
            continue
        expanded.append(token)
        if token.kind == "open":
            second = bool(at) and expanded[-2].text == "/" and expanded[-2].start == expanded[-2].end
            parts.append(2 if at and tokens[at - 1].kind == "frac" else 1 if second else 0)
        elif token.kind == "close" and parts:
            part = parts.pop()
            if part:
                kind, text = ("op", "/") if part == 2 else ("close", ")")
                expanded.append(ExpressionToken(kind, text, token.end, token.end))
    return expanded


def read_whole(tokens: Sequence[ExpressionToken]) -> Expression | None:
    numbers = tuple(WrittenNumber(Fraction(token.text), *token[2:]) for token in tokens if token.kind == "num")
    if not 0 < len(numbers) <= MAX_NUMBERS:
        return None
    reader = _Reader(tokens)
    try:
        value = reader.read(0, 0)
    except _UnreadableError:
        return None
    return Expression(value, numbers, tokens[0].start, tokens[-1].end) if reader.at == len(tokens) else None


def find_equation(tokens: Sequence[ExpressionToken]) -> tuple[NumberEquation, int] | None:
    # Read the equation around the first equals sign; the number is the index of the token after it.
    sign = next((at for at, token in enumerate(tokens) if token.kind == "equals"), None)
    if sign is None:
        return None
    first = _run_back(tokens, sign)
    sides = [read_whole(tokens[first:sign])]
    at = sign
    while at < len(tokens) and tokens[at].kind == "equals":
        end = _run_on(tokens, at + 1)
        sides.append(read_whole(tokens[at + 1 : end]))
        at = end
    known = tuple(side for side in sides if side is not None)
    return (NumberEquation(known), at) if len(known) == len(sides) else None


def _run_back(tokens: Sequence[ExpressionToken], end: int) -> int:
    at = end
    while at and tokens[at - 1].kind in {"num", "op", "open", "close"}:
        at -= 1
    # What opens before the run and closes inside it is no part of it: "1) 2 + 3 = 5".
    depth = 0
    for place in range(end - 1, at - 1, -1):
        depth += (tokens[place].kind == "close") - (tokens[place].kind == "open")
        if depth < 0:
            return place + 1
    opened = 0
    for place in range(at, end if depth > 0 else at):
        opened += (tokens[place].kind == "open") - (tokens[place].kind == "close")
        if opened < 0:
            at, opened = place + 1, 0
    while at < end and tokens[at].text in {"+", "*", "/"}:
        at += 1
    return at


def _run_on(tokens: Sequence[ExpressionToken], start: int) -> int:
    at, depth, whole = start, 0, start
    while at < len(tokens) and tokens[at].kind in {"num", "op", "open", "close"}:
        depth += (tokens[at].kind == "open") - (tokens[at].kind == "close")
        if depth < 0:
            break
        at += 1
        if depth == 0 and tokens[at - 1].kind in {"num", "close"}:
            whole = at
    return whole


class _UnreadableError(Exception):
    pass


class _Reader:
    """Evaluates an expression in one pass, by precedence climbing."""

    def __init__(self, tokens: Sequence[ExpressionToken]) -> None:
        self._tokens = tokens
        self.at = 0

    def read(self, rank: int, depth: int) -> Fraction | None:
        """Evaluate one operand, and the operations after it whose precedence is higher than *rank*.

        *depth* is the number of open brackets and signs. The value is ``None`` after a division by zero.
        """
        value = self._operand(depth)
        while self.at < len(self._tokens):
            token = self._tokens[self.at]
            is_product = token.kind == "open" or (token.kind == "num" and self._tokens[self.at - 1].kind == "close")
            sign = "*" if is_product else token.text
            if _RANK.get(sign, 0) <= rank:
                break
            self.at += not is_product
            value = apply(value, sign, self.read(_RANK[sign], depth))
        return value

    def _operand(self, depth: int) -> Fraction | None:
        token = self._next()
        if token.kind == "num":
            return Fraction(token.text)
        if depth == MAX_DEPTH:
            raise _UnreadableError
        if token.text == "-":
            value = self.read(_RANK["/"], depth + 1)
            return None if value is None else -value
        if token.kind != "open":
            raise _UnreadableError
        value = self.read(0, depth + 1)
        if self._next().text != _PAIRS[token.text]:
            raise _UnreadableError
        return value

    def _next(self) -> ExpressionToken:
        if self.at == len(self._tokens):
            raise _UnreadableError
        self.at += 1
        return self._tokens[self.at - 1]


def apply(left: Fraction | None, sign: str, right: Fraction | None) -> Fraction | None:
    if left is None or right is None or (sign == "/" and not right):
        return None
    return _OPERATIONS[sign](left, right)


# The statement of a line: a step, an answer, or that there is no solution.

_LONGEST_CHAIN = 8
_LEFT = re.compile(
    r"[\s,;.:>-]{0,4}+(?:[-=]>|→)?\s?[(\[]?\s?(?:(?:the|now|numbers)\s){0,2}(?:left|remaining|remain)(?:\snumbers)?"
    r"(?:\s(?:are|is))?\s?[:=]?\s?[(\[{]?(-?[0-9]{1,12}(?:[./][0-9]{1,12})?(?:[\s,]{1,3}(?:and\s)?-?[0-9]{1,12}"
    r"(?:[./][0-9]{1,12})?){0,11}+)(?![\w/.]*[\w/])(?![,;]?\s?(?:[&+]|(?:and|plus|new)\b)|[,;]\s?[a-z])",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:[./][0-9]{1,12})?")
_HEAD = re.compile(
    r"[\s>*#_()\-•]*+(?:\(?[0-9]{1,2}[.):]\s)?(?:(?:step|then|next|now|first|second|third|finally"
    r"|so)\b[\s0-9,:.*]{0,8}+(?:[-\u2013\u2014]\s)?)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[\s>*#_]*+step\s?[0-9]{1,2}[\s*_]*+[-\u2013\u2014]\s", re.IGNORECASE)
"""A label with a dash, as in ``Step 1 - 8 + 4 = 12``."""
_TAIL = re.compile(r"[\s.,;:!)*`✓✔✅]*+")
_DENIED = re.compile(
    r"\b(?:not|no|none|cannot|can't|incorrect|wrong|invalid|impossible|sorry|wait|oops|hmm|but|however|try|again)\b"
    r"|n't\b|[?≠✗✘❌]",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"(?:(?:note|sorry|unfortunately|so|therefore|thus|hence)\b[,:]?\s)?(?:"
    r"none|n/a|invalid(?: input)?|impossible|unsolvable|infeasible"
    r"|(?:it is |it's |this is |that is )?(?:not possible|impossible|not solvable)\b.*"
    r"|(?:there (?:is|are) |there's )?no (?:\w+ ){0,2}(?:solutions?|answers?|ways?|combinations?|expressions?"
    r"|operations?)\b.*"
    r"|(?:it |we |i )?(?:cannot|can't|can not|unable|am unable|not able)\b.*"
    r"|(?:solution )?not possible\b.*|invalid\b.*"
    r"|(?:this|these|the)(?: given)? (?:input|combination|set|numbers?|puzzle|game|target)\b[^=]{0,60}?\b"
    r"(?:cannot|can't"
    r"|does not|doesn't|do not|don't|is not|isn't|is impossible|has no)\b.*"
    r"|[0-9]{1,6} (?:cannot|can't|can not)\b.*)[.!]?",
    re.IGNORECASE,
)

_PARTLY = re.compile(
    r"\b(?:only|just|alone|(?:this|that) way|from (?:t?here)|first|yet|so far|without|directly|if|unless|starting"
    r"|remaining|left|already|in this case|path|branch|(?:using|by) [a-z]+)\b",
    re.IGNORECASE,
)
"""Words after which a line may not speak of all ways to make the target."""


@dataclass(frozen=True, slots=True)
class CalculationStep(Spanned):
    """An equation, and the numbers that are left after it according to the line (``None`` if it does not say)."""

    equation: NumberEquation
    listed: tuple[WrittenNumber, ...] | None
    list_start: int
    """Where the list of the numbers left starts in the line; without a list, the end of the equation."""
    is_given_up: bool = False
    """Whether the line itself says that this step leads nowhere."""


@dataclass(frozen=True, slots=True)
class ExpressionAnswer(Spanned):
    """The answer: one expression, or a chain of steps such as ``64 + 29 = 93, 93 - 4 = 89``."""

    sides: tuple[Expression, ...]
    """The expression, and the values that the text equates it with; empty for a chain."""
    chain: tuple[NumberEquation, ...] = ()


@dataclass(frozen=True, slots=True)
class Hopeless(Spanned):
    """States that the target cannot be made. ``is_answer``: the line gives this as the answer."""

    is_answer: bool


Said: TypeAlias = CalculationStep | ExpressionAnswer | Hopeless


def read_line(line: str, puzzle: NumberPuzzle, *, answering: bool) -> Said | None:
    """Read the statement of *line*; ``None`` if it is not clear.

    *answering*: the line is in the answer. Only there, an expression alone on its line may be the answer.
    """
    if len(line) > MAX_LINE:
        return None
    if (answer := find_answer(line)) is not None:
        return _final(line, answer.start, answer.end, announced=True)
    label = _LABEL.match(line)
    tokens = _before_list(tokenize(line, label.end() if label else 0)) if "=" in line else []
    equation = _equation(line, tokens)
    if equation is not None:
        step = _step(line, equation[0])
        if step is None or step.listed is not None or len(step.equation.sides[0].numbers) == 2:
            return step
        return _answer_if_complete(step, puzzle) if answering else None
    if not answering:
        return None
    final = _final(line, len(line) - len(line.lstrip()), len(line.rstrip()), announced=False)
    if isinstance(final, Hopeless) and not _speaks_of_all(line, puzzle):
        return None
    if isinstance(final, ExpressionAnswer) and len(final.sides[0].numbers) < len(puzzle.numbers):
        return None
    return final


def _speaks_of_all(line: str, puzzle: NumberPuzzle) -> bool:
    named = sorted(Fraction(number) for number in re.findall(r"[0-9]{1,12}", line))
    for number in (puzzle.target,) if puzzle.target in named else ():
        named.remove(number)
    return not _PARTLY.search(line) and (not named or named == sorted(map(abs, puzzle.numbers)))


def _before_list(tokens: list[ExpressionToken]) -> list[ExpressionToken]:
    has_value = False
    for at, token in enumerate(tokens):
        if token.text == "[" and has_value and tokens[at - 1].kind in {"num", "close"}:
            return tokens[:at] if tokens[at - 1].end < token.start else tokens
        has_value = has_value or token.kind == "equals"
    return tokens


def _equation(line: str, tokens: list[ExpressionToken]) -> tuple[NumberEquation, int] | None:
    # A dash and a space before the `tokens` are a minus sign only if the equation is true with it.
    equation = find_equation(tokens)
    if not tokens or tokens[0].text != "-" or line[tokens[0].end : tokens[0].end + 1] != " ":
        return equation
    if equation is not None and equation[0].sides[0].value == equation[0].sides[-1].value:
        return equation
    return find_equation(tokens[1:])


def _step(line: str, equation: NumberEquation) -> CalculationStep | None:
    if not _HEAD.fullmatch(line, 0, equation.start) or equation.sides[0].is_bare:
        return None
    listed = _LEFT.match(line, equation.end)
    end = listed.end(1) if listed else equation.end
    tail = line[end:]
    is_alone = _TAIL.fullmatch(tail) is not None
    if listed is None and not is_alone:
        # The rest may say anything of the equation: "5 * 1 = 24 (incorrect)".
        return None
    is_given_up = not is_alone and _DENIED.search(tail) is not None
    return CalculationStep(
        equation.start, end, equation, _numbers(line, listed), listed.start(1) if listed else end, is_given_up
    )


def _numbers(line: str, listed: re.Match[str] | None) -> tuple[WrittenNumber, ...] | None:
    if listed is None:
        return None
    matches = _NUMBER.finditer(line, *listed.span(1))
    return tuple(WrittenNumber(_fraction(match[0]), *match.span()) for match in matches)


def _fraction(text: str) -> Fraction:
    above, _, below = text.partition("/")
    return Fraction(above) / int(below) if below and int(below) else Fraction(above)


def _answer_if_complete(step: CalculationStep, puzzle: NumberPuzzle) -> Said:
    # In the answer, an equation alone on its line is the answer if it uses enough numbers and makes the target.
    sides = step.equation.sides
    if sides[-1].value == puzzle.target and len(sides[0].numbers) >= len(puzzle.numbers):
        return ExpressionAnswer(step.start, step.end, sides)
    return step


def _final(line: str, start: int, end: int, *, announced: bool) -> Said | None:
    text = line[start:end]
    if "=" not in text:
        if _NONE.fullmatch(text):
            return Hopeless(start, end, announced)
        expression = read_whole(tokenize(line, start, end)) if _NUMBER.search(text) else None
        if expression is None or len(expression.numbers) < 2:
            return None
        return ExpressionAnswer(expression.start, expression.end, (expression,))
    chain = _chained(line, start, end) if announced else []
    if not chain or _DENIED.search(line, chain[-1].end):
        return None
    is_one = len(chain) == 1
    return ExpressionAnswer(start, chain[-1].end, chain[0].sides if is_one else (), () if is_one else tuple(chain))


def _chained(line: str, start: int, end: int) -> list[NumberEquation]:
    chain: list[NumberEquation] = []
    at = start
    while at < end:
        tokens = tokenize(line, at, end)
        equation = find_equation(tokens)
        if equation is None or equation[0].start != tokens[0].start:
            break
        chain.append(equation[0])
        after = tokens[equation[1] :]
        if not after or after[0].text not in {",", ";"}:
            break
        at = after[0].end
        if len(chain) > _LONGEST_CHAIN:
            return []
    return chain
