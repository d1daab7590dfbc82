"""Comparing strategies: the same exercises, the same model and verifiers, equal budgets, one ledger."""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen._types.extensions import WorkerPool
from interwhen._types.models import Message, Model, Prompt, Sampling
from interwhen.bench._statistics import mcnemar
from interwhen.strategies import Exercise, Outcome, Question, Strategy, attempt
from interwhen.strategies._shared_samples import SharedModel
from interwhen.testing import Rate
from interwhen.toolkit.quantities import read_number


class Row(msgspec.Struct, frozen=True):
    """One attempt, graded."""

    outcome: Outcome
    right: bool
    """Whether an answer was given and is right."""
    exercise: int
    """The number of the exercise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared."""

    exercises: Sequence[Exercise]
    strategies: Sequence[Strategy]
    budgets: Sequence[int]
    """In generated tokens of an attempt."""
    sampling: Sampling
    seed: int = 0
    share: bool = True
    """Whether equal requests are generated once, and billed to each who makes them."""
    seconds: float | None = None
    """After so many seconds no further exercise is begun."""

    def turns(self, number: int) -> Iterator[tuple[int, Strategy]]:
        """Yield the budgets and strategies for an exercise, in an order of its own: who comes first warms the cache."""
        turns = [(budget, strategy) for budget in self.budgets for strategy in self.strategies]
        random.Random(f"{self.seed} {number}").shuffle(turns)  # noqa: S311  (an order, not secrets)
        yield from turns


class Compared(msgspec.Struct, frozen=True):
    """What came of it."""

    rows: tuple[Row, ...]
    generated: int
    """Tokens that the model really wrote; what is billed is more where text was shared."""
    exercises: int
    """How many of them were attempted by all."""
    seconds: float


async def compare(
    model: Model,
    plan: Plan,
    *,
    say: Callable[[str], None],
    keep: Callable[[Compared], None] | None = None,
    workers: WorkerPool | None = None,
) -> Compared:
    """Let every strategy attempt every exercise with every budget, one attempt at a time.

    *keep* is told after each exercise what has come of it so far, so that a long comparison can be cut off.
    """
    begun = time.perf_counter()
    shared = SharedModel(model)
    rows: list[Row] = []
    met = 0
    compared = Compared((), 0, 0, 0.0)
    for number, exercise in enumerate(plan.exercises):
        if plan.seconds is not None and number and time.perf_counter() - begun > plan.seconds:
            break
        for budget, strategy in plan.turns(number):
            shares = plan.share and not strategy.meets_model
            outcome = await attempt(
                strategy,
                shared if shares else model,
                exercise.question,
                budget=budget,
                seed=plan.seed,
                sampling=plan.sampling,
                workers=workers,
                clock=partial(_now, shared),
            )
            met += 0 if shares else outcome.ledger.total_tokens
            right = outcome.answered and exercise.grade(outcome.answer or "")
            rows.append(Row(outcome, right, number))
        compared = Compared(tuple(rows), shared.generated + met, number + 1, time.perf_counter() - begun)
        say(f"{compared.exercises} of {len(plan.exercises)} exercises, {compared.seconds:.0f} s")
        if keep is not None:
            keep(compared)
    return compared


def _now(shared: SharedModel) -> float:
    return time.perf_counter() + shared.borrowed


# What a comparison comes to: rates with intervals, all tokens, and paired tests.


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


# Tasks of one's own: exercises from a local file, or from a dataset of the Hugging Face hub.

ANSWER = r"(?:^|\n)\W{0,4}answer\W{0,3}:\s*([^\n]+)"
"""Reads the answer where a task does not say otherwise: what stands behind "Answer:" at the start of a line."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One exercise in a file."""

    prompt: Prompt
    """A text, which is asked as a turn of the user, or the messages of a chat."""
    answer: str
    name: str = ""
    monitors: tuple[str, ...] | None = None
    """What judges it; ``None``: what the option ``monitors`` of the task says."""


def jsonl(
    *, count: int, seed: int, path: str, monitors: tuple[str, ...] = (), answer: str = ANSWER, shuffle: bool = False
) -> Iterator[Exercise]:
    """Yield the exercises in the file at *path*, an object a line: ``{"prompt": ..., "answer": ...}``.

    *answer* is a regular expression that finds the answer in a text, as its first group; the last match counts. With
    *shuffle* they come in an order that *seed* decides. Raises :class:`~interwhen.UsageError` on a bad line.
    """
    found = list(_lines(Path(path)))
    if shuffle:
        random.Random(seed).shuffle(found)  # noqa: S311  (an order, not secrets)
    read = reader(answer)
    for number, line in found[:count]:
        yield _exercise(line, line.name or f"line-{number}", read, monitors)


