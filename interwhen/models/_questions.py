"""Finds out what an OpenAI-compatible endpoint can do, by sending requests. ``interwhen doctor`` prints the result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import msgspec

from interwhen._types.errors import (
    DECODE_ERRORS,
    ConnectError,
    ContextOverflow,
    ModelError,
    StreamProtocolError,
    StreamTimeout,
    UpstreamError,
)
from interwhen._types.extensions import OnProgress
from interwhen._types.models import (
    Chunk,
    Message,
    Piece,
    Prompt,
    Request,
    ResumeWay,
    Retries,
    Sampling,
    Stream,
    Timeouts,
    Usage,
)
from interwhen._types.segments import Phase
from interwhen.models._chunks import ModelCard, models_decoder, props_decoder, slots_decoder
from interwhen.models._endpoint_support import LLAMACPP, QUESTION, half, server_of
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.models._openai_api import ChatModel, CompletionsModel
from interwhen.models._token_resume import FAMILIES, shared
from interwhen.models._transport import FORK_OPTIONS, Transport

Mark = Literal["ok", "no", "unknown", "holds", "absent", "broken"]
"""``unknown``: this was not observed. The doctor says ``ok`` for a good answer and ``no`` for a bad one. The contract
says ``holds``; ``absent`` if the server lacks the feature, and interwhen can do without it; and ``broken`` if interwhen
relies on the feature, and it does not work."""

PROBE_TIMEOUTS = Timeouts(connect=5.0, first_token=60.0, inter_token=30.0, total=60.0)
# llama.cpp closes a connection after each stream: the next request on it fails once.
_RETRIES = Retries(attempts=1, base=0.05)
_ABORT_SECONDS = 2.0
_ABORT_TRIES = 4
_POLL_SECONDS = 0.05
_MOST_TOKENS = 1200
"""The limit for the stream that is cut later. It must reach the answer of a model that reasons at length."""
_SAME = 16
"""The number of equal characters that proves a continuation. Greedy texts may differ later, because the server computes
them in other batches."""
_STOP_SIZE = 5
_MOST_FILLED = 32_768
"""The longest context in tokens that is filled to see how the server refuses a prompt that is too long."""
_LEAST = 4
"""With fewer characters after a cut, their equality would prove nothing."""
_CHAT = (Message("user", QUESTION),)
_TEXT = "The days of the week are Monday, Tuesday,"
_GREEDY = Sampling(max_tokens=12, temperature=0.0)
_FEW = Sampling(max_tokens=60, temperature=0.0)
_ORDER = (
    "Policy: order below 20, fill to 40, at most 30 an order, approval above 400. Item: bolts. Stock: 12. Price: 2."
)
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "order",
            "description": "Order an item for the stock, as the policy says.",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": {"type": "string"},
                    "quantity": {"type": "integer"},
                    "approval": {"type": "boolean"},
                },
                "required": ["item", "quantity", "approval"],
            },
        },
    }
]
_CALL_SIGNS = ("<tool_call>", "<function", "[TOOL_CALLS]", "<|python_tag|>", '{"name":')


class ProbeFinding(msgspec.Struct, frozen=True):
    """The answer to one question about an endpoint."""

    name: str
    mark: Mark
    detail: str
    """The observation. It may quote the server, so escape it before you print it to a terminal."""
    meaning: str
    """The consequence for interwhen, or what interwhen relies on."""


class Diagnosis(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answers to all questions about an endpoint."""

    base_url: str
    model: str
    findings: tuple[ProbeFinding, ...]
    server: str = ""
    """The name and the version of the server, as far as the server sends them. Only the contract asks for them."""

    def __getitem__(self, name: str) -> ProbeFinding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    @property
    def usable(self) -> bool:
        good = {finding.name for finding in self.findings if finding.mark in {"ok", "holds"}}
        return bool(good & {"reachable", "server"} and good & {"completions API", "chat API", "whole answer"})

    @property
    def is_kept(self) -> bool:
        # A line that was not observed ("unknown") counts as kept.
        return all(finding.mark != "broken" for finding in self.findings)


