"""``interwhen eval``: the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Group, Parameter
from rich.table import Table

from interwhen import UsageError
from interwhen._types.vetting import Above, Amount, Positive, vetted
from interwhen.bench.evaluation._evaluation import Progress
from interwhen.bench.evaluation._fleet import EndpointReport
from interwhen.bench.evaluation._results import EvaluationSummary, summarize
from interwhen.bench.evaluation._settings import EvaluationSettings, run_shards
from interwhen.cli import _exits
from interwhen.cli._flags import BudgetFlagsWithoutReconnects, SamplingFlags
from interwhen.cli._progress import ProgressLine
from interwhen.cli._supervise import run_to_end
from interwhen.cli._text import stdout_console
from interwhen.registry import Api
from interwhen.strategies._answers import ANSWER

_SAMPLING, _BUDGETS = SamplingFlags(), BudgetFlagsWithoutReconnects()
_PROMPTS, _SERVERS, _ENGINE = Group("Prompts", sort_key=0), Group("Servers", sort_key=1), Group("Engine", sort_key=2)
_LIMITS = Group("Limits", sort_key=4)


@vetted("--")
def evaluate(
    *,
    task: Annotated[str, Parameter(group=_PROMPTS)],
    endpoint: Annotated[tuple[str, ...], Parameter(group=_SERVERS, negative="")],
    model: Annotated[str, Parameter(group=_SERVERS)],
    out: Path,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    count: Annotated[Positive | None, Parameter(group=_PROMPTS)] = None,
    task_seed: Annotated[int, Parameter(group=_PROMPTS)] = 0,
    prompt_field: Annotated[str, Parameter(group=_PROMPTS)] = "prompt",
    answer_field: Annotated[str, Parameter(group=_PROMPTS)] = "answer",
    answer: Annotated[str, Parameter(group=_PROMPTS)] = ANSWER,
    api: Annotated[Api, Parameter(group=_SERVERS)] = "chat",
    concurrency: Annotated[Positive, Parameter(group=_SERVERS)] = 8,
    max_concurrency: Annotated[Positive, Parameter(group=_SERVERS)] = 256,
    patience: Annotated[Above, Parameter(group=_SERVERS)] = 300.0,
    tries: Annotated[Positive, Parameter(group=_SERVERS)] = 3,
    engine: Annotated[Literal["local", "ray"], Parameter(group=_ENGINE)] = "local",
    ray_address: Annotated[str | None, Parameter(group=_ENGINE)] = None,
    ray_tasks: Annotated[Positive | None, Parameter(group=_ENGINE)] = None,
    shard_size: Annotated[Positive, Parameter(group=_LIMITS)] = 1000,
    budget_tokens: Annotated[Positive | None, Parameter(group=_LIMITS)] = None,
    price_prompt: Annotated[Amount, Parameter(group=_LIMITS)] = 0.0,
    price_tokens: Annotated[Amount, Parameter(group=_LIMITS)] = 0.0,
    json: Annotated[bool, Parameter(negative="")] = False,
    sampling: SamplingFlags = _SAMPLING,
    budgets: BudgetFlagsWithoutReconnects = _BUDGETS,
) -> int:
    """Run many prompts on one or several servers while verifiers check the streams, and keep all results in a folder.

    The same command continues where an earlier one was stopped or killed: rows with a result are not run again.

    Exit codes: 0 all rows have results, 3 some rows are left (a budget was spent, or they failed on the servers; the
    same command continues), 2 wrong usage, or no server answers any more, 130 interrupted.

    Parameters
    ----------
    task
        The prompts: a .jsonl file (also with .gz, .bz2 or .xz) or .parquet file, as a path or an fsspec URL, whose rows
        have a prompt and, if they are to be graded, an answer; datasets:NAME:CONFIG:SPLIT; or an installed task with
        its options.
    endpoint
        The URL of an OpenAI-compatible server, with its version: http://localhost:8000/v1. May be given several times;
        URL=WEIGHT gives a server a larger share. The key is OPENAI_API_KEY.
    model
        The name of the model on all these servers.
    out
        The folder of the results: new, or from the same command.
    monitor
        A monitor of every run: NAME or NAME:OPTION=VALUE. May be given several times. A row can name its own.
    count
        Take only the first rows; for an installed task, how many exercises (default: 100).
    task_seed
        The seed of an installed task.
    prompt_field
        The field or column of the prompt: a text, or the messages of a chat.
    answer_field
        The field or column of the right answer. Rows without one are not graded.
    answer
        A regular expression whose first group is the answer in a text of the model; the last match counts.
    api
        The API of the servers.
    concurrency
        How many runs each server has at first. The number adapts to what the server can do.
    max_concurrency
        The most runs that a server may have.
    patience
        How long, in seconds, all servers together may fail before the command gives up.
    tries
        How often a row is tried if its server fails. A refusal because of too many requests does not count.
    engine
        Where the shards run: in this process, or in tasks of a Ray cluster (extra ray). The folder of results, and a
        file of prompts, must then be on storage that all nodes share.
    ray_address
        The cluster; without it, Ray takes the one of RAY_ADDRESS, or one on this machine, or starts one here.
    ray_tasks
        The most Ray tasks at the same time; default: the CPUs of the cluster. They share --concurrency.
    shard_size
        Rows in one file of results.
    budget_tokens
        Start no more rows when so many tokens were generated, those of earlier commands included.
    price_prompt
        The price of a million prompt tokens, to show costs.
    price_tokens
        The price of a million generated tokens, to show costs.
    json
        Write the summary as JSON.
    """
    if engine == "local" and (ray_address is not None or ray_tasks is not None):
        raise UsageError(
            "--ray-address and --ray-tasks must be used with --engine ray, got --engine local; change it, or leave "
            "them out"
        )
    settings = EvaluationSettings(
        task=task,
        source=str(Path(task).resolve()) if Path(task).exists() else task,
        out=str(out.resolve()),
        count=count,
        task_seed=task_seed,
        prompt_field=prompt_field,
        answer_field=answer_field,
        answer=answer,
        endpoints=endpoint,
        model=model,
        api=api,
        monitors=monitor,
        concurrency=concurrency,
        max_concurrency=max_concurrency,
        patience=patience,
        tries=tries,
        shard_size=shard_size,
        budget_tokens=budget_tokens,
        sampling=sampling.value(),
        budgets=budgets.value(),
    )
    prices = price_prompt, price_tokens

    async def main() -> int:
        with ProgressLine("evaluating rows") as line:

            def show(progress: Progress) -> None:
                total = None if progress.known is None else progress.known - progress.before
                line.of(progress.rows, total, describe(progress))

            if engine == "ray":
                from interwhen.bench.evaluation._ray_engine import run_on_ray

                ended = await run_on_ray(settings, address=ray_address, tasks=ray_tasks, on_progress=show)
            else:
                ended = await run_shards(settings, on_progress=show)
        progress = ended.progress
        _print(summarize(out), progress, ended.endpoints, prices, json=json)
        return _exits.BY_STATUS["unverified"] if progress.left or progress.is_budget_spent else _exits.OK

    return run_to_end(main, "to continue: run the same command again")


def describe(progress: Progress) -> str:
    failed = f", {len(progress.left)} rows failed" if progress.left else ""
    return f"{progress.running} running, {progress.tokens:,} tokens{failed}"


def _print(
    summary: EvaluationSummary,
    progress: Progress,
    endpoints: list[EndpointReport],
    prices: tuple[float, float],
    *,
    json: bool,
) -> None:
    tokens = summary.tokens + summary.tokens_again
    cost = (summary.prompt_tokens * prices[0] + tokens * prices[1]) / 1e6 if any(prices) else None
    if json:
        report: dict[str, Any] = {
            "summary": summary,
            "cost": cost,
            "left": progress.left,
            "budget_spent": progress.is_budget_spent,
            "seconds": progress.seconds,
            "affinity": progress.affinity,
            "endpoints": endpoints,
        }
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    console = stdout_console()
    table = Table(show_header=False)
    table.add_row("rows with a result", f"{summary.rows:,}")
    for status, rows in sorted(summary.statuses.items()):
        table.add_row(f"  {status}", f"{rows:,}")
    if summary.graded:
        table.add_row("right answers", f"{summary.right:,} of {summary.graded:,} graded")
        table.add_row("verified and wrong", f"{summary.verified_wrong:,}")
    table.add_row("violations", f"{summary.violations:,}")
    table.add_row("generated tokens", f"{summary.tokens:,}")
    table.add_row("spent again (at least)", f"{summary.tokens_again:,} in {summary.attempts_again:,} attempts")
    table.add_row("prompt tokens", f"{summary.prompt_tokens:,}, {summary.cached_tokens:,} cached")
    if cost is not None:
        table.add_row("cost", f"{cost:,.2f}")
    if progress.affinity is not None:
        table.add_row("requests on the server of their prefix", f"{progress.affinity:.2%}")
    for one in endpoints:
        text = f"{one.runs:,} runs, limit {one.limit:.0f}, {one.failures} failures, {one.refusals} refusals"
        table.add_row(one.url, text)
    if progress.left:
        table.add_row("rows that failed", f"{len(progress.left)}: run the same command to try them again")
    if progress.is_budget_spent:
        table.add_row("budget", "spent: a larger --budget-tokens continues")
    console.print(table)
