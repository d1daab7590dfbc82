"""Measures how the cost of reading hostile text grows, without flaky timings. For authors of verifiers.

::

    from interwhen.testing.complexity import assert_linear

    def test_a_long_line_costs_no_more_than_its_length():
        assert_linear(my_monitor())

An extractor runs on the event loop, and a verifier has a deadline. Text that makes them slow delays the stream or
leaves it unverified. :data:`BAITS` are kinds of text that may make careless code slow.
"""

from __future__ import annotations

import gc
import inspect
import re
import re._constants as code  # type: ignore[import-not-found, unused-ignore]  # not public; the public module is gone
import re._parser as parser  # type: ignore[import-not-found, unused-ignore]  # the same
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FrameType
from typing import Any, TypeAlias

import anyio

from interwhen._engine.monitors import BoundVerifier
from interwhen._types.errors import UsageError
from interwhen._types.extensions import Task
from interwhen._types.models import Prompt, Reply
from interwhen._types.monitors import Extractor, Fork, Monitor, Tracker
from interwhen._types.segments import Claim, Segment, Span
from interwhen._types.verdicts import Verdict
from interwhen._types.verifiers import is_async

# Counts the bytecode instructions of Python code: the same number on every machine, also on a busy one.


def count_steps(function: Callable[..., object], *arguments: Any) -> int:
    """Return how many bytecode instructions a call of *function* executes in this thread.

    Work in C code (a slice, ``str.find``, a regex) is not counted: use :func:`cpu_seconds` for that. The numbers differ
    between versions of Python, so compare their growth.
    """
    counted = _monitored if sys.version_info >= (3, 12) else _traced
    # A garbage collection would run unrelated finalizers.
    collects = gc.isenabled()
    gc.disable()
    try:
        return counted(function, arguments)
    finally:
        if collects:
            gc.enable()


def cpu_seconds(function: Callable[..., object], *arguments: Any, tries: int = 3) -> float:
    """Call *function* *tries* times in this thread, and return the shortest CPU time of a call, in seconds.

    Machines differ in speed: compare the result with a limit that is far above the time of linear work. Raises the
    exceptions of *function*.
    """
    return min(_timed(function, arguments) for _ in range(tries))


def _timed(function: Callable[..., object], arguments: tuple[Any, ...]) -> float:
    began = time.thread_time()
    function(*arguments)
    return time.thread_time() - began


def _traced(function: Callable[..., object], arguments: tuple[Any, ...]) -> int:
    steps = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        nonlocal steps
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()  # restored afterwards, for a debugger or coverage
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return steps


def _monitored(function: Callable[..., object], arguments: tuple[Any, ...]) -> int:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]  # from 3.12 on
    tool = next(number for number in range(5, -1, -1) if monitoring.get_tool(number) is None)
    event = monitoring.events.INSTRUCTION
    thread = threading.get_ident()
    steps = 0

    def step(_code: CodeType, _offset: int) -> None:
        nonlocal steps
        steps += threading.get_ident() == thread

    monitoring.use_tool_id(tool, "interwhen.testing.complexity")
    try:
        monitoring.register_callback(tool, event, step)
        monitoring.set_events(tool, event)
        function(*arguments)
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)
    return steps


def prepared_for(monitor: Monitor, prompt: Prompt) -> Monitor | None:
    # The result is `None` if the monitor does not apply to `prompt`. An asynchronous `prepare` runs in a new event
    # loop, so none may run in this thread.
    if monitor.prepare is None:
        return monitor
    task = Task(prompt)
    prepare: Callable[[Task], Any] = monitor.prepare
    prepared = anyio.run(prepare, task) if is_async(prepare) else prepare(task)
    if prepared is None:
        return None
    return replace(
        monitor,
        prepare=None,
        verifier=BoundVerifier(monitor.verifier, prepared),
        extractor=mapped_extractor(
            monitor.extractor,
            lambda tracker: Tracker(lambda _: tracker.start(prepared), tracker.step),
            lambda parse: _with(parse, prepared),
        ),
        recognizer=None if monitor.recognizer is None else _with(monitor.recognizer, prepared),
    )


def mapped_extractor(
    extractor: Extractor, tracker: Callable[[Tracker[Any]], Tracker[Any]], parser: Callable[..., Callable[..., Any]]
) -> Extractor:
    match extractor:
        case Tracker():
            return tracker(extractor)
        case Fork(parse=Tracker() as inner):
            return replace(extractor, parse=tracker(inner))
        case Fork(parse=parse):
            return replace(extractor, parse=parser(parse))
        case parse:
            return parser(parse)


def _with(function: Callable[..., Any], prepared: Any) -> Callable[..., Any]:
    return lambda *given: function(*given, prepared)


