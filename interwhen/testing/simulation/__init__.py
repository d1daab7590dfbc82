"""A deterministic simulator: generated worlds, the real engine in virtual time, and invariants that check plays.

`_worlds.py` describes a world as data, and `_generation.py` generates one from a seed. `_play.py` plays it, process
after process. `_truth.py` computes the expected facts in a simple, slow way, and `_invariants.py` compares the play
with them. `interwhen simulate` runs the simulator
(docs/decisions/0013-the-simulator.md). Start with `judge` in `_invariants.py`.
"""
