"""The shared data types of interwhen, which the other packages import.

They are spans, segments, claims, verdicts, monitors, triggers, remedies, events, results, the ledger and the errors.
Most are frozen records that only validate their fields. No module here imports another package of interwhen.
`extensions.py` defines the Protocols for optional parts of a run: precompute, worker pools.
Start with `monitors.py` to write a verifier, with `results.py` to read a result.
"""

__version__ = "0.1.0"
