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
    """A call whose pieces are still coming, or may be."""

    __slots__ = ("id", "is_settled", "kind", "names", "number", "pieces")

    def __init__(self, number: int, kind: Kind) -> None:
        self.number = number
        self.kind: Kind = kind
        self.id = ""
        self.names: list[str] = []
        self.pieces: list[str] = []
        self.is_settled = False
        """Whether it was told to be whole."""

    def call(self) -> ToolCall:
        return ToolCall(self.id, "".join(self.names), "".join(self.pieces), self.kind)

    def has_all(self) -> bool:
        """Tell whether its arguments are an object, which nothing can follow. Plain text may always go on."""
        if self.kind == "custom":
            return False
        try:
            self.call().values()
        except (ValueError, RecursionError):
            return False
        return True

    def add(self, name_of_call: str, said: _Function | None) -> None:
        """Add a piece."""
        self.id = self.id or name_of_call
        if said is None:
            return
        self.names.append(said.name or "")
        more = said.input if said.input is not None else said.arguments
        if more is not None:
            # Some servers send the arguments as an object, which is whole by itself.
            self.pieces.append(more if isinstance(more, str) else msgspec.json.encode(more).decode())


class Fed(NamedTuple):
    """What a chunk brought: the numbers of the calls that its pieces belong to, and the calls that are whole now."""

    pieces: tuple[int, ...]
    whole: list[tuple[int, ToolCall]]


class CallAssembler:
    """Puts the calls of one stream together, and numbers them from 0.

    A call is whole when the next one begins and its own arguments are an object, or else at the end: the pieces of
    parallel calls may come by turns. Not all servers count calls alike: a new id begins a new call, too.
    """

    def __init__(self) -> None:
        self._calls: list[_Open] = []
        self._by_index: dict[int, _Open] = {}
        """The call of each index that began last."""
        self._by_id: dict[tuple[int, str], _Open] = {}

    @property
    def is_open(self) -> bool:
        """Whether a call has begun, so that its end is awaited: the last one is never whole before."""
        return bool(self._calls)

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
        """Take the end of the stream: the calls that are left are whole if the model says that it is done."""
        left = [call for call in self._calls if not call.is_settled]
        for known in (self._calls, self._by_index, self._by_id):
            known.clear()
        return [(call.number, call.call()) for call in left] if reason in _WHOLE else []

    def _take(self, index: int, kind: Kind, name_of_call: str, said: _Function | None, fed: Fed) -> int:
        """Take a piece, and return the number of its call."""
        call = self._known(index, name_of_call)
        if call is None or (call.is_settled and _says_something(said)):
            # What comes to a call that was told as whole is no part of what was judged: it is judged by itself.
            call = self._begin(index, kind, fed)
        if not call.is_settled:
            call.add(name_of_call, said)
        if call.id:
            self._by_id[index, call.id] = call
        return call.number

    def _known(self, index: int, name_of_call: str) -> _Open | None:
        """Return the call that a piece goes on with, if it does."""
        last = self._by_index.get(index)
        if last is None or not name_of_call or not last.id or last.id == name_of_call:
            return last
        return self._by_id.get((index, name_of_call))

    def _begin(self, index: int, kind: Kind, fed: Fed) -> _Open:
        """Begin a call. The one before it is looked at now and not again, so that no text is read again and again."""
        last = self._calls[-1] if self._calls else None
        if last is not None and last.has_all():
            last.is_settled = True
            fed.whole.append((last.number, last.call()))
        begun = self._by_index[index] = _Open(len(self._calls), kind)
        self._calls.append(begun)
        return begun


def _says_something(said: _Function | None) -> bool:
    return said is not None and any((said.name, said.arguments, said.input))
