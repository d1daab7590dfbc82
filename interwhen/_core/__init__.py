"""The pure core of a run: facts come in, orders and events go out (docs/decisions/0001-the-core-is-sans-io.md).

No await, clock, randomness, log or network. `messages.py` lists the facts and orders; `machine.py` advances the state
by one fact. `transcript.py` owns the text, `segmenter.py` and `scanners.py` cut it into segments, `check_table.py` and
`checks.py` own what is being checked, `violations.py` what is done about a violation, `release.py` what may be shown.
Start with `Core.step` in `machine.py`.
"""
