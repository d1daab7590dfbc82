"""The shell around the core: it performs the core's orders and passes facts back, in one task group per run.

Start reading at `Run.__anext__` in `run.py`.
"""
