"""A run from its start to its evidence: :mod:`.run` starts and resumes, :mod:`.recheck` replays and checks again.

:mod:`.consent` decides which monitors and models that a file names may be made.
"""
