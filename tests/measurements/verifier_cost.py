"""Measures the CPU time that shipped verifiers add to a token: ``python -m tests.measurements.verifier_cost [--pairs 9]``.

Each pair is a run without the verifier and one with it, on the same text, whose chunks are ready at each read. Prints the
median of the differences, in microseconds a token, and the least and the greatest one. The texts are generated.
``--text FILE`` reads the texts of the verifiers of prose from there. Run it in two checkouts by turns to compare them.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interwhen import load_monitor
from tests.engine.token_cost import _supervise, _Writer, different_lines, document, sums

_TOKEN = re.compile(r"\s?\w{1,6}|\s?[^\w\s]|\s+")
_COUNT = 20_000
_ENTRIES = {"name": {"type": "string"}, "count": {"type": "integer"}, "ok": {"type": "boolean"}}
VERIFIERS: dict[str, dict[str, Any]] = {
    "arithmetic": {},
    "terms": {"terms": ["guarantee", "as an AI", "lawsuit"]},
    "regex": {"patterns": [r"(?i)\bpassword\b"]},
    "json_schema": {"schema": {"type": "array", "items": {"type": "object", "properties": _ENTRIES}}},
}


def texts(prose: str) -> dict[str, list[str]]:
    """Return the tokens that each verifier reads."""
    words = _TOKEN.findall(prose)[:_COUNT]
    return {
        "arithmetic": words or sums(_COUNT),
        "terms": words or different_lines(_COUNT),
        "regex": words or different_lines(_COUNT),
        "json_schema": document(_COUNT),
    }


def cpu_time(words: Sequence[str], name: str | None) -> float:
    """Return the CPU time of a run with the verifier *name*, in microseconds a token."""
    monitors = [load_monitor({"name": name, **VERIFIERS[name]})] if name else []
    begun = time.process_time()
    asyncio.run(_supervise(_Writer(words), monitors))
    return (time.process_time() - begun) / len(words) * 1e6


def main(pairs: int, text: Path | None) -> None:
    """Measure and print."""
    for name, words in texts(text.read_text("utf-8") if text else "").items():
        cpu_time(words, name)
        added = sorted(-cpu_time(words, None) + cpu_time(words, name) for _ in range(pairs))
        print(f"{name}: {statistics.median(added):.1f} us a token [{added[0]:.1f}, {added[-1]:.1f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    main(options.pairs, options.text)
