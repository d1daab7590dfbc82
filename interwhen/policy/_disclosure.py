"""Finds the expressions of a message that give away the value which an argument must have.

Expressions are compared in a normal form: as sums of terms, without constants, terms of the call's own arguments, and a
common factor. A reader who sees ``total - 5`` and the call knows ``total``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TypeAlias

from interwhen.policy._builtins import builtin
from interwhen.policy._syntax import Apply, Constant, Listed, Name, Node, Quantified, children, rebuild, show, walk

Form: TypeAlias = tuple[tuple[str, Fraction], ...]
"""The terms of a sum with their factors, in order. The first factor is 1."""

_Terms: TypeAlias = dict[Node, Fraction]

_ONE = Constant(Fraction(1), None)  # type: ignore[arg-type]  # stands for the constant term


def answers_of(require: Node) -> frozenset[Form]:
    # Return the values to which `require` makes arguments of the call equal; with an `if`, `max` or `min`, also its
    # branches or arguments. Values of constants and arguments alone are left out.
    own = {"args"}
    for node in walk(require):
        if isinstance(node, Quantified) and _is_of(node.source, own):
            own.update(node.names)  # walk() yields an outer quantifier before the inner ones
    forms: set[Form] = set()
    for mine, other in _equal(require):
        if _is_of(mine, own):
            forms.update(_form(value, own) for value in _values(other))
        elif not _is_of(other, own):
            terms = _terms(Apply("-", (mine, other)))
            if any(_is_of(term, own) for term in terms):
                forms.add(_form(Apply("-", (mine, other)), own))
    return frozenset(form for form in forms if form)


def gives_away(node: Node, answers: frozenset[Form]) -> bool:
    return any(_form(part, {"args"}) in answers for part in _seen(node))


def _seen(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case Apply("*", (left, right)):
            for mine, other in ((left, right), (right, left)):
                if _is_of(mine, {"args"}):
                    yield from _seen(other)
        case Apply(arguments=arguments) if builtin(node).shows:
            for part in arguments[-2:]:
                yield from _seen(part)
        case Listed(items=items):
            for item in items:
                yield from _seen(item)
        case Quantified(op="sum", source=source, body=body):
            yield from _seen(source)
            yield from _seen(body)
        case _:
            return


def _values(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Apply) and builtin(node).shows == "one":
        for part in node.arguments[-2:]:
            yield from _values(part)


def _equal(require: Node) -> Iterator[tuple[Node, Node]]:
    # A pair of `<=` and `>=` counts as an equation.
    bounds: set[tuple[str, str]] = set()
    for node in walk(require):
        match node:
            case Apply("=", (left, right)) | Apply("not", (Apply("!=", (left, right)),)):
                yield from ((left, right), (right, left))
            case Apply("in", (item, Listed(items=(only,)))):
                yield item, only
            case (
                Apply("<=", (low, high))
                | Apply(">=", (high, low))
                | Apply("not", (Apply(">", (low, high)) | Apply("<", (high, low)),))
            ):
                bounds.add((_text(low), _text(high)))
                if (_text(high), _text(low)) in bounds:
                    yield from ((low, high), (high, low))
            case _:
                continue


def _is_of(node: Node, own: set[str]) -> bool:
    roots = roots_of(node)
    return bool(roots) and roots <= own


def roots_of(node: Node) -> set[str]:
    parts = list(walk(node))
    bound = {name for part in parts if isinstance(part, Quantified) for name in part.names}
    calls = {"calls(...)" for part in parts if isinstance(part, Apply) and part.function == "calls"}
    return calls | {part.name for part in parts if isinstance(part, Name)} - bound


def _form(node: Node, own: set[str]) -> Form:
    factors: dict[str, Fraction] = {}
    for term, factor in _terms(node).items():
        if not isinstance(term, Constant) and not _is_of(term, own):
            text = _text(term)
            factors[text] = factors.get(text, Fraction(0)) + factor
    terms = sorted((text, factor) for text, factor in factors.items() if factor)
    return tuple((text, factor / terms[0][1]) for text, factor in terms)


def _terms(node: Node) -> _Terms:
    match node:
        case Constant(value=Fraction() as value):
            return {_ONE: value}
        case Apply("+" | "-" as op, (left, right)):
            factors, sign = dict(_terms(left)), 1 if op == "+" else -1
            for term, factor in _terms(right).items():
                factors[term] = factors.get(term, Fraction(0)) + sign * factor
            return factors
        case Apply("*", (left, right)):
            one, other = _terms(left), _terms(right)
            if set(other) <= {_ONE}:
                one, other = other, one
            if set(one) <= {_ONE}:
                return {term: factor * one.get(_ONE, Fraction(0)) for term, factor in other.items()}
            return {node: Fraction(1)}
        case _:
            return {node: Fraction(1)}


def _text(node: Node) -> str:
    return show(_normal(node, {}))


def _normal(node: Node, names: Mapping[str, str]) -> Node:
    match node:
        case Name(name=name):
            return Name(names.get(name, name))
        case Quantified(names=own):
            inner = {**names, **{name: f"_{len(names) + number}" for number, name in enumerate(own)}}
            source, body = _normal(node.source, names), _normal(node.body, inner)
            return replace(node, names=tuple(inner[name] for name in own), source=source, body=body)
    rebuilt = rebuild(node, tuple(_normal(child, names) for child in children(node)))
    match rebuilt:
        case Apply("+" | "*" | "max" | "min", arguments):
            return replace(rebuilt, arguments=tuple(sorted(arguments, key=show)))
        case _:
            return rebuilt
