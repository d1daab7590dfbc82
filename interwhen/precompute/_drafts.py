"""Keeps the text of requests that were cut off, so that the next slice of the same step can continue it.

A slice may end early, and its step is made again later, usually with the same requests. What a request had generated is
then streamed from the draft, and the model continues it if it is unfinished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from interwhen._types.errors import ContextOverflow
from interwhen._types.models import Chunk, FinishReason, Model, Piece, Request, Stream, Usage
from interwhen._types.segments import Phase
from interwhen.models._wrapper import ModelWrapper
from interwhen.precompute._items import Digest, digest
from interwhen.precompute._store import Store

_MOST = 32


class UnfinishedReply(msgspec.Struct, frozen=True):
    """The draft of a request: the text that it had generated when it was interrupted."""

    parts: tuple[tuple[Phase, str], ...] = ()
    """The text in order, divided by phase."""
    tokens: int = 0
    """The number of generated tokens of the text."""
    finish_reason: FinishReason | None = None
    """Set if the request is complete."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        # The text as pieces of a trace, so that a request can continue it.
        return tuple(Piece(text, phase=phase) for phase, text in self.parts)


class Drafts:
    """The latest 32 drafts of one context, by the digest of their request."""

    def __init__(self, store: Store, context: str) -> None:
        self._store = store
        self._document = f"drafts:{context}"
        self._drafts = store.decoded(self._document, dict[Digest, UnfinishedReply]) or {}
        self._is_stored = bool(self._drafts)

    def get(self, key: Digest) -> UnfinishedReply | None:
        return self._drafts.get(key)

    def put(self, key: Digest, draft: UnfinishedReply) -> None:
        self._drafts.pop(key, None)
        self._drafts[key] = draft
        while len(self._drafts) > _MOST:
            del self._drafts[next(iter(self._drafts))]

    def drop(self, keys: Sequence[Digest]) -> None:
        for key in keys:
            self._drafts.pop(key, None)

    def save(self) -> None:
        if self._drafts or self._is_stored:
            data = msgspec.msgpack.encode(self._drafts)
            self._store.update(self._document, lambda old: None if old == data else data)
            self._is_stored = bool(self._drafts)


class DraftedModel(ModelWrapper):
    """Wraps *model*: a request that an earlier slice sent, too, continues from its draft in *drafts*."""

    # Repeated requests within one object have a draft each. `complete` uses no drafts.

    def __init__(self, model: Model, drafts: Drafts) -> None:
        super().__init__(model)
        self._drafts = drafts
        self._sent: Counter[Digest] = Counter()
        self.keys: list[Digest] = []
        """The digests of the requests for a stream so far."""
        self.reused = 0
        """Tokens that came from drafts instead of the server."""
        self.overflow: ContextOverflow | None = None

    async def stream(self, request: Request) -> Stream:
        # A step may send a request twice, to compare the replies.
        plain = _key(self.name, request)
        self._sent[plain] += 1
        key = digest(plain, str(self._sent[plain]))
        draft = self._drafts.get(key) or UnfinishedReply()
        # Text in a form that the server enforces, such as JSON, cannot be continued in the middle.
        if request.sampling.extra and draft.finish_reason is None:
            draft = UnfinishedReply()
        # A model that continues by an extra turn does not continue inside a line, and may start over.
        if draft.parts and draft.finish_reason is None and (await self._model.capabilities()).resume == "turn":
            draft = UnfinishedReply()
        self.keys.append(key)
        self.reused += draft.tokens
        try:
            inner = None if draft.finish_reason else await self._model.stream(_continued(request, draft))
        except ContextOverflow as error:
            self.overflow = error
            raise
        return _DraftStream(self._drafts, key, draft, inner)

    async def aclose(self) -> None:
        """Do nothing: the caller closes the wrapped model."""


class _DraftStream:
    """Streams *draft* first, and then *inner*, which continues it. New text is added to the draft *key* in *drafts*."""

    def __init__(self, drafts: Drafts, key: Digest, draft: UnfinishedReply, inner: Stream | None) -> None:
        self._drafts = drafts
        self._key = key
        self._draft = draft
        self._earlier = draft
        self._is_begun = False
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._inner is None:
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def receive(self) -> Sequence[Chunk]:
        if not self._is_begun:
            self._is_begun = True
            if said := self._said():
                return said
        if self._inner is None:
            return ()
        chunks = [self._counted(chunk) for chunk in await self._inner.receive()]
        for chunk in chunks:
            self._draft = _longer(self._draft, chunk)
        self._drafts.put(self._key, self._draft)
        return chunks

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()

    def _said(self) -> list[Chunk]:
        draft = self._earlier
        chunks = [Chunk(text, phase, tokens=0) for phase, text in draft.parts]
        if draft.finish_reason:
            usage = Usage(completion_tokens=draft.tokens)
            chunks.append(Chunk("", tokens=0, finish_reason=draft.finish_reason, usage=usage))
        return chunks

    def _counted(self, chunk: Chunk) -> Chunk:
        usage = chunk.usage
        if usage is None or usage.completion_tokens is None or not self._earlier.tokens:
            return chunk
        whole = msgspec.structs.replace(usage, completion_tokens=usage.completion_tokens + self._earlier.tokens)
        return msgspec.structs.replace(chunk, usage=whole)


def _key(model: str, request: Request) -> Digest:
    return digest(model, msgspec.json.encode((request.prompt, request.pieces, request.side)), repr(request.sampling))


def _continued(request: Request, draft: UnfinishedReply) -> Request:
    if not draft.parts:
        return request
    most = request.sampling.max_tokens
    left = None if most is None else max(most - draft.tokens, 1)
    return replace(
        request, pieces=(*request.pieces, *draft.pieces), sampling=replace(request.sampling, max_tokens=left)
    )


def _longer(draft: UnfinishedReply, chunk: Chunk) -> UnfinishedReply:
    parts = draft.parts
    if chunk.text:
        if parts and parts[-1][0] == chunk.phase:
            parts = (*parts[:-1], (chunk.phase, parts[-1][1] + chunk.text))
        else:
            parts = (*parts, (chunk.phase, chunk.text))
    return UnfinishedReply(parts, draft.tokens + chunk.tokens, chunk.finish_reason or draft.finish_reason)
