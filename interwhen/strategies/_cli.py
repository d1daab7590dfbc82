"""``interwhen plan``: how forks get their prefix. ``interwhen remedies``: what was learned about remedies."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interwhen._types.errors import UsageError
from interwhen._types.models import Model
from interwhen.cli._flags import ModelFlags
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import as_json, one_line, stdout_console
from interwhen.strategies._fork_planning import Explanation, explain, probe_rates
from interwhen.strategies._remedy_beliefs import RemedyBelief, RunCounts, stored_beliefs

app = App(name="plan", help="How forks get their prefix.")


@app.command(name="explain")
def explain_forks(
    *,
    flags: ModelFlags = ModelFlags(),  # noqa: B008  (a frozen value)
    forks: int = 24,
    disturb: int = 3,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Probe an endpoint, fork from a growing trace there, and show predicted and measured times.

    Parameters
    ----------
    forks
        How many forks are made, one after the other.
    disturb
        Send other requests after each group of this many forks, so that the server may evict its cache; 0: never.
    json
        Print the explanation as one JSON object.
    """
    if forks < 2 or disturb < 0:
        raise UsageError(
            f"--forks must be at least 2 and --disturb at least 0, got {forks} and {disturb}; give larger ones"
        )
    with tempfile.TemporaryDirectory(prefix="interwhen-plan-") as shelf:
        found = anyio.run(_explain, flags, shelf, forks, disturb)
    if json:
        print(as_json(found))
    else:
        _show(stdout_console(), found)


async def _explain(flags: ModelFlags, shelf: str, forks: int, disturb: int) -> Explanation:
    model = _open(flags, shelf)
    try:
        rates = await probe_rates(model, mark=secrets.token_hex(3))
        with ProgressLine("forks", forks) as progress:
            return await explain(model, rates, forks=forks, disturb=disturb, say=lambda _: progress.advance())
    finally:
        await model.aclose()


def _open(flags: ModelFlags, shelf: str) -> Model:
    kind, _, spec = (flags.model or "local").partition(":")
    if flags.base_url is None and kind == "local":
        from interwhen.models._local import open_local

        return open_local(spec, shelf=shelf)
    return flags.open()


def _show(console: Console, found: Explanation) -> None:
    console.print(Text.assemble((one_line(found.model), "bold"), "\n"))
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("fork", "route", "prefix", "predicted", "actual", "to read", "read", "because"):
        table.add_column(name, justify="left" if name in {"route", "because"} else "right")
    for number, fork in enumerate(found.forks, 1):
        read = "?" if fork.actual_prefill is None else f"{fork.actual_prefill}"
        table.add_row(
            f"{number}",
            fork.route + (" + save" if fork.saved else ""),
            f"{fork.prefix}",
            f"{fork.predicted:.1f} ms",
            f"{fork.actual:.1f} ms",
            f"{fork.predicted_prefill:.0f}",
            read,
            fork.why,
        )
    console.print(table)
    for name, rates in (("probed", found.before), ("now", found.after)):
        console.print(
            f"\n{name}: {1e3 * rates.request:.2f} ms a request, {1e3 * rates.prefill:.3f} ms a token read, "
            f"{1e3 * rates.decode:.2f} ms a token written, {1e3 * rates.restore:.2f} ms a restore and "
            f"{1e3 * rates.restored:.4f} ms a token restored",
            style="dim",
            highlight=False,
        )
    console.print(f"\nMedian error of the prediction in the second half: {found.off:.0f} %.")


def remedies(file: Annotated[str, Parameter(env_var="INTERWHEN_REMEDIES_STORE")], *, json: bool = False) -> None:
    """Show which remedies have worked, and the order that follows from it, for each model and verifier.

    Parameters
    ----------
    file
        The file in which runs or a gateway learn; default: INTERWHEN_REMEDIES_STORE.
    json
        Print a JSON array.
    """
    if not Path(file).is_file():
        raise UsageError(f"the file of beliefs must exist, got {file!r}; give the path that runs or a gateway use")
    learner = stored_beliefs(file)
    found, counts = learner.beliefs(), learner.counts()
    if json:
        print(as_json([{**one._asdict(), **counts[one.model, one.verifier]._asdict()} for one in found]))
        return
    console = stdout_console()
    if not found:
        console.print("No run with a remedy has ended yet.")
    for key, group in groupby(found, key=lambda one: (one.model, one.verifier)):
        console.print(_learned(key, tuple(group), counts[key]))


def _learned(key: tuple[str, str], beliefs: Sequence[RemedyBelief], counts: RunCounts) -> Table:
    title = f"{one_line(key[0])} · {one_line(key[1])}: {counts.runs} runs with a remedy"
    if counts.explored:
        title += f", {counts.explored} of them tried another order"
    if counts.resets:
        title += f"; learned again {counts.resets} times, because the results had changed"
    table = Table(title=Text(title), title_justify="left")
    for heading in ("order", "remedy", "works first", "uses", "works after another", "uses", "why"):
        table.add_column(heading)
    for number, one in enumerate(beliefs, start=1):
        first, later = (f"{100 * chance:.0f} %" for chance in (one.first, one.later))
        uses = [f"{weight:.1f}" for weight in (one.first_uses, one.later_uses)]
        table.add_row(str(number), one.rung, first, uses[0], later, uses[1], _why(number, one, beliefs))
    return table


def _why(number: int, one: RemedyBelief, beliefs: Sequence[RemedyBelief]) -> str:
    if one.first_uses + one.later_uses == 0:
        return "not used yet: the place is that of the default order"
    if one.rung == "repair" and number == 1:
        return "applies only where the verifier knows the value, and is worth at least as much as the others"
    if number == 1 or (number == 2 and beliefs[0].rung == "repair"):
        return "works best as the first remedy at a place"
    return "ordered by how often it works after another one failed"
