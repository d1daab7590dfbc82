"""``python -m tests.simulation``: plays simulated worlds and checks the promises of the framework in each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from cyclopts import App, Parameter
from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen.cli import _exits
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import as_json, stdout_console
from rich.console import Console
from rich.table import Table
from tests.command_line import run
from tests.simulation.campaign import Campaign, run_campaign, shrink_failure
from tests.simulation.cases import BrokenInvariant
from tests.simulation.coverage import all_labels, blind_spots
from tests.simulation.description import report
from tests.simulation.generation import generate
from tests.simulation.invariants import examine
from tests.simulation.worlds import World, from_json, to_json


def simulate(
    *,
    seeds: int = 2000,
    first: Annotated[int, Parameter(name="--from")] = 0,
    seed: int | None = None,
    world: str | None = None,
    jobs: int = 1,
    shrink: bool = True,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Play simulated worlds in virtual time, and find those that break a promise.

    Each world is generated from its seed: a model that writes right and wrong claims, monitors, faults of verifiers and
    of the network, budgets, a reader. The real engine runs in it. The simulator knows which claims are right, and
    checks the promises.

    Exit codes: 0 every promise held, 1 a promise was broken, 2 wrong usage.

    Parameters
    ----------
    seeds
        How many worlds are played.
    first
        The seed of the first world.
    seed
        Play only the world of this seed, and print its events (without --json).
    world
        Play only this world, given as JSON in the form that is printed for a failure.
    jobs
        The number of processor cores to use.
    shrink
        Look for a smaller world that breaks the same promise as the first failing one (without --json).
    json
        Write the counts and the failures as one JSON object, with the world of each failure, and nothing else on
        stdout.
    """
    if seeds < 1 or jobs < 1:
        raise UsageError(f"--seeds and --jobs must be at least 1, got {seeds} and {jobs}")
    if seed is not None and world is not None:
        raise UsageError("--seed and --world must not be used together, got both: give one of them")
    if seed is not None:
        return _one(generate(seed), shrink=shrink, json=json)
    if world is not None:
        return _one(_parse(world), shrink=shrink, json=json)
    return _many(range(first, first + seeds), jobs, shrink=shrink, json=json)


def _parse(text: str) -> World:
    try:
        return from_json(text)
    except DECODE_ERRORS as error:
        raise UsageError(
            f"--world must be a world as JSON, got something else ({error}): give what a failed run printed"
        ) from error


def _one(world: World, *, shrink: bool, json: bool) -> int:
    console = stdout_console()
    examined = examine(world)
    if json:
        _write(1, {}, [(None, world, examined.broken)])
        return _exits.BROKEN if examined.broken else _exits.OK
    console.print(report(examined))
    if not examined.broken:
        return _exits.OK
    if shrink:
        _show_small(console, _smallest(world, examined.broken))
    return _exits.BROKEN


def _smallest(world: World, broken: tuple[BrokenInvariant, ...]) -> World:
    with ProgressLine("making the world small"):
        return shrink_failure(world, broken)


def _write(worlds: int, counts: Mapping[str, int], failed_worlds: Iterable[tuple[int | None, World, Any]]) -> None:
    # `failed_worlds` has the seed, the world and the broken promises of each failed world.
    failures = [
        {
            "seed": seed,
            "broken": [{"promise": one.invariant, "detail": one.detail} for one in broken],
            "world": to_json(world),
        }
        for seed, world, broken in failed_worlds
        if broken
    ]
    stdout_console().file.write(as_json({"worlds": worlds, "reached": counts, "failures": failures}) + "\n")


def _show_small(console: Console, world: World) -> None:
    console.print("\nThe smallest world that was found to break the same promise:\n")
    console.print(report(examine(world)))
    console.print(f"\npython -m tests.simulation --world '{to_json(world)}'")


def _many(seeds: range, jobs: int, *, shrink: bool, json: bool) -> int:
    console = stdout_console()
    begun = time.perf_counter()
    with ProgressLine("worlds", len(seeds)) as progress:
        campaign = run_campaign(
            seeds, jobs=jobs, progress=lambda all_: progress.to(all_.worlds, f"{all_.failed} broken")
        )
    if json:
        counts = {f"{kind} {name}": campaign.counts[kind, name] for kind, name in all_labels()}
        _write(campaign.worlds, counts, ((one.seed, generate(one.seed), one.broken) for one in campaign.failures))
        return _exits.BROKEN if campaign.failures else _exits.OK
    _show(console, campaign, seeds, time.perf_counter() - begun)
    if not campaign.failures:
        return _exits.OK
    for failure in campaign.failures:
        console.print(f"\nseed {failure.seed}: python -m tests.simulation --seed {failure.seed}")
        for one in failure.broken:
            console.print(f"  {one.invariant}: {one.detail}")
    if shrink:
        first = campaign.failures[0]
        _show_small(console, _smallest(generate(first.seed), first.broken))
    return _exits.BROKEN


def _show(console: Console, campaign: Campaign, seeds: range, seconds: float) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("what", no_wrap=True)
    table.add_column("worlds that reached it", overflow="fold")
    rows: dict[str, list[str]] = {}
    for kind, name in all_labels():
        rows.setdefault(kind, []).append(f"{name} {campaign.counts[kind, name] or 'NEVER'}")
    for kind, cells in rows.items():
        table.add_row(kind, ", ".join(cells))
    console.print(table)
    blind = blind_spots(campaign.counts)
    if blind:
        console.print(f"\nblind: {', '.join(f'{kind} {name}' for kind, name in blind)}")
    core = campaign.worlds / campaign.seconds if campaign.seconds else 0.0
    console.print(
        f"\n{campaign.worlds} worlds from seed {seeds.start} in {seconds:.1f} s ({core:.0f} a second and core): "
        + (f"{campaign.failed} broken" if campaign.failed else "every promise held")
    )


app = App(name="python -m tests.simulation", result_action="return_value")
app.default(simulate)

if __name__ == "__main__":
    sys.exit(run(app))
