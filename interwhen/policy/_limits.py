"""Limits on the size of policies and rules: a policy, or a rule that a model wrote, may be an attack."""

from __future__ import annotations

import re

EXPRESSION_CHARACTERS = 6_000
DEPTH = 60
"""The deepest nesting of an expression. It also limits the terms of a sum or product, the parts of a path such as
``a.b[c]``, and the negations in a row."""
WRITTEN_OUT_DEPTH = 120
"""The deepest tree of an expression after its definitions are expanded: all work on trees is recursive."""
NODES = 1_500
"""The most nodes of an expression after its definitions are expanded."""
DIGITS = 30
"""The most digits of a number in an expression, before the point, and also after it."""
STEPS = 100_000
"""The most steps of one evaluation. An evaluation that needs more ends as unknown."""
EXAMPLE_STEPS = 200_000
"""The most steps of a rule for all its examples together. Each mutant of the rule needs about as many."""
FILE_BYTES = 200_000
"""The largest size of a file in a policy folder, in bytes. It also applies to the text of the policy."""
RULES = 500
"""The most rules of a policy, and the most clauses for which a model is asked for rules."""
EXAMPLES = 200
MESSAGE = 600
"""The most characters of a message to the model."""
SHOWN = 80
"""The most characters of a value that is shown in a message."""
ID = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
"""The form of a rule's id, which is also the name of its file."""
ID_CHARACTERS = 64
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""The form of a name of a tool, a field or a table."""


def name_fits(name: str, pattern: str) -> bool:
    """Tell whether *name* matches *pattern*, in which ``*`` stands for any text."""
    # No regular expression: a pattern may come from an untrusted policy, and could make it backtrack.
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        # The first match is the best one: it leaves the most text for the parts that follow.
        start = name.find(part, at, end)
        if start < 0:
            return False
        at = start + len(part)
    return True
