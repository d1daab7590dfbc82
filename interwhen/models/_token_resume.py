"""Continues a chat from token ids, so that the server's chat template cannot change where the text continues.

A chat message with kept reasoning passes through the chat template of the model. Of 12 published reasoning templates
that vLLM renders, none continues inside the reasoning: eight close it, four drop it. Token ids pass no template: the
ids of the prompt (`prompt_token_ids`), the ids of the kept text (`token_ids` of each chunk), and `/tokenize` for the
text that we write. The continuation comes from `/v1/completions` as raw text, and is translated to events of a chat.

Source: vLLM 0.32, `vllm/entrypoints/openai/chat_completion/protocol.py` (`return_token_ids`) and
`vllm/entrypoints/serve/tokenize/protocol.py`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from interwhen._types.errors import UnexpectedForm
from interwhen._types.models import Chunk, Piece
from interwhen._types.segments import Phase
from interwhen.models._chunks import NOT_JSON, Decode, Decoded
from interwhen.models._sse import SseDecoder
from interwhen.models._transport import HttpResponse

Ids: TypeAlias = tuple[int, ...]
Tokenize: TypeAlias = Callable[[dict[str, Any]], Awaitable[bytes]]
"""Posts a body to the server's `/tokenize` and returns the answer; raises :class:`~interwhen.ModelError`."""


# How the families of models mark reasoning in their raw text.


class Markup(NamedTuple):
    """The text that opens and closes reasoning."""

    opening: str
    closing: str


