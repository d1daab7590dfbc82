"""``interwhen bench precompute``."""

from __future__ import annotations

import sys

import anyio
import msgspec
from rich.console import Console
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.bench._console import show_tables
from interwhen.bench._precompute import local_table, measure, tables
from interwhen.bench._precompute_local import LocalPrecompute, measure_local


def precompute(
    *,
    model: str = "simulated",
    contexts: int = 8,
    questions: int = 10,
    gate_items: int = 20,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Measure what work ahead of time saves, on generated contexts, and what the productivity gate decides.

    The curves come from a SIMULATED model that slips at stated rates, under the real engine, store and verifiers.
    ``--model local`` runs the real local model instead, on running totals.

    Parameters
    ----------
    model
        "simulated", "local" (the tiny model that comes with interwhen) or "local:PATH.gguf".
    contexts
        Contexts of each family and predictability; problems of the local model are five times as many.
    questions
        Questions on each context.
    gate_items
        Simulated items of each worth that the gate decides on.
    seed
        Seed of everything.
    json
        Print the report as one JSON object.
    """
    if contexts < 1 or questions < 1 or gate_items < 1:
        raise UsageError("--contexts, --questions and --gate-items: nothing can be measured in less than one")
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, style="dim", highlight=False)

    if model == "simulated":
        report = anyio.run(
            lambda: measure(contexts=contexts, questions=questions, gate_items=gate_items, seed=seed, say=say)
        )
        _show(report, tables(report), json=json)
        return
    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(f"--model {model!r}: choose 'simulated', 'local' or 'local:PATH.gguf'")

    async def once() -> LocalPrecompute:
        from interwhen.models._local import open_local

        async with open_local(spec) as opened:
            return await measure_local(opened, problems=5 * contexts, seed=seed, say=say)

    found = anyio.run(once)
    _show(found, [local_table(found)], json=json)


def _show(report: object, pictures: list[Table], *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    show_tables(*pictures)
