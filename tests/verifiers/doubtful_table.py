"""Prints how runs with the texts of ``doubtful_texts`` end: ``python -m tests.verifiers.doubtful_table``."""

from __future__ import annotations

from collections import Counter

import anyio
import interwhen
from interwhen.testing import ScriptedModel
from tests.verifiers.doubtful_texts import CASES, RIGHT, Case


async def ending(case: Case) -> tuple[str, interwhen.Result]:
    monitor = interwhen.load_monitor({"name": case.verifier, "delivery": "observe", **case.options})
    async with interwhen.run(ScriptedModel([case.text]), case.prompt, monitors=[monitor]) as run:
        result = await run.drain()
    return "interrupted" if result.violations else result.status, result


async def main() -> None:
    print("| texts | verifier | verified | unverified | interrupted |\n|---|---|--:|--:|--:|")  # noqa: T201
    for name, cases in (("one statement false or in doubt", CASES), ("all right", RIGHT)):
        for verifier in dict.fromkeys(case.verifier for case in cases):
            mine = [case for case in cases if case.verifier == verifier]
            endings = Counter([(await ending(case))[0] for case in mine])
            numbers = " | ".join(str(endings[each]) for each in ("verified", "unverified", "interrupted"))
            print(f"| {name} ({len(mine)}) | `{verifier}` | {numbers} |")  # noqa: T201


if __name__ == "__main__":
    anyio.run(main)
