"""The shipped verifier ``arithmetic``: it checks the equations in the text.

It refutes an equation only where it knows no other meaning of the text. See ``docs/verifiers/arithmetic.md``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise, zip_longest
from typing import Literal, NamedTuple

from interwhen import (
    Claim,
    Lines,
    Monitor,
    Pass,
    Segment,
    Span,
    Task,
    Tracker,
    Unknown,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import Delivery, FunctionVerifier, Level, Mention, Normalized, Scope, normalize, safe_from_data

from interwhen_verifiers._arithmetic.answers import Stated, read_line
from interwhen_verifiers._arithmetic.chains import Chain, find_chains, find_in_signs, is_identity
from interwhen_verifiers._arithmetic.context import DENIALS
from interwhen_verifiers._arithmetic.judge import Differs, Rounded, Rounding, Unclear, compare, is_value, scales
from interwhen_verifiers._arithmetic.meanings import is_plain, may_be_other_operation, other_arithmetic
from interwhen_verifiers._arithmetic.mentions import may_mention, mentions, parts_of, values_in, with_parts
from interwhen_verifiers._arithmetic.messages import locate, result, statement
from interwhen_verifiers._arithmetic.nodes import (
    Node,
    Value,
    bare,
    exact,
    magnitude,
    numbers,
    render,
    ungrouped,
    value_of,
)
from interwhen_verifiers._arithmetic.parser import Side
from interwhen_verifiers._arithmetic.problem import Problem, doubt_of_prompt, read_problem
from interwhen_verifiers._arithmetic.recognition import statements
from interwhen_verifiers._arithmetic.setting import ANY, PLAIN, Setting, may_set, setting_of
from interwhen_verifiers._arithmetic.tokens import Token, tokenize
from interwhen_verifiers._arithmetic.trials import JOINS, announcement, announces, rejects, takes_back
from interwhen_verifiers._arithmetic.windows import windows
from interwhen_verifiers._factories import require_choice, task_monitor

MAX_SEGMENT = 20_000
"""A longer line is read in windows. A longer sentence is not read; it is ``Unknown`` if it has a relation sign."""
MAX_PARTS = 1_000
"""The most lines and windows of a segment that are read. The rest is ``Unknown``."""
MAX_PROMPT = 8_000
"""Characters at the end of a prompt that are searched for announcements and quoted equations."""
MAX_GIVEN = 200_000
"""Characters at the end of a prompt in which given numbers are found."""
MAX_WINDOW = 2_000
"""An equation over several lines is read up to this length."""
MAX_STEPS = 1_000
"""The most equations before a wrong one that are searched for its numbers."""
MAX_GAP = 60
"""The most characters between two lines of one equation."""
MANY_FALSE = 3
"""A line with this many false equations may be a riddle, in which the signs have another meaning."""
_RELATION = re.compile(r"[=＝﹦≈≅≃<>≠≤≥≡→⇒⟹]|\\(?:approx|simeq|thickapprox|ne|l[et]|g[et]|equiv)")  # noqa: RUF001
_CONTINUES = re.compile(r"[\s&$]*+(?:[=≈]|\\approx)")
"""The start of a line that continues the line before."""
_ADDING = frozenset("+×÷")  # noqa: RUF001
_OPEN_ENDS = frozenset("+-*/×÷·=≈(stvx")  # noqa: RUF001
_BREAKS_OFF = re.compile(
    r"(?:(?:[\w)\]}%…]|\.{3}|\\[lc]?dots)\s*+"
    r"(?:[-+*/×÷·=≈(]|\\times|\\cdot|\\div|\\approx)|\\left\()[\s&]*+\Z"  # noqa: RUF001
)
"""The end of a line that the next one continues."""
_COLUMN = re.compile(r"\s*+(?:[+×÷]\s*+)?\$?[0-9][0-9.,]*+\s*+")  # noqa: RUF001
"""A line of a sum in columns."""
_COLUMNS = re.compile(r"[0-9.,$\s+×÷]+")  # noqa: RUF001
_RULE = re.compile(r"\s*+[-_─]{2,}+\s*+")
_LINE_END = re.compile(r"(?:\\\\|&|\s)+\Z")
_TOO_LONG = f"a text of more than {MAX_SEGMENT:,} characters is not read"
_TOO_MANY = f"only the first {MAX_PARTS:,} lines of a segment are read"
_UNREAD = "it looks like a statement of arithmetic, and it could not be read"
_CHANGES = "the text after the answer may change it"
_REORDERED = "its characters may be shown in another order"
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that make others appear from right to left."""
_GIVEN = "it stands in the prompt, too"
_REJECTED = "the next line may reject it"
_SEVERAL = "several equations of the line are false, as in a riddle"
_TRIED = "the lines before may speak of a trial, or of a mistake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation(Claim):
    """A chain of neighbouring sides, such as ``2 * (3 + 4) = 2 * 7 = 14``; or text that is not read, without sides."""

    text: str
    """The chain in normal form, with its part in the lines before; empty for text that is not read."""
    base: int
    """The offset of ``text`` in the text that the offsets of the sides refer to."""
    sides: tuple[Side, ...]
    links: tuple[str, ...]
    """Between each two sides: ``=``, ``~`` (approximately), ``?`` (either of the two), ``<``, ``>``, ``≤``, ``≥``,
    ``≠``, or ``!`` and ``≡``, which are not judged.
    """
    doubt: str
    """Why the text around the chain may not assert it, or why there is no chain."""
    setting: Setting = PLAIN
    """The moduli, bases and operations that the text announced up to its line."""
    answers: bool = False
    """Whether it plainly states the answer: the computation that the prompt asks for is its last side, a number."""
    around: frozenset[Value] = frozenset()
    """The numbers in the text around a chain that does not hold: its line without it, and the line before."""
    excused: bool = False
    """Whether its signs alone are wrong, so that only the words around it may take it back."""
    sure: bool = True
    """For a chain that does not hold: whether the prompt or the steps before give its first numbers, and nothing around
    it may give its operations another meaning."""
    source: _Source | None = None
    """Maps the offsets of the sides to the line. ``None``: the line is in normal form and continues no other line."""
    first: int = 0
    """The offset in its line at which ``span`` starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Claim):
    """The claim that a value is the result of the computation that the prompt asks for."""

    side: Side
    asked: Node
    said: bool
    """Whether the text calls it the answer. If not, it is a value alone on a line, or called the result."""
    answers: bool
    """Whether the text plainly states this value, and no other one, as the answer."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The text that the offsets of sides refer to: a line in normal form, preceded by the lines that it continues."""

    normalized: Normalized
    before: int = 0
    """The number of characters of the earlier lines."""

    def place(self, start: int, end: int) -> Span:
        # The part of the range in earlier lines is left out.
        return self.normalized.original(max(0, start - self.before), max(0, end - self.before))


