"""An incremental JSON reader. Its states are immutable values, so that a rewind can go back to any of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal, NamedTuple

from interwhen_verifiers._json_schema import constraints
from interwhen_verifiers._json_schema.compiler import ANYTHING, Compiler, Kind, Node, parts_of
from interwhen_verifiers._json_schema.constraints import Refutation, Test

_SPACE = " \t\r\n"
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NUMERIC = re.compile(r"[-+.0-9eE]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_NUMBER_START = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:(?<=\d)[eE][-+]?\d*)?)?", re.ASCII)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = frozenset("0123456789abcdefABCDEF")
_WORDS = {"t": "true", "f": "false", "n": "null"}
_KEPT = 300
"""At least so many characters of a string are kept, for comparison with allowed values."""
_DIGITS = 400
"""A document is not followed any further after a number with more characters."""
_REMEMBERED = 2_000
_OF_STRINGS = ("maxLength", "minLength", "enum", "const")
"""The keywords, except ``pattern``, that may refute a string."""
_DEEPEST = 64
"""For deeper values, only the syntax is judged before the document is complete."""


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
    begun: int = 0
    """How many entries have begun."""
    seen: int = 0
    """The keys read so far, as bits (see ``Reader.bit``). Only keys that the schema names have a bit."""


class Wrong(NamedTuple):
    """Why no valid document begins like this, and the range of the wrong part."""

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
    stack: tuple[Any, ...] | None = None
    """The innermost frame, and the stack around it."""
    depth: int = 0
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


class Reader:
    """Reads JSON documents, and judges them by one schema while they are incomplete."""

    def __init__(self, schema: Any) -> None:
        self._compiler = Compiler(schema)
        self._root = self._compiler.node(schema) if self._compiler.judges_prefixes else Node(())
        self._bits = {name: 1 << at for at, name in enumerate(sorted(constraints.names_in(schema)))}
        self.kept = max((_KEPT, *map(len, self._bits)))
        """Enough characters of a string to know each key that the schema names."""
        parts = list(parts_of(schema))
        self.words = frozenset(word for part in parts if isinstance(part, Mapping) for word in part)
        """The keywords that the schema uses, among other names."""
        self.judges_strings = not self.words.isdisjoint(_OF_STRINGS)
        self._longest = max((len(part) for part in parts if isinstance(part, list)), default=0)
        self._known: dict[tuple[int, str, str | int], tuple[Node, Node]] = {}

    def begin(self) -> State:
        return State(node=self._root)

    def feed(self, state: State, text: str, texts: list[Text] | None = None) -> tuple[State, int, Wrong | None]:
        # Returns the next state, the number of characters that were read, and the error or `None`. After an error, or a
        # number that is too long or too large, the mode of the state is `lost`: nothing more is read. Complete strings
        # of up to `kept` characters that must match a pattern are added to `texts`.
        step = _Step(self, state, text, [] if texts is None else texts)
        wrong = step.run()
        return step.state(), step.at, wrong

    def bit(self, name: str) -> int:
        return self._bits.get(name, 0)

    def remembered(self, node: Node, what: str, which: str | int, compute: Callable[[], Node]) -> Node:
        # The result of `compute` is kept, so it must depend on nothing but `node`, `what` and `which`.
        entry = self._known.get((id(node), what, which))
        if entry is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            # The entry holds the node, so that no other one gets its id.
            entry = self._known[id(node), what, which] = (node, compute())
        return entry[1]

    def item(self, node: Node, index: int) -> Node:
        # Behind the longest list of the schema (such as `prefixItems`), all items have the same constraints.
        which = min(index, self._longest)
        return self.remembered(node, "item", which, lambda: self._inner(node, constraints.of_item(which)))

    def property(self, node: Node, name: str | None) -> Node:
        """Return the constraints of a property. *name* is ``None`` if the name was too long to be kept."""
        which = 0 if name is None else name
        return self.remembered(node, "property", which, lambda: self._inner(node, constraints.of_property(name)))

    def _inner(self, node: Node, schemas: Callable[[Any], tuple[Any, ...]]) -> Node:
        return constraints.inside(node, schemas, self._compiler)


class _Stop(Exception):
    def __init__(self, why: str) -> None:
        self.why = why


class _Step:
    """Reads one piece of text after *state*, and judges it by the schema of *reader*."""

    # Call `run` once, before `state` and `at`, the number of characters that were read.

    def __init__(self, reader: Reader, state: State, text: str, texts: list[Text]) -> None:
        self._texts = texts
        self._reader = reader
        self._text = text
        self.at = 0
        self._mode: Mode = state.mode
        self._stack = state.stack
        self._depth = state.depth
        self._node = state.node
        self._read = state.text
        self._length = state.length
        self._escape = state.escape
        self._token = -state.token
        self._kept = reader.kept

    def state(self) -> State:
        return State(
            self._mode,
            self._stack,
            self._depth,
            self._node,
            self._read,
            self._length,
            self._escape,
            min(self.at - self._token, 1 << 20),
        )

    def run(self) -> Wrong | None:
        try:
            end = len(self._text)
            while self.at < end:
                mode = self._mode
                if mode in ("string", "name"):
                    self._string()
                elif mode == "number":
                    self._number()
                elif mode == "word":
                    self._word()
                elif mode in ("done", "lost"):
                    break
                else:
                    char = self._text[self.at]
                    if char in _SPACE:
                        self.at += 1
                    else:
                        self._structure(char)
            if self._mode in ("string", "name"):
                self._look_at_string(complete=False)
        except _Stop as stop:
            mode, self._mode = self._mode, "lost"
            start = self._token if mode in ("string", "name", "number", "word") else self.at
            return Wrong(stop.why, min(start, self.at), min(self.at + 1, len(self._text)))
        return None

    def _structure(self, char: str) -> None:
        self._token = self.at
        mode = self._mode
        if mode == "colon" and char == ":":
            self._mode = "value"
            self.at += 1
        elif mode == "next" and char == ",":
            self._comma()
        elif mode == "value" or (mode == "first" and char != "]"):
            self._begin_value(char)
        elif mode == "first" or (mode == "next" and char == "]" and self._frame.kind == "array"):
            self._close_array()
        elif mode in ("key", "key_first") and char == '"':
            self._begin_name()
        elif char == "}" and (mode == "key_first" or (mode == "next" and self._frame.kind == "object")):
            self._close_object()
        else:
            raise _Stop(f"invalid JSON: {_WANTED[mode]} is missing before '{constraints.shown(char)}'")

    @property
    def _frame(self) -> Frame:
        assert self._stack is not None
        frame: Frame = self._stack[0]
        return frame

    def _begin_value(self, char: str) -> None:
        if self._mode == "first":
            self._begin_item()
        kind: Kind
        if char == "{":
            kind = "object"
        elif char == "[":
            kind = "array"
        elif char == '"':
            kind = "string"
        elif char in "-0123456789":
            kind = "number"
        elif char in _WORDS:
            kind = "null" if char == "n" else "boolean"
        else:
            raise _Stop(f"invalid JSON: no value begins with '{constraints.shown(char)}'")
        node = self._node
        self._node = self._reader.remembered(node, "kind", kind, lambda: self._applied(node, constraints.of_kind(kind)))
        if kind in ("object", "array"):
            self._open(kind)
            return
        self._mode = "string" if kind == "string" else "number" if kind == "number" else "word"
        self._read, self._length = ("", 0) if kind == "string" else (char, 1)
        self.at += 1

    def _open(self, kind: Literal["object", "array"]) -> None:
        self._stack = (Frame(kind, self._node if self._depth < _DEEPEST else ANYTHING), self._stack)
        self._depth += 1
        self._mode = "key_first" if kind == "object" else "first"
        self.at += 1

    def _begin_item(self) -> None:
        begun = self._frame.begun
        self._begin_entry("maxItems")
        self._node = self._reader.item(self._frame.node, begun)

    def _begin_name(self) -> None:
        self._begin_entry("maxProperties")
        self._mode, self._read, self._length = "name", "", 0
        self.at += 1

    def _begin_entry(self, limit: str) -> None:
        kind, node, begun, seen = self._frame
        if limit in self._reader.words:
            node = self._applied(node, constraints.one_more(limit, begun + 1))
        self._put(Frame(kind, node, begun + 1, seen))

    def _comma(self) -> None:
        if self._frame.kind == "array":
            self._begin_item()
            self._mode = "value"
        else:
            self._mode = "key"
        self.at += 1

    def _close_array(self) -> None:
        frame = self._frame
        self._close(self._applied(frame.node, constraints.closed_array(frame.begun)))

    def _close_object(self) -> None:
        frame, reader = self._frame, self._reader
        test = constraints.closed_object(lambda name: bool(frame.seen & reader.bit(name)), frame.begun)
        self._close(self._applied(frame.node, test))

    def _close(self, node: Node) -> None:
        assert self._stack is not None
        self._stack = self._stack[1]
        self._depth -= 1
        self._node = node
        self.at += 1
        self._end_value()

    def _end_value(self) -> None:
        if self._stack is None:
            self._mode = "done"
            return
        frame = self._frame
        node = constraints.prune(frame.node, self._node)
        if node is None:
            self.at = max(self.at - 1, 0)
            raise _Stop("no alternative of the schema allows this value here")
        if node is not frame.node:
            self._put(frame._replace(node=node))
        self._mode = "next"

    def _put(self, frame: Frame) -> None:
        assert self._stack is not None
        self._stack = (frame, self._stack[1])

    def _string(self) -> None:
        text = self._text
        if self._escape:
            self._go_on_escaping(text[self.at])
            return
        match = _PLAIN.match(text, self.at)
        assert match is not None
        self._add(match[0])
        self.at = match.end()
        if self.at == len(text):
            return
        char = text[self.at]
        if char == '"':
            self._look_at_string(complete=True)
            self._note_patterns()
            self.at += 1
            self._end_string()
        elif char == "\\":
            self._escape = char
            self.at += 1
        else:
            raise _Stop("invalid JSON: a control character stands unescaped in a string")

    def _add(self, text: str) -> None:
        self._length += len(text)
        if len(self._read) < self._kept:
            self._read += text[: self._kept - len(self._read)]

    def _go_on_escaping(self, char: str) -> None:
        so_far = self._escape
        if len(so_far) == 1:
            if char in _ESCAPES:
                self._add(_ESCAPES[char])
                self._escape = ""
            elif char == "u":
                self._escape = "\\u"
            else:
                raise _Stop("invalid JSON: there is no such escape in a string")
        elif char not in _HEX:
            raise _Stop("invalid JSON: four hexadecimal digits must follow \\u")
        elif len(so_far) < 5:
            self._escape += char
        else:
            self._escape = ""
            self._add_unit(chr(int(so_far[2:] + char, 16)))
        self.at += 1

    def _add_unit(self, char: str) -> None:
        last = self._read[-1:] if self._length == len(self._read) else ""
        if "\udc00" <= char <= "\udfff" and "\ud800" <= last <= "\udbff":
            whole = 0x10000 + (ord(last) - 0xD800) * 0x400 + ord(char) - 0xDC00
            self._read = self._read[:-1] + chr(whole)
            return
        if "\ud800" <= char <= "\udfff" and self._length != len(self._read):
            self._length -= 1  # it may be one of a pair: count too few characters rather than too many
        self._add(char)

    def _look_at_string(self, *, complete: bool) -> None:
        text, length = self._read, self._length
        if self._mode == "string" and not self._reader.judges_strings:
            return
        if not complete and "\ud800" <= text[-1:] <= "\udbff":
            text, length = text[:-1], length - 1  # it may become another character
        if self._mode == "string":
            self._demand(constraints.string_so_far(text, length, complete=complete and length == len(text)))
            return
        frame = self._frame
        test = constraints.key_so_far(text, length, complete=complete)
        node = self._applied(frame.node, test)
        if node is not frame.node:
            self._put(frame._replace(node=node))

    def _note_patterns(self) -> None:
        if "pattern" in self._reader.words and self._mode == "string" and self._length == len(self._read):
            # Leaves outside of groups apply to every document.
            patterns = [leaf.schema.get("pattern") for leaf in self._node.leaves]
            start, end = max(self._token, 0), self.at + 1
            self._texts.extend(Text(regex, self._read, end, start) for regex in patterns if isinstance(regex, str))

    def _end_string(self) -> None:
        if self._mode == "string":
            self._end_value()
            return
        frame, name = self._frame, self._read if self._length == len(self._read) else None
        bit = self._reader.bit(name) if name is not None else 0
        if bit & frame.seen:
            self.at -= 1
            raise _Stop(f"the key '{constraints.shown(self._read)}' is in the object already; give each key once")
        self._put(Frame(frame.kind, frame.node, frame.begun, frame.seen | bit))
        self._node = self._reader.property(frame.node, name)
        self._mode = "colon"

    def _number(self) -> None:
        match = _NUMERIC.match(self._text, self.at)
        assert match is not None
        if len(self._read) + len(match[0]) > _DIGITS:
            self._mode = "lost"
            return
        self._read += match[0]
        self.at = match.end()
        if _NUMBER_START.fullmatch(self._read) is None:
            self.at = max(self.at - 1, 0)
            raise _Stop("invalid JSON: a number is not written like this")
        if self.at == len(self._text):
            return
        if _NUMBER.fullmatch(self._read) is None:
            raise _Stop("invalid JSON: a number ends too early")
        value = json.loads(self._read)
        if value in (inf, -inf):
            self._mode = "lost"
            return
        self.at -= 1
        self._demand(constraints.scalar(value))
        self.at += 1
        self._end_value()

    def _word(self) -> None:
        word = _WORDS[self._read[0]]
        rest = word[len(self._read) :]
        piece = self._text[self.at : self.at + len(rest)]
        if not rest.startswith(piece):
            self.at += next(at for at, (wanted, char) in enumerate(zip(rest, piece, strict=False)) if wanted != char)
            raise _Stop(f"invalid JSON: '{word}' is not written like this")
        self._read += piece
        self.at += len(piece)
        if self._read == word:
            self.at -= 1
            self._demand(constraints.scalar({"true": True, "false": False, "null": None}[word]))
            self.at += 1
            self._end_value()

    def _demand(self, test: Test) -> None:
        self._node = self._applied(self._node, test)

    def _applied(self, node: Node, test: Test) -> Node:
        if not node.groups and not any(map(test, node.leaves)):
            return node
        told = Refutation()
        applied = constraints.apply(node, test, told)
        if applied is None:
            raise _Stop(told.why or "no alternative of the schema allows this")
        return applied


_WANTED = {
    "key_first": "a key in quotes, or '}',",
    "key": "a key in quotes",
    "colon": "':'",
    "next": "',' or the end of the object or array",
}
