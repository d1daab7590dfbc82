"""Static admission checks for rules: quotations, kinds, examples, vacuity, contradictions, deadlocks and mutants."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen._types.extensions import OnProgress
from interwhen._types.models import Message
from interwhen._types.verdicts import Pass, Unknown, Verdict, Violation
from interwhen.policy import _limits
from interwhen.policy._builtins import builtin
from interwhen.policy._evaluation import steps_of
from interwhen.policy._files import PARTS, check_keys, read_situation
from interwhen.policy._kind_check import Scope, kind_of
from interwhen.policy._kinds import Bool, Kind, ListOf, MapOf, Quantity, RecordOf, Text, parts_of
from interwhen.policy._limits import name_fits
from interwhen.policy._rules import AdmissionProblem, Example, Rule, WrittenPolicy, misfit_of, problems_of
from interwhen.policy._schemas import MadeCall, Schema, Situation, Talk, WhenJudged
from interwhen.policy._state import Learning, State
from interwhen.policy._syntax import (
    Apply,
    Constant,
    ExpressionError,
    Field,
    Listed,
    Name,
    Node,
    Quantified,
    children,
    rebuild,
    show,
    walk,
)

# Mutants of a rule: copies with one small mistake, which the examples of the rule must detect.

_TRUE = Constant(True, Bool())


class Mutant(NamedTuple):
    """A rule with one mistake in it."""

    rule: Rule
    says: str
    """The changed condition, as text."""


def mutants(rule: Rule, schema: Schema, *, most: int = 150, seed: int = 0) -> tuple[Mutant, ...]:
    """Return at most *most* mutants of *rule* that pass the type check. *seed* selects and orders them."""
    words = tuple(sorted(set(_words_of(schema)), key=sorted))
    by_text: dict[str, Mutant] = {}
    for part in ("when", "require"):
        node: Node = getattr(rule, part)
        for one in _mistakes(node, words):
            if one != node:
                says = f"{part}: {show(one)}"
                change: dict[str, Any] = {part: one}
                by_text.setdefault(says, Mutant(replace(rule, **change), says))
    order = sorted(by_text.values(), key=lambda mutant: hashlib.sha256(f"{seed} {mutant.says}".encode()).digest())
    fitting = (mutant for mutant in order if not misfit_of(mutant.rule, schema))
    return tuple(mutant for _, mutant in zip(range(most), fitting, strict=False))


def _mistakes(node: Node, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    yield _not(node)
    yield _TRUE
    yield from replaced_below(node, words)


def replaced_below(node: Node, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    # Mistakes are, for example, another comparison, a number that is 1 greater, or a part that is left out. `words` are
    # the sets of allowed words in the schema.
    yield from _changes(node, words)
    if isinstance(node, Apply) and builtin(node).is_opaque:
        return
    below = children(node)
    for at, child in enumerate(below):
        for other in replaced_below(child, words):
            yield rebuild(node, (*below[:at], other, *below[at + 1 :]))


def _changes(node: Node, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    match node:
        case Quantified(op=op) if op in ("any", "all"):
            yield replace(node, op="all" if op == "any" else "any")
        case Listed(items=items) if len(items) > 1:
            for at in range(len(items)):
                yield Listed(items[:at] + items[at + 1 :])
        case Constant():
            yield from _other_constants(node, words)
        case Apply():
            yield from (replace(node, function=twin) for twin in builtin(node).twins)
            yield from _other_arguments(node)


def _other_arguments(node: Apply) -> Iterator[Node]:
    match node.function, node.arguments:
        case "and" | "or", parts:
            for at in range(len(parts)):
                left = parts[:at] + parts[at + 1 :]
                yield left[0] if len(left) == 1 else replace(node, arguments=left)
        case "not" | "assume", parts:
            yield from parts
        case "in", _:
            yield _not(node)
        case "if", (condition, then, otherwise):
            yield Apply("if", (condition, otherwise, then))


def _not(node: Node) -> Node:
    return Apply("not", (node,))


def _other_constants(node: Constant, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    match node.value:
        case bool():
            yield replace(node, value=not node.value)
        case Fraction():
            step = 3600 if isinstance(node.kind, Quantity) and node.kind.dimension == "time" else 1
            yield from (replace(node, value=node.value + change) for change in (step, -step))
        case str():
            for listed in words:
                if node.value in listed:
                    order = sorted(listed)
                    other = order[(order.index(node.value) + 1) % len(order)]
                    yield Constant(other, Text(frozenset({other})))
            yield Constant("mutant", Text(frozenset({"mutant"})))
        case dt.date():
            shift = dt.timedelta(hours=1) if isinstance(node.value, dt.datetime) else dt.timedelta(days=1)
            yield from (replace(node, value=node.value + change) for change in (shift, -shift))


def _words_of(schema: Schema) -> Iterator[frozenset[str]]:
    tools = (kind for tool in schema.tools.values() for kind in (tool.arguments, tool.returns))
    for kind in (schema.state, *tools):
        for part in parts_of(kind):
            if isinstance(part, Text) and part.words:
                yield part.words


# The clauses of a policy's text, and the rules that quote each of them.

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_WORDS = 4
"""The fewest words of a clause. A shorter sentence, such as a heading, is not a clause."""


@dataclass(frozen=True, slots=True)
class Covered:
    """A clause, and the rules that quote it."""

    clause: str
    rules: tuple[str, ...]
    """The ids of these rules."""
    examples: int
    """How many examples these rules have."""
    fired: int
    """How many violations these rules found in recorded calls. Without such calls: how many of their examples expect
    ``breaks``."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The clauses of a policy, in the order of the text."""

    clauses: tuple[Covered, ...]

    @property
    def without(self) -> tuple[str, ...]:
        """The clauses that no rule quotes."""
        return tuple(covered.clause for covered in self.clauses if not covered.rules)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def sentences(text: str) -> list[str]:
    # A sentence ends with `.`, `!` or `?` if a capital letter, a quotation mark or `(` follows.
    return _SENTENCE_END.split(squeezed(text))


