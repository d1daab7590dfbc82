"""The known fields of each API, in one table for all codecs.

Any string outside of these fields and their forms is unmonitored text: a result with it is not verified, and a gate
holds it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from interwhen.clients._calls import Api

Kind = Literal["text", "copy", "word", "id", "name", "code", "echo", "labels", "number", "token", "scores"]
"""The kinds of fields:

``text``: text of the model that monitors read. ``copy``: must repeat a text that monitors read in another field; any
other text in it is unmonitored. ``word``, ``id``, ``name`` and ``code``: a string in one of the forms ``FORMS``.
``echo``: strings of the request, or words. ``labels``: words. ``number``: numbers. The last three also in lists and
objects. ``token``: tokens with log-probabilities. ``scores``: objects with tokens as keys.
"""

Table: TypeAlias = "Mapping[str, Kind | Table | tuple[Table]]"
"""The fields of an object, by name. A table describes an inner object; a table in a tuple, the members of a list."""

FORMS: Final[Mapping[str, str]] = {
    "word": "[A-Za-z0-9_.:/-]{0,64}",
    "id": "[!-~]{0,512}",
    "name": "(?:[!-~]{1,64} ){0,4}[!-~]{0,256}",
    "code": "[A-Za-z0-9+/=_.:~-]{0,65536}",
}
"""Any other string in a field of these kinds counts as text."""
_FORMS = {kind: re.compile(form) for kind, form in FORMS.items()}
_FORMS |= {"echo": _FORMS["word"], "labels": _FORMS["word"]}
_KEY = re.compile("[A-Za-z0-9_.:/-]{1,64}")
"""An object's key in another form counts as text."""
_MOST_CHARACTERS = 1024
"""The most characters of different keys and words in a field; more count as text."""
_MOST_UNKNOWN = 32
"""The most unknown fields without text in an object; more count as text."""
_LONGEST_TOKEN = 128
"""The most characters of a token with a log-probability."""
NAMES_KEPT = 8
"""The most names of unmonitored fields that are kept."""

