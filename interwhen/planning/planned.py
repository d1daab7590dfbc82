"""A model whose forks are planned: each gets its prefix by the route that is thought to take the least time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from interwhen.errors import ModelError
from interwhen.models.base import Capabilities, Completion, Model, Piece, Prompt, Request, Route, Stream
from interwhen.models.prefixes import shared
from interwhen.planning.planner import ForkPlanner
from interwhen.planning.situations import Actual, Planned, Planner, Situation

MOST_PROMPTS = 64
"""Prompts of which it is remembered what the server was asked last."""
CHARACTERS = 4.0
"""Characters of a token, until the server's counts say it better."""
_LIVE: frozenset[Route] = frozenset({"live"})


@runtime_checkable
class Shelving(Protocol):
    """A model that can choose how a fork gets its prefix, and keep states to be restored."""

    @property
    def routes(self) -> frozenset[Route]:
        """The routes it can take: what stands in ``Request.route``."""
        ...

    def stored(self, request: Request) -> int:
        """Return how many characters of the prefix of *request* lie in a saved state."""
        ...

    async def save(self, request: Request) -> None:
        """Save the state behind *request*, which was the last fork of its prompt; where it is gone, do nothing."""
        ...


class PlannedModel:
    """*model*, with its forks planned by *planner*. Everything else goes to the model as it is.

    Which routes there are is the model's matter: any model has the live prefix (as the server likes), a local model
    with a shelf has all. A fork that brings a summary can take that.
    """

    def __init__(
        self, model: Model, planner: Planner | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.model = model
        self.planner: Planner = planner or ForkPlanner()
        self._clock = clock
        self._characters = CHARACTERS
        self._last: OrderedDict[Prompt, str] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        # What a model may have beside the protocol (timeouts, feedback, retries) is that of the model.
        if name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    async def capabilities(self) -> Capabilities:
        """Say what the model can do."""
        return await self.model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Stream a continuation, as the model does."""
        return await self.model.stream(request)

    async def complete(self, request: Request) -> Completion:
        """Answer *request*; a fork by the route that is planned for it."""
        if request.side is None:
            return await self.model.complete(request)
        planned = self.planner.choose(self._situation(request))
        begun = self._clock()
        answer = await self.model.complete(_routed(request, planned.route))
        seconds = self._clock() - begun
        self._learn(request, planned, answer, seconds)
        if planned.save and isinstance(self.model, Shelving):
            await self._save(self.model, request)
        return answer

    async def aclose(self) -> None:
        """Close the model."""
        await self.model.aclose()

    async def __aenter__(self) -> Self:
        enter = getattr(self.model, "__aenter__", None)
        if enter is not None:
            await enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ what is known

    def _situation(self, request: Request) -> Situation:
        shelf = self.model if isinstance(self.model, Shelving) else None
        routes = _LIVE if shelf is None else shelf.routes
        if request.summary is not None:
            routes |= {"summary"}
        prompt, prefix = _length(request.prompt), request.prefix
        before = self._last.get(request.prompt)
        held = 0 if before is None else prompt + shared(before, prefix)
        stored = 0 if shelf is None else shelf.stored(request)
        return Situation(
            prefix=self._tokens(prompt + len(prefix)),
            side=self._tokens(len(request.side or "")),
            reply=request.sampling.max_tokens or 64,
            held=self._tokens(held),
            stored=self._tokens(prompt + stored) if stored else 0,
            summary=self._tokens(prompt + len(request.summary or "")),
            routes=routes,
        )

    def _learn(self, request: Request, planned: Planned, answer: Completion, seconds: float) -> None:
        usage = answer.usage
        self.planner.learn(
            planned,
            Actual(
                seconds,
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.completion_tokens,
                usage.prompt_seconds,
                usage.completion_seconds,
            ),
        )
        sent = _routed(request, planned.route)
        if usage.prompt_tokens:
            size = _length(request.prompt) + len(sent.prefix) + len(request.side or "")
            news = 1.0 if not self._last else 0.2
            self._characters += news * (max(size / usage.prompt_tokens, 0.1) - self._characters)
        self._last[request.prompt] = sent.prefix
        self._last.move_to_end(request.prompt)
        while len(self._last) > MOST_PROMPTS:
            self._last.popitem(last=False)

    async def _save(self, shelf: Shelving, request: Request) -> None:
        try:
            await shelf.save(request)
        except ModelError:
            return  # It only would have saved time.

    def _tokens(self, characters: int) -> int:
        return round(characters / self._characters)


def _routed(request: Request, route: Route) -> Request:
    """Return *request* as it is sent by *route*."""
    if route != "summary" or request.summary is None:
        return replace(request, route=route)
    phase = request.pieces[-1].phase if request.pieces else "answer"
    return replace(request, pieces=(Piece(request.summary, phase=phase),), route=route)


def _length(prompt: Prompt) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(message.content) for message in prompt)
