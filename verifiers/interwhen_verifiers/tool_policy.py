"""The shipped verifier ``tool_policy``: it judges tool calls by the rules of a written policy.

See ``docs/verifiers/tool_policy.md``.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from interwhen import (
    Answer,
    Claim,
    Feedback,
    Monitor,
    Pass,
    Segment,
    Task,
    ToolCalls,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.policy import MadeCall, Situation, State, Talk, WrittenPolicy, read_database, read_policy
from interwhen.policy import Rule as WrittenRule
from interwhen.toolkit import Delivery, Level

from interwhen_verifiers._factories import require_choice, require_texts
from interwhen_verifiers._tools.calls import INTERPRETER, ReadCall, read_calls
from interwhen_verifiers._tools.history import History, PastCall, read_history

# Rules over tool calls, and the policy, which is a list of rules and a state.


StateT = TypeVar("StateT")
Moment = Literal["before", "after"]
"""When a rule judges a call: before the call is made, or after it, by its result."""


class MissingArgumentError(LookupError):
    """A rule asked for an argument that the call does not have. The verdict of the rule is then ``Unknown``."""


@dataclass(frozen=True)
class Call(Generic[StateT]):
    """A tool call, in the form that a rule gets."""

    name: str
    arguments: Mapping[str, Any]
    state: StateT
    """The state of the policy before the call; ``None`` where the policy keeps no state."""
    history: History
    """The earlier messages and calls, without the call itself and those in ``beside``."""
    beside: tuple[PastCall, ...] = ()
    """The calls of the same turn before this one. For a rule over results it is empty: ``history`` has these calls."""
    result: PastCall | None = None
    """For a rule over results: the call as it was made, with its result."""

    def __getitem__(self, name: str) -> Any:
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
    """Judges a call. It returns a verdict, or ``None`` if the rule does not apply."""
    moment: Moment = "before"

    def looks_at(self, tool: str) -> bool:
        return not self.tools or tool in self.tools

    def judge(self, call: Call[Any]) -> Verdict | None:
        try:
            ruling = self.function(call)
        except MissingArgumentError as error:
            return Unknown(f"the rule reads the argument {error.args[0]!r}, which the call does not have")
        except Exception as error:
            raise RuntimeError(
                f"the rule {self.name!r} must return a verdict or None, and it raised "
                f"{type(error).__name__}: {error}; correct it"
            ) from error
        if ruling is not None and not isinstance(ruling, Pass | Violation | Unknown):
            raise RuntimeError(f"the rule {self.name!r} must return a verdict or None, got {ruling!r:.100}; correct it")
        return ruling


@dataclass
class Policy(Generic[StateT]):
    """Rules for tool calls as functions, and the state that they need.

    *begin* returns the state before the first call. *advance* returns the state after a call, from the state before it
    and the call (with its result, if that is known); it must not change the state before. *load* makes a first state
    from a text, such as the path of a database. Without *begin*, the first state is ``None``, unless
    ``tool_policy(state=...)`` gives one.
    """

    name: str
    version: str = "1"
    begin: Callable[[], StateT] | None = None
    advance: Callable[[StateT, PastCall], StateT] | None = None
    load: Callable[[str], StateT] | None = None
    rules: list[Rule] = field(default_factory=list)

    def before(self, *tools: str, says: str) -> Callable[[RuleFunction], RuleFunction]:
        # A monitor of `tool_policy(..., on="results")` does not ask such rules. `says` is the sentence of the policy.
        return self._adding(tools, says, "before")

    def after(self, *tools: str, says: str) -> Callable[[RuleFunction], RuleFunction]:
        # Only a monitor of `tool_policy(..., on="results")` asks such rules. What the tool returned is
        # `call.result.result` as text, and `call.result.value` decoded from JSON.
        return self._adding(tools, says, "after")

    def for_call(self, tool: str, moment: Moment) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.moment == moment and rule.looks_at(tool))

    def without(self, names: Iterable[str]) -> Policy[StateT]:
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
        require_texts(f"policy {self.name!r}", tools=tools)

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
    return adapt(read_policy(folder))


def adapt(written: WrittenPolicy) -> Policy[State]:
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
    """Builds the facts that written rules judge."""

    # It keeps the last result, because several rules may judge the same call.

    def __init__(self, written: WrittenPolicy) -> None:
        self._now = written.now
        self._last: tuple[Call[State], Situation] | None = None

    def of(self, call: Call[State]) -> Situation:
        last = self._last  # read once: checks may run in several threads
        if last is not None and last[0] is call:
            return last[1]
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None) if self._now == "clock" else self._now
        situation = Situation(
            tool=call.name,
            arguments=call.arguments,
            state=call.state or {},
            calls=tuple(_made(past) for past in (*call.history.calls, *call.beside)),
            talk=_talk(call.history),
            beside=len(call.beside),
            now=now,
            result=None if call.result is None else _made(call.result).result,
        )
        self._last = (call, situation)
        return situation


def _made(past: PastCall) -> MadeCall:
    value = past.value
    return MadeCall(past.name, past.arguments, past.result if value is None else value)


def _talk(history: History) -> Talk | None:
    if not history.is_conversation:
        return None
    last = max((at for at, message in enumerate(history.messages) if message.role == "user"), default=-1)
    told = any(message.role == "assistant" and message.content.strip() for message in history.messages[:last])
    return Talk(tuple(history.texts("user")), told)


__all__ = ["Call", "History", "PastCall", "Policy", "Rule", "judge", "tool_policy"]

POLICIES = ("airline", "retail")
"""The policies that ship with interwhen: folders of rules in ``policies/``."""
_OLD_NAMES = {"tau_airline": "airline", "tau_retail": "retail"}
_LISTED = 600
"""The most characters of each text of a verdict."""
StateOption: TypeAlias = str | Callable[[], Any] | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    policy: Policy[Any]
    history: History
    state: Any


@dataclass(frozen=True, slots=True)
class _Turn:
    """The current turn of the assistant: its calls so far, and the state of the policy after them."""

    prepared: _Prepared
    state: Any
    calls: tuple[PastCall, ...] = ()
    trail: str = ""
    """A digest of the calls so far, for the keys of claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled(Claim):
    """The claim that a call, or its result, complies with the policy."""

    call: Call[Any]
    moment: Moment
    problem: str = ""
    """Why the call cannot be read."""


