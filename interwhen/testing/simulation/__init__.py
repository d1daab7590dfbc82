"""A deterministic simulator: random worlds, the real engine in virtual time, and invariants that know the truth.

`_worlds.py` describes a world as data, and `_generation.py` generates one from a seed. `_play.py` plays it, process
after process. `_truth.py` computes slowly what must hold, and `_invariants.py` compares. `interwhen simulate` runs it
(docs/decisions/0013-the-simulator.md). Start with `judge` in `_invariants.py`.
"""
