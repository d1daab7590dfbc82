"""The shipped verifier ``tool_policy``: it judges tool calls by the rules of a written policy.

A rule is a small function, with the sentence of the policy that it enforces. It gets the arguments of a call, the
earlier messages and calls, and the state that the policy keeps. A rule over results gets the result, too. See
``docs/verifiers/tool_policy.md``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from interwhen import (
    Answer,
    Claim,
    Delivery,
    Feedback,
    Level,
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
from interwhen.policy import WrittenPolicy

from interwhen_verifiers._factories import require_choice
from interwhen_verifiers._tools.calls import INTERPRETER, ReadCall, read_calls
from interwhen_verifiers._tools.history import History, PastCall, read_history
from interwhen_verifiers._tools.rules import Call, Moment, Policy, Rule, adapt, open_policy

__all__ = ["Call", "History", "PastCall", "Policy", "Rule", "judge", "tool_policy"]

POLICIES = ("airline", "retail")
"""The policies that ship with interwhen: folders of rules beside this file."""
_OLD_NAMES = {"tau_airline": "airline", "tau_retail": "retail"}
_LISTED = 600
"""The most characters of evidence."""
State: TypeAlias = str | Callable[[], Any] | None


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
    """Why the call cannot be read. Empty: it was read."""


def judge(policy: Policy[Any], call: Call[Any], moment: Moment = "before") -> Verdict:
    """Judge *call* by all rules of *policy* that apply to it at *moment*. A violation names every broken rule."""
    broken: list[tuple[Rule, Violation]] = []
    unclear: list[str] = []
    kept: list[str] = []
    for rule in policy.for_call(call.name, moment):
        match rule.judge(call):
            case Violation() as found:
                broken.append((rule, found))
            case Unknown(why=why):
                unclear.append(f"{rule.name}: {why}")
            case Pass(evidence=evidence):
                kept.append(f"{rule.name}: {evidence}" if evidence else rule.name)
            case None:
                pass
    if broken:
        why = "; ".join(found.why for _, found in broken)
        said = "; ".join(found.witness or f"the policy says: {rule.says}" for rule, found in broken)
        where = broken[0][1].where if len(broken) == 1 else None
        return Violation(why=why[:_LISTED], witness=f"{why}; {said}"[:_LISTED], where=where)
    if unclear:
        return Unknown("; ".join(unclear)[:_LISTED])
    return Pass(("; ".join(kept) or f"no rule of {policy.name!r} forbids it")[:_LISTED])


@verifier(name="tool_policy", version="1", deadline=5.0)
def check(claim: Ruled, prepared: _Prepared) -> Verdict:
    """Judge the call of *claim* by the policy."""
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
    """Yield the claim for the result of the last call in the prompt. The text of the run is this result.

    :func:`interwhen.guard` passes the results of tools in this way.
    """
    if prepared.history.calls:
        last = prepared.history.calls[-1]
        past = PastCall(last.name, last.arguments, segment.text, last.at)
        call = Call(last.name, last.arguments, prepared.state, prepared.history, (), past)
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
    """Make a monitor that judges tool calls by a policy. Raises :class:`UsageError` on an unknown option value.

    ``policy``: a :class:`Policy` or a :class:`interwhen.policy.WrittenPolicy`; or the name of a shipped policy
    (``airline``, ``retail``); or the folder of a written policy (see ``docs/policy.md``); or ``module:NAME`` or
    ``file.py:NAME``, where ``NAME`` is a :class:`Policy` in Python code (``POLICY`` if it is not given). ``state``: a
    function that returns the first state of the policy; or a text from which the policy's ``load`` makes it, such as
    the path of a database. ``skip``: names of rules that are left out. ``on="results"``: judge the results of calls by
    the rules made with ``Policy.after``; use it in ``interwhen.guard(results=[...])``. ``level`` and ``delivery`` are
    those of :class:`~interwhen.Monitor`.
    """
    require_choice("tool_policy", ("calls", "results"), on=on)
    chosen = _policy(policy).without([skip] if isinstance(skip, str) else skip)
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


def _begin(policy: Policy[Any], state: State) -> Callable[[], Any]:
    if callable(state):
        return state
    if state is None:
        return policy.begin or (lambda: None)
    load = policy.load
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
    found = getattr(_module(place), name or "POLICY", None)
    if not isinstance(found, Policy):
        raise UsageError(
            f"tool_policy: policy={policy!r} must name a Policy, and {place!r} has none named "
            f"{name or 'POLICY'!r}; give PLACE:NAME"
        )
    return found


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
