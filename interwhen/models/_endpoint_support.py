"""How an endpoint continues the kept text of a chat: asks the endpoint, remembers the proof, and chooses the way."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import anyio
import anyio.to_thread
import msgspec

from interwhen._types.errors import DECODE_ERRORS, ModelError, StreamTimeout
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import Chunk, Piece, ResumeWay, Stream
from interwhen._types.segments import Phase, sha256
from interwhen.models._chunks import ModelCard, rendered_decoder
from interwhen.models._token_resume import shared

# Find out how an endpoint continues the kept text of a chat, remember it, and choose the way for a request.
#
# A server may close an unfinished assistant message, drop the reasoning in it, or start again, and it reports no error.
# So the endpoint is asked before this way is called ``prefill``:
#
# * llama.cpp renders messages without generating (``/apply-template``). The prompt must end with the kept text. This
#   costs no token and takes no slot.
# * Other servers generate three short answers: a first one, and two that continue a cut of it. Such a probe runs if the
#   server names itself as one that users run themselves, or if the user asks for it.

ResumeProbe = Literal["auto", "always", "never"]
"""Which endpoints may be probed by requests that generate tokens. ``auto``: those of ``SELF_HOSTED``. ``always``: any
server, also one that bills the tokens. ``never``: none, and no other probe runs."""
LLAMACPP = "llamacpp"
VLLM = "vllm"
SELF_HOSTED = frozenset({LLAMACPP, "sglang", VLLM})
"""By the name in their model list."""
PROVEN_SECONDS = 600.0
"""How long a proof is believed in one process."""
FILE_SECONDS = 86_400.0
"""How long a proof in a file is believed."""
FOLDER_VARIABLE = "INTERWHEN_PROBE_CACHE"
"""The environment variable with the folder for proofs; without it, they are kept in memory only."""
WAIT_SECONDS = 2.0
"""How long a resume waits at most for a running probe."""
PROBE_SECONDS = 60.0
"""The longest time for reading one stream of a probe."""
MOST_PROBES = 3
"""After so many cancelled probes, none is begun for ``PROVEN_SECONDS``."""


class ResumeProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an endpoint was observed to treat an unfinished assistant message."""

    # A field is `None` if this was not observed.

    server: str
    """The name of the server, and its version if it is known."""
    answer: bool | None = None
    """Whether a cut in the answer is continued."""
    field: bool | None = None
    """Whether a cut in the reasoning is continued, if the message has the reasoning in its field."""
    tags: bool | None = None
    """Whether a cut in the reasoning is continued, if the content has the reasoning between tags."""
    evidence: str = ""
    """How this was observed. It may quote the server."""
    generated: bool = False
    """False if the server only rendered prompts, without generating."""


class ProofWire(NamedTuple):
    """Sends the requests of a probe to one endpoint. Paths do not include the version (``/v1``)."""

    # Each function raises `ModelError` if its request fails.

    get: Callable[[str], Awaitable[bytes]]
    post: Callable[[str, dict[str, Any]], Awaitable[bytes]]
    chat: Callable[[dict[str, Any]], Awaitable[Stream]]


BY_IDS = ResumeWay("tokens", "the server sends token ids, and a prompt of token ids continues after any token")
AFTER_CALLS = ResumeWay("turn", "an assistant message with tool calls cannot be left unfinished")
NO_IDS = "the server does not tokenize a chat"
NOT_RAW = "a chat with such tools is not continued by token ids"
PREFILL_REFUSED = "the server has refused an unfinished assistant message"


def continues_raw(chat: Mapping[str, Any]) -> bool:
    # Whether `/v1/completions` can continue the answer to `chat`, the fields of a request.
    tools = chat.get("tools") or ()
    return (
        not chat.get("functions")
        and chat.get("tool_choice") in (None, "auto", "none")
        and all(isinstance(tool, Mapping) and tool.get("type", "function") == "function" for tool in tools)
    )


def why_turn(card: ModelCard | None) -> str:
    if card is None:
        return "the model list could not be read, so it is not known whether the server continues an assistant message"
    return (
        f"the model list names {card.owned_by!r}, which is not documented to continue an assistant message, and a "
        "probe costs tokens: allow it with probe='always'"
    )


def why_unproven(card: ModelCard | None, probe: ResumeProbe) -> str:
    name = repr(card.owned_by) if card else "the server"
    if probe == "never":
        return f"probe='never' forbids to find out how {name} continues an assistant message"
    return f"no probe has shown yet how {name} continues an assistant message"


