"""Defines a rule over tool calls, and the policy, which is a list of rules and a state."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from interwhen import Pass, Unknown, UsageError, Verdict, Violation
from interwhen.policy import MadeCall, Situation, State, Talk, WrittenPolicy, read_database, read_policy
from interwhen.policy import Rule as WrittenRule

from interwhen_verifiers._tools.history import History, PastCall

StateT = TypeVar("StateT")
Moment = Literal["before", "after"]
"""When a rule judges a call: before the call is made, or after it, by its result."""


class MissingArgumentError(LookupError):
    """A rule asked for an argument that the call does not have. The verdict of the rule is then ``Unknown``."""


@dataclass(frozen=True)
class Call(Generic[StateT]):
    """A tool call, in the form that a rule gets."""

    name: str
    """The tool."""
    arguments: Mapping[str, Any]
    """Its arguments, decoded."""
    state: StateT
    """The state of the policy before the call; ``None`` where the policy keeps no state."""
    history: History
    """The messages and calls of earlier turns."""
    beside: tuple[PastCall, ...] = ()
    """The calls of the same turn before this one."""
    result: PastCall | None = None
    """For a rule over results: the call as it was made, with its result."""

    def __getitem__(self, name: str) -> Any:
        """Return the argument *name*. If it is missing, the verdict of the rule is ``Unknown``."""
        try:
            return self.arguments[name]
        except KeyError as error:
            raise MissingArgumentError(name) from error


RuleFunction: TypeAlias = Callable[[Call[Any]], Verdict | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence of a policy, as code."""

    name: str
    says: str
    """The sentence of the policy that it enforces."""
    tools: frozenset[str]
    """The tools that it applies to. Empty: all tools."""
    function: RuleFunction
    moment: Moment = "before"

    def looks_at(self, tool: str) -> bool:
        """Tell whether the rule applies to calls of *tool*."""
        return not self.tools or tool in self.tools

    def judge(self, call: Call[Any]) -> Verdict | None:
        """Return the verdict of the rule on *call*; ``None`` if the rule does not apply.

        Raises :class:`RuntimeError`, with the rule's name, if the function of the rule raises or returns any other
        value.
        """
        try:
            found = self.function(call)
        except MissingArgumentError as error:
            return Unknown(f"the rule reads the argument {error.args[0]!r}, which the call does not have")
        except Exception as error:
            raise RuntimeError(
                f"the rule {self.name!r} must return a verdict or None, and it raised "
                f"{type(error).__name__}: {error}; correct it"
            ) from error
        if found is not None and not isinstance(found, Pass | Violation | Unknown):
            raise RuntimeError(f"the rule {self.name!r} must return a verdict or None, got {found!r:.100}; correct it")
        return found


