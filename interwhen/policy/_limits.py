"""Limits on a policy, because its text, and rules that a model makes of it, may be an attack."""

from __future__ import annotations

import re

EXPRESSION_CHARACTERS = 6_000
"""The longest expression, in characters."""
DEPTH = 60
"""The deepest nesting of an expression."""
NODES = 1_500
"""The most nodes of an expression, its definitions written out."""
DIGITS = 30
"""The most digits of a number."""
STEPS = 100_000
"""The most steps of one evaluation. After more, the outcome is not known."""
EXAMPLE_STEPS = 200_000
"""The most steps of a rule over all its examples; its mutants take as many each."""
FILE_BYTES = 200_000
"""The largest file of a policy folder, in bytes; the text of the policy included."""
RULES = 500
"""The most rules of a policy."""
EXAMPLES = 200
"""The most examples of a rule."""
MESSAGE = 600
"""The most characters of a message to the model."""
SHOWN = 80
"""The most characters of a value that is shown in a message."""
ID = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
"""The form of a rule's id, which is also the name of its file."""
ID_CHARACTERS = 64
"""The longest id of a rule."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""The form of a name of a tool, a field or a table."""


# Names by a pattern in which ``*`` stands for any text.


def name_fits(name: str, pattern: str) -> bool:
    """Tell whether *name* matches *pattern*, in time in proportion to both.

    A pattern may come from an untrusted policy, so no regular expression is made of it.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        # The first place is the best one: what follows has the most room then.
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
