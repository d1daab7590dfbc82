"""Measures how many right texts a gate holds for an excuse: ``python -m tests.measurements.excuses DATA [--show]``.

DATA is a folder with the public sets, a folder each. The right texts are those of ``tests/measurements/measure_held.py``. A text is
held for an excuse if a verdict of ``arithmetic`` on it is ``Unknown(excused=True)``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from interwhen import Unknown
from tests.measurements.measure_held import SETS, right_traces
from tests.verifiers.arithmetic_support import Found, judge


def excused(text: str) -> Iterator[Found]:
    """Yield the claims of *text* that a gate holds for an excuse."""
    for each in judge(text, "Q"):
        if isinstance(each.verdict, Unknown) and each.verdict.excused:
            yield each


def main(data: Path, *, show: bool) -> None:
    """Print the number of right texts of each set, and how many of them are held."""
    total = held = 0
    for pair in SETS:
        if pair.verifier != "arithmetic":
            continue
        count = here = 0
        for trace in right_traces(pair, data):
            excuses = [each for turn in trace.turns for each in excused(turn.text)]
            count += 1
            here += bool(excuses)
            for each in excuses if show else ():
                print(f"  {trace.name}: {each.text!r}: {each.verdict}")
        print(f"{pair.path}: {here} of {count:,}")
        total, held = total + count, held + here
    print(f"all: {held} of {total:,} ({held / total:.2%})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    main(given.data, show=given.show)