async def probe(
    base_url: str,
    model: str,
    *,
    api_key: str | None = None,
    transport: Transport | None = None,
    timeouts: Timeouts = PROBE_TIMEOUTS,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Find out what the endpoint at *base_url* can do with *model*, by about twenty requests.

    At most three of them ask for up to 1,200 tokens, to reach the answer of a model that reasons; the others are short.
    If a request fails, this is a finding, and no :class:`~interwhen.models.ModelError` is raised. *api_key* defaults to
    the environment variable ``OPENAI_API_KEY``. Raises :class:`~interwhen.UsageError` if *base_url* is not a URL, or if
    the key cannot be sent in a header. A given *transport* is not closed. *on_progress* is called with the number of
    findings so far, and of all findings.
    """
    return await _diagnose(
        base_url,
        model,
        contract=False,
        api_key=api_key,
        transport=transport,
        timeouts=timeouts,
        on_progress=on_progress,
    )


async def _diagnose(
    base_url: str,
    model: str,
    *,
    contract: bool,
    api_key: str | None = None,
    transport: Transport | None = None,
    timeouts: Timeouts = PROBE_TIMEOUTS,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    used = transport or Httpx2Transport()
    try:
        examiner = _Examiner(base_url.rstrip("/"), model, used, api_key, timeouts, contract=contract)
        rows = [(row, line) for row in QUESTIONS if (line := row.contract if contract else row.doctor)]
        findings: list[ProbeFinding] = []
        stopped = False
        for question, line in rows:
            seen = (
                _Observation("unknown", "not asked")
                if stopped
                else await examiner.answer(question.ask, question.required)
            )
            is_good = seen.mark == "holds"
            mark = seen.mark if contract else _DOCTOR_MARKS[seen.mark]
            findings.append(
                ProbeFinding(line.name, mark, seen.detail, line.good if is_good or not line.bad else line.bad)
            )
            stopped = stopped or (line.stops and not is_good)
            if on_progress is not None:
                on_progress(len(findings), len(rows))
        return Diagnosis(base_url, model, tuple(findings), examiner.server)
    finally:
        if transport is None:
            await used.aclose()


check_contract = partial(_diagnose, contract=True)
"""Test what interwhen relies on with a model at a base URL, with the options of :func:`probe`. A server that answers
chats gets thirty or more requests. Most of these ask for at most 1,200 tokens."""


_Place = Literal["reasoning", "answer"]
_Way = Literal["tokens", "prefill", "turn", "auto"]
_PLACES: tuple[_Place, ...] = ("reasoning", "answer")
_FIXED_WAYS: tuple[_Way, ...] = ("tokens", "prefill", "turn")
_ObservedMark = Literal["holds", "absent", "broken", "unknown"]
_DOCTOR_MARKS: dict[_ObservedMark, Mark] = {"holds": "ok", "absent": "no", "broken": "no", "unknown": "unknown"}
_WAYS = {
    "tokens": "token ids",
    "prefill": "assistant prefill",
    "unproven_prefill": "assistant prefill",
    "turn": "an extra turn",
    "prefix": "a raw prefix",
}


class _Observation(NamedTuple):
    mark: _ObservedMark
    detail: str
    way: ResumeWay | None = None
    """How a request continued kept text, if the question sent one."""


class _ReadStream(NamedTuple):
    """A stream that was read to its end. Without *trail*, it has no token ids."""

    chunks: tuple[Chunk, ...] = ()
    way: ResumeWay | None = None
    trail: object | None = None

    def text(self, phase: Phase | None = None) -> str:
        return "".join(chunk.text for chunk in self.chunks if phase in {None, chunk.phase})

    @property
    def usage(self) -> Usage | None:
        return next((chunk.usage for chunk in reversed(self.chunks) if chunk.usage), None)

    @property
    def finish_reason(self) -> str | None:
        return next((chunk.finish_reason for chunk in self.chunks if chunk.finish_reason), None)


class _WholeStream(NamedTuple):
    """A complete stream. Later requests send parts of its text as kept text."""

    stream: _ReadStream = _ReadStream()
    reasoning: str = ""
    """The reasoning, from its field or from between tags; empty if there is none."""
    answer: str = ""
    """The text after the reasoning."""
    start: str = ""
    """The tag before the reasoning in the text; empty if there is none, as for reasoning in a field."""
    middle: str = ""
    """The tag between reasoning and answer; empty if there is none."""

    def kept(self, place: _Place, at: int) -> tuple[Piece, ...]:
        before: list[tuple[str, Phase]] = [(self.start, "answer")]
        before += (
            [(self.reasoning[:at], place)]
            if place == "reasoning"
            else [(self.reasoning, "reasoning"), (self.middle, "answer"), (self.answer[:at], "answer")]
        )
        if self.middle:
            # The server shows tags: the trace is one text, as a run keeps it.
            return (Piece("".join(part for part, _ in before)),)
        return tuple(Piece(part, phase=phase) for part, phase in before if part)


def _sample_of(stream: _ReadStream) -> _WholeStream:
    thought, said = stream.text("reasoning"), stream.text("answer")
    if not thought:
        for family in FAMILIES:
            before, closing, after = said.partition(family.closing)
            if closing:
                _, opening, inside = before.rpartition(family.opening)
                return _WholeStream(stream, inside, after, opening, closing)
    return _WholeStream(stream, thought, said)


def _cut(text: str) -> int | None:
    # Return where to cut `text`. It is `None` if a continuation would prove nothing: it would be too short, or begin as
    # `text` itself does, so that a server that begins again would seem to continue.
    at = half(text)
    expected = text[at:].rstrip()
    return at if len(expected) >= _LEAST and shared(expected, text) < min(_SAME, len(expected)) else None


def _compared(words: str, whole: str, at: int, got: str) -> _Observation:
    # `words` name the way of resuming.
    expected = whole[at:].rstrip()
    size = shared(got, expected)
    if size >= min(_SAME, len(expected)):
        return _Observation("holds", f"{words}: the first {size} characters equal those that were cut")
    return _Observation("absent", f"{words}: expected {expected[:30]!r}, got {got[:30]!r}")


class _ProbedChat(ChatModel):
    """A chat model whose requests leave out the options in ``FORK_OPTIONS`` that the server refuses."""

    _optional = FORK_OPTIONS


class _Examiner:
    """Asks an endpoint, and stores the results that later questions need."""

    def __init__(
        self,
        base_url: str,
        model: str,
        transport: Transport,
        api_key: str | None,
        timeouts: Timeouts,
        *,
        contract: bool,
    ) -> None:
        options: dict[str, Any] = {
            "api_key": api_key,
            "transport": transport,
            "timeouts": timeouts,
            "retries": _RETRIES,
        }
        self.text = CompletionsModel(base_url, model, **options)
        # The contract tests what a run does by default. The user has asked for a probe, so that one may generate tokens
        # on any server.
        options["probe"] = "auto" if contract else "always"
        self.chats: dict[_Way, ChatModel] = {
            way: _ProbedChat(base_url, model, **options, resume=way) for way in (*_FIXED_WAYS, "auto")
        }
        self.models_path = "v1/models" if base_url.endswith("/v1") else "models"
        self.timeouts = timeouts
        self.server = ""
        self.card: ModelCard | None = None
        self.has_text = False
        self.has_chat = False
        self.context: int | None = None
        self.usage: Usage | None = None
        """The token counts of the last request that continued kept text."""
        self._sample: _WholeStream | None = None
        self._trail: object | None = None
        self._ready: set[_Way] = {"prefill"}

    async def answer(self, ask: _Ask, required: bool = False) -> _Observation:  # noqa: FBT001, FBT002  one row of the table
        try:
            return await ask(self)
        except (ConnectError, StreamTimeout) as error:
            return _Observation("unknown", str(error))
        except ModelError as error:
            return _Observation("broken" if required else "absent", str(error))

    async def get(self, path: str) -> bytes:
        return await self.text.ask_beside("GET", path)

    async def read(self, model: _Adapter, request: Request) -> _ReadStream:
        stream = await model.stream(request)
        all_chunks: list[Chunk] = []
        try:
            while chunks := await self.receive(stream):
                all_chunks += chunks
        finally:
            await stream.aclose()
        return _ReadStream(tuple(all_chunks), stream.way, stream.trail)

    async def receive(self, stream: Stream) -> Sequence[Chunk]:
        try:
            with anyio.fail_after(self.timeouts.inter_token):
                return await stream.receive()
        except TimeoutError as error:
            raise StreamTimeout("inter_token", self.timeouts.inter_token or 0.0) from error

    async def stream(self, **options: Any) -> _ReadStream:
        model: _Adapter = self.chats["prefill"] if self.has_chat else self.text
        prompt: Prompt = _CHAT if self.has_chat else _TEXT
        return await self.read(model, Request(prompt, sampling=replace(self.whole, **options)))

    async def sample(self) -> _WholeStream:
        if self._sample is None:
            self._sample = _WholeStream()
            self._sample = _sample_of(await self.stream())
        return self._sample

    async def resume(self, way: _Way, kept: tuple[Piece, ...], *, by_trail: bool = False) -> _ReadStream:
        model = self.chats[way]
        if way not in self._ready:
            # The adapter learns the reasoning field from a first stream.
            self._ready.add(way)
            first = await self.read(model, Request(_CHAT, sampling=self.whole))
            await model.capabilities()
            if way == "tokens" and first.text() == (await self.sample()).stream.text():
                self._trail = first.trail
        request = Request(_CHAT, kept, _FEW, trail=self._trail if by_trail else None)
        # A server may refuse token ids only when it gets the first ones. Then another way is proven.
        for _ in range(2):
            if model.needs_proof:
                await model.prove()
            stream = await self.read(model, request)
            if not model.needs_proof:
                break
        self.usage = stream.usage or self.usage
        return stream

    @property
    def either(self) -> tuple[_Adapter, Prompt]:
        return (self.text, _TEXT) if self.has_text else (self.chats["prefill"], _CHAT)

    @property
    def whole(self) -> Sampling:
        most = _MOST_TOKENS if self.context is None else min(_MOST_TOKENS, self.context // 2)
        return Sampling(max_tokens=most, temperature=0.0)


_Adapter: TypeAlias = CompletionsModel | ChatModel
_Ask: TypeAlias = Callable[[_Examiner], Awaitable[_Observation]]


async def _reachable(examiner: _Examiner) -> _Observation:
    try:
        await examiner.get(examiner.models_path)
    except UpstreamError as error:
        return _Observation("holds", f"it answers, with status {error.status}")
    except (ConnectError, StreamTimeout) as error:
        return _Observation("broken", str(error))
    return _Observation("holds", "it answers")


async def _models(examiner: _Examiner) -> _Observation:
    model = examiner.text.model
    try:
        cards = models_decoder.decode(await examiner.get(examiner.models_path)).data
    except DECODE_ERRORS as error:
        return _Observation("absent", f"/models did not return a model list: {error}")
    examiner.card = next((card for card in cards if card.id == model), None)
    if examiner.card is not None:
        return _Observation("holds", f"owned by {examiner.card.owned_by or 'an unknown server'}")
    if len(cards) == 1:
        examiner.card = cards[0]
        # llama.cpp serves its only model under every name.
        is_any = cards[0].owned_by == LLAMACPP
        return _Observation(
            "holds" if is_any else "unknown", f"owned by {cards[0].owned_by}; lists only {cards[0].id!r}"
        )
    return _Observation(
        "absent", f"{model!r} is not among {', '.join(repr(card.id) for card in cards[:5]) or 'no models'}"
    )


async def _context(examiner: _Examiner) -> _Observation:
    size = examiner.card.max_model_len if examiner.card else None
    if not size:
        try:
            props = props_decoder.decode(await examiner.get("props"))
        except (ModelError, *DECODE_ERRORS):
            return _Observation("unknown", "neither /models nor /props has it")
        size = props.default_generation_settings.n_ctx
    examiner.context = size
    return _Observation("holds", f"{size} tokens") if size else _Observation("unknown", "/props does not have it")


async def _server(examiner: _Examiner) -> _Observation:
    reachable = await _reachable(examiner)
    if reachable.mark != "holds":
        return reachable
    models, context = await _models(examiner), await _context(examiner)
    examiner.server = await server_of(examiner.get, examiner.card)
    return _Observation("holds", f"{examiner.server}; {models.detail}; context: {context.detail}")


async def _completes(examiner: _Examiner) -> _Observation:
    answer = await examiner.text.complete(Request(_TEXT, sampling=_GREEDY))
    examiner.has_text = True
    return _Observation("holds", f"continues with {answer.text[:30]!r}")


async def _chats(examiner: _Examiner) -> _Observation:
    request = Request(_CHAT, sampling=Sampling(max_tokens=8, temperature=0.0))
    answer = await examiner.chats["prefill"].complete(request)
    examiner.has_chat = True
    return _Observation("holds", f"answers {answer.text[:30]!r}, finish reason {answer.finish_reason!r}")


async def _streams(examiner: _Examiner) -> _Observation:
    stream = (await examiner.sample()).stream
    texts = [chunk.text for chunk in stream.chunks if chunk.text]
    detail = f"{len(texts)} chunks with text, finish reason {stream.finish_reason!r}"
    if stream.finish_reason in {None, "truncated", "other"}:
        return _Observation("broken", detail)
    if len(texts) < 2:
        return _Observation("absent", f"{detail}: the text came at once, so it cannot be stopped early")
    return _Observation("holds", detail)


async def _repeats(examiner: _Examiner) -> _Observation:
    again, first = (await examiner.stream()).text(), (await examiner.sample()).stream.text()
    if again == first:
        return _Observation("holds", f"{len(first)} equal characters")
    return _Observation("absent", f"equal only up to character {shared(again, first)} of {len(first)}")


async def _counts(examiner: _Examiner) -> _Observation:
    usage = (await examiner.sample()).stream.usage
    if usage is None or usage.completion_tokens is None:
        return _Observation("absent", "the stream ended without token counts")
    return _Observation("holds", f"{usage.prompt_tokens} prompt and {usage.completion_tokens} completion tokens")


async def _limits(examiner: _Examiner) -> _Observation:
    stream = await examiner.stream(max_tokens=4)
    detail = f"with max_tokens=4: {len(stream.text())} characters, finish reason {stream.finish_reason!r}"
    return _Observation("holds" if stream.finish_reason == "length" else "broken", detail)


async def _stops(examiner: _Examiner) -> _Observation:
    sample = await examiner.sample()
    whole = sample.stream.text()
    stop = _only_once(sample.answer, whole)
    if not stop:
        return _Observation("unknown", f"the answer is too short: {sample.answer[:30]!r}")
    text = (await examiner.stream(stop=(stop,))).text()
    if stop in text:
        return _Observation("broken", f"the text does not stop at {stop!r}")
    if whole[: whole.index(stop)].rstrip() == text.rstrip():
        return _Observation("holds", f"the text stops before {stop!r}")
    return _Observation("unknown", f"the text without {stop!r} is another one")


def _only_once(answer: str, text: str) -> str:
    parts = (answer[at : at + _STOP_SIZE] for at in range(max(len(answer) // 3, 1), len(answer) - _STOP_SIZE + 1))
    return next((part for part in parts if part.strip() == part and text.count(part) == 1), "")


async def _reasons(examiner: _Examiner) -> _Observation:
    sample = await examiner.sample()
    if not sample.reasoning:
        return _Observation("absent", "no reasoning came, in a field or between tags")
    if sample.middle:
        return _Observation("holds", f"in the text, before {sample.middle!r}: {sample.reasoning.strip()[:30]!r}")
    return _Observation("holds", f"in a field of its own: {sample.reasoning.strip()[:30]!r}")


def _resumes(way: _Way, place: _Place) -> _Ask:
    async def ask(examiner: _Examiner) -> _Observation:
        if not examiner.has_chat:
            return _Observation("absent", "needs the chat API")
        sample = await examiner.sample()
        text = sample.reasoning if place == "reasoning" else sample.answer
        at = _cut(text)
        if at is None:
            return _Observation("unknown", f"there is no {place} whose cut would prove anything: {text[:30]!r}")
        seen = _Observation("unknown", "not asked")
        # A run has the ids of its last stream; a wrapped call and a resumed journal have the kept text alone.
        for by_trail in (True, False) if way == "tokens" else (False,):
            stream = await examiner.resume(way, sample.kept(place, at), by_trail=by_trail)
            seen = _continues(way, place, stream, sample, at)._replace(way=stream.way)
            if seen.mark != "holds":
                break
        return seen

    return ask


def _continues(way: _Way, place: _Place, stream: _ReadStream, sample: _WholeStream, at: int) -> _Observation:
    used = stream.way.mode if stream.way else way
    if way == "tokens" and used != "tokens":
        return _Observation("absent", "the server does not send token ids, or has no /tokenize")
    if way == "prefill" and used == "turn":  # the adapter takes a turn if the server refuses a prefill
        return _Observation("absent", "the server refuses an unfinished turn of the assistant")
    words = _WAYS.get(used, used)
    if used == "turn":
        said = stream.text().strip()
        # A turn asks the model to continue; the text after it is new.
        return _Observation("holds" if said else "broken", f"{words}: {said[:30]!r}, not at the cut")
    # With tags, the text of both phases is compared.
    text = stream.text(None if sample.middle else place)
    seen = _compared(words, sample.reasoning if place == "reasoning" else sample.answer, at, text)
    if not text:
        seen = seen._replace(detail=f"{words}: no {place} follows; the other text is {stream.text()[:30]!r}")
    return seen._replace(mark="broken") if way == "auto" and seen.mark != "holds" else seen


async def _reasoning(examiner: _Examiner) -> _Observation:
    if not examiner.has_chat:
        return _Observation("absent", "needs the chat API")
    sample = await examiner.sample()
    if sample.middle or not sample.reasoning.strip():
        hidden = sample.stream.usage.reasoning_tokens if sample.stream.usage else None
        if hidden and not sample.middle:
            return _Observation("absent", f"{hidden} tokens of reasoning were counted, and none was sent")
        return _Observation("unknown", "no reasoning came in a field of its own")
    failed: list[_Observation] = []
    for way in _FIXED_WAYS[:2]:
        seen = await examiner.answer(_resumes(way, "reasoning"))
        if seen.mark == "holds":
            return _Observation("holds", f"by {seen.detail}")
        failed.append(seen)
    mark: _ObservedMark = "unknown" if {seen.mark for seen in failed} == {"unknown"} else "absent"
    return _Observation(mark, "; ".join(seen.detail for seen in failed))


async def _chosen(examiner: _Examiner) -> _Observation:
    seen = {place: await _resumes("auto", place)(examiner) for place in _PLACES}
    ways = {place: one.way for place, one in seen.items() if one.way is not None}
    if not ways:
        return _Observation("unknown", seen["answer"].detail)
    modes = {way.mode for way in ways.values()}
    worst: _ObservedMark = next((seen[place].mark for place in ways if seen[place].mark != "holds"), "holds")
    mark: _ObservedMark = "unknown" if "unproven_prefill" in modes else "absent" if "turn" in modes else worst
    in_text = (await examiner.sample()).middle
    said = [f"in the {'answer' if in_text else place} by {way.mode} ({way.reason})" for place, way in ways.items()]
    return _Observation(mark, "; ".join(dict.fromkeys(said)))


async def _continues_prefix(examiner: _Examiner) -> _Observation:
    if not examiner.has_text:
        await _completes(examiner)
    whole = (await examiner.read(examiner.text, Request(_TEXT, sampling=_GREEDY))).text()
    at = _cut(whole)
    if at is None:
        return _Observation("unknown", f"there is no text whose cut would prove anything: {whole[:30]!r}")
    stream = await examiner.read(examiner.text, Request(_TEXT, (Piece(whole[:at]),), _GREEDY))
    examiner.usage = stream.usage or examiner.usage
    return _compared(_WAYS["prefix"], whole, at, stream.text())


async def _caches(examiner: _Examiner) -> _Observation:
    usage = examiner.usage
    if usage is None or usage.cached_tokens is None:
        return _Observation("absent", "the usage of resumed requests has no cached_tokens")
    return _Observation(
        "holds", f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens of the last resumed request"
    )


async def _scores(examiner: _Examiner) -> _Observation:
    stream = await examiner.stream(max_tokens=6, logprobs=True)
    scored = [chunk for chunk in stream.chunks if chunk.logprob is not None]
    return (
        _Observation("holds", f"{len(scored)} chunks have them")
        if scored
        else _Observation("absent", "the stream has none")
    )


async def _seeds(examiner: _Examiner) -> _Observation:
    model, prompt = examiner.either
    texts = []
    for seed in (7, 7, 8):
        sampling = Sampling(max_tokens=24, temperature=1.5, seed=seed)
        texts.append((await model.complete(Request(prompt, sampling=sampling))).text)
    if texts[0] != texts[1]:
        return _Observation("absent", "equal seeds gave different texts")
    if texts[0] == texts[2]:
        return _Observation("unknown", "different seeds gave equal texts")
    return _Observation("holds", "equal seeds gave equal texts, another seed another text")


async def _aborts(examiner: _Examiner) -> _Observation:
    most = 2000 if examiner.context is None else min(2000, max(examiner.context // 2, 1))
    model, prompt = examiner.either
    # A short text may have ended before it could be stopped. The text is sampled, so the next one may be longer.
    for _ in range(_ABORT_TRIES):
        stream = await model.stream(Request(prompt, sampling=Sampling(max_tokens=most, temperature=1.0)))
        try:
            await examiner.receive(stream)
            busy = await _busy(examiner)
        finally:
            await stream.aclose()
        if busy is None:
            return _Observation("unknown", "the server does not show whether it is busy (/slots or /metrics)")
        if busy:
            break
    else:
        return _Observation("unknown", "the generation ended before it could be stopped")
    began = anyio.current_time()
    with anyio.move_on_after(_ABORT_SECONDS):
        while await _busy(examiner):  # noqa: ASYNC110  the server can only be polled
            await anyio.sleep(_POLL_SECONDS)
        return _Observation("holds", f"it stopped within {(anyio.current_time() - began) * 1000:.0f} ms")
    return _Observation("absent", f"it was still generating {_ABORT_SECONDS:g} s after the stream was closed")


async def _busy(examiner: _Examiner) -> bool | None:
    # `None`: unknown. Only llama.cpp (`/slots`) and vLLM (`/metrics`) report it.
    try:
        slots = slots_decoder.decode(await examiner.get("slots"))
        return any(slot.is_processing for slot in slots)
    except (UpstreamError, *DECODE_ERRORS):
        pass
    try:
        metrics = (await examiner.get("metrics")).decode(errors="replace")
    except UpstreamError:
        return None
    counts = [line.rpartition(" ")[2] for line in metrics.splitlines() if line.startswith("vllm:num_requests_running")]
    return any(float(count) > 0 for count in counts) if counts else None


async def _calls_tools(examiner: _Examiner) -> _Observation:
    request = Request((Message("user", _ORDER),), sampling=replace(examiner.whole, extra={"tools": _TOOLS}))
    try:
        stream = await examiner.read(examiner.chats["prefill"], request)
    except StreamProtocolError as error:
        return _Observation("broken", f"an event has another form than that of the API: {error}")
    calls = [chunk.call for chunk in stream.chunks if chunk.call is not None]
    text = stream.text().strip()
    if not calls:
        if any(sign in text for sign in _CALL_SIGNS):
            return _Observation("absent", f"the call came as text: {text[:60]!r}")
        return _Observation("unknown", f"the model made no call: {text[:60]!r}")
    name, arguments = calls[0].name, calls[0].arguments
    try:
        msgspec.json.decode(arguments)
    except DECODE_ERRORS:
        return _Observation("broken", f"the arguments of {name!r} are not JSON: {arguments[:60]!r}")
    return _Observation("holds", f"{name!r} with {arguments[:60]}, finish reason {stream.finish_reason!r}")


async def _overflows(examiner: _Examiner) -> _Observation:
    if examiner.context is None:
        return _Observation("unknown", "the length of the context is unknown")
    if examiner.context > _MOST_FILLED:
        return _Observation("unknown", f"not asked: the context of {examiner.context} tokens is too long to be filled")
    # Every number is at least one token.
    long = " ".join(str(number % 10) for number in range(examiner.context + 1))
    try:
        await examiner.chats["prefill"].complete(Request((Message("user", long),), sampling=Sampling(max_tokens=4)))
    except ContextOverflow as error:
        return _Observation("holds", f"refused with status {error.status}, and recognized")
    except UpstreamError as error:
        return _Observation("broken", f"the error is not recognized: {error}")
    return _Observation("absent", "a prompt longer than the context was accepted: the server cuts it")


class Meaning(NamedTuple):
    """What the doctor or the contract says."""

    name: str
    good: str
    bad: str = ""
    """If it is empty, *good* says what is expected, whatever the answer is."""
    stops: bool = False
    """Whether nothing more is asked after a bad answer."""


class ProbeQuestion(NamedTuple):
    """One thing that one needs to know about an endpoint."""

    ask: _Ask
    doctor: Meaning | None = None
    """What ``interwhen doctor`` says; ``None``: it does not ask this."""
    contract: Meaning | None = None
    """What interwhen relies on; ``None``: the contract does not ask this."""
    required: bool = False
    """Whether an error of the server has the mark "broken" instead of "absent"."""


_PREFILL = Meaning("assistant prefill", "a chat can resume inside an answer", "a chat resumes by an extra turn")

QUESTIONS = (
    ProbeQuestion(
        _reachable,
        Meaning("reachable", "runs can start", "no run can start: check the URL, the port and the server", stops=True),
    ),
    ProbeQuestion(
        _models,
        Meaning("model list", "the server is known", "check the model's name; the way to resume is not inferred"),
    ),
    ProbeQuestion(
        _context,
        Meaning("context length", "resumes stay within it", "a long trace may overflow without warning"),
    ),
    ProbeQuestion(
        _server,
        contract=Meaning("server", "the server answers and lists its models", stops=True),
        required=True,
    ),
    ProbeQuestion(_completes, Meaning("completions API", "raw text can be continued", "use --api chat")),
    ProbeQuestion(
        _chats,
        Meaning("chat API", "chats can be answered", "use --api completions"),
        Meaning("whole answer", "a chat without streaming has an answer", stops=True),
        required=True,
    ),
    ProbeQuestion(
        _streams,
        contract=Meaning("stream", "a stream comes in parts and ends with a finish reason"),
        required=True,
    ),
    ProbeQuestion(_repeats, contract=Meaning("repeatable", "at temperature 0, equal requests give equal texts")),
    ProbeQuestion(
        _counts,
        Meaning("usage in streams", "the ledger holds the server's counts", "tokens are counted by arrivals"),
        Meaning("usage", "a stream ends with token counts"),
    ),
    ProbeQuestion(
        _limits,
        contract=Meaning("length limit", "max_tokens ends a stream with the finish reason 'length'"),
        required=True,
    ),
    ProbeQuestion(_stops, contract=Meaning("stop", "a stop sequence ends the text before it"), required=True),
    ProbeQuestion(_reasons, contract=Meaning("reasoning", "reasoning comes in a known field or between known tags")),
    *(
        ProbeQuestion(
            _resumes(way, place),
            _PREFILL if (place, way) == ("answer", "prefill") else None,
            Meaning(f"{place}: {way}", f"{_WAYS[way]} continues in the {place}"),
        )
        for place in _PLACES
        for way in _FIXED_WAYS
    ),
    ProbeQuestion(
        _continues_prefix,
        Meaning("prefix resume", "after a repair the model continues exactly there", "repairs need another way"),
        Meaning("completions: prefix", "a raw prefix continues at the cut"),
    ),
    *(
        ProbeQuestion(
            _resumes("auto", place),
            contract=Meaning(f"{place}: chosen way", f"the way that interwhen chooses works in the {place}"),
            required=True,
        )
        for place in _PLACES
    ),
    ProbeQuestion(
        _reasoning,
        Meaning(
            "resume in reasoning",
            "a correction in the reasoning continues there",
            "a correction in a reasoning field may start another turn",
        ),
    ),
    ProbeQuestion(
        _chosen,
        Meaning(
            "way of resuming",
            "a correction continues exactly at the cut",
            "after a correction, the model is asked to continue in another turn",
        ),
    ),
    ProbeQuestion(
        _caches,
        Meaning("cached tokens", "the cost of a resume is counted", "the cost of a resume is not known"),
        Meaning("cached tokens", "the usage says how much of a resumed prompt was cached"),
    ),
    ProbeQuestion(
        _scores,
        Meaning("logprobs", "confidence can be measured", "stopping rules on confidence do not work"),
        Meaning("logprobs", "a stream has log-probabilities on request"),
    ),
    ProbeQuestion(
        _calls_tools, contract=Meaning("tool calls", "a tool call comes in tool_calls, with arguments in JSON")
    ),
    ProbeQuestion(
        _seeds, Meaning("seed", "runs can be repeated and compared in pairs", "compare many runs, not single ones")
    ),
    ProbeQuestion(
        _aborts,
        Meaning("abort", "closing a stream stops its cost", "cut text may continue to cost tokens"),
        Meaning("abort", "the server stops generating when the stream is closed"),
    ),
    ProbeQuestion(
        _overflows, contract=Meaning("too long", "a prompt longer than the context is refused with a known error")
    ),
)
