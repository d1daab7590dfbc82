"""The rows of each export format, made from the history of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from interwhen._core.release import passed
from interwhen._types.models import Message
from interwhen._types.results import ViolationRecord
from interwhen._types.segments import Span, ToolCall
from interwhen.models._messages import as_turn
from interwhen.training._attempts import AttemptHistory, OursSpan, RecordedAttempt, place_of, within
from interwhen.training._decontamination import strings_in


class ThinkingDocument(msgspec.Struct, frozen=True):
    """A row of the format ``tpt``: a document, then the model's thinking about it (arXiv 2509.20186)."""

    id: str
    """A short hash of the prompt of the run."""
    text: str
    document: str
    """The prompt of the run as text."""
    thinking: str
    """The whole final trace: reasoning and answer."""
    spans: tuple[OursSpan, ...]
    """The spans of ``text`` that a training loss should leave out."""

    @property
    def searched(self) -> str:
        # The text of the row that must not overlap with test data.
        return self.text


class FieldSpan(msgspec.Struct, frozen=True):
    """A span in a field of a message that a training loss should leave out.

    *message* is the index of the message; *field* is ``content`` or ``reasoning_content``.
    """

    message: int
    field: str
    start: int
    """Where the span begins in the field; ``end`` is the offset after it."""
    end: int
    origin: str
    """``refuted``, or how interwhen wrote the text, such as ``feedback``."""


class Chat(msgspec.Struct, frozen=True):
    """A row of the format ``messages``: a chat whose last message has the trace without reasoning tags."""

    id: str
    messages: tuple[dict[str, Any], ...]
    """The messages in the form of the chat API."""
    spans: tuple[FieldSpan, ...]

    @property
    def searched(self) -> str:
        # The text of the row that must not overlap with test data, including the arguments of tool calls.
        return "\n".join(text for message in self.messages for text in _said(message))


def _said(message: dict[str, Any]) -> Iterator[str]:
    yield from strings_in(message.get("reasoning_content"))
    yield from strings_in(message.get("content"))
    for call in (*message.get("tool_calls", ()), message.get("function_call")):
        if call is not None:
            yield from _arguments(call.get("custom") or call.get("function") or call)


def _arguments(called: dict[str, Any]) -> Iterator[str]:
    text = called["input"] if "input" in called else called["arguments"]
    try:
        yield from strings_in(json.loads(text))
    except (ValueError, RecursionError):
        yield text


class Steps(msgspec.Struct, frozen=True):
    """A row of the format ``prm``: labelled steps that follow *prompt*. A label is true if the line is judged right."""

    id: str
    """The hash of the prompt, the number of the attempt, and the number of the row in it."""
    prompt: str
    """The problem and the text of the attempt before the first step."""
    completions: tuple[str, ...]
    """The steps: lines without their line ends."""
    labels: tuple[bool, ...]
    prompt_spans: tuple[OursSpan, ...]
    """The spans of ``prompt`` that interwhen wrote. Steps never contain such text."""

    @property
    def searched(self) -> str:
        # The text of the row that must not overlap with test data.
        return "\n".join((self.prompt, *self.completions))


class Preference(msgspec.Struct, frozen=True):
    """A row of the format ``preference``: a continuation that checks refuted, and one with a line that passed."""

    id: str
    """The hash of the prompt, and the number of the attempt that the violation ended."""
    prompt: str
    """The problem and the prefix."""
    chosen: str
    """The continuation in the final trace, up to the end of the first line that is judged right."""
    rejected: str
    """The refuted continuation, up to the end of the wrong line."""
    prefix: str
    """The part of ``prompt`` after the problem: the trace before the refuted continuation."""
    prompt_spans: tuple[OursSpan, ...]
    chosen_spans: tuple[OursSpan, ...]
    """The spans of ``chosen`` that interwhen wrote: repaired values. ``chosen`` never contains feedback."""
    monitor: str
    """The monitor that refuted ``rejected``."""
    remedy: str

    @property
    def searched(self) -> str:
        # The text of the row that must not overlap with test data, also across the end of the prompt.
        return f"{self.prompt}{self.chosen}\n{self.prompt}{self.rejected}"


