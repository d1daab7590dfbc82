"""Which rules may be trusted: not by anybody's word, but because everything that could be wrong was looked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from interwhen.policy import limits
from interwhen.policy.clauses import Coverage, coverage, squeezed
from interwhen.policy.evaluating import steps_of
from interwhen.policy.mutants import mutants
from interwhen.policy.policies import WrittenPolicy
from interwhen.policy.rules import Example, Rule, problems_of
from interwhen.policy.schemas import Schema
from interwhen.verdicts import Pass, Unknown, Verdict, Violation

Reason: TypeAlias = Literal["quote", "kinds", "examples", "vacuous", "contradiction", "deadlock", "mutants", "open"]
"""Why a rule is not admitted."""
KILLED = 0.95
"""The share of its mutants that the examples of a rule must notice."""
_MOST_OPEN = 3
"""After so many questions without an answer Z3 is asked no more about a rule: hard ones may be an attack."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why rules are not admitted."""

    reason: Reason
    rules: tuple[str, ...]
    says: str


@dataclass(frozen=True, slots=True)
class MutantTally:
    """What became of the mutants of a rule."""

    killed: int
    equal: int
    """Z3 proved that they are no other rule (for lists within the bound)."""
    survivors: tuple[str, ...]

    @property
    def score(self) -> float:
        """The share that was noticed, of those that are another rule."""
        different = self.killed + len(self.survivors)
        return self.killed / different if different else 1.0


@dataclass(frozen=True, slots=True)
class Admission:
    """What was found out about the rules of a policy."""

    policy: str
    admitted: tuple[str, ...]
    problems: tuple[Problem, ...]
    mutants: Mapping[str, MutantTally]
    coverage: Coverage

    def problems_of(self, rule: str) -> tuple[Problem, ...]:
        """Return why *rule* is not admitted; empty where it is."""
        return tuple(problem for problem in self.problems if rule in problem.rules)

    @property
    def killed(self) -> float:
        """The share of all mutants that was noticed, of those that are another rule."""
        killed = sum(tally.killed for tally in self.mutants.values())
        different = killed + sum(len(tally.survivors) for tally in self.mutants.values())
        return killed / different if different else 1.0


def outcome(verdict: Verdict | None) -> str:
    """Return a verdict in the words of an example."""
    match verdict:
        case None:
            return "not applicable"
        case Pass():
            return "keeps"
        case Violation():
            return "breaks"
        case Unknown():
            return "unknown"


def admit(policy: WrittenPolicy, *, seed: int = 0, fired: Mapping[str, int] | None = None) -> Admission:
    """Say which rules of *policy* may be trusted, and why the others may not. Needs the extra ``z3``.

    A rule is admitted where it quotes the policy word for word; its kinds of values fit; its examples, one that keeps
    it and one that breaks it among them, are judged as they say; it can apply, be kept and be broken; no other rule
    contradicts it; no tool is out of reach because of it; and its examples notice nearly all small mistakes in it.
    *fired* counts how often rules have refuted a call, for the map of coverage; the examples are counted without it.
    """
    from interwhen.policy.questions import contradictions, deadlocks, vacuous

    problems = [*_doubles(policy.rules)]
    fitting: list[Rule] = []
    tallies: dict[str, MutantTally] = {}
    for rule in policy.rules:
        problems += _misquoted(rule, policy.text)
        unfit = [Problem("kinds", (rule.id,), says) for says in problems_of(rule, policy.schema)]
        if unfit:
            problems += unfit
            continue
        fitting.append(rule)
        problems += [Problem(found.trouble, found.rules, found.says) for found in vacuous(rule, policy.schema)]
        wrong = [Problem("examples", (rule.id,), says) for says in _wrong_examples(rule, policy.schema)]
        problems += wrong
        if not wrong:
            tallies[rule.id] = tally(rule, policy.schema, seed=seed)
            problems += _survivors(rule, tallies[rule.id])
    for found in (*contradictions(fitting, policy.schema), *deadlocks(fitting, policy.schema)):
        # Where one of them has a problem of its own, it is the one to blame.
        troubled = {name for problem in problems for name in problem.rules} & set(found.rules)
        problems.append(Problem(found.trouble, tuple(sorted(troubled)) or found.rules, found.says))
    refused = {name for problem in problems for name in problem.rules}
    admitted = tuple(rule.id for rule in policy.rules if rule.id not in refused)
    counts = fired if fired is not None else _fired(policy)
    return Admission(policy.name, admitted, tuple(problems), tallies, coverage(policy.text, policy.rules, counts))


def _doubles(rules: Sequence[Rule]) -> Iterator[Problem]:
    for name, times in Counter(rule.id for rule in rules).items():
        if times > 1:
            yield Problem("kinds", (name,), f"{times} rules have the id {name!r}")


def _misquoted(rule: Rule, text: str) -> Iterator[Problem]:
    for clause in rule.clauses:
        if len(re.findall(r"\w+", clause)) < 2 or squeezed(clause) not in squeezed(text):
            yield Problem("quote", (rule.id,), f"these are no words of the policy: {clause[:160]!r}")


def _wrong_examples(rule: Rule, schema: Schema) -> Iterator[str]:
    expected = {example.expect for example in rule.examples}
    for needed in ("keeps", "breaks"):
        if needed not in expected:
            yield f"no example {needed} it"
    steps = sum(
        steps_of(node, example.situation, schema) for example in rule.examples for node in (rule.when, rule.require)
    )
    if steps > limits.EXAMPLE_STEPS:
        yield f"its examples take {steps:,} steps, and may take {limits.EXAMPLE_STEPS:,}: make them smaller"
        return
    for example in rule.examples:
        said = _said(rule, example, schema)
        if said != example.expect:
            yield f"example {example.name!r} says {example.expect!r}, and the rule {said!r}"


def _said(rule: Rule, example: Example, schema: Schema) -> str:
    if not rule.looks_at(example.situation.tool):
        return "not applicable"
    return outcome(rule.judge(example.situation, schema))


def _survivors(rule: Rule, found: MutantTally) -> Iterator[Problem]:
    if found.score < KILLED:
        listed = "; ".join(found.survivors[:3])
        says = f"its examples notice {found.score:.0%} of the mistakes, {KILLED:.0%} are needed; they miss {listed}"
        yield Problem("mutants", (rule.id,), says[:900])


def tally(rule: Rule, schema: Schema, *, seed: int = 0) -> MutantTally:
    """Count which mutants of *rule* its examples notice, and which are no other rule. Needs the extra ``z3``."""
    from interwhen.policy.equality import same_rule

    killed, equal, opened, survivors = 0, 0, 0, []
    for mutant in mutants(rule, schema, seed=seed):
        if any(_said(mutant.rule, example, schema) != example.expect for example in rule.examples):
            killed += 1
            continue
        same = same_rule(rule, mutant.rule, schema) if opened < _MOST_OPEN else "open"
        opened += same == "open"
        if same == "yes":
            equal += 1
        else:
            survivors.append(mutant.says)
    return MutantTally(killed, equal, tuple(survivors))


def _fired(policy: WrittenPolicy) -> Mapping[str, int]:
    return Counter(rule.id for rule in policy.rules for example in rule.examples if example.expect == "breaks")
