"""Names of tools and arguments, chosen by patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from interwhen import UsageError
from interwhen.policy import name_fits


def matcher(verifier: str, option: str, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name is one of *patterns*, in which ``*`` stands for any text."""
    listed = [patterns] if isinstance(patterns, str) else list(patterns)
    if not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise UsageError(f"{verifier}: {option}={patterns!r:.200} is no list of names")
    lowered = [pattern.lower() for pattern in listed]
    return lambda name: any(name_fits(name.lower(), pattern) for pattern in lowered)
