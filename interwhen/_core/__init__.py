"""The pure core of a run: it takes facts, and returns orders and events (docs/decisions/pure-core.md).

`messages.py` defines the facts and orders. `Core.step` in `machine.py` processes one fact: start reading there. Each
part of the state has one owner: `transcript.py` owns the text, `segmenter.py` and `scanners.py` the segments,
`checks.py` the checks, `violations.py` the violations and remedies. `release.py` decides which text may be shown.
"""
