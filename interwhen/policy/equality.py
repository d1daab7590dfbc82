"""Whether two rules are the same in all situations (extra ``z3``)."""

from __future__ import annotations

from interwhen.policy.asking import Answer, Questions
from interwhen.policy.encoding import TooLargeError
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Schema


def same_rule(one: Rule, other: Rule, schema: Schema) -> Answer:
    """Tell whether both rules apply in the same situations, and are broken in the same ones.

    ``yes``: Z3 has proved it, for lists up to a bound and with everything known; ``open``: nobody knows.
    """
    nodes = (one.when, one.require, other.when, other.require)
    for tool in one.over():
        asked = Questions(schema, tool, one.moment, nodes)
        try:
            applies = asked.differ(asked.truth(one.when), asked.truth(other.when))
            breaks = asked.differ(asked.broken(one.when, one.require), asked.broken(other.when, other.require))
        except TooLargeError:
            return "open"
        if "yes" in (applies, breaks):
            return "no"
        if "open" in (applies, breaks):
            return "open"
    return "yes"
