"""Tool calls from their pieces: a call is one only once it is whole."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from interwhen.models.base import FinishReason
from interwhen.tool_calls import ToolCall

_WHOLE: frozenset[FinishReason] = frozenset(("stop", "tool_calls"))

Kind = Literal["function", "custom", "function_call"]


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: Any = None
    input: str | None = None


class _Delta(msgspec.Struct, frozen=True, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    custom: _Function | None = None


class _Text(msgspec.Struct, frozen=True, gc=False):
    tool_calls: list[_Delta] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    delta: _Text | None = None


class _Body(msgspec.Struct, frozen=True, gc=False):
    choices: list[_Choice] | None = None


_decoder = msgspec.json.Decoder(_Body)


class _Open:
    """A call whose pieces are still coming."""

    __slots__ = ("id", "index", "kind", "names", "number", "pieces")

    def __init__(self, number: int, index: int, kind: Kind) -> None:
        self.number = number
        self.index = index
        self.kind: Kind = kind
        self.id = ""
        self.names: list[str] = []
        self.pieces: list[str] = []

    def call(self) -> ToolCall:
        return ToolCall(self.id, "".join(self.names), "".join(self.pieces), self.kind)


class Fed(NamedTuple):
    """What a chunk brought: the numbers of the calls that its pieces belong to, and the calls that are whole now."""

    pieces: tuple[int, ...]
    whole: list[tuple[int, ToolCall]]


class CallAssembler:
    """Puts the calls of one stream together, and numbers them from 0.

    Not all servers count them alike: a new id begins a new call, too.
    """

    def __init__(self) -> None:
        self._open: _Open | None = None
        self._count = 0

    @property
    def is_open(self) -> bool:
        """Whether a call has begun that is not whole."""
        return self._open is not None

    def feed(self, data: bytes) -> Fed:
        """Take a chunk."""
        choices = _decoder.decode(data).choices
        delta = choices[0].delta if choices else None
        if delta is None or not (delta.tool_calls or delta.function_call):
            return Fed((), [])
        fed = Fed((), [])
        numbers: list[int] = []
        for piece in delta.tool_calls or ():
            kind: Kind = "custom" if piece.custom is not None or piece.type == "custom" else "function"
            numbers.append(self._take(piece.index or 0, kind, piece.id or "", piece.function or piece.custom, fed))
        if delta.function_call is not None:
            numbers.append(self._take(0, "function_call", "", delta.function_call, fed))
        return fed._replace(pieces=tuple(numbers))

    def end(self, reason: FinishReason) -> list[tuple[int, ToolCall]]:
        """Take the end of the stream: the last call is whole if the model says that it is done."""
        last, self._open = self._open, None
        return [(last.number, last.call())] if last is not None and reason in _WHOLE else []

    def _take(self, index: int, kind: Kind, name_of_call: str, said: _Function | None, fed: Fed) -> int:
        """Take a piece, and return the number of its call."""
        last = self._open
        is_new = last is None or last.index != index or bool(name_of_call and last.id and last.id != name_of_call)
        if last is None or is_new:
            if last is not None:
                fed.whole.append((last.number, last.call()))
            last = self._open = _Open(self._count, index, kind)
            self._count += 1
        last.id = last.id or name_of_call
        if said is None:
            return last.number
        last.names.append(said.name or "")
        more = said.input if said.input is not None else said.arguments
        if more is not None:
            # Some servers send the arguments as an object, which is whole by itself.
            last.pieces.append(more if isinstance(more, str) else msgspec.json.encode(more).decode())
        return last.number