FAMILIES = (
    Markup("<think>", "</think>"),  # Qwen3, DeepSeek-R1, GLM-4.5, Hermes 4, MiniMax-M1
    Markup("[THINK]", "[/THINK]"),  # Magistral
    Markup("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),  # gpt-oss
    Markup("<seed:think>", "</seed:think>"),  # Seed-OSS
)
_SHOWN_END = 200
"""Characters at the end of a prompt in which an open tag is looked for."""
# What a tokenizer may read as one of its special tokens, such as `<|im_end|>`, `</s>` and `[INST]`.
_SPECIAL = re.compile(r"[<\[](?=[^\s<>\[\]]{1,40}[>\]])")


# The ids of what has come.


class _Unit(NamedTuple):
    """The tokens of one event that brought text."""

    lead: Ids
    """Tokens without text that came before it, such as the tags around reasoning."""
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
    """The token ids of a stream, with the text that they brought. It grows as the stream is read.

    A server that sends no ids leaves it incomplete, and then it is of no use: :attr:`is_whole`.
    """

    __slots__ = ("_lead", "_missing", "prompt", "units")

    def __init__(self, prompt: Ids = (), units: Iterable[_Unit] = ()) -> None:
        self.prompt = prompt
        self.units = list(units)
        self._lead: Ids = ()
        self._missing = False

    @property
    def is_whole(self) -> bool:
        """Whether the ids of the prompt and of all text are known."""
        return bool(self.prompt) and not self._missing

    def reading(self, decode: Decode) -> Decode:
        """Return *decode* with a note of the ids in each event."""

        def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
            found = decode(data, offset, first)
            self._take(data, found)
            return found

        return decoded

    def add(self, ids: Sequence[int], parts: Sequence[tuple[Phase, str]]) -> None:
        """Append *ids*, which brought the text *parts*; without text they belong to the text that follows."""
        if not parts:
            self._lead += tuple(ids)
            return
        if not ids and not self._lead:
            self._missing = True
        self.units.append(_Unit(self._lead, tuple(ids), tuple(parts)))
        self._lead = ()

    def _take(self, data: bytes, found: Decoded) -> None:
        chunks = found if isinstance(found, tuple) else (found,) if isinstance(found, Chunk) else ()
        try:
            event = _events.decode(data)
        except NOT_JSON:
            return
        choice = event.choices[0] if event.choices else _EventChoice()
        if not self.prompt:
            self.prompt = tuple(event.prompt_token_ids or choice.prompt_token_ids or ())
        parts = [(chunk.phase, chunk.text) for chunk in chunks if chunk.text]
        if choice.token_ids or parts:
            self.add(choice.token_ids or (), parts)


class _TextRun(NamedTuple):
    """A part of kept text with one phase."""

    phase: Phase
    text: str
    ours: bool
    """Whether we wrote it; tags in our text are plain text."""


class _Kept(NamedTuple):
    """What of a trail still stands, and what text has no ids yet."""

    ids: Ids
    phase: Phase | None
    """The phase that the ids end in; ``None`` at the start of the answer."""
    units: tuple[_Unit, ...]
    rest: tuple[_TextRun, ...]


def kept_of(trail: TokenTrail, runs: Sequence[_TextRun]) -> _Kept:
    """Return the ids of the longest start of *runs* that *trail* holds in whole events, and the text after it."""
    ids: list[int] = []
    phase: Phase | None = None
    left = list(runs)
    units: list[_Unit] = []
    following: _Unit | None = None
    for unit in trail.units:
        rest = _without(left, unit.parts)
        if rest is None:
            following = unit
            break
        left, phase = rest, unit.parts[-1][0] if unit.parts else phase
        ids += (*unit.lead, *unit.ids)
        units.append(unit)
    if left and following is not None and left[0].phase != phase and following.parts[0][0] == left[0].phase:
        # The tag between two phases, exactly as the model wrote it.
        ids += following.lead
        phase = left[0].phase
        units.append(_Unit(following.lead, (), ()))
    return _Kept((*trail.prompt, *ids), phase, tuple(units), tuple(left))


def shows_tags(pieces: Sequence[Piece]) -> bool:
    """Whether the tags of reasoning are part of the text, of a server that has sent no field of reasoning so far."""
    if not any(piece.phase == "reasoning" for piece in pieces):
        return True
    written = "".join(piece.text for piece in pieces if piece.origin == "model")
    return any(tag in written for family in FAMILIES for tag in family)


def runs_of(pieces: Sequence[Piece], *, tags_in_text: bool = False) -> list[_TextRun]:
    """Return the text of *pieces* by phase and writer; with *tags_in_text*, reasoning is part of the answer's text."""
    runs: list[_TextRun] = []
    for piece in pieces:
        phase: Phase = "answer" if tags_in_text else piece.phase
        ours = piece.origin != "model"
        if runs and runs[-1].phase == phase and runs[-1].ours == ours:
            runs[-1] = _TextRun(phase, runs[-1].text + piece.text, ours)
        elif piece.text:
            runs.append(_TextRun(phase, piece.text, ours))
    return runs


def _without(runs: Sequence[_TextRun], parts: Sequence[tuple[Phase, str]]) -> list[_TextRun] | None:
    """Return *runs* without *parts* at their start; ``None`` where they do not start with all of them."""
    left = list(runs)
    for phase, text in parts:
        while text:
            if not left or left[0].phase != phase:
                return None
            size = min(len(text), len(left[0].text))
            if left[0].text[:size] != text[:size]:
                return None
            text = text[size:]  # noqa: PLW2901  what of this part is still to be found
            rest = left[0].text[size:]
            left[:1] = [left[0]._replace(text=rest)] if rest else []
    return left


# From the kept text to the ids of a prompt.


class TokenPrompt(NamedTuple):
    """What `/v1/completions` is asked to continue."""

    ids: Ids
    phase: Phase
    """The phase that the continuation begins in."""
    markup: Markup | None
    """How reasoning is marked; ``None`` where its tags are part of the text."""
    trail: TokenTrail
    """The ids so far, for the continuation to add to."""


class _Tokenized(msgspec.Struct, frozen=True):
    tokens: list[int]


_tokenized = msgspec.json.Decoder(_Tokenized)


class TokenPrompts:
    """Makes prompts of token ids for one model of one server."""

    def __init__(self, model: str, tokenize: Tokenize) -> None:
        self._model = model
        self._tokenize = tokenize
        self._markup: Markup | None = None

    async def prompt(
        self,
        chat: Mapping[str, Any],
        pieces: Sequence[Piece],
        *,
        side: str = "",
        trail: TokenTrail | None = None,
        tags_in_text: bool = False,
    ) -> TokenPrompt:
        """Return the ids of *chat* (its messages, tools and template options) followed by *pieces* and *side*.

        *trail* is that of the stream before; without one, the server tokenizes the kept text again. With
        *tags_in_text* the server shows the tags of reasoning as text. Raises :class:`~interwhen.ModelError` where the
        server has no `/tokenize`.
        """
        known = trail if trail is not None and trail.is_whole else TokenTrail(await self._chat_ids(chat))
        kept = kept_of(known, runs_of(pieces, tags_in_text=tags_in_text))
        markup = await self._family()
        phase = kept.phase
        if phase is None and not tags_in_text and await self._is_open(known.prompt, markup):
            phase = "reasoning"
        after = TokenTrail(known.prompt, kept.units)
        ids = list(kept.ids)
        for run in kept.rest:
            found = await self._ids(_tag(markup, phase, run.phase), trusted=True)
            found += await self._ids(run.text, trusted=tags_in_text and not run.ours)
            ids += found
            after.add(found, [(run.phase, run.text)])
            phase = run.phase
        ids += await self._ids(side)
        return TokenPrompt(tuple(ids), phase or "answer", None if tags_in_text else markup, after)

    async def _chat_ids(self, chat: Mapping[str, Any]) -> Ids:
        names = ("messages", "tools", "chat_template", "chat_template_kwargs", "mm_processor_kwargs")
        body = {name: chat[name] for name in names if chat.get(name) is not None}
        return await self._ask({**body, "add_generation_prompt": True})

    async def _ids(self, text: str, *, trusted: bool = False) -> Ids:
        """Return the ids of *text*; what looks like a special token in it is plain text, unless *trusted*."""
        ids: Ids = ()
        for part in [text] if trusted else fragments(text):
            if part:
                ids += await self._ask({"prompt": part, "add_special_tokens": False})
        return ids

    async def _family(self) -> Markup:
        """Return the markup of the model: the first one whose tag is one token."""
        if self._markup is None:
            for family in FAMILIES:
                tag = family.opening[: family.opening.index(">") + 1] if ">" in family.opening else family.opening
                if len(await self._ids(tag, trusted=True)) == 1:
                    self._markup = family
                    break
            else:
                self._markup = FAMILIES[0]
        return self._markup

    async def _is_open(self, prompt: Ids, markup: Markup) -> bool:
        """Whether the chat template has opened the reasoning at the end of the prompt (DeepSeek-R1, QwQ)."""
        tag = await self._ids(markup.opening, trusted=True)
        closing = await self._ids(markup.closing, trusted=True)
        tail = prompt[-_SHOWN_END:]
        return _rfind(tail, tag) > _rfind(tail, closing) and _rfind(tail, tag) >= len(tail) - len(tag) - 2

    async def _ask(self, body: dict[str, Any]) -> Ids:
        data = await self._tokenize({"model": self._model, **body})
        try:
            found = _tokenized.decode(data)
        except NOT_JSON as error:
            raise UnexpectedForm(f"/tokenize: expected tokens ({error})", offset=0, sample=data) from error
        return tuple(found.tokens)


def _rfind(ids: Ids, part: Ids) -> int:
    return next((at for at in range(len(ids) - len(part), -1, -1) if ids[at : at + len(part)] == part), -1)


def _tag(markup: Markup, phase: Phase | None, wanted: Phase) -> str:
    """Return the text between a *phase* and the *wanted* one."""
    if wanted == "reasoning":
        return "" if phase == "reasoning" else markup.opening
    return markup.closing if phase == "reasoning" else ""


def fragments(text: str) -> list[str]:
    """Cut *text* inside everything that a tokenizer could take for a special token, so that it stays text."""
    cuts = [match.end() for match in _SPECIAL.finditer(text)]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if start < end]


