"""Judge the shipped verifiers on public data: ``python -m tests.measurements.judge_verifiers DATA [--write PAGE] [--limit N]``.

DATA is a folder with the sets, a folder each. What cannot be run (a verifier, a reader or a set that is absent) is
marked. With ``--limit``, only the first N traces of each set are looked at. With ``--verified``, the table says how
many right traces would end verified, and the limit counts these. With ``--write``, the table is put between the marks
in PAGE, which is ``docs/verifiers.md``, or ``docs/verified.md`` with ``--verified``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
from interwhen import InterwhenError, Monitor, load_monitor
from interwhen.registry import PluginError
from interwhen.testing import LabelledTrace, read_traces, score, try_monitor_sync
from interwhen.testing._scores import Rate, Score, Spread

START, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclass(frozen=True, slots=True)
class Pair:
    """A verifier, and a set to judge it on. ``{data}`` in the options stands for the folder with the sets."""

    verifier: str
    format: str
    path: str
    note: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options that are not text."""

    def monitor(self, data: Path) -> Monitor:
        """Make the monitor. Raises :class:`InterwhenError`."""
        spec = {"name": self.verifier, **self.options} if self.options else self.verifier.replace("{data}", str(data))
        return load_monitor(spec)


PAIRS = (
    Pair("arithmetic", "gsm8k", "gsm8k", "people's and models' solutions"),
    Pair("arithmetic", "processbench", "processbench", "mistakes of all kinds, few of them of arithmetic"),
    Pair("arithmetic", "bigbench_mistake", "bigbench_mistake/multistep_arithmetic.jsonl.gz"),
    Pair("game24", "game24", "game24/gpt4_outputs.jsonl.gz"),
    Pair("logic", "bigbench_mistake", "bigbench_mistake/word_sorting.jsonl.gz", "mistakes of all kinds"),
    Pair("logic", "bigbench_mistake", "bigbench_mistake/tracking_shuffled_objects.jsonl.gz", "mistakes of all kinds"),
    Pair("logic", "bigbench_mistake", "bigbench_mistake/logical_deduction.jsonl.gz", "half of the mistakes are leaps"),
    Pair("maze", "mazenav", "mazenav"),
    Pair("spatialmap", "spatialmap", "spatialmap"),
    Pair("plan", "planbench", "planbench"),
    Pair("python", "mbpp", "mbpp"),
    Pair("python", "verina", "verina"),
    Pair(
        "tool_policy:policy=airline,state={data}/tau_bench/env_airline",
        "tau_bench",
        "tau_bench/airline_gpt4o.jsonl.gz",
        "wrong: whatever made the run fail",
    ),
    Pair(
        "tool_policy:policy=retail,state={data}/tau_bench/env_retail",
        "tau_bench",
        "tau_bench/retail_grok3.jsonl.gz",
        "wrong: whatever made the run fail",
    ),
    Pair("provenance", "agentdojo", "agentdojo/banking.jsonl.gz"),
)
TERMS = ("secret", "password", "illegal", "kill")
SCHEMA = {
    "type": "object",
    "properties": {"solution": {"type": "array", "items": {"type": "string"}}},
    "required": ["solution"],
}
VERIFIED = (
    *(pair for pair in PAIRS if pair.format not in ("verina", "tau_bench", "agentdojo")),
    Pair("terms", "gsm8k", "gsm8k", "four words that are not in it", {"terms": TERMS}),
    Pair("json_schema", "gsm8k", "gsm8k", "each solution as a JSON document after a sentence", {"schema": SCHEMA}),
)
"""Verifiers that ``--verified`` judges: not those of tool calls, because many turns have none."""
HEADERS = ("verifier", "traces", "wrong ones found", "at the label", "right ones flagged", "a check", "preparing")
VERIFIED_HEADERS = ("verifier", "right traces", "verified", "flagged")


