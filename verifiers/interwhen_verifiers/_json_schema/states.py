"""The state of the reader between two characters. States are values, so a rewind can go back to any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from interwhen_verifiers._json_schema.compiler import ANYTHING, Node

Mode = Literal[
    "value", "first", "key_first", "key", "colon", "next", "string", "name", "number", "word", "done", "lost"
]
"""What must come next (a value, a key, a colon, a comma or an end; ``first``: a value or the end of the array), or the
token that is being read."""


class Frame(NamedTuple):
    """An object or array that has begun."""

    kind: Literal["object", "array"]
    node: Node
    begun: int = 0
    """How many entries have begun."""
    seen: int = 0
    """The keys so far of those the schema names, as bits."""


class Wrong(NamedTuple):
    """Why no document begins like this."""

    why: str
    start: int
    """The start of the wrong part; negative where it is before the text that was fed."""
    end: int


class Text(NamedTuple):
    """A whole string that must match a pattern in any case."""

    pattern: str
    value: str
    end: int
    """Where it ends in the text that was fed, as for :class:`Wrong`; it begins at ``start``."""
    start: int


@dataclass(frozen=True, slots=True)
class State:
    """The reader between two characters."""

    mode: Mode = "value"
    stack: tuple[Any, ...] | None = None
    """The innermost frame, and the stack around it."""
    depth: int = 0
    node: Node = ANYTHING
    """The constraints of the value that comes next or is being read."""
    text: str = ""
    """The part of a string, number or word that was read; of a long string, its beginning."""
    length: int = 0
    """How long a string is so far."""
    escape: str = ""
    """An escape sequence that has begun."""
    token: int = 0
    """How many characters ago the token began."""
