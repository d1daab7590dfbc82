"""`interwhen bench`: measures what supervision costs and what verification gains, on this machine.

Each command is a module (`_penalty.py`, `_gateway.py`, `_compare.py`, ...) that ends with its function; `_cli.py` lists
the commands. `_relay.py` and `_soak_server.py` run in separate processes. Most measurements compare pairs in one run
and report intervals. A simulation is labelled as a simulation. `evaluation/` is `interwhen eval`, and `capacity/` is
`interwhen plan measure` and `plan capacity`.
"""

from interwhen.bench._statistics import Estimate, estimate, mcnemar

__all__ = [
    "Estimate",
    "estimate",
    "mcnemar",
]
