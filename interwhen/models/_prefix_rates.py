"""Decides whether a server reads a prefix again or restores its saved state, by one formula with measured rates."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import msgspec

from interwhen._types.errors import ModelError
from interwhen.models._openai_api import read_json, write_json

Exchange = Callable[[Literal["GET", "POST"], str, bytes], Awaitable[bytes]]
"""Sends the method, the path and the body to a server, and returns the body of the answer."""


class PrefixRates(NamedTuple):
    prefill: float
    """Prompt tokens read in a second."""
    restored: float
    """Bytes of a saved state restored in a second; infinity if no time for them could be measured."""
    token_bytes: float
    """Bytes of a saved state for each token."""
    restore: float
    """Seconds that a restore takes beside its bytes."""

    def pays(self, tokens: float) -> bool:
        return self.restore + tokens * self.token_bytes / self.restored < tokens / self.prefill

    @property
    def break_even(self) -> float | None:
        gain = 1.0 / self.prefill - self.token_bytes / self.restored
        return self.restore / gain if gain > 0.0 else None


# Measures the rates on a llama.cpp server: a short and a long prompt are read, saved and restored in one slot.

_REPEATS = 5
_SHORT, _LONG = 64, 512
"""The lengths of the two prompts in characters, at most a quarter and a half of the context."""
_TEXT = "".join(f"{number} + 7 = {number + 7}\n" for number in range(10, 10 + _LONG // 10))


class _Timings(msgspec.Struct, frozen=True):
    prompt_n: int
    prompt_ms: float


class _Read(msgspec.Struct, frozen=True):
    timings: _Timings


class SavedState(msgspec.Struct, frozen=True):
    """The answer of ``POST /slots/N?action=save``."""

    n_saved: int = 0
    n_written: int = 0


class _Probe(NamedTuple):
    tokens: int
    size: int
    read: float
    """Seconds to read the prompt."""
    restored: float
    """Seconds to restore its state."""


_reads = msgspec.json.Decoder(_Read)
saved_states = msgspec.json.Decoder(SavedState)


async def slot_action(exchange: Exchange, slot: int, action: Literal["save", "restore"], file: str) -> bytes:
    return await exchange("POST", f"/slots/{slot}?action={action}", write_json({"filename": file}))


async def measure_prefix_rates(
    exchange: Exchange, *, slot: int, context: int, file: str, clock: Callable[[], float] = time.perf_counter
) -> PrefixRates:
    """Measure the rates of the llama.cpp server behind *exchange*, in its slot *slot*, which must be free.

    *context* is in tokens. The states are saved in *file*, in the server's folder for states.
    """
    short = [await _probe(exchange, slot, _TEXT[: min(_SHORT, context // 4)], file, clock) for _ in range(_REPEATS)]
    long = [await _probe(exchange, slot, _TEXT[: min(_LONG, context // 2)], file, clock) for _ in range(_REPEATS)]
    tokens = long[0].tokens - short[0].tokens
    size = long[0].size - short[0].size
    # The medians leave out the first prompts, which are slower.
    read = statistics.median(one.read for one in long) - statistics.median(one.read for one in short)
    if read <= 0.0:
        raise ModelError("a longer prompt must take longer; it did not, so measure again when the server is idle")
    begun = statistics.median(one.restored for one in short)
    # A file is read from memory faster than a busy machine can tell.
    moved = max((statistics.median(one.restored for one in long) - begun) / size, 0.0)
    return PrefixRates(
        prefill=tokens / read,
        restored=1.0 / moved if moved else math.inf,
        token_bytes=size / tokens,
        restore=max(begun - moved * short[0].size, 0.0),
    )


async def _probe(exchange: Exchange, slot: int, text: str, file: str, clock: Callable[[], float]) -> _Probe:
    body = {"prompt": text, "n_predict": 1, "id_slot": slot, "cache_prompt": False}
    read = read_json(await exchange("POST", "/completion", write_json(body)), _reads).timings
    saved = read_json(await slot_action(exchange, slot, "save", file), saved_states)
    begun = clock()
    await slot_action(exchange, slot, "restore", file)
    return _Probe(read.prompt_n, saved.n_written, read.prompt_ms / 1000.0, clock() - begun)