_ALTERNATIVE: Final[Table] = {"token": "token", "bytes": "number", "logprob": "number", "id": "number"}
_SCORE: Final[Table] = {**_ALTERNATIVE, "top_logprobs": (_ALTERNATIVE,)}
_SCORES: Final[Table] = {
    "content": (_SCORE,),
    "reasoning_content": (_SCORE,),
    "refusal": (_SCORE,),
    "tokens": "token",
    "token_logprobs": "number",
    "top_logprobs": "scores",
    "text_offset": "number",
}
"""Log-probabilities: lists of objects (chat), or a list for each of their fields (completions)."""
_META: Final[Table] = {
    "id": "id",
    "object": "word",
    "created": "number",
    "model": "name",
    "system_fingerprint": "id",
    "service_tier": "word",
    "provider": "name",
    "usage": "number",
    "timings": "number",
    "obfuscation": "id",
    "prompt_token_ids": "number",
    "prompt_logprobs": "number",
    "prompt_filter_results": "labels",
    "kv_transfer_params": "labels",
    "x_groq": {"id": "id", "seed": "number", "usage": "number"},
}
_CHOICE: Final[Table] = {
    "index": "number",
    "finish_reason": "word",
    "native_finish_reason": "word",
    "stop_reason": "echo",
    "matched_stop": "echo",
    "logprobs": _SCORES,
    "token_ids": "number",
    "prompt_token_ids": "number",
    "prompt_logprobs": "number",
    "content_filter_results": "labels",
    "content_filter_offsets": "number",
}
_CALL: Final[Table] = {
    "index": "number",
    "id": "id",
    "type": "word",
    "function": {"name": "text", "arguments": "text"},
    "custom": {"name": "text", "input": "text"},
    "extra_content": {"google": {"thought_signature": "code"}},
}
_DETAIL: Final[Table] = {
    "type": "word",
    "id": "id",
    "format": "word",
    "index": "number",
    "signature": "code",
    "data": "code",
    "text": "copy",
    "summary": "copy",
    "thinking": "copy",
}
_PART: Final[Table] = {"type": "word", "text": "copy", "logprobs": (_SCORE,)}
_ITEM: Final[Table] = {
    "id": "id",
    "type": "word",
    "status": "word",
    "role": "word",
    "phase": "word",
    "call_id": "id",
    "namespace": "word",
    "content": (_PART,),
    "summary": (_PART,),
    "encrypted_content": "code",
    "name": "copy",
    "arguments": "copy",
    "input": "copy",
}
_RESPONSE: Final[Table] = {
    "id": "id",
    "object": "word",
    "status": "word",
    "model": "name",
    "service_tier": "word",
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
    "billing": "labels",
    "conversation": "labels",
    "error": "labels",
    "incomplete_details": "labels",
    "instructions": "echo",
    "metadata": "echo",
    "moderation": "labels",
    "prompt": "echo",
    "prompt_cache_key": "echo",
    "prompt_cache_retention": "word",
    "reasoning": "echo",
    "safety_identifier": "echo",
    "text": "echo",
    "tool_choice": "echo",
    "tools": "echo",
    "truncation": "word",
    "user": "echo",
    "kv_transfer_params": "labels",
    "output": (_ITEM,),
    "output_text": "copy",
}
_EVENT: Final[Table] = {
    "type": "word",
    "item_id": "id",
    "sequence_number": "number",
    "output_index": "number",
    "content_index": "number",
    "summary_index": "number",
    "logprobs": (_SCORE,),
    "obfuscation": "id",
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
                    "role": "word",
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
    """A value whose unmonitored text was removed or replaced."""

    value: Any
    names: tuple[str, ...]
    """The paths of the fields that had such text, such as ``item.arguments``: at most 8, each of at most 100
    characters."""


Stands: TypeAlias = Callable[[str, str], str]
"""``stands(place, text)`` returns *text* if monitors read it in another field, else the text to show instead."""


class RequestStrings:
    """The strings in the request *body*, keys included: a server may repeat them."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._found: frozenset[str] | None = None

    def __contains__(self, text: object) -> bool:
        if self._found is None:
            self._found = frozenset(_strings(self._body))
        return text in self._found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def sift(body: Mapping[str, Any], table: Table, stands: Stands, asked: Container[str] = ()) -> Sifted:
    # Unmonitored text is in fields that `table` does not list, strings without the form of their field, and `copy`
    # fields that repeat no text which monitors read. `asked` has the strings of the request: a server may repeat them.
    sifter = _Sifter(stands, asked)
    return Sifted(sifter.fields(body, table, ""), tuple(sifter.names))


class _Sifter:
    def __init__(self, stands: Stands, asked: Container[str]) -> None:
        self._stands = stands
        self._asked = asked
        self.names: dict[str, None] = {}

    def fields(self, value: Mapping[str, Any], table: Table, place: str) -> dict[str, Any]:
        """Return the object *value*, which is at the path *place*, without unmonitored text."""
        kept: dict[str, Any] = {}
        unknown = 0
        for name, inner in value.items():
            at = f"{place}.{name}" if place else name
            kind = table.get(name)
            if kind is not None:
                kept[name] = self._known(inner, kind, at)
                continue
            unknown += 1
            if unknown > _MOST_UNKNOWN or not _KEY.fullmatch(name):
                self._note(at)  # the name itself is text
            else:
                kept[name] = self._plain(inner, "number", at)
        return kept

    def _known(self, value: Any, kind: Kind | Table | tuple[Table], place: str) -> Any:
        if isinstance(kind, tuple):
            if isinstance(value, list):
                return [self._known(member, kind[0], place) for member in value]
            kind = kind[0]
        if isinstance(kind, Mapping):
            return (
                self.fields(value, kind, place) if isinstance(value, Mapping) else self._plain(value, "number", place)
            )
        if kind == "text":
            return value
        if kind == "copy" and isinstance(value, str):
            shown = self._stands(place, value)
            if shown != value:
                self._note(place)
            return shown
        if isinstance(value, str) or kind in ("echo", "labels", "token", "scores"):
            return self._plain(value, kind, place)
        return self._plain(value, "number", place)

    def _plain(self, value: Any, kind: Kind, place: str) -> Any:
        words: set[str] = set()
        fits, is_short = self._fits(value, kind, words), sum(map(len, words)) <= _MOST_CHARACTERS
        if fits and is_short:
            return value
        self._note(place)
        return _emptied(value) if is_short else type(value)()

    def _fits(self, value: Any, kind: Kind, words: set[str]) -> bool:
        if isinstance(value, str):
            return not value or self._is_plain(value, kind, words)
        fitting = []  # a list, so that words are counted also after one that does not fit
        if isinstance(value, Mapping):
            of_keys: Kind = "token" if kind == "scores" else "echo" if kind == "echo" else "labels"
            fitting = [self._is_plain(name, of_keys, words) for name in value]
            value, kind = [*value.values()], "number" if kind == "token" else kind
        if isinstance(value, list):
            fitting += [self._fits(inner, kind, words) for inner in value]
        return all(fitting)

    def _is_plain(self, text: str, kind: Kind, words: set[str]) -> bool:
        if kind == "token":
            return len(text) <= _LONGEST_TOKEN
        if kind in ("echo", "name") and text in self._asked:
            return True
        form = _FORMS.get(kind)
        if kind in ("echo", "labels"):
            words.add(text)
        return form is not None and form.fullmatch(text) is not None

    def _note(self, place: str) -> None:
        if len(self.names) < NAMES_KEPT:
            self.names[place[:100]] = None


def _emptied(value: Any) -> Any:
    if isinstance(value, str):
        return ""
    if isinstance(value, Mapping):
        return {key: _emptied(inner) for key, inner in value.items() if _KEY.fullmatch(key)}
    return [_emptied(inner) for inner in value] if isinstance(value, list) else value


def strict_decoder(table: Table, name: str) -> msgspec.json.Decoder[Any]:
    # The decoder accepts only objects that do not need the slower `sift`: all fields are in `table`, and `copy` fields
    # have no text. For others, it raises an error of msgspec.
    return msgspec.json.Decoder(_struct(table, name))


_Number: TypeAlias = int | float | bool | None
_Token: TypeAlias = Annotated[str, msgspec.Meta(max_length=_LONGEST_TOKEN)]


def _string(form: str) -> Any:
    return Annotated[str, msgspec.Meta(pattern=rf"^(?:{form})\Z")] | _Number


_TYPES: Mapping[str, Any] = {
    **{kind: _string(form) for kind, form in FORMS.items()},
    "text": Any,
    "copy": None,
    "echo": _string(FORMS["word"]),
    "labels": _string(FORMS["word"]),
    "number": _Number | list[int | float | None],
    "token": _Token | list[_Token | None] | None,
    "scores": list[dict[_Token, _Number] | None] | None,
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


SCORED = re.compile(rb'logprobs"\s*+:\s*+(?!null|\[\s*+\])|\\u')
"""Matches in a chunk that may have log-probabilities, also under an escaped name."""
