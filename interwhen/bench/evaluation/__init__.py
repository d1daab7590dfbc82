"""``interwhen eval``: many prompts, several servers, and results that survive any kill.

`_prompts.py` reads the prompts, `_results.py` keeps the results, `_fleet.py` chooses the server of each run, and
`_evaluation.py` runs the prompts. `_settings.py` puts these together from the options, in this process or in a task of
Ray (`_ray_engine.py`). `_command.py` is the command. docs/scale.md says when to use it.
"""