def clauses(text: str) -> Iterator[str]:
    # Headings (lines that begin with `#`) and sentences of fewer than four words are left out.
    for block in _blocks(text):
        yield from (sentence for sentence in sentences(block) if len(sentence.split()) >= _WORDS)


def _blocks(text: str) -> Iterator[str]:
    block: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        begins = stripped.startswith(("- ", "* ", "+ ", "#")) or re.match(r"\d{1,3}[.)] ", stripped) is not None
        if (begins or not stripped) and block:
            yield "\n".join(block)
            block = []
        if stripped and not stripped.startswith("#"):
            block.append(re.sub(r"^(?:[-*+]|\d{1,3}[.)]) ", "", stripped))
    if block:
        yield "\n".join(block)


def coverage(text: str, rules: Sequence[Rule], fired: Mapping[str, int]) -> Coverage:
    """Return each clause of *text* with those of *rules* that quote it, a part of it, or a longer text around it."""
    quotes = [
        (rule, [part for clause in rule.clauses for part in _SENTENCE_END.split(squeezed(clause))]) for rule in rules
    ]
    covered = []
    for clause in clauses(text):
        covering = [rule for rule, quoted in quotes if any(quote in clause or clause in quote for quote in quoted)]
        names = tuple(rule.id for rule in covering)
        examples = sum(len(rule.examples) for rule in covering)
        covered.append(Covered(clause, names, examples, sum(fired.get(name, 0) for name in names)))
    return Coverage(tuple(covered))


KILLED = 0.95
"""The share of the mutants of a rule that its examples must detect."""
_MOST_OPEN = 3
"""After this many unanswered questions about a rule, Z3 is not asked again: a hard rule may be an attack."""


@dataclass(frozen=True, slots=True)
class MutantTally:
    """How many mutants of a rule its examples detected (*killed*), and which ones they missed (*survivors*)."""

    killed: int
    equal: int
    """How many of the mutants that the examples missed are equivalent to the rule, as Z3 proved for lists within the
    bound. They are not among the survivors."""
    survivors: tuple[str, ...]
    """The changed conditions of the mutants that the examples missed, as text."""

    @property
    def score(self) -> float:
        """The share of the mutants that the examples detected, from 0 to 1.

        Mutants that are proven to be equivalent are not counted. 1 if there are no others.
        """
        return _share((self,))


def _share(tallies: Iterable[MutantTally]) -> float:
    listed = tuple(tallies)
    killed = sum(tally.killed for tally in listed)
    different = killed + sum(len(tally.survivors) for tally in listed)
    return killed / different if different else 1.0


