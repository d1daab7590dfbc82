"""Whole traces as rows: documents with their thinking, and chats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from interwhen.export.rows import Chat, Document, FieldSpan
from interwhen.export.spliced import OursSpan
from interwhen.export.stories import Story
from interwhen.models.base import Message
from interwhen.models.messages import as_turn
from interwhen.tool_calls import ToolCall


def documents(story: Story, left_out: Counter[str]) -> Iterator[Document]:
    """Yield the trace of *story* behind its problem, if its answer was verified."""
    if not _is_fit(story, left_out):
        return
    document, thinking = story.problem, story.last.text
    spans = tuple(OursSpan(span.start + len(document), span.end + len(document), span.origin) for span in _spans(story))
    yield Document(story.name, document + thinking, document, thinking, spans)


def chats(story: Story, left_out: Counter[str]) -> Iterator[Chat]:
    """Yield the problem and the trace of *story* as messages, if its answer was verified.

    The reasoning, without its tags, is the ``reasoning_content`` of the last message.
    """
    if not _is_fit(story, left_out):
        return
    number = len(story.turns)
    texts = {"reasoning_content": "", "content": ""}
    spans: list[FieldSpan] = []
    calls: list[ToolCall] = []
    tags = {tag.start for tag in story.tags}
    ours = _spans(story)
    at = 0
    for piece in story.last.pieces:
        end = at + len(piece.text)
        if piece.call is not None:
            calls.append(piece.call)
        elif at not in tags:
            name = "reasoning_content" if piece.phase == "reasoning" else "content"
            shift = len(texts[name]) - at
            parts = (span.within(at, end, shift) for span in ours)
            spans.extend(
                FieldSpan(number, name, part.start, part.end, part.origin) for part in parts if part is not None
            )
            texts[name] += piece.text
        at = end
    answer = as_turn(Message("assistant", texts["content"], calls=tuple(calls)))
    if texts["reasoning_content"]:
        answer["reasoning_content"] = texts["reasoning_content"]
    yield Chat(story.name, (*(as_turn(turn) for turn in story.turns), answer), tuple(spans))


def _is_fit(story: Story, left_out: Counter[str]) -> bool:
    if story.is_answer_verified:
        return True
    left_out["runs whose answer is not verified"] += 1
    return False


def _spans(story: Story) -> Sequence[OursSpan]:
    refuted = [OursSpan(span.start, span.end, "refuted") for span in story.refuted]
    return sorted((*story.last.ours, *refuted), key=lambda span: (span.start, span.end))
