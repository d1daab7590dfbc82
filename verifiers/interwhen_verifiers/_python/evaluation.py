"""Asks the sandbox for values of the code, and compares them where the code does not run."""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio.to_thread
from interwhen.sandbox import Call, Json, Limits, Outcome, ProcessSandbox, Returned

from interwhen_verifiers._python.cases import Case, Cases, Question, Reader, cases_of, free_names, read_names
from interwhen_verifiers._python.given import Given, parsed
from interwhen_verifiers._python.harness import short
from interwhen_verifiers._python.values import NotPlainError, decoded, held, holds_opaque, plain, read

# Examples such as ``>>> f(2)`` with their output. The sandbox runs them; this module compares the output.


_MOST = 60


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a docstring or a task: a statement after ``>>>``, and the output that is written below it."""

    shown: str
    """The statement."""
    question: Question
    """The expression of the statement, with the earlier statements that it needs."""
    in_order: Question
    """The same question after all calls of the examples before it, for code that has a state."""
    want: str
    """The expected output; empty if there is none."""
    own: bool = False
    """Whether it comes from the code, so that it is no test of the task."""


def examples_of(text: str, names: frozenset[str]) -> list[Example]:
    # Statements that are no expression, such as `x = 3`, are kept as preparations for the later examples.
    reader = Reader(names)
    cases: list[Example] = []
    for source, want in _split(text):
        tree = parsed(source)
        if tree is None:
            continue
        match tree.body:
            case [ast.Expr(value=value)]:
                if read_names(value) & names and len(cases) < _MOST:
                    cases.append(Example(source, reader.question(value), reader.question(value, in_order=True), want))
            case _:
                pass
        for node in tree.body:
            reader.keep(node)
    return cases


def _split(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    source: list[str] = []
    want: list[str] = []
    for line in [*text.expandtabs().splitlines(), ">>>"]:
        bare = line.strip()
        if bare == ">>>" or bare.startswith(">>> "):
            if source:
                pairs.append(("\n".join(source), "\n".join(want)))
            source, want = ([bare[4:]] if bare[4:] else []), []
        elif source and not want and (bare == "..." or bare.startswith("... ")):
            source.append(line.strip()[4:])
        elif source and bare and bare not in ('"""', "'''"):
            want.append(bare)
        elif source:
            pairs.append(("\n".join(source), "\n".join(want)))
            source, want = [], []
    return pairs


def compared(want: str, value: Any, shown: str, printed: str) -> Literal["held", "unclear"] | tuple[str, str]:
    # `value` is the result, `shown` is its `repr`, and `printed` is what the example printed. Numbers are equal up to
    # the decimals that `want` shows. If they differ, the message has the result and the expected value.
    if not want:
        return "unclear"
    if _lines(printed) == _lines(want) or (value is not None and _lines(shown) == _lines(want)):
        return "held"
    if value is not None and not {"'", '"'} & set(want) and shown.split() == want.split():
        return "held"
    if parsed(want) is None:
        return "unclear"
    try:
        expected = ast.literal_eval(want)
        got = value
        if printed.strip():
            if parsed(printed.strip()) is None:
                return "unclear"
            got = ast.literal_eval(printed.strip())
        if holds_opaque(got):
            return "unclear"
        same = got == expected or _rounds(got, ast.parse(want, mode="eval").body, want)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, NotPlainError):
        return "unclear"
    return "held" if same else (repr(got), repr(expected))


def _lines(text: str) -> list[str]:
    # The lines of an example have no tabs and no spaces around them, and an empty line ends it.
    return [line.strip() for line in text.expandtabs().splitlines() if line.strip()]


def _is_literal(want: str) -> bool:
    try:
        ast.literal_eval(want)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return False
    return True


