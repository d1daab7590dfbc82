"""Evaluates expressions in a situation: to a value, or to the reason why the value is unknown. No Python code is run.

The logic is three-valued (Kleene). ``?`` is an unknown value. ``false and ?`` is false, ``true or ?`` is true, and
``any`` and ``all`` follow these rules. ``? in LIST`` is unknown. ``assume(?, B)`` is B. ``given(args.x)`` is true for a
null that was given, though its value is unknown. Most other operations on ``?`` are unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, assert_never

from interwhen.policy import _limits
from interwhen.policy._builtins import BUILTINS, OnNodes, bounded, combined
from interwhen.policy._kinds import Bool, ListOf, MapOf, PairsOf, RecordOf
from interwhen.policy._schemas import TALK, Schema, Situation
from interwhen.policy._syntax import Apply, Constant, Field, Index, Listed, Name, Node, Quantified, plain_text
from interwhen.policy._values import Held, HeldItems, Missing, Value, hold


class _TooLongError(Exception):
    """The evaluation exceeds the limit of steps."""


def evaluate(node: Node, situation: Situation, schema: Schema, names: Mapping[str, Value] | None = None) -> Value:
    """Return the value of *node* in *situation*. If that takes more than 100,000 steps, it is :class:`Missing`.

    *node* must have passed the type check against *schema*.
    """
    try:
        return _Evaluator(situation, schema).value(node, names or {})
    except _TooLongError:
        return Missing(f"the rule takes more than {_limits.STEPS:,} steps here")


def steps_of(node: Node, situation: Situation, schema: Schema) -> int:
    evaluator = _Evaluator(situation, schema)
    with suppress(_TooLongError):
        evaluator.value(node, {})
    return evaluator.steps


@dataclass(slots=True)
class _Evaluator:
    situation: Situation
    schema: Schema
    steps: int = 0

    def value(self, node: Node, names: Mapping[str, Value]) -> Value:
        # `names` has the values of the variables of the quantifiers around `node`.
        self.steps += 1
        if self.steps > _limits.STEPS:
            raise _TooLongError
        match node:
            case Apply(function=function, arguments=arguments):
                how = BUILTINS[function].value
                if isinstance(how, OnNodes):
                    return how.call(self, names, *arguments)  # type: ignore[no-any-return]
                return self.known(how, arguments, names)
            case Constant(value=value):
                return value
            case Name(name=name):
                return names[name] if name in names else self._root(name)
            case Field(of=of, name=name):
                return _field(self.value(of, names), name)
            case Index(of=of, keys=keys):
                return self.known(_entry, (of, *keys), names)
            case Quantified():
                return self._quantified(node, names)
            case Listed(items=items):
                return Held(HeldItems(self.value(item, names) for item in items), ListOf(Bool()), "the list")
            case _:
                assert_never(node)

    def known(self, function: Callable[..., Value], nodes: tuple[Node, ...], names: Mapping[str, Value]) -> Value:
        values = [self.value(node, names) for node in nodes]
        for value in values:
            if isinstance(value, Missing):
                return value
        return function(*values)

    def _root(self, name: str) -> Value:
        situation = self.situation
        match name:
            case "args":
                return Held(situation.arguments, self.schema.arguments_of(situation.tool), "args")
            case "state":
                return Held(situation.state, self.schema.state, "state")
            case "result":
                return hold(situation.result, self.schema.result_of(situation.tool), "result")
            case "talk":
                if situation.talk is None:
                    return Missing("the conversation before the call is not known")
                return Held(situation.talk.fields(), TALK, "talk")
            case "beside":
                return Fraction(situation.beside)
            case _:
                if situation.now is None:
                    return Missing("the time is not known")
                # Times of the data have no zone, and Python refuses to compare them with a time that has one.
                return situation.now if situation.now.tzinfo is None else Missing("the time must have no time zone")

    def items(self, source: Value) -> Iterator[Value]:
        # A list that may have more items than are known ends with a missing value; another value gives one missing
        # value.
        if not isinstance(source, Held) or not isinstance(source.kind, ListOf):
            yield source if isinstance(source, Missing) else Missing("no list")
            return
        for at in range(len(source.raw)):
            self.steps += 1
            yield source.item(at)
        if source.open:
            yield Missing(f"whether {source.where} has more is not known")

    def _quantified(self, node: Quantified, names: Mapping[str, Value]) -> Value:
        source = self.value(node.source, names)
        bodies = self._bodies(node, source, names)
        if node.op in ("any", "all"):
            return combined(bodies, decides=node.op == "any")
        total = Fraction(0)
        for value in bodies:
            if isinstance(value, Missing):
                return value
            added = bounded(total + (Fraction(value) if isinstance(value, bool | Fraction) else 0))
            if isinstance(added, Missing):
                return added
            total = added
        return total

    def _bodies(self, node: Quantified, source: Value, names: Mapping[str, Value]) -> Iterator[Value]:
        for item in self.items(source):
            if isinstance(item, Missing):
                yield item
            elif isinstance(item, Held) and isinstance(item.kind, PairsOf):
                left, right = item.raw
                yield self.value(node.body, {**names, node.names[0]: left, node.names[1]: right})
            else:
                yield self.value(node.body, {**names, node.names[0]: item})

    def calls(self, tool: str) -> Value:
        made = [{"args": call.arguments, "result": call.result} for call in self.situation.calls if call.tool == tool]
        return Held(made, ListOf(self.schema.call_of(tool)), f'calls("{tool}")', open=self.situation.talk is None)


def _field(of: Value, name: str) -> Value:
    if isinstance(of, Missing):
        return of
    assert isinstance(of, Held)
    assert isinstance(of.kind, RecordOf)
    kind, where = of.kind.field(name), f"{of.where}.{name}"
    if kind is None:  # a tool that the schema does not know
        return Missing(f"{where} is in no schema")
    return hold(of.raw.get(name), kind, where)


def _entry(of: Held, *keys: Any) -> Value:
    assert isinstance(of.kind, MapOf)
    texts = tuple(map(plain_text, keys))
    where = f"{of.where}[{', '.join(texts)[: _limits.SHOWN]}]"
    return hold(of.raw.get(texts[0] if len(texts) == 1 else texts), of.kind.value, where)