__all__ = ["BAITS", "Bait", "assert_linear", "assert_quick"]


@dataclass(frozen=True, slots=True)
class Bait:
    """A kind of text that can have any length, and on which a bad algorithm may need more than linear time."""

    unit: str
    """The repeated part."""
    start: str = ""
    """The text before the repeated part."""
    end: str = ""
    """The text after it."""

    def __post_init__(self) -> None:
        if not self.unit:
            raise UsageError("the unit of a Bait must be a text that is not empty, got '': give what is repeated")

    def of(self, size: int) -> str:
        """Return a text of this kind in which the repeated part has *size* characters."""
        return f"{self.start}{(self.unit * (size // len(self.unit) + 1))[:size]}{self.end}"

    def __str__(self) -> str:
        return f"{self.start!r}+{self.unit!r}*n+{self.end!r}"


_UNITS = (
    *(" ", "\n", "\t", "a", "1", "1 ", "1 1 1 1 ", "(", ")", "((1", "[", "{", "<", '"', "'", "\\", "-", "=", "."),
    *("a ", "ab. ", "A. ", "e.g. ", "1. ", "1.1", "1,", "> Step ", "Step 1: ", "Wait, ", "\n\n", " \n", ".) ", "?! "),
    *("1+", "1 + 1 = 2 ", "1 + 1 = 3\n", "3 + 4 = 8 ", "1/3 + 1/7 + ", "2^", "9**9**", "+-", "$", "%", "1%+", "x "),
    *("\\frac{1}{", "\\text{", "\\text{a} ", "{{", "<think>", "</think>", "<tool_call>", "<tool_call", "</tool_call>"),
    *('{"a":', "[[", "a=b&", "a: b, ", "key = ", "```", "**", "http://a/", "a@", "\u0301", "e\u0301", "\u200b"),
    *("\u202e", "!", ",", "\u0663 ", "\uff11\uff0b", "\u2212", "\x00", "\x1b[", "\ud800"),
)

BAITS: tuple[Bait, ...] = (
    *map(Bait, _UNITS),
    Bait("a", end="!"),
    Bait("1", end=" = 2"),
    Bait("1+", end="1 = 5"),
    Bait("(", end="1+1=3"),
    Bait("1 ", end="= 3"),
    Bait("9", start="1 + ", end=" = 2"),
    Bait(" ", start="1 + 1", end="= 3"),
    Bait(" ", start="x", end="y"),
    Bait("1/3 + ", end="1 = 5"),
    Bait("^2", start="2", end=" = 5"),
    Bait(" = 1 + 2", start="4"),
    Bait('\\"'),
    Bait('\\"', start='"'),
)
"""Repeated white space, brackets, digits, quotes, tags and equations, some with an end that makes a match fail."""

Reader: TypeAlias = Callable[[str], object]
"""A function that reads a text, and whose cost is measured."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The steps of a function for texts of *bait*, whose repeated part doubles from text to text.

    ``sizes`` are the lengths of the repeated parts in characters.
    """

    bait: Bait
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def ratio(self, slack: int = 0) -> float:
        """Return by which factor the steps grow when the text doubles: 2 is linear, 4 is quadratic.

        *slack* steps of the longest text are not counted. The result is a geometric mean over all doublings.
        """
        grown = max(self.steps[-1] - slack, 0) / max(self.steps[0], 1)
        return float(grown ** (1 / (len(self.steps) - 1)))


def read_and_check(monitor: Monitor, prompt: Prompt = "") -> Reader:
    """Return a function that runs *monitor* on a text as one segment, and returns the list of the verdicts.

    A monitor with ``prepare`` is prepared for *prompt* now; if it does not apply, the function returns an empty list.
    If the extractor is a fork, the text is also the reply of the fork. Asynchronous verifiers give no verdict.
    """
    bound = prepared_for(monitor, prompt)
    if bound is None:
        return lambda _text: []
    monitor = bound

    def read(text: str) -> list[Verdict]:
        segment = Segment(text, Span(0, len(text)), "answer")
        extractor = monitor.extractor
        claims: Iterable[Claim] | None
        match extractor:
            case Fork(parse=Tracker(start=start, step=step)):
                claims = step(start(None), Reply(text), segment)[1]
            case Fork(parse=parse):
                assert not isinstance(parse, Tracker)
                claims = parse(Reply(text) if extractor.wants_reply else text, segment)
            case Tracker(start=start, step=step):
                claims = step(start(None), segment)[1]
            case _:
                claims = extractor(segment)
        if monitor.recognizer is not None:
            list(monitor.recognizer(segment))
        verdicts: list[Verdict] = []
        for claim in claims or ():
            verdict = monitor.verifier.check(claim)
            if inspect.iscoroutine(verdict):
                verdict.close()
            elif not inspect.isawaitable(verdict):
                verdicts.append(verdict)
        return verdicts

    return read


