"""What a producer of precomputed things is: a plan, which is pure, and one slice of work for each step of it.

An entry point of the group ``interwhen.producers`` names a factory: keyword-only annotated options in, a
:class:`Producer` out. A producer gets everything it reads from its desk, which keeps the list: that list is what
decides, after an edit, whether its item still holds. A producer that reads something behind the desk's back (a file,
a clock) makes items that nobody can tell are stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, get_args, runtime_checkable

from interwhen._types.errors import InterwhenError, PluginError, UsageError
from interwhen._types.models import Completion, Model, Prompt, Sampling
from interwhen._types.results import Result
from interwhen.precompute._items import Basis, Digest, Item, Kind, Payload, Proof, digest
from interwhen.registry import PRODUCERS, Plugin, load, producers

SEPARATOR = "::"
"""Stands between a producer's name and a step's, in the full name of a step."""


@dataclass(frozen=True, slots=True)
class ContextPiece:
    """One named part of a context. Editing one piece leaves what was made from the others alone."""

    name: str
    text: str

    @property
    def sha256(self) -> Digest:
        """The digest of the text."""
        return digest(self.text)


@dataclass(frozen=True, slots=True)
class Context:
    """What there is to prepare for: named pieces of text, in their order."""

    name: str
    pieces: tuple[ContextPiece, ...]
    model: str = ""
    """The model's name, and that of its tokenizer: an item made by or for another one is another item."""
    tokenizer: str = ""
    passes: int = 1
    """How often a producer that consolidates goes over the pieces, at most."""

    @property
    def digest(self) -> Digest:
        """What is in it: the names and texts of its pieces, in their order."""
        return digest(*(part for piece in self.pieces for part in (piece.name, piece.sha256)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One item that is wanted. What it may read is said before; what it does read is noted by its desk."""

    name: str
    """Its name, unique in its producer's plan. Name it after what it is about, not by a running number: a step that
    changes its name when a piece is added before it is made anew."""
    reads: tuple[str, ...] = ()
    """Names of the pieces it may read."""
    premises: tuple[str, ...] = ()
    """Names of the steps whose items it may read: bare for its own producer's, ``producer::step`` for another's.
    It is due once all of them are settled, whether or not something was accepted."""
    params: bytes = b""
    """Whatever else its item depends on (a question, limits)."""
    urgency: float = 0.0
    """Steps that are due are taken with the highest urgency first, else in the plan's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a producer would like to have stored. It decides nothing: ``judged`` text goes before the monitors."""

    payload: Payload
    prompt: Prompt = ""
    """What the text is judged as a continuation of: monitors read the problem and its sources here."""
    basis: Basis = "judged"
    evidence: str = ""
    """For ``derived`` and ``observed``: what was computed or seen, in a line."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to propose, and why. Kept, so that it is not tried again on the same inputs."""

    why: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Each required check passed on the very text, and each line of it carries a claim that passed."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class Rejected:
    """A claim was refuted."""

    why: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody refuted it, and it was not shown either. This is no acceptance."""

    why: str


Judgement: TypeAlias = Accepted | Rejected | Undecided


class StepContext(Protocol):
    """What a step works with. All that it reads is noted; all that it spends is counted."""

    context: Context
    """Only its ``name``, ``model``, ``tokenizer`` and ``passes`` are meant to be read here: pieces are read with
    :meth:`read`."""
    model: Model
    """The model, metered. Each of its requests raises :class:`~interwhen.models.OutOfTokens` once the budget is
    spent, and is called off when somebody who waits needs the model."""

    def read(self, piece: str) -> str:
        """Return the text of a piece that the step may read."""
        ...

    def premise(self, step: str) -> Item | None:
        """Return the accepted item of a step (of the own producer: also a guess); ``None``: there is none."""
        ...

    def premises(self) -> tuple[Item, ...]:
        """Return the items of all steps that it may read, in the order of :attr:`Step.premises`, where there are."""
        ...

    async def ask(self, prompt: Prompt, sampling: Sampling | None = None) -> Completion:
        """Ask the model for one whole answer."""
        ...

    async def work_out(self, prompt: Prompt, sampling: Sampling | None = None) -> Result:
        """Let the model answer under the monitors, which interrupt and repair as they would for a reader."""
        ...

    async def judge(self, text: str, prompt: Prompt = "") -> Judgement:
        """Let the monitors judge *text* in the real engine. The same question is answered from memory."""
        ...


@runtime_checkable
class Producer(Protocol):
    """A plug-in that precomputes one kind of thing."""

    @property
    def name(self) -> str:
        """What it is called, in the names of its steps too."""
        ...

    @property
    def version(self) -> str:
        """Part of every key: raise it, and all items are made anew."""
        ...

    @property
    def kind(self) -> Kind:
        """What it makes; a class says so with its type: ``kind: Kind = "facts"``."""
        ...

    def plan(self, context: Context) -> Iterable[Step]:
        """Say which items are wanted. Pure and quick: it is asked again after each edit."""
        ...

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        """Do one slice of work: one step of a model, or none.

        It is called off whenever somebody needs the model, and tried again later, so it must leave nothing behind.
        What it raises is logged and costs its own step only, which is tried again after a pause.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step in the plan of all producers, by its full name."""

    name: str
    producer: Producer
    step: Step
    premises: tuple[str, ...] = field(default=())
    """The full names of its premises."""


# Producers by name: what any installed distribution offers in the entry-point group ``interwhen.producers``.

__all__ = ["Plugin", "installed_producers", "load_producers"]


def installed_producers() -> list[Plugin]:
    """List the installed producers by name. Imports nothing."""
    return producers()


def load_producers(given: Sequence[Producer | str] | None) -> tuple[Producer, ...]:
    """Return *given* with names made into producers; ``None``: all that are installed.

    Raises :class:`~interwhen.PluginError` by name for one that does not load, or is no producer.
    """
    if isinstance(given, str):
        raise UsageError(f"producers={given!r} is no list of producers: if it is one, put it in a list")
    wanted: Sequence[Producer | str] = [each.name for each in producers()] if given is None else given
    found = tuple(_loaded(each) if isinstance(each, str) else _vetted(each) for each in wanted)
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"several producers are called {twice[0]!r}: each needs a name of its own")
    return found


def _loaded(name: str) -> Producer:
    factory = load(PRODUCERS, name)
    try:
        return _vetted(factory())
    except InterwhenError:
        raise
    except Exception as error:
        # A plug-in's factory may raise anything; it is named, and the original stays attached.
        raise PluginError(name, f"its factory raised {type(error).__name__}: {error}") from error


def _vetted(given: object) -> Producer:
    if not isinstance(given, Producer):
        raise PluginError(
            type(given).__name__, "it is no producer", "one has name, version, kind, plan(context), make(step, desk)"
        )
    if given.kind not in get_args(Kind):
        raise PluginError(given.name, f"kind={given.kind!r}", f"choose one of {', '.join(get_args(Kind))}")
    if not given.name or SEPARATOR in given.name:
        raise PluginError(given.name, f"a producer's name is not empty and has no {SEPARATOR!r} in it")
    return given
