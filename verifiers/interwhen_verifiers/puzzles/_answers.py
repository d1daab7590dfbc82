r"""Finds the final answer in a line (after "Answer:", in ``\boxed{}`` or ``<answer>``) and the options in a prompt."""

from __future__ import annotations

import re
from typing import NamedTuple

from interwhen import Pass, Verdict

MAX_LINE = 4000
"""Longer lines are not searched for an answer, and only so many last characters of a prompt for options."""

_BOX = "\\boxed{"
_MARK = re.compile(
    r"(?:^|[.!:;]\ )[\s>*#_=\-]{0,12}(?:(?:so|thus|therefore|hence|and)\b,?\ )?(?:the\ |my\ )?(?:final\ |correct\ )?"
    r"(?:answer|(?<=final\ )solution)(?:\ (?:is|are)\b(?:\ option\b)?\s?[:=]?|\s?[:=])[\s*_:]{0,4}",
    re.IGNORECASE | re.VERBOSE,
)
_TAG = re.compile(r"<answer>([^<>]{1,400})(?:</answer>|$)", re.IGNORECASE)
_OPTION = re.compile(r"(?:^|(?<=[\s|]))\(?([A-H])[.):]\s{1,3}(?=\S)")
_LETTER = re.compile(r"\(?(?:option )?([A-H])\)?(?:[.:)]\s{0,3}(.{1,200}))?", re.IGNORECASE | re.DOTALL)
_INSTRUCTION = re.compile(
    r"\.\s(?=(?:please|first|provide|answer|then|think|let|give|choose|select|put)\b)", re.IGNORECASE
)
_DOUBT = re.compile(
    r"[?\u2717\u2718\u274c]|\b(?:if|not|n't|isn't|cannot|can't|unless|whether|maybe|perhaps|might|could|would|should|suppose|assum\w{1,3}"
    r"|imagine|seems?|probably|likely|wait|hmm|unclear|unsure|either|or|wrong|incorrect|actually|however|but|instead"
    r"|false|untrue|contradict\w{0,6}|impossible|let|let's|say|option|options|question|asks?|asking|check|verify|confirm|consider|possible|possibly|must)\b",
    re.IGNORECASE,
)


class FoundAnswer(NamedTuple):
    """The text of an answer, and its start and end in the line."""

    text: str
    start: int
    end: int


def find_answer(line: str) -> FoundAnswer | None:
    """Find the final answer in *line*: in its last box, else in an ``<answer>`` tag, else after words like "Answer:".

    Return ``None`` if there is none, if the last box is empty or not closed, or if *line* is too long.
    """
    if len(line) > MAX_LINE:
        return None
    box = line.rfind(_BOX)
    if box >= 0:
        return _boxed(line, box + len(_BOX))
    if tag := _TAG.search(line):
        return _trimmed(line, *tag.span(1))
    if mark := _MARK.search(line):
        return _trimmed(line, mark.end(), len(line))
    return None


def of_answer(verdict: Verdict) -> Verdict:
    """Return *verdict*, the verdict on the final answer. If it is a pass, its scope becomes ``answer``."""
    return Pass(verdict.evidence, scope="answer") if isinstance(verdict, Pass) else verdict


def is_doubtful(text: str) -> bool:
    """Tell whether *text* may express a question, an assumption, a doubt or a denial instead of asserting something."""
    return _DOUBT.search(text) is not None


def read_options(prompt: str) -> dict[str, str]:
    """Read the options ``A. …`` to ``H. …`` near the end of *prompt*, as a map from letter to text.

    The map is empty if there are fewer than two options, if their letters do not follow one another, or if one has no
    text.
    """
    tail = prompt[-MAX_LINE:]
    marks = list(_OPTION.finditer(tail))
    first = next((at for at in range(len(marks) - 1, -1, -1) if marks[at][1] == "A"), None)
    if first is None:
        return {}
    found: dict[str, str] = {}
    for at in range(first, len(marks)):
        letter = marks[at][1]
        if letter != chr(ord("A") + len(found)):
            return {}
        end = marks[at + 1].start() if at + 1 < len(marks) else len(tail)
        said = _INSTRUCTION.split(tail[marks[at].end() : end].split("\n")[0])[0]
        found[letter] = said.strip().rstrip(".,;|").strip()
    return found if len(found) > 1 and all(found.values()) else {}


def choose(answer: str, options: dict[str, str]) -> tuple[str, str] | None:
    """Return the letter and text of the option in *options* that *answer* names, or ``None`` if that is not clear."""
    said = answer.strip().strip("*$_ ").rstrip(".").strip()
    match = _LETTER.fullmatch(said)
    if match is not None and (letter := match[1].upper()) in options:
        rest = (match[2] or "").strip().strip("*").rstrip(".").strip()
        if not rest or rest.casefold() == options[letter].casefold():
            return letter, options[letter]
        return None
    matching = [item for item in options.items() if item[1].casefold() == said.casefold()]
    return matching[0] if len(matching) == 1 else None


def _boxed(line: str, start: int) -> FoundAnswer | None:
    depth = 1
    for at in range(start, len(line)):
        depth += (line[at] == "{") - (line[at] == "}")
        if depth == 0:
            inner = re.match(r"\s{0,4}\\(?:text|mathrm|textbf|mathbf)\{([^{}]*+)\}\s{0,4}$", line[start:at])
            return _trimmed(line, start + inner.start(1), start + inner.end(1)) if inner else _trimmed(line, start, at)
    return None


def _trimmed(line: str, start: int, end: int) -> FoundAnswer | None:
    text = line[start:end]
    low = start + len(text) - len(text.lstrip(" \t*_$"))
    text = line[low:end].rstrip(" \t*_$.")
    return FoundAnswer(text, low, low + len(text)) if text else None
