"""``interwhen eval``: many prompts, several servers, and results that survive any kill.

`_prompts.py` reads the prompts, `_results.py` keeps the results, `_fleet.py` shares the servers out, and
`_evaluation.py` runs the prompts. `_command.py` is the command. docs/scale.md says when to use it.
"""
