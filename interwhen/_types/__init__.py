"""The vocabulary of interwhen: values that every other part speaks of.

Spans, segments, claims, verdicts, monitors, triggers, remedies, events, results, the ledger and the errors. All are
frozen records without behaviour beyond their own consistency, and nothing here imports another package of interwhen.
`extensions.py` holds the Protocols through which annexes (precompute, allocation, worker pools) join a run.
Start with `monitors.py` to write a verifier, with `results.py` to read a result.
"""
