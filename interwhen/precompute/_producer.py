"""Defines the interface of a producer, which plans steps and makes one item in each step.

An entry point of the group ``interwhen.producers`` names a factory: a function that takes annotated keyword-only
options and returns a :class:`Producer`. A producer must read all its inputs through its :class:`StepContext`, which
records them. If it reads anything else, such as a file, its items can become stale and are still served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeGuard, get_args, runtime_checkable

from interwhen._types.errors import PluginError
from interwhen._types.models import Completion, Model, Prompt, Sampling
from interwhen._types.results import Result
from interwhen._types.vetting import require, require_distinct
from interwhen.precompute._items import Basis, Digest, Item, Kind, Payload, Proof, digest
from interwhen.registry import (
    PRODUCERS,
    Plugin,
    call_factory,
    load,
    names_of,
    own_options,
    producers,
    read_spec,
    split_options,
)

SEPARATOR = "::"
"""Separates the name of the producer from that of the step in a full name."""


@dataclass(frozen=True, slots=True)
class ContextPiece:
    name: str
    text: str
    lead: str = ""
    """Text from before the piece that helps to understand it: the headings above it and the end of the text before. It
    is no part of the text of the context."""

    @property
    def sha256(self) -> Digest:
        return digest(self.text, self.lead) if self.lead else digest(self.text)


@dataclass(frozen=True, slots=True)
class Context:
    """A context to prepare: named pieces of text in order, the model, and questions of readers."""

    name: str
    pieces: tuple[ContextPiece, ...]
    model: str = ""
    """``model`` and ``tokenizer``: their names are part of the key of each item."""
    tokenizer: str = ""
    questions: tuple[str, ...] = ()
    """The questions that were noted about the context when it was loaded, the most frequent first."""

    @property
    def text(self) -> str:
        """The texts of its pieces, with a line end between two pieces."""
        return "\n".join(piece.text for piece in self.pieces)

    @property
    def digest(self) -> Digest:
        """The digest of the names, texts and leads of its pieces in order."""
        return digest(*(part for piece in self.pieces for part in (piece.name, piece.sha256)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The plan for one item: the pieces (*reads*) and the steps (*premises*) whose content the producer may read."""

    name: str
    """The name, unique in the plan of its producer. If it changes, the item is made again, so do not use a running
    number."""
    reads: tuple[str, ...] = ()
    """Names of the pieces it may read."""
    premises: tuple[str, ...] = ()
    """The names of the steps whose items it may read; a step of another producer is ``producer::step``. The step is due
    when each of these steps has a current item, accepted or not."""
    params: bytes = b""
    """Anything else that its item depends on, such as a question or limits."""
    urgency: float = 0.0
    """Of the due steps of a context, those with a higher urgency are done first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An item that a producer proposes, and the *basis* on which it is to be accepted.

    On the basis ``judged``, it is accepted only if the monitors pass its text as a continuation of *prompt*.
    """

    payload: Payload
    prompt: Prompt = ""
    """The prompt that the text continues. Monitors read the problem and its sources here."""
    basis: Basis = "judged"
    evidence: str = ""
    """The reason in one line, for example the computation or the observation; empty on the basis ``judged``."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The result of a producer that has nothing to propose, with the reason *why*.

    The result is stored, so that the step is not repeated with the same inputs.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The engine verified the text, and each line that is not blank has a claim that passed."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class Rejected:
    """A claim in the text was refuted. *why* gives the monitor and its reason."""

    why: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """The checks neither refuted nor verified the text; *why* gives the reason."""

    why: str


Judgement: TypeAlias = Accepted | Rejected | Undecided


class StepContext(Protocol):
    """What a producer may use for a step: its inputs, which are recorded when they are read, and the model."""

    context: Context
    """The context without its pieces, which :meth:`read` returns."""
    model: Model
    """The metered model. A request raises `OutOfTokens` when the budget is spent, and is
    cancelled when a foreground run needs the model."""

    def read(self, piece: str) -> str:
        """Return the text of *piece*, and record it as an input of the item.

        Raises :class:`~interwhen.UsageError` unless the step declares it in ``reads``.
        """
        ...

    def lead(self, piece: str) -> str:
        """Return the lead of *piece* (:attr:`ContextPiece.lead`), and record the piece as an input of the item.

        Raises :class:`~interwhen.UsageError` unless the step declares it in ``reads``.
        """
        ...

    def premise(self, step: str) -> Item | None:
        """Return the item of the premise *step*, and record it as an input.

        Return ``None`` unless the item may be served or is a guess of the same producer. Raises
        :class:`~interwhen.UsageError` unless the step declares it in ``premises``.
        """
        ...

    async def ask(self, prompt: Prompt, sampling: Sampling | None = None) -> Completion:
        """Send *prompt* to the model with *sampling* (default: greedy), and return its answer, which may be cut.

        Raises :class:`~interwhen.models.ContextOverflow` if the prompt is too long, and other errors of the model.
        """
        ...

    async def work_out(self, prompt: Prompt, sampling: Sampling | None = None) -> Result:
        """Let the model answer *prompt* under the monitors, and return the result of this run.

        The default of *sampling* is greedy. If the prompt is too long, this raises
        :class:`~interwhen.models.ContextOverflow` for answers. If the model fails otherwise, the result is a
        :class:`~interwhen.Failed`.
        """
        ...


@runtime_checkable
class Producer(Protocol):
    """A plug-in that precomputes one kind of item, such as answers: it plans steps and makes the item of each."""

    @property
    def name(self) -> str:
        """The name, which is also part of the full names of its steps."""
        ...

    @property
    def version(self) -> str:
        """The version, which is part of the keys of its items. If it changes, the items are made again."""
        ...

    @property
    def kind(self) -> Kind:
        """The kind of its items. Annotate it in a class: ``kind: Kind = "answers"``."""
        ...

    def plan(self, context: Context) -> Iterable[Step]:
        """Return the steps for *context*, one for each planned item. Must be pure and quick."""
        ...

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        """Make the item of *step*, with few requests to the model.

        The call is cancelled when a foreground run needs the model, and repeated later, so it must have no side
        effects. An exception fails only this step. A ``ContextOverflow`` is stored, as :class:`Nothing` is.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step in the plan of all producers. *name* is its full name, ``producer::name``."""

    name: str
    producer: Producer
    step: Step
    premises: tuple[str, ...] = field(default=())
    """The full names of its premises."""


# Producers by name, from the entry points in the group ``interwhen.producers``.

_NO_CHECK = "no cheap check can tell which statements of a model about a text are true"
REMOVED = {
    "facts": f"{_NO_CHECK}: 0 of 24 true sentences were accepted by its check; prepare answers or prefixes",
    "answers:agreeing": "a model that agrees with itself is no evidence; use a monitor that knows the task",
    "answers:derivations": "a model that agrees with itself is no evidence; use a monitor that knows the task",
}
"""Producers and options of producers that were removed, and what to do instead."""

__all__ = ["Plugin", "ProducerSpec", "installed_producers", "load_producers"]

ProducerSpec: TypeAlias = Producer | str | Mapping[str, Any]
"""A producer, or the name of an installed one with its options: ``"answers:anticipate=4"`` or ``{"name": "answers",
"anticipate": 4}``."""


def installed_producers() -> list[Plugin]:
    """List the installed producer plug-ins without importing them."""
    return producers()


def load_producers(given: Sequence[ProducerSpec] | None) -> tuple[Producer, ...]:
    """Return the producers in *given* (names with options, or objects); for ``None``, all installed ones."""
    require("producers", given, Sequence[Any] | None, "put a single one in a list")
    wanted: Sequence[ProducerSpec] = [each.name for each in producers()] if given is None else given
    loaded = tuple(_loaded(each) if isinstance(each, str | Mapping) else _vetted(each) for each in wanted)
    names = [each.name for each in loaded]
    require_distinct("the names of producers", names, "rename one")
    return loaded


def is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def factory_of(name: str) -> Callable[..., Any]:
    if name in REMOVED and name not in names_of(PRODUCERS):
        raise PluginError(name, "it must be a producer that exists, got one that was removed", REMOVED[name])
    return load(PRODUCERS, name)


def _loaded(spec: str | Mapping[str, Any]) -> Producer:
    name, options = read_spec(spec, "a producer")
    factory = factory_of(name)
    known = own_options(factory)
    # Options such as "deadline", which every monitor has, are unknown here.
    if unknown := [key for key in options if key not in known and "**" not in known]:
        names = ", ".join(sorted(known)) or "none"
        hint = REMOVED.get(f"{name}:{unknown[0]}", "correct or remove it")
        raise PluginError(name, f"its options must be among {names}, got {unknown[0]!r:.80}", hint)
    own, _ = split_options(name, factory, options)
    return _vetted(call_factory(name, factory, options=own))


def _vetted(given: object) -> Producer:
    if not isinstance(given, Producer):
        raise PluginError(
            type(given).__name__,
            f"a producer must have name, version, kind, plan(context) and make(step, context), got {given!r:.200}",
        )
    if given.kind not in get_args(Kind):
        raise PluginError(
            given.name,
            f"kind must be one of {', '.join(get_args(Kind))}; got {given.kind!r}",
        )
    if not given.name or SEPARATOR in given.name:
        raise PluginError(
            given.name,
            (f"the name of a producer must not be empty or contain {SEPARATOR!r}, got {given.name!r}; rename it"),
        )
    return given
