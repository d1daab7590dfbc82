"""The parts of a trace: spans, segments, tool calls and claims."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NewType

import msgspec

Offset = NewType("Offset", int)
"""A position in a trace, in characters (Unicode code points) from its start."""


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """The half-open range ``[start, end)`` of a text, in characters.

    Raises :class:`ValueError` unless ``0 <= start <= end``.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            msg = f"a span needs 0 <= start <= end, got start={self.start!r}, end={self.end!r}"
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.end - self.start

    def shifted(self, by: int) -> Span:
        """Return this span with *by* added to its start and its end. Raises :class:`ValueError` if that is negative."""
        return Span(self.start + by, self.end + by)

    def covers(self, other: Span) -> bool:
        """Tell whether *other* lies inside this span."""
        return self.start <= other.start and other.end <= self.end


class Mention(msgspec.Struct, frozen=True, gc=False):
    """A number in the text that needs a check: a recognizer found it at *span*, and the prompt does not give it.

    It is checked if a claim of the same monitor passed with one of *values* in :attr:`Pass.values`.
    """

    span: Span
    values: tuple[str, ...]
    """The possible values of the number, in a form of the monitor's choice."""


CallFormat = Literal[
    "tagged",
    "function_tag",
    "invoke",
    "mistral",
    "deepseek",
    "kimi",
    "harmony",
    "gemma",
    "llama",
    "phi",
    "other",
    "json",
    "pythonic",
    "react",
    "code",
]
"""Formats in which models write tool calls as text. docs/tool-calls.md has an example of each."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One complete tool call: structured data of the API, or a call that the model wrote as text."""

    id: str
    """The identifier of this call from the model, for the message with its result. Empty: the call has none, as most
    calls that are written as text."""
    name: str
    """The name of the tool."""
    arguments: str
    """The arguments as JSON, unless ``kind`` says otherwise. In a structured call they are as the model wrote them, so
    they may be invalid JSON."""
    kind: Literal["function", "custom", "function_call", "code"] = "function"
    """``custom``: the tool takes plain text. ``function_call``: the older form of the chat API, without an id.
    ``code``: the call is part of program code, and ``arguments`` is Python source that is computed when it runs."""

    @property
    def text(self) -> str:
        """``name(arguments)``, which represents a structured call in the trace."""
        return f"{self.name}({self.arguments})"

    @property
    def arguments_at(self) -> int:
        """The offset of the arguments in ``text``."""
        return len(self.name) + 1

    def values(self) -> dict[str, Any]:
        """Return the arguments as a mapping.

        Raises :class:`ValueError` if they are not a JSON object, if a name is in an object twice (programs differ in
        which of the values they take), or if they are known only when the code runs (kind ``code``), and
        :class:`RecursionError` if they are nested too deeply.
        """
        if self.kind == "code":
            raise ValueError(f"the arguments of {self.name!r} are known only when the code runs")
        try:
            arguments = decode_once(self.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ValueError(
                f"the arguments of the call of {self.name!r} must be valid JSON, got an error: {error}; "
                "return Unknown for such a call"
            ) from error
        except ValueError as error:
            raise ValueError(
                f"the arguments of the call of {self.name!r} must have each name once, got {error}; "
                "return Unknown for such a call"
            ) from error
        if not isinstance(arguments, dict):
            raise ValueError(  # noqa: TRY004  bad text, not type
                f"the arguments of the call of {self.name!r} must be a JSON object, got {type(arguments).__name__}; "
                "return Unknown for such a call"
            )
        return arguments


def decode_once(text: str) -> Any:
    import json  # only calls pay for this module, not the import of the package

    value = msgspec.json.decode(text)
    json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=str)
    return value


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    # Raises `ValueError` if a name is there twice: one program takes the first value and another the last (section 4 of
    # RFC 8259), so a check may not see what the reader uses.
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the name {name!r:.80} twice in one object")
        members[name] = value
    return members


class WrittenCalls(msgspec.Struct, frozen=True, gc=False):
    form: CallFormat
    calls: tuple[ToolCall, ...] = ()
    problem: str = ""
    """Why the text, which looks like a call, cannot be read; empty: it was read."""
    untyped: bool = False
    """Whether the type of an argument was guessed. Then an argument ``5`` may stand for the text "5"."""