@dataclass(frozen=True, slots=True)
class _Line:
    """A line in normal form with its tokens. All threads share it, so the tokens must not be changed."""

    normalized: Normalized
    tokens: list[Token]


@lru_cache(maxsize=4)
def _read(text: str) -> _Line:
    normalized = normalize(text)
    return _Line(normalized, tokenize(normalized.text))


@lru_cache(maxsize=4)
def _chains(text: str) -> tuple[Chain, ...]:
    return tuple(find_chains(_read(text).tokens))


def _may_relate(text: str) -> bool:
    if "=" in text or "<" in text or ">" in text:
        return True
    return ("\\" in text or not text.isascii()) and _RELATION.search(text) is not None


class State(NamedTuple):
    """The state of the tracker after a line."""

    problem: Problem
    setting: Setting
    tail: str = ""
    """The previous line, with the lines that it continues."""
    end: int = 0
    """Its end in the trace."""
    phase: str = ""
    """Its phase."""
    tried: bool = False
    """Whether the lines before may announce a trial or a mistake."""
    stated: Stated = Stated()
    answer_at: int | None = None
    """Where in the current line an equation ends that is the answer; ``None`` if none is."""
    steps: _Steps | None = None


class _Steps(NamedTuple):
    """The equations so far that hold: the last one, and those before it. A list would be copied for each line."""

    last: tuple[Side, ...]
    before: _Steps | None


def _are_bound(wanted: set[Value], steps: _Steps | None) -> bool:
    for _ in range(MAX_STEPS):
        if steps is None or not wanted:
            break
        wanted = wanted.difference(number.value for side in steps.last for number in numbers(side.node))
        steps = steps.before
    return not wanted


_NO_PROBLEM = Problem(None, PLAIN)


