"""The pure core of a run: facts come in, orders and events go out (docs/decisions/0001-the-core-is-sans-io.md).

No await, clock, randomness, log or network. `messages.py` lists the facts and orders; `Core.step` in `machine.py`
advances the state by one fact: start there. Each part of the state has one owner, and nothing else changes it:
`transcript.py` the text, `segmenter.py` and `scanners.py` its segments, `checks.py` the checks, `violations.py` the
violations and remedies. `release.py` is the rule of what may be shown.
"""