@dataclass(frozen=True, slots=True)
class Admission:
    """The results of the admission checks of a policy."""

    policy: str
    admitted: tuple[str, ...]
    """The ids of the admitted rules."""
    problems: tuple[AdmissionProblem, ...]
    mutants: Mapping[str, MutantTally]
    """The tallies by rule id. Rules that fail the type check, or whose examples are wrong, have none."""
    coverage: Coverage

    def problems_of(self, rule: str) -> tuple[AdmissionProblem, ...]:
        return tuple(problem for problem in self.problems if rule in problem.rules)

    @property
    def killed(self) -> float:
        """The share of the mutants of all rules that the examples detected; see :attr:`MutantTally.score`."""
        return _share(self.mutants.values())


def outcome(verdict: Verdict | None) -> str:
    match verdict:
        case None:
            return "not applicable"
        case Pass():
            return "keeps"
        case Violation():
            return "breaks"
        case Unknown():
            return "unknown"


def admit(
    policy: WrittenPolicy,
    *,
    seed: int = 0,
    fired: Mapping[str, int] | None = None,
    on_progress: OnProgress | None = None,
) -> Admission:
    """Run the admission checks on the rules of *policy*.

    A rule is admitted if all of these hold:

    - its id is its own, it quotes the policy word for word, and passes the type check;
    - at least one example keeps it and one breaks it, and each example has the outcome that it expects;
    - it can apply, be kept (unless it is a prohibition) and be broken;
    - Z3 finds no contradiction with another rule, and no tool that the rules make unreachable;
    - its examples detect at least 95 % of its mutants, which *seed* selects.

    The fourth point is searched only for rules that judge before a call. A question that Z3 cannot decide is a problem,
    too (its reason is ``open``). If some rules of a conflict also have other problems, only these rules are blamed for
    it.

    *fired* has the number of violations that each rule found in recorded calls, for the coverage (``None``: the number
    of examples that expect ``breaks``). *on_progress* is called with the number of checked rules and tools, and of all.
    Raises :class:`~interwhen.toolkit.MissingExtraError` without the extra ``z3``.
    """
    from interwhen.policy._smt import contradictions, deadlocks, vacuous

    counted = Counter(rule.id for rule in policy.rules).items()
    doubles = ((name, times) for name, times in counted if times > 1)
    problems = [
        AdmissionProblem(
            "kinds", (name,), f"the id of each rule must be its own, got {name!r} for {times} rules: rename all but one"
        )
        for name, times in doubles
    ]
    fitting: list[Rule] = []
    tallies: dict[str, MutantTally] = {}
    done, steps = 0, len(policy.rules) + len(policy.schema.tools)

    def advance() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, steps)

    for rule in _each(policy.rules, advance):
        problems += _misquoted(rule, policy.text)
        unfit = [AdmissionProblem("kinds", (rule.id,), says) for says in problems_of(rule, policy.schema)]
        if unfit:
            problems += unfit
            continue
        fitting.append(rule)
        problems += vacuous(rule, policy.schema)
        wrong = [AdmissionProblem("examples", (rule.id,), says) for says in _wrong_examples(rule, policy.schema)]
        problems += wrong
        if not wrong:
            tallies[rule.id] = tally(rule, policy.schema, seed=seed)
            problems += _survivors(rule, tallies[rule.id])
    for conflict in (*contradictions(fitting, policy.schema, advance), *deadlocks(fitting, policy.schema)):
        # A rule that has another problem already is taken as the cause of the conflict.
        troubled = {name for problem in problems for name in problem.rules} & set(conflict.rules)
        problems.append(replace(conflict, rules=tuple(sorted(troubled)) or conflict.rules))
    refused = {name for problem in problems for name in problem.rules}
    admitted = tuple(rule.id for rule in policy.rules if rule.id not in refused)
    broken = (rule.id for rule in policy.rules for example in rule.examples if example.expect == "breaks")
    counts = Counter(broken) if fired is None else fired
    return Admission(policy.name, admitted, tuple(problems), tallies, coverage(policy.text, policy.rules, counts))


