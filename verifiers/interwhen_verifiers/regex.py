"""The shipped verifier ``regex``: patterns that must not occur, or one of which must.

The patterns are the user's, the text is the model's, and :mod:`re` may take exponential time over the two. So each
check runs in a worker process, which is killed at its deadline: that check then came to nothing, which is never a
pass, and the stream goes on meanwhile.
"""

from __future__ import annotations

import re

from interwhen import Delivery, Monitor, PhaseFilter, UsageError, Verdict, verifier

from interwhen_verifiers._patterns import Must, PatternClaim, Scope, make, search

MOST = 64
"""The most patterns of one monitor."""


@verifier(name="regex", version="1", deadline=1.0, worker="process")
def check(claim: PatternClaim) -> Verdict:
    """Judge *claim*, in a process that can be killed."""
    return search(claim)


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
        raise UsageError(f"regex: {len(patterns)} patterns, {MOST} is the most; for lists of words there is 'terms'")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(f"regex: the pattern {pattern!r} does not compile: {error}") from error
    flagged = tuple(f"(?i:{pattern})" if ignore_case else pattern for pattern in patterns)
    return make("regex", check, flagged, patterns, must=must, scope=scope, delivery=delivery, phase=phase)
