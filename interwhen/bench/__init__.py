"""`interwhen bench`: measures what supervision costs and what verification gains, on this machine.

A simulation is labelled as a simulation. `evaluation/` is `interwhen eval`.
"""

from interwhen.bench._statistics import Estimate, estimate, mcnemar

__all__ = [
    "Estimate",
    "estimate",
    "mcnemar",
]
