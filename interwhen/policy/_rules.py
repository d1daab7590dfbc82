"""Rules of a policy: each one enforces a clause by a condition on the tool calls to which it applies."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from interwhen._types.verdicts import Pass, Unknown, Verdict, Violation
from interwhen.policy import _limits
from interwhen.policy._disclosure import answers_of, gives_away, roots_of
from interwhen.policy._evaluation import evaluate
from interwhen.policy._kind_check import Definitions, Scope, kind_of, write_out
from interwhen.policy._kinds import Anything, Bool, Kind, ListOf, MapOf, PairsOf, RecordOf, Text, describe
from interwhen.policy._schemas import MadeCall, Schema, Situation, WhenJudged
from interwhen.policy._state import Learning, State, learn
from interwhen.policy._syntax import ExpressionError, Node, parse, show
from interwhen.policy._values import Missing, tell

# Messages about a broken rule: texts with expressions in braces.

Part: TypeAlias = str | Node
"""A text that is shown as it is, or an expression whose value is shown."""


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    parts: tuple[Part, ...]

    def nodes(self) -> Iterator[Node]:
        return (part for part in self.parts if not isinstance(part, str))

    def say(self, situation: Situation, schema: Schema, scope: Scope) -> str:
        """Return the message with the values that its expressions have in *situation*, at most 600 characters.

        *scope* has the kinds of the names. An unknown value is shown as a question mark.
        """
        said = (
            part if isinstance(part, str) else tell(evaluate(part, situation, schema), _shown_kind(part, scope))
            for part in self.parts
        )
        return "".join(said)[: _limits.MESSAGE]


def _shown_kind(node: Node, scope: Scope) -> Kind:
    try:
        return kind_of(node, scope)
    except ExpressionError:  # of a rule that is not admitted
        return Text()


_PIECE = re.compile(r"(?P<text>[^{]++)|(?P<brace>\{\{)|\{(?P<expression>[^}]*+)\}|(?P<unclosed>\{)")


def read_message(text: str, definitions: Definitions) -> MessageTemplate:
    # Raises `ExpressionError`, also for an expression that cannot be parsed or expanded by `definitions`.
    if len(text) > _limits.MESSAGE:
        raise ExpressionError(
            f"a message must have at most {_limits.MESSAGE} characters, got {len(text):,}: shorten it"
        )
    parts: list[Part] = []
    for piece in _PIECE.finditer(text):
        if piece.lastgroup == "unclosed":
            raise ExpressionError(
                f"each {{ of a message must have a }}, got none for the one at character {piece.start()}: close "
                "it, or write {{ for a brace",
                piece.start(),
            )
        if piece.lastgroup == "expression":
            parts.append(write_out(parse(piece["expression"]), definitions))
        else:
            parts.append("{" if piece.lastgroup == "brace" else piece[0])
    return MessageTemplate(tuple(parts))


def problem_of(message: MessageTemplate, level: Literal["why", "witness"], require: Node, scope: Scope) -> str:
    # Return why `message` cannot be shown, or reveals too much; else an empty text. `why` may show only arguments of
    # the call, `witness` also facts. Neither may show a value to which `require` makes an argument equal.
    answers = answers_of(require)
    for node in message.nodes():
        try:
            kind = kind_of(node, scope)
        except ExpressionError as error:
            return f"in {level!r}: {error}"
        if isinstance(kind, ListOf | MapOf | RecordOf | PairsOf | Anything):
            return (
                f"{level!r} must show single values only, got {{{show(node)}}}, which is {describe(kind)}: show "
                "a field of it"
            )
        if level == "why" and not roots_of(node) <= {"args"}:
            return f"'why' must show arguments of the call only, got {{{show(node)}}}: move it to 'witness'"
        if gives_away(node, answers):
            return (
                f"{level!r} must not give the answer away, got {{{show(node)}}}, which an argument has to be: "
                "leave it out"
            )
    return ""


@dataclass(frozen=True, slots=True)
class Example:
    """A situation, and the outcome that the rule must have in it."""

    name: str
    expect: str
    """``keeps``, ``breaks``, ``unknown`` or ``not applicable``."""
    situation: Situation


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that enforces one or several clauses of a policy on tool calls."""

    id: str
    clauses: tuple[str, ...]
    """The quotations from the policy that the rule enforces, at least one."""
    tools: tuple[str, ...]
    """The tools whose calls the rule judges; empty: all tools."""
    when: Node
    """The condition under which the rule applies, with definitions expanded."""
    require: Node
    """The condition that a call must satisfy if the rule applies to it."""
    why: MessageTemplate
    """The message that says what is wrong, for feedback at the level ``explain``."""
    witness: MessageTemplate
    """The message with the facts, for feedback at the level ``witness``."""
    moment: WhenJudged = "before"
    """When the rule judges a call: before it is made, or after it has returned a result."""
    examples: tuple[Example, ...] = ()
    origin: str = ""
    """The name of the model that wrote the rule; empty if a person wrote or reviewed it."""
    _misfit: str = field(default="", init=False, repr=False, compare=False)
    """Why the conditions of the rule fail the type check; empty if they pass."""

    def looks_at(self, tool: str) -> bool:
        """Tell whether the rule judges calls of *tool*."""
        return not self.tools or tool in self.tools

    def over(self) -> tuple[str | None, ...]:
        """Return the tools whose calls the rule judges; ``(None,)`` if it judges calls of any tool."""
        return self.tools or (None,)

    def judge(self, situation: Situation, schema: Schema) -> Verdict | None:
        """Judge the call of *situation*. ``None``: the rule does not apply. The caller checks :meth:`looks_at` before.

        The verdict is ``Pass`` if the call satisfies the rule, ``Violation`` with both messages if not, and ``Unknown``
        if this depends on a value that is not known, takes too many steps, or if a rule from a file fails the type
        check.
        """
        if self._misfit:
            return Unknown(f"the rule {self.id!r} fails the type check: {self._misfit}"[:400])
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
        scope = schema.scope(situation.tool, self.moment)
        why, witness = (message.say(situation, schema, scope) for message in (self.why, self.witness))
        return Violation(why=why, witness=witness)


