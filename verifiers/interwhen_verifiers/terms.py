"""The shipped verifier ``terms``: words and phrases that must not occur, or of which at least one must occur."""

from __future__ import annotations

import re

from interwhen import Monitor, Pass, Span, Unknown, UsageError, Verdict, Violation, verifier
from interwhen.toolkit import Delivery, PhaseFilter, normalize, safe_from_data

from interwhen_verifiers._factories import require_texts
from interwhen_verifiers._patterns import Must, Occurs, PatternClaim, Scope, make, search, search_by_re
from interwhen_verifiers._re2 import Place
from interwhen_verifiers._spelling import Skeleton, look_of

MOST = 1000
"""The most terms of one monitor."""
LONGEST = 200
"""The most characters of a term, and of earlier text that is searched together with a new text."""
_MOST_NEAR = 200_000
"""The most work on the event loop for the terms that may occur: the length of the text, times that of these terms."""


@verifier(name="terms", version="3", deadline=5.0, worker="thread")
def check(claim: PatternClaim) -> Verdict:
    normal = normalize(claim.text)

    def find(pattern: str, _text: str) -> Place | None:
        normal_place = search_by_re(pattern, normal.text)
        return None if normal_place is None else Place(*_pair(normal.original(normal_place.start, normal_place.end)))

    verdict = search(claim, find)
    if claim.must == "absent" and isinstance(verdict, Violation):
        return verdict
    if claim.must == "present" and isinstance(verdict, Pass):
        # Letters of other scripts and invisible characters hide the word from a search.
        return verdict if not normal.changed or isinstance(search(claim, search_by_re), Pass) else Unknown(_SPELLED)
    disguised = _disguised(claim)
    if disguised is None:
        return verdict
    place = f"characters {disguised[1].start} to {disguised[1].end}" if disguised[1].start >= 0 else "its beginning"
    return Unknown(f"{disguised[0]!r} may stand in this text in another spelling, at {place}")


_SPELLED = "the word occurs in a spelling with characters that are not seen"


def _pair(span: Span) -> tuple[int, int]:
    return span.start, span.end


def _disguised(claim: PatternClaim) -> tuple[str, Place] | None:
    joined = f"{claim.before}\n{claim.text}" if claim.before else claim.text
    ours = len(joined) - len(claim.text)
    normal = normalize(joined)
    skeleton = Skeleton(normal.text)
    for name in claim.names:
        place = skeleton.find(name)
        if place is None:
            continue
        span = normal.original(place.start, place.end)
        if span.end > ours:
            return name, Place(span.start - ours, span.end - ours)
    return None


def _occurs(patterns: tuple[str, ...], names: tuple[str, ...]) -> Occurs:
    looks = tuple(map(look_of, names))

    def occurs(before: str, text: str) -> bool:
        joined = f"{before}\n{text}"
        # What a term matches looks like the term, also where the match is in another case or in disguise.
        skeleton = Skeleton(joined if joined.isascii() else normalize(joined).text)
        near = [at for at, look in enumerate(looks) if skeleton.may_hold(look)]
        if not near or len(joined) * sum(len(names[at]) for at in near) > _MOST_NEAR:
            return bool(near)
        claim = PatternClaim(
            key="",
            span=Span(0, len(text)),
            text=text,
            patterns=tuple(patterns[at] for at in near),
            names=tuple(names[at] for at in near),
            must="absent",
            before=before,
        )
        return not isinstance(check.check(claim), Pass)

    return occurs


@safe_from_data()
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
    """Make a monitor that refuses text with one of the given words or phrases, or an answer with none of them.

    ``terms``: the words and phrases; a space in a phrase stands for 1 to 20 white-space characters. ``must``:
    ``absent`` (none of them may occur) or ``present`` (at least one must occur in the answer). ``scope``: for
    ``absent``, the unit of text that is searched at once. ``ignore_case``: letters match in upper and lower case.
    ``whole_words``: a term inside a longer word is not found. ``delivery`` and ``phase`` are those of
    :class:`~interwhen.Monitor`.

    The text is read in normal form: full-width letters become ordinary ones, and invisible characters are dropped. The
    verdict is ``Unknown`` if a word of four letters or more may be there in another disguise, such as letters of
    another script, and, with ``present``, if a term occurs only in the normal form. Raises :class:`UsageError` if there
    are no terms or more than 1,000, if one is longer than 200 characters or blank, and on a wrong option value.
    """
    require_texts("terms", terms=terms)
    if len(terms) > MOST:
        raise UsageError(f"terms: there must be at most {MOST}, got {len(terms)}; use several monitors")
    for term in terms:
        if len(term) > LONGEST or not normalize(term).text.strip():
            raise UsageError(
                f"terms: each term must have 1 to {LONGEST} characters, and not only blanks or invisible ones; got "
                f"{term[:LONGEST]!r}; correct it"
            )
    read = [normalize(term).text for term in terms]
    patterns = tuple(_pattern(term, ignore_case=ignore_case, whole=whole_words) for term in read)
    return make(
        "terms",
        check,
        patterns,
        terms,
        _occurs(patterns, terms),
        reach=LONGEST if must == "absent" else 0,
        must=must,
        scope=scope,
        delivery=delivery,
        phase=phase,
    )


def _pattern(term: str, *, ignore_case: bool, whole: bool) -> str:
    words = r"\s{1,20}".join(map(re.escape, term.split()))
    start = r"(?<!\w)" if whole and (term.strip()[0].isalnum() or term.strip()[0] == "_") else ""
    end = r"(?!\w)" if whole and (term.strip()[-1].isalnum() or term.strip()[-1] == "_") else ""
    body = f"{start}{words}{end}"
    return f"(?i:{body})" if ignore_case else body