def _rounds(got: object, node: ast.expr, want: str) -> bool:
    if isinstance(node, ast.List | ast.Tuple) and isinstance(got, list | tuple):
        pairs = zip(got, node.elts, strict=False)
        same_kind = isinstance(got, list) == isinstance(node, ast.List) and len(got) == len(node.elts)
        return same_kind and all(_rounds(one, part, want) for one, part in pairs)
    expected = ast.literal_eval(node)
    if not (isinstance(got, int | float) and isinstance(expected, float) and not isinstance(got, bool)):
        return bool(got == expected)
    # As decimals: the difference of the binary numbers 0.6 and 0.5 is less than 0.1.
    wanted, shown = Decimal(ast.get_source_segment(want, node) or "NaN"), Decimal(repr(got))
    last = min(int(wanted.as_tuple().exponent), 0)
    return shown.is_finite() and abs(shown - wanted) < Decimal(1).scaleb(last)


Told: TypeAlias = dict[str, Any]
"""A report; ``kind`` says of what.

Of code, it is syntax, unread, compiled, passed, failed or raised; of the value of one question, value or raised; of one
test, held or raised.
"""

_HARNESS = Path(__file__).with_name("harness.py").read_text(encoding="utf-8")
_MOST_CALLS = 100
_COUNTS = ("asserts", "examples", "of_task", "unclear", "unreached")
"""``of_task`` counts the tests that hold and come from the task, not from the code."""
_BINDS = re.compile(
    r"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+(\w+)|class[ \t]+(\w+)|(\w+)[ \t]*(?::[^=\n]{1,80})?=(?!=)"
    r"|(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+([^\n]{1,300}))",
    re.MULTILINE,
)
_WORD = re.compile(r"\w+")


