"""The known fields of each API, in one table for all codecs, and the filter for unmonitored text.

Monitors read the fields of kind ``text``; the other fields of the table repeat such text or hold no text of a model.
Any other string is unmonitored text: a result with it is not verified, and a gate holds it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.results import Result, Unverified, UnverifiedReason, Verified
from interwhen.clients._calls import Api
from interwhen.clients._held_scores import HeldScores

Kind = Literal["text", "copy", "id", "number", "opaque"]
"""The kinds of fields:

``text``: text of the model that monitors read. ``copy``: must repeat a text that monitors read in another field; any
other text in it is unmonitored. ``id``: a name, a role, a reason, a date. ``number``: numbers, also in lists and
objects. ``opaque``: data that is not for people (signatures, log-probabilities), or that was in the request.
"""

Table: TypeAlias = "Mapping[str, Kind | Table | tuple[Table]]"
"""The fields of an object, by name. A table describes an inner object; a table in a tuple, the members of a list."""

_ID_SIZE = 512
"""The most characters of an id. A longer string counts as text."""
NAMES_KEPT = 8
"""The most names of unmonitored fields that are kept."""
_KEY = re.compile(r"[\w.:/-]{1,64}")
"""The form of an object's key. A key in another form counts as text."""

_META: Final[Table] = {
    "id": "id",
    "object": "id",
    "created": "number",
    "model": "id",
    "system_fingerprint": "id",
    "service_tier": "id",
    "provider": "id",
    "usage": "number",
    "timings": "number",
    "obfuscation": "opaque",
    "prompt_token_ids": "number",
    "prompt_logprobs": "opaque",
    "prompt_filter_results": "opaque",
    "kv_transfer_params": "opaque",
    "x_groq": {"id": "id", "seed": "number", "usage": "number"},
}
_CHOICE: Final[Table] = {
    "index": "number",
    "finish_reason": "id",
    "native_finish_reason": "id",
    "stop_reason": "id",
    "matched_stop": "id",
    "logprobs": "opaque",
    "token_ids": "number",
    "prompt_token_ids": "number",
    "prompt_logprobs": "opaque",
    "content_filter_results": "opaque",
    "content_filter_offsets": "number",
}
_CALL: Final[Table] = {
    "index": "number",
    "id": "id",
    "type": "id",
    "function": {"name": "text", "arguments": "text"},
    "custom": {"name": "text", "input": "text"},
    "extra_content": {"google": {"thought_signature": "opaque"}},
}
_DETAIL: Final[Table] = {
    "type": "id",
    "id": "id",
    "format": "id",
    "index": "number",
    "signature": "opaque",
    "data": "opaque",
    "text": "copy",
    "summary": "copy",
    "thinking": "copy",
}
_PART: Final[Table] = {"type": "id", "text": "copy", "logprobs": "opaque"}
_ITEM: Final[Table] = {
    "id": "id",
    "type": "id",
    "status": "id",
    "role": "id",
    "phase": "id",
    "call_id": "id",
    "namespace": "id",
    "content": (_PART,),
    "summary": (_PART,),
    "encrypted_content": "opaque",
    "name": "copy",
    "arguments": "copy",
    "input": "copy",
}
_RESPONSE: Final[Table] = {
    "id": "id",
    "object": "id",
    "status": "id",
    "model": "id",
    "service_tier": "id",
    "previous_response_id": "id",
    "created_at": "number",
    "completed_at": "number",
    "usage": "number",
    "temperature": "number",
    "top_p": "number",
    "max_output_tokens": "number",
    "max_tool_calls": "number",
    "top_logprobs": "number",
    "background": "number",
    "frequency_penalty": "number",
    "presence_penalty": "number",
    "parallel_tool_calls": "number",
    "store": "number",
    "billing": "opaque",
    "conversation": "opaque",
    "error": "opaque",
    "incomplete_details": "opaque",
    "instructions": "opaque",
    "metadata": "opaque",
    "moderation": "opaque",
    "prompt": "opaque",
    "prompt_cache_key": "opaque",
    "prompt_cache_retention": "opaque",
    "reasoning": "opaque",
    "safety_identifier": "opaque",
    "text": "opaque",
    "tool_choice": "opaque",
    "tools": "opaque",
    "truncation": "opaque",
    "user": "opaque",
    "kv_transfer_params": "opaque",
    "output": (_ITEM,),
    "output_text": "copy",
}
_EVENT: Final[Table] = {
    "type": "id",
    "item_id": "id",
    "sequence_number": "number",
    "output_index": "number",
    "content_index": "number",
    "summary_index": "number",
    "logprobs": "opaque",
    "obfuscation": "opaque",
    "name": "copy",
    "text": "copy",
    "arguments": "copy",
    "input": "copy",
    "part": _PART,
    "item": _ITEM,
    "response": _RESPONSE,
}

