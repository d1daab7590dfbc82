"""``interwhen simulate``: plays simulated worlds and checks the promises of the framework in each."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.cli import _exits
from interwhen.cli._text import console_for, is_live, stdout_console
from interwhen.testing.simulation._campaign import Campaign, run_campaign, shrink_failure
from interwhen.testing.simulation._coverage import all_labels, blind_spots
from interwhen.testing.simulation._description import report
from interwhen.testing.simulation._generation import generate
from interwhen.testing.simulation._invariants import examine
from interwhen.testing.simulation._worlds import World, from_json, to_json


def simulate(
    *,
    seeds: int = 2000,
    first: Annotated[int, Parameter(name="--from")] = 0,
    seed: int | None = None,
    world: str | None = None,
    jobs: int = 1,
    shrink: bool = True,
) -> int:
    """Play simulated worlds in virtual time, and find those that break a promise.

    Each world is generated from its seed: a model that writes right and wrong claims, monitors, faults of verifiers and
    of the network, budgets, a reader. The real engine runs in it. The simulator knows which claims are right, and
    checks every promise.

    Exit codes: 0 every promise held, 1 a promise was broken, 2 wrong usage.

    Parameters
    ----------
    seeds
        How many worlds are played.
    first
        The seed of the first world.
    seed
        Play only the world of this seed, and print everything that happens in it.
    world
        Play only this world, given as JSON in the form that is printed for a failure.
    jobs
        The number of processor cores to use.
    shrink
        Make the first failing world as small as possible.
    """
    if seeds < 1 or jobs < 1:
        raise UsageError(f"--seeds and --jobs must be at least 1, got {seeds} and {jobs}")
    if seed is not None and world is not None:
        raise UsageError("--seed and --world must not be used together, got both: give one of them")
    if seed is not None:
        return _one(generate(seed), shrink=shrink)
    if world is not None:
        return _one(_parse(world), shrink=shrink)
    return _many(range(first, first + seeds), jobs, shrink=shrink)


def _parse(text: str) -> World:
    try:
        return from_json(text)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"--world must be a world as JSON, got something else ({error}): give what a failed run printed"
        ) from error


def _one(world: World, *, shrink: bool) -> int:
    console = stdout_console()
    examined = examine(world)
    console.print(report(examined))
    if not examined.broken:
        return _exits.OK
    if shrink:
        _show_small(console, shrink_failure(world, examined.broken))
    return _exits.BROKEN


def _show_small(console: Console, world: World) -> None:
    console.print("\nThe smallest world that was found to break the same promise:\n")
    console.print(report(examine(world)))
    console.print(f"\ninterwhen simulate --world '{to_json(world)}'")


def _many(seeds: range, jobs: int, *, shrink: bool) -> int:
    console, errors = stdout_console(), console_for(sys.stderr)
    begun = time.perf_counter()

    def progress(campaign: Campaign) -> None:
        if is_live(errors):
            rate = campaign.worlds / (time.perf_counter() - begun)
            errors.print(f"\r{campaign.worlds} of {len(seeds)} worlds, {rate:.0f}/s, {campaign.failed} broken ", end="")

    campaign = run_campaign(seeds, jobs=jobs, progress=progress)
    if is_live(errors):
        errors.print()
    _show(console, campaign, seeds, time.perf_counter() - begun)
    if not campaign.failures:
        return _exits.OK
    for failure in campaign.failures:
        console.print(f"\nseed {failure.seed}: interwhen simulate --seed {failure.seed}")
        for one in failure.broken:
            console.print(f"  {one.invariant}: {one.detail}")
    if shrink:
        first = campaign.failures[0]
        _show_small(console, shrink_failure(generate(first.seed), first.broken))
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
