"""Makes the recognizers of the puzzle verifiers that read lines: they find text that looks like a statement."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from interwhen import Segment, Span
from interwhen.toolkit import normalize

_ANSWER = re.compile(
    r"(?:answer|solution|result|conclusion)\b[\s*_\"'`]{0,6}"
    r"(?:is|are|was|would be|should be|must be|be|:|=|-{1,2}>?|\u2192|\u2013)"
    r"[\s*_:=\"'`($\\]{0,12}(?:boxed\{|text\{)?(?P<it>[^\s*_:=\"'`($\\{])"
    r"|\\boxed\s?\{\s{0,4}(?:\\text\s?\{)?(?P<box>[^\s{}])|<answer>\s{0,4}(?P<tag>[^\s<])",
    re.IGNORECASE,
)
"""Text that gives an answer. Its groups match the first character of the answer, which a claim must cover."""


def recognizer(*patterns: re.Pattern[str]) -> Callable[..., Iterator[Span]]:
    """Return a recognizer that searches the normal form of a segment for answers and for *patterns*.

    It yields the span of each group of a match that is not empty: claims must cover these parts.
    """

    def recognize(segment: Segment, *_prepared: object) -> Iterator[Span]:
        normal = normalize(segment.text)
        for pattern in (_ANSWER, *patterns):
            for match in pattern.finditer(normal.text):
                for group in range(1, (pattern.groups or 0) + 1):
                    if match[group]:
                        found = normal.original(*match.span(group))
                        yield segment.at(found.start, found.end)

    return recognize
