"""Translates expressions into formulas of Z3 (extra ``z3``), to ask questions about all situations at once.

All values count as known, except the first argument of ``assume``. Lists are unrolled up to a bound, so the answer "no
such situation" holds only for lists of at most this length. The answer "there is one" may rest on results that no data
gives, for example of ``contains``, ``values``, ``keys`` and ``flat``.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal, NamedTuple, TypeAlias, assert_never

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen.policy._builtins import BUILTINS, OnNodes
from interwhen.policy._kind_check import Scope
from interwhen.policy._kinds import Bool, Date, Kind, ListOf, MapOf, Number, PairsOf, RecordOf, Text
from interwhen.policy._rules import AdmissionProblem, Reason, Rule
from interwhen.policy._schemas import Schema, WhenJudged
from interwhen.policy._syntax import (
    Apply,
    Constant,
    Field,
    Index,
    Listed,
    Name,
    Node,
    Quantified,
    Scalar,
    show,
    walk,
)

try:
    import z3
except ImportError as missing:
    raise MissingExtraError("interwhen.policy._smt", "z3") from missing

_LARGEST = 10_000
"""The most terms of a formula."""
_DAY = 86_400
Term: TypeAlias = Any
"""An expression of Z3."""


class TooLargeError(UsageError):
    """The formula of a rule would have too many terms, or terms that have no encoding."""


@dataclass(frozen=True, slots=True)
class Place:
    """A list, map, record or pair of values in the data: its path, and the keys and list positions along this path."""

    path: str
    keys: tuple[Term, ...]
    kind: Kind


class ListItem(NamedTuple):
    """An item of a list. ``there`` is the condition that the list has it."""

    there: Term
    value: Encoded


Encoded: TypeAlias = Any
"""The encoding of an expression: a term, a :class:`Place`, a tuple of :class:`ListItem`, or a pair of encodings."""


class Encoder:
    """Encodes expressions as terms in one context of Z3. Equal parts of the data become the same term.

    *bound* is the largest number of items of a list.
    """

    def __init__(self, scope: Scope, bound: int = 3) -> None:
        self.z3: Any = z3
        self.context: Any = z3.Context()
        self.bound = bound
        self.zero, self.one = (z3.RealVal(number, self.context) for number in (0, 1))
        self._true, self._false = (z3.BoolVal(value, self.context) for value in (True, False))
        self._scope = scope
        self._text: Any = z3.DeclareSort("Text", self.context)
        self._texts: dict[str, Term] = {}
        self._known: dict[int, tuple[Term, Term]] = {}
        self._domains: dict[tuple[str, int], Term] = {}
        self._tests: dict[tuple[str, str], Any] = {}
        self._terms = 0

    def domain(self) -> list[Term]:
        # What is true of any data, so that Z3 finds no counterexample that cannot occur: a text with allowed words is
        # one of them, list lengths are within the bound, and different literal texts differ.
        terms = list(self._domains.values())
        if len(self._texts) > 1:
            terms.append(z3.Distinct(*self._texts.values()))
        for (test, part), function in self._tests.items():
            for text, term in self._texts.items():
                holds: Any = BUILTINS[test].value
                terms.append(function(term) == z3.BoolVal(holds(text, part), self.context))
        return terms

    def length(self, place: Place) -> Term:
        term = self._function(f"length({place.path})", place.keys, z3.IntSort(self.context))
        self._domains["length", term.get_id()] = z3.And(term >= 0, term <= self.bound)
        return term

    def truth(self, node: Node) -> Term:
        # Raises `TooLargeError` if the formula would be too large, or cannot be encoded.
        self._terms = 0
        return self.encode(node, {})

    def calls_of(self, tool: str) -> Place:
        return Place(f'calls("{tool}")', (), ListOf(self._scope.calls[tool]))

    # The encoding of each type of node.

    def encode(self, node: Node, names: Mapping[str, Encoded]) -> Encoded:
        # `names` has the encodings of the quantifier variables in scope, by name.
        self._terms += 1
        if self._terms > _LARGEST:
            raise TooLargeError(
                f"the formula of a rule must have at most {_LARGEST:,} terms, got more: divide the rule"
            )
        match node:
            case Constant(value=value):
                return self._constant(value)
            case Name(name=name):
                return names[name] if name in names else self._part(name, (), self._scope.names[name])
            case Field(of=of, name=name):
                place = self.encode(of, names)
                return self._part(f"{place.path}.{name}", place.keys, place.kind.field(name))
            case Index(of=of, keys=keys):
                place = self.encode(of, names)
                key_terms = tuple(self.encode(key, names) for key in keys)
                return self._part(f"{place.path}[]", (*place.keys, *key_terms), place.kind.value)
            case Quantified():
                return self._quantified(node, names)
            case Listed(items=items):
                return tuple(ListItem(self._true, self.encode(item, names)) for item in items)
            case Apply(function=function, arguments=arguments):
                term = BUILTINS[function].term
                if isinstance(term, OnNodes):
                    return term.call(self, names, *arguments)
                return term(self, *(self.encode(argument, names) for argument in arguments))
            case _:
                assert_never(node)

    def _constant(self, value: Scalar) -> Term:
        match value:
            case bool():
                return z3.BoolVal(value, self.context)
            case Fraction():
                return z3.RealVal(str(value), self.context)
            case str():
                return self._texts.setdefault(value, z3.Const(f'"{value}"', self._text))
            case dt.datetime():
                since = value - dt.datetime(1, 1, 1)  # noqa: DTZ001  # times of the data have no zone
                return z3.RealVal(since.days * _DAY + since.seconds, self.context)
            case dt.date():
                return z3.RealVal(value.toordinal() * _DAY, self.context)
            case _:
                assert_never(value)

    def _function(self, name: str, keys: tuple[Term, ...], sort: Any) -> Term:
        if not keys:
            return z3.Const(name, sort)
        return z3.Function(name, *(key.sort() for key in keys), sort)(*keys)

    def _part(self, path: str, keys: tuple[Term, ...], kind: Kind) -> Encoded:
        """Return the part of the data at *path*: a :class:`Place` if it has parts itself, else a term."""
        if isinstance(kind, ListOf | MapOf | RecordOf | PairsOf):
            return Place(path, keys, kind)
        if isinstance(kind, Bool):
            return self._function(path, keys, z3.BoolSort(self.context))
        if isinstance(kind, Text):
            term = self._function(path, keys, self._text)
            if kind.words:
                words = [term == self._constant(word) for word in sorted(kind.words)]
                self._domains["words", term.get_id()] = z3.Or(*words)
            return term
        if (isinstance(kind, Number) and kind.whole) or isinstance(kind, Date):
            whole = z3.ToReal(self._function(path, keys, z3.IntSort(self.context)))
            return whole * _DAY if isinstance(kind, Date) else whole
        return self._function(path, keys, z3.RealSort(self.context))

    # The operations on encodings that the rows of `_builtins.py` use.

    def items(self, listed: Encoded) -> tuple[ListItem, ...]:
        if isinstance(listed, tuple):
            return listed
        length = self.length(listed)
        return tuple(ListItem(length > at, self.item(listed, at)) for at in range(self.bound))

    def item(self, listed: Encoded, at: int) -> Encoded:
        if isinstance(listed, tuple):
            return listed[at].value
        index = z3.IntVal(at, self.context) if at >= 0 else self.length(listed) - abs(at)
        return self._part(f"{listed.path}[]", (*listed.keys, index), listed.kind.item)

    def among(self, item: Term, among: Encoded) -> Term:
        if isinstance(among, Place) and isinstance(among.kind, MapOf):
            return self._function(f"key of {among.path}", (*among.keys, item), z3.BoolSort(self.context))
        return z3.Or(*(z3.And(member.there, member.value == item) for member in self.items(among)), self._false)

    def choice(self, names: Mapping[str, Encoded], condition: Node, then: Node, otherwise: Node) -> Term:
        branches = self.encode(then, names), self.encode(otherwise, names)
        if not all(map(z3.is_expr, branches)):
            raise TooLargeError(
                "'if' must choose between single values, so that Z3 can examine the rule, got "
                f"{show(Apply('if', (condition, then, otherwise)))[:160]}: move 'if' out of it"
            )
        return z3.If(self.encode(condition, names), *branches)

    def assumed(self, condition: Term, otherwise: Term) -> Term:
        # Z3 gives equal formulas the same id while one of them is alive; the dictionary keeps it alive.
        fresh = z3.Bool(f"known {len(self._known)}", self.context)
        _, known = self._known.setdefault(condition.get_id(), (condition, fresh))
        return z3.If(known, condition, otherwise)

    def test(self, function: str, part: Node, of: Term) -> Term:
        # If `part` is a literal, `domain` adds the results of the test for literal texts, which are known.
        test = z3.Function(f"{function} {show(part)}", self._text, z3.BoolSort(self.context))
        if isinstance(part, Constant):
            self._tests[function, str(part.value)] = test
        return test(of)

    def pairs(self, left: Sequence[ListItem], right: Sequence[ListItem]) -> tuple[ListItem, ...]:
        return tuple(
            ListItem(z3.And(one.there, other.there), (one.value, other.value))
            for one, other in zip(left, right, strict=False)
        )

    def free_list(self, function: str, of: Encoded) -> Place:
        if not isinstance(of, Place):
            raise TooLargeError(
                f"{function}(...) must have a list of the data, so that Z3 can examine the rule, got a list that is "
                "written out: ask each list by itself"
            )
        kind: Any = BUILTINS[function].kind
        return Place(f"{function}({of.path})", of.keys, kind(of.kind))

    def _quantified(self, node: Quantified, names: Mapping[str, Encoded]) -> Term:
        bodies = []
        for there, value in self.items(self.encode(node.source, names)):
            values = value if len(node.names) > 1 else (value,)
            bodies.append((there, self.encode(node.body, {**names, **dict(zip(node.names, values, strict=True))})))
        match node.op:
            case "any":
                return z3.Or(*(z3.And(there, body) for there, body in bodies), self._false)
            case "all":
                return z3.And(*(z3.Implies(there, body) for there, body in bodies), z3.Not(self._false))
            case "count":
                return z3.Sum(self.zero, *(z3.If(z3.And(there, body), self.one, self.zero) for there, body in bodies))
            case "sum":
                return z3.Sum(self.zero, *(z3.If(there, body, self.zero) for there, body in bodies))


# Questions to Z3 about rules: is there a situation in which these conditions hold? (extra ``z3``).

Answer = Literal["yes", "no", "open"]
"""Whether a situation exists in which the conditions hold. ``open``: Z3 found no answer within its limits."""
_SECONDS = 5.0
_MEGABYTES = 1024
_LONGEST_LIST = 8


def bound_for(nodes: Iterable[Node]) -> int:
    numbers = [
        int(part.value)  # type: ignore[arg-type]
        for node in nodes
        for part in walk(node)
        if isinstance(part, Constant) and isinstance(part.kind, Number) and part.kind.whole
    ]
    return max([3, *(number + 1 for number in numbers if 0 <= number < _LONGEST_LIST)])


class Questions:
    """Asks Z3 questions about the rules over one *tool* (``None``: any tool).

    The conditions of the rules, *nodes*, determine the bound on list lengths. Z3 may use 5 seconds and 1 GB for one
    question.
    """

    def __init__(self, schema: Schema, tool: str | None, moment: Any, nodes: Iterable[Node]) -> None:
        self.encoder = Encoder(schema.scope(tool, moment), bound_for(nodes))
        self._made: dict[Node, Term] = {}

    def truth(self, node: Node) -> Term:
        if node not in self._made:
            try:
                self._made[node] = self.encoder.truth(node)
            except TooLargeError as error:
                self._made[node] = error
        made = self._made[node]
        if isinstance(made, TooLargeError):
            raise made
        return made

    def kept(self, rule: Rule) -> Term:
        return z3.Implies(self.truth(rule.when), self.truth(rule.require))

    def broken(self, rule: Rule) -> Term:
        return z3.Not(self.kept(rule))

    def lengths(self, called: Mapping[str, bool]) -> list[Term]:
        bounds = []
        for tool, was in called.items():
            length = self.encoder.length(self.encoder.calls_of(tool))
            bounds.append(length >= 1 if was else length == 0)
        return bounds

    def ask(self, conditions: Sequence[Term]) -> Answer:
        answer, _ = self.ask_why({str(number): condition for number, condition in enumerate(conditions)})
        return answer

    def ask_why(self, conditions: Mapping[str, Term]) -> tuple[Answer, tuple[str, ...]]:
        # If the answer is `no`, the second part of the result has sorted names of conditions that cannot be true
        # together. It may be empty.
        solver = self._solver()
        for name, condition in conditions.items():
            solver.assert_and_track(condition, z3.Bool(f"!{name}", self.encoder.context))
        outcome = solver.check()
        if outcome == z3.unsat:
            return "no", tuple(sorted(label.decl().name().removeprefix("!") for label in solver.unsat_core()))
        return ("yes" if outcome == z3.sat else "open"), ()

    def script(self, conditions: Sequence[Term]) -> str:
        solver = self._solver()
        solver.add(*conditions)
        return str(solver.to_smt2())

    def _solver(self) -> Any:
        solver = z3.Solver(ctx=self.encoder.context)
        solver.set("timeout", int(_SECONDS * 1000))
        solver.set("max_memory", _MEGABYTES)
        solver.add(*self.encoder.domain())
        return solver


def smtlib(rule: Rule, schema: Schema) -> str:
    # A script is satisfiable if a call of its tool can break the rule, with lists of limited length and all values
    # known. It may be satisfiable although no call can.
    scripts = []
    for tool in rule.over():
        questions = Questions(schema, tool, rule.moment, (rule.when, rule.require))
        try:
            script = questions.script([questions.broken(rule)])
        except TooLargeError as error:
            script = f"; {error}\n"
        scripts.append(
            f"; {rule.id}, over {tool or 'any tool'}; lists of at most {questions.encoder.bound} items\n{script}"
        )
    return "\n".join(scripts)


# Defects that Z3 finds in rules: rules that never decide, rules that contradict each other, unreachable tools.

_MOST_STATES = 64
_MOST_OPEN = 3
"""After this many unanswered questions about a rule, its remaining pairs are skipped."""


_UNANSWERED = "Z3 did not find out whether it is so: simplify the rule, or review it by hand"


def vacuous(rule: Rule, schema: Schema) -> Iterator[AdmissionProblem]:
    # Yield a defect for each tool of `rule` for which the rule can never apply, never be broken, or never be kept.
    for tool in rule.over():
        where = f"over {tool}" if tool else "over any tool"
        asked = Questions(schema, tool, rule.moment, (rule.when, rule.require))
        try:
            when, require, broken = asked.truth(rule.when), asked.truth(rule.require), asked.broken(rule)
        except TooLargeError as error:
            yield AdmissionProblem("open", (rule.id,), str(error))
            continue
        questions = [
            ([when], f"'when' must be true in some situation {where}", "it never is: correct 'when'"),
            ([broken], f"a call {where} must be able to break 'require'", "none can: correct 'require'"),
        ]
        if not (isinstance(rule.require, Constant) and rule.require.value is False):  # a prohibition is never kept
            finding = "none can: correct 'require', or write 'false' for a prohibition"
            questions.append(([when, require], f"a call {where} must be able to keep 'require'", finding))
        for conditions, needed, finding in questions:
            if (answer := asked.ask(conditions)) != "yes":
                yield _problem(answer, "vacuous", (rule.id,), needed, finding)
                break


def _problem(answer: Answer, reason: Reason, rules: tuple[str, ...], needed: str, finding: str) -> AdmissionProblem:
    if answer == "open":
        return AdmissionProblem("open", rules, f"{needed}, and {_UNANSWERED}")
    return AdmissionProblem(reason, rules, f"{needed}, and {finding}")


def _over(rules: Sequence[Rule], tool: str | None, moment: WhenJudged = "before") -> list[Rule]:
    return [rule for rule in rules if rule.moment == moment and (rule.looks_at(tool) if tool else not rule.tools)]


def _asked(rules: Sequence[Rule], schema: Schema, tool: str | None) -> Questions:
    return Questions(schema, tool, "before", [node for rule in rules for node in (rule.when, rule.require)])


def contradictions(
    rules: Sequence[Rule], schema: Schema, on_tool: Callable[[], None] = lambda: None
) -> Iterator[AdmissionProblem]:
    # Two rules contradict each other if both apply to some call, and the call can obey either of them, but not both.
    # Rules with a formula that is too large are left out.
    seen = set[tuple[str, str]]()
    unanswered: Counter[str] = Counter()
    for tool in schema.tools:
        over = _over(rules, tool)
        asked = _asked(over, schema, tool)
        for one, other in combinations(over, 2):
            pair = (one.id, other.id)
            if pair in seen or max(unanswered[name] for name in pair) >= _MOST_OPEN:
                continue
            answer = _exclude(asked, one, other)
            if answer == "no":
                continue
            if answer == "yes":
                seen.add(pair)
            else:
                unanswered.update(pair)
            needed = f"a call of {tool} to which both rules apply must be able to keep both"
            yield _problem(answer, "contradiction", pair, needed, "none can: correct one of them")
        on_tool()


def _exclude(asked: Questions, one: Rule, other: Rule) -> Answer:
    try:
        both = [asked.truth(one.when), asked.truth(other.when)]
        first, second = asked.truth(one.require), asked.truth(other.require)
    except TooLargeError:
        return "no"  # each rule is reported by itself as too large
    together = asked.ask([*both, first, second])
    if together != "no":
        return "no" if together == "yes" else "open"
    alone = {asked.ask([*both, first]), asked.ask([*both, second])}
    return "no" if "no" in alone else "open" if "open" in alone else "yes"


@dataclass(slots=True)
class _Way:
    """The result of the search in :func:`deadlocks` for one tool.

    *enabled*: some call of the tool breaks no rule, or this is not known. *core*: the ids of rules that together
    forbade every call when the tool was last examined. *unanswered*: Z3 gave no answer.
    """

    enabled: bool = False
    core: tuple[str, ...] = ()
    unanswered: bool = False


def deadlocks(rules: Sequence[Rule], schema: Schema, depth: int = 6) -> Iterator[AdmissionProblem]:
    # Data other than the set of called tools is unconstrained, so a tool that is not reported may still be unreachable.
    mentioned = sorted({name for rule in rules for name in _called(rule)} & set(schema.tools))
    tools = [tool for tool in schema.tools if _over(rules, tool)]
    asked = {tool: _asked(_over(rules, tool), schema, tool) for tool in tools}
    ways = {tool: _Way() for tool in tools}
    free = [tool for tool in mentioned if tool not in asked]
    queue, seen = deque([(frozenset[str](), 0)]), {frozenset[str]()}
    is_cut_off = False
    while queue:
        called, steps = queue.popleft()
        able = [*free, *(tool for tool in tools if _enabled(tool, rules, asked[tool], called, mentioned, ways[tool]))]
        new = [after for tool in able if (after := called | ({tool} & set(mentioned))) not in seen]
        examined = new[: max(_MOST_STATES - len(seen), 0)] if steps < depth else []
        is_cut_off = is_cut_off or len(examined) < len(new)
        seen.update(examined)
        queue.extend((after, steps + 1) for after in examined)
    for tool, way in ways.items():
        if way.unanswered:
            names = tuple(rule.id for rule in _over(rules, tool))
            needed = f"a sequence of calls must lead to a call of {tool} that keeps these rules"
            yield _problem("open", "deadlock", names, needed, "")
        if not way.enabled and way.core:
            # Only a complete search shows that there is no sequence.
            finding = (
                "none that was examined does: simplify the rules, or review them by hand"
                if is_cut_off
                else "none does: correct one of them"
            )
            yield AdmissionProblem(
                "open" if is_cut_off else "deadlock",
                way.core,
                f"a sequence of calls must lead to a call of {tool} that keeps all of these rules, and {finding}",
            )


def _called(rule: Rule) -> Iterator[str]:
    for node in (*walk(rule.when), *walk(rule.require)):
        if isinstance(node, Apply) and node.function == "calls" and isinstance(node.arguments[0], Constant):
            yield str(node.arguments[0].value)


def _enabled(
    tool: str, rules: Sequence[Rule], asked: Questions, called: frozenset[str], mentioned: Sequence[str], way: _Way
) -> bool:
    if way.unanswered:
        return True
    over: Mapping[str, Rule] = {rule.id: rule for rule in _over(rules, tool)}
    try:
        conditions = {name: asked.kept(rule) for name, rule in over.items()}
    except TooLargeError:
        way.enabled = True  # not known: no defect is reported
        return True
    history = {f" {at}": term for at, term in enumerate(asked.lengths({name: name in called for name in mentioned}))}
    answer, core = asked.ask_why({**conditions, **history})
    if answer == "no":
        way.core = tuple(name for name in core if name in over)
        return False
    way.enabled, way.unanswered = True, answer == "open"
    return True


# Equivalence of two rules in all situations (extra ``z3``).


def same_rule(one: Rule, other: Rule, schema: Schema) -> Answer:
    # `yes`: Z3 proved it, for lists up to a bound and with all values known. `no`: it found a difference, perhaps only
    # for results that no data gives. `open`: Z3 found no answer, or a formula is too large. Only calls that `one`
    # judges are examined.
    nodes = (one.when, one.require, other.when, other.require)
    for tool in one.over():
        asked = Questions(schema, tool, one.moment, nodes)
        try:
            applies = asked.ask([z3.Xor(asked.truth(one.when), asked.truth(other.when))])
            breaks = asked.ask([z3.Xor(asked.broken(one), asked.broken(other))])
        except TooLargeError:
            return "open"
        if "yes" in (applies, breaks):
            return "no"
        if "open" in (applies, breaks):
            return "open"
    return "yes"
