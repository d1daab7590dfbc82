"""``interwhen bench …``: the list of the benchmarks. Each is imported when it is called."""

from __future__ import annotations

import cyclopts

_COMMANDS = {
    "compare": "Compare strategies: the same exercises, model and verifiers, at equal budgets.",
    "contexts": "Ask questions about contexts on your endpoint, with and without work ahead of time.",
    "overhead": "Measure what supervision costs: CPU per chunk, growth, memory, time to close.",
    "penalty": "Measure what verifiers add to correct runs, as pairs.",
    "precompute": "Measure what work ahead of time saves, and what the serving gate decides.",
    "prefixes": "Measure what a prefix cache that was warmed ahead of time saves at the first token.",
}

app = cyclopts.App(name="bench", help="Measure supervision, as pairs in one run.")
for _name, _help in _COMMANDS.items():
    app.command(f"interwhen.bench._{_name}:command", name=_name, help=_help)
