"""The rows of each format, as they are written: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from interwhen.export.decontaminating import strings_in
from interwhen.export.spliced import OursSpan


class Document(msgspec.Struct, frozen=True):
    """``tpt``: a document with the thinking behind it, as in thinking-augmented pre-training (arXiv 2509.20186)."""

    id: str
    text: str
    """The document, and then the thinking."""
    document: str
    thinking: str
    spans: tuple[OursSpan, ...]
    """What in ``text`` is not the model's."""

    @property
    def searched(self) -> str:
        """What is looked at for contamination."""
        return self.text


class FieldSpan(msgspec.Struct, frozen=True):
    """A stretch of a field of a message that is not the model's."""

    message: int
    field: str
    start: int
    end: int
    origin: str


class Chat(msgspec.Struct, frozen=True):
    """``messages``: a chat, whose last message is the trace."""

    id: str
    messages: tuple[dict[str, Any], ...]
    spans: tuple[FieldSpan, ...]

    @property
    def searched(self) -> str:
        """What is looked at for contamination: everything that is said, what tools are called with included."""
        return "\n".join(text for message in self.messages for text in _said(message))


def _said(message: dict[str, Any]) -> Iterator[str]:
    """Yield what *message* says, in the order in which it is said: thoughts, text, calls. Roles and names are not."""
    yield from strings_in(message.get("reasoning_content"))
    yield from strings_in(message.get("content"))
    for call in (*message.get("tool_calls", ()), message.get("function_call")):
        if call is not None:
            yield from _arguments(call.get("custom") or call.get("function") or call)


def _arguments(called: dict[str, Any]) -> Iterator[str]:
    """Yield what a tool was *called* with: the strings in a JSON text, or else the text."""
    text = called["input"] if "input" in called else called["arguments"]
    try:
        yield from strings_in(json.loads(text))
    except (ValueError, RecursionError):
        yield text


class Steps(msgspec.Struct, frozen=True):
    """``prm``: steps with their labels, behind a prompt that ends where the first of them begins."""

    id: str
    prompt: str
    completions: tuple[str, ...]
    labels: tuple[bool, ...]
    prompt_spans: tuple[OursSpan, ...]
    """What in ``prompt`` we wrote. Steps hold nothing of ours."""

    @property
    def searched(self) -> str:
        """What is looked at for contamination."""
        return "\n".join((self.prompt, *self.completions))


class Preference(msgspec.Struct, frozen=True):
    """``preference``: two continuations of the same prefix, the one that was refuted and the one that passed."""

    id: str
    prompt: str
    """The problem and the prefix."""
    chosen: str
    rejected: str
    prefix: str
    """The part of ``prompt`` that is the beginning of the answer."""
    prompt_spans: tuple[OursSpan, ...]
    chosen_spans: tuple[OursSpan, ...]
    """What in ``chosen`` we wrote: values put in the place of wrong ones. Feedback is never in it."""
    monitor: str
    remedy: str

    @property
    def searched(self) -> str:
        """What is looked at for contamination."""
        return f"{self.prompt}{self.chosen}\n{self.prompt}{self.rejected}"


Row: TypeAlias = Document | Chat | Steps | Preference
