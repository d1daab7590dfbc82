"""Shared parts of ``regex`` and ``terms``: the claim that a text matches none, or at least one, of some patterns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, NamedTuple, TypeAlias, get_args

from interwhen import (
    Answer,
    Claim,
    Feedback,
    Lines,
    Monitor,
    Paragraphs,
    Pass,
    Segment,
    Sentences,
    Span,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
)
from interwhen.toolkit import Delivery, PhaseFilter, Verifier, normalize
from interwhen.triggers import Trigger

from interwhen_verifiers._factories import require_choice
from interwhen_verifiers._re2 import Place

Must: TypeAlias = Literal["absent", "present"]
Scope: TypeAlias = Literal["sentence", "line", "paragraph", "answer"]

_TRIGGERS: dict[Scope, Trigger] = {
    "sentence": Sentences(),
    "line": Lines(),
    "paragraph": Paragraphs(),
    "answer": Answer(),
}
_SHOWN = 80
_LONGEST_KEY = 2_000
_MOST_HERE = 100_000
"""The most work on the event loop for one text: its length, times the number of patterns. More is done by the
verifier.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternClaim(Claim):
    """``text`` matches none of ``patterns`` (``must`` is ``absent``) or at least one (``present``)."""

    text: str
    patterns: tuple[str, ...]
    """Regular expressions. Messages name each of them by the entry of ``names`` with the same index."""
    names: tuple[str, ...]
    must: Must
    before: str = ""
    """The end of the text before, to find a word that spans both. Empty: earlier text is not searched."""


Occurs: TypeAlias = Callable[[str, str], bool]
"""A function of the end of the text before, and of a text. Tells whether a pattern may occur in the text, perhaps in
disguise. It is quick, and false only if the verdict on the text is a pass."""
Find: TypeAlias = Callable[[str, str], Place | None]
"""A function of a pattern and a text."""


def search_by_re(pattern: str, text: str) -> Place | None:
    # This may take exponential time.
    match = re.search(pattern, text)
    return None if match is None else Place(*match.span())


def search(claim: PatternClaim, find: Find) -> Verdict:
    for pattern, name in zip(claim.patterns, claim.names, strict=True):
        place = find(pattern, claim.text)
        if place is None:
            continue
        if claim.must == "present":
            return Pass(f"{_shown(name)} occurs at character {place.start}")
        return Violation(why=f"{_shown(name)} must not occur here", where=_place(claim, place))
    if claim.must == "absent" and (hidden := _hidden(claim, find)):
        return Unknown(f"{_shown(hidden)} occurs here, once the text is read without characters that are not seen")
    wanted = " or ".join(map(_shown, claim.names[:3])) + (" or another of the list" if len(claim.names) > 3 else "")
    if claim.must == "absent":
        return Pass(f"{wanted} does not occur")
    return Violation(why=f"{wanted} must occur in the answer, and does not")


def _hidden(claim: PatternClaim, find: Find) -> str:
    normal = normalize(claim.text)
    if not normal.changed:
        return ""
    return next(
        (name for pattern, name in zip(claim.patterns, claim.names, strict=True) if find(pattern, normal.text)), ""
    )


def make(
    name: str,
    verifier: Verifier,
    patterns: tuple[str, ...],
    names: tuple[str, ...],
    occurs: Occurs | None,
    *,
    reach: int = 0,
    must: Must,
    scope: Scope,
    delivery: Delivery,
    phase: PhaseFilter,
) -> Monitor:
    """Make the monitor *name* (``regex`` or ``terms``), whose *verifier* searches for *patterns*.

    *names* are the names of the patterns in messages. *occurs* tells which texts need a check; ``None``: all. Up to
    *reach* characters before a text are searched with it. With ``present`` for *must*, the monitor searches the
    complete answer, whatever *scope* is. Raises :class:`UsageError` if there is no pattern, or for a wrong option
    value.
    """
    if not patterns:
        raise UsageError(f"{name}: needs at least one {'pattern' if name == 'regex' else 'term'}, got none; give one")
    require_choice(name, get_args(Must), must=must)
    require_choice(name, _TRIGGERS, scope=scope)
    return Monitor(
        name=name,
        trigger=Answer() if must == "present" else _TRIGGERS[scope],
        extractor=_reader(patterns, names, must, occurs if must == "absent" else None, reach),
        verifier=verifier,
        delivery=delivery,
        remedy=Feedback("append" if must == "present" else "rewind"),
        level="explain",
        phase=phase,
    )


class _Border(NamedTuple):
    """The phase of the last text, and its last characters."""

    phase: str
    tail: str


def _reader(
    patterns: tuple[str, ...], names: tuple[str, ...], must: Must, occurs: Occurs | None, reach: int
) -> Tracker[_Border | None]:
    # Without any claim, a run would not be verified.
    key = "\x1f".join((must, *patterns))
    if len(key) > _LONGEST_KEY:  # each claim has its own copy
        key = f"{must}\x1f{sha256(key.encode(errors='surrogatepass')).hexdigest()}"

    def step(border: _Border | None, segment: Segment) -> tuple[_Border, tuple[PatternClaim, ...]]:
        text = segment.text
        before = border.tail if border is not None and border.phase == segment.phase else ""
        after = _Border(segment.phase, f"{before}\n{text}"[-reach:] if reach else "")
        is_short = len(text) * len(patterns) <= _MOST_HERE
        if border is not None and occurs is not None and is_short and not occurs(before, text):
            return after, ()
        claim = PatternClaim(
            key=f"{key}\x1f{before}" if reach else key,
            span=segment.span,
            text=text,
            patterns=patterns,
            names=names,
            must=must,
            before=before,
        )
        return after, (claim,)

    return Tracker(lambda _prepared: None, step)


def _place(claim: PatternClaim, place: Place) -> Span | None:
    # An empty match (of "^", for example) has no span to show.
    return Span(*place) if place.end > place.start and claim.span is not None else None


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…")
