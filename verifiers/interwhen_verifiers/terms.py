"""The shipped verifier ``terms``: words and phrases that must not occur, or one of which must.

Terms are literal texts, so that a search takes time in proportion to the text, whatever it is.
"""

from __future__ import annotations

import re

from interwhen import Delivery, Monitor, PhaseFilter, UsageError, Verdict, verifier

from interwhen_verifiers._patterns import Must, PatternClaim, Scope, make, search, search_by_re

MOST = 1000
"""The most terms of one monitor."""
LONGEST = 200


@verifier(name="terms", version="1", deadline=5.0, worker="thread")
def check(claim: PatternClaim) -> Verdict:
    """Judge *claim*."""
    return search(claim, search_by_re)


def terms(
    *,
    terms: tuple[str, ...],
    must: Must = "absent",
    scope: Scope = "line",
    ignore_case: bool = True,
    whole_words: bool = True,
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "both",
) -> Monitor:
    """Refuse text that holds one of some words or phrases, or an answer that holds none of them.

    ``terms``: the words and phrases; a space in one stands for any white space. ``must``: ``absent`` (none of them may
    occur) or ``present`` (one must occur in the answer). ``scope``: the piece of text that is searched as a whole, for
    ``absent``.

    Raises :class:`UsageError` on an empty term, and on an option that it does not know.
    """
    if len(terms) > MOST:
        raise UsageError(f"terms: {len(terms)} terms, {MOST} is the most")
    for term in terms:
        if not term.strip() or len(term) > LONGEST:
            raise UsageError(f"terms: {term[:LONGEST]!r} is empty or longer than {LONGEST} characters")
    patterns = tuple(_pattern(term, ignore_case=ignore_case, whole=whole_words) for term in terms)
    return make("terms", check, patterns, terms, must=must, scope=scope, delivery=delivery, phase=phase)


def _pattern(term: str, *, ignore_case: bool, whole: bool) -> str:
    words = r"\s{1,20}".join(map(re.escape, term.split()))
    start = r"(?<!\w)" if whole and (term.strip()[0].isalnum() or term.strip()[0] == "_") else ""
    end = r"(?!\w)" if whole and (term.strip()[-1].isalnum() or term.strip()[-1] == "_") else ""
    body = f"{start}{words}{end}"
    return f"(?i:{body})" if ignore_case else body