def read_task(task: Task) -> Problem:
    # The problem has no computation if the prompt asks for anything else, too.
    text = task.text
    return read_problem(task.question, text[-MAX_PROMPT:], values_in(normalize(text[-MAX_GIVEN:]).text))


async def prepare(task: Task) -> Problem:
    return read_task(task)


def begin(prepared: Problem | None) -> State:
    problem = prepared or _NO_PROBLEM
    return State(problem, problem.setting)


def step(state: State, segment: Segment) -> tuple[State, list[Claim]]:
    if len(segment.text) <= MAX_SEGMENT and "\n" not in segment.text:
        return _step(state, segment)
    if may_set(segment.text):
        state = state._replace(setting=setting_of(segment.text, state.setting))
    claims: list[Claim] = []
    parts, rest = _first_parts(segment)
    for part, following in zip_longest(parts, parts[1:]):
        ends_line = following is None or following.span.start > part.span.end
        rejection = following.text if following is not None and ends_line and rejects(following.text, part.text) else ""
        # An announcement in a window of a long line applies up to the end of the line.
        tried = not ends_line and (state.tried or announcement(part.text) is not None)
        state, part_claims = _step(state, part, rejection)
        claims += part_claims
        state = state._replace(tried=state.tried or tried)
    if rest is not None:
        claims.append(rest)
    return state, claims


def _step(state: State, segment: Segment, rejection: str = "") -> tuple[State, list[Claim]]:
    """Read one line, or one window of a long line.

    *rejection*: the next line, if it may reject this one; else empty.
    """
    text = segment.text
    if state.tail and _RULE.fullmatch(text):
        return state._replace(end=segment.span.end), []
    relates = _may_relate(text)
    goes_on = _goes_on(state, segment)
    setting = state.setting
    if may_set(text):
        setting = setting_of(text, setting)
    asked = state.problem.node if segment.phase == "answer" else None
    if not (relates or goes_on or asked):
        return state._replace(
            setting=setting, tail=text, end=segment.span.end, phase=segment.phase, tried=announces(text), answer_at=None
        ), []
    if setting is not state.setting:
        state = state._replace(setting=setting)
    before = _LINE_END.sub("", normalize(state.tail).text) + " " if goes_on else ""
    answers: list[Claim] = []
    if asked is not None:
        state, answers = _answers(state, segment, before, asked)
    claims = [
        *(_continued(state, segment, before, rejection) if goes_on else _equations(segment, state, rejection)),
        *answers,
    ]
    tail = before + normalize(text).text if goes_on else text
    tried = announces(text) or (state.tried and (relates or bool(claims)))
    return state._replace(
        tail=tail,
        end=segment.span.end,
        phase=segment.phase,
        tried=tried,
        answer_at=None,
        steps=_with_true(state.steps, claims),
    ), claims


def _with_true(steps: _Steps | None, claims: Iterable[Claim]) -> _Steps | None:
    # Add the equations that hold: later, the numbers of a wrong one are searched for in them.
    for claim in claims:
        if isinstance(claim, Equation) and claim.sides and not claim.doubt and _holds(claim.sides, claim.links):
            steps = _Steps(claim.sides, steps)
    return steps


def _holds(sides: tuple[Side, ...], links: tuple[str, ...]) -> bool:
    values = {value_of(side.node) for side in sides}
    return set(links) == {"="} and len(values) == 1 and None not in values


def _goes_on(state: State, segment: Segment) -> bool:
    tail, text = state.tail, segment.text
    if not tail or segment.span.start - state.end > MAX_GAP or state.phase != segment.phase:
        return False
    if len(tail) + len(text) > MAX_WINDOW:
        return False
    if _CONTINUES.match(text) is not None:
        return True
    if text.lstrip()[:1] in _ADDING and _COLUMN.fullmatch(text) and _COLUMNS.fullmatch(tail):
        return True
    return tail.rstrip("\\& ")[-1:] in _OPEN_ENDS and _BREAKS_OFF.search(tail) is not None


def extract(segment: Segment) -> Iterator[Equation]:
    # What is too long to be read gives a claim without sides, whose verdict is `Unknown`.
    parts, rest = _first_parts(segment)
    for part in parts:
        yield from _equations(part, None)
    if rest is not None:
        yield rest


