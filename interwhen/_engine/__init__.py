"""The shell around the core: it performs the core's orders and passes facts back, in one task group per run.

`run.py` is the run that a caller iterates over. `stream.py` reads the model, `jobs.py` performs checks and forks,
`monitors.py` prepares monitors, `workers.py` and `worker_child.py` run checks in threads and processes, `journaling.py`
writes the journal. Start reading at `Run.__anext__` in `run.py`.
"""
