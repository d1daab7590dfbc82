"""Measure the arithmetic verifier on recorded traces: ``python -m tests.measurements.measure_arithmetic DATA [--show]``.

DATA is a folder with the public sets named in ``docs/verifiers/arithmetic.md``; a set that is absent is skipped.
Text is fed line by line, as the monitor sees it while a model streams.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interwhen import Pass, Segment, Span, Unknown, Violation
from interwhen.testing._trials import segments

from interwhen_verifiers.arithmetic import arithmetic, begin, check, recognize, step

TRIGGER = arithmetic().trigger
NOTE = re.compile(r"<<[^<>]*>>")


class Flag(NamedTuple):
    """One violation: the step it is in, and what is wrong."""

    step: int
    why: str
    line: str


class Counts:
    """How many claims there were, and how they were judged."""

    def __init__(self) -> None:
        self.passed = self.unknown = self.violations = 0
        self.unread = 0
        self.seconds = 0.0
        self.why_unknown: dict[str, int] = {}

    def __str__(self) -> str:
        claims = self.passed + self.unknown + self.violations
        cost = self.seconds / claims * 1e6 if claims else 0.0
        return (
            f"{claims} claims: {self.passed} pass, {self.unknown} unknown, {self.violations} violations; "
            f"{self.unread} places not read; "
            f"{cost:.0f} µs per claim, lines without one included"
        )


def records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def flags(steps: Iterable[str], counts: Counts) -> Iterator[Flag]:
    """Yield the violations of one trace in order."""
    state, at = begin(None), 0
    for number, text in enumerate(steps):
        for found_at in segments("\n".join(text.splitlines()), TRIGGER, phase="reasoning"):
            segment = Segment(found_at.text, found_at.span.shifted(at), found_at.phase)
            began = time.perf_counter()
            state, claims = step(state, segment)
            verdicts = [check(claim) for claim in claims]
            places = [place for place in recognize(segment) if isinstance(place, Span)]
            counts.seconds += time.perf_counter() - began
            spans = [claim.span for claim in claims if claim.span is not None]
            counts.unread += sum(not any(span.covers(place) for span in spans) for place in places)
            for verdict in verdicts:
                counts.passed += isinstance(verdict, Pass)
                if isinstance(verdict, Unknown):
                    counts.unknown += 1
                    counts.why_unknown[verdict.why] = counts.why_unknown.get(verdict.why, 0) + 1
                if isinstance(verdict, Violation):
                    counts.violations += 1
                    yield Flag(number, f"{verdict.witness or verdict.why} -> {verdict.repair}", segment.text)
        at += len(text) + 1


def soak(name: str, traces: list[tuple[str, list[str]]], *, show: bool) -> None:
    """Report how many of *traces* would be interrupted."""
    counts = Counts()
    flagged = 0
    for identity, steps in traces:
        spans = list(flags(steps, counts))
        flagged += bool(spans)
        if show and spans:
            print(f"    {identity}: {spans[0].why}\n        {spans[0].line[:400]}")
    print(f"{name}: {flagged} of {len(traces)} interrupted ({100 * flagged / max(1, len(traces)):.2f} %); {counts}")
    if show:
        print("   ", sorted(counts.why_unknown.items(), key=lambda item: -item[1]))


def first_errors(name: str, traces: list[dict[str, Any]], *, show: bool) -> None:
    """Report how many labelled mistakes are caught, and where the first violation is."""
    counts = Counts()
    caught = at_label = early = 0
    for trace in traces:
        flagged = list(flags(trace["steps"], counts))
        caught += bool(flagged)
        at_label += bool(flagged) and flagged[0].step == trace["first_error"]
        early += bool(flagged) and flagged[0].step < trace["first_error"]
        if show and (not flagged or flagged[0].step != trace["first_error"]):
            print(f"    {trace['id']} label {trace['first_error']}: {flagged[0] if flagged else 'missed'}")
            print(f"        {trace['steps'][trace['first_error']][:400]}")
    total = max(1, len(traces))
    print(
        f"{name}: {caught} of {len(traces)} caught ({100 * caught / total:.1f} %), first violation at the label in "
        f"{at_label} ({100 * at_label / total:.1f} %), before it in {early}; {counts}"
    )


def without_notes(text: str) -> list[str]:
    """Return the lines of *text* as a model would write them: without calculator notes and final mark."""
    return [line for line in NOTE.sub("", text).splitlines() if not line.startswith("####")]


def main(data: Path, *, show: bool) -> None:
    """Measure on every set in the folder."""

    def load(name: str) -> list[dict[str, Any]]:
        path = data / f"{name}.jsonl.gz"
        if path.exists():
            return records(path)
        print(f"{name}: absent, skipped")
        return []

    human = load("gsm8k/train_2000")
    soak("gsm8k human", [(r["id"], without_notes(r["answer"])) for r in human], show=show)
    model = [r for r in load("gsm8k/example_model_solutions") if r["final_correct"]]
    soak("gsm8k model, right answer", [(r["id"], [NOTE.sub("", s) for s in r["steps"]]) for r in model], show=show)
    games = [r for r in load("game24/gpt4_outputs") if r["correct"]]
    soak("game24, right", [(r["id"], [r["output"]]) for r in games], show=show)
    for task in ("multistep_arithmetic", "logical_deduction", "tracking_shuffled_objects", "word_sorting"):
        traces = load(f"bigbench_mistake/{task}")
        clean = [(r["id"], r["steps"]) for r in traces if r["first_error"] == -1 and r["final_correct"]]
        soak(f"{task}, clean", clean, show=show)
        if task == "multistep_arithmetic":
            first_errors(f"{task}, wrong", [r for r in traces if r["first_error"] != -1], show=show)
    for name in ("processbench/gsm8k", "processbench/math", "mrben/math"):
        traces = load(name)
        clean = [(r["id"], r["steps"]) for r in traces if r["first_error"] == -1]
        soak(f"{name}, clean", clean, show=show)
        first_errors(f"{name}, wrong", [r for r in traces if r["first_error"] != -1], show=False)
        early = [(r["id"], r["steps"][: r["first_error"]]) for r in traces if r["first_error"] > 0]
        soak(f"{name}, before the first error", early, show=show)
    for name in ("zeroeval/gsm_right", "zeroeval/math_l5_right"):
        soak(name, [(r["id"], [r["reasoning"]]) for r in load(name)], show=show)
    soak("long_cot", [(r["id"], [r["response"]]) for r in load("long_cot/free")], show=show)
    outputs = [r for r in load("reasoning_gym_eval/outputs") if r["right"]]
    soak("reasoning_gym_eval, right", [(r["id"], [r["output"]]) for r in outputs], show=show)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--show"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    main(Path(arguments[0]), show="--show" in sys.argv)
