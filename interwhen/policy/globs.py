"""Names by a pattern in which ``*`` stands for any text."""

from __future__ import annotations


def name_fits(name: str, pattern: str) -> bool:
    """Tell whether *name* is one that *pattern* means; it takes time in proportion to both.

    A pattern may come from a policy that nobody has read, so no regular expression is made of it.
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
