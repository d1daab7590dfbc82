"""What a comparison comes to: rates with intervals, all tokens, and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from interwhen.bench.compare import Compared, Row
from interwhen.bench.stats import mcnemar
from interwhen.testing import Rate


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy with one budget, over all exercises. Tokens and seconds are means of an attempt."""

    strategy: str
    budget: int
    accuracy: Rate
    """Right ones of all."""
    coverage: Rate
    """Answered ones of all."""
    soundness: Rate
    """Right ones of the answered."""
    answer_verified: Rate
    """Of all: those whose answer a check judged that knows the task. Only this is a claim that the answer is right."""
    sound_answer_verified: Rate
    """Right ones of these."""
    steps_verified: Rate
    """Of all: those in which every required check passed, and none of them judged the answer."""
    sound_steps_verified: Rate
    """Right ones of these."""
    failed: int
    tokens: float
    kept: float
    discarded: float
    forks: float
    offline: float
    prompt: float
    cached: float
    uncounted: float
    """Requests of an attempt whose prompt the server did not count."""
    remedies: float
    seconds: float
    could_act: Rate
    """Attempts in which a verifier passed or refuted anything."""
    refuted: Rate
    """Attempts in which a verifier refuted anything."""
    handed: Rate
    """Right ones whose answer stands in what the model was told (a repair of the last step writes it by design)."""
    fixed: int
    """Exercises that it got right and the baseline did not."""
    broken: int
    p: float
    """McNemar's exact test of the two."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report."""

    task: str
    model: str
    machine: str
    seed: int
    temperature: float | None
    max_tokens: int | None
    shared: bool
    exercises: int
    asked: int
    """How many exercises there were to be."""
    generated: int
    seconds: float
    baseline: str
    cells: tuple[Cell, ...]
    rows: tuple[Row, ...]


def cells(compared: Compared, baseline: str) -> tuple[Cell, ...]:
    """Return a cell for each budget and strategy, in the order of budgets and then of accuracy, the best first."""
    found: dict[tuple[int, str], list[Row]] = {}
    for row in compared.rows:
        found.setdefault((row.outcome.budget, row.outcome.strategy), []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row.exercise)
    made = [
        _cell(budget, strategy, rows, found.get((budget, baseline), rows)) for (budget, strategy), rows in found.items()
    ]
    return tuple(sorted(made, key=lambda cell: (cell.budget, -cell.accuracy.hits, cell.tokens, cell.strategy)))


def paired(base: Sequence[Row], rows: Sequence[Row]) -> tuple[int, int]:
    """Count the exercises that *rows* got right and *base* did not, and the other way round."""
    pairs = list(zip(base, rows, strict=True))
    return sum(b.right > a.right for a, b in pairs), sum(b.right < a.right for a, b in pairs)


def _cell(budget: int, strategy: str, rows: Sequence[Row], base: Sequence[Row]) -> Cell:
    count = len(rows)
    outcomes = [row.outcome for row in rows]
    answered = [row for row in rows if row.outcome.answered]
    proven = [row for row in rows if row.outcome.answer_verified]
    steps = [row for row in rows if row.outcome.status == "verified" and not row.outcome.answer_verified]
    fixed, broken = paired(base, rows)

    def mean(name: str) -> float:
        return statistics.fmean(getattr(one.ledger, name) for one in outcomes)

    return Cell(
        strategy=strategy,
        budget=budget,
        accuracy=Rate.make(_right(rows), count),
        coverage=Rate.make(len(answered), count),
        soundness=Rate.make(_right(answered), len(answered)),
        answer_verified=Rate.make(len(proven), count),
        sound_answer_verified=Rate.make(_right(proven), len(proven)),
        steps_verified=Rate.make(len(steps), count),
        sound_steps_verified=Rate.make(_right(steps), len(steps)),
        failed=sum(one.status == "failed" for one in outcomes),
        tokens=mean("total_tokens"),
        kept=mean("kept"),
        discarded=mean("discarded"),
        forks=mean("fork_tokens"),
        offline=mean("offline_tokens"),
        prompt=mean("prompt_tokens") + mean("fork_prompt_tokens"),
        cached=mean("cached_tokens"),
        uncounted=statistics.fmean(one.uncounted for one in outcomes),
        remedies=mean("remedies"),
        seconds=statistics.fmean(one.seconds for one in outcomes),
        could_act=Rate.make(sum(one.checks.could_act for one in outcomes), count),
        refuted=Rate.make(sum(one.checks.refuted > 0 for one in outcomes), count),
        handed=Rate.make(sum(row.right and row.outcome.handed for row in rows), _right(rows)),
        fixed=fixed,
        broken=broken,
        p=mcnemar(fixed, broken),
    )


def _right(rows: Iterable[Row]) -> int:
    return sum(row.right for row in rows)


def front(found: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return the cells that no other one beats: none is right as often for fewer tokens, cheapest first."""
    best: list[Cell] = []
    for cell in sorted(found, key=lambda cell: (cell.tokens, -cell.accuracy.hits)):
        if not best or cell.accuracy.hits > best[-1].accuracy.hits:
            best.append(cell)
    return tuple(best)


_Lines = tuple[tuple[str, ...], list[tuple[str, ...]]]


def tables(report: Comparison) -> Mapping[str, _Lines]:
    """Return the tables of *report* by title: a head, and lines."""
    name = ("budget", "strategy")
    first = (
        *name,
        "right %",
        "95 %",
        "answered %",
        "sound %",
        "answer verified %",
        "right of these %",
        "steps verified %",
        "right of these %",
        "tokens",
        "seconds",
    )
    second = (*name, "prompt", "cached", "kept", "discarded", "forks", "offline", "remedies", "not counted")
    third = (*name, "fixed / broken", "p", "could act %", "refuted %", "handed over %")
    quality: list[tuple[str, ...]] = []
    costs: list[tuple[str, ...]] = []
    pairs: list[tuple[str, ...]] = []
    for cell in report.cells:
        who = (str(cell.budget), cell.strategy)
        quality.append(
            (
                *who,
                _percent(cell.accuracy),
                f"{100 * cell.accuracy.low:.0f} to {100 * cell.accuracy.high:.0f}",
                _percent(cell.coverage),
                _percent(cell.soundness),
                _percent(cell.answer_verified),
                _percent(cell.sound_answer_verified),
                _percent(cell.steps_verified),
                _percent(cell.sound_steps_verified),
                f"{cell.tokens:.0f}",
                f"{cell.seconds:.2f}",
            )
        )
        numbers = (cell.prompt, cell.cached, cell.kept, cell.discarded, cell.forks, cell.offline)
        costs.append((*who, *(f"{number:.0f}" for number in numbers), f"{cell.remedies:.2f}", f"{cell.uncounted:.2f}"))
        if cell.strategy != report.baseline:
            pair = (f"{cell.fixed} / {cell.broken}", f"{cell.p:.2g}")
            pairs.append((*who, *pair, *map(_percent, (cell.could_act, cell.refuted, cell.handed))))
    return {
        "Quality": (first, quality),
        "Tokens of an attempt": (second, costs),
        f"Against {report.baseline}": (third, pairs),
    }


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; all columns but the first two are numbers."""
    marks = ["---", "---", *["--:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *lines))


def _percent(rate: Rate) -> str:
    return "-" if rate.value is None else f"{100 * rate.value:.1f}"
