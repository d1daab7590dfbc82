"""The slots of a llama.cpp server, and the states of them that were saved: where a fork can take its prefix from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from interwhen.errors import ModelError
from interwhen.models.base import Prompt, Request, Route
from interwhen.models.openai_compat import read_json
from interwhen.models.prefixes import shared

MOST_SAVED = 16
"""States that are kept; the one that was used longest ago is written over."""
ROUTES: frozenset[Route] = frozenset({"live", "restored", "prefill"})

Exchange = Callable[[Literal["GET", "POST"], str, bytes], Awaitable[bytes]]


class _State(msgspec.Struct, frozen=True):
    """An entry of ``GET /slots``."""

    id: int
    is_processing: bool = False


_states = msgspec.json.Decoder(list[_State])


@dataclass(frozen=True, slots=True)
class _Saved:
    file: str
    prefix: str


class Slots:
    """Chooses a slot for a fork, and restores or saves its state. *shelf* is the folder that the server saves in."""

    def __init__(self, exchange: Exchange, shelf: Path) -> None:
        self._exchange = exchange
        self._shelf = shelf
        self._homes: dict[Prompt, tuple[int, str]] = {}
        """By prompt: the slot that its last fork had, and the prefix that is in it."""
        self._saved: OrderedDict[Prompt, _Saved] = OrderedDict()
        self._files = 0

    def stored(self, request: Request) -> int:
        """Return how many characters of the prefix of *request* are in a saved state."""
        saved = self._saved.get(request.prompt)
        return 0 if saved is None else shared(saved.prefix, request.prefix)

    async def prepare(self, request: Request) -> Request:
        """Return *request* for a slot that is free, made ready as its route says; without a free one, as it is."""
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
        """Save the state of the slot that the last fork of the prompt had, unless another one has it now."""
        home = self._homes.get(request.prompt)
        if home is None or home[1] != request.prefix or await self._free(request.prompt) != home[0]:
            return
        before = self._saved.pop(request.prompt, None)
        if before is None and len(self._saved) >= MOST_SAVED:
            _, before = self._saved.popitem(last=False)
        if before is None:
            self._files += 1
        file = f"fork-{self._files}.kv" if before is None else before.file
        await self._act(home[0], "save", file)
        self._saved[request.prompt] = _Saved(file, request.prefix)

    def clear(self) -> None:
        """Delete what was saved."""
        for saved in self._saved.values():
            (self._shelf / saved.file).unlink(missing_ok=True)
        self._saved.clear()

    async def _free(self, prompt: Prompt) -> int | None:
        """Return the slot of the prompt's last fork, or another one that is free, best one that is nobody's."""
        states = read_json(await self._exchange("GET", "/slots", b""), _states)
        free = [state.id for state in states if not state.is_processing]
        home = self._homes.get(prompt)
        if home is not None and home[0] in free:
            return home[0]
        taken = {slot for slot, _ in self._homes.values()}
        # A main stream goes to the slot that is most like it; forks begin at the other end.
        return max(free, key=lambda slot: (slot not in taken, slot), default=None)

    async def _restore(self, slot: int, prompt: Prompt) -> None:
        saved = self._saved.get(prompt)
        if saved is None:
            return
        try:
            await self._act(slot, "restore", saved.file)
        except ModelError:
            del self._saved[prompt]  # It is read anew then, and not tried again.
            return
        self._saved.move_to_end(prompt)

    async def _act(self, slot: int, action: str, file: str) -> None:
        await self._exchange("POST", f"/slots/{slot}?action={action}", msgspec.json.encode({"filename": file}))
