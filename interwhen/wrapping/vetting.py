"""Which chunks of a server have text that no monitor reads; see :mod:`~interwhen.wrapping.fields`."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from interwhen.models.chunks import NOT_JSON
from interwhen.wrapping.fields import FIELDS, NAMES_KEPT, OURS, sift, strict_decoder

_DECODERS = {api: strict_decoder(FIELDS[api], api) for api in ("chat", "completions")}
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"(?!")')
"""Where the text of a chunk begins. Within a JSON string no quotation mark is bare, so this is never inside one."""
_BACKSLASH = 92
_OFTEN = 16
"""After so many chunks that were like none before, only each of so many is remembered: it may be so with all."""


class Vetting:
    """Looks at the chunks of one answer, and keeps what the last sound one was like but for its text.

    A chunk that begins with ``before``, ends with ``after`` and has no quotation mark between is like it in all but
    that text: its reader need not ask. (Only a backslash before ``after`` could change that.)
    """

    __slots__ = (
        "_api",
        "_decode",
        "after",
        "before",
        "begin",
        "has_calls",
        "holds",
        "least",
        "looked",
        "rest",
        "unread",
    )

    def __init__(self, api: Literal["chat", "completions"], *, holds: bool) -> None:
        self._api: Literal["chat", "completions"] = api
        self._decode = _DECODERS[api].decode
        self.holds = holds
        """Whether text that no monitor reads is taken out of a chunk."""
        self.unread: dict[str, bool] = {}
        """The fields with such text, and whether it was held back."""
        self.before = self.after = b""
        self.begin = self.rest = 0
        self.least = 1 << 62
        """The size of the smallest chunk that may be like the last one."""
        self.looked = 0
        """How many chunks were looked at."""
        self.has_calls = False
        """Whether the last chunk may have had pieces of tool calls."""

    def note(self, name: str) -> None:
        """Take note of a field with text that no monitor reads."""
        if len(self.unread) < NAMES_KEPT:
            self.unread.setdefault(name, self.holds)

    def vetted(self, data: bytes) -> bytes:
        """Return the chunk *data* as it may be shown, and take note of what no monitor reads of it."""
        self.has_calls = b'"tool_calls"' in data or b'"function_call"' in data
        self.least = 1 << 62
        self.looked += 1
        try:
            chunk = self._decode(data)
        except NOT_JSON:
            shown, is_sound = self._sifted(data)
        else:
            shown, is_sound = data, not _says_two_things(chunk)
            if not is_sound:
                shown, is_sound = self._sifted(data)
        if is_sound and (self.looked <= _OFTEN or not self.looked % _OFTEN):
            self._remember(data)
        return shown

    def _sifted(self, data: bytes) -> tuple[bytes, bool]:
        """Return *data* as it may be shown, and whether that is what it is."""
        try:
            body: dict[str, Any] = msgspec.json.decode(data)
        except NOT_JSON:
            return data, False  # such a chunk is shown to nobody
        ours = body.pop(OURS, None) is not None
        choices = body.get("choices") or [{}]
        delta = choices[0].get("delta") if self._api == "chat" else None
        reasoning = (delta.get("reasoning_content") or delta.get("reasoning") or "") if delta else ""

        def stands(place: str, text: str) -> str:
            # Who sends details sends their text as reasoning, too, which is read. Encrypted ones have none.
            assert delta is not None
            return text if _text_of(delta.get(place.split(".")[-2])) == reasoning else ""

        value, names = sift(body, FIELDS[self._api], stands)
        if reasoning and delta and (other := delta.get("reasoning")) and other != reasoning:
            names = (*names, "choices.delta.reasoning")
            value["choices"][0]["delta"]["reasoning"] = ""
        for name in names:
            self.note(name)
        if not (names and self.holds):
            return (msgspec.json.encode(body) if ours else data), not (names or ours)
        return msgspec.json.encode(value), False

    def _remember(self, data: bytes) -> None:
        """Keep what *data*, which is sound, is like but for its text, where it has just one."""
        found = _TEXT.findall(data)
        if len(found) != 1:
            return
        begin = data.index(found[0]) + len(found[0])
        end = data.find(b'"', begin)
        if end < 0 or data[end - 1] == _BACKSLASH:
            return
        self.before, self.after, self.begin, self.rest = data[:begin], data[end:], begin, len(data) - end
        self.least = self.begin + self.rest


def _says_two_things(chunk: Any) -> bool:
    """Tell whether a chat chunk has reasoning in both of its fields, of which one is read, and they differ."""
    delta = getattr(chunk.choices[0], "delta", None) if chunk.choices else None
    return bool(delta and delta.reasoning_content and delta.reasoning and delta.reasoning != delta.reasoning_content)


def _text_of(details: Any) -> str:
    items = details if isinstance(details, list) else [details]
    texts = [
        item.get("text") or item.get("summary") or item.get("thinking") for item in items if isinstance(item, dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))
