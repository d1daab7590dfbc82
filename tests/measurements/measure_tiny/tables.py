"""Tables in Markdown, from the records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from interwhen.bench._statistics import mcnemar

from .records import Try


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


Cells = dict[tuple[str, str], dict[str, list[Try]]]


def cells(tries: Iterable[Try]) -> Cells:
    """Sort *tries* by (family, split) and arm, each in the order of the problems."""
    cells: Cells = defaultdict(lambda: defaultdict(list))
    for one in tries:
        cells[one.family, one.split][one.arm].append(one)
    for arms in cells.values():
        for tried in arms.values():
            tried.sort(key=lambda one: one.number)
    return cells


def percent(part: float, whole: float) -> str:
    """Return a share as a percentage, or a dash if the whole is zero."""
    return f"{100 * part / whole:.1f}" if whole else "-"


def paired(base: Sequence[Try], other: Sequence[Try]) -> tuple[int, int]:
    """Count the problems that *other* fixed and broke."""
    pairs = list(zip(base, other, strict=True))
    return sum(b.right > a.right for a, b in pairs), sum(b.right < a.right for a, b in pairs)


def effect(found: Cells, bare: str, supervised: str) -> str:
    """Bare against supervised, by family and split."""
    rows = []
    for (family, split), arms in found.items():
        base, ours = arms[bare], arms[supervised]
        answered = [one for one in ours if one.answered]
        fixed, broken = paired(base, ours)
        count = len(base)
        rows.append(
            (
                f"{family}, {split}",
                percent(sum(t.wrong_steps for t in base), sum(t.steps for t in base)),
                percent(sum(t.right for t in base), count),
                percent(sum(t.right for t in ours), count),
                percent(sum(t.right for t in answered), len(answered)),
                percent(len(answered), count),
                f"{sum(t.interrupts for t in ours) / count:.2f}",
                f"{sum(t.tokens for t in base) / count:.0f}",
                f"{sum(t.kept for t in ours) / count:.0f} + {sum(t.discarded for t in ours) / count:.0f}",
                f"{fixed} / {broken}",
                f"{mcnemar(fixed, broken):.1g}",
            )
        )
    return table(
        (
            "family, split",
            "wrong steps %",
            "bare right %",
            "supervised right %",
            "sound %",
            "answered %",
            "interrupts",
            "tokens bare",
            "kept + discarded",
            "fixed / broken",
            "p",
        ),
        rows,
    )


def budgets(found: Cells, arms: Sequence[str], bare: str) -> str:
    """Every way of spending at most the tokens of four samples: right %, sound %, answered %, tokens."""
    rows = []
    for (family, split), tried in found.items():
        for arm in arms:
            tries = tried[arm]
            answered = [one for one in tries if one.answered]
            fixed, broken = paired(tried[bare], tries)
            rows.append(
                (
                    f"{family}, {split}: {arm}",
                    percent(sum(t.right for t in tries), len(tries)),
                    percent(sum(t.right for t in answered), len(answered)),
                    percent(len(answered), len(tries)),
                    f"{sum(t.tokens for t in tries) / len(tries):.0f}",
                    f"{fixed} / {broken}",
                    f"{mcnemar(fixed, broken):.1g}",
                )
            )
    return table(("family, split: arm", "right %", "sound %", "answered %", "tokens", "fixed / broken", "p"), rows)
