"""Chunks as objects of the `openai` package: the very objects that it builds, built faster where they are plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interwhen.wrapping.facts import Facts, Part

Build = Callable[[dict[str, Any]], Any]

_PLAIN = (str, int, float, bool, type(None))
_set = object.__setattr__


def attach(made: Any, facts: Facts) -> Any:
    """Put *facts* on *made* as ``interwhen``: beside its fields, so that it compares and dumps as before."""
    if made is not None and hasattr(made, "__dict__"):
        made.__dict__["interwhen"] = facts
    return made


def builder(cast_to: Any, slow: Build) -> Callable[[Part], Any]:
    """Return what makes an object of *cast_to* from a part, with its facts; *slow* is the SDK's own way."""
    from openai.types.chat import ChatCompletionChunk

    build = _chat_builder(slow) if cast_to is ChatCompletionChunk else slow

    def make(part: Part) -> Any:
        return attach(build(part.chunk()), part.facts)

    return make


def _chat_builder(slow: Build) -> Build:
    """Return what builds a chat chunk: past the SDK's type-directed walk where all values are plain."""
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

    chunks, choices, deltas = _Kind(ChatCompletionChunk), _Kind(Choice), _Kind(ChoiceDelta)
    if not (chunks.usable and choices.usable and deltas.usable):
        return slow

    def build(data: dict[str, Any]) -> Any:
        found = data.get("choices")
        if type(found) is not list or len(found) != 1 or type(found[0]) is not dict:
            return slow(data)
        choice = found[0]
        delta = choice.get("delta")
        if type(delta) is not dict or not (deltas.fits(delta) and choices.fits(choice, "delta")):
            return slow(data)
        if not chunks.fits(data, "choices"):
            return slow(data)
        return chunks.make(data, "choices", [choices.make(choice, "delta", deltas.make(delta))])

    return build


class _Kind:
    """One class of the SDK, as far as building it needs."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._defaults: dict[str, Any] = {}
        self.usable = True
        try:
            for name, field in cls.model_fields.items():
                self.usable = self.usable and field.alias is None and field.default_factory is None
                self._defaults[name] = None if field.is_required() else field.default
            self.usable = self.usable and cls.__pydantic_private__ is not NotImplemented
        except (AttributeError, TypeError):
            self.usable = False

    @staticmethod
    def fits(data: dict[str, Any], nested: str = "") -> bool:
        """Tell whether all values of *data* are plain, but for the one named *nested*."""
        for name, value in data.items():  # noqa: SIM110  a generator would cost as much as the rest
            if type(value) not in _PLAIN and name != nested:
                return False
        return True

    def make(self, data: dict[str, Any], nested: str = "", inner: Any = None) -> Any:
        """Build one object as the SDK's ``construct`` does."""
        defaults = self._defaults
        made = self._cls.__new__(self._cls)
        fields = {**defaults, **data}
        extra: dict[str, Any] = {}
        if len(fields) != len(defaults):
            extra = {name: fields.pop(name) for name in data if name not in defaults}
        if nested:
            fields[nested] = inner
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_private__", None)
        _set(made, "__pydantic_extra__", extra)
        _set(made, "__pydantic_fields_set__", {name for name in data if name in defaults})
        return made