def hub(
    *,
    count: int,
    seed: int,
    name: str,
    config: str | None = None,
    split: str = "test",
    prompt: str = "question",
    target: str = "answer",
    target_pattern: str = r"(?:####)?\s*([^\n#]+)\s*\Z",
    instruction: str = 'Work it out step by step, and end with a line "Answer: ...".',
    monitors: tuple[str, ...] = (),
    answer: str = ANSWER,
) -> Iterator[Exercise]:
    """Yield rows of the dataset *name* of the hub, in an order that *seed* decides. It needs the extra ``datasets``.

    *prompt* and *target* are columns; *target_pattern* finds the answer in the latter, as its first group.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("the task 'hub'", "datasets") from error
    rows = datasets.load_dataset(name, config, split=split).shuffle(seed=seed)
    return from_rows(
        rows,
        count,
        prompt=prompt,
        target=target,
        target_pattern=target_pattern,
        instruction=instruction,
        monitors=monitors,
        answer=answer,
    )


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    count: int,
    *,
    prompt: str,
    target: str,
    target_pattern: str,
    instruction: str,
    monitors: tuple[str, ...],
    answer: str,
) -> Iterator[Exercise]:
    """Yield the first *count* of *rows* as exercises; see :func:`hub`."""
    pattern, read = _compiled("target_pattern", target_pattern), reader(answer)
    for number, row in zip(range(count), rows, strict=False):
        for column in (prompt, target):
            if column not in row:
                raise UsageError(f"the dataset has no column {column!r}, but {', '.join(sorted(row))}")
        found = pattern.search(str(row[target]))
        if found is None:
            raise UsageError(f"row {number}: {target_pattern!r} finds no answer in {str(row[target])!r:.200}")
        asked = (Message("system", instruction), Message("user", str(row[prompt])))
        yield _exercise(Line(prompt=asked, answer=found[1]), f"row-{number}", read, monitors)


SHIPPED: Mapping[str, Callable[..., Iterable[Exercise]]] = {"hub": hub, "jsonl": jsonl}
"""The tasks that know no domain."""


def reader(pattern: str) -> Callable[[str], str | None]:
    """Return what finds the last match of *pattern* in a text, in the normal form of :func:`normal`."""
    compiled = _compiled("answer", pattern)

    def read(text: str) -> str | None:
        found = [match[1] for match in compiled.finditer(text)]
        return normal(found[-1]) or None if found else None

    return read


def normal(answer: str) -> str:
    """Return *answer* as it is compared: an exact number, or else its words in lower case."""
    plain = answer.strip().lstrip("`*$ ").rstrip("`*$. ")
    value = read_number(plain)
    return " ".join(plain.casefold().split()) if value is None else str(value)


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UsageError(f"{option}={pattern!r} is no regular expression: {error}") from error
    if not compiled.groups:
        raise UsageError(f"{option}={pattern!r} needs a group, in brackets, that holds the answer")
    return compiled


def _exercise(line: Line, name: str, read: Callable[[str], str | None], monitors: tuple[str, ...]) -> Exercise:
    prompt = (Message("user", line.prompt),) if isinstance(line.prompt, str) else line.prompt
    watching = monitors if line.monitors is None else line.monitors
    right = normal(line.answer)
    return Exercise(Question(name=name, prompt=prompt, read=read, monitors=watching), lambda answer: answer == right)


def _lines(path: Path) -> Iterator[tuple[int, Line]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
    for number, text in enumerate(content.split(b"\n"), start=1):
        if text.strip():
            try:
                yield number, msgspec.json.decode(text, type=Line)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise UsageError(f"{str(path)!r}, line {number}: not an exercise: {error}") from error


# The plot of a comparison: right answers over tokens, and what no other strategy beats.

_MARKERS = "osD^vP*Xd<>h8p"


def plot(report: Comparison, path: Path) -> None:
    """Draw *report* into *path*, whose ending says the format (``.png``, ``.svg``, ``.pdf``).

    Raises :class:`~interwhen.toolkit.MissingExtraError` without matplotlib, and
    :class:`~interwhen.UsageError` where the file cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("a plot", "plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = sorted({cell.strategy for cell in report.cells})
    for at, name in enumerate(names):
        mine = sorted((cell for cell in report.cells if cell.strategy == name), key=lambda cell: cell.budget)
        values = [100 * (cell.accuracy.value or 0.0) for cell in mine]
        below = [value - 100 * cell.accuracy.low for value, cell in zip(values, mine, strict=True)]
        above = [100 * cell.accuracy.high - value for value, cell in zip(values, mine, strict=True)]
        axes.errorbar(
            [cell.tokens for cell in mine],
            values,
            yerr=(below, above),
            marker=_MARKERS[at % len(_MARKERS)],
            linewidth=0.8,
            elinewidth=0.4,
            capsize=2,
            label=name,
        )
    best = front(report.cells)
    axes.plot(
        [cell.tokens for cell in best],
        [100 * (cell.accuracy.value or 0.0) for cell in best],
        color="black",
        linestyle="--",
        linewidth=1.2,
        label="not beaten by any",
        zorder=0,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_xlabel("generated tokens of an attempt (mean): kept, discarded, forks, offline")
    axes.set_ylabel("right answers, % (bars: 95 %)")
    axes.set_title(f"{report.task} · {report.model} · {report.exercises} exercises", fontsize=10)
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise UsageError(f"the plot {str(path)!r} cannot be written: {error}") from error
