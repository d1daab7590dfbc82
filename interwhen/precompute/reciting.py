"""A model that says what it was given: a proposal before its judges, a stored answer before a reader's monitors."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.lowlevel

from interwhen.errors import ModelError
from interwhen.models.base import Capabilities, Chunk, Completion, Model, Request, Stream
from interwhen.models.streams import GuardedStream

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
