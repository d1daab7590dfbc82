"""``interwhen plan``: how forks get their prefix."""

from __future__ import annotations

import secrets
import tempfile
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
