"""What a policy makes of recorded runs: which fields it reads were never there, and which rules never decided.

Admission sees a rule's own examples, and whoever writes a rule that reads a field by a wrong name writes its examples
with that name. Results of real calls do not have it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, assert_never

import msgspec

from interwhen.models.base import Message
from interwhen.policy.checking import Scope, kind_of
from interwhen.policy.globs import name_fits
from interwhen.policy.kinds import Kind, ListOf, MapOf, PairsOf, Record
from interwhen.policy.lexer import ExpressionError
from interwhen.policy.nodes import Field, Node, Quantified, children
from interwhen.policy.policies import WrittenPolicy
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Moment
from interwhen.policy.situations import MadeCall, Situation, Talk
from interwhen.policy.tables import Learning, State
from interwhen.verdicts import Pass, Unknown, Verdict, Violation

_MOMENTS: tuple[Moment, ...] = ("before", "after")
Entry: TypeAlias = tuple[str, str]
"""A field of a record, by the names of both."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a rule passed a recorded call, broke it, could not decide, or did not apply."""

    keeps: int = 0
    breaks: int = 0
    unknown: int = 0
    not_applicable: int = 0
    why_unknown: str = ""
    """The reason that was given most often."""

    @property
    def decided(self) -> bool:
        """Whether it has ever decided anything."""
        return bool(self.keeps or self.breaks)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a policy made of recorded runs."""

    calls: int
    results: int
    """How many of the calls have a result that is data."""
    tallies: Mapping[str, Tally]
    """For each rule, by its id."""
    unseen: Mapping[Entry, tuple[str, ...]]
    """Fields that no result had, although results held records of that name; each with the rules that read it."""
    never_returned: Mapping[str, tuple[str, ...]]
    """Records of which no result held any; each with the rules that read it."""

    @property
    def undecided(self) -> tuple[str, ...]:
        """Return the rules that applied, or may have, and never decided."""
        return tuple(name for name, one in self.tallies.items() if one.unknown and not one.decided)


@dataclass
class _Seen:
    """What was seen in results."""

    records: Counter[str] = field(default_factory=Counter)
    fields: Counter[Entry] = field(default_factory=Counter)


def replay(policy: WrittenPolicy, runs: Iterable[Iterable[MadeCall | Talk]], state: State | None = None) -> Replayed:
    """Judge each recorded call by *policy*, and see what its results hold.

    Each of *runs* holds calls and, before each of them, what had been said by then. *state* is the state before a run.
    """
    seen = _Seen()
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
        {name: _tally(counts[name], reasons[name]) for name in counts},
        _by_rules(read, lambda entry: bool(seen.records[entry[0]]) and not seen.fields[entry]),
        {
            record: tuple(sorted({rule for rule, entries in read.items() if any(one[0] == record for one in entries)}))
            for record in sorted({entry[0] for entries in read.values() for entry in entries})
            if not seen.records[record]
        },
    )


def run_of(messages: Iterable[Message]) -> Iterator[MadeCall | Talk]:
    """Return the calls of a conversation in order, each with its result, and what had been said before each turn."""
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
            for call, result in zip(message.calls, results, strict=True):
                with contextlib.suppress(ValueError, RecursionError):
                    yield MadeCall(call.name, call.values(), result)
            spoken = spoken or bool(message.content.strip())


def _results(later: list[Message], turn: Message) -> list[Any]:
    """Return what came back for each call of *turn*: by id, else in order; ``None`` where nothing did."""
    answers = list(itertools.takewhile(lambda one: one.role == "tool", later))
    by_id = {one.call_id: one for one in answers if one.call_id}
    found = []
    for number, call in enumerate(turn.calls):
        answer = by_id.get(call.id) if call.id else None
        if answer is None and not by_id and number < len(answers):
            answer = answers[number]
        found.append(None if answer is None else _data(answer.content))
    return found


def _data(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _situation(
    policy: WrittenPolicy, call: MadeCall, state: State, made: list[MadeCall], talk: Talk | None, moment: Moment
) -> Situation:
    # A run was recorded at a time that nobody knows; rules about the time are then undecided.
    now = policy.now if isinstance(policy.now, dt.datetime) else None
    result = call.result if moment == "after" else None
    return Situation(call.tool, call.arguments, state, tuple(made), talk, 0, now, result)


def _judge(
    policy: WrittenPolicy,
    situation: Situation,
    moment: Moment,
    counts: Mapping[str, Counter[str]],
    reasons: Mapping[str, Counter[str]],
) -> None:
    for rule in policy.rules:
        if rule.moment != moment or not rule.looks_at(situation.tool):
            continue
        verdict = rule.judge(situation, policy.schema)
        counts[rule.id][_word(verdict)] += 1
        if isinstance(verdict, Unknown):
            reasons[rule.id][verdict.why[:160]] += 1


def _word(verdict: Verdict | None) -> str:
    match verdict:
        case Pass():
            return "keeps"
        case Violation():
            return "breaks"
        case Unknown():
            return "unknown"
        case None:
            return "not_applicable"
        case _:
            assert_never(verdict)


def _tally(counts: Counter[str], reasons: Counter[str]) -> Tally:
    most = reasons.most_common(1)
    return Tally(**counts, why_unknown=most[0][0] if most else "")


def _look(raw: Any, kind: Kind, seen: _Seen) -> None:
    """Note which records and fields *raw* holds, as its *kind* names them."""
    match kind:
        case Record(name=name, fields=fields) if isinstance(raw, Mapping):
            seen.records[name] += 1
            for one, inner in fields:
                if raw.get(one) is not None:
                    seen.fields[name, one] += 1
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
    """Yield the fields of returned records that *rule* reads, itself or by what is learned for it."""
    known = set(_records_of(policy))
    for tool in rule.over():
        scope = policy.schema.scope(tool, rule.moment)
        nodes = (rule.when, rule.require)
        found = {entry for node in nodes for entry in _read(node, scope) if entry[0] in known}
        tables = {name for node in nodes for name in _tables(node)}
        for learning in policy.learnings:
            if learning.table in tables and learning.value is not None:
                found |= {
                    entry for one in learning.tools for entry in _learned(one, learning, policy) if entry[0] in known
                }
        yield from found


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
        if isinstance(of, Record):
            yield of.name, node.name
    if isinstance(node, Quantified):
        yield from _read(node.source, scope)
        yield from _read(node.body, _inside(node, scope))
        return
    for child in children(node):
        yield from _read(child, scope)


def _inside(node: Quantified, scope: Scope) -> Scope:
    match kind_of(node.source, scope), node.names:
        case ListOf(item=PairsOf(left=left, right=right)), (one, other):
            return scope.adding({one: left, other: right})
        case ListOf(item=item), (one,):
            return scope.adding({one: item})
        case _:
            return scope


def _tables(node: Node) -> Iterator[str]:
    match node:
        case Field(of=of, name=name) if getattr(of, "name", "") == "state":
            yield name
        case _:
            pass
    for child in children(node):
        yield from _tables(child)


def _records_of(policy: WrittenPolicy) -> Iterator[str]:
    """Yield the names of the records that tools return, at any depth."""
    waiting = [tool.returns for tool in policy.schema.tools.values()]
    while waiting:
        match waiting.pop():
            case Record(name=name, fields=fields):
                yield name
                waiting.extend(kind for _, kind in fields)
            case ListOf(item=item):
                waiting.append(item)
            case MapOf(value=value):
                waiting.append(value)
            case _:
                pass


def _by_rules(read: Mapping[str, frozenset[Entry]], wanted: Any) -> dict[Entry, tuple[str, ...]]:
    entries = sorted({entry for found in read.values() for entry in found if wanted(entry)})
    return {entry: tuple(sorted(rule for rule, found in read.items() if entry in found)) for entry in entries}
