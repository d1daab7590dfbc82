"""The shell around the core: it performs orders and feeds back facts, in one task group a run.

`run.py` is the run that a caller reads; `stream.py` reads the model, `jobs.py` performs checks and forks, `monitors.py`
prepares monitors, `workers.py` and `worker_child.py` are threads and processes for checks, `timers.py` the clocks,
`journaling.py` the record, `loop_blocking.py` finds out who blocks the event loop.
Start with `Run.__anext__` in `run.py`.
"""
