"""Three requests to a real endpoint, from which the rates of a planner follow."""

from __future__ import annotations

import time
from collections.abc import Callable

from interwhen.models.base import Model, Request, Route, Sampling
from interwhen.planning.rates import Probe, Rates, calibrate

_SHORT = 20
_LONG = 120
"""Lines of the two probes; fewer of the second where the context is short."""
_WRITTEN = 17


async def probe_rates(model: Model, *, mark: str = "probe", clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Return what requests to *model* take, by three short ones. They cost about two thousand tokens.

    *mark* begins their prompts: it should be new at each time, or the server may hold them still. Raises
    :class:`~interwhen.errors.ModelError`, and :class:`~interwhen.errors.UsageError` where they show nothing.
    """
    await _ask(model, f"{mark}:\n", 1, "live", clock)  # not counted: the first request of all opens and loads things
    short = await _ask(model, _lines(f"{mark} a", _SHORT), 1, "prefill", clock)
    context = (await model.capabilities()).context_tokens
    most = _LONG if context is None else int(0.5 * context / max(short.prefilled, 1) * _SHORT)
    text = _lines(f"{mark} b", max(min(_LONG, most), 2 * _SHORT))
    long = await _ask(model, text, 1, "prefill", clock)
    warm = await _ask(model, text, _WRITTEN, "live", clock)
    return calibrate(short, long, warm)


async def _ask(model: Model, text: str, tokens: int, route: Route, clock: Callable[[], float]) -> Probe:
    request = Request(text, (), Sampling(max_tokens=tokens, temperature=0.0), side="Count on:", route=route)
    begun = clock()
    usage = (await model.complete(request)).usage
    seconds = clock() - begun
    size = len(text) // 4 if usage.prompt_tokens is None else usage.prompt_tokens
    cached = usage.cached_tokens or 0
    return Probe(max(size - cached, 1), usage.completion_tokens or tokens, seconds)


def _lines(mark: str, count: int) -> str:
    return "".join(f"{mark}: {number} + 7 = {number + 7}\n" for number in range(10, 10 + count))