def _equations(segment: Segment, state: State | None, rejection: str = "") -> Iterator[Equation]:
    text, doubt = segment.text, _REJECTED if rejection else ""
    if not _may_relate(text):
        return
    if len(text) > MAX_SEGMENT:
        yield _unread(segment.span, _TOO_LONG)
        return
    line = _read(text)
    source = _Source(line.normalized) if line.normalized.changed else None
    chains = [chain for chain in _chains(text) if not chain.is_trivial]
    if state is not None and chains and not (doubt or state.tried):
        announced = announcement(line.normalized.text)
    else:
        announced = None
    if len(chains) >= MANY_FALSE and sum(map(_is_false, chains)) >= MANY_FALSE:
        doubt = doubt or _SEVERAL
    tail = f"{line.normalized.text}\n{rejection}"
    false = _false_in_signs(line.tokens, chains, state, tail) if state is not None else []
    made: list[Equation] = []
    for chain in chains:
        follows = announced is not None and chain.sides[0].start >= announced
        why = doubt or (_TRIED if follows else "")
        made.append(_equation(segment, chain, line.normalized.text, source, state, why, made, false))
    yield from made
    for chain in false or ():
        # Where words stand between an equation and what is read of it, only "operation = number" is clear enough.
        start, end = chain.sides[0].start, chain.sides[-1].end
        plain = bare(chain.sides[-1].node) and not bare(chain.sides[0].node)
        if plain and not any(_overlap(chain, other) for other in chains):
            yield _unread(_placed(segment, line.normalized.original(start, end)), _UNREAD, excused=True)


def _overlap(one: Chain, other: Chain) -> bool:
    return one.sides[0].start < other.sides[-1].end and other.sides[0].start < one.sides[-1].end


def _false_in_signs(tokens: list[Token], chains: list[Chain], state: State, text: str) -> list[Chain] | None:
    """Return the equations of *tokens* that are false without the words around them, and that *text* leaves standing.

    *text* has the next line, too, if it may reject them. ``None``: all relations of *tokens* are in *chains*, and hold.
    """
    read = sum(len(chain.links) for chain in chains)
    if read == sum(token[0] == "rel" for token in tokens) and all(_holds(chain[0], chain[1]) for chain in chains):
        return None
    problem, setting = state.problem, state.setting
    moduli = setting.moduli - ({ANY} - problem.setting.moduli)
    setting = setting._replace(moduli=moduli, defines=problem.setting.defines)
    return [
        chain
        for chain in find_in_signs(tokens)
        if not all(bare(side.node) for side in chain.sides) and _is_false(chain, problem, setting)
        if not takes_back(text, chain.sides[0].start, chain.sides[-1].start, chain.sides[-1].end)
    ]


def _is_false(chain: Chain, problem: Problem | None = None, setting: Setting = PLAIN) -> bool:
    # With `problem`, an equation that other arithmetic or the prompt may explain does not count as false.
    for relation, (left, right) in zip(chain.links, pairwise(chain.sides), strict=True):
        match compare(left, right, relation=relation, doubt=chain.doubt, setting=setting, rounding="shown-digits"):
            case Differs(value=value):
                if problem is None or not _why_may_be_meant(problem, left, right, value, frozenset()):
                    return True
    return False


def _why_may_be_meant(problem: Problem, left: Side, right: Side, value: Value, around: frozenset[Value]) -> str:
    # Why a false equation may be meant as it is; empty if not. One of the numbers `around` it may be a modulus.
    return doubt_of_prompt(problem, left, right) or other_arithmetic(
        left.node, right.node, value, exact(right.node), around
    )


def _first_parts(segment: Segment) -> tuple[list[Segment], Equation | None]:
    parts = list(islice(_parts(segment), MAX_PARTS + 1))
    if len(parts) <= MAX_PARTS:
        return parts, None
    return parts[:-1], _unread(Span(parts[-1].span.start, segment.span.end), _TOO_MANY)


def _parts(segment: Segment) -> Iterator[Segment]:
    # A line too long to be read at once is split into windows.
    start = 0
    for line in segment.text.split("\n"):
        if line.strip():
            for low, high in windows(line, MAX_SEGMENT):
                yield Segment(line[low:high], segment.at(start + low, start + high), segment.phase)
        start += len(line) + 1


