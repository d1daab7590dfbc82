"""`interwhen bench`: measures what supervision costs and what verification gains, on this machine.

Each measurement is a module (`_penalty.py`, `_gateway.py`, `_compare.py`, ...) with its command in `_cli.py` or in a
`_..._cli.py` beside it. Modules that end in `pacer`, `server` or `relay` run in separate processes. Measurements
compare pairs in one run and report intervals. A simulation is labelled as a simulation.
"""

from interwhen.bench._statistics import Estimate, estimate, mcnemar

__all__ = [
    "Estimate",
    "estimate",
    "mcnemar",
]
