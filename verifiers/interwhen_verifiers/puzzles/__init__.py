"""Verifiers for the puzzles of papers: countdown, maze, spatialmap, zebralogic, plan and logic."""
