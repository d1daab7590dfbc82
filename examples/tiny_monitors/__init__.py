"""Verifiers for the puzzles of the tiny model, written as somebody else would: from the problem's text alone."""

from .monitors import FAMILIES, monitors_for
from .trace import Puzzle

__all__ = ["FAMILIES", "Puzzle", "monitors_for"]