def judge(policy: Policy[Any], call: Call[Any], moment: Moment = "before") -> Verdict:
    broken: list[tuple[Rule, Violation]] = []
    unclear: list[str] = []
    kept: list[str] = []
    for rule in policy.for_call(call.name, moment):
        match rule.judge(call):
            case Violation() as violation:
                broken.append((rule, violation))
            case Unknown(why=why):
                unclear.append(f"{rule.name}: {why}")
            case Pass(evidence=evidence):
                kept.append(f"{rule.name}: {evidence}" if evidence else rule.name)
            case None:
                pass
    if broken:
        why = "; ".join(each.why for _, each in broken)
        said = "; ".join(each.witness or f"the policy says: {rule.says}" for rule, each in broken)
        where = broken[0][1].where if len(broken) == 1 else None
        return Violation(why=why[:_LISTED], witness=f"{why}; {said}"[:_LISTED], where=where)
    if unclear:
        return Unknown("; ".join(unclear)[:_LISTED])
    return Pass(("; ".join(kept) or f"no rule of {policy.name!r} forbids it")[:_LISTED])


@verifier(name="tool_policy", version="1", deadline=5.0)
def check(claim: Ruled, prepared: _Prepared) -> Verdict:
    if claim.problem:
        return Unknown(claim.problem)
    return judge(prepared.policy, claim.call, claim.moment)


def _step(turn: _Turn, segment: Segment) -> tuple[_Turn, Iterable[Ruled]]:
    claims = []
    for read in read_calls(segment):
        claims.append(_claim(turn, segment, read))
        if read.name != INTERPRETER or segment.written is None:  # code is not made beside the calls in it
            turn = _after(turn, read)
    return turn, claims


def _claim(turn: _Turn, segment: Segment, read: ReadCall) -> Ruled:
    call = Call(read.name, read.arguments, turn.state, turn.prepared.history, turn.calls)
    # The verdict also depends on the policy and the history, but these do not change during a run.
    return Ruled(key=f"{turn.trail} {read.text}", span=segment.span, call=call, moment="before", problem=read.problem)


def _after(turn: _Turn, read: ReadCall) -> _Turn:
    policy, at = turn.prepared.policy, len(turn.prepared.history.messages)
    past = PastCall(read.name, read.arguments, None, at)
    state = turn.state if policy.advance is None else policy.advance(turn.state, past)
    trail = hashlib.sha256(f"{turn.trail} {read.text}".encode(errors="surrogatepass")).hexdigest()
    return _Turn(turn.prepared, state, (*turn.calls, past), trail)


def _result(segment: Segment, prepared: _Prepared) -> Iterable[Ruled]:
    if prepared.history.calls:
        last = prepared.history.calls[-1]
        past = PastCall(last.name, last.arguments, segment.text, last.at)
        before = History(prepared.history.messages[: last.at], prepared.history.calls[:-1])
        call = Call(last.name, last.arguments, prepared.state, before, (), past)
        yield Ruled(key=segment.text, span=segment.span, call=call, moment="after")