def problems_of(rule: Rule, schema: Schema) -> Iterator[str]:
    for tool in rule.over():
        if tool is not None and tool not in schema.tools:
            yield f"'tools' must name tools of the schema ({', '.join(schema.tools)}), got {tool!r:.80}: correct it"[
                :300
            ]
            continue
        scope = schema.scope(tool, rule.moment)
        problems = list(_misfits(rule, scope))
        if not problems:
            problems.append(problem_of(rule.why, "why", rule.require, scope))
            problems.append(problem_of(rule.witness, "witness", rule.require, scope))
        yield from filter(None, problems)


def misfit_of(rule: Rule, schema: Schema) -> str:
    misfits = (says for tool in rule.over() for says in _misfits(rule, schema.scope(tool, rule.moment)))
    return next(misfits, "")


def _misfits(rule: Rule, scope: Scope) -> Iterator[str]:
    try:
        for what, node in (("when", rule.when), ("require", rule.require)):
            kind = kind_of(node, scope)
            if not isinstance(kind, Bool):
                yield f"{what} must be true or false, got {describe(kind)}: write a condition"
    except ExpressionError as error:
        yield str(error)


# A written policy: its text, its rules, their schema, and the declarations of its state.


class RuleVerdict(NamedTuple):
    rule: Rule
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DatabaseTable:
    """How the records of one database table become part of the state."""

    # Each record counts as the result of a call of `tool` whose argument `key` is the key of the record.

    tool: str
    key: str


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """A written policy, with the rules that enforce it."""

    name: str
    text: str
    """The text of the policy, which the rules quote."""
    schema: Schema
    rules: tuple[Rule, ...] = ()
    version: str = "1"
    now: dt.datetime | Literal["clock"] | None = None
    """The current time for the rules: a fixed time, or ``clock`` for the caller's time. ``None``: it is not known."""
    definitions: Definitions = field(default_factory=dict)
    """The named expressions that all rules may use."""
    learnings: tuple[Learning, ...] = ()
    """How calls and their results update the state."""
    database: Mapping[str, DatabaseTable] = field(default_factory=dict)
    """How each table of the database is read, by the name of the table."""

    def judge(self, situation: Situation, moment: WhenJudged = "before") -> tuple[RuleVerdict, ...]:
        """Return the verdict of each rule that judges at *moment* and applies to the call of *situation*.

        A rule of which this is not known has the verdict ``Unknown``.
        """
        rules = (rule for rule in self.rules if rule.moment == moment and rule.looks_at(situation.tool))
        verdicts = ((rule, rule.judge(situation, self.schema)) for rule in rules)
        return tuple(RuleVerdict(rule, verdict) for rule, verdict in verdicts if verdict is not None)

    def learn(self, state: State, call: MadeCall) -> State:
        """Return the state after *call*: *state* with the changes that the policy's learnings declare.

        A change is left out if its condition is not true, or if its key or its value is unknown.
        """
        return learn(state, call, self.learnings, self.schema)


Reason: TypeAlias = Literal["quote", "kinds", "examples", "vacuous", "contradiction", "deadlock", "mutants", "open"]
"""Why a rule is not admitted. ``vacuous``: it can never apply, never be broken, or never be kept. ``contradiction``: no
call to which two rules apply can keep both. ``deadlock``: no sequence of calls can reach a tool without breaking a
rule. ``open``: Z3 did not find out."""


@dataclass(frozen=True, slots=True)
class AdmissionProblem:
    reason: Reason
    rules: tuple[str, ...]
    """The ids of the rules."""
    says: str
    """What must be so, what was found, and what to do."""
