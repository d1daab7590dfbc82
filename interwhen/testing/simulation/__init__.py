"""A deterministic simulator: worlds from seeds, the real engine in virtual time, judged by what is true of the text.

`_worlds.py` describes a world as data and `_generation.py` makes one from a seed; `_play.py` plays it, process after
process; `_truth.py` works out slowly what must hold, and `_invariants.py` compares. `interwhen simulate` runs it
(docs/decisions/0013-the-simulator.md). Start with `judge` in `_invariants.py`.
"""
