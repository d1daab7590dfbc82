"""Measure the verifier ``logic`` on BIG-Bench Mistake: ``python -m tests.measurements.measure_logic DATA [--show]``.

DATA is a folder with the files of the set. A labelled mistake counts as *checkable* where
:mod:`tests.measurements.recompute_logic`, which shares nothing with the verifier, finds a false claim in the labelled step. A
chain is *clean* if no mistake was found in it and its answer is right. With ``--half even`` or ``odd``, only every
other chain is looked at.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interwhen import Segment, Span, Task, Tracker, Violation
from tests.measurements.recompute_logic import brackets_are_wrong, order_is_wrong, sorting_is_wrong, swaps_are_wrong

from interwhen_verifiers.puzzles.logic import logic

TASKS: dict[str, Callable[[str, list[str], int], bool]] = {
    "word_sorting": sorting_is_wrong,
    "tracking_shuffled_objects": swaps_are_wrong,
    "logical_deduction": order_is_wrong,
    "dyck_languages": brackets_are_wrong,
}


@dataclass
class Counts:
    """The findings in one task."""

    checkable: int = 0
    at_label: int = 0
    others: int = 0
    """Labelled mistakes that cannot be recomputed."""
    others_found: int = 0
    """Those that were flagged at or after the label."""
    early: int = 0
    """Chains in which something before the label was flagged."""
    clean: int = 0
    clean_flagged: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.at_label} of {self.checkable} checkable mistakes flagged at the label; of {self.others} others "
            f"{self.others_found} flagged later; {self.early} flagged before the label; clean ones flagged: "
            f"{self.clean_flagged} of {self.clean}"
        )


def flagged(problem: str, steps: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the steps with a violation, and why."""
    monitor = logic()
    prepared = monitor.prepare(Task(problem)) if monitor.prepare else None
    tracker: Any = monitor.extractor
    if prepared is None or not isinstance(tracker, Tracker):
        return
    state, check = tracker.start(prepared), monitor.verifier.check
    for number, step in enumerate(steps):
        for line in step.splitlines():
            state, claims = tracker.step(state, Segment(text=line, span=Span(0, len(line)), phase="answer"))
            for claim in claims:
                verdict: Any = check(claim, prepared)
                if isinstance(verdict, Violation):
                    yield number, verdict.why


def measure(task: str, traces: list[dict[str, Any]]) -> Counts:
    """Compare the flags in *traces* with the labels."""
    counts = Counts()
    for trace in traces:
        label, steps = trace["first_error"], trace["steps"]
        reasons = dict(reversed(list(flagged(trace["problem"], steps))))
        if label < 0:
            counts.clean += trace["final_correct"]
            counts.clean_flagged += trace["final_correct"] and bool(reasons)
            continue
        if min(reasons, default=label) < label:
            counts.early += 1
            counts.notes.append(f"{trace['id']} before {label}: step {min(reasons)}, {reasons[min(reasons)]}")
        if TASKS[task](trace["problem"], steps, label):
            counts.checkable += 1
            counts.at_label += label in reasons
            if label not in reasons:
                counts.notes.append(f"{trace['id']} missed at {label}: {steps[label][:300]}")
        else:
            counts.others += 1
            counts.others_found += bool(reasons)
            if label in reasons:
                counts.notes.append(f"{trace['id']} beyond recomputing, at {label}: {reasons[label]}")
    return counts


def main(arguments: Sequence[str]) -> int:
    """Print a line for each task."""
    parser = argparse.ArgumentParser(prog="measure_logic", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--half", choices=("even", "odd", "both"), default="both")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args(arguments)
    for task in TASKS:
        path = given.data / f"{task}.jsonl.gz"
        if not path.exists():
            print(f"{task}: absent, skipped")
            continue
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            traces = [json.loads(line) for line in lines]
        counts = measure(task, traces[given.half == "odd" :: 1 if given.half == "both" else 2])
        print(f"{task}, {given.half}: {counts}")
        for note in counts.notes if given.show else ():
            print(f"    {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
