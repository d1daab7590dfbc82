"""What Z3 finds wrong with rules: some that say nothing, some that exclude each other, some that leave no way out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

from interwhen.policy.asking import Answer, Questions
from interwhen.policy.encoding import TooLargeError
from interwhen.policy.nodes import Apply, Constant, Node, walk
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Moment, Schema

Trouble = Literal["vacuous", "contradiction", "deadlock", "open"]
_MOST_STATES = 64
_MOST_OPEN = 3
"""After so many questions without an answer Z3 is asked no more about pairs with a rule."""


class Finding(NamedTuple):
    """Something that is wrong with rules, or that nobody could find out."""

    trouble: Trouble
    rules: tuple[str, ...]
    says: str


def vacuous(rule: Rule, schema: Schema) -> Iterator[Finding]:
    """Find out whether *rule* can apply, can be broken and can be kept, over each of its tools."""
    for tool in rule.over():
        where = f"over {tool}" if tool else "over any tool"
        asked = Questions(schema, tool, rule.moment, (rule.when, rule.require))
        try:
            when, require, broken = asked.truth(rule.when), asked.truth(rule.require), asked.negation(rule.require)
        except TooLargeError as error:
            yield Finding("open", (rule.id,), str(error))
            continue
        if (answer := asked.ask([when])) != "yes":
            yield _vacuous(rule, answer, f"it never applies {where}: no situation is as 'when' says")
        elif (answer := asked.ask([when, broken])) != "yes":
            yield _vacuous(rule, answer, f"it is always kept {where}: no call can break it")
        elif _is_false(rule.require):
            continue  # a prohibition says that it can never be kept
        elif (answer := asked.ask([when, require])) != "yes":
            yield _vacuous(
                rule, answer, f"it is always broken {where}: no call can keep it; a prohibition says 'false'"
            )


def _vacuous(rule: Rule, answer: str, says: str) -> Finding:
    if answer == "open":
        return Finding("open", (rule.id,), f"Z3 came to no answer whether {says}")
    return Finding("vacuous", (rule.id,), says)


def _is_false(node: Node) -> bool:
    return isinstance(node, Constant) and node.value is False


def _over(rules: Sequence[Rule], tool: str | None, moment: Moment = "before") -> list[Rule]:
    return [rule for rule in rules if rule.moment == moment and (rule.looks_at(tool) if tool else not rule.tools)]


def _asked(rules: Sequence[Rule], schema: Schema, tool: str | None) -> Questions:
    return Questions(schema, tool, "before", [node for rule in rules for node in (rule.when, rule.require)])


def contradictions(rules: Sequence[Rule], schema: Schema) -> Iterator[Finding]:
    """Find pairs of rules that can apply together, each be kept then, and never both."""
    seen = set[tuple[str, str]]()
    unanswered: Counter[str] = Counter()
    for tool in schema.tools:
        over = _over(rules, tool)
        asked = _asked(over, schema, tool)
        for one, other in combinations(over, 2):
            pair = (one.id, other.id)
            if pair in seen or max(unanswered[name] for name in pair) >= _MOST_OPEN:
                continue
            answer = _exclude(asked, one, other)
            if answer == "yes":
                seen.add(pair)
                yield Finding("contradiction", pair, f"both can apply to a call of {tool}, and no call keeps both then")
            elif answer == "open":
                unanswered.update(pair)
                yield Finding("open", pair, f"Z3 came to no answer whether both can be kept by a call of {tool}")


def _exclude(asked: Questions, one: Rule, other: Rule) -> Answer:
    """Ask whether two rules exclude each other, though each of them can be kept where both apply."""
    try:
        both = [asked.truth(one.when), asked.truth(other.when)]
        first, second = asked.truth(one.require), asked.truth(other.require)
    except TooLargeError:
        return "no"  # each rule by itself is told to be too large
    together = asked.ask([*both, first, second])
    if together != "no":
        return "no" if together == "yes" else "open"
    alone = {asked.ask([*both, first]), asked.ask([*both, second])}
    return "no" if "no" in alone else "open" if "open" in alone else "yes"


@dataclass(slots=True)
class _Way:
    """What was found on one tool while sequences of calls were tried."""

    enabled: bool = False
    core: tuple[str, ...] = ()
    unanswered: bool = False


def deadlocks(rules: Sequence[Rule], schema: Schema, depth: int = 6) -> Iterator[Finding]:
    """Find tools that no sequence of at most *depth* calls leads to, though nothing in the world forbids them.

    A sequence is followed as the set of the tools that were called in it (of those that rules ask for by ``calls``);
    everything else may be as it likes. So a tool that is found is stuck for certain (with lists within the bound), and
    one that is not found may yet be stuck by what the results say.
    """
    mentioned = sorted({name for rule in rules for name in _called(rule)} & set(schema.tools))
    tools = [tool for tool in schema.tools if _over(rules, tool)]
    asked = {tool: _asked(_over(rules, tool), schema, tool) for tool in tools}
    ways = {tool: _Way() for tool in tools}
    free = [tool for tool in mentioned if tool not in asked]
    queue, seen = deque([(frozenset[str](), 0)]), {frozenset[str]()}
    while queue:
        called, steps = queue.popleft()
        able = [*free, *(tool for tool in tools if _enabled(tool, rules, asked[tool], called, mentioned, ways[tool]))]
        for tool in able:
            after = called | ({tool} & set(mentioned))
            if after not in seen and steps < depth and len(seen) < _MOST_STATES:
                seen.add(after)
                queue.append((after, steps + 1))
    for tool, way in ways.items():
        if way.unanswered:
            names = tuple(rule.id for rule in _over(rules, tool))
            yield Finding("open", names, f"Z3 came to no answer whether any sequence leads to a call of {tool}")
        if not way.enabled and way.core:
            yield Finding(
                "deadlock", way.core, f"no sequence of calls leads to a call of {tool} that keeps all of these"
            )


def _called(rule: Rule) -> Iterator[str]:
    for node in (*walk(rule.when), *walk(rule.require)):
        if isinstance(node, Apply) and node.function == "calls" and isinstance(node.arguments[0], Constant):
            yield str(node.arguments[0].value)


def _enabled(
    tool: str, rules: Sequence[Rule], asked: Questions, called: frozenset[str], mentioned: Sequence[str], way: _Way
) -> bool:
    if way.unanswered:
        return True
    over: Mapping[str, Rule] = {rule.id: rule for rule in _over(rules, tool)}
    try:
        conditions = {name: asked.kept(rule) for name, rule in over.items()}
    except TooLargeError:
        way.enabled = True  # not known; nobody is accused
        return True
    history = {f" {at}": term for at, term in enumerate(asked.lengths({name: name in called for name in mentioned}))}
    answer, core = asked.ask_why({**conditions, **history})
    if answer == "no":
        way.core = tuple(name for name in core if name in over)
        return False
    way.enabled, way.unanswered = True, answer == "open"
    return True
