"""Whatever stands in a file, in arguments, results or a database: rules come to a verdict, and nothing is raised."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Pass, Unknown, UsageError, Violation
from interwhen.policy import MadeCall, Rule, Situation, WrittenPolicy, read_policy
from interwhen.policy._files import Surroundings, read_rule
from interwhen.policy._schemas import read_tools
from interwhen.policy._syntax import ExpressionError, parse, show
from policy_shop import RULE, made_shop

import interwhen_verifiers.policies

FOLDER = Path(interwhen_verifiers.policies.__file__).parent
POLICIES = {name: read_policy(FOLDER / name) for name in ("airline", "retail")}
AROUND = Surroundings(made_shop(), situations={"world": {"args": {"id": "A"}}})

anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["R1", "W1", "2024-05-20", "economy", 10**400]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    paths = [path]
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    for key, inner in parts:
        paths += places(inner, (*path, key))
    return paths


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    head, *rest = path
    if isinstance(value, Mapping):
        return {key: changed(inner, tuple(rest), new) if key == head else inner for key, inner in value.items()}
    return [changed(inner, tuple(rest), new) if at == head else inner for at, inner in enumerate(value)]


cases = st.sampled_from([
    (policy, rule, example.situation)
    for policy in POLICIES.values()
    for rule in policy.rules
    for example in rule.examples
])  # fmt: skip


@given(cases, st.data())
@settings(max_examples=120, deadline=None)
def test_rule_gives_verdict_on_any_data(case: tuple[WrittenPolicy, Rule, Situation], data: st.DataObject) -> None:
    policy, rule, situation = case
    part = data.draw(st.sampled_from(["arguments", "state"]))
    given = getattr(situation, part)
    path = data.draw(st.sampled_from(places(given)[1:] or [()]))
    new = changed(given, path, data.draw(anything))
    hostile = dataclasses.replace(situation, **{part: new if isinstance(new, Mapping) else {}})
    verdict = rule.judge(hostile, policy.schema)
    assert verdict is None or isinstance(verdict, Pass | Violation | Unknown)
    if isinstance(verdict, Violation):
        assert verdict.witness.isprintable()


@given(st.sampled_from(sorted(POLICIES)), st.data(), anything, anything)
@settings(max_examples=60, deadline=None)
def test_any_result_is_learned_from_or_not(name: str, data: st.DataObject, arguments: Any, result: Any) -> None:
    policy = POLICIES[name]
    tool = data.draw(st.sampled_from([*policy.schema.tools, "unknown", ""]))
    call = MadeCall(tool, arguments if isinstance(arguments, dict) else {}, result)
    state = policy.learn({}, call)
    for rule in policy.rules:
        situation = Situation(data.draw(st.sampled_from(rule.tools or ("x",))), call.arguments, state, (call,))
        assert not isinstance(rule.judge(situation, policy.schema), str)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    try:
        node = parse(text)
    except ExpressionError:
        return
    assert parse(show(node)) == node


@given(
    st.lists(
        st.sampled_from(
            [
                "any",
                "all",
                "in",
                "x",
                ":",
                "(",
                ")",
                "[",
                "]",
                ",",
                "not",
                "and",
                "or",
                "=",
                "5",
                "$",
                ".",
                "if",
                "then",
                "else",
                "+",
                "-",
                "*",
                "<",
                "'a'",
                '"',
                "2024-01-01",
            ]
        )
    )
)
def test_any_words_are_an_expression_or_an_error(words: list[str]) -> None:
    try:
        parse(" ".join(words))
    except ExpressionError:
        return


@given(st.integers(0, len(RULE)), st.integers(0, 40), st.text(max_size=20))
def test_mutilated_rule_parses_or_raises_usage_error(at: int, gone: int, new: str) -> None:
    try:
        read_rule(RULE[:at] + new + RULE[at + gone :], AROUND)
    except UsageError:
        return


@pytest.mark.parametrize("name", ["a.json", "a.py"])
@given(text=st.text(max_size=80))
def test_any_text_is_tools_or_an_error(name: str, text: str) -> None:
    try:
        read_tools(text, name)
    except UsageError:
        return
