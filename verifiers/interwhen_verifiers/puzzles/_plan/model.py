"""Planning problems in STRIPS: a state is a set of facts; an action needs, adds and deletes facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Atom: TypeAlias = tuple[str, ...]
"""A predicate and its arguments, such as ``("on", "a", "b")``."""
State: TypeAlias = frozenset[Atom]

ANYTHING = "object"
"""The type of objects for which the problem gives no type."""


@dataclass(frozen=True, slots=True)
class Literals:
    """The facts that a condition demands or an effect adds (``yes``), and those that it forbids or deletes (``no``)."""

    yes: tuple[Atom, ...] = ()
    no: tuple[Atom, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """An action with parameters, each a variable and its type. ``needs`` is its precondition."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    needs: Literals
    effect: Literals


@dataclass(frozen=True, slots=True)
class Domain:
    """A planning domain: its actions, predicates, types and constants.

    ``operators`` maps the name of each action to the action, ``constants`` each constant to its type, and ``above``
    each type to all types that it belongs to, itself included.
    """

    name: str
    operators: Mapping[str, Operator]
    predicates: frozenset[str] = frozenset()
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """A domain, the objects with their types, the initial state and the goal."""

    domain: Domain
    objects: Mapping[str, str]
    start: State
    goal: Literals
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of objects, with the names for which they stand."""
    in_words: bool = False
    """Whether the plan may have actions in English, as in blocksworld."""


def show(atom: Atom) -> str:
    """Format *atom* in PDDL."""
    return f"({' '.join(atom)})"


def misfit(problem: PlanningProblem, name: str, values: tuple[str, ...]) -> str:
    """Return why *values* cannot be the arguments of the action *name*; an empty string if they can."""
    parameters = problem.domain.operators[name].parameters
    if len(values) != len(parameters):
        count = len(parameters)
        return f"the action {name} takes {count} argument{'' if count == 1 else 's'}, not {len(values)}"
    for value, (_, wanted) in zip(values, parameters, strict=True):
        kind = problem.objects.get(value)
        if kind is None:
            return f"there is no object {value[:60]!r} in this problem"
        if wanted != ANYTHING and wanted not in problem.domain.above.get(kind, (kind,)):
            return f"the action {name} takes a {wanted} where {value} is a {kind}"
    return ""


def unmet(literals: Literals, state: State, bound: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return a text for each of *literals* that is not true in *state*. *bound* maps variables to their values."""
    missing = [f"{show(atom)} does not hold" for atom in _ground(literals.yes, bound or {}) if atom not in state]
    return (*missing, *(f"{show(atom)} holds" for atom in _ground(literals.no, bound or {}) if atom in state))


def bind(operator: Operator, values: Iterable[str]) -> dict[str, str]:
    """Return a map from each parameter of *operator* to its value in *values*, which have the order of the parameters.

    Raises :class:`ValueError` for another number of values.
    """
    return {variable: value for (variable, _), value in zip(operator.parameters, values, strict=True)}


def after(operator: Operator, state: State, bound: Mapping[str, str]) -> State:
    """Return *state* after the action *operator*, whose parameters have the values *bound*.

    As in PDDL, a fact that the action both deletes and adds is true afterwards.
    """
    return (state - frozenset(_ground(operator.effect.no, bound))) | frozenset(_ground(operator.effect.yes, bound))


def _ground(atoms: tuple[Atom, ...], bound: Mapping[str, str]) -> list[Atom]:
    return [(atom[0], *(bound.get(term, term) for term in atom[1:])) for atom in atoms]
