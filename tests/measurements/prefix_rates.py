"""Measures whether the formula for restoring a prefix names the faster way, on llama.cpp with saved slots.

``python -m tests.measurements.prefix_rates [--model local:FILE.gguf] [--lengths N] [--repeats N]``
"""

import argparse
import statistics
import tempfile
import time

import anyio
from interwhen import Sampling
from interwhen._types.models import Piece
from interwhen.models import Request, open_local

TEXT = "".join(f"64 + {number} = {64 + number}\n" for number in range(2000))


def fork(number, size, route):
    sampling = Sampling(max_tokens=1, temperature=0.0)
    return Request(f"{number}:\n", (Piece(TEXT[:size]),), sampling, side="\nSo", route=route)


async def seconds_of(model, request):
    begun = time.perf_counter()
    answer = await model.complete(request)
    return time.perf_counter() - begun, answer.usage


async def compare(model, rates, number, size, repeats):
    """Return the tokens of a prefix, and the median seconds to read it and to restore it, each as a whole fork."""
    await model.complete(fork(number, size, "prefill"))
    await model.save(fork(number, size, None))
    tokens = model._running.slots._saved[f"{number}:\n"].tokens
    model._running.slots._rates = None  # both ways are measured, whatever the formula says
    read, moved = [], []
    for _ in range(repeats):
        for other in range(3):  # other prompts take each slot, so that nothing is left to be continued
            await model.complete(fork(f"other {other}", 40, "prefill"))
        seconds, usage = await seconds_of(model, fork(number, size, "restored"))
        assert usage.cached_tokens >= tokens - 8, (usage, tokens)
        moved.append(seconds)
        seconds, usage = await seconds_of(model, fork(number, size, "prefill"))
        assert usage.cached_tokens == 0
        read.append(seconds)
    return tokens, statistics.median(read), statistics.median(moved)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--lengths", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as shelf:
        async with open_local(asked.model, shelf=shelf) as model:
            context = (await model.capabilities()).context_tokens
            rates = await model.measure_prefix_rates()
            print(rates, "break-even:", rates.break_even)
            most = min(context // 2, 1000)
            sizes = [round(most * n / asked.lengths) for n in range(1, asked.lengths + 1)]
            rows = [await compare(model, rates, n, size, asked.repeats) for n, size in enumerate(sizes)]
    right = [rates.pays(tokens) == (moved < read) for tokens, read, moved in rows]
    for (tokens, read, moved), is_right in zip(rows, right, strict=True):
        print(
            f"{tokens:5} tokens: read {1e3 * read:8.2f} ms, restored {1e3 * moved:8.2f} ms {'' if is_right else 'WRONG'}"
        )
    wrong = [tokens for (tokens, _, _), is_right in zip(rows, right, strict=True) if not is_right]
    print(f"{sum(right)} of {len(right)} lengths right, evenly spaced up to {rows[-1][0]} tokens; wrong: {wrong}")


if __name__ == "__main__":
    anyio.run(main)