def main(arguments: Sequence[str]) -> int:
    """Print the table, or write it into a page."""
    given = _parser().parse_args(arguments)
    rows = []
    for pair in VERIFIED if given.verified else PAIRS:
        begun = time.perf_counter()
        make = verified_row if given.verified else row
        rows.append(make(pair, given.data, given.limit))
        print(f"{pair.verifier} on {pair.path}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    shown = table(rows, VERIFIED_HEADERS if given.verified else HEADERS)
    if given.write is None:
        print(shown)
    else:
        given.write.write_text(placed(given.write.read_text(encoding="utf-8"), shown), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="judge_verifiers", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--verified", action="store_true")
    return parser


def row(pair: Pair, data: Path, limit: int | None = None) -> tuple[str, ...]:
    """Try one verifier on one set; return its row, or one with the reason why there is none."""
    try:
        monitor = pair.monitor(data)
        traces: islice[LabelledTrace] = islice(read_traces(data / pair.path, pair.format), limit)
        total = score(try_monitor_sync(monitor, traces))
    except InterwhenError as error:
        return _not_run(pair, data, error, HEADERS)
    return (_label(pair), *_cells(total))


def verified_row(pair: Pair, data: Path, limit: int | None = None) -> tuple[str, ...]:
    """Try one verifier on the right traces of one set; return how many would end verified."""
    try:
        monitor = pair.monitor(data)
        right = (trace for trace in read_traces(data / pair.path, pair.format) if trace.label == "right")
        traces = islice(right, limit)
        tried = list(try_monitor_sync(monitor, (_as_document(t) if "schema" in pair.options else t for t in traces)))
    except InterwhenError as error:
        return _not_run(pair, data, error, VERIFIED_HEADERS)
    verified, flagged = (sum(each) for each in zip(*((one.is_verified, one.is_flagged) for one in tried), strict=True))
    return (_label(pair), f"{len(tried)}", f"{verified}", f"{flagged}")


def _as_document(trace: LabelledTrace) -> LabelledTrace:
    """Return *trace* with a JSON document in the place of each text, after a sentence."""
    documents = (json.dumps({"solution": turn.text.splitlines()}, indent=1) for turn in trace.turns)
    turns = (
        msgspec.structs.replace(turn, text=f"Here it is [1]:\n```json\n{document}\n```\n")
        for turn, document in zip(trace.turns, documents, strict=True)
    )
    return msgspec.structs.replace(trace, turns=tuple(turns))


def _label(pair: Pair) -> str:
    name = pair.verifier.partition(":")[0]
    return f"`{name}` on {pair.path.removesuffix('.jsonl.gz')}" + (f" ({pair.note})" if pair.note else "")


def _not_run(pair: Pair, data: Path, error: InterwhenError, headers: Sequence[str]) -> tuple[str, ...]:
    said = f"{error.name!r}: {error.reason}" if isinstance(error, PluginError) else str(error)
    why = said.replace(str(data), "DATA").replace("|", "\\|").replace("\n", " ")
    return (_label(pair), f"not run: {why[:120]}", *[""] * (len(headers) - 2))


def _cells(total: Score) -> tuple[str, ...]:
    nothing = f", {total.troubles} checks came to nothing" if total.troubles else ""
    return (
        f"{total.traces}{nothing}",
        _rate(total.recall),
        _rate(total.located),
        _rate(total.false_interrupts),
        _milliseconds(total.check_ms),
        _milliseconds(total.prepare_ms),
    )


def _rate(rate: Rate) -> str:
    if rate.value is None:
        return "-"
    return f"{rate.hits} of {rate.of} ({100 * rate.low:.1f} to {100 * rate.high:.1f} %)"


def _milliseconds(spread: Spread) -> str:
    return f"{spread.p50:.2g} / {spread.p99:.2g} ms" if spread.n else "-"


def table(rows: Sequence[tuple[str, ...]], headers: Sequence[str] = HEADERS) -> str:
    """Return *rows* as a table in Markdown."""
    lines = [headers, ("---",) * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def placed(page: str, shown: str) -> str:
    """Return *page* with *shown* between the marks. Exits if they are missing."""
    head, start, rest = page.partition(START)
    _old, end, tail = rest.partition(END)
    if not (start and end):
        sys.exit(f"the page must have the lines {START} and {END}, and has not both: add them around the table")
    return f"{head}{START}\n{shown}\n{END}{tail}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