@dataclass
class Policy(Generic[StateT]):
    """A written policy: rules for tool calls, and the state that they need.

    *begin* returns the state before the first call. *advance* returns the state after a call, from the state before it
    and the call (with its result, if that is known); it must not change the state before. *load* makes a first state
    from a text, such as the path of a database, for the command line.
    """

    name: str
    version: str = "1"
    begin: Callable[[], StateT] | None = None
    advance: Callable[[StateT, PastCall], StateT] | None = None
    load: Callable[[str], StateT] | None = None
    rules: list[Rule] = field(default_factory=list)

    def before(self, *tools: str, says: str) -> Callable[[RuleFunction], RuleFunction]:
        """Decorate a function as a rule that judges a call of *tools* (by default any tool) before it is made.

        *says* is the sentence of the policy. The function returns a verdict, or ``None`` if the rule does not apply.
        """
        return self._adding(tools, says, "before")

    def after(self, *tools: str, says: str) -> Callable[[RuleFunction], RuleFunction]:
        """Decorate a function as a rule that judges the result of a call (``call.result``) after the call was made.

        *tools* and *says* are those of :meth:`before`.
        """
        return self._adding(tools, says, "after")

    def for_call(self, tool: str, moment: Moment) -> tuple[Rule, ...]:
        """Return the rules that apply to calls of *tool* at *moment* (``before`` or ``after`` the call)."""
        return tuple(rule for rule in self.rules if rule.moment == moment and rule.looks_at(tool))

    def without(self, names: Iterable[str]) -> Policy[StateT]:
        """Return this policy without the rules *names*. Raises :class:`UsageError` where no rule has such a name."""
        left = list(self.rules)
        for name in names:
            if all(rule.name != name for rule in self.rules):
                known = [rule.name for rule in self.rules]
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"did you mean {close[0]!r}? " if close else ""
                raise UsageError(
                    f"a rule of policy {self.name!r} must be one of {', '.join(known)}, got {name!r}; "
                    f"{meant}choose one of them"
                )
            left = [rule for rule in left if rule.name != name]
        return Policy(self.name, self.version, self.begin, self.advance, self.load, left)

    def _adding(self, tools: tuple[str, ...], says: str, moment: Moment) -> Callable[[RuleFunction], RuleFunction]:
        if not says.strip():
            raise UsageError(
                f"policy {self.name!r}: each rule must have the sentence that it enforces, got {says!r}; "
                "give says='...'"
            )

        def add(function: RuleFunction) -> RuleFunction:
            name = str(getattr(function, "__name__", "rule")).strip("_")
            if any(rule.name == name for rule in self.rules):
                raise UsageError(
                    f"policy {self.name!r}: each rule must have its own name, got {name!r} twice; rename one "
                    "of the functions"
                )
            self.rules.append(Rule(name, says, frozenset(tools), function, moment))
            return function

        return add


# Converts policies that are written as files of rules into policies of the verifier ``tool_policy``.


def open_policy(folder: Path) -> Policy[State]:
    """Return the policy in *folder*. Raises :class:`interwhen.UsageError`."""
    return adapt(read_policy(folder))


def adapt(written: WrittenPolicy) -> Policy[State]:
    """Convert *written*, a written policy, to a policy of this verifier, with the same rules and the same state."""
    situations = _Situations(written)
    return Policy(
        written.name,
        version=written.version,
        begin=dict,
        advance=lambda state, past: written.learn(state, _made(past)),
        load=lambda place: read_database(written, Path(place)),
        rules=[
            Rule(rule.id, rule.clauses[0], frozenset(rule.tools), _function(rule, written, situations), rule.moment)
            for rule in written.rules
        ],
    )


def _function(rule: WrittenRule, written: WrittenPolicy, situations: _Situations) -> RuleFunction:
    def judge(call: Call[State]) -> Verdict | None:
        return rule.judge(situations.of(call), written.schema)

    return judge


class _Situations:
    """Builds the situation of a call for written rules. It caches the last one, because all rules need it in turn."""

    def __init__(self, written: WrittenPolicy) -> None:
        self._now = written.now
        self._last: tuple[Call[State], Situation] | None = None

    def of(self, call: Call[State]) -> Situation:
        """Return the situation of *call*."""
        last = self._last  # read once: checks may run in several threads
        if last is not None and last[0] is call:
            return last[1]
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None) if self._now == "clock" else self._now
        found = Situation(
            tool=call.name,
            arguments=call.arguments,
            state=call.state or {},
            calls=tuple(_made(past) for past in (*call.history.calls, *call.beside)),
            talk=_talk(call.history),
            beside=len(call.beside),
            now=now,
            result=None if call.result is None else _made(call.result).result,
        )
        self._last = (call, found)
        return found


def _made(past: PastCall) -> MadeCall:
    value = past.value
    return MadeCall(past.name, past.arguments, past.result if value is None else value)


def _talk(history: History) -> Talk | None:
    """Return the conversation with the user; ``None`` if the assistant wrote nothing, so messages may be missing."""
    if not history.is_conversation:
        return None
    last = max((at for at, message in enumerate(history.messages) if message.role == "user"), default=-1)
    told = any(message.role == "assistant" and message.content.strip() for message in history.messages[:last])
    return Talk(tuple(history.texts("user")), told)
