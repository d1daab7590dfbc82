"""What looks like a statement of a puzzle's text: for the recognizers of the verifiers that read lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from interwhen import Segment, Span, normalize

_ANSWER = re.compile(
    r"(?:answer|solution|result|conclusion)\b[\s*_\"'`]{0,6}"
    r"(?:is|are|was|would be|should be|must be|be|:|=|-{1,2}>?|\u2192|\u2013)"
    r"[\s*_:=\"'`($\\]{0,12}(?:boxed\{|text\{)?(?P<it>[^\s*_:=\"'`($\\{])"
    r"|\\boxed\s?\{\s{0,4}(?:\\text\s?\{)?(?P<box>[^\s{}])|<answer>\s{0,4}(?P<tag>[^\s<])",
    re.IGNORECASE,
)
"""Where something is given as the answer, by its first character: what reads the answer covers that."""


def recognizer(*patterns: re.Pattern[str]) -> Callable[..., Iterator[Span]]:
    """Return a recognizer for whatever gives an answer, and for the groups of *patterns*, in a segment's normal form.

    Of each match, the groups that took part are the essential parts: claims must cover them.
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