def measure(target: Monitor | Reader, bait: Bait, *, size: int = 500, doublings: int = 2) -> Growth:
    """Count the steps of *target* for a text of *bait*, and for *doublings* further texts, which double in size.

    The repeated part of the first text has *size* characters. *target* is a function of a text, or a monitor (see
    :func:`read_and_check`). *target* is called once before, to fill its caches. Raises
    :class:`~interwhen.UsageError` if *size* or *doublings* is less than 1, or if a monitor does not apply to an empty
    prompt.
    """
    if size < 1 or doublings < 1:
        raise UsageError(f"size and doublings must be at least 1, got {size!r:.80} and {doublings!r:.80}; correct them")
    read = _reader(target)
    read(bait.of(8))  # fills caches, which do not count
    sizes = tuple(size << doubling for doubling in range(doublings + 1))
    return Growth(bait, sizes, tuple(count_steps(read, bait.of(size)) for size in sizes))


def assert_linear(
    target: Monitor | Reader,
    *,
    baits: Iterable[Bait] = BAITS,
    size: int = 500,
    limit: float = 2.5,
    slack: int = 2000,
) -> None:
    """Raise :class:`AssertionError` if doubling a text multiplies the steps of *target* by *limit* or more on average.

    *baits* are the kinds of text, and *size* is the length of the shortest repeated part in characters. *slack* steps
    are not counted, for work that happens once. Raises :class:`~interwhen.UsageError` as :func:`measure` does, and
    without *baits*.
    """
    grown = [measure(target, bait, size=size) for bait in baits]
    _some(grown)
    bad = [f"{each.bait}: {each.sizes} characters: {each.steps} steps" for each in grown if each.ratio(slack) >= limit]
    assert not bad, "more than linear:\n" + "\n".join(bad)


def assert_quick(
    target: Monitor | Reader, *, baits: Iterable[Bait] = BAITS, size: int = 20_000, seconds: float = 2.0
) -> None:
    """Raise :class:`AssertionError` if *target* takes more than *seconds* of CPU time for a bait of *size* characters.

    The fastest of up to three calls counts, with the work in regexes, slices and arithmetic. Choose a size for which
    linear work takes at most a tenth of *seconds*. Raises :class:`~interwhen.UsageError` if *seconds* is not above 0,
    without *baits*, and if a monitor does not apply to an empty prompt.
    """
    if not seconds > 0:
        raise UsageError(f"seconds must be above 0, got {seconds!r:.80}; give the longest CPU time")
    read, listed = _reader(target), tuple(baits)
    _some(listed)
    bad = []
    for bait in listed:
        took = _least(read, bait.of(size), seconds)
        if took > seconds:
            bad.append(f"{bait}: {size} characters took {took:.2f} s")
    assert not bad, f"slower than {seconds:g} s:\n" + "\n".join(bad)


def _reader(target: Monitor | Reader) -> Reader:
    if not isinstance(target, Monitor):
        return target
    if prepared_for(target, "") is None:  # nothing would be measured
        raise UsageError(
            f"monitor {target.name!r:.80} must apply to an empty prompt to be measured, and does not: give "
            "read_and_check(monitor, prompt) with a prompt of its domain"
        )
    return read_and_check(target)


def _some(baits: Sequence[object]) -> None:
    if not baits:
        raise UsageError("baits must be at least one kind of text, got none: nothing was measured")


def _least(read: Reader, text: str, seconds: float) -> float:
    # A time above `seconds` may be an exception, so it is measured twice more.
    took = cpu_seconds(read, text, tries=1)
    return took if took <= seconds else min(took, cpu_seconds(read, text, tries=2))


# Finds regexes that may take more than linear time, by their syntax.
#
# ``re`` tries every way to match before it fails. If one text can be matched in many ways, a text that almost matches
# makes it try all of them: quadratically many (``\\s+\\s+x``) or exponentially many (``(a+)+x``). Possessive
# quantifiers (``++``, ``*+``) and atomic groups (from Python 3.11 on) avoid this.

_Items: TypeAlias = Sequence[tuple[Any, Any]]
_SAMPLE = frozenset(map(chr, range(128))) | set("éß²½\u0663\u200b\u3000\uff11\u2019漢")
"""Two character classes count as overlapping if they share one of these characters."""
_GREEDY = (code.MAX_REPEAT, code.MIN_REPEAT)
_REPEATS = (*_GREEDY, code.POSSESSIVE_REPEAT)
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    code.CATEGORY_DIGIT: str.isdecimal,
    code.CATEGORY_SPACE: str.isspace,
    code.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
}
_NOT = {
    code.CATEGORY_NOT_DIGIT: code.CATEGORY_DIGIT,
    code.CATEGORY_NOT_SPACE: code.CATEGORY_SPACE,
    code.CATEGORY_NOT_WORD: code.CATEGORY_WORD,
}


