"""The shipped verifier ``regex``: patterns that must not occur, or one of which must.

On some patterns and texts :mod:`re` takes exponential time. So patterns that RE2 can express are matched by it, in
time proportional to the text; with any other, each check runs in a worker process, which is killed at its deadline.
That check then came to nothing, which is never a pass, and the stream goes on meanwhile.
"""

from __future__ import annotations

from interwhen import Delivery, Monitor, PhaseFilter, UsageError, Verdict, verifier

from interwhen_verifiers._linear import Place, linear, problems_of
from interwhen_verifiers._patterns import Must, PatternClaim, Scope, make, search, search_by_re

MOST = 64
"""The most patterns of one monitor."""


def _find(pattern: str, text: str) -> Place | None:
    known = linear(pattern)
    assert known is not None, "a pattern that takes linear time where the monitor was made takes it everywhere"
    return known.search(text)


@verifier(name="regex", version="3", deadline=1.0, worker="thread")
def check(claim: PatternClaim) -> Verdict:
    """Judge *claim* in this process: all of its patterns take linear time."""
    return search(claim, _find)


@verifier(name="regex", version="3", deadline=1.0, worker="process")
def check_apart(claim: PatternClaim) -> Verdict:
    """Judge *claim*, in a process that can be killed."""
    return search(claim, search_by_re)


def regex(
    *,
    patterns: tuple[str, ...],
    must: Must = "absent",
    scope: Scope = "line",
    ignore_case: bool = False,
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Refuse text that holds one of some patterns, or an answer that holds none of them.

    ``patterns``: regular expressions of Python. ``must``: ``absent`` (none of them may occur) or ``present`` (one must
    occur in the answer). ``scope``: the piece of text that is searched as a whole, for ``absent``.

    Raises :class:`UsageError` on a pattern that does not compile, and on an option that it does not know.
    """
    if len(patterns) > MOST:
        raise UsageError(f"regex: got {len(patterns)} patterns, the most is {MOST}; use 'terms' for lists of words")
    for pattern, problem in problems_of(patterns).items():
        raise UsageError(f"regex: the pattern {pattern!r} does not compile: {problem}")
    flagged = tuple(f"(?i:{pattern})" if ignore_case else pattern for pattern in patterns)
    judge = check if all(map(linear, flagged)) else check_apart
    return make("regex", judge, flagged, patterns, must=must, scope=scope, delivery=delivery, phase=phase)
