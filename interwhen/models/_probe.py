"""Finds out what an OpenAI-compatible endpoint can do, by sending requests. ``interwhen doctor`` prints the result."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import msgspec

from interwhen._types.errors import DECODE_ERRORS, ConnectError, ModelError, StreamTimeout, UpstreamError
from interwhen._types.extensions import OnProgress
from interwhen._types.models import (
    Chunk,
    Message,
    Piece,
    Prompt,
    Request,
    ResumeMode,
    ResumeWay,
    Retries,
    Sampling,
    Stream,
    Timeouts,
    Usage,
)
from interwhen.models._chunks import ModelCard, ModelList, ServerProps, SlotState
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.models._openai_api import ChatModel, CompletionsModel
from interwhen.models._transport import FORK_OPTIONS, HttpRequest, Transport, exchange

Mark = Literal["ok", "no", "unknown"]

PROBE_TIMEOUTS = Timeouts(connect=5.0, first_token=60.0, inter_token=30.0, total=60.0)
# llama.cpp closes a connection after each stream: the next request on it fails once.
_RETRIES = Retries(attempts=1, base=0.05)
_ABORT_SECONDS = 2.0
_POLL_SECONDS = 0.05
_TEXT = "The days of the week are Monday, Tuesday,"
_TURNS = (Message("user", "List the days of the week, in order, on one line."),)
_LONG = " ".join(f"Line {number} says that {number} is a number." for number in range(40))
_GREEDY = Sampling(max_tokens=12, temperature=0.0)
_SUM = (Message("user", "Start with 64. Add 129. Multiply by 3. What is the result?"),)
_THOUGHT = Sampling(max_tokens=60, temperature=0.0)
# How many tokens of the context are left free for a chat template and the first tokens of an answer.
_MARGIN = 64


class ProbeFinding(msgspec.Struct, frozen=True):
    """The answer to one question about an endpoint: its mark, the observation, and what it means."""

    name: str
    mark: Mark
    """``ok`` for a good answer, ``no`` for a bad one, ``unknown`` if it could not be observed."""
    detail: str
    """The observation. It may quote the server, so escape it before you print it to a terminal."""
    meaning: str
    """The consequence for interwhen."""


class Diagnosis(msgspec.Struct, frozen=True):
    """The answers to all questions about an endpoint, as ``interwhen doctor`` prints them."""

    base_url: str
    model: str
    findings: tuple[ProbeFinding, ...]

    def __getitem__(self, name: str) -> ProbeFinding:
        """Return the answer to the question called *name*. Raises :class:`KeyError` if there is none."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    @property
    def usable(self) -> bool:
        """Whether a run can use the endpoint: the server answers, and the completions API or the chat API works."""
        marks = {finding.name: finding.mark for finding in self.findings}
        return marks.get("reachable") == "ok" and "ok" in {marks.get("completions API"), marks.get("chat API")}


class _Observation(NamedTuple):
    mark: Mark
    detail: str


