"""What holds for any bytes that claim to be an event stream; shared by the hypothesis tests and the atheris target.

Nothing waits here: a body of bytes that are all there never suspends its reader, so no event loop is needed.
"""

from itertools import pairwise
from typing import NamedTuple

from interwhen.models import ModelError
from interwhen.models._chunks import decode_chat, decode_completion
from interwhen.models._token_stream import StreamNotes, TokenStream, lenient

DECODERS = {"completions": decode_completion, "chat": decode_chat}


class Outcome(NamedTuple):
    """All that a reader learns from one stream."""

    text: str
    reasoning: str
    tokens: int
    logprob: float
    reasons: tuple[str, ...]
    usage: object
    error: tuple[type, str] | None
    skipped: int
    replaced: int


class Body:
    """A response whose body is *parts*, and then over."""

    def __init__(self, parts):
        self.parts = iter([part for part in parts if part])
        self.reads = 0

    async def receive(self):
        self.reads += 1
        return next(self.parts, b"")

    async def aclose(self):
        pass


def finish(coroutine):
    # Return the value of `coroutine`, which must not wait for anything.
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the stream waited although all bytes were there")


def read(parts, api, *, skip=False):
    notes = StreamNotes()
    decode = lenient(DECODERS[api], notes) if skip else DECODERS[api]
    body = Body(parts)
    stream = TokenStream(body, decode, notes=notes)
    chunks, error, calls = [], None, 0
    try:
        while got := finish(stream.receive()):
            chunks += got
            calls += 1
    except ModelError as exc:
        error = (type(exc), str(exc))
    assert calls <= body.reads, "more answers than reads"
    return Outcome(
        "".join(chunk.text for chunk in chunks if chunk.phase == "answer"),
        "".join(chunk.text for chunk in chunks if chunk.phase == "reasoning"),
        sum(chunk.tokens for chunk in chunks),
        round(sum(chunk.logprob or 0.0 for chunk in chunks), 6),
        tuple(chunk.finish_reason for chunk in chunks if chunk.finish_reason is not None),
        next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None),
        error,
        notes.skipped_events,
        notes.replaced_events,
    )


def cut_at(body, offsets):
    borders = sorted({offset % (len(body) + 1) for offset in offsets} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(borders)]


def holds_for(body, offsets=()):
    # Assert what must hold for `body`, whatever it is, also when it arrives cut at `offsets`. No exception but ours, no
    # endless loop, no more text than bytes; and the cuts change nothing.
    for api in DECODERS:
        for skip in (False, True):
            whole = read([body], api, skip=skip)
            assert len(whole.text) + len(whole.reasoning) <= len(body)
            assert read(cut_at(body, offsets), api, skip=skip) == whole
            assert whole.error is not None or whole.reasons, "an end without a reason"
