"""The shipped policies: every rule fits its schema, and says of each of its examples what a reader of the clause says."""

from __future__ import annotations

from pathlib import Path

import pytest
from interwhen import Pass, Unknown, Violation
from interwhen.policy import read_policy
from interwhen.policy._rules import problems_of

import interwhen_verifiers.policies

FOLDER = Path(interwhen_verifiers.policies.__file__).parent
SAYS = {Pass: "keeps", Violation: "breaks", Unknown: "unknown", type(None): "not applicable"}


@pytest.mark.parametrize("name", ["airline", "retail"])
def test_shipped_examples_get_their_expected_verdict(name: str) -> None:
    policy = read_policy(FOLDER / name)
    assert len(policy.rules) >= 19
    for rule in policy.rules:
        assert list(problems_of(rule, policy.schema)) == []
        for example in rule.examples:
            verdict = rule.judge(example.situation, policy.schema)
            assert SAYS[type(verdict)] == example.expect, f"{rule.id}: {example.name}: {verdict}"
            if isinstance(verdict, Violation):
                assert "?" not in verdict.witness
