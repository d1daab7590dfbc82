"""A program that checks on a cluster until it is killed. Arguments: the address of the cluster, and the file of results."""

import json
import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent / "plugin"))


async def main(address, out):
    from interwhen import load_monitor
    from interwhen.integrations.ray import RayWorkers
    from ray_checks import Work

    monitor = load_monitor("work")
    async with RayWorkers(address=address, actors=1) as pool:
        cost = pool._target(monitor.verifier).cost
        cost.seconds, cost.leaves = 0.02, True
        with Path(out).open("w") as file:
            for number in range(1, 10_000):
                claim = Work(key=str(number), span=None, ms=20, say="wrong" if number % 7 == 0 else "pass")
                with anyio.CancelScope(deadline=anyio.current_time() + 20) as scope:
                    value, _ = await pool.check(monitor.verifier, claim, scope)
                    file.write(json.dumps([number, type(value).__name__]) + "\n")
                    file.flush()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
