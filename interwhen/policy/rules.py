"""Rules: a clause of a policy, when it applies to a call, and what must then hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from interwhen.policy.checking import Scope, kind_of
from interwhen.policy.evaluating import evaluate
from interwhen.policy.kinds import Bool, Kind, describe
from interwhen.policy.lexer import ExpressionError
from interwhen.policy.messages import Message, problem_of
from interwhen.policy.nodes import Node
from interwhen.policy.schemas import Moment, Schema
from interwhen.policy.situations import Situation
from interwhen.policy.values import Missing
from interwhen.verdicts import Pass, Unknown, Verdict, Violation


@dataclass(frozen=True, slots=True)
class Example:
    """A situation, and what the rule must say of it."""

    name: str
    expect: str
    """``keeps``, ``breaks``, ``unknown`` or ``not applicable``."""
    situation: Situation


@dataclass(frozen=True, slots=True)
class Rule:
    """One clause of a policy, as a rule over calls."""

    id: str
    clauses: tuple[str, ...]
    """Words of the policy, one quotation or several."""
    tools: tuple[str, ...]
    """The tools it looks at; none: all of them."""
    when: Node
    """Whether it applies, definitions written out."""
    require: Node
    """What must hold where it applies."""
    why: Message
    """What is wrong, for the level ``explain``."""
    witness: Message
    """The facts of the case, for the level ``witness``."""
    moment: Moment = "before"
    examples: tuple[Example, ...] = ()
    origin: str = ""
    """Who wrote it, if that was a model: nobody has reviewed it then."""
    kinds: Mapping[Node, Kind] = field(default_factory=dict, compare=False, hash=False)
    """The kinds of the values in its messages."""

    def looks_at(self, tool: str) -> bool:
        """Tell whether calls of *tool* are its business."""
        return not self.tools or tool in self.tools

    def over(self) -> tuple[str | None, ...]:
        """Return the tools to check it against; ``None`` stands for any tool."""
        return self.tools or (None,)

    def judge(self, situation: Situation, schema: Schema) -> Verdict | None:
        """Judge the call of *situation*; ``None``: the rule does not apply. What is not known never passes."""
        applies = evaluate(self.when, situation, schema)
        if isinstance(applies, Missing):
            return Unknown(applies.why)
        if not applies:
            return None
        kept = evaluate(self.require, situation, schema)
        if isinstance(kept, Missing):
            return Unknown(kept.why)
        if kept:
            return Pass(f"keeps: {self.clauses[0]}"[:200])
        why = self.why.say(situation, schema, self.kinds)
        return Violation(why=why, witness=self.witness.say(situation, schema, self.kinds))


def problems_of(rule: Rule, schema: Schema) -> Iterator[str]:
    """Yield what does not fit in *rule*: names, kinds of values, messages that say too much."""
    for tool in rule.over():
        if tool is not None and tool not in schema.tools:
            yield f"there is no tool {tool!r:.80}; tools: {', '.join(schema.tools)}"[:300]
            continue
        scope = schema.scope(tool, rule.moment)
        found = list(_misfits(rule, scope))
        if not found:
            found.append(problem_of(rule.why, "why", rule.require, scope))
            found.append(problem_of(rule.witness, "witness", rule.require, scope))
        yield from filter(None, found)


def fits(rule: Rule, schema: Schema) -> bool:
    """Tell whether the kinds of values in the conditions of *rule* fit, whatever its messages say."""
    return not any(any(_misfits(rule, schema.scope(tool, rule.moment))) for tool in rule.over())


def _misfits(rule: Rule, scope: Scope) -> Iterator[str]:
    try:
        for what, node in (("when", rule.when), ("require", rule.require)):
            found = kind_of(node, scope)
            if not isinstance(found, Bool):
                yield f"{what} must be true or false, and is {describe(found)}"
    except ExpressionError as error:
        yield str(error)


def kinds_in(rule_messages: tuple[Message, ...], schema: Schema, tool: str | None, moment: Moment) -> dict[Any, Kind]:
    """Return the kinds of the values in messages, as far as they have any."""
    scope, found = schema.scope(tool, moment), {}
    for message in rule_messages:
        for node in message.nodes():
            try:
                found[node] = kind_of(node, scope)
            except ExpressionError:
                continue
    return found
