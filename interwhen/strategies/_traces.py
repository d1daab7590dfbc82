"""The trace of a strategy: the text so far, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import anyio

from interwhen._types.models import Chunk, FinishReason, Model, Piece, Prompt, Request, Sampling, Stream

CLOSING_SECONDS = 5.0
"""The longest wait for the close of a stream."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The text so far, in chunks. ``finish_reason`` is ``None`` while the model may continue."""

    chunks: tuple[Chunk, ...] = ()
    finish_reason: FinishReason | None = None
    """Why the text ended, such as ``stop`` or ``length``; ``None``: it may be continued."""
    recording: object | None = field(default=None, compare=False, repr=False)
    """The ``recording`` of the stream that brought exactly this text, if the model records its streams."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def tokens(self) -> int:
        """The generated tokens of the chunks. Inserted text counts none; a chunk that was cut counts whole."""
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def ended(self) -> bool:
        """Whether the model ended the text, by itself or with tool calls."""
        return self.finish_reason in ("stop", "tool_calls")

    @property
    def said(self) -> str:
        """The whole text if the model ended it, or else only its complete lines."""
        text = self.text
        return text if self.ended else text[: text.rfind("\n") + 1]

    def pieces(self) -> tuple[Piece, ...]:
        """Return the trace as the pieces of a request. Neighbouring chunks of one phase become one piece."""
        pieces: list[Piece] = []
        for chunk in self.chunks:
            if pieces and pieces[-1].phase == chunk.phase:
                pieces[-1] = Piece(pieces[-1].text + chunk.text, phase=chunk.phase)
            else:
                pieces.append(Piece(chunk.text, phase=chunk.phase))
        return tuple(pieces)

    def write(self, text: str) -> Trace:
        """Return the trace with *text* appended and no finish reason, so that the model may continue it.

        *text* counts no tokens, and gets the phase of the last chunk.
        """
        phase = self.chunks[-1].phase if self.chunks else "answer"
        return Trace((*self.chunks, Chunk(text, phase, tokens=0)))

    def cut(self, length: int) -> Trace:
        """Return the first *length* characters of the trace, without a finish reason and without tool calls.

        A chunk that is cut keeps its number of tokens.
        """
        kept: list[Chunk] = []
        for chunk in self.chunks:
            if length <= 0:
                break
            kept.append(Chunk(chunk.text[:length], chunk.phase, chunk.tokens))
            length -= len(chunk.text)
        return Trace(tuple(kept))


async def go_on(
    model: Model, prompt: Prompt, trace: Trace, sampling: Sampling, *, until: str = "", most: int | None = None
) -> Trace:
    # If the model writes `until`, the trace ends there, without a finish reason. (An `until` with only white space
    # before it in the new text does not count.) `most` limits the new tokens (`None`: the limit of `sampling`). A
    # stream that ends without a finish reason gives `truncated`. Raises `ModelError` if the model fails.
    if most is not None:
        sampling = replace(sampling, max_tokens=most)
    stream = await model.stream(Request(prompt, trace.pieces(), sampling))
    chunks = list(trace.chunks)
    begun = len(chunks)
    reason: FinishReason | None = None
    try:
        while more := await stream.receive():
            for chunk in more:
                reason = chunk.finish_reason or reason
                if chunk.text:
                    chunks.append(Chunk(chunk.text, chunk.phase, chunk.tokens, call=chunk.call))
                    if until and (end := _end_of_step(chunks, begun, until)):
                        return Trace(tuple(chunks)).cut(end)
        recording = None if begun else getattr(stream, "recording", None)
    finally:
        await close(stream)
    return Trace(tuple(chunks), reason or "truncated", recording)


async def close(stream: Stream) -> None:
    with anyio.move_on_after(CLOSING_SECONDS, shield=True):
        await stream.aclose()


def _end_of_step(chunks: Sequence[Chunk], begun: int, until: str) -> int:
    # Return where the step ends, after `until`; 0 if it does not. An `until` after only white space does not count.
    size = len(until)
    last = chunks[-1].text
    # No chunk is empty, so the last ``size`` chunks are enough.
    tail = "".join(chunk.text for chunk in chunks[max(begun, len(chunks) - size) :])
    if until not in tail[-size - len(last) :]:
        return 0
    before = "".join(chunk.text for chunk in chunks[:begun])
    text = "".join(chunk.text for chunk in chunks[begun:])
    at = max(len(text) - len(last) - size, 0)
    while (position := text.find(until, at)) >= 0:
        if text[:position].strip():
            return len(before) + position + size
        at = position + size
    return 0