# From the raw continuation back to the events of a chat.


class RawText:
    """Reads the raw text of a model piece by piece, and tells reasoning from answer; tags may be cut anywhere."""

    __slots__ = ("_held", "_markup", "_spoken", "phase")

    def __init__(self, markup: Markup | None, phase: Phase) -> None:
        self.phase: Phase = phase
        self._markup = markup
        self._held = ""
        self._spoken = phase == "answer"

    def feed(self, text: str) -> list[tuple[Phase, str]]:
        """Take the next *text* and return what is certain, by phase."""
        text = self._held + text
        found: list[tuple[Phase, str]] = []
        while (tag := self._next_tag()) and tag in text:
            before, _, text = text.partition(tag)
            if before:
                found.append((self.phase, before))
            self.phase = "answer" if self.phase == "reasoning" else "reasoning"
        keep = _overlap(text, self._next_tag())
        self._held = text[len(text) - keep :]
        if keep < len(text):
            found.append((self.phase, text[: len(text) - keep]))
            # An opening tag in the middle of an answer is text.
            self._spoken = self._spoken or self.phase == "answer"
        return found

    def finish(self) -> list[tuple[Phase, str]]:
        """Return what was held back: the start of a tag that did not become one."""
        held, self._held = self._held, ""
        return [(self.phase, held)] if held else []

    def _next_tag(self) -> str:
        if self._markup is None:
            return ""
        if self.phase == "reasoning":
            return self._markup.closing
        return "" if self._spoken else self._markup.opening


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of *text* may be the start of *tag*."""
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if tag.startswith(text[-size:])), 0)


class ChatEvents:
    """A response of `/v1/completions` as one of `/v1/chat/completions`; see :class:`~interwhen.models.HttpResponse`.

    *field* is where the server puts reasoning (``reasoning`` or ``reasoning_content``).
    """

    def __init__(self, response: HttpResponse, prompt: TokenPrompt, field: str) -> None:
        self._response = response
        self._decoder = SseDecoder()
        self._text = RawText(prompt.markup, prompt.phase)
        self._field = field

    @property
    def status(self) -> int:
        """That of the response."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the response."""
        return self._response.headers

    async def receive(self) -> bytes:
        """Wait for bytes and return the events of a chat; empty at the end."""
        while True:
            data = await self._response.receive()
            if not data:
                return b""
            events = b"".join(b"data: " + self._event(event) + b"\n\n" for event, _ in self._decoder.feed(data))
            if events:
                return events

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()

    def _event(self, data: bytes) -> bytes:
        try:
            body = msgspec.json.decode(data)
        except NOT_JSON:
            return data  # the end mark, or nonsense for the decoder to refuse
        if not isinstance(body, dict) or not body.get("choices"):
            return data
        choice = body["choices"][0]
        parts = self._text.feed(choice.get("text") or "")
        if choice.get("finish_reason") is not None:
            parts += self._text.finish()
        delta: dict[str, str] = {}
        for phase, text in parts:
            name = self._field if phase == "reasoning" else "content"
            delta[name] = delta.get(name, "") + text
        kept = {name: choice[name] for name in ("index", "logprobs", "finish_reason", "token_ids") if name in choice}
        body |= {"object": "chat.completion.chunk", "choices": [{**kept, "delta": delta}]}
        return msgspec.json.encode(body)


def completion_body(chat: Mapping[str, Any], prompt: TokenPrompt, *, with_ids: bool = True) -> dict[str, Any]:
    """Return the body for `/v1/completions` that continues *prompt* with the settings of *chat*.

    *with_ids* asks for the ids of the continuation.
    """
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