def _continued(state: State, segment: Segment, before: str, rejection: str) -> Iterator[Equation]:
    # `segment` continues the line `before`. A statement across both that cannot be read gives an unread claim.
    source = _Source(_read(segment.text).normalized, len(before))
    text = before + source.normalized.text
    tokens = tokenize(text)
    chains = list(find_chains(tokens))
    false = _false_in_signs(tokens, chains, state, f"{text}\n{rejection}")
    doubt = _REJECTED if rejection else ""
    read = 0
    for chain in chains:
        if chain.sides[-1].end > source.before:
            if not chain.is_trivial:
                yield _equation(segment, chain, text, source, state, doubt, (), false)
            read = max(read, chain.sides[-1].end)
    for start, end in statements(tokens):
        # The recognizer sees one line only.
        if start < source.before < end and end > read:
            excused = any(start <= other.sides[0].start and other.sides[-1].end <= end for other in false or ())
            yield _unread(_placed(segment, source.place(source.before, end)), _UNREAD, excused=excused)


def _placed(segment: Segment, place: Span) -> Span:
    return segment.at(place.start, place.end)


def _unread(span: Span, why: str, *, excused: bool = False) -> Equation:
    key = f"{why}{excused}"
    return Equation(key=key, span=span, text="", base=0, sides=(), links=(), doubt=why, excused=excused)


def _equation(
    segment: Segment,
    chain: Chain,
    text: str,
    source: _Source | None,
    state: State | None,
    doubt: str,
    earlier: Iterable[Claim] = (),
    false: Sequence[Chain] | None = (),
) -> Equation:
    base, end = chain.sides[0].start, chain.sides[-1].end
    setting, doubt, answers = PLAIN, chain.doubt or doubt, False
    # The verdict also depends on the units and doubts that come from the text around the chain.
    marks = [f"{side.start - base},{side.end - base}{side.marks()}" for side in chain.sides]
    if state is not None:
        setting = state.setting
        doubt = doubt or (_TRIED if state.tried else _GIVEN if text[base:end] in state.problem.text else "")
        answers = chain.sides[-1].start == state.answer_at
        if setting is not PLAIN or answers:
            marks.append(f"{setting.marks()}{answers}")
    excused = any(_overlap(chain, other) for other in false or ())
    if excused:
        marks.append("excused")
    around: frozenset[Value] = frozenset()
    sure = True
    if state is not None and false is not None and not _holds(chain.sides, chain.links):
        around, sure = _context(state, chain, text, _with_true(state.steps, earlier))
        marks.append(f"{sorted(around)}{sure}")
    text = text[base:end]
    here = Span(base, end)
    if source is not None:
        here = source.place(base, end)
        here = Span(here.end - len(segment.text[here.start : here.end].lstrip(" \t&$")), here.end)
        doubt = doubt or (_REORDERED if _TURNING.search(segment.text) else "")
        marks.append(f"{source.before - base}{segment.text[here.start : here.end]}")
    return Equation(
        key="\x1f".join((text, doubt, "".join(chain.links), *marks)),
        span=_placed(segment, here),
        text=text,
        base=base,
        sides=chain.sides,
        links=chain.links,
        doubt=doubt,
        setting=setting,
        answers=answers,
        around=around,
        excused=excused,
        sure=sure,
        source=source,
        first=here.start,
    )


def _context(state: State, chain: Chain, text: str, steps: _Steps | None) -> tuple[frozenset[Value], bool]:
    """Return the fields ``around`` and ``sure`` of the claim for *chain*, which does not hold."""
    start, end = chain.sides[0].start, chain.sides[-1].end
    before = "" if _may_relate(state.tail) else state.tail
    own = {number.value for side in chain.sides for number in numbers(side.node)}
    around = values_in(f"{before}\n{text[:start]}\n{text[end:]}") - own
    first = next((side for side in chain.sides if not bare(side.node)), chain.sides[0])
    wanted = {number.value for number in numbers(first.node)} - with_parts(state.problem.given)
    sure = _are_bound(wanted, steps) and is_plain(text, start, end, before, state.problem.text)
    # Beside a unit that is not known, a point may separate other things than tenths: 4.4 overs are 28 balls.
    sure = sure and not (
        any(scales(side) is None for side in chain.sides)
        and any(number.places for side in chain.sides for number in numbers(side.node))
    )
    pairs = ((left.node, right.node) for left, right in pairwise(chain.sides))
    return around, sure and not any(may_be_other_operation(left, right, around) for left, right in pairs)