def with_tags(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    # Without an answer, no tag ends the reasoning, so that the model continues it.
    tagged: list[Piece] = []
    phase: Phase = "answer"
    for piece in pieces:
        if piece.phase != phase:
            tagged.append(Piece(OPENING if piece.phase == "reasoning" else CLOSING))
            phase = piece.phase
        tagged.append(piece)
    return tuple(tagged)


def choose_prefill(
    proof: ResumeProof | None,
    pieces: Sequence[Piece],
    *,
    has_field: bool,
    documented: bool,
    by_ids: bool,
    why_unproven: str,
) -> ResumeWay:
    """Decide how to let a chat model continue after *pieces*, the text of the assistant so far.

    *has_field*: the server sends reasoning in a separate field. *documented*: its documentation says that it continues
    an unfinished assistant message. *by_ids*: it can also continue token ids. *why_unproven* is the reason to report
    without *proof*.
    """
    phase: Phase = next((piece.phase for piece in reversed(pieces) if piece.text), "answer")
    in_field = has_field and any(piece.phase == "reasoning" for piece in pieces)
    if proof is None:
        if documented and not (in_field and phase == "reasoning"):
            return ResumeWay("unproven_prefill", f"{why_unproven}; the server is documented to continue the message")
        return ResumeWay("turn", why_unproven)
    if in_field and phase == "reasoning":
        if proof.field:
            return ResumeWay("prefill", f"{proof.server}: {proof.evidence}", "field")
        # A rendered prompt does not show in which field the continuation comes. After an opening tag in the content, it
        # may come as an answer, with the closing tag in it.
        if proof.tags and proof.generated:
            return ResumeWay("prefill", f"{proof.server}: {proof.evidence}", "tags")
        return _otherwise(f"{proof.server} does not continue inside the reasoning: {proof.evidence}", by_ids=by_ids)
    known = proof.tags if not has_field and has_tags(pieces) else proof.answer
    if known:
        return ResumeWay("prefill", f"{proof.server}: {proof.evidence}", "field" if in_field else None)
    return _otherwise(f"{proof.server} does not continue an assistant message: {proof.evidence}", by_ids=by_ids)


def _otherwise(why: str, *, by_ids: bool) -> ResumeWay:
    return ResumeWay("tokens" if by_ids else "turn", why)


OPENING, CLOSING = "<think>", "</think>"


def has_tags(pieces: Sequence[Piece]) -> bool:
    return any(OPENING in piece.text for piece in pieces)


_MARK = "One and two and three"
QUESTION = "Start with 64. Add 129. Multiply by 3. What is the result?"
# A cut inside a word: a new message of a model that only saw the text would not begin with the rest of the word.
_COUNT, _NEXT = "The days of the week are Monday, Tuesday, Wednes", "day"
_FIRST_TOKENS, _NEXT_TOKENS = 64, 12
_SAME = 8
"""So many equal characters prove a continuation."""
_VERSIONS = {VLLM: ("version", "version"), LLAMACPP: ("props", "build_info"), "sglang": ("server_info", "version")}
"""For each server: the path that has its version, and the field there."""


class Proven(NamedTuple):
    """*proof* is ``None`` if nothing was observed, and *tokens* what the probe cost."""

    proof: ResumeProof | None
    tokens: int


async def server_of(get: Callable[[str], Awaitable[bytes]], card: ModelCard | None) -> str:
    # The first space stands before the version, by which `_read` and `_write` know that there is one.
    owner = "-".join((card.owned_by or "").split() if card else ()) or "unknown-server"
    path, field = _VERSIONS.get(owner, ("", ""))
    if not path:
        return owner
    try:
        body = msgspec.json.decode(await get(path))
    except (ModelError, *DECODE_ERRORS):
        return owner
    version = body.get(field) if isinstance(body, dict) else None
    return f"{owner} {version:.80}" if isinstance(version, str) else owner


async def prove(wire: ProofWire, model: str, server: str, *, generates: bool) -> Proven:
    # A failed request does not raise `ModelError`: then nothing is proven.
    if server.partition(" ")[0] == LLAMACPP:
        try:
            return Proven(await _by_template(wire, server), 0)
        except (ModelError, *DECODE_ERRORS) as error:
            log_info("probe.template_unknown", server=server, error=type(error).__name__)
    if not generates:
        return Proven(None, 0)
    probe = _TextProbe(wire, model, server)
    try:
        return Proven(await probe.run(), probe.tokens)
    except ModelError as error:
        log_info("probe.failed", server=server, error=type(error).__name__)
        return Proven(None, probe.tokens)


async def _by_template(wire: ProofWire, server: str) -> ResumeProof:
    question = {"role": "user", "content": "Q"}

    async def rendered(**message: str) -> str:
        turns = [question, {"role": "assistant", **message}] if message else [question]
        return rendered_decoder.decode(await wire.post("apply-template", {"messages": turns})).prompt.rstrip()

    start = await rendered()
    answer = (await rendered(content=_MARK)).endswith(_MARK)
    field = (await rendered(reasoning_content=_MARK, content="")).endswith(_MARK)
    # A template may write an empty reasoning before the content. Then the tags in the content are a second one.
    tags = await rendered(content=f"{OPENING}\n{_MARK}") == f"{start}{OPENING}\n{_MARK}"
    places = [name for name, does in (("answer", answer), ("reasoning field", field), ("tags", tags)) if does]
    return ResumeProof(
        server, answer, field, tags, f"its prompt ends with the kept text in: {', '.join(places) or 'no place'}"
    )


class _TextProbe:
    """Cuts an answer of the model, and compares the continuations with the text that was cut off."""

    def __init__(self, wire: ProofWire, model: str, server: str) -> None:
        self._wire = wire
        self._model = model
        self._server = server
        self.tokens = 0

    async def run(self) -> ResumeProof:
        reasoning, answer = await self._ask(_FIRST_TOKENS)
        field = tags = continued = None
        if reasoning.strip():
            kept = reasoning[: half(reasoning)]
            field = await self._continues(reasoning, kept, "reasoning", {**_both_fields(kept), "content": ""})
            if not field:
                tags = await self._continues(reasoning, kept, "reasoning", {"content": OPENING + kept})
        elif answer.lstrip().startswith(OPENING):
            inside = answer.partition(CLOSING)[0]
            kept = inside[: half(inside)]
            tags = await self._continues(inside, kept, "answer", {"content": kept})
            answer = ""
        if tags and not reasoning:
            continued = True  # the reasoning is part of the content there
        elif len(answer.strip()) > _SAME:
            kept = answer[: half(answer)]
            continued = await self._continues(answer, kept, "answer", {**_both_fields(reasoning), "content": kept})
        else:
            _, text = await self._ask(_NEXT_TOKENS, {"content": _COUNT})
            continued = text.startswith(_NEXT)
        names = {"answer": continued, "reasoning field": field, "tags": tags}
        seen = [
            f"{name} {'continued' if does else 'not continued'}" for name, does in names.items() if does is not None
        ]
        return ResumeProof(
            self._server, continued, field, tags, f"a probe cut a text: {', '.join(seen)}", generated=True
        )

    async def _continues(self, whole: str, kept: str, phase: Phase, message: dict[str, str]) -> bool:
        # A refusal shows that the server does not continue. A retryable error shows nothing, so it is raised.
        try:
            reasoning, answer = await self._ask(_NEXT_TOKENS, message)
        except ModelError as error:
            if error.retryable:
                raise
            return False
        got, expected = reasoning if phase == "reasoning" else answer, whole[len(kept) :]
        size = shared(got, expected)
        again = shared(got, whole)
        return size >= min(_SAME, len(expected)) > 0 and size > again

    async def _ask(self, most: int, kept: dict[str, str] | None = None) -> tuple[str, str]:
        # `kept` is an unfinished assistant message, which the model is asked to continue.
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": most,
            "temperature": 0,
        }
        if kept is not None:
            body["messages"].append({"role": "assistant", **kept})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        chunks = await _read_all(self._wire, body)
        usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
        made = sum(chunk.tokens for chunk in chunks)
        self.tokens += made if usage is None else (usage.prompt_tokens or 0) + (usage.completion_tokens or made)
        texts = {"reasoning": "", "answer": ""}
        for chunk in chunks:
            texts[chunk.phase] += chunk.text
        return texts["reasoning"], texts["answer"]


