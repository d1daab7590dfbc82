"""Verifiers for the puzzles of the tiny model, written from the text of the problems alone."""

from .monitors import FAMILIES, monitors_for
from .trace import Puzzle

__all__ = ["FAMILIES", "Puzzle", "monitors_for"]