def suspicious(pattern: str | re.Pattern[str]) -> tuple[str, ...]:
    """Return the reasons why the regex *pattern* may need more than linear time; empty if none is found.

    Some reported patterns are linear all the same, and some slow ones are not found. Raises :class:`re.error` if
    *pattern* is not valid.
    """
    compiled = re.compile(pattern)
    items = parser.parse(compiled.pattern, compiled.flags & ~re.UNICODE.value)
    return tuple(dict.fromkeys(_walk(items, frozenset(), looped=False)))


def _walk(items: _Items, following: frozenset[str], *, looped: bool) -> Iterator[str]:
    """Yield the reasons why the parsed regex *items* may need more than linear time.

    *following* has the characters that may follow them. *looped*: the items are inside a repetition that can match
    less.
    """
    for at, (kind, value) in enumerate(items):
        first, empty = _first(items[at + 1 :])
        after = first | following if empty else first
        if kind in _REPEATS:
            yield from _repetition(items, at, after, looped=looped)
        elif kind is code.BRANCH:
            starts = [_first(branch)[0] for branch in value[1]]
            if looped and any(one & two for n, one in enumerate(starts) for two in starts[:n]):
                yield "alternatives inside a repetition can match the same text"
            for branch in value[1]:
                yield from _walk(branch, after, looped=looped)
        elif kind is code.SUBPATTERN:
            yield from _walk(value[-1], after, looped=looped)
        elif kind is code.ATOMIC_GROUP:
            yield from _walk(value, frozenset(), looped=False)
        elif kind in {code.ASSERT, code.ASSERT_NOT}:
            yield from _walk(value[1], frozenset(), looped=False)


def _repetition(items: _Items, at: int, after: frozenset[str], *, looped: bool) -> Iterator[str]:
    kind, (low, high, body) = items[at]
    start = _first(body)[0]
    endless = kind in _GREEDY and high == code.MAXREPEAT
    if kind in _GREEDY and looped and low != high and start & after:
        yield "a repetition inside a repetition can divide one text in many ways"
    if endless and not looped and _competes(items, at, start):
        yield "two unbounded repetitions compete for the same text"
    yield from _walk(body, after | start if endless else after, looped=endless or (looped and kind in _GREEDY))


def _competes(items: _Items, at: int, start: frozenset[str]) -> bool:
    """Return whether the unbounded repetition at index *at* and a later one may match the same text.

    *start* has the characters with which a match of the first one can begin.
    """
    for kind, value in items[at + 1 :]:
        first, empty = _first([(kind, value)])
        if kind in _GREEDY and value[1] == code.MAXREPEAT and first & start:
            return True
        if not (empty or first & start):
            return False
    return False


def _first(items: _Items) -> tuple[frozenset[str], bool]:
    first_chars: frozenset[str] = frozenset()
    for kind, value in items:
        chars, empty = _head(kind, value)
        first_chars |= chars
        if not empty:
            return first_chars, False
    return first_chars, True


def _head(kind: Any, value: Any) -> tuple[frozenset[str], bool]:
    if kind in _REPEATS:
        chars, empty = _first(value[2])
        return chars, empty or value[0] == 0
    if kind is code.SUBPATTERN:
        return _first(value[-1])
    if kind is code.ATOMIC_GROUP:
        return _first(value)
    if kind is code.BRANCH:
        heads = [_first(branch) for branch in value[1]]
        return frozenset().union(*(chars for chars, _ in heads)), any(empty for _, empty in heads)
    if kind in {code.AT, code.ASSERT, code.ASSERT_NOT}:
        return frozenset(), True
    if kind in {code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN}:
        return _chars(kind, value), False
    return _SAMPLE, True  # a reference to a group: any text


def _chars(kind: Any, value: Any) -> frozenset[str]:
    if kind is code.LITERAL:
        return frozenset(chr(value))
    if kind is code.NOT_LITERAL:
        return _SAMPLE - {chr(value)}
    if kind is code.ANY:
        return _SAMPLE
    if kind is code.RANGE:
        low, high = value
        return frozenset(char for char in _SAMPLE if low <= ord(char) <= high) | {chr(low), chr(high)}
    if kind is code.CATEGORY:
        belongs = _CATEGORIES[_NOT.get(value, value)]
        return frozenset(char for char in _SAMPLE if belongs(char) is (value not in _NOT))
    assert kind is code.IN
    negated = value[0][0] is code.NEGATE
    chars = frozenset().union(*(_chars(*part) for part in value[negated:]))
    return _SAMPLE - chars if negated else chars
