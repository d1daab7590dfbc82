"""The shell around the core: it performs the core's orders and passes facts back, in one task group per run.

`run.py` is the run that a caller iterates over. `stream.py` reads the model, `jobs.py` performs checks and forks,
`monitors.py` prepares monitors, `workers.py` and `worker_child.py` run checks in threads and processes. `recorders.py`
writes the journal, `resumed_runs.py` resumes a run from it, `run_results.py` builds the result, and `callbacks.py`
reports calls to observers. Start reading at `Run.__anext__` in `run.py`.
"""