def _answers(state: State, segment: Segment, before: str, asked: Node) -> tuple[State, list[Claim]]:
    # `segment` continues the text `before`. The claims are for a value outside of equations, and for text after the
    # answer that may change it.
    if len(segment.text) > MAX_SEGMENT:
        unclear = state.stated._replace(is_unclear=True)
        return state._replace(stated=unclear), [_unread(segment.span, _CHANGES)] if unclear.value is not None else []
    line = _read(segment.text)
    text = before + line.normalized.text
    tokens = tokenize(text) if before else line.tokens
    chains = find_chains(tokens) if before else _chains(segment.text)
    reading = read_line(text, tokens, list(chains), asked, state.stated)
    claims: list[Claim] = []
    if reading.given is not None:
        side, said, start = reading.given
        span = _placed(segment, _Source(line.normalized, len(before)).place(start, side.end))
        answers = side.start == reading.at and not _TURNING.search(segment.text)
        key = "\x1f".join(("answer", text[start : side.end], render(asked), f"{said}{answers}", side.doubt))
        claims.append(Given(key=key, span=span, side=side, asked=asked, said=said, answers=answers))
    if reading.changes:
        claims.append(_unread(segment.span, _CHANGES))
    return state._replace(stated=reading.stated, answer_at=reading.at), claims


def recognize(segment: Segment, prepared: Problem | None = None) -> Iterator[Span | Mention]:
    # Identities such as `4 = 4` are left out, and so are plain labels, and sentences of more than `MAX_SEGMENT`
    # characters.
    text = segment.text
    if len(text) > MAX_SEGMENT or "\n" in text:
        for part in _parts(segment):
            if len(part.text) <= MAX_SEGMENT:
                yield from recognize(part, prepared)
        return
    if may_mention(text):
        normalized = _read(text).normalized if _may_relate(text) else normalize(text)
        given = prepared.given if prepared is not None else frozenset()
        for mention in mentions(normalized.text):
            if given.isdisjoint(mention.values):
                yield Mention(
                    _placed(segment, normalized.original(mention.start, mention.end)), tuple(map(str, mention.values))
                )
    if not _may_relate(text):
        return
    line = _read(text)
    found_at = list(statements(line.tokens))
    trivial = [chain.sides for chain in _chains(text) if chain.is_trivial] if found_at else []
    starts = [sides[0].start for sides in trivial]
    for start, end in found_at:
        at = bisect_right(starts, start)
        if not at or end > trivial[at - 1][-1].end:
            yield _placed(segment, line.normalized.original(start, end))


def _values(sides: Iterable[Side]) -> tuple[str, ...]:
    values: set[Value] = set()
    for side in sides:
        values.update(parts_of(side.node))
        value = value_of(side.node)
        values.update(() if value is None else (magnitude(value),))
    return tuple(sorted(map(str, values)))


def _judge(claim: Equation, problem: Problem, rounding: Rounding) -> Verdict:
    if is_identity(claim.sides, claim.links):
        # An identity is a claim only if it has a doubt. Text that is not read comes here, too: it has no sides, and a
        # doubt.
        why = claim.doubt or next((side.doubt for side in claim.sides if side.doubt), "it states nothing")
        return Unknown(why, excused=claim.excused)
    unclear = ""
    places: set[int | None] = set()
    for index, relation in enumerate(claim.links):
        left, right = claim.sides[index], claim.sides[index + 1]
        compared = compare(left, right, relation=relation, doubt=claim.doubt, setting=claim.setting, rounding=rounding)
        match compared:
            case Differs() if all(bare(side.node) for side in claim.sides):
                unclear = unclear or "two plain numbers are equated"
            case Differs(value=value):
                why = _why_may_be_meant(problem, left, right, value, claim.around)
                if not why:
                    return _violation(claim, index, value, rounding)
                unclear = unclear or why
            case Unclear(why=why):
                unclear = unclear or why
            case Rounded(places=shown):
                places.add(shown)
    if unclear or claim.doubt in DENIALS:  # "It is false that 2 + 2 = 4"
        return Unknown(unclear or claim.doubt, excused=claim.excused)
    scope: Scope = "answer" if claim.answers and None not in places else "steps"
    return Pass(_evidence(places), scope=scope, values=_values(claim.sides))


