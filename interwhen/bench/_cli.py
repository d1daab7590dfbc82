"""``interwhen bench …``: the list of the benchmarks. Each is imported when it is called."""

from __future__ import annotations

import cyclopts

_COMMANDS = {
    "compare": "Compare strategies: the same exercises, model and verifiers, at equal budgets.",
    "overhead": "Measure what supervision costs: CPU per chunk, growth, memory, time to close.",
    "penalty": "Measure what verifiers add to correct runs, as pairs.",
}

app = cyclopts.App(name="bench", help="Measure supervision, as pairs in one run.")
for _name, _help in _COMMANDS.items():
    app.command(f"interwhen.bench._{_name}:command", name=_name, help=_help)
