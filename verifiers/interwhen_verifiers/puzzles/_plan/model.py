"""A planning problem in STRIPS: states are sets of facts, actions ask for facts, add some and delete some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Atom: TypeAlias = tuple[str, ...]
"""A predicate and its arguments: ``("on", "a", "b")``."""
State: TypeAlias = frozenset[Atom]

ANYTHING = "object"
"""The type of objects without another type."""


@dataclass(frozen=True, slots=True)
class Literals:
    """Facts that must hold (or are added), and facts that must not (or are deleted)."""

    yes: tuple[Atom, ...] = ()
    no: tuple[Atom, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """An action with variables. Each parameter is a variable and its type."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    needs: Literals
    effect: Literals


@dataclass(frozen=True, slots=True)
class Domain:
    """The actions. ``above`` gives for each type the types that it is a kind of, itself included."""

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
    """Other names of objects."""
    in_words: bool = False
    """Whether actions may be told in English, as those of blocksworld are."""


def show(atom: Atom) -> str:
    """Return *atom* as PDDL writes it."""
    return f"({' '.join(atom)})"


def misfit(problem: PlanningProblem, name: str, values: tuple[str, ...]) -> str:
    """Return why *values* cannot be the arguments of the operator *name*; empty where they can."""
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
    """Return the *literals* that do not hold in *state*, in words."""
    missing = [f"{show(atom)} does not hold" for atom in _ground(literals.yes, bound or {}) if atom not in state]
    return (*missing, *(f"{show(atom)} holds" for atom in _ground(literals.no, bound or {}) if atom in state))


def bind(operator: Operator, values: Iterable[str]) -> dict[str, str]:
    """Return the value of each variable of *operator*."""
    return {variable: value for (variable, _), value in zip(operator.parameters, values, strict=True)}


def after(operator: Operator, state: State, bound: Mapping[str, str]) -> State:
    """Return the state after *operator*: a fact that is deleted and added holds, as in PDDL."""
    return (state - frozenset(_ground(operator.effect.no, bound))) | frozenset(_ground(operator.effect.yes, bound))


def _ground(atoms: tuple[Atom, ...], bound: Mapping[str, str]) -> list[Atom]:
    return [(atom[0], *(bound.get(term, term) for term in atom[1:])) for atom in atoms]
