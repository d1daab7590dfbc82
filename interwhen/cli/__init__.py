"""The command line. `_main.py` runs a command and turns errors into one line and an exit code.

Here are the commands of the heart: `_run.py` (run, resume, replay), `_recheck.py`, `_doctor.py`, `_demo.py`,
`_verifiers.py`. Most of the others are in the `_cli.py` of their package. `_view.py` shows a run live or as plain
lines, `_text.py` makes text that we did not write harmless for a terminal
(docs/decisions/0016-model-text-is-hostile.md).
"""
