"""Mutants: every place of a rule is changed, and what is the same rule by proof counts for nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from interwhen.policy import Rule, read_policy
from interwhen.policy._admission import mutants
from interwhen.policy._syntax import parse
from policy_shop import RULE, made_shop, write_shop

SCHEMA = made_shop()


@pytest.fixture
def sound(tmp_path: Path) -> Rule:
    return read_policy(write_shop(tmp_path, RULE)).rules[0]


@pytest.mark.parametrize(
    ("require", "among"),
    [
        ("args.amount <= 3", ["(args.amount < 3)", "(args.amount >= 3)", "(args.amount <= 4)", "(args.amount <= 2)", "true"]),
        ("args.pay = $2", ["(args.pay != $2)", "(args.pay = $3)", "(args.pay = $1)", "(not (args.pay = $2))"]),
        ("now - state.orders[args.id].made < 24 h", ["((now - state.orders[args.id].made) < 90000 s)"]),
        ("state.orders[args.id].due > 2024-05-15", ["(state.orders[args.id].due > 2024-05-16)"]),
        ('state.orders[args.id].status = "open"', ['(state.orders[args.id].status = "sent")']),
        ('state.orders[args.id].status in ["open", "sent"]', ['(state.orders[args.id].status in ["sent"])']),
        ('args.id = "A"', ['(args.id = "mutant")']),
        ("args.amount > 1 and args.pay > $1", ["(args.amount > 1)", "((args.amount > 1) or (args.pay > $1))"]),
        ('any t in args.tags: t = "x"', ['(all t in args.tags: (t = "x"))', '(any t in args.tags: (t != "x"))']),
        ("max(args.amount, 2) = 2", ["(min(args.amount, 2) = 2)"]),
        ("if args.amount > 1 then args.pay > $1 else args.pay > $2",
         ["(if (args.amount > 1) then (args.pay > $2) else (args.pay > $1))"]),
        ("assume(args.amount > 1, args.pay > $1)", ["(args.amount > 1)", "(args.pay > $1)"]),
        ("args.amount + 1 > 2", ["((args.amount - 1) > 2)"]),
    ],
)  # fmt: skip
def test_each_rule_gets_its_mutants(sound: Rule, require: str, among: list[str]) -> None:
    changes = [mutant.says for mutant in mutants(replace(sound, require=parse(require)), SCHEMA)]
    assert {f"require: {text}" for text in among} <= set(changes)
    assert len(set(changes)) == len(changes)


def test_searched_words_are_not_mutated(sound: Rule) -> None:
    rule = replace(sound, require=parse('mentions(talk.last, ["yes", "ok"])'))
    assert {mutant.says for mutant in mutants(rule, SCHEMA)} == {
        "when: (not true)",
        "when: false",
        'require: (not mentions(talk.last, ["yes", "ok"]))',
        "require: true",
    }


def test_the_choice_among_many_is_by_seed(sound: Rule) -> None:
    rule = replace(sound, require=parse(" and ".join(f"args.amount != {number}" for number in range(40))))
    one, same, other = (mutants(rule, SCHEMA, most=30, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == len(other) == 30


def test_equivalent_mutants_are_excluded(sound: Rule) -> None:
    pytest.importorskip("z3", reason="the extra 'z3' is not installed")
    from interwhen.policy._smt import same_rule

    def rule(text: str) -> Rule:
        return replace(sound, require=parse(text))

    assert same_rule(rule("args.amount > 2"), rule("args.amount >= 3"), SCHEMA) == "yes"
    assert same_rule(rule("args.pay > $2"), rule("args.pay >= $3"), SCHEMA) == "no"
    assert same_rule(rule("args.amount > 2"), replace(rule("true"), when=parse("args.amount <= 2")), SCHEMA) == "no"
    assert same_rule(rule('args.id in ["A", "B"]'), rule('args.id = "B" or args.id = "A"'), SCHEMA) == "yes"
