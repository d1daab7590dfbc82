"""Supervised answers for the rows of a Ray dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from interwhen._run.run import run
from interwhen._types.budgets import Budgets
from interwhen._types.errors import UsageError
from interwhen._types.models import Message, Model, Prompt, Sampling
from interwhen._types.results import Result, Unverified, Verified
from interwhen._types.vetting import Positive, require
from interwhen.registry import Api, load_model, load_monitors

COLUMNS = ("status", "scope", "why", "answer", "text", "violations", "tokens")
"""The columns that each row gets."""


class SupervisedBatches:
    """See :func:`map_batches` for the parameters."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        monitors: Sequence[str] = (),
        *,
        api: Api = "chat",
        prompt_column: str = "prompt",
        concurrency: int = 8,
        sampling: Sampling | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._model = endpoint, model, api
        self._monitors = load_monitors(tuple(monitors))
        self._column, self._concurrency = prompt_column, concurrency
        self._options: dict[str, Any] = {"sampling": sampling, "budgets": budgets}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        # Ray calls it with a batch, which maps the name of each column to its values.
        if self._column not in batch:
            raise UsageError(
                f"the dataset must have the column {self._column!r}, got {', '.join(batch) or 'none'}; name it with "
                "prompt_column="
            )
        # Each batch has an event loop of its own, so the model, whose connections belong to a loop, is opened in it.
        rows = anyio.run(self._answer, [str(prompt) for prompt in batch[self._column]])
        return {**batch, **{name: [row[name] for row in rows] for name in COLUMNS}}

    async def _answer(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        url, name, api = self._model
        model = load_model(url, name=name, api=api)
        limiter, rows = anyio.CapacityLimiter(self._concurrency), list[dict[str, Any]]([{}] * len(prompts))

        async def one(number: int) -> None:
            async with limiter:
                text = prompts[number]
                # The completions API takes a text, and the chat API messages.
                prompt = text if api == "completions" else (Message(role="user", content=text),)
                rows[number] = await self._row(model, prompt)

        try:
            async with anyio.create_task_group() as group:
                for number in range(len(prompts)):
                    group.start_soon(one, number)
        finally:
            with anyio.move_on_after(5.0, shield=True):
                await model.aclose()
        return rows

    async def _row(self, model: Model, prompt: Prompt) -> dict[str, Any]:
        async with run(model, prompt, monitors=self._monitors, **self._options) as supervised:
            await supervised.drain()
        result = supervised.result
        return {
            "status": result.status,
            "scope": result.certificate.scope if isinstance(result, Verified) else "",
            "why": _why(result),
            "answer": result.answer,
            "text": result.text,
            "violations": len(result.violations),
            "tokens": result.ledger.total_tokens,
        }


def _why(result: Result) -> str:
    if isinstance(result, Unverified):
        return "; ".join(dict.fromkeys(reason.why for reason in result.unverified_reasons))
    return "" if isinstance(result, Verified) else str(getattr(result, "reason", "") or getattr(result, "error", ""))


def map_batches(
    dataset: Any,
    endpoint: str,
    *,
    model: str,
    monitors: Sequence[str] = (),
    api: Api = "chat",
    prompt_column: str = "prompt",
    batch_size: int = 64,
    concurrency: int = 8,
    actors: int = 1,
    sampling: Sampling | None = None,
    budgets: Budgets | None = None,
) -> Any:
    """Return *dataset*, a ``ray.data.Dataset``, with a supervised answer for each row.

    The rows get the columns ``status``, ``scope``, ``why``, ``answer``, ``text``, ``violations`` and ``tokens``. A row
    whose run fails has the status ``failed``. *endpoint* is the URL of an OpenAI-compatible server, *model* its model,
    and *monitors* are names. *prompt_column* is the column with the prompts: with the *api* ``chat``, a prompt becomes
    one message of the user, and with ``completions`` it is the text to continue. *sampling* and *budgets* are those of
    :func:`~interwhen.run`. *actors* actors work at the same time on batches of *batch_size* rows, each with at most
    *concurrency* runs. The key is OPENAI_API_KEY, on each node. Ray does the work when the returned dataset is read.
    Raises :class:`~interwhen.UsageError` for numbers below 1, and :class:`~interwhen.registry.PluginError` for a
    monitor that cannot be loaded.
    """
    for label, number in (("batch_size", batch_size), ("concurrency", concurrency), ("actors", actors)):
        require(f"map_batches: {label}", number, Positive)
    load_monitors(tuple(monitors))  # a wrong name is an error here, and not later in an actor
    return dataset.map_batches(
        SupervisedBatches,
        fn_constructor_args=(endpoint, model, tuple(monitors)),
        fn_constructor_kwargs={
            "api": api,
            "prompt_column": prompt_column,
            "concurrency": concurrency,
            "sampling": sampling,
            "budgets": budgets,
        },
        batch_size=batch_size,
        concurrency=actors,
    )