Phase = Literal["reasoning", "answer"]
"""``reasoning`` is what the model writes before the answer, between think tags or in a separate field."""


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A complete unit of the trace: a line, a sentence, a tool call, the whole reasoning, ...

    ``text`` is exactly the characters of the trace at ``span``; ``phase`` is the phase at its start. While the model
    sends nothing, extractors other than forks may also get an unfinished line, sentence or paragraph.
    """

    text: str
    span: Span
    phase: Phase
    call: ToolCall | None = None
    """The tool call, if this segment is a structured one; ``None`` for text, also for calls written as text."""
    written: WrittenCalls | None = None
    """What the trigger ``ToolCalls`` read from the text of this segment; ``None``: the segment is a structured call, or
    has another trigger."""

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of this segment: the structured call, or those in ``written``; empty if there are none."""
        if self.call is not None:
            return (self.call,)
        return () if self.written is None else self.written.calls

    def at(self, start: int, end: int) -> Span:
        """Return the trace span of ``text[start:end]`` (for example of a regex match).

        Raises :class:`ValueError` if the range is not inside the segment.
        """
        if not 0 <= start <= end <= len(self.text):
            msg = (
                f"a range must be inside its segment of {len(self.text)} characters, got [{start!r}, "
                f"{end!r}); give offsets in its text"
            )
            raise ValueError(msg)
        return Span(self.span.start + start, self.span.start + end)

    def ground(self, quote: str) -> Span | None:
        """Return the trace span of *quote* if it occurs exactly once in this segment, otherwise ``None``.

        Use it for the replies of forks: a claim without a span has no remedy.
        """
        if not quote:
            return None
        first = self.text.find(quote)
        if first < 0 or self.text.find(quote, first + 1) >= 0:
            return None
        return self.at(first, first + len(quote))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement that an extractor found in the trace and that a verifier can check.

    Subclass it, and add the fields that your verifier needs. Two claims with the same ``key`` and the same text must
    get the same verdict at every position in the trace, because interwhen reuses the verdict.
    """

    key: str
    """Identifies the claim. It must contain, in a normal form, everything that the verdict depends on."""
    span: Span | None
    """The position of the claim in the trace, inside its segment. ``None``: the position is not known, so a violation
    has no remedy."""
    premises: tuple[Span, ...] = ()
    """The positions of the earlier text that the claim rests on. If the claim is in the answer and is refuted, the
    remedy :class:`~interwhen.Auto` may cut the trace back to them."""


QUOTE_LIMIT = 200
"""The largest number of characters of one quote in feedback, and of a repair."""

# Full-width signs match too: a tokenizer that normalises its input reads them like the plain ASCII signs.
_OPEN, _CLOSE, _BAR = r"[<\uff1c\ufe64]", r"[>\uff1e\ufe65]", r"[|\uff5c]"
_CONTROL = re.compile(
    rf"{_OPEN}{_BAR}[^|\uff5c<>\uff1c\uff1e]{{0,60}}(?:{_BAR}{_CLOSE}?|{_CLOSE})"  # <|im_end|>, <|turn>
    rf"|{_OPEN}/?[\w:.-]{{1,60}}{_BAR}{_CLOSE}"  # <turn|>
    rf"|{_OPEN}{_BAR}|{_BAR}{_CLOSE}"  # the rest of nested or cut tokens
    rf"|{_OPEN}{_OPEN}/?SYS{_CLOSE}{_CLOSE}"
    rf"|{_OPEN}/?(?:think(?:ing)?|thought|tools?|invoke|function|parameter|role|arg|bos|eos|pad|unk|cls|sep|mask|sop|eop"
    rf"|s|co|bot|eot|unused\d+|0x[0-9a-f]{{2}}|[a-z]\w{{0,40}}[_:][\w:]{{0,40}})(?:[\s=:][^<>]{{0,80}})?/?{_CLOSE}"
    r"|[\[\uff3b]/?(?:INST|SYS|THINK|ARGS|IMG|AUDIO|PREFIX|MIDDLE|SUFFIX|gMASK|sMASK|[A-Z]+(?:_[A-Z]+)+)[\]\uff3d]"
    r"|\]~!?b[\[\]]|\[e~\[",  # MiniMax
    re.IGNORECASE,
)
"""Matches the chat-template tokens of common models, and tags that look like these tokens."""

_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028\u2029\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Invisible, but not control characters: fillers, variation selectors (which can hide text) and separators."""


def quote(text: str, limit: int = QUOTE_LIMIT) -> str:
    # The quote may be written into the trace, where a chat-template token would act as one.
    clean = _joined("".join(" " if is_hidden(char) else char for char in text[: 4 * limit]))
    # Repeated until nothing changes: removing a token may join the text around it to a new token.
    while (stripped := _joined(_CONTROL.sub(" ", clean))) != clean:
        clean = stripped
    clean = clean.replace('"', "'")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def has_template_token(text: str) -> bool:
    return _CONTROL.search(text) is not None


def is_writable(repair: str) -> bool:
    return len(repair) <= QUOTE_LIMIT and not has_template_token(repair) and not any(map(is_hidden, repair))


def _joined(text: str) -> str:
    return " ".join(text.split())


def is_hidden(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or _HIDDEN.match(char) is not None


def sha256(text: str) -> str:
    import hashlib  # loads OpenSSL, 3 ms

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
