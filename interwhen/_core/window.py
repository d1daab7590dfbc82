"""How many tokens a run may have: the caller's limit, and the context window of the model."""

from __future__ import annotations

from collections.abc import Iterable

from interwhen.models.base import Piece, Usage

OVERRUN = 64
"""How many tokens beyond ``max_tokens`` are taken from a server that ignores it, before we end the stream."""


class Window:
    """What is left of the context window, as far as the endpoint has said how long it is."""

    __slots__ = ("_most", "_prompt", "ceiling", "context")

    def __init__(self, max_tokens: int | None, context: int | None) -> None:
        self.context = context
        self._most = max_tokens
        self._prompt: int | None = None
        limits = [limit for limit in (None if max_tokens is None else max_tokens + OVERRUN, context) if limit]
        self.ceiling: float = min(limits, default=float("inf"))
        """More standing tokens than these come only from a server that knows no end."""

    def learn(self, usage: Usage | None, requests: int) -> None:
        """Take the length of the prompt from the server's count for the first request."""
        if requests == 1 and usage is not None and usage.prompt_tokens is not None:
            self._prompt = usage.prompt_tokens

    def is_full(self, kept: int) -> bool:
        """Tell whether the model, *kept* of whose tokens stand, may write nothing more."""
        return self._most is not None and kept >= self._most

    def room(self, pieces: Iterable[Piece], kept: int) -> int | None:
        """Return how many tokens fit behind the prompt, *kept* tokens of the model and what we wrote into *pieces*.

        Where the prompt was not counted, there may be less room. A byte of ours counts as a token: no tokenizer makes
        more of it, and asking for too much is refused whole.
        """
        if self.context is None:
            return None
        ours = sum(len(piece.text.encode(errors="replace")) for piece in pieces if piece.origin != "model")
        return max(self.context - (self._prompt or 0) - kept - ours, 0)
