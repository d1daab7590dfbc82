"""The state of the reader between two characters. States are values, so a rewind can go back to any of them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from interwhen_verifiers._json_schema.compiler import ANYTHING, Node

Mode = Literal[
    "value", "first", "key_first", "key", "colon", "next", "string", "name", "number", "word", "done", "lost"
]
"""The next token that the reader expects, or the kind of token that it is reading.

``first``: a value or the end of the array. ``key_first``: a key or the end of the object. ``next``: a comma or a
closing bracket. ``lost``: the rest of the document cannot be followed.
"""


class Frame(NamedTuple):
    """An object or array that has begun and has not ended."""

    kind: Literal["object", "array"]
    node: Node
    """The constraints of the object or array."""
    begun: int = 0
    """How many entries have begun."""
    seen: int = 0
    """The keys read so far, as bits (see ``Reader.bit``). Only keys that the schema names have a bit."""


class Wrong(NamedTuple):
    """An error: the reason why no valid document begins like this, and the range of the wrong part."""

    why: str
    start: int
    """The start of the wrong part; negative where it is before the text that was fed."""
    end: int


class Text(NamedTuple):
    """A complete string that must match a pattern in every alternative of the schema."""

    pattern: str
    value: str
    end: int
    """The offset of its end in the text that was fed; ``start`` is the offset of its beginning."""
    start: int


class State(NamedTuple):
    """The state of the reader between two characters."""

    mode: Mode = "value"
    """What the reader expects next, or is reading."""
    stack: tuple[Any, ...] | None = None
    """The innermost frame, and the stack around it."""
    depth: int = 0
    """How many objects and arrays have begun and have not ended."""
    node: Node = ANYTHING
    """The constraints of the value that comes next or is being read."""
    text: str = ""
    """The part of the current string, number or word that was read; of a long string, only its beginning."""
    length: int = 0
    """The number of characters of the current string so far, or less after halves of surrogate pairs."""
    escape: str = ""
    """The beginning of an escape sequence that is not complete."""
    token: int = 0
    """The number of characters since the start of the token, at most 2**20."""
