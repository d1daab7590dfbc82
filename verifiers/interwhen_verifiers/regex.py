"""The shipped verifier ``regex``: patterns that must not occur, or of which at least one must occur.

RE2 matches the patterns, if it is installed and can express all of them. If not, each check runs in a worker process,
which is killed at the deadline, since :mod:`re` takes exponential time on some patterns.
"""

from __future__ import annotations

from interwhen import Monitor, UsageError, Verdict, verifier
from interwhen.toolkit import Delivery, PhaseFilter, normalize, safe_from_data

from interwhen_verifiers._factories import require_texts
from interwhen_verifiers._patterns import Must, Occurs, PatternClaim, Scope, make, search, search_by_re
from interwhen_verifiers._re2 import MOST_FROM_DATA, Place, linear, problems_of

MOST = 64
"""The most patterns of one monitor."""


def _find(pattern: str, text: str) -> Place | None:
    known = linear(pattern)
    assert known is not None, "a pattern that takes linear time where the monitor was made takes it everywhere"
    return known.search(text)


@verifier(name="regex", version="4", deadline=1.0, worker="thread")
def check(claim: PatternClaim) -> Verdict:
    """Judge *claim* in this process. This is safe because all of its patterns take linear time."""
    return search(claim, _find)


@verifier(name="regex", version="4", deadline=1.0, worker="process")
def check_apart(claim: PatternClaim) -> Verdict:
    """Judge *claim* by :mod:`re`, in a worker process that can be killed."""
    return search(claim, search_by_re)


@safe_from_data(patterns=lambda patterns: len(patterns) <= MOST_FROM_DATA)
def regex(
    *,
    patterns: tuple[str, ...],
    must: Must = "absent",
    scope: Scope = "line",
    ignore_case: bool = False,
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Make a monitor that refuses text that matches one of the patterns, or an answer that matches none of them.

    ``patterns``: regular expressions of Python. ``must``: ``absent`` (none of them may occur) or ``present`` (at least
    one must occur in the answer). ``scope``: for ``absent``, the unit of text that is searched at once; no pattern
    matches across two units. ``ignore_case``: letters match in upper and lower case. ``delivery`` and ``phase`` are
    those of :class:`~interwhen.Monitor`. Raises :class:`UsageError` if there is no pattern, if there are more than 64,
    if one does not compile, and on a wrong option value.
    """
    require_texts("regex", patterns=patterns)
    if len(patterns) > MOST:
        raise UsageError(f"regex: patterns must be at most {MOST}, got {len(patterns)}; use 'terms' for lists of words")
    for pattern, problem in problems_of(patterns).items():
        raise UsageError(f"regex: each pattern must be a regular expression, got {pattern!r}: {problem}; correct it")
    flagged = tuple(f"(?i){pattern}" if ignore_case else pattern for pattern in patterns)
    judge = check if all(map(linear, flagged)) else check_apart
    return make(
        "regex", judge, flagged, patterns, _occurs(flagged), must=must, scope=scope, delivery=delivery, phase=phase
    )


def _occurs(patterns: tuple[str, ...]) -> Occurs | None:
    # Where the function says no, the verdict must be a pass, so it leaves out `\b`, which RE2 knows only for ASCII.
    known = [compiled for pattern in patterns if (compiled := linear(pattern, without_borders=True)) is not None]
    if len(known) < len(patterns):
        return None

    def occurs(_before: str, text: str) -> bool:
        normal = normalize(text)
        return any(
            pattern.search(text) is not None or (normal.changed and pattern.search(normal.text) is not None)
            for pattern in known
        )

    return occurs
