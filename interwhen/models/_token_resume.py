"""Continues a chat from token ids, so that the server's chat template cannot change where the text continues.

Of 12 published chat templates of reasoning models that vLLM renders, none continues inside the reasoning: eight close
it, four remove it. Token ids avoid the template. They come with the stream of a chat, or from `/tokenize`. The
continuation comes from `/v1/completions` as raw text, and is converted to events of the chat API. For other servers
than vLLM, see `_token_servers.py`.

Source: vLLM 0.32, `vllm/entrypoints/openai/chat_completion/protocol.py` (`return_token_ids`) and
`vllm/entrypoints/serve/tokenize/protocol.py`.
"""

from __future__ import annotations

import bisect
import io
import itertools
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from interwhen._core.transcript import overlap
from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.models import Chunk, Piece, Usage
from interwhen._types.segments import Phase
from interwhen.models._chunks import Decode, Decoded
from interwhen.models._raw_calls import RawCalls, has_call, may_begin_call, wire_calls
from interwhen.models._sse import SseDecoder
from interwhen.models._transport import HttpResponse

Ids: TypeAlias = tuple[int, ...]


class Tokenizer(Protocol):
    """The methods raise :class:`~interwhen.models.ModelError` if a request fails."""

    async def chat_ids(self, chat: Mapping[str, Any]) -> Ids:
        """Return the token ids of *chat*, up to the place where the answer begins."""
        ...

    async def text_ids(self, text: str, *, special: bool) -> Ids:
        """With *special*, text that looks like a special token becomes that token."""
        ...


# The tags with which families of models mark reasoning in their raw text.


class Markup(NamedTuple):
    opening: str
    closing: str