def _each(rules: Iterable[Rule], advance: Callable[[], None]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        advance()


def _misquoted(rule: Rule, text: str) -> Iterator[AdmissionProblem]:
    for clause in rule.clauses:
        if len(re.findall(r"\w+", clause)) < 2 or squeezed(clause) not in squeezed(text):
            yield AdmissionProblem(
                "quote",
                (rule.id,),
                f"a clause must quote at least two words of the policy, got {clause[:160]!r}, which is not "
                "in its text: quote it exactly",
            )


def _wrong_examples(rule: Rule, schema: Schema) -> Iterator[str]:
    expected = {example.expect for example in rule.examples}
    for needed in ("keeps", "breaks"):
        if needed not in expected:
            yield f"a rule must have an example that {needed} it, got none: add one"
    steps = sum(
        steps_of(node, example.situation, schema) for example in rule.examples for node in (rule.when, rule.require)
    )
    if steps > _limits.EXAMPLE_STEPS:
        yield (
            f"the examples of a rule must take at most {_limits.EXAMPLE_STEPS:,} steps to judge, got {steps:,}: "
            "make them smaller"
        )
        return
    for example in rule.examples:
        said = example_outcome(rule, example, schema)
        if said != example.expect:
            yield (
                f"the rule must give {example.expect!r} for the example {example.name!r}, got {said!r}: correct "
                "the rule or the example"
            )


def example_outcome(rule: Rule, example: Example, schema: Schema) -> str:
    if not rule.looks_at(example.situation.tool):
        return "not applicable"
    return outcome(rule.judge(example.situation, schema))


def _survivors(rule: Rule, mutant_tally: MutantTally) -> Iterator[AdmissionProblem]:
    if mutant_tally.score < KILLED:
        listed = "; ".join(mutant_tally.survivors[:3])
        says = (
            f"the examples of a rule must notice {KILLED:.0%} of the mistakes that are tried, got "
            f"{mutant_tally.score:.0%}: add examples that notice {listed}"
        )
        yield AdmissionProblem("mutants", (rule.id,), says[:900])


def tally(rule: Rule, schema: Schema, *, seed: int = 0) -> MutantTally:
    # Needs the extra `z3`. A mutant that the examples do not detect counts as equivalent if Z3 proves it, else as a
    # survivor. `seed` selects the mutants.
    from interwhen.policy._smt import same_rule

    killed, equal, opened, survivors = 0, 0, 0, []
    for mutant in mutants(rule, schema, seed=seed):
        if any(example_outcome(mutant.rule, example, schema) != example.expect for example in rule.examples):
            killed += 1
            continue
        same = same_rule(rule, mutant.rule, schema) if opened < _MOST_OPEN else "open"
        opened += same == "open"
        if same == "yes":
            equal += 1
        else:
            survivors.append(mutant.says)
    return MutantTally(killed, equal, tuple(survivors))


# Recorded situations, in which the violations of each rule are counted.


def fired_in(policy: WrittenPolicy, path: Path) -> Counter[str]:
    # Rules that judge after the call are left out. Each line is a JSON object with the keys of an example, or blank.
    # Raises `UsageError` for a file or a line that cannot be read.
    counts: Counter[str] = Counter()
    now = policy.now if policy.now != "clock" else None
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    counts.update(_fired_in_recording(policy, line, now, f"{str(path)!r}, line {number}"))
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"the recorded situations must be readable UTF-8 text, got {str(path)!r} ({error}): correct the "
            "path or the file"
        ) from error
    return counts


def _fired_in_recording(policy: WrittenPolicy, line: str, now: Any, where: str) -> list[str]:
    try:
        parts = msgspec.json.decode(line, type=dict[str, Any])
        check_keys(parts, (*PARTS, "name", "expect"))
        situation = read_situation(parts, policy.schema, now)
    except (ValueError, TypeError, AttributeError, *DECODE_ERRORS) as error:
        raise UsageError(
            f"{where}: must be a situation as JSON, got something else ({str(error)[:200]}): correct or "
            "remove this line"
        ) from error
    return [judged.rule.id for judged in policy.judge(situation) if isinstance(judged.verdict, Violation)]


# Replay of a policy on recorded runs: finds fields that rules read but no result has, and rules that never decide.
#
# If a rule reads a field by a wrong name, its examples usually have the same wrong name, so the admission checks do not
# find the mistake. The results of real calls do not have the field.