Row: TypeAlias = ThinkingDocument | Chat | Steps | Preference


# Whole traces as rows: documents with their thinking, and chats.


def document(history: AttemptHistory) -> ThinkingDocument:
    problem, thinking = history.problem, history.last.text
    spans = tuple(OursSpan(span.start + len(problem), span.end + len(problem), span.origin) for span in _spans(history))
    return ThinkingDocument(history.name, problem + thinking, problem, thinking, spans)


def chat(history: AttemptHistory) -> Chat:
    # The reasoning, without its tags, is the `reasoning_content` of the last message.
    number = len(history.turns)
    texts = {"reasoning_content": "", "content": ""}
    spans: list[FieldSpan] = []
    calls: list[ToolCall] = []
    tags = {tag.start for tag in history.tags}
    ours = _spans(history)
    at = 0
    for piece in history.last.pieces:
        end = at + len(piece.text)
        if piece.call is not None:
            calls.append(piece.call)
        elif at not in tags:
            name = "reasoning_content" if piece.phase == "reasoning" else "content"
            parts = within(ours, at, end, len(texts[name]) - at)
            spans.extend(FieldSpan(number, name, part.start, part.end, part.origin) for part in parts)
            texts[name] += piece.text
        at = end
    answer = as_turn(Message("assistant", texts["content"], calls=tuple(calls)))
    if texts["reasoning_content"]:
        answer["reasoning_content"] = texts["reasoning_content"]
    return Chat(history.name, (*(as_turn(turn) for turn in history.turns), answer), tuple(spans))


def why_unfit(history: AttemptHistory, *, keep_refuted: bool) -> str:
    """Return why the whole trace of *history* is no training data; empty if it is.

    Its answer must be verified. It must have no line that was refuted, and neither cut nor followed by feedback; with
    *keep_refuted*, it may.
    """
    if not history.is_answer_verified:
        return "runs without a verified answer"
    return "runs with a line that was refuted and not corrected" if history.observed and not keep_refuted else ""


def _spans(history: AttemptHistory) -> Sequence[OursSpan]:
    spans = (*history.refuted, *history.observed)
    refuted = [OursSpan(span.start, span.end, "refuted") for span in dict.fromkeys(spans)]
    return sorted((*history.last.ours, *refuted), key=lambda span: (span.start, span.end))


Judgement = Literal["right", "wrong", "open", "plain"]
"""``wrong``: the line has a part of a violation. ``open``: a check of text that has a part of the line did not pass, or
such a check or extraction had not ended. ``right``: all such checks passed, and the claim of one lies in the line.
``plain``: any other line."""


class TraceLine(NamedTuple):
    """A line of a trace, including its line end."""

    start: int
    """The offset at which it begins; ``end`` is the offset after it."""
    end: int
    judgement: Judgement
    is_ours: bool
    """Whether interwhen wrote a part of the line."""


def lines_of(attempt: RecordedAttempt, start: int = 0) -> Iterator[TraceLine]:
    text = attempt.text
    ours = attempt.ours
    at = start
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        is_ours = any(span.start < end and at < span.end for span in ours)
        yield TraceLine(at, end, judge(attempt, at, end), is_ours)
        at = end


def judge(attempt: RecordedAttempt, start: int, end: int) -> Judgement:
    if any(_touches(violation.span, start, end) for violation in attempt.violations):
        return "wrong"
    touching = [check for check in attempt.checks if _touches(place_of(check), start, end)]
    if any(not passed(check.outcome) for check in touching) or any(_touches(span, start, end) for span in attempt.open):
        return "open"
    if any(start <= check.span.start and check.span.end <= end for check in touching if check.span is not None):
        return "right"
    return "plain"


def line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    return text.find("\n", max(at - 1, 0)) + 1 or len(text)


def _touches(span: Span, start: int, end: int) -> bool:
    return span.start < end and start < span.end