FAMILIES = (
    Markup("<think>", "</think>"),  # Qwen3, DeepSeek-R1, GLM-4.5, Hermes 4, MiniMax-M1
    Markup("[THINK]", "[/THINK]"),  # Magistral
    Markup("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),  # gpt-oss
    Markup("<seed:think>", "</seed:think>"),  # Seed-OSS
)
_BREAK = "\n"
_SHOWN_END = 200
"""How many token ids at the end of a prompt are searched for an opening tag."""
# The start of a text that a tokenizer may take for a special token, such as `<|im_end|>`, `</s>` and `[INST]`.
_SPECIAL = re.compile(r"[<\[](?=[^\s<>\[\]]{1,40}[>\]])")


class TrailEvent(NamedTuple):
    """The tokens of one event that has text."""

    lead: Ids
    """Tokens without text that arrived before this event, such as the tags around reasoning."""
    ids: Ids
    parts: tuple[tuple[Phase, str], ...]


class _EventChoice(msgspec.Struct, frozen=True, gc=False):
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class _Event(msgspec.Struct, frozen=True, gc=False):
    choices: list[_EventChoice] | None = None
    prompt_token_ids: list[int] | None = None


_events = msgspec.json.Decoder(_Event)


class TokenTrail:
    """The token ids and the text of a stream, added while the stream is read. If ids are missing, it cannot be used."""

    # Every token of every supervised stream is added here, so the numbers are in arrays and the text is one buffer.
    __slots__ = ("_ends", "_ids", "_leads", "_length", "_missing", "_phases", "_stops", "_text", "prompt")

    def __init__(self, prompt: Ids = ()) -> None:
        self.prompt = prompt
        self._ids = array("I")
        """The ids of the text, and of tags between texts."""
        self._text = io.StringIO()
        self._length = 0
        self._phases: list[tuple[int, Phase]] = []
        """The offset in the text at which each phase begins."""
        # For each event with text: where its own ids begin and end in the ids, and where its text ends in the text. Ids
        # before its own ids came without text.
        self._leads, self._stops, self._ends = array("I"), array("I"), array("I")
        self._missing = False

    @property
    def is_whole(self) -> bool:
        return bool(self.prompt) and not self._missing

    def reading(self, decode: Decode, *, hides: bool = False) -> Decode:
        # The chunks get the number of their ids as their number of tokens. With `hides`, `decode` gets the events
        # without their token ids, for readers who did not ask for them.
        is_told = False
        count = unsaid = 0

        def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
            nonlocal is_told, count, unsaid
            content = decode(without_ids(data) if hides else data, offset, first)
            asked = 0 if count else self.size
            unsaid += self._take(data, content)
            if unsaid and isinstance(content, Chunk | tuple):
                content, unsaid = _with_tokens(content, unsaid), 0
            if is_told or not self.prompt:
                return content
            # The server sends its count only at the end, and never if we interrupt the stream. The event that brings
            # the ids of the prompt may have no chunk, which can hold the count.
            count = count or asked or len(self.prompt)
            is_told = isinstance(content, Chunk | tuple)
            return _with_prompt_count(content, count)

        return decoded

    @property
    def size(self) -> int:
        return len(self.prompt) + len(self._ids)

    @property
    def events(self) -> list[TrailEvent]:
        events, text, start = [], self._text.getvalue(), 0
        for number, end in enumerate(self._ends):
            before = self._stops[number - 1] if number else 0
            lead, stop = self._leads[number], self._stops[number]
            borders = [start, *(at for at, _ in self._phases if start < at < end), end]
            parts = tuple((self._phase_at(at), text[at:to]) for at, to in itertools.pairwise(borders))
            events.append(TrailEvent(tuple(self._ids[before:lead]), tuple(self._ids[lead:stop]), parts))
            start = end
        return events

    def add(self, ids: Sequence[int], parts: Sequence[tuple[Phase, str]]) -> None:
        # If text has no ids, the trail is incomplete from then on.
        lead = len(self._ids)
        try:
            self._ids.extend(ids)
        except OverflowError:  # no token has such an id
            self._missing = True
        if not parts:
            return
        if len(self._ids) == (self._stops[-1] if self._stops else 0):
            self._missing = True
        for phase, text in parts:
            if not self._phases or self._phases[-1][1] != phase:
                self._phases.append((self._length, phase))
            self._text.write(text)
            self._length += len(text)
        self._leads.append(lead)
        self._stops.append(len(self._ids))
        self._ends.append(self._length)

    def kept(self, runs: Sequence[_TextRun]) -> _Kept:
        events = bisect.bisect_right(self._ends, self._common(runs))
        end = self._ends[events - 1] if events else 0
        stop = self._stops[events - 1] if events else 0
        phase = self._phase_at(end - 1) if end else None
        left = _from(runs, end)
        if left and events < len(self._ends) and phase != left[0].phase == self._phase_at(end):
            # The rest starts with the next phase: keep the tag between the phases exactly as the model wrote it.
            stop, phase = self._leads[events], left[0].phase
        trail = TokenTrail(self.prompt)
        trail._ids, trail._length = self._ids[:stop], end
        trail._text.write(self._text.getvalue()[:end])
        trail._phases = [(at, each) for at, each in self._phases if at < end]
        trail._leads, trail._stops, trail._ends = self._leads[:events], self._stops[:events], self._ends[:events]
        return _Kept((*self.prompt, *trail._ids), phase, trail, left)

    def _common(self, runs: Sequence[_TextRun]) -> int:
        text, at = self._text.getvalue(), 0
        for run in runs:
            offset = 0
            while offset < len(run.text):
                if at == len(text) or self._phase_at(at) != run.phase:
                    return at
                following = bisect.bisect_right(self._phases, at, key=_offset_of)
                end = self._phases[following][0] if following < len(self._phases) else len(text)
                size = min(end - at, len(run.text) - offset)
                same = shared(text[at : at + size], run.text[offset : offset + size])
                at, offset = at + same, offset + same
                if same < size:
                    return at
        return at

    def _phase_at(self, offset: int) -> Phase:
        return self._phases[bisect.bisect_right(self._phases, offset, key=_offset_of) - 1][1]

    def _take(self, data: bytes, decoded: Decoded) -> int:
        chunks = decoded if isinstance(decoded, tuple) else (decoded,) if isinstance(decoded, Chunk) else ()
        try:
            event = _events.decode(data)
        except DECODE_ERRORS:
            return 0
        choice = event.choices[0] if event.choices else _EventChoice()
        if not self.prompt:
            self.prompt = tuple(event.prompt_token_ids or choice.prompt_token_ids or ())
        parts = [(chunk.phase, chunk.text) for chunk in chunks if chunk.text]
        ids = choice.token_ids or ()
        if ids or parts:
            self.add(ids, parts)
        return len(ids)


def _with_tokens(decoded: Chunk | tuple[Chunk, ...], tokens: int) -> Decoded:
    if isinstance(decoded, Chunk):
        return decoded if decoded.tokens == tokens else msgspec.structs.replace(decoded, tokens=tokens)
    others = sum(chunk.tokens for chunk in decoded[:-1])
    return (*decoded[:-1], msgspec.structs.replace(decoded[-1], tokens=max(tokens - others, 0)))


def _with_prompt_count(decoded: Decoded, tokens: int) -> Decoded:
    chunks = decoded if isinstance(decoded, tuple) else (decoded,)
    last = chunks[-1] if chunks else None
    if not isinstance(last, Chunk) or last.usage is not None:
        return decoded
    counted = msgspec.structs.replace(last, usage=Usage(prompt_tokens=tokens))
    return (*chunks[:-1], counted) if isinstance(decoded, tuple) else counted


class _TextRun(NamedTuple):
    """A part of the kept text that has one phase."""

    phase: Phase
    text: str
    ours: bool
    """Whether interwhen wrote the text, or a part of it. Tags in such a text are plain text."""


class _Kept(NamedTuple):
    """The part of a trail that can be used again, and the *rest* of the kept text, which has no token ids yet.

    *ids* are those of the prompt and of *trail*.
    """

    ids: Ids
    phase: Phase | None
    """The phase at the end of the ids; ``None`` if no text precedes."""
    trail: TokenTrail
    rest: tuple[_TextRun, ...]


def _offset_of(entry: tuple[int, Phase]) -> int:
    return entry[0]


def _from(runs: Sequence[_TextRun], offset: int) -> tuple[_TextRun, ...]:
    left: list[_TextRun] = []
    for run in runs:
        if offset < len(run.text):
            left.append(run._replace(text=run.text[offset:]) if offset else run)
        offset = max(offset - len(run.text), 0)
    return tuple(left)


def shared(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def shows_tags(pieces: Sequence[Piece]) -> bool:
    # Whether reasoning in `pieces` is taken for a part of the text, between tags: also if there is no reasoning.
    if not any(piece.phase == "reasoning" for piece in pieces):
        return True
    written = "".join(piece.text for piece in pieces if piece.origin == "model")
    return any(tag in written for family in FAMILIES for tag in family)


def runs_of(pieces: Sequence[Piece], *, tags_in_text: bool = False) -> list[_TextRun]:
    runs: list[_TextRun] = []
    for piece in pieces:
        phase: Phase = "answer" if tags_in_text else piece.phase
        ours = piece.origin != "model"
        if runs and runs[-1].phase == phase and runs[-1].ours == ours:
            runs[-1] = _TextRun(phase, runs[-1].text + piece.text, ours)
        elif piece.text:
            runs.append(_TextRun(phase, piece.text, ours))
    return runs


def joined(runs: Sequence[_TextRun]) -> list[_TextRun]:
    # A joined run counts as written by interwhen.
    joined_runs: list[_TextRun] = []
    for run in runs:
        if joined_runs and joined_runs[-1].phase == run.phase:
            joined_runs[-1] = joined_runs[-1]._replace(text=joined_runs[-1].text + run.text, ours=True)
        else:
            joined_runs.append(run)
    return joined_runs


# The fields of events that hold token ids, for readers who did not ask for them.

_ID_FIELDS = re.compile(rb'("(?:prompt_)?token_ids"\s*:\s*)\[[\d,\s]*\]')
"""Matches a field with token ids. It never matches inside a JSON string, where quotation marks are escaped."""
_ID_FIELD = b'"token_ids":['


def without_ids(data: bytes) -> bytes:
    # Only these bytes are changed, because decoding and encoding the event would change its other fields.
    start = data.find(_ID_FIELD)
    if start >= 0 and data.count(b"token_ids") == 1:  # nearly every event of vLLM
        return data[: start + len(_ID_FIELD) - 1] + b"null" + data[data.index(b"]", start) + 1 :]
    return _ID_FIELDS.sub(rb"\1null", data) if b'token_ids"' in data else data


# Converting the kept text to the token ids of a prompt.


class TokenPrompt(NamedTuple):
    ids: Ids
    """The token ids of the chat, the kept text and the side text."""
    phase: Phase
    """The phase at the start of the continuation."""
    markup: Markup | None
    """The tags of reasoning; ``None`` if the tags are part of the text, so that they are not interpreted."""
    trail: TokenTrail
    """The trail of *ids*, without the side text. The stream of the continuation adds its ids to it."""
    family: Markup = FAMILIES[0]
    """The tags that were found for the model, also if they are part of the text."""


class KnownTags:
    """A cache of the reasoning tags and their token ids, for one model of one server."""

    __slots__ = ("ids", "markup")

    def __init__(self) -> None:
        self.ids: dict[str, Ids] = {}
        self.markup: Markup | None = None
        """``None`` if they are not known yet."""


class TokenPrompts:
    def __init__(self, tokenizer: Tokenizer, known: KnownTags) -> None:
        self._tokenizer = tokenizer
        self._known = known

    async def prompt(
        self,
        chat: Mapping[str, Any],
        pieces: Sequence[Piece],
        *,
        side: str = "",
        trail: TokenTrail | None = None,
        tags_in_text: bool = False,
    ) -> TokenPrompt:
        """Convert *chat* (its messages, tools and template options), *pieces* and *side* to token ids.

        *pieces* is the kept text, *side* the side text of a fork. *trail* is the trail of the previous stream; if it is
        missing or incomplete, the server tokenizes the kept text again. *tags_in_text* says that the server shows the
        tags of reasoning as text.
        """
        known = trail if trail is not None and trail.is_whole else TokenTrail(await self._tokenizer.chat_ids(chat))
        kept = known.kept(runs_of(pieces, tags_in_text=tags_in_text))
        markup = await self._family()
        phase = kept.phase
        if phase is None and not tags_in_text and await self._is_open(known.prompt, markup):
            phase = "reasoning"
        after = kept.trail
        ids = list(kept.ids)
        # A cut may fall inside a token. Its rest and the inserted text are tokenized together, as one text.
        for run in kept.rest if tags_in_text else joined(kept.rest):
            run_ids = await self._tag_ids(_tag(markup, phase, run.phase))
            run_ids += await self._ids(run.text, trusted=tags_in_text and not run.ours)
            ids += run_ids
            after.add(run_ids, [(run.phase, run.text)])
            phase = run.phase
        ids += await self._ids(side)
        return TokenPrompt(tuple(ids), phase or "answer", None if tags_in_text else markup, after, markup)

    async def _ids(self, text: str, *, trusted: bool = False) -> Ids:
        # Unless `trusted`, parts that look like special tokens get the ids of plain text.
        ids: Ids = ()
        for part in [text] if trusted else fragments(text):
            if part:
                ids += await self._part_ids(part, special=trusted)
        return ids

    async def _part_ids(self, part: str, *, special: bool) -> Ids:
        # Some tokenizers (Llama 2, Mistral 7B) put a space before a text. So the text follows a line break, whose ids
        # are removed. A text that begins with a line break may share a token with it; then it is tokenized alone.
        known = self._known.ids
        if _BREAK not in known:
            known[_BREAK] = await self._tokenizer.text_ids(_BREAK, special=False)
        before = known[_BREAK]
        both_ids = await self._tokenizer.text_ids(_BREAK + part, special=special)
        if both_ids[: len(before)] == before:
            return both_ids[len(before) :]
        return await self._tokenizer.text_ids(part, special=special)

    async def _tag_ids(self, tag: str) -> Ids:
        known = self._known.ids
        if tag not in known:
            known[tag] = await self._ids(tag, trusted=True)
        return known[tag]

    async def _family(self) -> Markup:
        # The first family whose opening tag is one token, else the first of all. Of a tag with several parts, the first
        # one counts.
        known = self._known
        if known.markup is None:
            markup = FAMILIES[0]
            for family in FAMILIES:
                tag = family.opening[: family.opening.index(">") + 1] if ">" in family.opening else family.opening
                if len(await self._tag_ids(tag)) == 1:
                    markup = family
                    break
            known.markup = markup
        return known.markup

    async def _is_open(self, prompt: Ids, markup: Markup) -> bool:
        tag = await self._tag_ids(markup.opening)
        closing = await self._tag_ids(markup.closing)
        tail = prompt[-_SHOWN_END:]
        return _rfind(tail, tag) > _rfind(tail, closing) and _rfind(tail, tag) >= len(tail) - len(tag) - 2


def _rfind(ids: Ids, part: Ids) -> int:
    return next((at for at in range(len(ids) - len(part), -1, -1) if ids[at : at + len(part)] == part), -1)


def _tag(markup: Markup, phase: Phase | None, wanted: Phase) -> str:
    if wanted == "reasoning":
        return "" if phase == "reasoning" else markup.opening
    return markup.closing if phase == "reasoning" else ""


def fragments(text: str) -> list[str]:
    # Split `text` inside each part that looks like a special token, so that a tokenizer reads it as plain text.
    cuts = [match.end() for match in _SPECIAL.finditer(text)]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if start < end]


class RawText:
    """Separates the raw text of a model into reasoning and answer, by the tags in *markup*. *phase* is the first phase.

    After the beginning of an answer, an opening tag is text. If *markup* is ``None``, all text has the first phase.
    """

    __slots__ = ("_held", "_markup", "_spoken", "phase")

    def __init__(self, markup: Markup | None, phase: Phase) -> None:
        self.phase: Phase = phase
        self._markup = markup
        self._held = ""
        self._spoken = phase == "answer"

    def feed(self, text: str) -> list[tuple[Phase, str]]:
        # An end that may be the beginning of a tag is held back.
        text = self._held + text
        parts: list[tuple[Phase, str]] = []
        while (tag := self._next_tag()) and tag in text:
            before, _, after = text.partition(tag)
            if before and self.phase == "answer":
                self._spoken = True  # so the opening tag is text, as if it had come in a later piece
                continue
            if before:
                parts.append((self.phase, before))
            text = after
            self.phase = "answer" if self.phase == "reasoning" else "reasoning"
        keep = overlap(text, self._next_tag())
        self._held = text[len(text) - keep :]
        if keep < len(text):
            parts.append((self.phase, text[: len(text) - keep]))
            # An opening tag in the middle of an answer is text.
            self._spoken = self._spoken or self.phase == "answer"
        return parts

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    def finish(self) -> list[tuple[Phase, str]]:
        # The text has ended, so no tag can follow.
        held, self._held = self._held, ""
        return [(self.phase, held)] if held else []

    def _next_tag(self) -> str:
        if self._markup is None:
            return ""
        if self.phase == "reasoning":
            return self._markup.closing
        return "" if self._spoken else self._markup.opening


def _framed(event: bytes) -> bytes:
    return b"data: " + event + b"\n\n"


class ChatEvents:
    """Converts a response of `/v1/completions` to one of `/v1/chat/completions`.

    *field* is the field for reasoning (``reasoning`` or ``reasoning_content``). *read* converts the events of another
    API to those of `/v1/completions`.
    """

    def __init__(
        self,
        response: HttpResponse,
        prompt: TokenPrompt,
        field: str,
        *,
        read: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        calls: RawCalls | None = None,
    ) -> None:
        self._response = response
        self._decoder = SseDecoder()
        self._text = RawText(prompt.markup, prompt.phase)
        self._waiting: list[tuple[Phase, str]] = []
        self._field = field
        self._read = read
        self._calls = calls
        self._called = False

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def receive(self) -> bytes:
        while True:
            data = await self._response.receive()
            if not data:
                return self._rest()
            events = b"".join(self._events(event) for event, _ in self._decoder.feed(data))
            if events:
                return events

    def _rest(self) -> bytes:
        parts, self._waiting = [*self._waiting, *self._text.finish()], []
        if not parts:
            return b""
        choice = {"index": 0, "delta": self._delta(parts), "finish_reason": None}
        event = msgspec.json.encode({"object": "chat.completion.chunk", "choices": [choice]})
        return _framed(event)

    async def aclose(self) -> None:
        await self._response.aclose()

    def _events(self, data: bytes) -> bytes:
        # Text that still waits precedes the end mark.
        try:
            body = msgspec.json.decode(data)
        except DECODE_ERRORS:
            return self._rest() + _framed(data)  # the end mark, or invalid data, which the decoder reports
        return _framed(self._event(data, body))

    def _event(self, data: bytes, body: Any) -> bytes:
        if isinstance(body, dict) and self._read is not None:
            body = self._read(body)
            data = msgspec.json.encode(body)
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return data  # the decoder reports an event of another form
        text = choice.get("text") or ""
        if not isinstance(text, str):
            return msgspec.json.encode({"choices": [{"delta": {"content": text}}]})  # reported, too
        parts = self._waiting
        parts += self._text.feed(text)
        self._waiting = []
        if choice.get("finish_reason") is not None:
            parts += self._text.finish()
        elif self._text.is_holding or (self._calls is not None and self._may_call(parts)):
            # The ids of this event are also those of the held text. So all its text waits: a cut between the two would
            # keep ids whose text was cut.
            self._waiting, parts = parts, []
        delta = self._delta(parts)
        called = self._finish_calls(choice, delta) if choice.get("finish_reason") is not None else {}
        kept = {name: choice[name] for name in ("index", "logprobs", "finish_reason", "token_ids") if name in choice}
        body.pop("prompt_token_ids", None)  # they are of this request, not of the chat
        body |= {"object": "chat.completion.chunk", "choices": [{**kept, "delta": delta, **called}]}
        return msgspec.json.encode(body)

    def _delta(self, parts: Sequence[tuple[Phase, str]]) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        for phase, text in parts:
            name = self._field if phase == "reasoning" else "content"
            delta[name] = delta.get(name, "") + text
        return delta

    def _may_call(self, parts: Sequence[tuple[Phase, str]]) -> bool:
        # After the opening tag of a call, all further text waits.
        if not self._called:
            text = "".join(text for phase, text in parts if phase == "answer")
            self._called = has_call(text)
            return self._called or may_begin_call(text)
        return True

    def _finish_calls(self, choice: Mapping[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
        # The result replaces the finish reason; empty: no call was found.
        if self._calls is None or choice["finish_reason"] != "stop" or not delta.get("content"):
            return {}
        answer = self._calls.read(delta["content"])
        if not answer.calls:
            return {}
        del delta["content"]
        if answer.text:
            delta["content"] = answer.text
        delta["tool_calls"] = wire_calls(answer.calls)
        return {"finish_reason": "tool_calls"}


def completion_body(chat: Mapping[str, Any], prompt: TokenPrompt, *, with_ids: bool = True) -> dict[str, Any]:
    body = {name: value for name, value in chat.items() if name not in _CHAT_ONLY}
    if "max_completion_tokens" in body:
        body.setdefault("max_tokens", body.pop("max_completion_tokens"))
    if body.get("logprobs") is True:
        body["logprobs"] = body.pop("top_logprobs", None) or 1
    else:
        body.pop("logprobs", None)
        body.pop("top_logprobs", None)
    asked = {"return_token_ids": True} if with_ids else {}
    return {**body, "prompt": list(prompt.ids), **asked, "skip_special_tokens": False}


_CHAT_ONLY = frozenset(
    {
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "chat_template",
        "chat_template_kwargs",
        "continue_final_message",
        "add_generation_prompt",
        "reasoning_effort",
        "include_reasoning",
        "mm_processor_kwargs",
        "store",
        "metadata",
        "modalities",
    }
)