async def probe(
    base_url: str,
    model: str,
    *,
    api_key: str | None = None,
    transport: Transport | None = None,
    timeouts: Timeouts = PROBE_TIMEOUTS,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Find out what the endpoint at *base_url* can do with *model*, by about twenty requests, most of them short.

    If a request fails, this is a finding, and no :class:`~interwhen.ModelError` is raised. *api_key* defaults to the
    environment variable ``OPENAI_API_KEY``. Raises :class:`~interwhen.UsageError` if *base_url* is not a URL, or if the
    key cannot be sent in a header. A given *transport* is not closed. *on_progress* is called with the number of
    findings so far, and of all findings.
    """
    used = transport or Httpx2Transport()
    try:
        prober = Prober(base_url.rstrip("/"), model, used, api_key, timeouts)
        found = []
        async for finding in prober.findings():
            found.append(finding)
            if on_progress is not None:
                on_progress(len(found), len(QUESTIONS))
        return Diagnosis(base_url, model, tuple(found))
    finally:
        if transport is None:
            await used.aclose()


class ProbedChat(ChatModel):
    """A chat model for probes. Its requests leave out the options in ``FORK_OPTIONS`` that the server refuses."""

    _optional = FORK_OPTIONS


class Prober:
    """Asks the questions about an endpoint in order, and stores the results that later questions need."""

    def __init__(
        self, base_url: str, model: str, transport: Transport, api_key: str | None, timeouts: Timeouts
    ) -> None:
        options: dict[str, Any] = {
            "api_key": api_key,
            "transport": transport,
            "timeouts": timeouts,
            "retries": _RETRIES,
        }
        self.options = options
        self.text = CompletionsModel(base_url, model, **options)
        self.chat = ProbedChat(base_url, model, **options, resume="prefill")
        # The user has asked for this probe, so it may generate tokens on any server.
        self.auto = ProbedChat(base_url, model, **options, resume="auto", probe="always")
        self.by_tokens = ProbedChat(base_url, model, **options, resume="tokens")
        self.base_url = base_url
        self.root = base_url.removesuffix("/v1")
        self.model = model
        self.transport = transport
        self.timeouts = timeouts
        key = os.environ.get("OPENAI_API_KEY") if api_key is None else api_key
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self.card: ModelCard | None = None
        self.has_text = False
        self.has_chat = False
        self.context: int | None = None

    async def findings(self) -> AsyncIterator[ProbeFinding]:
        """Yield a finding for each question. If the server is not reachable, the others are "unknown" and not asked."""
        asked = True
        for question in QUESTIONS:
            seen = await self._answer(question.ask) if asked else _Observation("unknown", "not asked")
            yield ProbeFinding(
                question.name, seen.mark, seen.detail, question.good if seen.mark == "ok" else question.bad
            )
            asked = asked and not (question.name == "reachable" and seen.mark != "ok")

    async def _answer(self, ask: _Ask) -> _Observation:
        try:
            return await ask(self)
        except (ConnectError, StreamTimeout) as error:
            return _Observation("unknown", str(error))
        except ModelError as error:
            return _Observation("no", str(error))

    async def get(self, url: str) -> bytes:
        """Return the body of the response to a GET request for *url*. Raises :class:`ModelError` if it fails."""
        return await exchange(self.transport, HttpRequest("GET", url, self.headers), self.timeouts)

    def request(self, sampling: Sampling, *, text: str = _TEXT, pieces: tuple[Piece, ...] = ()) -> Request:
        """Return a request for the adapter :attr:`either`, with *sampling* and with *pieces* as the kept text.

        *text* is the prompt for the completions API; the chat API gets a fixed question.
        """
        return Request(text if self.has_text else _TURNS, pieces, sampling)

    @property
    def either(self) -> CompletionsModel | ChatModel:
        """The adapter for the completions API if this API works, else the adapter for the chat API."""
        return self.text if self.has_text else self.chat


async def _reachable(prober: Prober) -> _Observation:
    try:
        await prober.get(f"{prober.base_url}/models")
    except UpstreamError as error:
        return _Observation("ok", f"it answers, with status {error.status}")
    except (ConnectError, StreamTimeout) as error:
        return _Observation("no", str(error))
    return _Observation("ok", "it answers")


async def _models(prober: Prober) -> _Observation:
    try:
        cards = msgspec.json.decode(await prober.get(f"{prober.base_url}/models"), type=ModelList).data
    except DECODE_ERRORS as error:
        return _Observation("no", f"/models did not return a model list: {error}")
    prober.card = next((card for card in cards if card.id == prober.model), None)
    if prober.card is not None:
        return _Observation("ok", f"owned by {prober.card.owned_by or 'an unknown server'}")
    if len(cards) == 1:
        prober.card = cards[0]
        # llama.cpp serves its only model under every name.
        mark: Mark = "ok" if cards[0].owned_by == "llamacpp" else "unknown"
        return _Observation(mark, f"owned by {cards[0].owned_by}; lists only {cards[0].id!r}")
    return _Observation(
        "no", f"{prober.model!r} is not among {', '.join(repr(card.id) for card in cards[:5]) or 'no models'}"
    )


async def _completions(prober: Prober) -> _Observation:
    answer = await prober.text.complete(Request(_TEXT, sampling=_GREEDY))
    prober.has_text = True
    return _Observation("ok", f"continues with {answer.text[:30]!r}")


async def _chat(prober: Prober) -> _Observation:
    answer = await prober.chat.complete(Request(_TURNS, sampling=_GREEDY))
    prober.has_chat = True
    return _Observation("ok", f"answers {answer.text[:30]!r}")


async def _usage(prober: Prober) -> _Observation:
    _, usage = await _streamed(prober, prober.either, prober.request(_GREEDY))
    if usage is None:
        return _Observation("no", "a stream ends without token counts")
    return _Observation("ok", f"{usage.prompt_tokens} prompt and {usage.completion_tokens} completion tokens")


async def _prefix(prober: Prober) -> _Observation:
    if not prober.has_text:
        return _Observation("no", "needs the completions API")
    return await _resumed(prober, prober.text, _TEXT)


async def _prefill(prober: Prober) -> _Observation:
    if not prober.has_chat:
        return _Observation("no", "needs the chat API")
    return await _resumed(prober, prober.chat, _TURNS)


async def _reasoning(prober: Prober) -> _Observation:
    """Cut a reasoning text in the middle, and find out whether and how the model continues it."""
    if not prober.has_chat:
        return _Observation("no", "needs the chat API")
    chunks, _, _ = await chunks_of(prober, prober.chat, Request(_SUM, sampling=_THOUGHT))
    whole = "".join(chunk.text for chunk in chunks if chunk.phase == "reasoning")
    if not whole.strip():
        usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
        if usage is not None and usage.reasoning_tokens and not any("<think>" in chunk.text for chunk in chunks):
            return _Observation("no", f"{usage.reasoning_tokens} tokens of reasoning were counted, and none was sent")
        return _Observation("unknown", "no reasoning came in a field of its own")
    kept = whole[: len(whole) // 2]
    failed = []
    for adapter, way in ((prober.by_tokens, "token ids"), (prober.chat, "assistant prefill")):
        try:
            rest, resumed, _ = await chunks_of(
                prober, adapter, Request(_SUM, (Piece(kept, phase="reasoning"),), _THOUGHT)
            )
        except UpstreamError as error:
            failed.append(f"{way}: {error}")
            continue
        if adapter is prober.by_tokens and resumed != "tokens":
            failed.append(f"{way}: the server must have /tokenize, and has none")
            continue
        if adapter is prober.chat and resumed != "prefill":
            failed.append(f"{way}: the server refuses an unfinished turn of the assistant")
            continue
        text = "".join(chunk.text for chunk in rest if chunk.phase == "reasoning")
        if text and (whole[len(kept) :].startswith(text) or text.startswith(whole[len(kept) :])):
            return _Observation("ok", f"by {way}, the continuation of a cut reasoning is the text that was cut")
        failed.append(f"{way}: the reasoning must continue with {whole[len(kept) :][:30]!r}, got {text[:30]!r}")
    return _Observation("no", "; ".join(failed))


async def _way(prober: Prober) -> _Observation:
    """Find out how a run would continue kept text at this endpoint, and why."""
    if not prober.has_chat:
        return _Observation("unknown", "needs the chat API")
    chunks, _, _ = await chunks_of(prober, prober.auto, Request(_SUM, sampling=_THOUGHT))
    thought = "".join(chunk.text for chunk in chunks if chunk.phase == "reasoning")
    cuts: list[tuple[Piece, ...]] = [(Piece("The result is"),)]
    if thought.strip():
        whole = Piece(thought, phase="reasoning")
        cuts = [(Piece(thought[: len(thought) // 2], phase="reasoning"),), (whole, *cuts[0])]
    await prober.auto.capabilities()
    ways = []
    # A server may refuse token ids only when it gets the first ones. Then another way is proven.
    for _ in range(2):
        if prober.auto.needs_proof:
            await prober.auto.prove()
        ways = [await _way_after(prober, pieces) for pieces in cuts]
        if all(way.mode != "unproven_prefill" for way in ways):
            break
    modes = {way.mode for way in ways}
    mark: Mark = "unknown" if "unproven_prefill" in modes else "no" if "turn" in modes else "ok"
    said = [f"in the {cut[-1].phase} by {way.mode} ({way.reason})" for cut, way in zip(cuts, ways, strict=True)]
    return _Observation(mark, "; ".join(said))


async def _way_after(prober: Prober, pieces: tuple[Piece, ...]) -> ResumeWay:
    stream = await prober.auto.stream(Request(_SUM, pieces, Sampling(max_tokens=4, temperature=0.0)))
    await stream.aclose()
    assert stream.way is not None
    return stream.way


async def _logprobs(prober: Prober) -> _Observation:
    sampling = Sampling(max_tokens=4, temperature=0.0, logprobs=True)
    answer = await prober.either.complete(prober.request(sampling))
    return (
        _Observation("no", "the answer has none")
        if answer.logprob is None
        else _Observation("ok", f"{answer.logprob:.2f} nats")
    )


async def _cached(prober: Prober) -> _Observation:
    usage = Usage()
    # A character is at most one token. The server would refuse a prompt that is too long for the context.
    long = _LONG if prober.context is None else _LONG[: max(prober.context - _MARGIN, 1)]
    for _ in range(2):
        prompt = long if prober.has_text else (Message("user", long),)
        usage = (await prober.either.complete(Request(prompt, sampling=Sampling(max_tokens=1)))).usage
    if usage.cached_tokens is None:
        return _Observation("no", "the usage has no cached_tokens")
    if not usage.cached_tokens:
        return _Observation("unknown", "counted, but a repeated prompt was not cached")
    return _Observation("ok", f"{usage.cached_tokens} of {usage.prompt_tokens} tokens of a repeated prompt")


async def _seed(prober: Prober) -> _Observation:
    texts = []
    for seed in (7, 7, 8):
        sampling = Sampling(max_tokens=24, temperature=1.5, seed=seed)
        texts.append((await prober.either.complete(prober.request(sampling, text="Once upon a time"))).text)
    if texts[0] != texts[1]:
        return _Observation("no", "equal seeds gave different texts")
    if texts[0] == texts[2]:
        return _Observation("unknown", "different seeds gave equal texts")
    return _Observation("ok", "equal seeds gave equal texts, another seed another text")


async def _abort(prober: Prober) -> _Observation:
    most = 2000 if prober.context is None else min(2000, max(prober.context // 2, 1))
    stream = await prober.either.stream(prober.request(Sampling(max_tokens=most, temperature=1.0)))
    try:
        await _receive(stream, prober.timeouts)
        busy = await _busy(prober)
    finally:
        await stream.aclose()
    if busy is None:
        return _Observation("unknown", "the server does not show whether it is busy (/slots or /metrics)")
    if not busy:
        return _Observation("unknown", "the generation ended before it could be stopped")
    began = anyio.current_time()
    with anyio.move_on_after(_ABORT_SECONDS):
        while await _busy(prober):  # noqa: ASYNC110  the server can only be polled
            await anyio.sleep(_POLL_SECONDS)
        return _Observation("ok", f"it stopped within {(anyio.current_time() - began) * 1000:.0f} ms")
    return _Observation("no", f"it was still generating {_ABORT_SECONDS:g} s after the stream was closed")


async def _context(prober: Prober) -> _Observation:
    if prober.card is not None and prober.card.max_model_len:
        prober.context = prober.card.max_model_len
        return _Observation("ok", f"{prober.context} tokens")
    try:
        props = msgspec.json.decode(await prober.get(f"{prober.root}/props"), type=ServerProps)
    except (ModelError, *DECODE_ERRORS):
        return _Observation("unknown", "neither /models nor /props has it")
    prober.context = size = props.default_generation_settings.n_ctx
    return _Observation("ok", f"{size} tokens") if size else _Observation("unknown", "/props does not have it")


_Ask: TypeAlias = Callable[[Prober], Awaitable[_Observation]]


class ProbeQuestion(NamedTuple):
    """A question about an endpoint: its requests (*ask*), and what a good and a bad answer mean for interwhen."""

    name: str
    ask: _Ask
    good: str
    bad: str


QUESTIONS = (
    ProbeQuestion(
        "reachable", _reachable, "runs can start", "no run can start: check the URL, the port and the server"
    ),
    ProbeQuestion(
        "model list", _models, "the server is known", "check the model's name; the way to resume is not inferred"
    ),
    ProbeQuestion("context length", _context, "resumes stay within it", "a long trace may overflow without warning"),
    ProbeQuestion("completions API", _completions, "raw text can be continued", "use --api chat"),
    ProbeQuestion("chat API", _chat, "chats can be answered", "use --api completions"),
    ProbeQuestion("usage in streams", _usage, "the ledger holds the server's counts", "tokens are counted by arrivals"),
    ProbeQuestion(
        "prefix resume", _prefix, "after a repair the model continues exactly there", "repairs need another way"
    ),
    ProbeQuestion(
        "assistant prefill", _prefill, "a chat can resume inside an answer", "a chat resumes by an extra turn"
    ),
    ProbeQuestion(
        "resume in reasoning",
        _reasoning,
        "a correction in the reasoning continues there",
        "a correction in a reasoning field may start another turn",
    ),
    ProbeQuestion(
        "way of resuming",
        _way,
        "a correction continues exactly at the cut",
        "after a correction, the model is asked to continue in another turn",
    ),
    ProbeQuestion("logprobs", _logprobs, "confidence can be measured", "stopping rules on confidence do not work"),
    ProbeQuestion("cached tokens", _cached, "the cost of a resume is counted", "the cost of a resume is not known"),
    ProbeQuestion("seed", _seed, "runs can be repeated and compared in pairs", "compare many runs, not single ones"),
    ProbeQuestion("abort", _abort, "closing a stream stops its cost", "cut text may continue to cost tokens"),
)
"""The questions of :func:`probe`, in order."""


_Adapter: TypeAlias = CompletionsModel | ChatModel


async def _resumed(prober: Prober, adapter: _Adapter, prompt: Prompt) -> _Observation:
    """Stream an answer, cut it, and find out whether a second stream continues it."""
    whole, _ = await _streamed(prober, adapter, Request(prompt, sampling=_GREEDY))
    kept = _first_words(whole)
    rest, resumed, _ = await chunks_of(prober, adapter, Request(prompt, (Piece(kept),), _GREEDY))
    if resumed == "turn":  # the adapter takes a turn if the server refuses a prefill
        return _Observation("no", "the server refuses an unfinished turn of the assistant")
    return _continued(whole, kept, "".join(chunk.text for chunk in rest))


async def _streamed(prober: Prober, adapter: _Adapter, request: Request) -> tuple[str, Usage | None]:
    """Send *request* with *adapter*.

    Return the text of its stream, with reasoning, and its token counts, if it has any.
    """
    chunks, _, _ = await chunks_of(prober, adapter, request)
    usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
    return "".join(chunk.text for chunk in chunks), usage


class _ReadStream(NamedTuple):
    """The chunks of a stream, and also its resume mode and its token ids, if it has them."""

    chunks: list[Chunk]
    resumed: ResumeMode | None
    trail: object | None


async def chunks_of(prober: Prober, adapter: _Adapter, request: Request) -> _ReadStream:
    """Send *request* with *adapter*, read the stream to its end, and close it.

    Raises :class:`ModelError` if the request or the stream fails, or if a read takes too long.
    """
    stream = await adapter.stream(request)
    found: list[Chunk] = []
    try:
        while chunks := await _receive(stream, prober.timeouts):
            found += chunks
    finally:
        await stream.aclose()
    return _ReadStream(found, stream.way.mode if stream.way else None, stream.trail)


async def _receive(stream: Stream, timeouts: Timeouts) -> list[Chunk]:
    try:
        with anyio.fail_after(timeouts.inter_token):
            return list(await stream.receive())
    except TimeoutError as error:
        raise StreamTimeout("inter_token", timeouts.inter_token or 0.0) from error


async def _busy(prober: Prober) -> bool | None:
    """Return whether the server is generating now; ``None`` if this is unknown. Only llama.cpp and vLLM report it."""
    try:
        slots = msgspec.json.decode(await prober.get(f"{prober.root}/slots"), type=list[SlotState])
        return any(slot.is_processing for slot in slots)
    except (UpstreamError, *DECODE_ERRORS):
        pass
    try:
        metrics = (await prober.get(f"{prober.root}/metrics")).decode(errors="replace")
    except UpstreamError:
        return None
    counts = [line.rpartition(" ")[2] for line in metrics.splitlines() if line.startswith("vllm:num_requests_running")]
    return any(float(count) > 0 for count in counts) if counts else None


def _first_words(text: str) -> str:
    """Return the beginning of *text*, if possible up to a space in its first half."""
    return text[: text.rfind(" ", 1, max(2, len(text) // 2 + 1))] if " " in text[1:] else text[: len(text) // 2]


def _continued(whole: str, kept: str, rest: str) -> _Observation:
    if not kept.strip():
        return _Observation("unknown", f"the text was too short: {whole[:30]!r}")
    expected = whole[len(kept) :]
    if rest and (rest.startswith(expected) or expected.startswith(rest)):
        return _Observation("ok", "the continuation of a cut text equals the text that was cut")
    if rest.strip().startswith(kept.strip()[:20]):
        return _Observation("no", "the text starts again instead of continuing")
    return _Observation("unknown", f"the continuation differs: expected {expected[:30]!r}, got {rest[:30]!r}")
