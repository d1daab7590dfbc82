"""Verifiers for the puzzles of papers: countdown, maze, spatialmap, zebralogic, plan and logic.

Each module has the factory of one monitor. The package of the same name with an underscore has the private parts of
that verifier.
"""
