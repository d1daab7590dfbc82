"""Tests whether a server does what interwhen relies on. ``interwhen doctor --contract`` prints the result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from interwhen._types.errors import (
    DECODE_ERRORS,
    ConnectError,
    ContextOverflow,
    ModelError,
    StreamTimeout,
    UpstreamError,
)
from interwhen._types.extensions import OnProgress
from interwhen._types.models import Chunk, Message, Piece, Request, ResumeMode, Sampling, Timeouts, Usage
from interwhen._types.segments import Phase
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.models._openai_api import ChatModel
from interwhen.models._probe import PROBE_TIMEOUTS, QUESTIONS, Mark, ProbedChat, Prober, chunks_of
from interwhen.models._sse import SseDecoder
from interwhen.models._token_resume import FAMILIES, shared
from interwhen.models._transport import HttpRequest, Transport, open_stream

ContractMark = Literal["holds", "absent", "broken", "unknown"]
"""``absent``: the server lacks the feature, and interwhen can do without it. ``broken``: interwhen relies on the
feature, and it does not work. ``unknown``: this was not observed."""


class ContractLine(msgspec.Struct, frozen=True):
    """One thing that interwhen relies on at a server, and what was observed."""

    name: str
    mark: ContractMark
    evidence: str
    """The observation. It may quote the server, so escape it before you print it to a terminal."""
    promise: str
    """What interwhen expects."""


class ContractReport(msgspec.Struct, frozen=True):
    """The results of checking the contract (what interwhen relies on at a server) with one endpoint."""

    base_url: str
    model: str
    server: str
    """The name and the version of the server, as far as the server sends them."""
    lines: tuple[ContractLine, ...]

    def __getitem__(self, name: str) -> ContractLine:
        """Return the result for the expectation called *name*. Raises :class:`KeyError` if there is none."""
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(name)

    @property
    def is_kept(self) -> bool:
        """Whether no line has the mark "broken". A line that was not observed ("unknown") counts as kept."""
        return all(line.mark != "broken" for line in self.lines)

    @property
    def is_usable(self) -> bool:
        """Whether the server answers, and answers a chat without streaming."""
        return self["server"].mark == "holds" and self["whole answer"].mark == "holds"


async def check_contract(
    base_url: str,
    model: str,
    *,
    api_key: str | None = None,
    transport: Transport | None = None,
    timeouts: Timeouts = PROBE_TIMEOUTS,
    on_progress: OnProgress | None = None,
) -> ContractReport:
    """Test what interwhen relies on with *model* at *base_url*.

    A server that answers chats gets thirty or more requests. Most of these ask for at most 1,200 tokens. A failed
    request becomes a finding in the report, and no :class:`~interwhen.ModelError` is raised. *api_key* defaults to the
    environment variable ``OPENAI_API_KEY``. Raises :class:`~interwhen.UsageError` if *base_url* is not a URL, or if the
    key cannot be sent in a header. A given *transport* is not closed. *on_progress* is called with the number of lines
    so far, and of all lines.
    """
    used = transport or Httpx2Transport()
    examiner = _Examiner(base_url.rstrip("/"), model, used, api_key, timeouts)
    try:
        lines = []
        async for line in examiner.lines():
            lines.append(line)
            if on_progress is not None:
                on_progress(len(lines), len(PROMISES))
        return ContractReport(base_url, model, examiner.server, tuple(lines))
    finally:
        if transport is None:
            await used.aclose()


_QUESTION = (Message("user", "Start with 64. Add 129. Multiply by 3. What is the result?"),)
_MOST_TOKENS = 1200
"""The limit for the first stream, which must reach the answer of a model that reasons at length."""
_FEW_TOKENS = 60
_SAME = 16
"""The number of equal characters that proves a continuation. Greedy texts may differ later, because the server computes
them in other batches."""
_STOP_SIZE = 5
_ABORT_TRIES = 4
_MOST_FILLED = 32_768
"""The longest context in tokens that is filled to see how the server refuses a prompt that is too long."""
_ORDER = (
    Message(
        "user",
        "Policy: order below 20, fill to 40, at most 30 an order, approval above 400. "
        "Item: bolts. Stock: 12. Price: 2.",
    ),
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

_Way = Literal["tokens", "prefill", "turn", "auto"]
_Place = Literal["reasoning", "answer"]


class _WholeStream(NamedTuple):
    """The text of a complete stream. Later requests send parts of this text as kept text."""

    chunks: tuple[Chunk, ...]
    reasoning: str
    """The reasoning, from its field or from between tags; empty if there is none."""
    answer: str
    """The text after the reasoning."""
    start: str = ""
    """The tag before the reasoning in the text; empty if there is none, as for reasoning in a field."""
    middle: str = ""
    """The tag between reasoning and answer; empty if there is none."""

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    def pieces(self, place: _Place) -> tuple[tuple[Piece, ...], str]:
        """Return the trace up to a cut in *place* (reasoning or answer), and the text that was cut off there."""
        text = self.reasoning if place == "reasoning" else self.answer
        at = _half(text)
        before: list[tuple[str, Phase]] = [(self.start, "answer")]
        before += (
            [(text[:at], place)]
            if place == "reasoning"
            else [(self.reasoning, "reasoning"), (self.middle, "answer"), (text[:at], "answer")]
        )
        if self.middle:
            # The server shows tags: the trace is one text, as a run keeps it.
            return (Piece("".join(part for part, _ in before)),), text[at:]
        return tuple(Piece(part, phase=phase) for part, phase in before if part), text[at:]


def _half(text: str) -> int:
    """Return an offset in the first half of *text*, before a space if possible, because tokens usually begin there."""
    middle = len(text) // 2
    space = text.rfind(" ", 1, middle + 1)
    return space if space > 0 else middle


def _sample_of(chunks: Sequence[Chunk]) -> _WholeStream:
    thought = "".join(chunk.text for chunk in chunks if chunk.phase == "reasoning")
    said = "".join(chunk.text for chunk in chunks if chunk.phase == "answer")
    if not thought:
        for family in FAMILIES:
            before, closing, after = said.partition(family.closing)
            if closing:
                _, opening, inside = before.rpartition(family.opening)
                return _WholeStream(tuple(chunks), inside, after, opening, closing)
    return _WholeStream(tuple(chunks), thought, said)


class _Evidence(NamedTuple):
    mark: ContractMark
    evidence: str


class _Examiner(Prober):
    """Checks what interwhen expects of a server, line by line, and stores the results that later lines need."""

    def __init__(
        self, base_url: str, model: str, transport: Transport, api_key: str | None, timeouts: Timeouts
    ) -> None:
        super().__init__(base_url, model, transport, api_key, timeouts)
        self.server = "unknown"
        self.sample = _WholeStream((), "", "")
        self.trail: object | None = None
        self.usage: Usage | None = None
        self.adapters: dict[_Way, ChatModel] = {
            "tokens": self.by_tokens,
            "prefill": self.chat,
            "turn": ProbedChat(base_url, model, **self.options, resume="turn"),
            "auto": ProbedChat(base_url, model, **self.options, resume="auto"),
        }
        self._ready: set[_Way] = {"prefill"}

    async def lines(self) -> AsyncIterator[ContractLine]:
        """Yield a line for each expectation, in order.

        If the line "server" or "whole answer" does not hold, the lines after it are "unknown" and not tested.
        """
        asked = True
        for promise in PROMISES:
            seen = await self._check(promise) if asked else _Evidence("unknown", "not asked")
            yield ContractLine(promise.name, seen.mark, seen.evidence, promise.words)
            asked = asked and not (promise.name in {"server", "whole answer"} and seen.mark != "holds")

    async def _check(self, promise: _Promise) -> _Evidence:
        try:
            return await promise.check(self)
        except (ConnectError, StreamTimeout) as error:
            return _Evidence("broken" if promise.name == "server" else "unknown", str(error))
        except ModelError as error:
            return _Evidence("broken" if promise.is_required else "absent", str(error))

    async def chunks(self, way: _Way, request: Request) -> tuple[tuple[Chunk, ...], ResumeMode | None]:
        """Send *request* with the adapter for *way*. Return the chunks of the stream, and how the stream resumed."""
        found, resumed, _ = await chunks_of(self, self.adapters[way], request)
        return tuple(found), resumed

    async def prepare(self, way: _Way) -> None:
        """Stream one answer with the adapter for *way*, unless this was tried before.

        The adapter learns the reasoning field from it. With ``tokens``, keep the token ids if the text equals that of
        ``sample``.
        """
        if way in self._ready:
            return
        self._ready.add(way)
        first, _, trail = await chunks_of(self, self.adapters[way], Request(_QUESTION, sampling=self.whole))
        if way == "tokens" and "".join(chunk.text for chunk in first) == self.sample.text:
            self.trail = trail

    @property
    def whole(self) -> Sampling:
        """The sampling options of the streams that are read whole, with a token limit below the known context."""
        most = _MOST_TOKENS if self.context is None else min(_MOST_TOKENS, self.context // 2)
        return Sampling(max_tokens=most, temperature=0.0)


# The lines.


async def _asks(examiner: _Examiner, question: str, *, required: bool = False) -> _Evidence:
    """Answer *question* of ``interwhen doctor``. The answer "no" becomes "broken" if *required*, else "absent"."""
    seen = await _DOCTOR[question](examiner)
    marks: dict[Mark, ContractMark] = {"ok": "holds", "no": "broken" if required else "absent", "unknown": "unknown"}
    return _Evidence(marks[seen.mark], seen.detail)


_DOCTOR = {question.name: question.ask for question in QUESTIONS}


async def _server(examiner: _Examiner) -> _Evidence:
    reachable = await _asks(examiner, "reachable", required=True)
    if reachable.mark != "holds":
        return reachable
    models = await _DOCTOR["model list"](examiner)
    context = await _DOCTOR["context length"](examiner)
    owner = examiner.card.owned_by if examiner.card else None
    examiner.server = " ".join(filter(None, (owner or "unknown server", await _version(examiner))))
    return _Evidence("holds", f"{examiner.server}; {models.detail}; context: {context.detail}")


async def _version(examiner: _Examiner) -> str:
    """Return the version of the server, by the paths of vLLM, SGLang and llama.cpp; empty if it is not found."""
    for path, field in (("version", "version"), ("server_info", "version"), ("props", "build_info")):
        try:
            found = msgspec.json.decode(await examiner.get(f"{examiner.root}/{path}"))
        except (ModelError, *DECODE_ERRORS):
            continue
        if isinstance(found, dict) and isinstance(found.get(field), str):
            return str(found[field])[:80]
    return ""


async def _whole_answer(examiner: _Examiner) -> _Evidence:
    answer = await examiner.chat.complete(Request(_QUESTION, sampling=Sampling(max_tokens=8, temperature=0.0)))
    examiner.has_chat = True
    return _Evidence("holds", f"finish reason {answer.finish_reason!r}")


async def _streams(examiner: _Examiner) -> _Evidence:
    chunks, _ = await examiner.chunks("prefill", Request(_QUESTION, sampling=examiner.whole))
    examiner.sample = _sample_of(chunks)
    texts = [chunk.text for chunk in chunks if chunk.text]
    reason = next((chunk.finish_reason for chunk in chunks if chunk.finish_reason), None)
    evidence = f"{len(texts)} chunks with text, finish reason {reason!r}"
    if reason in {None, "truncated", "other"}:
        return _Evidence("broken", evidence)
    if len(texts) < 2:
        return _Evidence("absent", f"{evidence}: the text came at once, so it cannot be stopped early")
    return _Evidence("holds", evidence)


async def _repeats(examiner: _Examiner) -> _Evidence:
    chunks, _ = await examiner.chunks("prefill", Request(_QUESTION, sampling=examiner.whole))
    again, first = "".join(chunk.text for chunk in chunks), examiner.sample.text
    if again == first:
        return _Evidence("holds", f"{len(first)} equal characters")
    return _Evidence("absent", f"equal only up to character {shared(again, first)} of {len(first)}")


async def _usage(examiner: _Examiner) -> _Evidence:
    usage = next((chunk.usage for chunk in reversed(examiner.sample.chunks) if chunk.usage), None)
    if usage is None or usage.completion_tokens is None:
        return _Evidence("absent", "the stream ended without token counts")
    return _Evidence("holds", f"{usage.prompt_tokens} prompt and {usage.completion_tokens} completion tokens")


async def _limits(examiner: _Examiner) -> _Evidence:
    chunks, _ = await examiner.chunks("prefill", Request(_QUESTION, sampling=Sampling(max_tokens=4, temperature=0.0)))
    reason = next((chunk.finish_reason for chunk in chunks if chunk.finish_reason), None)
    evidence = f"with max_tokens=4: {len(''.join(chunk.text for chunk in chunks))} characters, finish reason {reason!r}"
    return _Evidence("holds" if reason == "length" else "broken", evidence)


async def _stops(examiner: _Examiner) -> _Evidence:
    sample = examiner.sample
    stop = _only_once(sample.answer, sample.text)
    if not stop:
        return _Evidence("unknown", f"the answer is too short: {sample.answer[:30]!r}")
    chunks, _ = await examiner.chunks("prefill", Request(_QUESTION, sampling=replace(examiner.whole, stop=(stop,))))
    text = "".join(chunk.text for chunk in chunks)
    if stop in text:
        return _Evidence("broken", f"the text does not stop at {stop!r}")
    if sample.text[: sample.text.index(stop)].rstrip() == text.rstrip():
        return _Evidence("holds", f"the text stops before {stop!r}")
    return _Evidence("unknown", f"the text without {stop!r} is another one")


def _only_once(answer: str, text: str) -> str:
    """Return a short part of *answer*, not at its start, that occurs once in *text*; empty if there is none."""
    parts = (answer[at : at + _STOP_SIZE] for at in range(max(len(answer) // 3, 1), len(answer) - _STOP_SIZE + 1))
    return next((part for part in parts if part.strip() == part and text.count(part) == 1), "")


async def _reasons(examiner: _Examiner) -> _Evidence:
    sample = examiner.sample
    if not sample.reasoning:
        return _Evidence("absent", "no reasoning came, in a field or between tags")
    if sample.middle:
        return _Evidence("holds", f"in the text, before {sample.middle!r}: {sample.reasoning.strip()[:30]!r}")
    return _Evidence("holds", f"in a field of its own: {sample.reasoning.strip()[:30]!r}")


def _resumes(way: _Way, place: _Place) -> _Check:
    """Return a check that cuts a text in *place* (reasoning or answer) and continues it by *way*."""

    async def check(examiner: _Examiner) -> _Evidence:
        text = examiner.sample.reasoning if place == "reasoning" else examiner.sample.answer
        if len(text.strip()) < 4:
            return _Evidence("unknown", f"there is no {place} that could be cut: {text[:30]!r}")
        pieces, expected = examiner.sample.pieces(place)
        sampling = Sampling(max_tokens=_FEW_TOKENS, temperature=0.0)
        seen = _Evidence("unknown", "not asked")
        await examiner.prepare(way)
        # A run has the ids of its last stream; a wrapped call and a resumed journal have the kept text alone.
        for trail in (examiner.trail, None) if way == "tokens" else (None,):
            request = Request(_QUESTION, pieces, sampling, trail=trail)
            chunks, resumed = await examiner.chunks(way, request)
            examiner.usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage), examiner.usage)
            seen = _continues(way, place, expected, chunks, resumed, tags=bool(examiner.sample.middle))
            if seen.mark != "holds":
                break
        return seen

    return check


def _continues(
    way: _Way, place: _Place, expected: str, chunks: Sequence[Chunk], resumed: ResumeMode | None, *, tags: bool
) -> _Evidence:
    """Find out whether *chunks* continue with the *expected* text. With *tags*, the text of both phases is compared."""
    text = "".join(chunk.text for chunk in chunks if tags or chunk.phase == place)
    used = resumed or way
    words = _WAYS.get(used, used)
    if way == "tokens" and used != "tokens":
        return _Evidence("absent", "the server does not send token ids, or has no /tokenize")
    if used == "turn":
        said = "".join(chunk.text for chunk in chunks).strip()
        # A turn asks the model to continue; the text after it is new.
        return _Evidence("holds" if said else "broken", f"{words}: {said[:30]!r}, not at the cut")
    size = shared(text, expected)
    if size >= min(_SAME, len(expected.rstrip())):
        return _Evidence("holds", f"{words}: the first {size} characters equal those that were cut")
    evidence = f"{words}: expected {expected[:30]!r}, got {text[:30]!r}"
    if not text:
        evidence = f"{words}: no {place} follows; the other text is {''.join(chunk.text for chunk in chunks)[:30]!r}"
    return _Evidence("broken" if way == "auto" else "absent", evidence)


_WAYS = {
    "tokens": "token ids",
    "prefill": "assistant prefill",
    "unproven_prefill": "assistant prefill",
    "turn": "an extra turn",
    "prefix": "a raw prefix",
}


async def _prefix(examiner: _Examiner) -> _Evidence:
    completions = await _asks(examiner, "completions API")
    return await _asks(examiner, "prefix resume") if completions.mark == "holds" else completions


async def _caches(examiner: _Examiner) -> _Evidence:
    usage = examiner.usage
    if usage is None or usage.cached_tokens is None:
        return _Evidence("absent", "the usage of resumed requests has no cached_tokens")
    return _Evidence(
        "holds", f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens of the last resumed request"
    )


async def _scores(examiner: _Examiner) -> _Evidence:
    sampling = Sampling(max_tokens=6, temperature=0.0, logprobs=True)
    chunks, _ = await examiner.chunks("prefill", Request(_QUESTION, sampling=sampling))
    scored = [chunk for chunk in chunks if chunk.logprob is not None]
    return (
        _Evidence("holds", f"{len(scored)} chunks with log-probabilities")
        if scored
        else _Evidence("absent", "the stream has none")
    )


async def _aborts(examiner: _Examiner) -> _Evidence:
    seen = await _asks(examiner, "abort")
    for _ in range(_ABORT_TRIES - 1):
        if seen.mark != "unknown":
            break
        # A short text may have ended before it could be stopped. The text is sampled, so the next one may be longer.
        seen = await _asks(examiner, "abort")
    return seen


async def _calls_tools(examiner: _Examiner) -> _Evidence:
    """Offer tools in a streamed chat, and report whether the server sends a tool call with arguments in JSON."""
    body: dict[str, Any] = {
        "model": examiner.model,
        "messages": [{"role": "user", "content": _ORDER[0].content}],
        "tools": _TOOLS,
    }
    body |= {"max_tokens": examiner.whole.max_tokens, "temperature": 0.0, "stream": True}
    headers = {**examiner.headers, "content-type": "application/json", "accept": "text/event-stream"}
    request = HttpRequest("POST", f"{examiner.base_url}/chat/completions", headers, msgspec.json.encode(body))
    names, arguments, text, reason = [], "", "", None
    response = await open_stream(examiner.transport, request, examiner.timeouts)
    decoder = SseDecoder()
    try:
        while data := await response.receive():
            for event, _ in decoder.feed(data):
                delta, finished = _delta_of(event)
                reason = finished or reason
                try:
                    text += delta.get("content") or ""
                    for call in delta.get("tool_calls") or ():
                        function = call.get("function") or {}
                        names += [function["name"]] if function.get("name") else []
                        arguments += function.get("arguments") or ""
                except (AttributeError, TypeError):  # a text in place of an object, or the reverse
                    said = event[:60].decode(errors="replace")
                    return _Evidence("broken", f"an event has another form than that of the API: {said!r}")
    finally:
        await response.aclose()
    if names:
        return _tool_call(names, arguments, reason)
    if any(sign in text for sign in _CALL_SIGNS):
        return _Evidence("absent", f"the call came as text: {text.strip()[:60]!r}")
    return _Evidence("unknown", f"the model made no call: {text.strip()[:60]!r}")


def _tool_call(names: Sequence[str], arguments: str, reason: str | None) -> _Evidence:
    try:
        found = msgspec.json.decode(arguments)
    except DECODE_ERRORS:
        return _Evidence("broken", f"the arguments of {names[0]!r} are not JSON: {arguments[:60]!r}")
    return _Evidence("holds", f"{names[0]!r} with {msgspec.json.encode(found).decode()[:60]}, finish reason {reason!r}")


def _delta_of(event: bytes) -> tuple[dict[str, Any], str | None]:
    try:
        choice = msgspec.json.decode(event)["choices"][0]
        return choice.get("delta") or {}, choice.get("finish_reason")
    except (*DECODE_ERRORS, LookupError, TypeError, AttributeError):
        return {}, None  # the end mark, or token counts


async def _overflows(examiner: _Examiner) -> _Evidence:
    if examiner.context is None:
        return _Evidence("unknown", "the length of the context is unknown")
    if examiner.context > _MOST_FILLED:
        return _Evidence("unknown", f"not asked: the context of {examiner.context} tokens is too long to be filled")
    # Every number is at least one token.
    long = " ".join(str(number % 10) for number in range(examiner.context + 1))
    try:
        await examiner.chat.complete(Request((Message("user", long),), sampling=Sampling(max_tokens=4)))
    except ContextOverflow as error:
        return _Evidence("holds", f"refused with status {error.status}, and recognized")
    except UpstreamError as error:
        return _Evidence("broken", f"the error is not recognized: {error}")
    return _Evidence("absent", "a prompt longer than the context was accepted: the server cuts it")


_Check: TypeAlias = Callable[[_Examiner], Awaitable[_Evidence]]


class _Promise(NamedTuple):
    """One expectation of the contract: *check* sends the requests that test it, *words* describe it for the reader."""

    name: str
    check: _Check
    words: str
    is_required: bool = False
    """Whether an error of the server in this test has the mark "broken" instead of "absent"."""


PROMISES = (
    _Promise("server", _server, "the server answers and lists its models", is_required=True),
    _Promise("whole answer", _whole_answer, "a chat without streaming has an answer", is_required=True),
    _Promise("stream", _streams, "a stream comes in parts and ends with a finish reason", is_required=True),
    _Promise("repeatable", _repeats, "at temperature 0, equal requests give equal texts"),
    _Promise("usage", _usage, "a stream ends with token counts"),
    _Promise("length limit", _limits, "max_tokens ends a stream with the finish reason 'length'", is_required=True),
    _Promise("stop", _stops, "a stop sequence ends the text before it", is_required=True),
    _Promise("reasoning", _reasons, "reasoning comes in a known field or between known tags"),
    *(
        _Promise(f"{place}: {way}", _resumes(way, place), f"{_WAYS[way]} continues in the {place}")
        for place in ("reasoning", "answer")
        for way in ("tokens", "prefill", "turn")
    ),
    _Promise("completions: prefix", _prefix, "a raw prefix continues at the cut"),
    *(
        _Promise(
            f"{place}: chosen way",
            _resumes("auto", place),
            f"the way that interwhen chooses works in the {place}",
            is_required=True,
        )
        for place in ("reasoning", "answer")
    ),
    _Promise("cached tokens", _caches, "the usage says how much of a resumed prompt was cached"),
    _Promise("logprobs", _scores, "a stream has log-probabilities on request"),
    _Promise("tool calls", _calls_tools, "a tool call comes in tool_calls, with arguments in JSON"),
    _Promise("abort", _aborts, "the server stops generating when the stream is closed"),
    _Promise("too long", _overflows, "a prompt longer than the context is refused with a known error"),
)
"""The lines of the contract, in order."""
