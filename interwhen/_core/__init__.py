"""The pure core of a run: it takes facts, and returns orders and events (docs/decisions/pure-core.md).

Start reading at `Core.step` in `machine.py`, which processes one fact.
"""