async def _read_all(wire: ProofWire, body: dict[str, Any]) -> list[Chunk]:
    all_chunks: list[Chunk] = []
    with anyio.move_on_after(PROBE_SECONDS):
        stream = await wire.chat(body)
        try:
            while chunks := await stream.receive():
                all_chunks += chunks
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
        return all_chunks
    raise StreamTimeout("total", PROBE_SECONDS)


def half(text: str) -> int:
    # Return an offset in the first half of `text`, before a space if possible, because tokens usually begin there.
    space = text.rfind(" ", 1, len(text) // 2 + 1)
    return space if space > 0 else len(text) // 2


def _both_fields(reasoning: str) -> dict[str, str]:
    # Servers read one of the two names and ignore the other one.
    return {"reasoning": reasoning, "reasoning_content": reasoning} if reasoning else {}


# Remembering the proof of an endpoint: in memory, and in a file if the user names a folder.


class EndpointProof:
    """Remembers how the model and server *place* were observed to continue kept text."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._proof: ResumeProof | None = None
        self._until = 0.0
        self._begun = 0
        self._running: anyio.Event | None = None

    @property
    def is_known(self) -> bool:
        return anyio.current_time() < self._until

    @property
    def known(self) -> ResumeProof | None:
        return self._proof if self.is_known else None

    async def learn(
        self, wire: ProofWire, model: str, card: ModelCard | None, probe: ResumeProbe, *, generates: bool = True
    ) -> int:
        """Find out how *model* continues kept text, unless this is known or being found out.

        Return how many tokens this took. If a folder for proofs is set, a proof of an earlier process may be used
        instead. If *generates* is false, no request that generates a token is sent; if it is true, *probe* says to
        which servers such requests may be sent.
        """
        if self.is_known or self._running is not None or probe == "never":
            return 0
        owner = card.owned_by if card else None
        may_generate = generates and (probe == "always" or owner in SELF_HOSTED)
        self._running = anyio.Event()
        try:
            server = await server_of(wire.get, card)
            proof = await _read(self.place, server)
            tokens = 0
            if proof is None:
                generates = may_generate and self._begun < MOST_PROBES
                self._begun += generates
                proof, tokens = await prove(wire, model, server, generates=generates)
                await _write(self.place, proof)
            # A probe that was cancelled too often is not begun again before PROVEN_SECONDS have passed, either.
            if proof is not None or may_generate:
                self._remember(proof)
            return tokens
        finally:
            self._running.set()
            self._running = None

    async def wait(self) -> None:
        if self._running is not None:
            with anyio.move_on_after(WAIT_SECONDS):
                await self._running.wait()

    def _remember(self, proof: ResumeProof | None) -> None:
        self._proof, self._until, self._begun = proof, anyio.current_time() + PROVEN_SECONDS, 0
        log_info(
            "endpoint.resume_proven",
            model=self.place,
            answer=proof.answer if proof else None,
            field=proof.field if proof else None,
            tags=proof.tags if proof else None,
            seconds=PROVEN_SECONDS,
        )


_FORMAT = 1
_MOST_BYTES = 8192
"""The largest size of a file with a proof, in bytes."""


class _StoredProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file with a proof."""

    format: int
    place: str
    """The name of the model and its server."""
    until: float
    """When the proof expires, in seconds since 1970."""
    proof: ResumeProof


_stored = msgspec.json.Decoder(_StoredProof)


def _path_of(place: str, server: str) -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    # `server` is a name and a version, so that an updated server does not keep its proof.
    return Path(folder) / f"{sha256(f'{place} {server}')[:40]}.json"


async def _read(place: str, server: str) -> ResumeProof | None:
    path = _path_of(place, server)
    if path is None or " " not in server:
        return None
    stored_proof = await anyio.to_thread.run_sync(load_proof, path)
    if stored_proof is None or stored_proof.place != place or stored_proof.proof.server != server:
        return None
    return stored_proof.proof


async def _write(place: str, proof: ResumeProof | None) -> None:
    path = None if proof is None else _path_of(place, proof.server)
    if path is None or proof is None or " " not in proof.server:
        return
    stored = _StoredProof(_FORMAT, place, time.time() + FILE_SECONDS, proof)
    await anyio.to_thread.run_sync(save_proof, path, stored)


def load_proof(path: Path) -> _StoredProof | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        log_warning("probe.file_ignored", path=str(path), why=error.strerror or type(error).__name__)
        return None
    try:
        with os.fdopen(descriptor, "rb") as file:
            if why := _flaw(os.fstat(file.fileno())):
                log_warning("probe.file_ignored", path=str(path), why=why)
                return None
            stored_proof = _stored.decode(file.read(_MOST_BYTES))
    except (OSError, *DECODE_ERRORS) as error:
        log_warning("probe.file_ignored", path=str(path), why=type(error).__name__)
        return None
    now = time.time()
    return stored_proof if stored_proof.format == _FORMAT and now < stored_proof.until <= now + FILE_SECONDS else None


def _flaw(state: os.stat_result) -> str:
    if not stat.S_ISREG(state.st_mode):
        return "it is not a regular file"
    if hasattr(os, "getuid") and state.st_uid != os.getuid():
        return "it belongs to another user"
    if hasattr(os, "getuid") and state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write it"
    return "it is too large" if state.st_size > _MOST_BYTES else ""


def save_proof(path: Path, stored: _StoredProof) -> None:
    # A new name each time: a file that a killed process or a full disk left is not in the way.
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(stored))
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        log_warning("probe.file_not_written", path=str(path), why=error.strerror or type(error).__name__)
