"""Tells whether two questions are the same in other words: the same things, the same numbers, the same quantity asked.

The rules rewrite a question to one form: polite words, articles, number words, the place of a phrase such as "in
total", and a few frames ("What is the number of ..." is "How many ..."). Two questions are taken as the same only if
these forms are equal. No model takes part: a wrong answer to a near miss costs more than a paraphrase that is not
recognised.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

from interwhen._types.segments import is_hidden
from interwhen.toolkit.quantities import read_number

LONGEST = 400
"""Longer questions are never taken for another one."""
Words = tuple[str, ...]

_TOKEN = re.compile(r"\.?\d[\d,]*(?:[.:]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\S")
_DROPPED = frozenset("?.,;:\"'\u2018\u2019\u201c\u201d")
"""Punctuation without a meaning of its own. Brackets have one, as in "(2 + 3) * 4"."""
_CONTRACTIONS = {
    "what's": ("what", "is"),
    "how's": ("how", "is"),
    "who's": ("who", "is"),
    "where's": ("where", "is"),
    "there's": ("there", "is"),
}
_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        (  # noqa: SIM905
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty"
        ).split()
    )
}
_CASE_MATTERS = frozenset("us it who may march august polish turkey china will bill mark jack rose frank rob".split())  # noqa: SIM905
"""Words that mean something else with a capital letter."""
_POLITE: tuple[Words, ...] = tuple(
    tuple(words.split())
    for words in (
        "please tell me",
        "please",
        "can you please tell me",
        "can you tell me",
        "could you please tell me",
        "could you tell me",
        "would you tell me",
        "i would like to know",
        "i want to know",
        "do you know",
        "tell me",
        "so",
        "ok",
        "hi",
        "hello",
    )
)
_TOTALS: tuple[Words, ...] = (("in", "total"), ("in", "all"), ("all", "together"), ("altogether",), ("overall",))
_PREPOSITIONS = frozenset("in after on at for during by with before per".split())  # noqa: SIM905
_ASKING = frozenset("how what which who when where".split())  # noqa: SIM905
_FORMS = {"has": "have", "are": "is", "were": "was", "an": "a", "costs": "cost", "weighs": "weigh", "earns": "earn"}
_SYNONYMS = {"purchase": "buy", "purchases": "buys", "purchased": "bought", "kilograms": "kg", "kilogram": "kg"}
_PAID = frozenset("cost weigh earn pay spend owe".split())  # noqa: SIM905
"""Verbs after which "what" asks for the same amount as "how much"."""
_NAMED = {"cost": "cost", "price": "cost", "weight": "weigh"}
"""Nouns for the amount that a verb gives: the price of a pen is what it costs."""
_ADJECTIVES = {"height": "tall", "age": "old"}


def form_of(question: str) -> Words | None:
    """Return the normal form of *question* as a tuple of words. Questions with the same form are taken as the same.

    Return ``None`` if the question must not be compared: it has no words, is longer than 400 characters, or has
    invisible characters other than newlines and tabs.
    """
    if not question.strip() or len(question) > LONGEST:
        return None
    if any(char not in "\n\t" and is_hidden(char) for char in question):
        return None
    words = _read(unicodedata.normalize("NFC", question))
    for rule in _RULES:
        words = rule(words)
    return words or None


def is_same_question(one: str, other: str) -> bool:
    """Return whether *one* and *other* are paraphrases that are known to ask the same."""
    form = form_of(one)
    return form is not None and form == form_of(other)


@lru_cache(maxsize=4096)
def stored_form(question: str) -> Words | None:
    """Return :func:`form_of` for a stored question, from a cache."""
    return form_of(question)


def _read(text: str) -> Words:
    """Return the words, numbers and signs of *text*, without punctuation that has no meaning of its own.

    Words are in lower case, except where a capital letter can change the meaning.
    """
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        part = match[0]
        # "!" ends a sentence after a word, and "-" joins two words. Beside a number or "n", they calculate.
        after_word = text[max(match.start() - 2, 0) : match.start()].isalpha() and match.start() > 1
        if part.lstrip(".")[:1].isdigit():
            found.append(_number(part))
        elif part[0].isalpha():
            plain = part.replace("\u2019", "'")
            lower = plain.lower()
            if lower in _CONTRACTIONS:
                found.extend(_CONTRACTIONS[lower])
            else:
                is_first = not found
                is_title = plain in ("A", "I") and (is_first or plain == "I")
                keeps = (plain.isupper() and not is_title) or (lower in _CASE_MATTERS and not is_first)
                found.append(plain if keeps else _NUMBERS.get(lower, lower))
        elif part == "-":
            if not (after_word and text[match.end() : match.end() + 2].isalpha()):
                found.append(part)
        elif part not in _DROPPED and not (part == "!" and after_word):
            found.append(part)
    return tuple(found)


def _number(part: str) -> str:
    # Decimals stay as they are: 3.10 is not 3.1 if it is a version.
    value = None if "." in part else read_number(part.rstrip(","))
    return part.rstrip(",") if value is None else str(value)


# Each rule keeps the meaning of a question. What it does not know, it leaves as it is.


def _leave_out_politeness(words: Words) -> Words:
    left = len(words)
    while left:
        left = next((len(polite) for polite in _POLITE if words[: len(polite)] == polite), 0)
        words = words[left:]
    return words[:-1] if words[-1:] == ("please",) else words


def _leave_out_articles(words: Words) -> Words:
    return tuple(_SYNONYMS.get(word, _FORMS.get(word, word)) for word in words if word != "the")


def _move_phrase_to_end(words: Words) -> Words:
    """Move a phrase before the question word, such as "after 4 days" or "in total", to the end."""
    at = next((at for at, word in enumerate(words) if word in _ASKING), 0)
    if 0 < at <= 8 and (words[0] in _PREPOSITIONS or words[:at] in _TOTALS):
        return (*words[at:], *words[:at])
    return words


def _name_totals(words: Words) -> Words:
    for total in _TOTALS:
        for at in range(len(words) - len(total) + 1):
            # "In all" is no total in "in all boxes".
            if words[at : at + len(total)] == total and (total != ("in", "all") or at + 2 == len(words)):
                return (*words[:at], *words[at + len(total) :], "TOTAL")
    return words


def _count(words: Words) -> Words:
    """Rewrite questions for a count, such as "what is the number of THINGS", to "how many THINGS ..."."""
    if words[:4] == ("what", "is", "number", "of"):
        words = ("how", "many", *words[4:])
    elif words[:2] == ("what", "number") and words[2:3] == ("of",):
        words = ("how", "many", *words[3:])
    if words[:2] != ("how", "many"):
        return words
    for at in range(2, len(words)):
        if words[at : at + 2] == ("is", "there"):
            return (*words[:at], *words[at + 2 :])
        if words[at] in ("do", "does", "that"):
            return (*words[:at], *words[at + 1 :])
    return words


def _measure(words: Words) -> Words:
    """Rewrite questions for an amount, such as "what is the price of THING", to a form such as "how much ..."."""
    asks = words[:2] if words[:2] == ("how", "much") else words[:1] if words[:1] == ("what",) else ()
    rest = words[len(asks) :]
    if asks and rest[:1] in (("do",), ("does",)):
        if len(asks) == 2 or _asks_for_amount(rest):
            return ("how", "much", *rest[1:])
    elif words[:2] == ("what", "is") and words[2:3] and words[3:4] == ("of",):
        noun, thing = words[2], words[4:]
        if noun in _NAMED and thing and not set(thing) & _PREPOSITIONS:
            return ("how", "much", *thing, _NAMED[noun])
        if noun in _ADJECTIVES and thing and not set(thing) & _PREPOSITIONS:
            return ("how", _ADJECTIVES[noun], "is", *thing)
    return words


def _asks_for_amount(words: Words) -> bool:
    """Return whether *words*, which follow "what", ask for an amount: "does Jo pay in May", not "does Jo pay with"."""
    at = next((at for at, word in enumerate(words) if word in _PAID), None)
    if at is None or set(words[:at]) & {"to", "that", *_ASKING}:
        return False
    following = words[at + 1 :]
    return not following or (
        following[0] in {"TOTAL", *_PREPOSITIONS} - {"with"} and following[-1] not in _PREPOSITIONS
    )


def _left(words: Words) -> Words:
    """Rewrite the first "is left" to "remain", as in "how many THINGS is left"."""
    at = next((at for at in range(len(words) - 1) if words[at : at + 2] == ("is", "left")), None)
    return words if at is None else (*words[:at], "remain", *words[at + 2 :])


_RULES: Sequence[Callable[[Words], Words]] = (
    _leave_out_politeness,
    _leave_out_articles,
    _move_phrase_to_end,
    _name_totals,
    _count,
    _measure,
    _left,
)