def _preparing(policy: Policy[Any], begin: Callable[[], Any], on: Literal["calls", "results"]) -> Callable[..., Any]:
    def prepare(task: Task) -> _Prepared:
        history = read_history(task)
        state = begin()
        # Rules over a result see the state before its call.
        for past in history.calls[:-1] if on == "results" else history.calls:
            state = state if policy.advance is None else policy.advance(state, past)
        return _Prepared(policy, history, state)

    return prepare


def tool_policy(
    *,
    policy: str | Policy[Any] | WrittenPolicy,
    state: str | Callable[[], Any] | None = None,
    skip: Sequence[str] = (),
    on: Literal["calls", "results"] = "calls",
    level: Level = "witness",
    delivery: Delivery | None = None,
) -> Monitor:
    """Make a monitor that judges tool calls by a policy.

    ``policy``: a :class:`Policy` or a :class:`interwhen.policy.WrittenPolicy`; or the name of a shipped policy
    (``airline``, ``retail``); or the folder of a written policy (see ``docs/policy.md``); or ``module:NAME`` or
    ``file.py:NAME``, where ``NAME`` is a :class:`Policy` in Python code (``POLICY`` if it is not given); the code is
    run. ``state``: a function that returns the first state of the policy; or a text from which the policy's ``load``
    makes it, such as the path of a database. ``skip``: names of rules that are left out. ``on="results"``: judge the
    results of calls by the rules made with ``Policy.after``; use it in ``interwhen.guard(results=[...])``. ``level``
    and ``delivery`` are those of :class:`~interwhen.Monitor`; the delivery is ``gate_tools`` by default, and
    ``interrupt`` for results. Raises :class:`UsageError` for an unknown policy, rule or ``on``, and for a ``state``
    that the policy cannot load; other errors in the Python code of a policy are raised unchanged.
    """
    require_choice("tool_policy", ("calls", "results"), on=on)
    skipped = [skip] if isinstance(skip, str) else skip
    require_texts("tool_policy", skip=skipped)
    chosen = _policy(policy).without(skipped)
    calls = on == "calls"
    return Monitor(
        name="tool_policy" if calls else "tool_policy_results",
        trigger=ToolCalls() if calls else Answer(),
        extractor=Tracker(lambda prepared: _Turn(prepared, prepared.state), _step) if calls else _result,
        verifier=check,
        prepare=_preparing(chosen, _begin(chosen, state), on),
        delivery=delivery or ("gate_tools" if calls else "interrupt"),
        remedy=Feedback(),
        level=level,
    )


def _begin(policy: Policy[Any], state: StateOption) -> Callable[[], Any]:
    if callable(state):
        return state
    if state is None:
        return policy.begin or (lambda: None)
    load = policy.load
    if not isinstance(state, str):
        raise UsageError(f"tool_policy: state must be a function or a text, got {state!r:.100}; correct it")
    if load is None:
        raise UsageError(
            f"tool_policy: state must be a function, because the policy {policy.name!r} cannot load a "
            f"text; got {state!r}"
        )
    loaded = load(state)  # once, and not for each run; states are never changed
    return lambda: loaded


def _policy(policy: str | Policy[Any] | WrittenPolicy) -> Policy[Any]:
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, WrittenPolicy):
        return adapt(policy)
    if not isinstance(policy, str) or not policy:
        raise UsageError(f"tool_policy: policy must be a Policy, or the name or path of one, got {policy!r:.100}")
    shipped = _OLD_NAMES.get(policy, policy)
    if shipped in POLICIES:
        return _shipped(shipped)
    if (Path(policy) / "policy.toml").is_file():
        return open_policy(Path(policy))
    place, _, name = policy.partition(":")
    # importlib refuses an empty name and a relative one with errors of its own.
    if not place or (place.startswith(".") and not place.endswith(".py")):
        raise UsageError(
            f"tool_policy: policy must be a shipped policy ({', '.join(POLICIES)}), a folder with policy.toml, a "
            f"module or a .py file, got {policy!r:.100}; correct it"
        )
    loaded = getattr(_module(place), name or "POLICY", None)
    if not isinstance(loaded, Policy):
        raise UsageError(
            f"tool_policy: policy={policy!r} must name a Policy, and {place!r} has none named "
            f"{name or 'POLICY'!r}; give PLACE:NAME"
        )
    return loaded


@functools.cache
def _shipped(name: str) -> Policy[Any]:
    return open_policy(Path(__file__).with_name("policies") / name)


def _module(place: str) -> Any:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        known = ", ".join(POLICIES)
        raise UsageError(
            f"tool_policy: policy must be a shipped policy ({known}), a module or a file; got "
            f"{place!r} ({error}); correct it"
        ) from error
    return module
