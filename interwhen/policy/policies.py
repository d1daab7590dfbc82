"""A written policy: its text, its rules, the schema they are checked against, and how the state is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from interwhen.policy.defining import Definitions
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Moment, Schema
from interwhen.policy.situations import MadeCall, Situation
from interwhen.policy.tables import Learning, State, learn
from interwhen.verdicts import Verdict


class Judged(NamedTuple):
    """What one rule says of a call."""

    rule: Rule
    verdict: Verdict


class Shelf(NamedTuple):
    """Where the records of a database's table are shown: as results of *tool*, their key as its argument *key*."""

    tool: str
    key: str


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """A policy as rules in files."""

    name: str
    text: str
    """The policy's own words; each rule quotes some of them."""
    schema: Schema
    rules: tuple[Rule, ...] = ()
    version: str = "1"
    now: dt.datetime | Literal["clock"] | None = None
    """The time of the policy; ``clock``: that of the caller."""
    definitions: Definitions = field(default_factory=dict)
    learnings: tuple[Learning, ...] = ()
    database: Mapping[str, Shelf] = field(default_factory=dict)
    """How the tables of a database are read, by their names."""

    def judge(self, situation: Situation, moment: Moment = "before") -> tuple[Judged, ...]:
        """Return what each rule that applies says of the call of *situation*."""
        found = []
        for rule in self.rules:
            if rule.moment == moment and rule.looks_at(situation.tool):
                verdict = rule.judge(situation, self.schema)
                if verdict is not None:
                    found.append(Judged(rule, verdict))
        return tuple(found)

    def learn(self, state: State, call: MadeCall) -> State:
        """Return *state* with what *call* says of it."""
        return learn(state, call, self.learnings, self.schema)
