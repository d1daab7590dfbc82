"""Mutants of a rule: small mistakes that its examples must notice."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from interwhen.policy.kinds import Bool, Kind, ListOf, MapOf, PairsOf, Quantity, Record, Text
from interwhen.policy.nodes import (
    Apply,
    Compare,
    Comparison,
    Constant,
    If,
    In,
    Junction,
    Listed,
    Node,
    Not,
    Quantified,
    Sum,
    children,
    rebuild,
    show,
)
from interwhen.policy.rules import Rule, fits
from interwhen.policy.schemas import Schema

_COMPARISONS: Mapping[Comparison, tuple[Comparison, ...]] = {
    "=": ("!=",),
    "!=": ("=",),
    "<": ("<=", ">"),
    "<=": ("<", ">="),
    ">": (">=", "<"),
    ">=": (">", "<="),
}
_OPAQUE = frozenset(("mentions", "unjudged", "calls", "given"))
"""Functions whose written words are no numbers or conditions that could be off by a little."""
_TWINS = {"max": "min", "min": "max", "first": "last", "last": "first"}
_TRUE = Constant(True, Bool())  # the value of a constant


class Mutant(NamedTuple):
    """A rule with one mistake in it."""

    rule: Rule
    says: str
    """What is different."""


def mutants(rule: Rule, schema: Schema, *, most: int = 150, seed: int = 0) -> tuple[Mutant, ...]:
    """Return the mutants of *rule* that fit its schema, each once; *most* of them, chosen by *seed*."""
    words = tuple(sorted(set(_words_of(schema)), key=sorted))
    found: dict[str, Mutant] = {}
    for part in ("when", "require"):
        node: Node = rule.when if part == "when" else rule.require
        for other in _mistakes(node, words):
            says = f"{part}: {show(other)}"
            if other != node and says not in found:
                found[says] = Mutant(
                    replace(rule, when=other) if part == "when" else replace(rule, require=other), says
                )
    order = sorted(found.values(), key=lambda mutant: hashlib.sha256(f"{seed} {mutant.says}".encode()).digest())
    fitting = (mutant for mutant in order if fits(mutant.rule, schema))
    return tuple(mutant for _, mutant in zip(range(most), fitting, strict=False))


def _mistakes(node: Node, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    yield Not(node)
    yield _TRUE
    yield from replaced_below(node, words)


def replaced_below(node: Node, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    """Yield *node* with one small mistake in it."""
    yield from _changes(node, words)
    if isinstance(node, Apply) and node.function in _OPAQUE:
        return
    below = children(node)
    for at, child in enumerate(below):
        for other in replaced_below(child, words):
            yield rebuild(node, (*below[:at], other, *below[at + 1 :]))


def _changes(node: Node, words: tuple[frozenset[str], ...]) -> Iterator[Node]:  # noqa: C901, PLR0912  # a line for each kind
    match node:
        case Junction(op=op, parts=parts):
            yield replace(node, op="or" if op == "and" else "and")
            for at in range(len(parts)):
                left = parts[:at] + parts[at + 1 :]
                yield left[0] if len(left) == 1 else replace(node, parts=left)
        case Not(of=of):
            yield of
        case Compare(op=op):
            for other in _COMPARISONS[op]:
                yield replace(node, op=other)
        case In():
            yield Not(node)
        case Quantified(op=op) if op in ("any", "all"):
            yield replace(node, op="all" if op == "any" else "any")
        case Sum(op=op) if op in ("+", "-"):
            yield replace(node, op="-" if op == "+" else "+")
        case If(condition=condition, then=then, otherwise=otherwise):
            yield If(condition, otherwise, then)
        case Listed(items=items) if len(items) > 1:
            for at in range(len(items)):
                yield Listed(items[:at] + items[at + 1 :])
        case Apply(function="assume", arguments=arguments):
            yield from arguments
        case Apply(function=function) if function in _TWINS:
            yield replace(node, function=_TWINS[function])
        case Constant():
            yield from _other_constants(node, words)
        case _:
            return


def _other_constants(node: Constant, words: tuple[frozenset[str], ...]) -> Iterator[Node]:
    match node.value:
        case bool():
            yield replace(node, value=not node.value)
        case Fraction():
            step = Fraction(3600) if isinstance(node.kind, Quantity) and node.kind.dimension == "time" else Fraction(1)
            yield replace(node, value=node.value + step)
            yield replace(node, value=node.value - step)
        case str():
            for listed in words:
                if node.value in listed:
                    order = sorted(listed)
                    other = order[(order.index(node.value) + 1) % len(order)]
                    yield Constant(other, Text(frozenset({other})))
            yield Constant("mutant", Text(frozenset({"mutant"})))
        case dt.datetime():
            yield replace(node, value=node.value + dt.timedelta(hours=1))
            yield replace(node, value=node.value - dt.timedelta(hours=1))
        case dt.date():
            yield replace(node, value=node.value + dt.timedelta(days=1))
            yield replace(node, value=node.value - dt.timedelta(days=1))


def _words_of(schema: Schema) -> Iterator[frozenset[str]]:
    """Yield the lists of words that a schema has."""
    kinds: list[Kind] = [schema.state]
    for tool in schema.tools.values():
        kinds += [tool.arguments, tool.returns]
    while kinds:
        match kinds.pop():
            case Text(words=words) if words:
                yield words
            case ListOf(item=item):
                kinds.append(item)
            case MapOf(keys=keys, value=value):
                kinds += [*keys, value]
            case Record(fields=fields):
                kinds += [kind for _, kind in fields]
            case PairsOf() | _:
                continue