_MOMENTS: tuple[WhenJudged, ...] = ("before", "after")
Entry: TypeAlias = tuple[str, str]
"""The name of a record, and the name of one of its fields."""


@dataclass(frozen=True, slots=True)
class ReplayTally:
    """Counts the recorded calls of the tools that a rule judges, by outcome."""

    keeps: int = 0
    breaks: int = 0
    unknown: int = 0
    not_applicable: int = 0
    why_unknown: str = ""
    """The most frequent reason for an unknown outcome, at most 160 characters."""

    @property
    def decided(self) -> bool:
        return bool(self.keeps or self.breaks)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of :func:`replay`."""

    calls: int
    results: int
    """How many of the calls have a JSON object or a JSON array as their result."""
    tallies: Mapping[str, ReplayTally]
    """The tallies by rule id."""
    unseen: Mapping[Entry, tuple[str, ...]]
    """Fields that no result had, although results had their record; with the ids of the rules that read them."""
    never_returned: Mapping[str, tuple[str, ...]]
    """Records that no result had; with the ids of the rules that read them."""

    @property
    def undecided(self) -> tuple[str, ...]:
        return tuple(name for name, one in self.tallies.items() if one.unknown and not one.decided)


def replay(policy: WrittenPolicy, runs: Iterable[Iterable[MadeCall | Talk]], state: State | None = None) -> Replayed:
    # A `Talk` before a call gives the conversation so far. `state` is the state at the start of each run.
    seen: Counter[tuple[str, ...]] = Counter()  # of records, as (record,), and of fields with a value, as entries
    counts: dict[str, Counter[str]] = {rule.id: Counter() for rule in policy.rules}
    reasons: dict[str, Counter[str]] = {rule.id: Counter() for rule in policy.rules}
    calls = results = 0
    for run in runs:
        now: State = dict(state or {})
        made: list[MadeCall] = []
        talk: Talk | None = None
        for entry in run:
            if isinstance(entry, Talk):
                talk = entry
                continue
            calls += 1
            results += isinstance(entry.result, dict | list)
            _look(entry.result, policy.schema.result_of(entry.tool), seen)
            for moment in _MOMENTS:
                _judge(policy, _situation(policy, entry, now, made, talk, moment), moment, counts, reasons)
            now = policy.learn(now, entry)
            made.append(entry)
    read = {rule.id: frozenset(_fields_read(rule, policy)) for rule in policy.rules}
    return Replayed(
        calls,
        results,
        {name: ReplayTally(**counter, why_unknown=_most(reasons[name])) for name, counter in counts.items()},
        _by_rules(read, lambda entry: bool(seen[entry[:1]]) and not seen[entry]),
        {
            record: tuple(sorted({rule for rule, entries in read.items() if any(one[0] == record for one in entries)}))
            for record in sorted({entry[0] for entries in read.values() for entry in entries})
            if not seen[record,]
        },
    )


def run_of(messages: Iterable[Message]) -> Iterator[MadeCall | Talk]:
    # Before the calls of an assistant turn, yield the conversation so far as a `Talk`, if the assistant has sent text
    # before. A call whose arguments cannot be read is left out.
    listed = list(messages)
    users: list[str] = []
    spoken = told = False
    for at, message in enumerate(listed):
        if message.role == "user":
            users.append(message.content)
            told = spoken
        elif message.role == "assistant":
            if message.calls and spoken:
                yield Talk(tuple(users), told)
            results = _results(listed[at + 1 :], message)
            for beside, (call, result) in enumerate(zip(message.calls, results, strict=True)):
                with contextlib.suppress(ValueError, RecursionError):
                    yield MadeCall(call.name, call.values(), result, beside)
            spoken = spoken or bool(message.content.strip())


def _results(later: list[Message], turn: Message) -> list[Any]:
    # Return the result of each call of `turn`, `None` for a call without one. Ids decide; answers without any are
    # matched by their order.
    answers = list(itertools.takewhile(lambda one: one.role == "tool", later))
    by_id = {one.call_id: one for one in answers if one.call_id}
    results = []
    for number, call in enumerate(turn.calls):
        answer = by_id.get(call.id) if call.id else None
        if answer is None and not by_id and number < len(answers):
            answer = answers[number]
        results.append(None if answer is None else _data(answer.content))
    return results


def _data(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except DECODE_ERRORS:
        return text


def _situation(
    policy: WrittenPolicy, call: MadeCall, state: State, made: list[MadeCall], talk: Talk | None, moment: WhenJudged
) -> Situation:
    # The time of a recorded run is not known; rules about the time are then undecided.
    now = policy.now if isinstance(policy.now, dt.datetime) else None
    result = call.result if moment == "after" else None
    return Situation(call.tool, call.arguments, state, tuple(made), talk, call.beside, now, result)


def _judge(
    policy: WrittenPolicy,
    situation: Situation,
    moment: WhenJudged,
    counts: Mapping[str, Counter[str]],
    reasons: Mapping[str, Counter[str]],
) -> None:
    for rule in policy.rules:
        if rule.moment != moment or not rule.looks_at(situation.tool):
            continue
        verdict = rule.judge(situation, policy.schema)
        counts[rule.id][outcome(verdict).replace(" ", "_")] += 1
        if isinstance(verdict, Unknown):
            reasons[rule.id][verdict.why[:160]] += 1


def _most(reasons: Counter[str]) -> str:
    return reasons.most_common(1)[0][0] if reasons else ""


def _look(raw: Any, kind: Kind, seen: Counter[tuple[str, ...]]) -> None:
    match kind:
        case RecordOf(name=name, fields=fields) if isinstance(raw, Mapping):
            seen[name,] += 1
            for one, inner in fields:
                if raw.get(one) is not None:
                    seen[name, one] += 1
                    _look(raw[one], inner, seen)
        case ListOf(item=item) if isinstance(raw, list | tuple):
            for one in raw:
                _look(one, item, seen)
        case MapOf(value=value) if isinstance(raw, Mapping):
            for one in raw.values():
                _look(one, value, seen)
        case _:
            pass


def _fields_read(rule: Rule, policy: WrittenPolicy) -> Iterator[Entry]:
    known = set(_records_of(policy))
    for tool in rule.over():
        scope = policy.schema.scope(tool, rule.moment)
        nodes = (rule.when, rule.require)
        entries = {entry for node in nodes for entry in _read(node, scope) if entry[0] in known}
        tables = {name for node in nodes for name in _tables(node)}
        for learning in policy.learnings:
            if learning.table in tables and learning.value is not None:
                entries |= {
                    entry for one in learning.tools for entry in _learned(one, learning, policy) if entry[0] in known
                }
        yield from entries


def _learned(pattern: str, learning: Learning, policy: WrittenPolicy) -> Iterator[Entry]:
    for tool in policy.schema.tools:
        if not name_fits(tool, pattern):
            continue
        scope = policy.schema.scope(tool, "after")
        if learning.each is not None:
            listed = kind_of(learning.each, scope)
            assert isinstance(listed, ListOf)
            scope = scope.adding({"item": listed.item})
        for node in (*learning.keys, learning.value, *(node for _, node in learning.changes)):
            yield from () if node is None else _read(node, scope)


def _read(node: Node, scope: Scope) -> Iterator[Entry]:
    if isinstance(node, Field):
        try:
            of = kind_of(node.of, scope)
        except ExpressionError:
            of = None
        if isinstance(of, RecordOf):
            yield of.name, node.name
    if isinstance(node, Quantified):
        source = kind_of(node.source, scope)
        yield from _read(node.source, scope)
        yield from _read(node.body, scope.inside(node, source) if isinstance(source, ListOf) else scope)
        return
    for child in children(node):
        yield from _read(child, scope)


def _tables(node: Node) -> Iterator[str]:
    for part in walk(node):
        if isinstance(part, Field) and part.of == Name("state"):
            yield part.name


def _records_of(policy: WrittenPolicy) -> Iterator[str]:
    for tool in policy.schema.tools.values():
        yield from (part.name for part in parts_of(tool.returns) if isinstance(part, RecordOf))


def _by_rules(read: Mapping[str, frozenset[Entry]], wanted: Any) -> dict[Entry, tuple[str, ...]]:
    entries = sorted({entry for fields in read.values() for entry in fields if wanted(entry)})
    return {entry: tuple(sorted(rule for rule, fields in read.items() if entry in fields)) for entry in entries}
