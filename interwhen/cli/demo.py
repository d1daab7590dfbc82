"""``interwhen demo``: three problems for a tiny model, solved live while a verifier looks on."""

from __future__ import annotations

import math
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interwhen.cli import exits
from interwhen.cli.escape import visible
from interwhen.cli.flags import ModelFlags
from interwhen.cli.legend import legend
from interwhen.cli.pacing import PacedModel
from interwhen.cli.scenes import MODEL, SAMPLING, SCENES, Scene
from interwhen.cli.signs import STYLES, LineKind, Signs, signs_for
from interwhen.cli.supervise import closing, watch
from interwhen.cli.viewers import stdout_console, viewer_for
from interwhen.errors import UsageError
from interwhen.models.base import Model
from interwhen.registry import load_monitor
from interwhen.results import Result, Status

_KINDS: dict[Status, LineKind] = {
    "verified": "passed",
    "unverified": "unproven",
    "abstained": "violated",
    "failed": "violated",
}
_NO_MODEL = ModelFlags()


def demo(
    *,
    model: ModelFlags = _NO_MODEL,
    plain: Annotated[bool, Parameter(negative="")] = False,
    speed: float = 60.0,
) -> int:
    """Watch interwhen at work: a tiny model solves three problems, and a verifier checks each of its steps.

    The model has 2.7 million parameters and comes with interwhen: no server, no key, no download. The exit code is 0
    for any honest end, and 5 where the model failed.

    Parameters
    ----------
    plain
        Append lines instead of redrawing a picture, as is done anyway when stdout is no terminal.
    speed
        How many tokens a second are shown, at most: the model writes faster than anyone reads. 0 shows all as it comes.
    """
    if not 0 <= speed < math.inf:
        raise UsageError(f"--speed {speed} is no number of tokens a second; 0 shows them as they come")
    is_ours = not (model.model or model.base_url)
    opened = (ModelFlags(MODEL) if is_ours else model).open(SCENES[0].prompt)
    console = stdout_console()
    signs = signs_for(console.encoding)
    shown: Model = PacedModel(opened, speed) if speed else opened
    _introduce(console, shown, signs, is_ours=is_ours)
    if speed:
        console.print(
            f"\nThe text is slowed down to {speed:g} tokens a second, for your eyes; --speed 0 shows it as it comes."
        )

    async def main() -> list[Result]:
        async with closing(shown):
            return await _play(console, shown, plain=plain)

    results = anyio.run(main)
    _conclude(console, results, signs)
    return exits.FAILED if any(result.status == "failed" for result in results) else exits.OK


def _introduce(console: Console, model: Model, signs: Signs, *, is_ours: bool) -> None:
    console.print(Text.assemble("Starting ", (visible(model.name), "bold"), " for three runs. What you will see:\n"))
    console.print(legend(signs))
    if not is_ours:
        console.print(f"\nThe problems were chosen for {MODEL}; this model may do better or worse.")


async def _play(console: Console, model: Model, *, plain: bool) -> list[Result]:
    """Run the scenes one after the other; a model that failed once is not asked again."""
    results: list[Result] = []
    for number, scene in enumerate(SCENES, start=1):
        console.print(_heading(number, scene))
        viewer = viewer_for(console, json=False, plain=plain)
        result = await watch(
            model,
            scene.prompt,
            viewer,
            monitors=(load_monitor(scene.monitor),),
            sampling=SAMPLING,
            budgets=scene.budgets,
        )
        results.append(result)
        if result.status == "failed":
            break
    return results


def _heading(number: int, scene: Scene) -> Text:
    return Text.assemble(
        (f"\nRun {number} of {len(SCENES)}. ", "bold"),
        scene.told,
        (f"\n\n  {scene.problem}\n", "bold"),
        (f"  watched by {scene.monitor}\n", "dim"),
    )


def _conclude(console: Console, results: list[Result], signs: Signs) -> None:
    """Say on one line for each run how it ended and what it took."""
    table = Table.grid(padding=(0, 3))
    for number, result in enumerate(results, start=1):
        ledger, kind = result.ledger, _KINDS[result.status]
        interrupts = sum(violation.interrupted for violation in result.violations)
        table.add_row(
            Text(f"Run {number}"),
            Text(f"{signs.of(kind)} {result.label}", style=STYLES[kind]),
            Text(f"{ledger.kept + ledger.discarded} tokens, {ledger.discarded} of them discarded"),
            Text(f"{interrupts} interrupt{'' if interrupts == 1 else 's'}"),
        )
    console.print(Padding(table, (1, 0, 0, 0)))