def names_in(code: str) -> frozenset[str]:
    # Parsing could crash this process, so the model's code is only searched.
    names: set[str] = set()
    for one in _BINDS.finditer(code):
        names |= {name for name in one.group(1, 2, 3) if name} | set(_WORD.findall(one[4] or ""))
    return frozenset(names)


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of one block, each with its questions."""

    programs: tuple[tuple[frozenset[str], Cases], ...] = ()
    """The names that each program of tests takes from elsewhere, and its cases."""
    examples: tuple[Example, ...] = ()

    def questions(self) -> list[Question]:
        asked = [question for _, one in self.programs for case in one.cases for question in case.questions]
        return list(dict.fromkeys((*asked, *(example.question for example in self.examples))))


_Answers: TypeAlias = dict[Question, Told | Outcome]
"""The reports on questions; for a question without a report, the outcome of the sandbox."""


async def judge(code: str, earlier: tuple[str, ...], given: Given, limits: Limits, *, doctests: bool) -> Told | Outcome:
    """Return the report on *code*; if there is no report, return the outcome of the sandbox.

    *earlier* is the code of the blocks before it, and *given* holds the tests of the task. *doctests*: also run
    examples. Raises :class:`~interwhen.sandbox.SandboxUnavailable` if this machine cannot make the sandbox.
    """
    bound = names_in(code)
    before = frozenset(name for text in earlier for name in names_in(text))
    tests = _tests_of(given, bound, before, doctests=doctests)
    async with ProcessSandbox() as sandbox:
        asking = _Asking(sandbox, limits, code, earlier)
        looked = await asking.look(tests.questions())
        if not isinstance(looked, dict) or looked["kind"] != "compiled":
            return looked
        bound = frozenset(looked["bound"])
        tests = _really_about(tests, bound, before)
        if doctests and looked["texts"]:
            own = [replace(one, own=True) for text in looked["texts"] for one in examples_of(str(text), bound)]
            tests = replace(tests, examples=tuple(dict.fromkeys((*tests.examples, *own))))
        told: Told | Outcome = {"kind": "compiled"}
        if tests.questions() or any(one.unreached for _, one in tests.programs):
            told = await _with_fallbacks(asking, tests, before)
        if not isinstance(told, dict):
            return told
        lacking = [free_names(program) for program in given.programs]
        told["wanted"] = sorted({name for free in lacking for name in _lacking(free) - bound - before})
        told["lines"] = looked["lines"]
        told["elsewhere"] = (
            bool(given.programs) and not tests.programs and all(_lacking(free) <= before | bound for free in lacking)
        )
        return told


def _tests_of(given: Given, bound: frozenset[str], before: frozenset[str], *, doctests: bool) -> Tests:
    programs = []
    for program in given.programs:
        free = free_names(program)
        if free & bound and _lacking(free) <= bound | before:
            names = free & (bound | before)
            programs.append((free, cases_of(program, names)))
    sessions = given.sessions if doctests else ()
    known = (bound | before) - frozenset(dir(builtins)) | bound
    examples = [example for text in sessions for example in examples_of(text, known)]
    return Tests(tuple(programs), tuple(examples))


def _really_about(tests: Tests, bound: frozenset[str], before: frozenset[str]) -> Tests:
    programs = tuple((free, one) for free, one in tests.programs if free & bound and _lacking(free) <= bound | before)
    examples = tuple(example for example in tests.examples if free_names(example.question.expression) & bound)
    return Tests(programs, examples)


def _lacking(free: frozenset[str]) -> frozenset[str]:
    return frozenset(name for name in free if not hasattr(builtins, name))


class _Asking:
    """Evaluates questions with the code of one block, each in a fresh process, and caches the answers."""

    def __init__(self, sandbox: ProcessSandbox, limits: Limits, code: str, earlier: tuple[str, ...]) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._code = code
        self._earlier = list(earlier)
        self._answers: dict[tuple[bool, bool], _Answers] = {}

    async def look(self, questions: list[Question]) -> Told | Outcome:
        # The first 100 `questions` are evaluated in the same call of the sandbox.
        first: tuple[Json, ...] = (self._code,)
        calls = [Call(source=_HARNESS, function="look", arguments=first), *self._calls(questions)]
        looked, *outcomes = await self._sandbox.run_each(calls, self._limits)
        self._answers[False, False] = dict(zip(questions[:_MOST_CALLS], map(_told, outcomes), strict=True))
        return _told(looked)

    def _calls(self, questions: list[Question], *, earlier: bool = False, bare: bool = False) -> list[Call]:
        before: list[Json] = [*self._earlier] if earlier else []
        return [
            Call(source=_HARNESS, function="answer", arguments=(self._code, before, one.setup, one.expression, bare))
            for one in questions[:_MOST_CALLS]
        ]

    async def ask(self, questions: list[Question], *, earlier: bool = False, bare: bool = False) -> _Answers:
        # At most 100 new questions are evaluated. `earlier`: run the earlier blocks before the code. `bare`: run only
        # the definitions of the code.
        known = self._answers.setdefault((earlier, bare), {})
        new = [one for one in questions if one not in known]
        if new:
            outcomes = await self._sandbox.run_each(self._calls(new, earlier=earlier, bare=bare), self._limits)
            known.update(zip(new[:_MOST_CALLS], map(_told, outcomes), strict=True))
        return known

    async def hold(self, calls: list[Call]) -> list[Told | Outcome]:
        # The tests run in processes without the model's code, which could decide its own verdict.
        return [_told(outcome) for outcome in await self._sandbox.run_each(calls, self._limits)]


def _told(outcome: Outcome) -> Told | Outcome:
    match outcome:
        case Returned(value=str(text)):
            return read(text) or outcome
        case _:
            return outcome


async def _with_fallbacks(asking: _Asking, tests: Tests, before: frozenset[str]) -> Told | Outcome:
    # `before` has the names that the earlier blocks may define.
    told = await _judged(asking, tests)
    earlier = isinstance(told, dict) and told.get("raised", told).get("name") in before
    if earlier:
        told = await _judged(asking, tests, earlier=True)
    if isinstance(told, dict) and told["kind"] == "raised" and told["what"] == "the code":
        # A demonstration at the end of the code may be meant to fail. The tests are about its definitions.
        again = await _judged(asking, tests, earlier=earlier, bare=True)
        if isinstance(again, dict) and not (again["kind"] == "raised" and again["what"] == "the code"):
            return {**told, "defined": True} if again["kind"] == "passed" else again
    return told


async def _judged(asking: _Asking, tests: Tests, *, earlier: bool = False, bare: bool = False) -> Told | Outcome:
    tally = await _found(asking, tests, earlier=earlier, bare=bare)
    if tally.failed is not None:
        # The code may have a state, such as a counter, that the tests before have changed. In the process of this call,
        # it may see what they expect, so the result can withdraw a failure and cannot be a pass.
        in_order = _in_order(tally.failed)
        if in_order != tests and (await _found(asking, in_order, earlier=earlier, bare=bare)).first is None:
            tally.first, tally.counts["unreached"] = None, tally.counts["unreached"] + 1
    if tally.first is not None:
        return tally.first
    return {"kind": "passed", **tally.counts}


def _in_order(test: Case | Example) -> Tests:
    if isinstance(test, Case):
        return Tests(((frozenset(), Cases((replace(test, questions=test.in_order),))),))
    return Tests(examples=(replace(test, question=test.in_order),))


async def _found(asking: _Asking, tests: Tests, *, earlier: bool, bare: bool) -> _Found:
    answers = await asking.ask(tests.questions(), earlier=earlier, bare=bare)
    # The model chose the values. Reading and comparing them may take long, so it happens in a thread.
    tally = await anyio.to_thread.run_sync(_compare_all, tests, answers)
    if tally.waiting and tally.first is None:
        for case, told in zip(tally.waiting, await asking.hold([call for _, call, _ in tally.waiting]), strict=True):
            tally.settle(case, told)
    return tally


@dataclass
class _Found:
    """What the comparison of a block's tests with their answers found."""

    first: Told | Outcome | None = None
    """The report on the first test that fails or has no value."""
    failed: Case | Example | None = None
    """The test that ``first`` reports on, if its call has a wrong value or raises."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    waiting: list[tuple[Case, Call, list[Any]]] = field(default_factory=list)
    """Tests that need code of their own to compare values, each with its call of the sandbox and the values."""
    own: set[int] = field(default_factory=set)
    """The ids of the tests in ``waiting`` with a value that has operators of the code."""

    def note(self, test: Case | Example) -> None:
        if isinstance(self.first, dict) and self.first["kind"] == "failed":
            self.failed = test

    def settle(self, waiting: tuple[Case, Call, list[Any]], told: Told | Outcome) -> None:
        """Add the result of the test *waiting*, which needed code of its own to compare values, to the counts.

        *told* is the report on the test, if there is one. The first failure becomes ``first``.
        """
        case, _, values = waiting
        if not isinstance(told, dict) or told["kind"] != "held" or (id(case) in self.own and not told["held"]):
            # The test raises on this value, took too long, or fails where an operator of the code may see it in another
            # way: a person must look.
            self.counts["unreached"] += 1
        elif told["held"]:
            self.counts["asserts"] += 1
            self.counts["of_task"] += 1
        elif self.first is None:
            self.first, self.failed = _failed(case, values), case


def _compare_all(tests: Tests, answers: _Answers) -> _Found:
    tally = _Found()
    for _, program in tests.programs:
        tally.counts["unreached"] += program.unreached
        for case in program.cases:
            if tally.first is None:
                _compare(case, answers, tally)
                tally.note(case)
    for example in tests.examples:
        if tally.first is None:
            _compare_example(example, answers, tally)
            tally.note(example)
    return tally


def _values(questions: tuple[Question, ...], answers: _Answers) -> list[Told] | Told | Outcome:
    values: list[Told] = []
    for question in questions:
        told = answers.get(question, {"kind": "unread", "message": "more tests than are run"})
        if not isinstance(told, dict) or told["kind"] != "value":
            return told
        values.append(told)
    return values


def _compare(case: Case, answers: _Answers, tally: _Found) -> None:
    told = _values(case.questions, answers)
    if not isinstance(told, list):
        tally.first = _without_value(told, case.shown, example=False)
        return
    try:
        values = [decoded(one["value"]) for one in told]
    except (NotPlainError, KeyError):
        tally.counts["unreached"] += 1
        return
    names = {f"_v{number}": value for number, value in enumerate(values)}
    try:
        if held(case.test, names):
            tally.counts["asserts"] += 1
            tally.counts["of_task"] += 1
        elif any(one.get("own") for one in told):
            tally.counts["unreached"] += 1  # an operator of the code may see it in another way
        else:
            tally.first = _failed(case, values)
    except NotPlainError:
        if any(map(holds_opaque, values)):
            tally.counts["unreached"] += 1
        else:
            tally.waiting.append((case, _holding(case, told), values))
            tally.own |= {id(case)} if any(one.get("own") for one in told) else set()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        if any(one.get("own") for one in told):
            tally.counts["unreached"] += 1
            return
        raised = {"error": type(error).__name__, "kinds": ["Exception"], "message": str(error), "line": 0, "name": ""}
        tally.first = {"kind": "failed", "test": short(case.shown), "raised": raised}


def _holding(case: Case, told: list[Told]) -> Call:
    names: list[Json] = [f"_v{number}" for number in range(len(told))]
    values: list[Json] = [json.dumps(one["value"]) for one in told]
    arguments: tuple[Json, ...] = (case.outside, ast.unparse(case.test), names, values)
    return Call(source=_HARNESS, function="hold", arguments=arguments)


def _without_value(told: Told | Outcome, shown: str, *, example: bool) -> Told | Outcome:
    if not isinstance(told, dict) or told["kind"] == "unread" or told.get("what") == "the code":
        return told
    return {"kind": "failed", "test": short(shown), "raised": told, "example": example}


def _failed(case: Case, values: list[Any]) -> Told:
    told: Told = {"kind": "failed", "test": short(case.shown), "relation": case.relation}
    if not case.relation:
        return {**told, "values": [short(repr(values[0]))], "call": short(case.questions[0].expression)}
    assert isinstance(case.test, ast.Compare)
    names = {f"_v{number}": value for number, value in enumerate(values)}
    right = case.test.comparators[0]
    return {**told, "values": [short(repr(values[0])), short(_shown(lambda: repr(plain(right, names)), right))]}


def _shown(value: Callable[[], str], node: ast.expr) -> str:
    try:
        return value()
    except NotPlainError:
        return ast.unparse(node)


def _compare_example(example: Example, answers: _Answers, tally: _Found) -> None:
    told = _values((example.question,), answers)
    if isinstance(told, dict) and told.get("what") == "the call":
        kinds = set(told["kinds"]) - {"Exception", "BaseException", "object"} | {told["error"]}
        if example.want.startswith("Traceback") and kinds & set(_WORD.findall(example.want)):
            tally.counts["examples"] += 1
            tally.counts["of_task"] += not example.own
            return
        if told["error"] != "NameError" and not _is_literal(example.want):
            tally.counts["unclear"] += 1  # such as "ValueError: negative", or "raises an error"
            return
    if not isinstance(told, list):
        tally.first = _without_value(told, example.shown, example=True)
        return
    try:
        value = decoded(told[0]["value"])
        same = compared(example.want, value, str(told[0]["shown"]), str(told[0]["printed"]))
        if same != "held" and (told[0].get("own") or "doctest:" in example.shown or "..." in example.want):
            same = "unclear"
    except (NotPlainError, KeyError):
        same = "unclear"
    match same:
        case "held":
            tally.counts["examples"] += 1
            tally.counts["of_task"] += not example.own
        case "unclear":
            tally.counts["unclear"] += 1
        case (got, expected):
            tally.first = {
                "kind": "failed",
                "test": short(example.shown),
                "relation": "Eq",
                "values": [short(got), short(expected)],
                "example": True,
            }
