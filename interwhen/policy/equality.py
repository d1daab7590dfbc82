"""Whether two rules are the same in all situations (extra ``z3``)."""

from __future__ import annotations

from interwhen.policy.asking import Questions
from interwhen.policy.encoding import TooLargeError
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Schema


def same_rule(one: Rule, other: Rule, schema: Schema) -> bool:
    """Tell whether Z3 proves that both rules apply in the same situations, and are broken in the same ones.

    Lists are looked at up to a bound, and everything is taken as known. ``False``: they differ, or nobody knows.
    """
    nodes = (one.when, one.require, other.when, other.require)
    for tool in one.over():
        asked = Questions(schema, tool, one.moment, nodes)
        try:
            applies = asked.differ(asked.truth(one.when), asked.truth(other.when))
            breaks = asked.differ(asked.broken(one.when, one.require), asked.broken(other.when, other.require))
        except TooLargeError:
            return False
        if applies != "no" or breaks != "no":
            return False
    return True