def _judge_answer(claim: Given) -> Verdict:
    if render(ungrouped(claim.side.node)) == render(ungrouped(claim.asked)):
        return Unknown("it repeats the expression of the prompt")
    is_right = is_value(claim.side, exact(claim.asked))
    if is_right:
        evidence = "the computation that the prompt asks for was done exactly"
        return Pass(evidence, scope="answer" if claim.answers else "steps", values=_values([claim.side]))
    if is_right is None or not claim.said:
        return Unknown("this value may not be meant as the answer, or it is close to the right one")
    # The right value is the answer to the problem, and feedback must not give that away.
    return Violation(why="this is not the value of the expression that the prompt asks for")


def _checked(claim: Equation | Given, prepared: Problem | None, rounding: Rounding) -> Verdict:
    return _judge_answer(claim) if isinstance(claim, Given) else _judge(claim, prepared or _NO_PROBLEM, rounding)


def _evidence(places: set[int | None]) -> str:
    said = ["both sides were computed exactly"]
    shown = sorted(count for count in places if count is not None)
    said += [f"one is rounded to {count} decimal{'s'[: count > 1]}" for count in shown]
    said += ["one is rounded, as the text says"] if None in places else []
    return ", and ".join(said)


def _violation(claim: Equation, index: int, value: Value, rounding: Rounding) -> Violation:
    left, right = claim.sides[index], claim.sides[index + 1]
    text = " " * claim.base + claim.text
    wrong = locate(left, right, value, text, leads=index == 0, exactly=rounding == "exact")
    computed, stated = left.node, right.node
    if bare(left.node) and not bare(right.node):
        computed, stated, value = right.node, left.node, exact(right.node)
    elif bare(left.node):
        # In 3 + 4 = 7 = 8, the message is "3 + 4 is not 8", not "7 is not 8".
        computed = next((side.node for side in claim.sides[index::-1] if not bare(side.node)), computed)
    shown = result(computed, value, stated)
    return Violation(
        why=f"{statement(computed)} is not {statement(stated)}",
        witness=f"{statement(computed)} is {shown}, not {statement(stated)}" if shown else "",
        where=_where(claim, wrong.start, wrong.end),
        repair=wrong.repair if claim.sure and _is_in_line(claim, wrong.start) else None,
        sure=claim.sure,
    )


def _is_in_line(claim: Equation, start: int) -> bool:
    return claim.source is None or start >= claim.source.before


def _where(claim: Equation, start: int, end: int) -> Span | None:
    if claim.source is None:
        return Span(start - claim.base, end - claim.base)
    if not _is_in_line(claim, start):
        return None
    there = claim.source.place(start, end)
    return Span(there.start - claim.first, there.end - claim.first)


@verifier(name="arithmetic", version="5", deadline=1.0, worker="inline")
def check(claim: Equation | Given, prepared: Problem | None = None) -> Verdict:
    """Judge *claim*, an equation or an answer. A value that is correctly rounded to one or more decimals is right."""
    return _checked(claim, prepared, "shown-digits")


@verifier(name="arithmetic", version="5-exact", deadline=1.0, worker="inline")
def check_exactly(claim: Equation | Given, prepared: Problem | None = None) -> Verdict:
    """Judge *claim* as :func:`check` does, but accept a rounded value in an equation only where the text says so.

    A rounded answer is right.
    """
    return _checked(claim, prepared, "exact")


_VERIFIERS: dict[Rounding, FunctionVerifier] = {"shown-digits": check, "exact": check_exactly}


@safe_from_data()
def arithmetic(
    *,
    rounding: Rounding = "shown-digits",
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: Literal["reasoning", "answer", "both"] = "both",
) -> Monitor:
    """Make a monitor that checks the equations in the text. Raises :class:`UsageError` on a wrong option value.

    If the prompt asks only for the value of an expression, it also judges the answer. ``rounding``: with
    ``shown-digits``, ``10/3 = 3.33`` is right; with ``exact``, it is not right unless the text calls it rounded, as in
    ``10/3 ≈ 3.33``. ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    require_choice("arithmetic", _VERIFIERS, rounding=rounding)
    return task_monitor(
        "arithmetic",
        _VERIFIERS[rounding],
        Tracker(begin, step),
        prepare,
        trigger=Lines(joins=JOINS),
        recognizer=recognize,
        level=level,
        delivery=delivery,
        phase=phase,
    )
