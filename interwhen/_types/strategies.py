"""What clients and the gateway need of the catalogue of strategies, as protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from interwhen._types.extensions import WorkerPool
from interwhen._types.models import Chunk, FinishReason, Model, Prompt, ResumeMode, Sampling
from interwhen._types.monitors import Monitor
from interwhen._types.segments import Phase


class BudgetedModel(Model, Protocol):
    @property
    def budget(self) -> int:
        """In tokens, for all requests together."""
        ...

    @property
    def left(self) -> int:
        """The tokens that samples may still generate. If this is 0, no further sample can be requested."""
        ...

    async def resume_mode(self) -> ResumeMode:
        """Return how the model continues a text. This may ask the server."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyTask:
    """One call, as a strategy gets it. To send the caller's request, the strategy calls ``model``."""

    model: BudgetedModel
    prompt: Prompt
    monitors: tuple[Monitor, ...]
    sampling: Sampling
    """``temperature`` is ``None`` if the caller gave none: the server has its own."""
    seed: int
    """The seed of the first sample."""
    starts_in: Phase = "answer"
    workers: WorkerPool | None = None
    """``None``: each run creates its own."""
    is_structured: bool = False
    """Whether the caller asked for JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyChoice:
    """The text that a strategy chose, or the reason why it gives no answer."""

    chunks: tuple[Chunk, ...] = ()
    """A chunk without tokens is text that the strategy wrote, unless it is a tool call."""
    finish_reason: FinishReason | None = None
    recording: object | None = None
    """The ``recording`` of the stream that brought exactly this text; ``None`` if it is put together from several."""
    gave_up: str = ""
    """Why the strategy gives no answer; empty if it gives one."""
    remedies: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """A supervised run that the reader sees, usually while the model generates it: its text becomes the answer."""

    monitors: tuple[Monitor, ...]
    """They use their remedies."""
    greedy: bool
    """Whether the temperature is 0."""
    seed: int = 0
    """Added to the seed of the call."""


@runtime_checkable
class CallStrategy(Protocol):
    """A strategy for single calls. Several calls may use one object at the same time."""

    @property
    def name(self) -> str:
        """With the options, such as ``best-of-n:n=4``."""
        ...

    def live(self, number: int, monitors: tuple[Monitor, ...]) -> LiveRun | None:
        """Return run *number* (from 0) of a strategy that answers with one run; ``None`` if there is no such run.

        A strategy that chooses among several texts has no run 0: then :meth:`choose` is called. A later run is
        requested if the one before gave no answer.
        """
        ...

    async def choose(self, task: StrategyTask) -> StrategyChoice:
        """Ask the model as often as necessary, and return the chosen text.

        Raises :class:`~interwhen.UsageError` if this strategy cannot answer such a call, and
        :class:`~interwhen.models.ModelError` if the model fails before there is a text.
        """
        ...


@runtime_checkable
class StrategyCatalog(Protocol):
    def names(self) -> frozenset[str]:
        """Return the names of all installed strategies."""
        ...

    def load(self, spec: str) -> CallStrategy:
        """Return the strategy that *spec* describes: a name, with options after a colon.

        A *spec* of the form ``module:factory`` imports that module, so *spec* must come from the operator, or be
        checked against :meth:`names`. Raises :class:`~interwhen.registry.PluginError` if there is no such strategy, or
        if an option is unknown or of the wrong type. Errors of interwhen that the strategy itself raises are passed on.
        """
        ...