READ_EVENTS: Final = (
    "response.output_text.delta",
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
)
"""The events of the Responses API whose ``delta`` monitors read: text as it comes, arguments once they are whole."""

FIELDS: Final[Mapping[Api, Table]] = {
    "chat": {
        **_META,
        "choices": (
            {
                **_CHOICE,
                "delta": {
                    "role": "id",
                    "content": "text",
                    "reasoning_content": "text",
                    "reasoning": "text",
                    "tool_calls": (_CALL,),
                    "function_call": {"name": "text", "arguments": "text"},
                    "reasoning_details": (_DETAIL,),
                    "thinking_blocks": (_DETAIL,),
                },
            },
        ),
    },
    "completions": {**_META, "choices": ({**_CHOICE, "text": "text"},)},
    "responses": {**_EVENT, "delta": "text"},
}
"""The fields of a chunk, or of an event of the Responses API, whose ``delta`` is text only in ``READ_EVENTS``."""

OURS: Final = "interwhen"
"""The field of a chunk that interwhen writes. If a server sends it, it is dropped: readers would trust it."""


class Sifted(NamedTuple):
    """A value from which unmonitored text was removed or replaced, and the names of the fields that had such text."""

    value: Any
    names: tuple[str, ...]
    """The paths of these fields, such as ``item.arguments``: at most 8, each of at most 100 characters."""


Stands: TypeAlias = Callable[[str, str], str]
"""``stands(place, text)`` returns *text* if monitors read it in another field, else the text to show instead.

*place* is the path of the field, such as ``item.arguments``.
"""


def sift(body: Mapping[str, Any], table: Table, stands: Stands) -> Sifted:
    """Return *body* without unmonitored text, and the names of the fields that had such text.

    It is text in fields that *table* does not list or that are for other values, and text in fields marked ``copy``
    that does not repeat a text which monitors read. *stands* returns the text of a ``copy`` field if it may stay, else
    the text to show instead.
    """
    sifter = _Sifter(stands)
    return Sifted(sifter.fields(body, table, ""), tuple(sifter.names))


class _Sifter:
    def __init__(self, stands: Stands) -> None:
        self._stands = stands
        self.names: dict[str, None] = {}

    def fields(self, value: Mapping[str, Any], table: Table, place: str) -> dict[str, Any]:
        """Return the object *value*, which is at the path *place*, without unmonitored text.

        *table* lists its known fields.
        """
        found: dict[str, Any] = {}
        for name, inner in value.items():
            at = f"{place}.{name}" if place else name
            kind = table.get(name)
            found[name] = self._unknown(inner, at) if kind is None else self._known(inner, kind, at)
        return found

    def _known(self, value: Any, kind: Kind | Table | tuple[Table], place: str) -> Any:
        if isinstance(kind, tuple):
            if isinstance(value, list):
                return [self._known(member, kind[0], place) for member in value]
            kind = kind[0]
        if isinstance(kind, Mapping) and isinstance(value, Mapping):
            return self.fields(value, kind, place)
        if kind in ("text", "opaque"):
            return value
        if isinstance(value, str):
            if kind == "id" and len(value) <= _ID_SIZE:
                return value
            if kind == "copy" and (shown := self._stands(place, value)) == value:
                return value
            self._note(place)
            return shown if kind == "copy" else ""
        return self._unknown(value, place)

    def _unknown(self, value: Any, place: str) -> Any:
        if not _has_text(value):
            return value
        self._note(place)
        return _emptied(value)

    def _note(self, place: str) -> None:
        if len(self.names) < NAMES_KEPT:
            self.names[place[:100]] = None


