"""The settings of an evaluation, and the function that runs it, also in a task of Ray."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from typing import NamedTuple

import msgspec

from interwhen import Budgets, Monitor, Sampling
from interwhen._engine.run import require_on
from interwhen._types import __version__
from interwhen._types.models import Model
from interwhen.bench.evaluation._evaluation import Evaluation, Progress
from interwhen.bench.evaluation._fleet import EndpointReport, Fleet, read_endpoint
from interwhen.bench.evaluation._prompts import Prompts, open_prompts
from interwhen.bench.evaluation._results import Manifest, Results, summarize
from interwhen.cli._supervise import closing
from interwhen.registry import Api, MonitorSpec, load_model, load_monitors
from interwhen.strategies._answers import ANSWER


class EvaluationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command ``interwhen eval``, whose help explains them."""

    # They are plain data, so another process can use them.

    task: str
    """The source of the prompts as the user named it."""
    source: str
    """Like ``task``, but a path is absolute."""
    out: str
    count: int | None = None
    task_seed: int = 0
    prompt_field: str = "prompt"
    answer_field: str = "answer"
    answer: str = ANSWER
    endpoints: tuple[str, ...]
    model: str
    api: Api = "chat"
    monitors: tuple[str, ...] = ()
    concurrency: int = 8
    max_concurrency: int = 256
    patience: float = 300.0
    tries: int = 3
    shard_size: int = 1000
    budget_tokens: int | None = None
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    budgets: Budgets = msgspec.field(default_factory=Budgets)

    def open_prompts(self) -> Prompts:
        # Raises `UsageError` if the source cannot be read, and `MissingExtraError` if its package is missing.
        return open_prompts(
            self.source,
            count=self.count,
            seed=self.task_seed,
            prompt_field=self.prompt_field,
            answer_field=self.answer_field,
            answer_pattern=self.answer,
        )

    def manifest(self, prompts: Prompts) -> Manifest:
        # Raises `UsageError` if a monitor cannot be loaded.
        watching = load_monitors(self.monitors)
        return Manifest(
            task=self.task,
            digest=prompts.digest,
            model=self.model,
            api=self.api,
            monitors=self.monitors,
            versions={str(one.verifier.name): str(one.verifier.version) for one in watching},
            sampling=msgspec.to_builtins(self.sampling),
            budgets=msgspec.to_builtins(self.budgets),
            shard_size=self.shard_size,
            interwhen=__version__,
        )

    def spent_tokens(self) -> int:
        summary = summarize(self.out)
        return summary.tokens + summary.tokens_again


class EvaluationEnd(NamedTuple):
    progress: Progress
    endpoints: list[EndpointReport]


async def run_shards(
    settings: EvaluationSettings,
    *,
    shards: Collection[int] | None = None,
    part: str = "",
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> EvaluationEnd:
    """Run the prompts of *shards* (``None``: all) that have no result yet, on the servers of *settings*.

    *part* names the file of spending of this process, if several processes work in the folder. *on_progress* is called
    about once a second, and at the end.
    """
    require_on("evaluate")
    prompts = settings.open_prompts()
    most = settings.max_concurrency
    fleet = Fleet(
        [read_endpoint(each, limit=settings.concurrency, most=most) for each in settings.endpoints], settings.patience
    )
    watching = load_monitors(settings.monitors)
    async with AsyncExitStack() as stack:
        results = stack.enter_context(Results(settings.out, settings.manifest(prompts), part))
        models: dict[str, Model] = {}
        for one in fleet.endpoints:
            opened = models[one.url] = load_model(one.url, name=settings.model, api=settings.api)
            await stack.enter_async_context(closing(opened))
        evaluation = Evaluation(
            prompts=prompts,
            results=results,
            fleet=fleet,
            models=models,
            monitors=_monitors_of(watching),
            shards=shards,
            sampling=settings.sampling,
            budgets=settings.budgets,
            tries=settings.tries,
            budget_tokens=settings.budget_tokens,
            spent_tokens=0 if settings.budget_tokens is None else settings.spent_tokens(),
            on_progress=on_progress,
        )
        progress = await evaluation.run()
    return EvaluationEnd(progress, [one.report() for one in fleet.endpoints])


def _monitors_of(common: tuple[Monitor, ...]) -> Callable[[tuple[MonitorSpec, ...]], tuple[Monitor, ...]]:
    # `common` has the monitors of the command. They replace monitors of the row with the same name.
    taken = {one.name for one in common}

    @functools.lru_cache(maxsize=256)
    def more(specs: tuple[MonitorSpec, ...]) -> tuple[Monitor, ...]:
        return tuple(one for one in load_monitors(specs) if one.name not in taken)

    return lambda specs: (*common, *more(specs)) if specs else common
