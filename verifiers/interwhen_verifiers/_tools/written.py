"""Policies that are written as files of rules, as policies of the verifier ``tool_policy``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from interwhen import Verdict
from interwhen.policy import MadeCall, Situation, State, Talk, WrittenPolicy, read_database, read_policy
from interwhen.policy import Rule as WrittenRule

from interwhen_verifiers._tools.history import History, PastCall
from interwhen_verifiers._tools.rules import Call, Policy, Rule, RuleFunction


def open_policy(folder: Path) -> Policy[State]:
    """Return the policy in *folder*. Raises :class:`interwhen.UsageError`."""
    return adapt(read_policy(folder))


def adapt(written: WrittenPolicy) -> Policy[State]:
    """Return *written* as a policy of this verifier: a rule for each of its rules, and its state."""
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
    """The situations of calls. All rules look at one call after the other, so the last one is kept."""

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
    """Return what was said; ``None`` where the assistant has said nothing, and so the words are not all there."""
    if not history.is_conversation:
        return None
    last = max((at for at, message in enumerate(history.messages) if message.role == "user"), default=-1)
    told = any(message.role == "assistant" and message.content.strip() for message in history.messages[:last])
    return Talk(tuple(history.texts("user")), told)
