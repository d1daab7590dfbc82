"""``python -m tests.benchmarks``: measurements of our own, which no user needs to repeat."""

from __future__ import annotations

import sys

from cyclopts import App
from tests.command_line import run

_COMMANDS = {
    "gateway": "Measure what the gateway adds, and how many streams one process carries.",
    "idle": "Measure what work ahead of time costs the runs that users wait for.",
    "journals": "Measure what journals cost in the gateway: CPU per chunk, and the first chunk.",
    "ledger": "Compare the ledgers of many runs with what their endpoint counted.",
    "local": "Measure the local model: start, speed, memory, and what forks do to its stream.",
    "precompute": "Measure what prepared answers to identical questions save.",
    "resumes": "Measure what a correction costs on llama.cpp: prompt tokens read again, and the first new token.",
    "soak": "Supervise many streams for a long time against a server that breaks at random.",
}

app = App(name="python -m tests.benchmarks", result_action="return_value")
for _name, _help in _COMMANDS.items():
    app.command(f"tests.benchmarks.{_name}:command", name=_name, help=_help)

if __name__ == "__main__":
    sys.exit(run(app))