def _has_text(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value)
    if isinstance(value, Mapping):
        return any(not _KEY.fullmatch(key) or _has_text(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(_has_text, value))


def _emptied(value: Any) -> Any:
    if isinstance(value, str):
        return ""
    if isinstance(value, Mapping):
        return {key: _emptied(inner) for key, inner in value.items() if _KEY.fullmatch(key)}
    return [_emptied(inner) for inner in value] if isinstance(value, list) else value


def strict_decoder(table: Table, name: str) -> msgspec.json.Decoder[Any]:
    """Return a decoder that accepts only objects with fields from *table*, and without text in ``copy`` fields.

    It raises an error of msgspec for others. An object that it accepts does not need the slower :func:`sift`.
    """
    return msgspec.json.Decoder(_struct(table, name))


_Number: TypeAlias = int | float | bool | None
_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^(?:{_KEY.pattern})\Z")]
"""A key of an object for numbers. Text in any other key is unmonitored."""
_SMALL: Any = _Number | dict[_Name, _Number | dict[_Name, _Number]] | list[int | float | None]
_TYPES: Mapping[str, Any] = {
    "text": Any,
    "copy": None,
    "id": Annotated[str, msgspec.Meta(max_length=_ID_SIZE)] | _Number,
    "number": _SMALL,
    "opaque": msgspec.Raw,
}


def _struct(table: Table, name: str) -> Any:
    fields = [(field, _type(kind, f"{name}_{field}"), None) for field, kind in table.items()]
    return msgspec.defstruct(name, fields, frozen=True, forbid_unknown_fields=True, gc=False)


def _type(kind: Kind | Table | tuple[Table], name: str) -> Any:
    if isinstance(kind, tuple):
        return list[_struct(kind[0], name)] | None  # type: ignore[misc]
    if isinstance(kind, Mapping):
        return _struct(kind, name) | None
    return _TYPES[kind]


_COMMON = [name for name in Unverified.__struct_fields__ if name != "unverified_reasons"]


def with_unmonitored(result: Result, unmonitored: Mapping[str, bool]) -> Result:
    """Return *result*. If it is verified or unverified and there are *unmonitored* fields, it becomes unverified.

    *unmonitored* maps the name of each field to a flag: whether its text was held back.
    """
    if not unmonitored or not isinstance(result, Verified | Unverified):
        return result
    unverified_reasons = result.unverified_reasons if isinstance(result, Unverified) else ()
    common = {name: getattr(result, name) for name in _COMMON}
    why = "no monitor reads the field {!r:.120} of the answer{}"
    more = (
        UnverifiedReason("", None, why.format(name, "; it was held back" if held else ""))
        for name, held in unmonitored.items()
    )
    return Unverified(**common, unverified_reasons=(*unverified_reasons, *more))


# The filter for the chunks of the chat and the completions API.

_DECODERS = {api: strict_decoder(FIELDS[api], api) for api in ("chat", "completions")}
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"(?!")')
"""Matches the beginning of a chunk's text, never inside a JSON string, where quotation marks are escaped."""
_BACKSLASH = 92
_OFTEN = 16
"""Each of the first 16 filtered chunks may be remembered, then only every 16th."""


