"""Verifiers for the puzzles of papers: countdown, maze, spatialmap, zebralogic, plan and logic.

Each module has the factory of the monitor of the same name, and ``countdown`` has ``game24``, too. A package or module
of the same name with an underscore has the private parts of that verifier.
"""