def steps(history: AttemptHistory, left_out: Counter[str]) -> Iterator[Steps]:
    # A step is a whole line of the model that is judged right or wrong. Consecutive steps form one row. Any other line
    # that is not blank ends the row and is counted in `left_out`. Nothing after the first wrong line of an attempt is a
    # step.
    problem = history.problem
    for number, attempt in enumerate(history.attempts):
        for place, lines in enumerate(_runs(attempt, left_out)):
            start = lines[0].start
            yield Steps(
                f"{history.name}-{number}-{place}",
                problem + attempt.text[:start],
                tuple(attempt.text[line.start : line.end].rstrip("\r\n") for line in lines),
                tuple(line.judgement == "right" for line in lines),
                within(attempt.ours, 0, start, len(problem)),
            )


def _runs(attempt: RecordedAttempt, left_out: Counter[str]) -> Iterator[list[TraceLine]]:
    run: list[TraceLine] = []
    for line in lines_of(attempt, attempt.start):
        if not attempt.text[line.start : line.end].strip():
            continue
        why = _why_no_step(attempt, line)
        if why:
            left_out[why] += 1
        else:
            run.append(line)
        if run and (why or line.judgement == "wrong"):
            yield run
            run = []
        if line.judgement == "wrong":
            return
    if run:
        yield run


def _why_no_step(attempt: RecordedAttempt, line: TraceLine) -> str:
    # The rest of a line that was cut and repaired is not a step.
    if line.is_ours or (line.start > 0 and attempt.text[line.start - 1] != "\n"):
        return "lines with text of interwhen"
    if line.judgement in ("right", "wrong"):
        return ""
    return "lines that are open" if line.judgement == "open" else "lines without a claim"


# Preference pairs from interrupts: the refuted continuation, and the one that replaced it.


def preferences(history: AttemptHistory, left_out: Counter[str]) -> Iterator[Preference]:
    """Yield preference pairs for the interrupts of *history* whose correction passed its checks.

    *left_out* counts the interrupts without a pair, by reason.
    """
    for number, attempt in enumerate(history.attempts):
        violation = attempt.ended_by
        if violation is None:
            continue
        pair = _pair(history, attempt, violation, f"{history.name}-{number}")
        if isinstance(pair, str):
            left_out[pair] += 1
        else:
            yield pair


def _pair(history: AttemptHistory, attempt: RecordedAttempt, violation: ViolationRecord, name: str) -> Preference | str:
    before, last = attempt.text, history.last
    after = last.text
    cut = violation.cut
    if cut is None or violation.remedy in ("conclude", "stop", "abstain"):
        return "interrupts that were not corrected"
    # With appended feedback, the wrong line is kept, and ends at or before the cut.
    start = cut if cut <= violation.span.start else line_start(before, violation.span.start)
    if after[:cut] != before[:cut]:
        return "interrupts with a later correction before them"
    begin = _after_feedback(last, cut)
    end = _right_until(last, begin)
    if end is None:
        return "interrupts without a verified correction"
    chosen, rejected = after[begin:end], before[start : line_end(before, violation.span.end)]
    if not chosen.strip() or chosen == rejected:
        return "interrupts that changed nothing"
    problem = history.problem
    return Preference(
        name,
        problem + before[:start],
        chosen,
        rejected,
        before[:start],
        within(attempt.ours, 0, start, len(problem)),
        within(last.ours, begin, end, -begin),
        violation.monitor,
        violation.remedy or "",
    )


def _after_feedback(last: RecordedAttempt, at: int) -> int:
    for span in last.ours:
        if span.origin == "feedback" and span.start == at:
            at = span.end
    return at


def _right_until(last: RecordedAttempt, begin: int) -> int | None:
    # Return the end of the first right line; `None` if a wrong line, an open line or feedback comes before it.
    text, at = last.text, begin
    while at < len(text):
        end = line_end(text, at + 1)
        if any(span.origin == "feedback" for span in within(last.ours, at, end)):
            return None
        # The line and the claim of a repaired value begin before the value.
        match judge(last, line_start(text, at), end):
            case "right":
                return end
            case "plain":
                at = end
            case _:
                return None
    return None
