"""A model that says what it was given: a proposal before its judges, a stored answer before a reader's monitors."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.lowlevel

from interwhen._types.errors import ModelError
from interwhen._types.models import Capabilities, Chunk, Completion, Model, Request, Stream
from interwhen.models._token_stream import GuardedStream
from interwhen.models._transport import Timeouts

_SIZE = 64
"""Characters of a chunk."""


class RecitingModel:
    """Says *text* behind any prompt; goes on behind a prefix of it. *forks* answers the side inferences of monitors."""

    def __init__(self, text: str, *, forks: Model | None = None, name: str = "recited") -> None:
        self._text = text
        self._forks = forks
        self.name = name

    async def capabilities(self) -> Capabilities:
        """Take the text as it is: tags in it are no reasoning."""
        return Capabilities(resume="prefix", forks=self._forks is not None, think_tags=None)

    async def stream(self, request: Request) -> Stream:
        """Say the text, or what is left of it. Raises :class:`ModelError` behind a prefix of another text."""
        prefix = request.prefix
        if not self._text.startswith(prefix):
            raise ModelError("a stored text cannot be gone on with otherwise than it is")
        await anyio.lowlevel.checkpoint()
        return _Recital(self._text[len(prefix) :])

    async def complete(self, request: Request) -> Completion:
        """Let the other model answer."""
        if self._forks is None:
            raise ModelError("a stored text cannot answer a question about itself, and no model was given for that")
        return await self._forks.complete(request)

    async def aclose(self) -> None:
        """Do nothing: the other model belongs to whoever gave it."""


class _Recital(GuardedStream):
    def __init__(self, text: str) -> None:
        super().__init__()
        self._chunks = [Chunk(text[at : at + _SIZE], tokens=0) for at in range(0, len(text), _SIZE)]
        self._chunks.append(Chunk("", tokens=0, finish_reason="stop"))

    async def fetch(self) -> Sequence[Chunk]:
        await anyio.lowlevel.checkpoint()
        found, self._chunks = tuple(self._chunks), []
        return found


# A model that says a stored answer, and hands over to the real one as soon as it has to say anything else.


class SayingModel:
    """Says *text* to a request that has nothing to continue. All other requests go to *model*.

    So a stored answer is watched like one that is being generated: where a monitor cuts it, the real model goes on from
    the cut. The first *reasoning* characters are the reasoning. Its text counts no tokens: they were spent before, and
    stand in the ledger as offline tokens.
    """

    def __init__(self, text: str, model: Model, *, reasoning: int = 0) -> None:
        self._parts = (text[:reasoning], text[reasoning:])
        self._model = model
        self.timeouts = getattr(model, "timeouts", Timeouts())

    @property
    def name(self) -> str:
        """The name of the model behind it: that is who said it."""
        return self._model.name

    async def capabilities(self) -> Capabilities:
        """Return those of the model behind it."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Say the text, or let the model go on."""
        if request.pieces or request.side is not None:
            return await self._model.stream(request)
        return _Said(*self._parts)

    async def complete(self, request: Request) -> Completion:
        """Pass a fork on."""
        return await self._model.complete(request)

    async def aclose(self) -> None:
        """Close the model behind it."""
        await self._model.aclose()


class _Said(GuardedStream):
    def __init__(self, reasoning: str, answer: str) -> None:
        super().__init__()
        said = (Chunk(reasoning, "reasoning", tokens=0), Chunk(answer, tokens=0))
        self._chunks = [chunk for chunk in said if chunk.text]
        self._chunks.append(Chunk("", tokens=0, finish_reason="stop"))

    async def fetch(self) -> Sequence[Chunk]:
        await anyio.lowlevel.checkpoint()
        return (self._chunks.pop(0),) if self._chunks else ()
