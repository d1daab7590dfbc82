"""Measure how long patterns from outside stop the event loop: ``python -m tests.measurements.measure_pause [PAIRS]``.

Each pair is two runs on the same text of 10,000 characters: one checked by a schema without a pattern, and one with the
pattern ``^(a+)+$``, which takes ``re`` twice as long for each further letter. A second kind of pair has a pattern with
look-around, which only a worker process may match. A task beside the run notes the longest time for which the loop did
not turn: by the clock, and in the loop thread's own time, which does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import NamedTuple

import anyio
import interwhen
from interwhen.testing import ScriptedModel

LENGTH = 10_000
SCHEMAS = {
    "no pattern": {"type": "string"},
    "`^(a+)+$`, by RE2": {"type": "string", "pattern": "^(a+)+$"},
    "`^(?=a)(a+)+$`, in a process": {"type": "string", "pattern": "^(?=a)(a+)+$"},
}


class Pause(NamedTuple):
    """The longest time for which a loop did not turn, in milliseconds."""

    wall: float
    own: float


def monitor_of(schema: object) -> interwhen.Monitor:
    """Load a monitor for *schema*.

    Loading a pattern that RE2 cannot express starts a process that compiles it, which takes some 30 ms. A server loads
    its monitors before it serves, and so does this program.
    """
    return interwhen.load_monitor(
        {"name": "json_schema", "schema": schema, "where": "answer", "deadline": 1.0, "every": 4096}
    )


async def longest_pause(monitor: interwhen.Monitor, workers: interwhen.Workers) -> Pause:
    """Return the longest pause of the loop during one run."""
    pauses = [Pause(0.0, 0.0)]

    async def tick() -> None:
        wall, own = time.perf_counter(), time.thread_time()
        while True:
            await anyio.sleep(0.001)
            now, mine = time.perf_counter(), time.thread_time()
            pauses.append(Pause(max(now - wall - 0.001, 0.0) * 1e3, (mine - own) * 1e3))
            wall, own = now, mine

    model = ScriptedModel([json.dumps("a" * LENGTH + "!") + "\n"])
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await anyio.sleep(0.01)  # entering a run may not yield to the loop
        async with interwhen.run(model, "Say a.", monitors=[monitor], workers=workers) as run:
            await run.drain()
        group.cancel_scope.cancel()
    return Pause(max(pause.wall for pause in pauses), max(pause.own for pause in pauses))


async def main(pairs: int) -> None:
    """Print one line for each schema."""
    longest: dict[str, list[Pause]] = {name: [] for name in SCHEMAS}
    monitors = {name: monitor_of(schema) for name, schema in SCHEMAS.items()}
    async with interwhen.Workers() as workers:
        for monitor in monitors.values():  # so that workers and imports are there
            await longest_pause(monitor, workers)
        for _ in range(pairs):
            for name, monitor in monitors.items():
                longest[name].append(await longest_pause(monitor, workers))
    print(f"| schema | loop stopped at most (median and worst of {pairs}) | of that in the loop's own thread |")
    print("|---|--:|--:|")
    for name, pauses in longest.items():
        cells = [
            f"{statistics.median(values):.1f} / {max(values):.1f} ms"
            for values in ([pause.wall for pause in pauses], [pause.own for pause in pauses])
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 20)
