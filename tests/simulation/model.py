"""The simulated model and its server: streams the text of the world, with the faults of the world."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import anyio
import anyio.lowlevel
from interwhen._types.errors import ConnectError, ContextOverflow, StreamProtocolError, UpstreamError
from interwhen._types.models import Capabilities, Chunk, Completion, FinishReason, Request, Retries, Timeouts, Usage
from interwhen.models._token_stream import GuardedStream
from tests.simulation.truth import claims_in
from tests.simulation.worlds import AT_OPENING, TAGS, TextPart, WireFault, World, go_on

SEED = 1000
"""The sampling seed of generation 0. The seed of a request minus this one is its generation."""
TIMER = 8.0
"""The timeout for silence of the model, in seconds."""
ADAPTER_DEFECT = "simulated fault, which the run must handle: the adapter has a defect"
"""The message of the exception that a simulated adapter raises because of a defect."""
SILENCE = min(Timeouts().idle or TIMER, TIMER / 2)
"""The silence after which monitors look at unfinished text, in seconds."""
_ENDS: dict[str, FinishReason] = {"length": "length", "filtered": "content_filter"}


@dataclass(slots=True)
class SentRequest:
    """A request to the simulated model, and the chunks that the model sent for it. The engine does not write this."""

    request: Request
    generation: int
    """How many rewinds came before it."""
    chunks: list[Chunk] = field(default_factory=list)
    """The chunks that were delivered before the end of the run."""
    tokens: int = 0
    """Tokens of these chunks, and those that the journal counted after the end of the run."""
    reads: int = 0
    """How many reads of the stream have returned."""
    opened: bool = False
    """Whether the server accepted the request."""
    closed: bool = False
    ended: FinishReason | None = None
    """The finish reason of the model."""
    whole: bool = False
    """Whether the stream was read to its end."""
    fault: str = ""
    """The last fault that happened, apart from ``deaf``; empty if there was none."""
    deaf: bool = False
    """Whether the server did not notice that the stream was closed."""
    turn: int = 0
    """The iteration of the event loop in which the request was sent."""
    chunks_before: int = 0
    """The number of chunks that the process had received before this request."""

    def keep(self, count: int) -> None:
        # Remove all chunks after the first `count` ones, because the process died before the journal had them.
        if count >= len(self.chunks):
            return
        self.chunks = self.chunks[:count]
        self.tokens = sum(chunk.tokens for chunk in self.chunks)
        self.reads = min(self.reads, count)
        self.ended = next((chunk.finish_reason for chunk in reversed(self.chunks) if chunk.finish_reason), None)
        self.whole = False


class SimulatedModel:
    """The model of one world. ``sent`` records the requests for streams, also those that were refused."""

    # When a process is killed, only the streams and chunks in the journal remain in `sent`.

    name = "simulated"

    def __init__(self, world: World) -> None:
        self.world = world
        self.timeouts = Timeouts(connect=None, first_token=TIMER, inter_token=TIMER, total=world.limits.total)
        self.retries = Retries(rng=random.Random(world.seed))
        self.sent: list[SentRequest] = []
        self.fork_prefixes: list[str] = []
        self.fork_tokens = 0
        """Generated tokens of all forks that were answered without a fault."""
        self.fork_prompt_tokens = 0
        """Prompt tokens of these forks; 0 if the server of this world does not count them."""
        self.fork_faults = 0
        """How many forks met the fault of the world."""
        self.open_forks = 0
        """How many forks wait for an answer now."""
        self.closed = False
        self.is_over: Callable[[], bool] = lambda: False
        """A function that returns whether the run has ended."""
        self.requests = 0
        """The number of requests, including those that are not in a journal."""
        self.taken = 0
        """The number of chunks that this process has certainly received."""
        self.is_cut_off = False
        """Whether the process is dead: actions of its remaining tasks then have no effect."""
        self._first = 0
        self._delivered = 0

    async def capabilities(self) -> Capabilities:
        tags = TAGS if self.world.thinking in ("tags", "opened") else None
        return Capabilities(resume="prefix", think_tags=tags)

    async def stream(self, request: Request) -> SimulatedStream:
        # Raises an error or waits if the world has a fault for it. Raises `LostTextError` if the model cannot have
        # written the text of `request`.
        number = self.requests
        self.requests += 1
        sent = SentRequest(request, (request.sampling.seed or SEED) - SEED)
        sent.turn = getattr(asyncio.get_running_loop(), "turns", 0)
        self.taken = sent.chunks_before = self._delivered
        self.sent.append(sent)
        parts = list(go_on(self.world, request.pieces, sent.generation))
        faults = {wire.kind: wire for wire in self.world.wires if wire.request == number}
        for kind in AT_OPENING:
            if kind in faults:
                sent.fault = kind
                await _fail_opening(faults[kind])
        await anyio.lowlevel.checkpoint()
        sent.opened = True
        return SimulatedStream(self, sent, parts, tuple(faults.values()))

    async def complete(self, request: Request) -> Completion:
        # If the world has a fault for the last claim, raise, hang or answer with garbage.
        world, prefix = self.world, request.prefix
        self.fork_prefixes.append(prefix)
        self.open_forks += 1
        try:
            return await self._answer(world, prefix)
        finally:
            self.open_forks -= 1

    async def _answer(self, world: World, prefix: str) -> Completion:
        await anyio.sleep(world.fork_seconds)
        claims = claims_in(prefix)
        if claims and world.fork_fault != "none" and claims[-1].left_side == world.fork_fault_about:
            self.fork_faults += 1
            match world.fork_fault:
                case "raises":
                    raise UpstreamError(
                        "simulated fault, which the run must handle: the server refuses forks", status=500
                    )
                case "hangs":
                    await anyio.sleep_forever()
                case "garbled":
                    return Completion("!", "stop", Usage(completion_tokens=1))
                case _:
                    assert_never(world.fork_fault)
        self.fork_tokens += len(claims)
        self.fork_prompt_tokens += len(prefix) if world.counts else 0
        usage = Usage(prompt_tokens=len(prefix) if world.counts else None, completion_tokens=len(claims))
        return Completion("; ".join(claim.text for claim in claims), "stop", usage)

    def counted(self, request: Request) -> Usage | None:
        # Each character of the trace is one token, and the question is one more. Half of the tokens are cached. `None`
        # if the server of this world does not count.
        size = 1 + len(request.prefix)
        return Usage(prompt_tokens=size, cached_tokens=size // 2) if self.world.counts else None

    async def aclose(self) -> None:
        self.closed = True

    # ------------------------------------------------------------------ processes

    @property
    def sent_now(self) -> list[SentRequest]:
        return self.sent[self._first :]

    def begin(self) -> None:
        self._first = len(self.sent)
        self.taken = self._delivered = 0
        self.is_cut_off = False

    def cut_off(self) -> None:
        self.is_cut_off = True
        for sent in self.sent_now:
            sent.closed = sent.closed or sent.opened

    def remember(self, opened: int, chunks: int, unread: int) -> int:
        """Remove what the journal of a killed process lacks: keep its first *opened* streams and first *chunks* chunks.

        *unread* is the number of tokens that the journal counted after the end of the run. Return how many chunks were
        removed.
        """
        mine, kept = self.sent_now, []
        for sent in mine:
            if not opened:
                break
            kept.append(sent)
            opened -= sent.opened
        self.sent[self._first :] = kept
        for sent in kept:
            count = min(len(sent.chunks), chunks)
            chunks -= count
            sent.keep(count)
        if kept:
            kept[-1].tokens += unread
        return self._delivered - sum(len(sent.chunks) for sent in kept)

    def deliver(self, sent: SentRequest, chunks: Sequence[Chunk]) -> None:
        # After the end of the run, only the read is recorded, and nothing if the process is dead.
        if self.is_cut_off:
            return
        sent.reads += 1
        if not self.is_over():
            self._delivered += len(chunks)
            sent.chunks.extend(chunks)
            sent.tokens += sum(chunk.tokens for chunk in chunks)

    def asks(self) -> None:
        # Record that a read begins. This shows that the process has received the chunks of earlier reads.
        if not self.is_cut_off:
            self.taken = self._delivered


async def _fail_opening(wire: WireFault) -> None:
    match wire.kind:
        case "refused":
            raise ConnectError("simulated fault, which the run must handle: the connection was refused")
        case "busy":
            raise UpstreamError(
                "simulated fault, which the run must handle: the server is overloaded (503)", status=503
            )
        case "rejected":
            raise UpstreamError(
                "simulated fault, which the run must handle: the server refused the request (400)", status=400
            )
        case "overflow":
            raise ContextOverflow("simulated fault, which the run must handle: the context is full (400)", status=400)
        case "mute":
            await anyio.sleep_forever()
        case "slow":
            await anyio.sleep(TIMER / 2)
        case _:
            raise AssertionError(wire)


class SimulatedStream(GuardedStream):
    """A stream of chunks of the simulated model, perhaps with a fault after a number of characters."""

    def __init__(
        self, model: SimulatedModel, sent: SentRequest, parts: Sequence[TextPart], faults: tuple[WireFault, ...]
    ) -> None:
        super().__init__()
        self._model = model
        self._sent = sent
        self._deaf = any(wire.kind == "deaf" for wire in faults)
        strikes = [wire for wire in faults if wire.kind not in AT_OPENING and wire.kind != "deaf"]
        self._strike = min(strikes, key=lambda wire: wire.at) if strikes else None
        self._chunks = _cut(parts, model.world, self._strike.at if self._strike is not None else math.inf)
        self._calls = any(part.call is not None for part in parts)
        self._at = 0
        self._n = 0

    async def fetch(self) -> Sequence[Chunk]:
        # A fault raises, waits for ever, or ends the stream early.
        chunking, sent = self._model.world.chunking, self._sent
        self._model.asks()
        await anyio.sleep(chunking.gaps[self._n % len(chunking.gaps)])
        self._n += 1
        chunks = self._chunks[self._at : self._at + chunking.together]
        self._at += len(chunks)
        if not chunks:
            chunks = await self._end()
        self._model.deliver(sent, chunks)
        return chunks

    async def release(self) -> None:
        # Nothing happens if the process is dead.
        if self._model.is_cut_off:
            return
        if self._deaf:
            self._sent.deaf = True
            await anyio.sleep_forever()
        self._sent.closed = True

    async def _end(self) -> list[Chunk]:
        sent, strike = self._sent, self._strike
        if sent.whole:
            return []
        if strike is not None and not (strike.kind == "reset_after_stop" and sent.ended is None):
            sent.fault = strike.kind
            self._chunks = []
            return await self._struck(strike)
        if sent.ended is not None:
            sent.whole = True
            return []
        sent.ended = "tool_calls" if self._calls else "stop"
        return [Chunk("", tokens=0, finish_reason=sent.ended, usage=self._model.counted(sent.request))]

    async def _struck(self, strike: WireFault) -> list[Chunk]:
        match strike.kind:
            case "reset" | "reset_after_stop":
                raise ConnectError("simulated fault, which the run must handle: the connection was reset")
            case "garbled":
                raise StreamProtocolError(
                    "simulated fault, which the run must handle: an event is not JSON", offset=self._at
                )
            case "error" | "fatal":
                raise UpstreamError(
                    "simulated fault, which the run must handle: the server sent an error in the stream",
                    status=500 if strike.kind == "error" else 400,
                )
            case "stall":
                await anyio.sleep_forever()
            case "crash":
                raise ValueError(ADAPTER_DEFECT)
            case "truncated":
                self._sent.whole = True
                return []
            case _:
                if self._sent.ended is None:
                    self._sent.ended = _ENDS[strike.kind]
                    usage = self._model.counted(self._sent.request)
                    return [Chunk("", tokens=0, finish_reason=self._sent.ended, usage=usage)]
                self._sent.whole = True
        return []


def _joined(parts: Sequence[TextPart]) -> list[TextPart]:
    # Join neighbouring parts of one phase, except calls, so that a chunk may span several parts.
    joined: list[TextPart] = []
    for part in parts:
        if joined and part.call is None and joined[-1].call is None and joined[-1].phase == part.phase:
            joined[-1] = TextPart(joined[-1].text + part.text, part.phase)
        else:
            joined.append(part)
    return joined


def _cut(parts: Sequence[TextPart], world: World, until: float) -> list[Chunk]:
    # A structured call is always one chunk.
    chunking = world.chunking
    chunks: list[Chunk] = []
    sent = 0
    for part in _joined(parts):
        at = 0
        while at < len(part.text):
            if sent >= until:
                return chunks
            size = len(part.text) if part.call is not None else chunking.sizes[len(chunks) % len(chunking.sizes)]
            text = part.text[at : at + size]
            if part.call is None and sent + len(text) > until:
                text = text[: int(until) - sent]
            tokens = chunking.tokens[len(chunks) % len(chunking.tokens)]
            chunks.append(Chunk(text, part.phase, tokens, call=part.call))
            at += len(text)
            sent += len(text)
    return chunks