class FieldFilter:
    """Finds text that no monitor reads in the chunks of one answer. With *holds*, such text is removed.

    It remembers the bytes of a clean chunk (one without such text) ``before`` and ``after`` its text. A chunk that
    differs from it only in this text does not have to be filtered: it begins and ends with the same bytes, has no
    quotation mark between them, and no backslash directly before ``after``.
    """

    __slots__ = (
        "_api",
        "_decode",
        "_scores",
        "after",
        "before",
        "begin",
        "has_calls",
        "holds",
        "least",
        "looked",
        "rest",
        "unmonitored",
    )

    def __init__(self, api: Literal["chat", "completions"], *, holds: bool) -> None:
        self._api: Literal["chat", "completions"] = api
        self._decode = _DECODERS[api].decode
        self.holds = holds
        """Whether unmonitored text is removed."""
        self.unmonitored: dict[str, bool] = {}
        """The first 8 fields with unmonitored text, by name. The value tells whether the text was held back."""
        self.before = self.after = b""
        """The bytes of the remembered clean chunk before and after its text; empty until one is remembered."""
        self.begin = self.rest = 0
        """The lengths of ``before`` and ``after``."""
        self.least = 1 << 62
        """The size of the smallest chunk that can match the remembered one."""
        self.looked = 0
        """How many chunks were filtered."""
        self.has_calls = False
        """Whether the last filtered chunk may hold pieces of tool calls."""
        self._scores: HeldScores | None = None

    def restart(self) -> None:
        """Forget the tokens that wait for their text, because another stream begins."""
        self._scores = None

    def note(self, name: str) -> None:
        """Record that the field *name* of the answer has unmonitored text. Only 8 such fields are recorded."""
        if len(self.unmonitored) < NAMES_KEPT:
            self.unmonitored.setdefault(name, self.holds)

    def filtered(self, data: bytes) -> bytes:
        """Return the chunk *data* as the reader gets it, and record the names of fields with unmonitored text.

        Unmonitored text is removed if ``holds`` is set. The field ``interwhen`` of a server is removed.
        """
        self.least = 1 << 62
        self.looked += 1
        try:
            chunk = self._decode(data)
        except DECODE_ERRORS:
            shown, is_sound = self._sifted(data)
        else:
            delta = getattr(chunk.choices[0], "delta", None) if chunk.choices else None
            self.has_calls = bool(delta and (delta.tool_calls or delta.function_call))
            shown, is_sound = data, not _says_two_things(delta)
            if not is_sound:
                shown, is_sound = self._sifted(data)
        if self.holds and ((self._scores and self._scores.waits) or b"logprob" in data or b"\\u" in data):
            shown, has_scores = self._with_scores(shown)
            is_sound = is_sound and not has_scores  # the next chunk has other tokens
        if is_sound and (self.looked <= _OFTEN or not self.looked % _OFTEN):
            self._remember(data)
        return shown

    def _with_scores(self, data: bytes) -> tuple[bytes, bool]:
        """Return *data* with the log-probabilities of tokens whose text has come, and whether it has or had any."""
        try:
            choice = msgspec.json.decode(data)["choices"][0]
        except (*DECODE_ERRORS, LookupError, TypeError):
            return data, False
        found = choice.get("logprobs")
        if found is None and self._scores is None:
            return data, False
        said = choice if self._api == "completions" else choice.get("delta") or {}
        texts = [said.get(name) or "" for name in ("content", "reasoning_content", "reasoning", "text")]
        texts = [text if isinstance(text, str) else "" for text in texts]
        if self.has_calls and not any(texts):
            return data, found is not None
        self._scores = self._scores or HeldScores()
        shown = self._scores.take(found, texts[0] or texts[3], texts[1] or texts[2])
        if shown == found:
            return data, found is not None
        body = msgspec.json.decode(data)
        body["choices"][0]["logprobs"] = shown
        return msgspec.json.encode(body), True

    def _sifted(self, data: bytes) -> tuple[bytes, bool]:
        """Return *data* as the reader gets it, and whether it is unchanged and without unmonitored text."""
        try:
            body: dict[str, Any] = msgspec.json.decode(data)
        except DECODE_ERRORS:
            return data, False  # the decoder raises an error for such a chunk
        ours = body.pop(OURS, None) is not None
        choices = body.get("choices") or [{}]
        delta = choices[0].get("delta") if self._api == "chat" else None
        self.has_calls = bool(delta and (delta.get("tool_calls") or delta.get("function_call")))
        reasoning = (delta.get("reasoning_content") or delta.get("reasoning") or "") if delta else ""

        def stands(place: str, text: str) -> str:
            # A server that sends details sends their text as reasoning, too. Encrypted details have no text.
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
        """If the clean chunk *data* has text in exactly one field, remember the bytes before and after this text."""
        found = _TEXT.findall(data)
        if len(found) != 1:
            return
        begin = data.index(found[0]) + len(found[0])
        end = data.find(b'"', begin)
        if end < 0 or data[end - 1] == _BACKSLASH:
            return
        self.before, self.after, self.begin, self.rest = data[:begin], data[end:], begin, len(data) - end
        self.least = self.begin + self.rest


def _says_two_things(delta: Any) -> bool:
    """Return whether *delta*, of a chat chunk, has different reasoning in its two reasoning fields."""
    return bool(delta and delta.reasoning_content and delta.reasoning and delta.reasoning != delta.reasoning_content)


def _text_of(details: Any) -> str:
    items = details if isinstance(details, list) else [details]
    texts = [
        item.get("text") or item.get("summary") or item.get("thinking") for item in items if isinstance(item, dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))
