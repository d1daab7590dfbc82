"""``interwhen demo``: a small model on this machine makes mistakes, and is put right while it writes."""

from __future__ import annotations

from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.text import Text

from interwhen.cli.escape import visible
from interwhen.cli.exits import BY_STATUS
from interwhen.cli.flags import ModelFlags
from interwhen.cli.legend import legend
from interwhen.cli.signs import signs_for
from interwhen.cli.supervise import supervise
from interwhen.cli.viewers import stdout_console, viewer_for
from interwhen.models.base import Sampling
from interwhen.registry import load_monitor

MODEL = "local:smollm2"
MONITOR = "arithmetic:remedy=repair"
SAMPLING = Sampling(max_tokens=160, temperature=0.0, stop=("\n\n",))
PROMPT = """\
Running totals.

Start: 12. Add 25 each week.
Week 1: 12 + 25 = 37
Week 2: 37 + 25 = 62
Week 3: 62 + 25 = 87
Week 4: 87 + 25 = 112
Week 5: 112 + 25 = 137
Done: 137

Start: 40. Add 17 each week.
Week 1: 40 + 17 = 57
Week 2: 57 + 17 = 74
Week 3: 74 + 17 = 91
Week 4: 91 + 17 = 108
Week 5: 108 + 17 = 125
Done: 125

Start: 64. Add 29 each week.
"""
"""A completion prompt, since the model is a small base model: two examples say more to it than an instruction."""

_HONEST_ENDS = frozenset(BY_STATUS[status] for status in ("verified", "unverified", "abstained"))
_NO_MODEL = ModelFlags()


def demo(
    *,
    model: ModelFlags = _NO_MODEL,
    plain: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Watch interwhen at work: a model of 135 million parameters adds numbers, and a verifier checks each line.

    Needs no server, no key and no network. The exit code is 0 for any honest end, and 5 where the model failed.

    Parameters
    ----------
    plain
        Append lines instead of redrawing a picture, as is done anyway when stdout is no terminal.
    """
    monitor = load_monitor(MONITOR)
    chosen = model if model.model or model.base_url else ModelFlags(MODEL)
    opened = chosen.open(PROMPT)
    console = stdout_console()
    signs = signs_for(console.encoding)
    console.print(Text.assemble("Starting ", (visible(opened.name), "bold"), ". It is asked to continue:\n"))
    console.print(Text("\n".join(f"    {line}" for line in PROMPT.splitlines()), style="dim"))
    console.print(
        Text.assemble(
            "\nBeside the stream, ",
            (visible(monitor.name), "bold"),
            " checks each sum while the model writes on. A wrong one stops the stream; the right "
            "value is written in its place, and the same model goes on from there.\n",
        )
    )
    console.print(legend(signs))
    console.print()

    async def main() -> int:
        viewer = viewer_for(console, json=False, plain=plain)
        code = await supervise(opened, PROMPT, viewer, monitors=(monitor,), sampling=SAMPLING)
        return 0 if code in _HONEST_ENDS else code

    return anyio.run(main)
