"""Finds the words that mark equations which the text does not assert, such as trials and exercises."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re

from interwhen_verifiers._arithmetic.vocabulary import NEGATING, REJECTED, RETRACTING, words_of

_HEADINGS = words_of(
    "try trying attempt guess suppose assume imagine trial student pupil claim claims wrote wrong incorrect mistake "
    "mistakes error errors erroneous flawed fake conjecture hypothesis statement statements choices options riddle "
    "riddles puzzle puzzles misconception misconceptions joke goal target"
)
"""Words of a heading before trials, or before the work of other people."""
_TRIAL = re.compile(r"\W*(?:let's |let us |now |next,? )?(?:try|trying|suppose|assume|guess|attempt)\b", re.IGNORECASE)

_TRIAL_SENTENCE = re.compile(
    r"(?:^|[.!?] )\W{0,4}(?:let's |let us |now |next,? )?(?:try|trying|guess|attempt)\b[^.!?:]*[.!?:]", re.IGNORECASE
)

_LABEL = re.compile(
    r"\W{0,4}(?:(?:option |choice |answer )?(?:\([A-Ha-h]\)|[A-H]\s?[).:]|[a-h]\))(?:\*\*)?:?"
    r"|(?:option|choice|attempt|trial) [0-9]{1,2}:|(?:replace|change|correct|fix)\b"
    r"|(?:old|before|original|was|expected|actual|not|goal|target|given|want):"
    r"|[a-zA-Z] ?= ?-?[0-9]{1,6} ?(?::|→|->))\s*+(?=[$\\(]{0,3}-?[$0-9(])",
    re.IGNORECASE,
)
"""A label such as that of a choice (``A)``), or a value that is tried (``x = 3:``), directly before an equation."""
_EXERCISE = re.compile(
    r"\btrue ?(?:or|/) ?false\b|\bT ?/ ?F\b|\b(?:correct|fix) (?:this|the following|the equation)\b"
    r"|\bfill in\b|\byes or no\b|~~"
    r"|\b(?:spot|find) (?:the|this) (?:error|mistake)|\binsert (?:brackets|parentheses|signs|operators|digits)"
    r"|\bmov(?:e|ing) (?:one|a|two)\b[^.]{0,20}(?:match|stick)"
    r"|\bwhich (?:of (?:these|the following)|(?:one )?(?:is|are) (?:true|right|correct))\b|(?-i:\bSELECT\b|\bWHERE\b)",
    re.IGNORECASE,
)
"""Words that ask the reader to judge or change the equation after them."""

_OUTRIGHT = words_of(
    "✗ ✘ ❌ ✖ ╳ no nope nah not never neither nor none wrong incorrect false untrue fails fail failed rejected reject "
    "too close almost hmm wait oops sorry mismatch doesn't isn't didn't cannot can't won't unfortunately sadly "
    "contradiction impossible missed misses off nein falsch non faux falso incorrecto"
)
"""A line that begins with one of these may reject an equation on the line before."""
_REFERRING = words_of("this that that's it it's which but still these both does is gives but actually equals makes sum")
"""A line that begins with one of these may reject the line before by its other words or a number."""
JOINS = ("+", *sorted(_OUTRIGHT | _REFERRING))
"""A line that begins with one of these is read together with the line before it."""
_REJECTING = (
    NEGATING
    | REJECTED
    | RETRACTING
    | words_of(
        "no too instead neither off short drop dropped discard discarded ruled out exceeds higher lower bigger smaller "
        "larger less mismatch untrue didn't impossible contradicts contradictory fails useless bad false mistaken"
    )
)
_FIRST_SENTENCE = re.compile(r"(?:[^.!?;]|[.!?;](?=\S)){0,120}")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’])*|[✗✘❌✖╳]")

_LEAD = r"[\s.,;:!?)\]}$*\\—–-]*(?:[^\W\d_]+[,.!:;?—–]+\s+)*"
_SUBJECT = r"(?:it|that|this)(?:'s| is| was)?"
_BEGINS = re.compile(rf"(?:\A|[.!?\n]){_LEAD}\Z")
_PRIVATE = re.compile("[\ue000-\ue002]")
_REJECTION = 400
"""The most characters of a sentence that rejects an equation."""
_REJECTS = {
    is_named: re.compile(
        rf"{_LEAD}(?:(?:[\ue000\ue002] ){'?' if is_named else ''}"
        r"(?:is|was) (?:wrong|incorrect|false|not (?:right|correct|true))"
        rf"|(?:(?:\ue001 is|\ue001 ?=|{_SUBJECT}) [0-9.,/]*[0-9], )?(?:{_SUBJECT} )?not \ue002)"
        r"[\s)\]}$*\\]*?(?:[.!](?!\d)|\n|\Z)",
        re.IGNORECASE,
    )
    for is_named in (False, True)
}
"""Sentences that reject an equation (U+E000), where U+E001 is its left side and U+E002 its last one. They must name one
of them, unless (true) the equation is all that its own sentence says."""


def takes_back(text: str, start: int, last: int, end: int) -> bool:
    # Tell whether a sentence says that the equation `text[start:end]` or its last side, from `last` on, is wrong. It is
    # the sentence of the equation or the next one. It must have ended, and say nothing else: `No, 13 is wrong.`
    left = text[start:last].strip().removesuffix("=").rstrip("\\ ")
    # The text itself may hold these private signs, which stand for its equation below, so they are replaced first.
    said = _PRIVATE.sub("x", text[end : end + _REJECTION])
    for sign, words in zip("\ue000\ue001\ue002", (text[start:end].strip(), left, text[last:end].strip()), strict=True):
        said = said.replace(words, sign) if words else said
    return _REJECTS[_BEGINS.search(text[:start]) is not None].match(said) is not None


def announces(text: str) -> bool:
    if ":" in text[-4:]:
        return _is_heading(text)
    if "?" in text[-4:] and _EXERCISE.search(text) is not None:
        return True
    lower = text[:40].lower()
    tries = "try" in lower or "guess" in lower or "ssume" in lower or "uppose" in lower or "ttempt" in lower
    return tries and _TRIAL.match(text) is not None


def _is_heading(text: str) -> bool:
    return not _HEADINGS.isdisjoint(text.lower().replace("'s", " ").replace(":", " ").split())


def announcement(text: str) -> int | None:
    end = -1
    label = _LABEL.match(text)
    if label is not None:
        return label.end()
    if (
        (
            "rue" in text
            or "T/F" in text
            or "orrect th" in text
            or "ix th" in text
            or "pot th" in text
            or "ind the" in text
        )
        or ("ill in" in text or "nsert" in text or "match" in text or "stick" in text or "hich " in text)
        or ("SELECT" in text or "WHERE" in text or "es or no" in text or "~~" in text)
    ):
        exercise = _EXERCISE.search(text)
        if exercise is not None:
            return exercise.end()
    if ": " in text:
        at = text.find(": ")
        while at >= 0:
            start = max(text.rfind(". ", max(0, at - 80), at), at - 80, 0)
            if _is_heading(text[start:at]):
                end = at
                break
            at = text.find(": ", at + 1)
    if "try" in text or "Try" in text or "uess" in text or "ttempt" in text:
        trial = _TRIAL_SENTENCE.search(text)
        if trial is not None:
            end = trial.end() if end < 0 else min(end, trial.end())
    return None if end < 0 else end


def rejects(text: str, before: str) -> bool:
    if before.startswith("-") and text.startswith("+"):
        return True  # two lines of a difference between files
    match = _FIRST_SENTENCE.match(text.lstrip())
    assert match is not None
    sentence = match[0]
    words = [word.lower().replace("’", "'") for word in _WORD.findall(sentence)]
    if not words:
        return False
    if words[0] in _OUTRIGHT or not _REJECTING.isdisjoint(words):
        return True
    # "That is 25." gives another value than the line before.
    number = _NUMBER.search(sentence) if words[0] in _REFERRING and "=" not in sentence else None
    return number is not None and number[0] not in before
