"""`interwhen bench`: what supervision costs and what verification buys, measured here and now.

Each measurement is a module (`_penalty.py`, `_gateway.py`, `_compare.py`, ...) with its command in `_cli.py` or in a
`_..._cli.py` beside it. Modules that end in `pacer`, `server` or `relay` run in processes of their own.
Measurements compare pairs in one run and report intervals; what simulates says so.
"""

from interwhen.bench._statistics import Estimate, estimate, mcnemar

__all__ = [
    "Estimate",
    "estimate",
    "mcnemar",
]
