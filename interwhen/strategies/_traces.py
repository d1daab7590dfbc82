"""A trace that a strategy writes: what the model said so far, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio

from interwhen._types.models import Chunk, FinishReason, Model, Piece, Prompt, Request, Sampling, Stream

CLOSING_SECONDS = 5.0
"""How long the end of a stream is waited for."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What stands, in the chunks in which it came. ``finish_reason`` is ``None`` while the model may go on."""

    chunks: tuple[Chunk, ...] = ()
    finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def tokens(self) -> int:
        """How many tokens of the model it holds. What a strategy wrote itself counts none."""
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def ended(self) -> bool:
        """Whether the model came to its end by itself."""
        return self.finish_reason == "stop"

    @property
    def said(self) -> str:
        """What of it is said whole: all, or the lines that are complete where the model did not come to its end."""
        text = self.text
        return text if self.finish_reason == "stop" else text[: text.rfind("\n") + 1]

    def pieces(self) -> tuple[Piece, ...]:
        """Return it as what a request continues."""
        pieces: list[Piece] = []
        for chunk in self.chunks:
            if pieces and pieces[-1].phase == chunk.phase:
                pieces[-1] = Piece(pieces[-1].text + chunk.text, phase=chunk.phase)
            else:
                pieces.append(Piece(chunk.text, phase=chunk.phase))
        return tuple(pieces)

    def write(self, text: str) -> Trace:
        """Return it with *text* of the strategy behind, in the phase it has come to."""
        phase = self.chunks[-1].phase if self.chunks else "answer"
        return Trace((*self.chunks, Chunk(text, phase, tokens=0)))

    def cut(self, length: int) -> Trace:
        """Return its first *length* characters. A token that is cut through is still counted."""
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
    """Let *model* continue *trace*: to its end, or up to and including *until*, once there is text before it.

    *most* is how many further tokens it may write. What came in one read with *until* and stands behind it is
    dropped. Raises :class:`~interwhen.ModelError`.
    """
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
                    chunks.append(Chunk(chunk.text, chunk.phase, chunk.tokens))
                    if until and (end := _end_of_step(chunks, begun, until)):
                        return Trace(tuple(chunks)).cut(end)
    finally:
        await close(stream)
    return Trace(tuple(chunks), reason or "truncated")


async def close(stream: Stream) -> None:
    """Close *stream*, also when the caller is being cancelled."""
    with anyio.move_on_after(CLOSING_SECONDS, shield=True):
        await stream.aclose()


def _end_of_step(chunks: Sequence[Chunk], begun: int, until: str) -> int:
    """Return where *until* ends, if the last chunk completed it behind text of chunk *begun* or a later one; else 0."""
    size = len(until)
    last = chunks[-1].text
    # Each chunk holds something, so that so many of them are enough.
    tail = "".join(chunk.text for chunk in chunks[max(begun, len(chunks) - size) :])
    if until not in tail[-size - len(last) :]:
        return 0
    before = "".join(chunk.text for chunk in chunks[:begun])
    text = "".join(chunk.text for chunk in chunks[begun:])
    at = max(len(text) - len(last) - size, 0)
    while (found := text.find(until, at)) >= 0:
        if text[:found].strip():
            return len(before) + found + size
        at = found + size
    return 0
