"""What the model is told about a broken rule: texts with values in braces, each of them an expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from interwhen.policy import limits
from interwhen.policy.checking import Scope, kind_of
from interwhen.policy.defining import Definitions, write_out
from interwhen.policy.evaluating import evaluate
from interwhen.policy.kinds import Anything, Kind, ListOf, MapOf, PairsOf, Record, Text, describe
from interwhen.policy.lexer import ExpressionError
from interwhen.policy.nodes import Compare, Constant, In, Listed, Name, Node, Not, Quantified, show, walk
from interwhen.policy.parser import parse
from interwhen.policy.schemas import Schema
from interwhen.policy.situations import Situation
from interwhen.policy.values import tell

Part: TypeAlias = str | Node


@dataclass(frozen=True, slots=True)
class Message:
    """A text with expressions in it."""

    parts: tuple[Part, ...]

    def nodes(self) -> Iterator[Node]:
        """Yield its expressions."""
        return (part for part in self.parts if not isinstance(part, str))

    def say(self, situation: Situation, schema: Schema, kinds: Mapping[Node, Kind]) -> str:
        """Return the text in *situation*, within the limit; a value that is not known is a question mark."""
        said = [
            part if isinstance(part, str) else tell(evaluate(part, situation, schema), kinds.get(part, Text()))
            for part in self.parts
        ]
        return "".join(said)[: limits.MESSAGE]


def read_message(text: str, definitions: Definitions) -> Message:
    """Read ``the card has {card.amount}``; ``{{`` is a brace. Raises :class:`ExpressionError`."""
    if len(text) > limits.MESSAGE:
        raise ExpressionError(f"a message of {len(text):,} characters: {limits.MESSAGE} at most")
    parts: list[Part] = []
    at = 0
    while at < len(text):
        opened = text.find("{", at)
        if opened < 0:
            parts.append(text[at:])
            break
        if text.startswith("{{", opened):
            parts.append(text[at : opened + 1])
            at = opened + 2
            continue
        closed = text.find("}", opened)
        if closed < 0:
            raise ExpressionError(f"a brace opens at character {opened} of the message and never closes", opened)
        parts += [text[at:opened], write_out(parse(text[opened + 1 : closed]), definitions)]
        at = closed + 1
    return Message(tuple(parts))


def problem_of(message: Message, level: Literal["why", "witness"], require: Node, scope: Scope) -> str:
    """Return what is wrong with *message*, if anything is: it must not say more than its level may.

    ``why`` tells the rule: the only values in it are those that the model wrote itself, the arguments. ``witness`` may
    show facts, but never the value that an argument would have to be.
    """
    answers = set(_answers(require))
    for node in message.nodes():
        try:
            kind = kind_of(node, scope)
        except ExpressionError as error:
            return f"{level}: {error}"
        if isinstance(kind, ListOf | MapOf | Record | PairsOf | Anything):
            return f"{level} may show single values, and {{{show(node)}}} is {describe(kind)}"
        bound = {name for part in walk(node) if isinstance(part, Quantified) for name in part.names}
        roots = {part.name for part in walk(node) if isinstance(part, Name)} - bound
        if level == "why" and not roots <= {"args"}:
            return f"why may show arguments of the call alone, and {{{show(node)}}} is more: move it to witness"
        if show(node) in answers:
            return f"{level} gives the answer away: {{{show(node)}}} is what an argument has to be"
    return ""


def _answers(require: Node) -> Iterator[str]:
    """Yield the expressions that an argument must equal."""
    own = {"args"}
    for node in walk(require):
        if isinstance(node, Quantified) and _of_arguments(node.source, own):
            own.update(node.names)  # walked from above: each is known before it is used
    for node in walk(require):
        for mine, other in _equated(node):
            if _of_arguments(mine, own) and not _of_arguments(other, own) and not isinstance(other, Constant):
                yield show(other)


def _equated(node: Node) -> Iterator[tuple[Node, Node]]:
    match node:
        case Compare(op="=", left=left, right=right) | Not(of=Compare(op="!=", left=left, right=right)):
            yield from ((left, right), (right, left))
        case In(item=item, among=Listed(items=(only,))):
            yield item, only


def _of_arguments(node: Node, own: set[str]) -> bool:
    names = [part.name for part in walk(node) if isinstance(part, Name)]
    return bool(names) and names[0] in own and "state" not in names
