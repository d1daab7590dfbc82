"""Names of tools and arguments, chosen by patterns."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

from interwhen import UsageError


def matcher(verifier: str, option: str, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name is one of *patterns*, in which ``*`` stands for any text."""
    listed = [patterns] if isinstance(patterns, str) else list(patterns)
    if not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise UsageError(f"{verifier}: {option}={patterns!r:.200} is no list of names")
    if not listed:
        return lambda _name: False
    joined = re.compile("|".join(f"(?:{fnmatch.translate(pattern.lower())})" for pattern in listed))
    return lambda name: joined.match(name.lower()) is not None
