"""``interwhen bench compare``: what verification buys at equal budget, against other ways of spending tokens."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interwhen._run import Workers
from interwhen._types.errors import UsageError
from interwhen._types.models import Model, Sampling
from interwhen.bench._compare import SHIPPED, Compared, Comparison, Plan, cells, compare, markdown, tables
from interwhen.bench._compare import plot as draw
from interwhen.bench._console import check_outputs, show_tables
from interwhen.registry import load_model
from interwhen.strategies import load_exercises, load_strategies


def run_compare(
    *,
    task: str,
    budget: str = "2k",
    model: str = "local",
    base_url: str | None = None,
    api: Literal["completions", "chat"] = "chat",
    strategies: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    problems: int = 20,
    seed: int = 0,
    temperature: float = 0.7,
    max_tokens: int = 512,
    against: str | None = None,
    minutes: float | None = None,
    share: bool = True,
    json: Path | None = None,
    plot: Path | None = None,
    markdown: bool = False,
) -> None:
    """Compare strategies: the same exercises, the same model and verifiers, equal budgets, every token counted.

    An attempt may generate so many tokens in all: kept, discarded and in forks. Prompt tokens are counted beside. The
    exercises are graded by what knows nothing of the verifiers.

    Parameters
    ----------
    task
        An installed task with options ("chain_sum:terms=5,digits=3"), "jsonl:path=FILE", "hub:name=OWNER/NAME", or
        "module:factory" from the working directory, whose code runs.
    budget
        Tokens of an attempt; several with commas between them ("2k,4k,8k").
    model
        An installed model ("local", "local:PATH.gguf"); with --base-url, the model's name there.
    base_url
        An OpenAI-compatible server, with its version.
    api
        The API of that server.
    strategies
        Which ones, with commas between them, options behind a colon ("dvts:trees=4"); default: all that are shipped.
    problems
        How many exercises.
    seed
        Seed of the exercises, the samples and the order of attempts.
    temperature
        Of everything that is sampled; greedy text has 0.
    max_tokens
        The most tokens of one trace.
    against
        The strategy that the others are tested against, in pairs; default: greedy, or else the first one.
    minutes
        Begin no further exercise after so many; those begun are done by all.
    share
        Generate text that several strategies ask for in the same words once, and bill it to each of them.
    json
        Write the whole report with every attempt to this file, after each exercise anew.
    plot
        Draw right answers over tokens into this file (extra "plots").
    markdown
        Print the tables in Markdown.
    """
    chosen = load_strategies(strategies)
    names = [one.name for one in chosen]
    baseline = against or ("greedy" if "greedy" in names else names[0])
    if baseline not in names:
        raise UsageError(f"--against {baseline!r} is none of the strategies: {', '.join(names)}")
    check_outputs(json=json, plot=plot)
    exercises = load_exercises(task, count=problems, seed=seed, shipped=SHIPPED)
    plan = Plan(
        exercises=exercises,
        strategies=chosen,
        budgets=read_budgets(budget),
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
        seed=seed,
        share=share,
        seconds=None if minutes is None else minutes * 60,
    )
    opened = load_model(base_url, name=model, api=api) if base_url else load_model(model)
    console = Console(stderr=True)

    def reported(compared: Compared) -> Comparison:
        return Comparison(
            task=task,
            model=opened.name,
            machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
            seed=seed,
            temperature=temperature,
            max_tokens=max_tokens,
            shared=share,
            exercises=compared.exercises,
            asked=len(exercises),
            generated=compared.generated,
            seconds=compared.seconds,
            baseline=baseline,
            cells=cells(compared, baseline),
            rows=compared.rows,
        )

    def keep(compared: Compared) -> None:
        if json is not None:
            _write(json, msgspec.json.format(msgspec.json.encode(reported(compared))))

    def say(line: str) -> None:
        console.print(line, style="dim", highlight=False)

    report = reported(anyio.run(partial(_compared, opened, plan, say=say, keep=keep)))
    show(report, in_markdown=markdown)
    if plot is not None:
        draw(report, plot)


def show(report: Comparison, *, in_markdown: bool) -> None:
    """Print the tables of *report*."""
    once = " once for all that share them" if report.shared else ""
    heading = (
        f"{report.task}, {report.model}: {report.exercises} exercises of {report.asked}, seed {report.seed}, "
        f"temperature {report.temperature:g}, at most {report.max_tokens} tokens a trace; "
        f"{report.generated} tokens generated{once}, {report.seconds:.0f} s; {report.machine}"
    )
    if in_markdown:
        sys.stdout.write(heading + "\n")
    else:
        Console().print(escape(heading), highlight=False)
    for title, (head, lines) in tables(report).items():
        if in_markdown:
            sys.stdout.write(f"\n{title}\n\n{markdown(head, lines)}\n")
            continue
        shown = Table(title=title, title_justify="left")
        for at, column in enumerate(head):
            shown.add_column(column, justify="left" if at == 1 else "right")
        for line in lines:
            shown.add_row(*map(escape, line))
        show_tables(shown)


def read_budgets(text: str) -> tuple[int, ...]:
    """Return the budgets in a text such as ``500,2k``. Raises :class:`~interwhen.UsageError`."""
    found = []
    for part in text.split(","):
        plain = part.strip().lower()
        number, factor = (plain[:-1], 1000) if plain.endswith("k") else (plain, 1)
        try:
            tokens = round(float(number) * factor)
        except (ValueError, OverflowError):
            tokens = 0
        if tokens < 1:
            raise UsageError(f"--budget {text!r}: {part.strip()!r} is no number of tokens, such as 500 or 2k")
        found.append(tokens)
    return tuple(dict.fromkeys(found))


async def _compared(
    model: Model, plan: Plan, *, say: Callable[[str], None], keep: Callable[[Compared], None]
) -> Compared:
    try:
        async with Workers() as workers:
            return await compare(model, plan, say=say, keep=keep, workers=workers)
    finally:
        with anyio.CancelScope(shield=True):
            await model.aclose()


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content + b"\n")
        part.replace(path)
    except OSError as error:
        raise UsageError(f"the report {str(path)!r} cannot be written: {error.strerror or error}") from error
