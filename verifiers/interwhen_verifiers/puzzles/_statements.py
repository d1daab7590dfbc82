"""What the puzzle verifiers share: statements with positions, their claims, trackers, a recognizer, final answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from interwhen import Claim, Pass, Segment, Span, Task, Tracker, Unknown, Verdict, Violation
from interwhen.toolkit import normalize

PuzzleT = TypeVar("PuzzleT")
StateT = TypeVar("StateT")
SaidT = TypeVar("SaidT", bound="Spanned")
Read: TypeAlias = Callable[[PuzzleT, StateT, Segment], tuple[StateT, Iterable[Claim]]]


@dataclass(frozen=True, slots=True)
class Spanned:
    """A statement of a line. *start* and *end* are offsets in the line."""

    start: int
    end: int

    @property
    def content(self) -> str:
        return f"{type(self).__name__}{tuple(getattr(self, field.name) for field in fields(self)[2:])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Claim, Generic[SaidT, StateT]):
    """The claim for one statement (``said``), with the state of the puzzle ``before`` it."""

    said: SaidT
    before: StateT


def make_statement(segment: Segment, said: SaidT, before: StateT, *, context: str = "") -> Statement[SaidT, StateT]:
    """Return the claim for the statement *said* in *segment*.

    *context* replaces the text in the key of the claim: it must have all of the line and the state that the verdict
    depends on.
    """
    # A statement may be long, such as a list of moves. The context and the place identify it at less cost.
    key = f"{said.start} | {context}" if context else f"{segment.text[said.start : said.end]} | {said.content}"
    return Statement(key=key, span=segment.at(said.start, said.end), said=said, before=before)


def track_phases(begin: Callable[[PuzzleT], StateT], read: Read[PuzzleT, StateT]) -> Tracker[Any]:
    """Return a tracker that calls *read* for each segment. *begin* makes the state at the start of a phase."""

    def step(
        state: tuple[PuzzleT, StateT, str], segment: Segment
    ) -> tuple[tuple[PuzzleT, StateT, str], Iterable[Claim]]:
        puzzle, before, phase = state
        after, claims = read(puzzle, before if phase in ("", segment.phase) else begin(puzzle), segment)
        return (puzzle, after, segment.phase), claims

    return Tracker(lambda puzzle: (puzzle, begin(puzzle), ""), step)


@dataclass(frozen=True, slots=True)
class Afterwards(Spanned):
    """A line after the final answer that states no answer. It may change the answer, so it is never read."""

    verdict: ClassVar[Verdict] = Unknown("the text after the answer may change it")


def watch_answer(tracker: Tracker[Any], *answers: type[Spanned]) -> Tracker[Any]:
    """Return *tracker*, with a claim for each :class:`Afterwards`. *answers* are the classes of final answers."""

    def step(state: tuple[Any, bool], segment: Segment) -> tuple[tuple[Any, bool], Iterable[Claim]]:
        inner, tracked = tracker.step(state[0], segment)
        claims = list(tracked)
        if segment.phase == "answer" and any(character.isalnum() for character in segment.text):
            is_answer = any(isinstance(claim, Statement) and isinstance(claim.said, answers) for claim in claims)
            if state[1] and not is_answer:
                claims.append(make_statement(segment, Afterwards(0, len(segment.text)), None))
            return (inner, state[1] or is_answer), claims
        return (inner, state[1]), claims

    return Tracker(lambda puzzle: (tracker.start(puzzle), False), step)


def prepare_with(read: Callable[[str], PuzzleT | None]) -> Callable[[Task], PuzzleT | None]:
    return lambda task: read(task.question) or read(task.text)


def judged(holds: bool, *, evidence: str, why: str, witness: str = "") -> Verdict:  # noqa: FBT001 (the condition itself)
    return Pass(evidence) if holds else Violation(why=why, witness=witness)


_ANSWER = re.compile(
    r"(?:answer|solution|result|conclusion)\b[\s*_\"'`]{0,6}"
    r"(?:is|are|was|would be|should be|must be|be|:|=|-{1,2}>?|\u2192|\u2013)"
    r"[\s*_:=\"'`($\\]{0,12}(?:boxed\{|text\{)?(?P<it>[^\s*_:=\"'`($\\{])"
    r"|\\boxed\s?\{\s{0,4}(?:\\text\s?\{)?(?P<box>[^\s{}])|<answer>\s{0,4}(?P<tag>[^\s<])",
    re.IGNORECASE,
)
"""Text that gives an answer. Its groups match the first character of the answer, which a claim must cover."""


def recognizer(*patterns: re.Pattern[str]) -> Callable[..., Iterator[Span]]:
    # The groups of the patterns mark the parts of a text that a claim must cover.
    def recognize(segment: Segment, *_prepared: object) -> Iterator[Span]:
        normal = normalize(segment.text)
        for pattern in (_ANSWER, *patterns):
            for match in pattern.finditer(normal.text):
                for group in range(1, (pattern.groups or 0) + 1):
                    if match[group]:
                        span = normal.original(*match.span(group))
                        yield segment.at(span.start, span.end)

    return recognize


# The final answer of a line (after "Answer:", in ``\boxed{}`` or ``<answer>``), and the options of a prompt.

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
_LETTER_ALONE = re.compile(r"[\s*$]{0,4}\(?([A-H])\)?[\s.*$]{0,4}$")
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


@dataclass(frozen=True, slots=True)
class FinalAnswer(Spanned):
    """The final answer in a line."""

    text: str

    @property
    def letter(self) -> str:
        match = _LETTER_ALONE.match(self.text)
        return match[1] if match else ""


def find_answer(line: str) -> FinalAnswer | None:
    # The last box decides, even if it is empty or not closed: then there is no answer.
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
    return Pass(verdict.evidence, scope="answer") if isinstance(verdict, Pass) else verdict


def is_doubtful(text: str) -> bool:
    return _DOUBT.search(text) is not None


def read_options(prompt: str) -> dict[str, str]:
    tail = prompt[-MAX_LINE:]
    marks = list(_OPTION.finditer(tail))
    first = next((at for at in range(len(marks) - 1, -1, -1) if marks[at][1] == "A"), None)
    if first is None:
        return {}
    options: dict[str, str] = {}
    for at in range(first, len(marks)):
        letter = marks[at][1]
        if letter != chr(ord("A") + len(options)):
            return {}
        end = marks[at + 1].start() if at + 1 < len(marks) else len(tail)
        said = _INSTRUCTION.split(tail[marks[at].end() : end].split("\n")[0])[0]
        options[letter] = said.strip().rstrip(".,;|").strip()
    return options if len(options) > 1 and all(options.values()) else {}


def choose(answer: str, options: dict[str, str]) -> tuple[str, str] | None:
    said = answer.strip().strip("*$_ ").rstrip(".").strip()
    match = _LETTER.fullmatch(said)
    if match is not None and (letter := match[1].upper()) in options:
        rest = (match[2] or "").strip().strip("*").rstrip(".").strip()
        if not rest or rest.casefold() == options[letter].casefold():
            return letter, options[letter]
        return None
    matching = [item for item in options.items() if item[1].casefold() == said.casefold()]
    return matching[0] if len(matching) == 1 else None


def _boxed(line: str, start: int) -> FinalAnswer | None:
    depth = 1
    for at in range(start, len(line)):
        depth += (line[at] == "{") - (line[at] == "}")
        if depth == 0:
            inner = re.match(r"\s{0,4}\\(?:text|mathrm|textbf|mathbf)\{([^{}]*+)\}\s{0,4}$", line[start:at])
            return _trimmed(line, start + inner.start(1), start + inner.end(1)) if inner else _trimmed(line, start, at)
    return None


def _trimmed(line: str, start: int, end: int) -> FinalAnswer | None:
    text = line[start:end]
    low = start + len(text) - len(text.lstrip(" \t*_$"))
    text = line[low:end].rstrip(" \t*_$.")
    return FinalAnswer(low, low + len(text), text) if text else None
